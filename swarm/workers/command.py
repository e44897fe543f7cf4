"""An agent that is a command: it is given its task, works in the folder that it is in, and ends."""

from __future__ import annotations

import shlex

from swarm.agents.agent import LoopEnd
from swarm.hosting import Talk
from swarm.legible import clean
from swarm.types import Outcome
from swarm.workers.guest import Visit

_LONGEST = 100_000
"""Bytes of one argument of a command: Linux takes little more."""

_VARIABLE = "SWARM_TASK"
_SHOWN = 1_500
"""Characters of its output that are its result: the last whole lines."""


class CommandGuest:
    """One attempt of such a command. The task stands for `{task}` and `{task_file}` in it, or comes on its standard
    input where it has neither."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit

    async def run(self) -> LoopEnd:
        """See `Guest.run`. Its exit code decides; its last output is what it says."""
        visit, line = self._visit, self._visit.named.agent.line
        task = visit.briefing.encode(errors="replace")
        inline, file = "{task}" in line, "{task_file}" in line
        if inline and len(task) > _LONGEST:
            text = f"its task has {len(task)} bytes, more than a command line takes: use {{task_file}} in its command"
            return LoopEnd(Outcome.FAILED, "task_too_long", text)
        holes: dict[str, str] = {}
        before = ""
        if file:
            made = await visit.sandbox.exec('f=$(mktemp) && cat >"$f" && printf %s "$f"', stdin=task)
            if made.exit_code != 0:
                return LoopEnd(Outcome.FAILED, "no_task_file", clean(made.stderr.decode(errors="replace")))
            holes["{task_file}"] = shlex.quote(made.stdout.decode())
        if inline:  # a variable of the shell: it stands in no other quotes, and is a word of the command and no more
            before, holes["{task}"] = f"{_VARIABLE}={shlex.quote(visit.briefing)}; ", f'"${_VARIABLE}"'
        out, err = visit.telling.out, visit.telling.err
        talk = Talk(out, err, b"" if inline or file else task)
        done = await visit.sandbox.converse(before + visit.script(holes), talk)
        await visit.telling.end(str(done.exit_code))
        said = _last_lines(out.last) or _last_lines(err.last)
        if done.exit_code == 0:
            return LoopEnd(Outcome.COMPLETED, "answered", said or "done; it says nothing")
        why = _last_lines(err.last) or said
        return LoopEnd(Outcome.FAILED, "exit_code", f"{visit.named.name} ended with exit code {done.exit_code}: {why}")

    async def stop(self) -> None:
        """It has been refused its model, and there is no other way to tell it."""


def _last_lines(text: str) -> str:
    text = clean(text).strip()
    return text if len(text) <= _SHOWN else text[-_SHOWN:].partition("\n")[2] or text[-_SHOWN:]
