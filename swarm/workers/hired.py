"""Somebody else's agent as a worker of ours: each attempt has the agent's own process in the attempt's sandbox, an
endpoint with a token of its own, and limits."""

from __future__ import annotations

import json
import re
import secrets
from contextlib import closing
from dataclasses import replace
from typing import Any

import anyio
from jsonschema import Draft202012Validator

from swarm.agents.agent import LoopEnd
from swarm.errors import SandboxError
from swarm.executors.substance import holds
from swarm.executors.worker import Errand
from swarm.foreign import Named
from swarm.hosting import Hosting
from swarm.journal.artifacts import Artifacts
from swarm.protocols import Sandbox
from swarm.stopping import companions
from swarm.types import AgentSpec, JsonObject, Outcome
from swarm.workers.command import CommandGuest
from swarm.workers.dialogue import Dialogue
from swarm.workers.endpoint import serving
from swarm.workers.guest import Guest, HostingSandbox, Visit
from swarm.workers.telling import Telling

GRACE_S = 10.0
"""Seconds in which an agent whose model is not answered any more may end by itself."""

_FORM = (
    "Besides, a result is wanted as JSON that fits the schema below. End your summary with it, alone in a fenced block "
    "that begins with ```json.\n\n"
)
_FENCED = re.compile(r"^```json[ \t]*\n(.*?)^```", re.DOTALL | re.MULTILINE)


class HiredWorker:
    """`swarm.executors.worker.Worker`. `prompt` is what every such agent is told first; `path` are further folders of
    programs, as they are seen inside."""

    def __init__(self, named: Named, prompt: str, artifacts: Artifacts, path: str = "") -> None:
        self.name = named.name
        self._named = named
        self._prompt = prompt
        self._artifacts = artifacts
        self._path = path

    def __repr__(self) -> str:
        return f"<HiredWorker {self.name}>"

    async def work(self, errand: Errand) -> LoopEnd:
        """See `swarm.executors.worker.Worker.work`."""
        spec, sandbox = errand.spec, errand.sandbox
        dialogue = Dialogue(errand)
        telling = Telling(errand.conversation.line.sink, spec.trajectory_id, self._artifacts)
        token = f"swarm-{secrets.token_urlsafe(24)}"
        try:
            with spec.steering.clock.limited(spec.limits.timeout) as limit:
                hosting = _hosting(sandbox)
                with closing(await hosting.listen()) as listener:
                    async with serving(dialogue, listener, token) as base_url:
                        known = {"{base_url}": base_url, "{api_key}": token, "{model}": dialogue.model}
                        visit = Visit(self._named, self._briefing(spec), known, hosting, telling, self._path)
                        ended = await self._visited(self._guest(visit), dialogue)
        finally:  # also where all of it was cancelled
            with anyio.CancelScope(shield=True):
                await telling.end("killed")
        if limit.cancelled_caught:
            return LoopEnd(Outcome.TIMED_OUT, "timeout", spec.steering.clock.why)
        if dialogue.fault is not None:
            raise dialogue.fault
        return _told(ended, dialogue, spec)

    async def _visited(self, guest: Guest, dialogue: Dialogue) -> LoopEnd | None:
        """The agent at work; None where it had to be killed, for its model is not answered any more."""
        ended: LoopEnd | None = None
        with anyio.CancelScope() as scope:
            async with companions() as group:

                async def watch() -> None:
                    await dialogue.over.wait()
                    if dialogue.fault is None:
                        await guest.stop()
                        await anyio.sleep(GRACE_S)
                    scope.cancel()

                group.start_soon(watch)
                ended = await guest.run()
        return ended

    def _guest(self, visit: Visit) -> Guest:
        if self._named.agent.kind == "command":
            return CommandGuest(visit)
        from swarm.workers.acp import AcpGuest

        return AcpGuest(visit)

    def _briefing(self, spec: AgentSpec) -> str:
        """All that it is told. Nothing of it but the sub-task itself depends on anything else."""
        parts = [self._prompt, spec.subtask.system_prompt, spec.instructions]
        if spec.subtask.result_schema is not None:
            parts.append(_FORM + json.dumps(spec.subtask.result_schema, ensure_ascii=False))
        return "\n\n".join(part for part in parts if part)


def _hosting(sandbox: Sandbox) -> HostingSandbox:
    if not isinstance(sandbox, Hosting):
        raise SandboxError(
            f"{sandbox!r} cannot host somebody else's agent", remedy="take a sandbox of ours, or leave out --worker"
        )
    return sandbox


def _told(ended: LoopEnd | None, dialogue: Dialogue, spec: AgentSpec) -> LoopEnd:
    """How the attempt ended, by what the agent says and what became of its calls."""
    if dialogue.end is not None:
        said = f"\n\n{ended.text}" if ended is not None and ended.text else ""
        return replace(dialogue.end, text=f"{dialogue.end.text}{said}")
    assert ended is not None
    in_vain = dialogue.failed is not None and not dialogue.answered  # whatever it says of its work
    if dialogue.failed is not None and (ended.outcome is Outcome.FAILED or in_vain):
        text = f"{dialogue.failed.message}; then: {ended.text}"
        return LoopEnd(Outcome.ERRORED, str(dialogue.failed.kind), text)
    schema = spec.subtask.result_schema
    return ended if schema is None or ended.outcome is not Outcome.COMPLETED else _with_result(ended, schema)


def _with_result(ended: LoopEnd, schema: JsonObject) -> LoopEnd:
    """The end with the result that stands in what was said last, if it is one."""
    result = _result_in(ended.text)
    if result is None:
        return LoopEnd(Outcome.FAILED, "no_result", f"ended without the result asked for: {ended.text}")
    wrong = next(Draft202012Validator(schema).iter_errors(result), None)
    if wrong is not None:
        return LoopEnd(Outcome.FAILED, "no_result", f"its result does not fit: {wrong.message[:500]}: {ended.text}")
    if not holds(result, schema):
        return LoopEnd(Outcome.FAILED, "empty_result", f"an empty result: {ended.text}", result=result)
    return replace(ended, result=result)


def _result_in(text: str) -> Any:
    for found in [*reversed(_FENCED.findall(text)), text]:
        try:
            return json.loads(found)
        except (ValueError, RecursionError):
            continue
    return None
