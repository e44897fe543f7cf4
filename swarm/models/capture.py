"""Whether a model's endpoint gives the tokens of its answers, asked through whatever stands around the model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable


@runtime_checkable
class TokenGiver(Protocol):
    """A model, or a service of one, that can tell."""

    async def gives_tokens(self) -> bool:
        """Whether its answers come with token ids and logprobs where they are wanted; the endpoint may be asked.

        Raises:
            EndpointError: it could not be asked.
        """
        ...


async def gives_tokens(models: Iterable[object]) -> bool:
    """Whether all of these give tokens. One that has no way to tell gives none. Raises as `TokenGiver` does."""
    for model in models:
        if not isinstance(model, TokenGiver) or not await model.gives_tokens():
            return False
    return True
