"""Model calls as values: one that is wanted, one that is made, and its answer."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from functools import cached_property
from typing import Literal

from pydantic_core import to_json

from swarm.errors import RateLimits
from swarm.types import JsonObject, Message, Role, ToolCall, Usage
from swarm.values import value


@value(frozen=True, slots=True)
class Ask:
    """A model call that waits to be made: what admission and routing need to know of it.

    `tokens` are those of prompt and answer, estimated; `prefix` names the beginning of the prompt that it shares with
    its siblings ("" for none); `turn` counts the calls that its trajectory made before. `since` is when the call was
    first wanted, in `time.monotonic` seconds (None: now), so that one which is tried again keeps its age. `tell` takes
    a line for the user whose run waits; equal ones are told once. `trajectory_id` is unique within a run, `attempt` is
    1 for the first try of the call.
    """

    role: Role
    tokens: int
    prefix: str = ""
    turn: int = 0
    since: float | None = None
    tell: Callable[[str], None] | None = None
    trajectory_id: str = ""
    attempt: int = 1


PIECES = 32
"""Of so many pieces of a conversation one is made; short ones, of which there are thousands, are never copied."""


class Encoded:
    """The messages of a conversation as JSON. They only grow at their end, and never while a request with them is under
    way: what is known of all was found out once for each, and to send them is to copy few pieces. `first` is the first
    message, which siblings share, `rest` the others, each with a comma before it, many in one piece. `size` counts the
    bytes of all, `count` the messages; `marks` are members of some that are never sent."""

    __slots__ = ("_ends", "count", "first", "marks", "rest", "size")

    def __init__(self) -> None:
        self.first = b""
        self.rest: list[bytes] = []
        self.size = self.count = 0
        self.marks: frozenset[str] = frozenset()
        self._ends: array[int] | None = None  # of the messages in the first piece of `rest`, where that holds many

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.count} messages, {self.size} bytes>"

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[bytes]:
        if self.first:
            yield self.first
        start = 0
        for end in self._ends or ():
            yield self.rest[0][start + 1 : end]
            start = end
        for piece in self.rest[1:] if self._ends else self.rest:
            yield piece[1:]

    def add(self, data: bytes, marks: frozenset[str]) -> None:
        """Add a message, which has these marks."""
        self.size += len(data)
        self.count += 1
        if self.count == 1:
            self.first = data
        else:
            self.rest.append(b"," + data)
            if len(self.rest) == PIECES:
                self._fold()
        if not marks <= self.marks:
            self.marks |= marks

    def _fold(self) -> None:
        """Make one piece of all."""
        if self._ends is None:
            self._ends = array("Q")
        end = self._ends[-1] if self._ends else 0
        for piece in self.rest[1:] if self._ends else self.rest[:]:
            end += len(piece)
            self._ends.append(end)
        self.rest = [b"".join(self.rest)]


class Definitions(tuple[JsonObject, ...]):
    """Definitions of tools, which thousands of agents share."""

    @cached_property
    def encoded(self) -> bytes:
        """As JSON."""
        return to_json(self)


@value(frozen=True, slots=True)
class StreamLimits:
    """Seconds that a streamed answer may let us wait: for its first token, and between two pieces of it."""

    first_token: float = 300.0
    stall: float = 120.0


@value(frozen=True, slots=True)
class ModelRequest:
    """One call to a model.

    `encoded` and `encoded_tools` are `messages` (each) and `tools` (all) as JSON, where the caller has them already:
    then nothing that was sent before is encoded again, nor looked at where it is `Encoded`. `timeout` is for the whole
    call, in seconds from when it is sent. With `stream` the answer is wanted piece by piece, within these limits. With
    `tokens` its tokens are wanted (see `ModelReply.tokens`), which not every endpoint takes, and which come with whole
    answers only; `token_form` is whose way of asking for them is used. They are sampled of all there are then
    (`WHOLE`). `began` is called when the first piece of a streamed answer has come. `pictures` are the data URLs of
    images, by what messages call them.
    """

    messages: Sequence[Message]
    encoded: Encoded | Sequence[bytes] = ()
    tools: Sequence[JsonObject] = ()
    encoded_tools: bytes = b""
    response_format: JsonObject | None = None
    temperature: float | None = None
    top_p: float | None = None
    seed: int | None = None
    max_tokens: int | None = None
    timeout: float = 600.0
    stream: StreamLimits | None = None
    tokens: bool = False
    token_form: Literal["vllm", "sglang"] = "vllm"
    began: Callable[[], None] | None = None
    pictures: Mapping[str, str] = field(default_factory=dict)


WHOLE = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
"""Options of vLLM and SGLang by which nothing of a distribution is cut off or shifted, whatever a model's own
configuration says: what is sampled else is not what the logprobs are of."""


def is_logprob(value: float) -> bool:
    """Whether this is the logprob of a token that was sampled. vLLM tells -9999.0 where it knows none; rounding may
    make one a little more than 0."""
    return -9999.0 < value < 0.01


@value(frozen=True, slots=True)
class Tokens:
    """The tokens of a call as the endpoint gave them; what it did not give is empty. `logprobs` are those of
    `completion_ids`, of the distribution that was sampled from. The counts are what its usage said of this exchange."""

    prompt_ids: tuple[int, ...] = ()
    completion_ids: tuple[int, ...] = ()
    logprobs: tuple[float, ...] = ()
    prompt_tokens: int = 0
    completion_tokens: int = 0

    @property
    def exact(self) -> bool:
        """Whether nothing is missing: ids, logprobs and the endpoint's own counts are of one length, all finite."""
        lengths = len(self.prompt_ids), len(self.completion_ids)
        return are_exact(lengths, (self.prompt_tokens, self.completion_tokens), self.logprobs)


def are_exact(ids: tuple[int, int], counted: tuple[int, int], logprobs: Sequence[float]) -> bool:
    """`Tokens.exact`, of how many ids there are and were counted, of prompt and completion."""
    whole = ids[0] > 0 and len(logprobs) == ids[1] > 0
    return ids == counted and whole and all(map(is_logprob, logprobs))


@value(frozen=True, slots=True)
class ModelReply:
    """An accepted answer. `message` is the raw assistant message, to be sent back verbatim.

    Times are `time.monotonic` seconds; `usage.calls` is 1; `limits` is what the endpoint told of its rates,
    `tokens` what was sampled, where the request wanted it; `policy_version` is that of the weights, as far as the
    endpoint tells: where it tells none, the name that it gives the model. `fitted` tells how the request was changed
    for an endpoint that lacks something, and what else was exchanged for this answer (see
    `swarm.models.fitting.fitted`).
    """

    message: Message
    content: str
    tool_calls: tuple[ToolCall, ...]
    finish_reason: str
    usage: Usage
    model: str
    t_sent: float
    t_first_token: float
    t_done: float
    limits: RateLimits | None = None
    tokens: Tokens | None = None
    policy_version: str = ""
    fitted: JsonObject = field(default_factory=dict)
