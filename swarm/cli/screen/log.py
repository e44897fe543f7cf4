"""What one agent said and did, out of the run's record, as lines; it grows while the run goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from swarm.cli.screen.paint import Pen
from swarm.cli.text import count, line, many, tool_use
from swarm.errors import JournalError
from swarm.events import (
    AgentEnded,
    AgentStarted,
    AgentTold,
    BoardPosted,
    CallFinished,
    CallSent,
    ContextEdited,
    Event,
    Notice,
    ToolFinished,
    ToolStarted,
    WorkerSaid,
)
from swarm.journal.records import parse_line
from swarm.legible import clean

KEPT = 20_000
"""Lines that are kept of a log at most."""

_BLOCK = 4 << 20
_MOST = 60
"""Lines of one text that are shown: its beginning and its end."""

_TAIL = 15
_STYLES = {"user": "dim", "system": "dim"}

Piece = tuple[str, str, str]
"""An indent, a text of one line, its style."""


class AgentLog:
    """The log of one agent. `read` takes in what the record holds by now; call it in a thread."""

    def __init__(self, record: Path, trajectories: Sequence[str]) -> None:
        self._record = record
        self._trajectories = trajectories
        self._at = 0
        self._held = b""
        self._pieces: list[Piece] = []
        self._lines: list[str] = []
        self._width = self._broken = self._taken = 0
        self.problem = ""

    def __repr__(self) -> str:
        return f"<AgentLog of {', '.join(self._trajectories)}: {self._taken} lines>"

    def read(self) -> bool:
        """Whether there was something new. What cannot be read is told by `problem`."""
        wanted = set(self._trajectories)
        marks = [json.dumps(name).encode() for name in wanted]
        before = self._taken
        try:
            with self._record.open("rb") as file:
                file.seek(self._at)
                while data := file.read(_BLOCK):
                    self._at += len(data)
                    *whole, self._held = (self._held + data).split(b"\n")
                    for raw in whole:
                        if any(mark in raw for mark in marks):
                            self._take(raw, wanted)
            self.problem = ""
        except OSError as error:
            self.problem = f"{self._record} cannot be read: {error.strerror or error}"
        return self._taken != before

    def lines(self, pen: Pen) -> list[str]:
        """All of it, broken at the pen's width."""
        if pen.width != self._width or self._broken > len(self._pieces):
            self._width, self._broken, self._lines = pen.width, 0, []
        for indent, content, style in self._pieces[self._broken :]:
            self._lines += [pen.theme.styled(text, style) for text in pen.wrapped(content, indent)]
        self._broken = len(self._pieces)
        return self._lines

    def _take(self, raw: bytes, wanted: set[str]) -> None:
        try:
            event = parse_line(raw, str(self._record))
        except JournalError:
            return  # of a newer version
        if getattr(event, "trajectory_id", "") in wanted:
            pieces = list(_told(event))
            self._pieces += pieces
            self._taken += len(pieces)
            if len(self._pieces) > KEPT:
                self._pieces, self._width = self._pieces[-KEPT // 2 :], 0


def _told(event: Event) -> Iterator[Piece]:
    match event:
        case AgentStarted():
            parts = [f"attempt {event.attempt}", line(event.sandbox), line(event.model)]
            yield "", " · ".join(part for part in parts if part), "bold"
        case CallSent() if event.attempt > 1:
            yield "", f"the call is sent again (try {event.attempt})", "yellow"
        case CallFinished():
            yield from _call(event)
        case ToolStarted():
            yield "", "", ""
            yield "", f"> {tool_use(event.name, event.arguments, 400)}", "cyan"
        case ToolFinished():
            yield from _tool(event)
        case ContextEdited():
            yield (
                "",
                f"its conversation was {event.action}: {count(event.tokens_after)} tokens are left of it",
                "yellow",
            )
        case AgentTold():
            yield "", f"told to finish: {line(event.text, 400)}", "yellow"
        case WorkerSaid() if event.text:
            yield "", f"{event.kind}{f' ({event.status})' if event.status else ''}: {line(event.text, 400)}", "cyan"
        case BoardPosted():
            yield "", f"board: {event.action} {line(event.key, 80)} {line(event.text, 400)}".rstrip(), "magenta"
        case Notice():
            yield "", line(event.message, 400), "yellow"
        case AgentEnded():
            took = f"{many(event.steps, 'step')}, {count(event.usage.total_tokens)} tokens, {event.seconds:.1f} s"
            yield "", "", ""
            yield "", f"{event.outcome.value.replace('_', ' ')} ({line(event.stop, 60)}) after {took}", "bold"
            yield from _text(event.final_output, "")
        case _:
            return


def _call(event: CallFinished) -> Iterator[Piece]:
    for message in event.new_messages:
        content = message.get("content")
        if isinstance(content, list):  # images beside the text, which names them
            content = "\n".join(str(part["text"]) for part in content if isinstance(part, dict) and part.get("text"))
        if message.get("role") in _STYLES and isinstance(content, str):
            yield "", "", ""
            yield "", f"{message['role']}:", "dim bold"
            yield from _text(content, "dim")
    yield "", "", ""
    if not event.accepted:
        how = line(event.error, 40).replace("_", " ") or "failed"
        yield "", f"call {event.turn} failed, try {event.attempt}: {how}: {line(event.error_message, 400)}", "yellow"
        return
    usage = event.usage
    cached = f" ({count(usage.cached_tokens)} cached)" if usage.cached_tokens else ""
    took = f", {event.t_done - event.t_sent:.1f} s" if event.t_done > event.t_sent > 0 else ""
    tokens = f"{count(usage.prompt_tokens)} tokens in{cached}, {count(usage.completion_tokens)} out"
    yield "", f"call {event.turn}: {tokens}{took}", "bold"
    reasoning = event.response.get("reasoning_content") or event.response.get("reasoning")
    if isinstance(reasoning, str):
        yield from _text(reasoning, "dim italic")
    if isinstance(content := event.response.get("content"), str):
        yield from _text(content, "")


def _tool(event: ToolFinished) -> Iterator[Piece]:
    how = event.status.value if event.exit_code is None else f"exit code {event.exit_code}"
    took = max(0.0, event.t_end - event.t_start)
    bad = bool(event.exit_code) or event.status.value != "completed"
    yield "", f"< {line(event.name, 60)}: {how}, {took:.1f} s", "yellow" if bad else "green"
    yield from _text(event.result, "", "  ")


def _text(text: str, style: str, indent: str = "") -> Iterator[Piece]:
    lines = [each.expandtabs(4).rstrip()[:2000] for each in clean(text).strip("\n").split("\n")]
    if len(lines) == 1 and not lines[0]:
        return
    left_out = len(lines) - _MOST
    if left_out > 0:
        lines[_MOST - _TAIL : len(lines) - _TAIL] = [f"... {many(left_out, 'line')} ..."]
    for each in lines:
        yield indent, each, style
