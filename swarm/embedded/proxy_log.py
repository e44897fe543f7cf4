"""What a gateway has passed on, in the log of a run: an agent for each session, a call for each exchange."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from pydantic_core import to_json

from swarm import __version__
from swarm.config import Rollout, RunConfig
from swarm.embedded.proxy_exchange import Chat, Exchange
from swarm.embedded.proxy_sessions import Sessions, Strand
from swarm.errors import JournalError, UsageError
from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    CallSent,
    RunEnded,
    RunStarted,
    ToolFinished,
    ToolStarted,
)
from swarm.journal.parl import StageClock, about_learning
from swarm.journal.parquet import on_close
from swarm.journal.redaction import Redactor, secrets_of
from swarm.journal.totals import Totals
from swarm.journal.writer import Journal, open_journal
from swarm.models.tokens import TokenRatio
from swarm.new_folder import make_folder
from swarm.removal import remove_tree
from swarm.result import RunResult, Spent
from swarm.run_folders import new_run_id, run_folder
from swarm.types import Message, Outcome, Role, RunStatus, ToolStatus
from swarm.whole_file import write_whole

MODE = "gateway"

_SECRET = 16
"""Characters of a key without digits that is no word."""

_POLICYS = frozenset({"bad_request", "context_too_long", "refused"})
"""Failures that the agent brought about itself."""


class GatewayLog:
    """Use `open_log`."""

    def __init__(self, journal: Journal, folder: Path, upstream: str) -> None:
        self.folder = folder
        self.sessions = Sessions()
        self.begun = 0
        """Sessions so far."""
        self._journal = journal
        self._upstream = upstream
        self._totals = Totals()
        self._clock = StageClock()
        self._began = time.monotonic()
        journal.subscribe(self._totals.observe)
        journal.subscribe(self._clock.observe)

    def __repr__(self) -> str:
        return f"<GatewayLog {self.folder.name}: {self.sessions!r}>"

    def hide(self, key: str) -> None:
        """Take a client's key out of the record: an endpoint may tell it again. Where no key is needed clients send any
        word, which would be taken out of what the agents say."""
        if len(key) >= _SECRET or (re.search(r"[0-9]", key) and re.search(r"[A-Za-z]", key)):
            self._journal.hide("api_key", key)

    def find(self, chat: Chat) -> Strand | None:
        """The session that a call goes on with; None: it begins one."""
        for strand in self.sessions.expired(time.monotonic()):
            self._journal.emit(_ended(strand))
        return self.sessions.find(chat.session, chat.client, chat.messages)

    def begin(self, chat: Chat, *, trainable: bool) -> Exchange:
        """A call is about to be sent; `trainable` counts where it begins a session. The results of tools that it
        brings along are recorded with it."""
        strand = self.find(chat)
        if strand is None:
            strand = self.sessions.begin(chat.session, chat.client)
            self.begun += 1
            strand.trainable, strand.tools = trainable, list(chat.tools)
            system = next((each for each in chat.messages if each.get("role") in ("system", "developer")), {})
            self._journal.emit(
                AgentStarted(
                    trajectory_id=strand.id,
                    role=Role.ORCHESTRATOR,
                    name=strand.id,
                    trainable=trainable,
                    model=chat.model,
                    system_prompt_sha256=_sha256(str(system.get("content") or "")),
                    tools=list(chat.tools),
                )
            )
        strand.busy = True
        kept = strand.shared(chat.messages)
        call_id = f"{strand.id}/{strand.turns + 1}"
        strand.attempts += 1
        self._used(strand, chat.messages[kept:], call_id)
        prompt = [*strand.messages[:kept], *chat.messages[kept:]]
        sampling = dict(chat.sampling)
        if list(chat.tools) != list(strand.tools):
            sampling["tools"] = list(chat.tools)
        size = TokenRatio().tokens(len(to_json(prompt)))
        self._journal.emit(
            CallSent(trajectory_id=strand.id, call_id=call_id, attempt=strand.attempts, prompt_tokens=size)
        )
        record = CallFinished(
            trajectory_id=strand.id,
            lineage_id=strand.lineage + (kept < len(strand.messages)),
            call_id=call_id,
            turn=strand.turns + 1,
            attempt=strand.attempts,
            accepted=False,
            model=chat.model,
            prefix_call_id=strand.call_id,
            prefix_messages=kept,
            new_messages=list(chat.messages[kept:]),
            prompt_sha256=_prompt_sha256(prompt),
            sampling=sampling,
            untrainable="failed" if strand.trainable else "frozen",
            t_sent=time.monotonic(),
        )
        return Exchange(self._journal.emit, strand, record, prompt)

    def _used(self, strand: Strand, messages: Sequence[Message], seen_by: str) -> None:
        """Tools that the agent has used since its last call, as far as it tells: when, nobody knows."""
        for message in messages:
            found = next((each for each in strand.open_calls if each[1].id == message.get("tool_call_id")), None)
            if message.get("role") != "tool" or found is None:
                continue
            strand.open_calls.remove(found)
            strand.tool_calls += 1
            call_id, call = found
            about: dict[str, Any] = {"trajectory_id": strand.id, "call_id": call_id, "tool_call_id": call.id}
            about |= {"name": call.name, "arguments": call.arguments}
            content = message.get("content")
            result = content if isinstance(content, str) else to_json(content).decode()
            self._journal.emit(ToolStarted(**about))
            self._journal.emit(
                ToolFinished(
                    **about,
                    t_start=strand.seen,
                    t_end=time.monotonic(),
                    status=ToolStatus.COMPLETED,
                    result=result,
                    result_sha256=_sha256(result),
                    first_seen_by=seen_by,
                )
            )

    def started(self) -> None:
        task = f"calls passed on to {self._upstream}"
        config = RunConfig().model_dump(mode="json")
        self._journal.emit(
            RunStarted(
                task=task,
                task_sha256=_sha256(task),
                mode=MODE,
                swarm_version=__version__,
                config=config,
                config_sha256=_sha256(to_json(config).decode()),
                endpoints={Role.ORCHESTRATOR.value: self._upstream},
            )
        )

    async def end(self) -> None:
        """The ends of all sessions and of the run, on disk.

        Raises:
            JournalError, OSError: they cannot be written.
        """
        for strand in self.sessions.all():
            self._journal.emit(_ended(strand))
        totals = self._totals
        result = RunResult(
            run_id=self.folder.name,
            status=RunStatus.COMPLETED,
            exit_code=0,
            answer=f"{totals.calls} calls of {self.begun} sessions were passed on.",
            usage=Spent(**totals.usage.model_dump(include=set(Spent.model_fields))),
            cost_usd=totals.cost,
            wall_s=time.monotonic() - self._began,
            critical_steps=totals.critical_steps,
            total_steps=totals.total_steps,
            run_dir=str(self.folder),
        )
        ended = RunEnded(
            status=result.status,
            exit_code=0,
            result=result.model_dump(mode="json"),
            total_steps=result.total_steps,
            critical_steps=result.critical_steps,
            wall_s=result.wall_s,
        )
        # Without the components of a reward: nobody has judged what the sessions were about.
        self._journal.emit(about_learning(ended, self._clock, totals, Rollout())[-1])
        await self._journal.flush()
        data = result.model_dump_json(indent=2).encode()
        await anyio.to_thread.run_sync(write_whole, self.folder / "result.json", data)


@asynccontextmanager
async def open_log(upstream: str) -> AsyncIterator[GatewayLog]:
    """The log of a gateway to the host `upstream`, as a run of its own; ended with the block, however it is left.

    Raises:
        MachineError: its folder cannot be made, for want of permission or room.
        JournalError: it can no longer be written.
    """
    folder = run_folder(new_run_id())
    await anyio.to_thread.run_sync(make_folder, folder)
    redactor = Redactor(secrets_of(os.environ))
    failure: Exception | None = None
    try:
        async with open_journal(folder / "events.jsonl", folder.name, redactor) as journal:
            log = GatewayLog(journal, folder, upstream)
            log.started()
            try:
                yield log
            except Exception as error:  # noqa: BLE001  raised below, outside of the journal's task group
                failure = error
            finally:
                with anyio.CancelScope(shield=True):
                    await log.end()
        with anyio.CancelScope(shield=True):  # bounded in time
            await on_close(folder)
    except BaseExceptionGroup as group:
        failures, rest = group.split((JournalError, OSError))
        if failures is None or rest is not None:
            raise
        raise JournalError(f"the record in {folder} can no longer be written") from failures
    if isinstance(failure, UsageError) and not log.begun:  # nobody could call
        await anyio.to_thread.run_sync(remove_tree, folder)
    if failure is not None:
        raise failure


def _ended(strand: Strand) -> AgentEnded:
    """The last word on a session. Nobody knows what its agent meant to do: where it left a tool call without a result,
    or its last call failed, it broke off."""
    error = strand.last_error
    if error and error not in _POLICYS and error != "cancelled":
        outcome, stop = Outcome.ERRORED, error
    elif error or strand.busy or strand.open_calls:
        outcome, stop = Outcome.CANCELLED, error or "left"
    else:
        outcome, stop = Outcome.COMPLETED, "answered"
    said = strand.messages[-1].get("content") if strand.messages else ""
    return AgentEnded(
        trajectory_id=strand.id,
        outcome=outcome,
        stop=stop,
        terminated=outcome is Outcome.COMPLETED,
        truncated=outcome is not Outcome.COMPLETED,
        final_output=said if isinstance(said, str) else "",
        steps=strand.turns,
        tool_calls=strand.tool_calls,
        usage=strand.usage,
        seconds=max(0.0, strand.seen - strand.born),
    )


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _prompt_sha256(messages: Sequence[Message]) -> str:
    digest = hashlib.sha256()
    for message in messages:
        digest.update(to_json(message) + b"\n")
    return digest.hexdigest()
