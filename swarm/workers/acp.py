"""An agent that speaks the Agent Client Protocol: we are its client, and serve it the sandbox's files and terminals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import anyio
from acp import PROTOCOL_VERSION, schema
from pydantic import BaseModel, ValidationError

from swarm import __version__
from swarm.agents.agent import LoopEnd
from swarm.errors import SandboxError
from swarm.hosting import Talk
from swarm.legible import clean
from swarm.stopping import companions
from swarm.types import Outcome
from swarm.workers.guest import Visit
from swarm.workers.peer import INVALID_PARAMS, Peer, PeerError, PeerGone, Words
from swarm.workers.premises import Premises
from swarm.workers.updates import Updates

M = TypeVar("M", bound=BaseModel)

_STARTS_S = 60.0
"""Seconds in which it answers that it is there, and opens a session."""

_ENDS_S = 5.0
"""Seconds in which it ends by itself when nothing more is said to it."""

_AUTH = -32000
_ENDS: Mapping[str, tuple[Outcome, str]] = {
    "end_turn": (Outcome.COMPLETED, "answered"),
    "max_tokens": (Outcome.BUDGET_EXHAUSTED, "max_tokens"),
    "max_turn_requests": (Outcome.BUDGET_EXHAUSTED, "max_steps"),
    "refusal": (Outcome.FAILED, "refused"),
    "cancelled": (Outcome.CANCELLED, "cancelled"),
}


class AcpGuest:
    """One attempt of such an agent: a session of one prompt."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._words = Words()
        self._peer = Peer(self._words.say, self._asked, self._told)
        self._premises = Premises(visit.sandbox)
        self._updates = Updates(visit.telling)
        self._session = ""
        self._code: int | None = None
        self._fault: SandboxError | None = None

    async def run(self) -> LoopEnd:
        """See `Guest.run`. What it says last, after its last use of a tool, is its result."""
        try:
            async with companions() as group:
                self._premises.open_in(group)
                group.start_soon(self._host)
                group.start_soon(self._peer.serve)
                try:
                    ended = await self._talk()
                except PeerGone:
                    ended = LoopEnd(Outcome.FAILED, "exit_code", self._gone())
                except PeerError as error:
                    hint = ": it wants to be logged in, which nobody can here" if error.code == _AUTH else ""
                    ended = LoopEnd(Outcome.FAILED, "protocol", f"{self._name} refuses{hint}: {clean(str(error))}")
                except ValidationError as error:
                    wrong = error.errors(include_url=False, include_input=False)[0]
                    text = f"{self._name} answers in another form than the protocol's: {wrong['msg']}"
                    ended = LoopEnd(Outcome.FAILED, "protocol", text)
                self._words.end()  # the end of its input: most end by that
                with anyio.move_on_after(_ENDS_S):
                    await self._peer.gone.wait()
        finally:
            self._words.end()
            self._words.out.close()
            self._peer.close()
        if self._fault is not None:
            raise self._fault
        await self._visit.telling.end(ended.stop if self._code is None else str(self._code))
        return ended

    async def stop(self) -> None:
        """Ask it to break off."""
        if self._session:
            await self._peer.notify("session/cancel", {"sessionId": self._session})

    @property
    def _name(self) -> str:
        return self._visit.named.name

    async def _host(self) -> None:
        """Its process: to its end, or killed with the block around this."""
        talk = Talk(self._peer.hear, self._visit.telling.err, self._words.out)
        try:
            done = await self._visit.sandbox.converse(self._visit.script(), talk)
            self._code = done.exit_code
        except SandboxError as error:
            self._fault = error
        finally:
            self._peer.ended()

    async def _talk(self) -> LoopEnd:
        with anyio.move_on_after(_STARTS_S) as starting:
            capabilities = schema.ClientCapabilities(
                fs=schema.FileSystemCapabilities(read_text_file=True, write_text_file=True), terminal=True
            )
            hello = schema.InitializeRequest(
                protocol_version=PROTOCOL_VERSION,
                client_capabilities=capabilities,
                client_info=schema.Implementation(name="swarm", version=__version__),
            )
            told = schema.InitializeResponse.model_validate(await self._peer.request("initialize", _wire(hello)))
            if told.protocol_version != PROTOCOL_VERSION:
                text = f"{self._name} speaks version {told.protocol_version} of the protocol, not {PROTOCOL_VERSION}"
                return LoopEnd(Outcome.FAILED, "protocol", text)
            new = schema.NewSessionRequest(cwd=self._visit.sandbox.workdir, mcp_servers=[])
            session = schema.NewSessionResponse.model_validate(await self._peer.request("session/new", _wire(new)))
            self._session = session.session_id
        if starting.cancelled_caught:
            return LoopEnd(Outcome.FAILED, "protocol", f"{self._name} does not answer: is it such an agent?")
        block = schema.TextContentBlock(type="text", text=self._visit.briefing)
        prompt = schema.PromptRequest(session_id=self._session, prompt=[block])
        ended = schema.PromptResponse.model_validate(await self._peer.request("session/prompt", _wire(prompt)))
        outcome, stop = _ENDS[ended.stop_reason]
        return LoopEnd(outcome, stop, self._updates.said or f"it ended ({ended.stop_reason}) and says nothing")

    def _gone(self) -> str:
        err = clean(self._visit.telling.err.last).strip()[-2_000:]
        how = "says more than can be heard" if self._code is None else f"ended with exit code {self._code}"
        return f"{self._name} {how}{f': {err}' if err else ''}"

    def _told(self, method: str, params: dict[str, Any]) -> None:
        if method == "session/update" and params.get("sessionId") == self._session:
            self._updates.take(params.get("update"))

    async def _asked(self, method: str, params: dict[str, Any]) -> dict[str, Any] | None:
        """What it asks of its client."""
        if method == "session/request_permission":
            return self._permit(_read(schema.RequestPermissionRequest, params))
        return await self._premises.asked(method, params)

    def _permit(self, request: schema.RequestPermissionRequest) -> dict[str, Any]:
        """It may do what it likes: it is in a sandbox. Once rather than always."""
        kinds = {option.kind: option.option_id for option in reversed(request.options)}
        chosen = kinds.get("allow_once") or kinds.get("allow_always")
        title = request.tool_call.title or ""
        self._visit.telling.tell("permission", title, request.tool_call.tool_call_id, chosen or "cancelled")
        if chosen is None:
            return {"outcome": {"outcome": "cancelled"}}
        return {"outcome": {"outcome": "selected", "optionId": chosen}}


def _wire(message: BaseModel) -> dict[str, Any]:
    return message.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_unset=True)


def _read(model: type[M], params: dict[str, Any]) -> M:
    try:
        return model.model_validate(params)
    except ValidationError as error:
        raise PeerError(INVALID_PARAMS, error.errors(include_url=False)[0]["msg"]) from None
