"""What somebody else's agent writes and does, told to the journal in pieces that have bounds."""

from __future__ import annotations

import codecs
import time

from swarm.events import WorkerSaid
from swarm.events.agent import WorkerWord
from swarm.journal.artifacts import Artifacts
from swarm.legible import clean
from swarm.protocols import EventSink
from swarm.sandboxes.channel.output import HeadTail

PIECE = 2_000
"""Characters of one record."""

PIECES = 1_000
"""Records of one attempt; what comes after them is in the artifact alone."""

KEPT = 4 << 20
"""Bytes of its output that are kept in the artifact, the first and the last half."""

_NAME = 200
"""Characters of an id, or of a word that it chose."""

_EVERY_S = 1.0
_LAST = 8_000


class Telling:
    """One attempt's voice in the journal."""

    def __init__(self, sink: EventSink, trajectory_id: str, artifacts: Artifacts) -> None:
        self._sink = sink
        self._id = trajectory_id
        self._artifacts = artifacts
        self._told = 0
        self._ended = False
        self._all = HeadTail(KEPT)
        self.out, self.err = Stream(self, "output"), Stream(self, "error")

    def __repr__(self) -> str:
        return f"<Telling of {self._id}: {self._told} records>"

    def tell(self, kind: WorkerWord, text: str, tool_call_id: str = "", status: str = "") -> None:
        """Tell of one thing; of a long text the beginning."""
        if self._told < PIECES:
            self._told += 1
            shown, its = clean(text[: 4 * PIECE]), (tool_call_id[:_NAME], status[:_NAME])
            shown = shown[: _end_of(shown)]
            self._sink.emit(
                WorkerSaid(trajectory_id=self._id, kind=kind, text=shown, tool_call_id=its[0], status=its[1])
            )

    def keep(self, chunk: bytes) -> None:
        """Keep what it wrote, for the artifact."""
        self._all.add(chunk)

    async def end(self, status: str) -> None:
        """Tell of its end, once, with the artifact that holds what it wrote.

        Raises:
            JournalError: that cannot be written.
        """
        if self._ended:
            return
        self._ended = True
        for stream in (self.out, self.err):
            stream.flush()
        handles: list[str] = []
        if written := self._all.value():
            artifact = self._artifacts.of(f"worker-{self._id}", written.decode(errors="replace"))
            await self._artifacts.keep(artifact)
            handles = [artifact.handle]
        self._sink.emit(WorkerSaid(trajectory_id=self._id, kind="ended", status=status, artifacts=handles))


class Stream:
    """One stream of its output, as text: at most one record a second but for what fills one, and the end in `last`."""

    def __init__(self, telling: Telling, kind: WorkerWord) -> None:
        self._telling = telling
        self._kind = kind
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._untold = ""
        self._since = 0.0
        self.last = ""
        """What was written last."""

    def __call__(self, chunk: bytes) -> None:
        self._telling.keep(chunk)
        text = self._decoder.decode(chunk)
        self.last = (self.last + text)[-_LAST:]
        self._untold += text
        while len(self._untold) >= PIECE:
            self._say(_end_of(self._untold))
        if "\n" in self._untold and time.monotonic() - self._since > _EVERY_S:
            self._say(self._untold.rindex("\n") + 1)

    def flush(self) -> None:
        """Tell what was not told yet."""
        if self._untold:
            self._say(len(self._untold))

    def _say(self, count: int) -> None:
        self._telling.tell(self._kind, self._untold[:count])
        self._untold, self._since = self._untold[count:], time.monotonic()


def _end_of(text: str) -> int:
    """Where a piece of it ends: behind a word where there is one, for half a secret is not known as one."""
    if len(text) <= PIECE:
        return len(text)
    found = max(text.rfind(" ", 0, PIECE), text.rfind("\n", 0, PIECE)) + 1
    return found if found > PIECE // 2 else PIECE
