"""The orchestrator's policy: a small causal transformer with rotary places and a pointer, and how it is sampled from.

What it says next is a mixture of its vocabulary and of a copy of some token of the conversation.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from examples.parl.vocabulary import END, PAD, VOCABULARY

LONGEST = 320
"""Tokens of a conversation."""

WIDTH, LAYERS, HEADS = 64, 2, 4

Cache = list[tuple[Tensor, Tensor]]
"""Of each layer keys and values, (batch, head, place, feature); and last the pointer's keys, (batch, place, feature),
and what it points at, (batch, place, token)."""


@dataclass(frozen=True, slots=True)
class Sampled:
    """One turn: the tokens with the end, if it was reached, and the log-probability of each."""

    ids: list[int]
    logprobs: list[float]


class _Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.read = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.write = nn.Linear(WIDTH, WIDTH, bias=False)
        self.wide = nn.Linear(WIDTH, 4 * WIDTH)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH)

    def parts(self, x: Tensor, turn: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, turned by their places."""
        batch, length, _ = x.shape
        q, k, v = (
            part.view(batch, length, HEADS, WIDTH // HEADS).transpose(1, 2)
            for part in self.read(self.before(x)).chunk(3, dim=-1)
        )
        return _turned(q, turn), _turned(k, turn), v

    def after(self, x: Tensor, seen: Tensor) -> Tensor:
        """What becomes of `x` with what it has seen of others."""
        x = x + self.write(seen.transpose(1, 2).flatten(2))
        inner: Tensor = self.narrow(functional.gelu(self.wide(self.between(x))))
        return x + inner


class Policy(nn.Module):
    """Log-probabilities of the next token. `version` counts the updates of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.version = 0
        self.embed = nn.Embedding(len(VOCABULARY), WIDTH, padding_idx=PAD)
        nn.init.normal_(self.embed.weight, std=0.5)
        self.layers = nn.ModuleList(_Layer() for _ in range(LAYERS))
        self.last = nn.LayerNorm(WIDTH)
        self.head = nn.Linear(WIDTH, len(VOCABULARY), bias=False)
        self.asks, self.offers = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.copies = nn.Linear(WIDTH, 1)
        frequency = 1e3 ** (-torch.arange(0, WIDTH // HEADS, 2) / (WIDTH // HEADS))
        angle = torch.arange(LONGEST)[:, None] * frequency
        self.turns: Tensor
        self.register_buffer("turns", torch.polar(torch.ones_like(angle), angle), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Of (batch, place) tokens the log-probabilities of each next one, (batch, place, token)."""
        return self._begun(tokens)[0]

    def _begun(self, tokens: Tensor) -> tuple[Tensor, Cache]:
        x, cache, length = self.embed(tokens), [], tokens.shape[1]
        for layer in self._layers():
            q, k, v = layer.parts(x, self.turns[:length])
            cache.append((k, v))
            x = layer.after(x, functional.scaled_dot_product_attention(q, k, v, is_causal=True))
        x = self.last(x)
        cache.append((self.offers(x), functional.one_hot(tokens, len(VOCABULARY)).float()))
        return self._said(x, cache[-1], torch.ones(length, length, dtype=torch.bool).tril()), cache

    def _one_more(self, tokens: Tensor, places: Tensor, cache: Cache) -> Tensor:
        """The same for one more token of each row, which stands at its place."""
        x, rows = self.embed(tokens[:, None]), torch.arange(len(tokens))
        visible = (torch.arange(cache[0][0].shape[2]) <= places[:, None])[:, None]
        for layer, (keys, values) in zip(self._layers(), cache, strict=False):
            q, k, v = layer.parts(x, self.turns[places][:, None, None])
            keys[rows, :, places], values[rows, :, places] = k[:, :, 0], v[:, :, 0]
            x = layer.after(x, functional.scaled_dot_product_attention(q, keys, values, attn_mask=visible[:, None]))
        x = self.last(x)
        offered, pointed = cache[-1]
        offered[rows, places] = self.offers(x)[:, 0]
        pointed[rows, places] = functional.one_hot(tokens, len(VOCABULARY)).float()
        return self._said(x, cache[-1], visible)[:, 0]

    def _said(self, x: Tensor, pointer: tuple[Tensor, Tensor], visible: Tensor) -> Tensor:
        offered, pointed = pointer
        scores = self.asks(x) @ offered.transpose(1, 2) / WIDTH**0.5
        copied = scores.masked_fill(~visible, -torch.inf).softmax(-1) @ pointed
        gate = self.copies(x)
        own = functional.log_softmax(self.head(x), dim=-1) + functional.logsigmoid(-gate)
        return torch.logaddexp(own, (copied + 1e-9).log() + functional.logsigmoid(gate))

    def _layers(self) -> list[_Layer]:
        return [layer for layer in self.layers if isinstance(layer, _Layer)]

    @torch.no_grad()
    def sample(self, prompts: Sequence[Sequence[int]], seeds: Sequence[str], most: int) -> list[Sampled]:
        """A turn for each prompt, at temperature 1, of at most `most` tokens. What is drawn depends on the prompt, its
        seed and the weights, not on its neighbours.

        Raises:
            ValueError: a conversation is too long.
        """
        lengths = [len(prompt) for prompt in prompts]
        if max(lengths) + most > LONGEST:
            raise ValueError(f"a conversation of {max(lengths)} tokens and an answer of {most}: at most {LONGEST}")
        logprobs, cache = self._begun(padded(prompts))
        cache = [(functional.pad(one, (0, 0, 0, most)), functional.pad(two, (0, 0, 0, most))) for one, two in cache]
        places = torch.tensor(lengths) - 1
        heads = logprobs[torch.arange(len(prompts)), places]
        chances = [random.Random(seed) for seed in seeds]
        turns = [Sampled([], []) for _ in prompts]
        going = set(range(len(prompts)))
        for _ in range(most):
            drawn = [_draw(row, chance.random()) for row, chance in zip(heads.tolist(), chances, strict=True)]
            for at in list(going):
                turns[at].ids.append(drawn[at])
                turns[at].logprobs.append(float(heads[at, drawn[at]]))
                if drawn[at] == END:
                    going.discard(at)
            if not going:
                break
            places = places + 1
            heads = self._one_more(torch.tensor(drawn), places, cache)
        return turns


def padded(rows: Sequence[Sequence[int]]) -> Tensor:
    """Rows of different lengths as one tensor."""
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])


def _draw(logprobs: Sequence[float], uniform: float) -> int:
    """The token at which the distribution function passes `uniform`."""
    total, last = 0.0, 0
    for token, logprob in enumerate(logprobs):
        total += math.exp(logprob)
        last = token if logprob > -20 else last
        if total > uniform:
            return token
    return last


def _turned(x: Tensor, turn: Tensor) -> Tensor:
    pairs = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turn).flatten(-2)
