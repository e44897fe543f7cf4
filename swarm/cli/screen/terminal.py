"""The terminal while the screen has it: another buffer, keys as they are pressed; given back whatever happens."""

from __future__ import annotations

import os
import re
import select
import signal
import termios
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

from swarm.cli.screen.paint import Theme

_TAKE = b"\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"  # the other buffer, no cursor, no wrapping, cleared
_GIVE = b"\x1b[0m\x1b[?7h\x1b[?25h\x1b[?1049l"
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"  # terminals that know it show what is between at once
_READY_S = 0.2
"""Seconds that a terminal which is stopped may hold up its return."""

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[ -~])|.", re.DOTALL)
_KEYS = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "1~": "home",
    "7~": "home",
    "4~": "end",
    "8~": "end",
    "5~": "page up",
    "6~": "page down",
    "Z": "left",
    "\r": "enter",
    "\n": "enter",
    "\t": "right",
    " ": "page down",
    "\x02": "page up",
    "\x06": "page down",
    "\x0c": "redraw",
    "\x1b": "escape",
}


class Terminal:
    """The terminal at `output`; `keyboard` is where its keys come from, None where they do not come to us."""

    def __init__(self, output: int, keyboard: int | None) -> None:
        self.output = output
        self.keyboard = keyboard
        self._modes: list[Any] | None = None
        self._taken = False
        self._lines: list[str] = []
        self._size = (0, 0)
        self._lock = threading.Lock()
        self._quit: Any = None

    def __repr__(self) -> str:
        return f"<Terminal {self.output}, {'taken' if self._taken else 'not taken'}>"

    @property
    def taken(self) -> bool:
        return self._taken

    @property
    def ours(self) -> bool:
        """Whether we are in the foreground: who is not must let it be."""
        try:
            return os.tcgetpgrp(self.output) == os.getpgrp()
        except OSError:  # not the one that controls us: nobody else has it
            return True

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            size = os.get_terminal_size(self.output)
        except OSError:
            return 80, 24
        return (size.columns or 80), (size.lines or 24)

    def take(self) -> None:
        """Show the other buffer and read keys as they are pressed; once more after a stop."""
        with self._lock:
            if self.keyboard is not None:
                try:
                    modes = termios.tcgetattr(self.keyboard)
                    if self._modes is None:
                        self._modes = modes
                    modes = [*modes[:3], modes[3] & ~(termios.ICANON | termios.ECHO), *modes[4:6], list(modes[6])]
                    modes[6][termios.VMIN], modes[6][termios.VTIME] = 1, 0
                    termios.tcsetattr(self.keyboard, termios.TCSANOW, modes)
                except termios.error:
                    self.keyboard, self._modes = None, None
            if not self._taken and threading.current_thread() is threading.main_thread():
                self._quit = signal.signal(signal.SIGQUIT, self._on_quit)
            self._taken = True
            self._lines, self._size = [], (0, 0)
            self._put(_TAKE)

    def give_back(self) -> None:
        """Leave it as it was; nothing where that is done. From any thread, and never for long."""
        with self._lock:
            if not self._taken:
                return
            self._taken = False
            if self.keyboard is not None and self._modes is not None:
                try:
                    termios.tcflush(self.keyboard, termios.TCIFLUSH)  # keys for the screen are no answers
                    termios.tcsetattr(self.keyboard, termios.TCSANOW, self._modes)
                except termios.error:
                    pass  # it is gone
            self._modes = None
            if self._quit is not None and threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGQUIT, self._quit)
                self._quit = None
            try:
                termios.tcflow(self.output, termios.TCOON)  # it may have been stopped by Ctrl-S
            except termios.error:
                pass
            self._put(_GIVE)

    def frame(self, lines: Sequence[str], size: tuple[int, int]) -> bytes:
        """What turns the frame before into this one; empty where they are the same. Write all of it, in order."""
        parts = []
        if size != self._size:
            self._size, self._lines = size, []
            parts.append("\x1b[0m\x1b[2J")
        before = self._lines
        for n, line in enumerate(lines):
            if n >= len(before) or before[n] != line:
                parts.append(f"\x1b[{n + 1};1H\x1b[2K{line}")
        if len(lines) < len(before):
            parts.append(f"\x1b[{len(lines) + 1};1H\x1b[J")
        self._lines = list(lines)
        return f"{_BEGIN}{''.join(parts)}{_END}".encode("utf-8", "replace") if parts else b""

    def write(self, data: bytes) -> None:
        """Write all; this blocks while the terminal is stopped."""
        left = memoryview(data)
        try:
            while left:
                left = left[os.write(self.output, left) :]
        except OSError:
            pass  # nobody looks any more

    def _put(self, data: bytes) -> None:
        try:
            if select.select([], [self.output], [], _READY_S)[1]:
                os.write(self.output, data)
        except OSError:
            pass  # it is gone

    def _on_quit(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-\\ ends the process as it would without us."""
        self.give_back()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def theme_of(output: Any, env: Mapping[str, str]) -> Theme:
    """What the terminal behind a stream can show."""
    encoding = (getattr(output, "encoding", None) or "").lower().replace("-", "")
    return Theme(colours=not env.get("NO_COLOR"), glyphs=encoding.startswith("utf") and env.get("TERM") != "linux")


def terminal_of(output: Any, keys: Any) -> Terminal:
    """The terminal behind the standard streams."""
    keyboard = keys.fileno() if keys is not None and not keys.closed and keys.isatty() else None
    return Terminal(output.fileno(), keyboard)


def keys(data: bytes) -> Iterator[str]:
    """The keys that were pressed: names, or the character itself. What has no name here is left out."""
    for found in _SEQUENCE.findall(data.decode("utf-8", "replace")):
        sent = found.lstrip("\x1b[O") if len(found) > 1 else found
        if name := _KEYS.get(sent):
            yield name
        elif len(found) == 1 and found.isprintable():
            yield found
