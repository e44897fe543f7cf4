"""Requests to the embedded endpoint, validated as the OpenAI API does it, and its form of an error."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

Taken = Callable[[dict[str, Any]], dict[str, Any]]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class ApiError(Exception):
    """An error answer: HTTP status, the four members of an OpenAI error, and headers of its own."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        type: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
        self.body = {"error": {"message": message, "type": type, "param": param, "code": code}}


class _Tolerant(BaseModel):
    """Unknown members are let through: clients send extras for other servers."""

    model_config = ConfigDict(extra="allow")


class FunctionCall(_Tolerant):
    name: str
    arguments: str


class AssistantToolCall(_Tolerant):
    id: str = Field(min_length=1)
    type: Literal["function"]
    function: FunctionCall


class ImageUrl(_Tolerant):
    url: str = Field(pattern=r"^(data:image/[a-z+.-]{1,40};base64,|https?://)")


class ContentPart(_Tolerant):
    type: str
    image_url: ImageUrl | None = None

    @model_validator(mode="after")
    def _holds_what_it_says(self) -> ContentPart:
        if self.type == "image_url" and self.image_url is None:
            raise ValueError("'image_url' must be given in a part of this type")
        return self


class ChatMessage(_Tolerant):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[AssistantToolCall] | None = Field(default=None, min_length=1)
    tool_call_id: str | None = None

    @model_validator(mode="after")
    def _fits_its_role(self) -> ChatMessage:
        if self.role == "tool" and not self.tool_call_id:
            raise ValueError("a message with role 'tool' must have a 'tool_call_id'")
        if self.role != "assistant" and self.tool_calls:
            raise ValueError(f"a message with role '{self.role}' cannot have 'tool_calls'")
        if self.content is None and not self.tool_calls:
            raise ValueError(f"'content' must be given in a message with role '{self.role}'")
        return self


class FunctionTool(_Tolerant):
    name: Name
    parameters: dict[str, Any] | None = None


class Tool(_Tolerant):
    type: Literal["function"]
    function: FunctionTool


class JsonSchema(_Tolerant):
    name: Name
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(_Tolerant):
    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_its_schema(self) -> ResponseFormat:
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("'json_schema' is missing")
        return self


class ChosenFunction(_Tolerant):
    name: str


class ToolChoice(_Tolerant):
    type: Literal["function"]
    function: ChosenFunction


class StreamOptions(_Tolerant):
    include_usage: bool = False


class ChatRequest(_Tolerant):
    """What `POST /v1/chat/completions` understands."""

    model: str
    messages: list[ChatMessage] = Field(min_length=1)
    tools: list[Tool] | None = Field(default=None, min_length=1)
    tool_choice: Literal["none", "auto", "required"] | ToolChoice | None = None
    response_format: ResponseFormat | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    seed: int | None = None
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, ge=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: int | None = Field(default=None, ge=1)
    logprobs: bool | None = None
    return_token_ids: bool | None = None
    return_prompt_token_ids: bool | None = None
    return_meta_info: bool | None = None
    stop: str | Annotated[list[str], Field(max_length=4)] | None = None

    @property
    def limit(self) -> int | None:
        """The most tokens that the answer may have."""
        return self.max_completion_tokens or self.max_tokens

    @property
    def stops(self) -> list[str]:
        stop = self.stop or []
        return [stop] if isinstance(stop, str) else [each for each in stop if each]

    @property
    def wants_ids(self) -> bool:
        """Whether it asks for the ids of tokens, in one form or the other."""
        return bool(self.return_token_ids or self.return_prompt_token_ids or self.return_meta_info)

    @property
    def include_usage(self) -> bool:
        return self.stream_options is not None and self.stream_options.include_usage


def parse_request(body: bytes, taken: Taken | None = None) -> tuple[ChatRequest, dict[str, Any]]:
    """The validated request, and the same as it came (a policy sees the messages unchanged). `taken` leaves out what
    the server does not know.

    Raises:
        ApiError: 400, with `param` naming the member that is wrong.
    """
    try:
        raw = json.loads(body)
    except (ValueError, RecursionError):
        raise ApiError(400, "We could not parse the JSON body of your request.") from None
    if not isinstance(raw, dict):
        raise ApiError(400, "The body of the request must be a JSON object.")
    if taken is not None:
        raw = taken(raw)
    try:
        request = ChatRequest.model_validate(raw)
    except ValidationError as error:
        param, reason = first_problem(error, raw)
        raise ApiError(400, f"Invalid value for '{param}': {reason}.", param=param, code="invalid_value") from None
    _check_together(request)
    return request, raw


def first_problem(error: ValidationError, data: object) -> tuple[str, str]:
    """Where `data` is wrong (`messages[0].role`) and how, without pydantic's own prefixes.

    Of several problems the deepest: where a value may have one of two forms, that is the form that was meant.
    """
    found = error.errors(include_url=False, include_context=False)
    paths = [_field_path(each["loc"], data) for each in found]
    deepest = max(range(len(found)), key=lambda i: paths[i].count(".") + paths[i].count("["))
    return paths[deepest], found[deepest]["msg"].removeprefix("Value error, ")


def _field_path(loc: Sequence[int | str], data: object) -> str:
    """`messages[0].role` for `("messages", 0, "role")`; leaves out what is no key but pydantic's word for a form."""
    path = ""
    for depth, part in enumerate(loc, 1):
        if isinstance(part, int):
            if isinstance(data, list) and part < len(data):
                path += f"[{part}]"
                data = data[part]
        elif isinstance(data, dict) and (part in data or depth == len(loc)):
            path += f".{part}" if path else part
            data = data.get(part)
    return path


def _check_together(request: ChatRequest) -> None:
    """What only the whole request can tell."""
    if request.n is not None and request.n > 1:
        raise ApiError(400, "This endpoint gives one choice: 'n' must be 1.", param="n", code="unsupported_value")
    if request.tool_choice is not None and request.tools is None:
        raise ApiError(400, "'tool_choice' is only allowed when 'tools' are specified.", param="tool_choice")
    if isinstance(request.tool_choice, ToolChoice):
        name = request.tool_choice.function.name
        if name not in {tool.function.name for tool in request.tools or ()}:
            raise ApiError(400, f"Tool choice '{name}' not found in 'tools'.", param="tool_choice")
    if request.stream_options is not None and not request.stream:
        raise ApiError(400, "'stream_options' is only allowed when 'stream' is true.", param="stream_options")
    if request.stream and (request.logprobs or request.wants_ids):
        raise ApiError(
            400, "Token ids and logprobs come with whole answers only: 'stream' must be false.", param="stream"
        )
    _check_tool_turns(request.messages)


def _check_tool_turns(messages: Sequence[ChatMessage]) -> None:
    """Each tool call is answered, by the messages right after it and by nothing else."""
    open_calls: set[str] = set()
    asked_at = 0
    for i, message in enumerate(messages):
        if message.role == "tool":
            if message.tool_call_id not in open_calls:
                raise ApiError(
                    400,
                    f"Message {i} with role 'tool' must answer a tool call of the assistant message before it.",
                    param=f"messages[{i}].tool_call_id",
                )
            open_calls.discard(message.tool_call_id)
            continue
        if open_calls:
            break
        open_calls, asked_at = {call.id for call in message.tool_calls or ()}, i
    if open_calls:
        raise ApiError(
            400,
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each "
            f"'tool_call_id'. No answer to: {', '.join(sorted(open_calls))}",
            param=f"messages[{asked_at}].tool_calls",
        )
