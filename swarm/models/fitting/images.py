"""Images in messages: named by their artifact in the record, sent as data, left out for models that take none."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from swarm.calls import ModelReply, ModelRequest
from swarm.models.capture import gives_tokens
from swarm.protocols import Model
from swarm.types import Message

NOT_SHOWN = "[the image is not shown: this model takes no images]"

_Part = dict[str, Any]


def has_images(messages: Sequence[Message]) -> bool:
    """Whether an image stands in any message."""
    return any(_is_image(part) for each in messages for part in _parts(each))


def with_data(messages: Sequence[Message], urls: Mapping[str, str]) -> Sequence[Message]:
    """The messages with the images themselves; `urls` are their data URLs by what messages call them."""

    def data(part: _Part) -> _Part:
        held = part["image_url"]
        return {**part, "image_url": {**held, "url": urls.get(held.get("url", ""), held.get("url", ""))}}

    return _changed(messages, data)


def without_images(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages with a word in the place of each image."""
    return _changed(messages, lambda part: {"type": "text", "text": NOT_SHOWN})


class Pictured:
    """`swarm.protocols.Model` over a caller's own, which is given the images themselves."""

    def __init__(self, model: Model) -> None:
        self.name = model.name
        self.endpoint = model.endpoint
        self._model = model

    def __repr__(self) -> str:
        return f"<Pictured {self._model!r}>"

    async def gives_tokens(self) -> bool:
        """See `swarm.models.capture.TokenGiver`."""
        return await gives_tokens((self._model,))

    async def complete(self, request: ModelRequest) -> ModelReply:
        """See `swarm.protocols.Model.complete`."""
        if request.pictures and has_images(request.messages):
            request = replace(request, messages=with_data(request.messages, request.pictures), encoded=())
        return await self._model.complete(request)


def _changed(messages: Sequence[Message], change: Callable[[_Part], _Part]) -> Sequence[Message]:
    return [
        {**each, "content": [change(part) if _is_image(part) else part for part in _parts(each)]}
        if any(map(_is_image, _parts(each)))
        else each
        for each in messages
    ]


def _parts(message: Message) -> Sequence[Any]:
    content = message.get("content")
    return content if isinstance(content, list) else ()


def _is_image(part: Any) -> bool:
    return isinstance(part, dict) and part.get("type") == "image_url" and isinstance(part.get("image_url"), dict)
