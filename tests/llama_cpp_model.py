"""A tiny llama model as a GGUF file: a hundred thousand random parameters, one token a byte.

The first two numbers of a state stay the same in all layers: one that is the same for all tokens, and one that only
`[` has. So a row of the output can lean to its token or away from it, also just after `[`. Without that a random model
writes bytes that are no UTF-8, which llama.cpp's own parser cannot read, strings without an end, and empty lists.
"""

from __future__ import annotations

import sys
from pathlib import Path

_LAYERS, _WIDTH, _HEADS, _INNER = 2, 64, 2, 160
_SEED = 7
_CONSTANT = 2.0
_NEVER = -40.0
_OFTEN = {'"': 3.0, "<|end|>": 3.0}
_IN_LISTS = {"{": 14.0, "]": 10.0}
"""How much likelier than by chance, as logarithms, tokens are, and just after `[`."""
_SPECIAL = ("<|unknown|>", "<|begin|>", "<|end|>", "<|system|>", "<|user|>", "<|assistant|>")
_TEMPLATE = (
    "{% for message in messages %}<|{{ message.role if message.role in ('system', 'assistant') else 'user' }}|>"
    "{{ message.content or '' }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def write(path: Path, *, window: int = 1 << 15) -> None:
    """Write the model, with room for `window` tokens; the same bytes each time."""
    import gguf
    import numpy

    chance = numpy.random.default_rng(_SEED)
    tokens = [*_SPECIAL, *_byte_letters()]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_name("random")
    writer.add_context_length(window)
    writer.add_embedding_length(_WIDTH)
    writer.add_block_count(_LAYERS)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    kinds = [gguf.TokenType.CONTROL] * len(_SPECIAL) + [gguf.TokenType.NORMAL] * 256
    writer.add_token_types(kinds)
    writer.add_token_merges(
        [f"{tokens[-2]} {tokens[-1]}"]
    )  # none is refused; this one joins two bytes that UTF-8 lacks
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_chat_template(_TEMPLATE)

    def add(name: str, *shape: int, keep: bool = False, first: list[tuple[float, float]] | None = None) -> None:
        """Random weights. With `keep` they add nothing to the first numbers of a state; or these are their `first`."""
        weights = chance.normal(0, 0.05, shape).astype(numpy.float32)
        if keep:
            weights[:2] = 0
        if first is not None:
            weights[:, :2] = first
        writer.add_tensor(name, weights)

    def add_norm(name: str) -> None:
        writer.add_tensor(name, numpy.ones(_WIDTH, numpy.float32))

    add("token_embd.weight", len(tokens), _WIDTH, first=[(_CONSTANT, (token == "[") * _CONSTANT) for token in tokens])
    add("output.weight", len(tokens), _WIDTH, first=[_leaning(token) for token in tokens])
    add_norm("output_norm.weight")
    for layer in (f"blk.{number}" for number in range(_LAYERS)):
        add_norm(f"{layer}.attn_norm.weight")
        add_norm(f"{layer}.ffn_norm.weight")
        for part in ("attn_q", "attn_k", "attn_v"):
            add(f"{layer}.{part}.weight", _WIDTH, _WIDTH)
        add(f"{layer}.attn_output.weight", _WIDTH, _WIDTH, keep=True)
        add(f"{layer}.ffn_gate.weight", _INNER, _WIDTH)
        add(f"{layer}.ffn_up.weight", _INNER, _WIDTH)
        add(f"{layer}.ffn_down.weight", _WIDTH, _INNER, keep=True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _leaning(token: str) -> tuple[float, float]:
    usual = _OFTEN.get(token, 0.0 if len(token) == 1 and "!" <= token <= "~" else _NEVER)
    return usual / _WIDTH**0.5, _IN_LISTS.get(token, 0.0) / _WIDTH**0.5


def _byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary: itself where it can be seen, else one above."""
    seen = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    above = iter(range(256, 512))
    return [chr(byte if byte in seen else next(above)) for byte in range(256)]


if __name__ == "__main__":
    write(Path(sys.argv[1]))
