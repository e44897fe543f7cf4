"""How many tokens a prompt has, estimated before it is sent: bytes by a ratio that is learnt from what came back.

There is no tokenizer here: those of most models are not on this machine, and their data is fetched where it is
missing. The ratio of a model's own answers is near enough for a reservation, which usage settles.
"""

from __future__ import annotations

SAFE_RATIO = 3.0
"""Bytes of JSON per token at first: below the ratio of common tokenizers, so that too much is set aside."""

LOWEST, HIGHEST = 1.0, 8.0

_WEIGHT = 0.1
"""Of one new observation."""

_ENOUGH = 4
"""Observations before the ratio may rise above the safe one."""

_SMALL = 200
"""Tokens below which a prompt tells more of its template than of its text."""

_CAUTION = 2.0
"""Mean deviations that the ratio stays below its mean."""


class TokenRatio:
    """The bytes per token of one model, for all of the process."""

    def __init__(self) -> None:
        self._mean = SAFE_RATIO
        self._deviation = 0.0
        self._seen = 0
        self._ratio = min(SAFE_RATIO, HIGHEST)

    def __repr__(self) -> str:
        return f"<TokenRatio {self.ratio:.2f} bytes per token after {self._seen} calls>"

    @property
    def ratio(self) -> float:
        """Bytes per token, on the side of too many tokens."""
        return self._ratio

    def _careful(self) -> float:
        careful = self._mean - _CAUTION * self._deviation
        if self._seen < _ENOUGH:
            careful = min(careful, SAFE_RATIO)
        return min(max(careful, LOWEST), HIGHEST)

    def tokens(self, size: int) -> int:
        """The tokens of a prompt of so many bytes of JSON, messages and tools."""
        return int(size / self._ratio) + 1

    def learn(self, size: int, prompt_tokens: int) -> None:
        """A prompt of so many bytes had so many tokens, as the endpoint counted; 0: it did not count."""
        if prompt_tokens < _SMALL or size <= 0:
            return
        seen = min(max(size / prompt_tokens, LOWEST), HIGHEST)
        if not self._seen:
            self._mean = seen
        weight = max(_WEIGHT, 1 / (self._seen + 1))
        self._deviation += weight * (abs(seen - self._mean) - self._deviation)
        self._mean += weight * (seen - self._mean)
        self._seen += 1
        self._ratio = self._careful()
