"""What the embedded endpoint cannot do on purpose, so that what swarm does without it can be seen."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from swarm.embedded.wire import ApiError

_TOKENS = ("logprobs", "return_token_ids", "return_prompt_token_ids", "return_meta_info")
_MEMBERS = {
    "tools": ("tools", "tool_choice"),
    "stream_usage": ("stream_options",),
    "seed": ("seed",),
    "tokens": _TOKENS,
}
_FORMAT = ("response_format",)


class Lack(BaseModel):
    """Something that other endpoints can do. A request that wants it is refused (400), or fails (500), or the wish is
    ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    what: Literal["tools", "json_schema", "json_object", "stream_usage", "seed", "tokens", "images"]
    how: Literal["refuses", "ignores", "fails"] = "refuses"

    def apply(self, body: dict[str, Any]) -> dict[str, Any]:
        """The request as this endpoint takes it.

        Raises:
            ApiError: it does not.
        """
        if self.what == "images":
            return self._without_images(body)
        members = _MEMBERS.get(self.what, _FORMAT)
        form = body.get("response_format")
        if members == _FORMAT and (not isinstance(form, dict) or form.get("type") != self.what):
            return body
        if not any(name in body for name in members):
            return body
        if self.how == "refuses":
            text = f"'{members[0]}' ({self.what}) is not supported by this endpoint."
            raise ApiError(400, text, param=members[0], code="unsupported_parameter")
        if self.how == "fails":
            raise ApiError(500, "The server had an error.", type="server_error")
        return {key: value for key, value in body.items() if key not in members}

    def _without_images(self, body: dict[str, Any]) -> dict[str, Any]:
        messages = body.get("messages")
        held = (
            [each.get("content") for each in messages if isinstance(each, dict)] if isinstance(messages, list) else []
        )
        parts = [part for content in held if isinstance(content, list) for part in content]
        if not any(isinstance(part, dict) and part.get("type") == "image_url" for part in parts):
            return body
        if self.how == "refuses":
            raise ApiError(400, "This model does not support image input.", param="messages", code="unsupported_value")
        if self.how == "fails":
            raise ApiError(500, "The server had an error.", type="server_error")
        return body
