"""Reads what an endpoint sends back for a call: a whole answer or a stream of events, whatever it calls it."""

from __future__ import annotations

import anyio
import httpx2
from pydantic import ValidationError
from pydantic_core import from_json

from swarm.errors import EndpointError, EndpointFault
from swarm.models.wire.answers import Answer, usage_of, where_wrong
from swarm.models.wire.faults import CHECK_URL, fault_said
from swarm.models.wire.lean import Opened
from swarm.models.wire.said import status_said
from swarm.models.wire.stream import DONE, Assembly, EventParser, chunk_of
from swarm.models.wire.watch import Watch
from swarm.types import JsonObject

LAST_S = 0.25
"""Seconds that the end of a stream may take after its last event. Longer, and the connection is given up."""

GRACE_S = 2.0
"""Seconds between two pieces of a stream that has told why it finished: some servers leave it open after that."""

_BOM = b"\xef\xbb\xbf"
_FIELDS = (b"data:", b"event:", b":", b"id:", b"retry:")
_PEEK = 4096
"""Bytes in which a body shows what it is."""

BROKEN_OFF = frozenset({"error", "network_error", "insufficient_system_resource", "abort", "aborted", "cancelled"})
"""Reasons to finish of an answer that failed at the server's."""

FILTERED = frozenset({"content_filter", "content_filtered", "safety", "recitation", "sensitive", "prohibited_content"})
"""Reasons to finish of an answer that was taken back."""

CUT_SHORT = frozenset({"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded"})
"""Reasons to finish of an answer that met a limit of tokens."""


class AnswerReader:
    """Reads answers of one model at one endpoint."""

    def __init__(self, model: str, endpoint: str) -> None:
        self._model = model
        self._endpoint = endpoint

    async def read(self, opened: Opened, watch: Watch, assembly: Assembly, headers: dict[str, str]) -> Answer:
        """The answer; `assembly` holds what came of it, if it is a stream.

        Raises:
            EndpointError: it tells an error, or is not one, or not whole.
            httpx2.HTTPError: the connection failed.
        """
        begin, is_stream = await _begin(opened)
        if is_stream:
            await self._read_stream(begin, opened, watch, assembly, headers)
            answer = self._put_together(assembly)
        else:
            answer = self._read_whole(b"".join([begin, *[part async for part in opened.parts]]), headers)
        error = self._error_of(answer, headers)
        if error is not None:
            error.completion_tokens = usage_of(answer.usage).completion_tokens
            raise error
        if (answer.choices[0].finish_reason or "").lower() in CUT_SHORT:
            answer.choices[0].finish_reason = "length"
        return answer

    def malformed(self, what: str) -> EndpointError:
        return EndpointError(
            EndpointFault.MALFORMED,
            f"{self._endpoint} answered in another form than /chat/completions: {what}",
            remedy=CHECK_URL,
        )

    async def _read_stream(
        self, begin: bytes, opened: Opened, watch: Watch, assembly: Assembly, headers: dict[str, str]
    ) -> None:
        """Read a stream to its end: [DONE], or where nothing more comes after a reason to finish."""
        parser, parts = EventParser(), opened.parts
        done = self._add(parser.feed(begin), assembly, headers)
        watch.came(assembly.events, parser.heartbeats)
        ended = False
        try:
            if not done and assembly.finish_reason is None:
                async for part in parts:
                    done = self._add(parser.feed(part), assembly, headers)
                    watch.came(assembly.events, parser.heartbeats)
                    if done or assembly.finish_reason is not None:
                        break
                else:
                    ended = True
            if not done and not ended:
                with anyio.move_on_after(GRACE_S) as scope:
                    async for part in parts:
                        done = self._add(parser.feed(part), assembly, headers)
                        watch.came(assembly.events, parser.heartbeats)
                        if done:
                            break
                        scope.deadline = anyio.current_time() + GRACE_S
                    else:
                        ended = True
            if ended:
                done = self._add(parser.end(), assembly, headers)
        except httpx2.TransportError:
            if assembly.finish_reason is None:
                raise
        if done and not opened.ended:
            with anyio.move_on_after(LAST_S):  # to the end, so that the connection can be used again
                async for _ in parts:
                    pass
        if assembly.finish_reason is None and not assembly.events and done:
            raise self.malformed("a stream without an answer")
        if assembly.finish_reason is None and not done:
            raise EndpointError(EndpointFault.CUT, f"{self._endpoint} ended the stream before the answer was whole")
        watch.came(assembly.events, parser.heartbeats)

    def _add(self, events: list[bytes], assembly: Assembly, headers: dict[str, str]) -> bool:
        """Add events to the answer; gives whether they say that it is whole."""
        for data in events:
            if data[:1] != b"{":
                data = data.strip()
                if not data:
                    continue
                if data == DONE:
                    return True
            try:
                chunk = chunk_of(data)
                if b"error" in data or b'"code"' in data:  # few do
                    error = _error_in(chunk)
                    if error is not None:
                        raise self._fault(error, headers)
                assembly.add(chunk)
            except (ValueError, TypeError, AttributeError, KeyError, LookupError):
                raise self.malformed("an event of the stream cannot be read") from None
        return False

    def _put_together(self, assembly: Assembly) -> Answer:
        choice = {"message": assembly.message(), "finish_reason": assembly.finish_reason}
        try:
            return Answer.model_validate({"choices": [choice], "model": assembly.model, "usage": assembly.usage})
        except ValidationError as error:
            raise self.malformed(where_wrong(error)) from None

    def _read_whole(self, body: bytes, headers: dict[str, str]) -> Answer:
        try:
            return Answer.model_validate_json(body)
        except ValidationError as error:
            try:
                said = from_json(body)
            except ValueError:
                said = None
            if isinstance(said, dict) and _says(said.get("error")):  # some send an error with status 200
                raise self._fault(said, headers) from None
            raise self.malformed(where_wrong(error)) from None

    def _error_of(self, answer: Answer, headers: dict[str, str]) -> EndpointError | None:
        """The failure that an answer in good form tells of."""
        choice = answer.choices[0]
        for error in (answer.error, choice.error):
            if _says(error):
                return self._fault({"error": error}, headers)
        reason = (choice.finish_reason or "").lower()
        if reason in BROKEN_OFF:
            return self._fault({"error": f"the answer ended with the reason {reason!r}"}, headers)
        if reason == "malformed_function_call":
            return self.malformed("a tool call that the server could not read")
        if choice.message.get("function_call") and not choice.message.get("tool_calls"):
            return self.malformed("a call as `function_call`, the form before tools")
        if reason in FILTERED:
            words = f"{self._endpoint} refused the content: its filter ended the answer"
            return EndpointError(EndpointFault.REFUSED, words)
        return None

    def _fault(self, said: JsonObject, headers: dict[str, str]) -> EndpointError:
        return fault_said(said, status_said(said, 502), self._model, self._endpoint, headers)


async def _begin(opened: Opened) -> tuple[bytes, bool]:
    """The first bytes of a body, without a mark of their order, and whether they begin a stream of events; where they
    do not show, its content type tells."""
    begin = b""
    async for part in opened.parts:
        begin = begin + part if begin else part
        head = begin[:_PEEK].removeprefix(_BOM).lstrip()[:8]
        if head.startswith(_FIELDS):
            return begin.removeprefix(_BOM), True
        may_be = any(field.startswith(head) for field in _FIELDS) or _BOM.startswith(head)
        if not may_be or len(begin) >= _PEEK:
            return begin.removeprefix(_BOM), head[:1] not in (b"{", b"[", b"<") and _told(opened)
    return begin.removeprefix(_BOM), _told(opened)


def _told(opened: Opened) -> bool:
    return "text/event-stream" in opened.header(b"content-type").lower()


def _says(error: object) -> bool:
    """Whether the member `error` tells of one: servers send it as null, or with nothing in it."""
    return any(error.values()) if isinstance(error, dict) else bool(error)


def _error_in(chunk: JsonObject) -> JsonObject | None:
    """What tells of an error in an event of a stream."""
    if "error" in chunk and _says(chunk["error"]):
        return chunk
    if chunk.get("object") == "error" or chunk.get("type") == "error":
        return chunk
    choices = chunk.get("choices")
    if choices:
        error = choices[0].get("error")
        return {"error": error} if error and _says(error) else None
    return chunk if chunk.get("message") and chunk.get("code") else None
