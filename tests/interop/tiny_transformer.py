"""Makes a tiny random model for `transformers`: `python tiny_transformer.py FOLDER`, in an environment that has it."""

from __future__ import annotations

import importlib
import sys
from typing import Any

_SPECIAL = ("<|begin|>", "<|end|>")
_SIZES = {"hidden_size": 64, "intermediate_size": 160, "num_hidden_layers": 2, "num_attention_heads": 2}
_TEMPLATE = "{% for m in messages %}{{ m.role }}: {{ m.content or '' }}<|end|>{% endfor %}assistant: "
_NEVER, _OFTEN = -40.0, 0.5


def write(folder: str) -> None:
    """One token a byte; it writes visible ASCII, and samples, so that an answer comes to its end by itself."""
    torch: Any = importlib.import_module("torch")
    tokenizers: Any = importlib.import_module("tokenizers")
    transformers: Any = importlib.import_module("transformers")
    letters = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    ids = {token: number for number, token in enumerate((*_SPECIAL, *letters))}
    plain = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=ids, merges=[]))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = tokenizers.decoders.ByteLevel()
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=plain, bos_token=_SPECIAL[0], eos_token=_SPECIAL[1], chat_template=_TEMPLATE
    )
    tokenizer.save_pretrained(folder)

    torch.manual_seed(7)
    config = transformers.LlamaConfig(
        vocab_size=len(ids), max_position_embeddings=1 << 15, bos_token_id=0, eos_token_id=1, **_SIZES
    )
    model = transformers.LlamaForCausalLM(config)
    width = config.hidden_size
    with torch.no_grad():  # the first number of each state stays the same, so the output can lean away from a token
        model.model.embed_tokens.weight[:, 0] = 2.0
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight[0] = 0.0
            layer.mlp.down_proj.weight[0] = 0.0
        for token, number in ids.items():
            visible = len(token) == 1 and "!" <= token <= "~"
            leaning = _OFTEN if token == _SPECIAL[1] else 0.0 if visible else _NEVER
            model.lm_head.weight[number, 0] = leaning / width**0.5
    model.generation_config.do_sample = True
    model.save_pretrained(folder)


if __name__ == "__main__":
    write(sys.argv[1])
