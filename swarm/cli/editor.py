"""The user's editor, in the foreground of the terminal, ended with whoever opened it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import which

import anyio
import anyio.to_thread

_KNOWN = ("editor", "nano", "vi")
_ENDS_S = 2.0


def editor_of(env: dict[str, str]) -> str:
    """The user's editor as a shell command: `$VISUAL`, `$EDITOR`, or one that is there; empty without any."""
    named = env.get("VISUAL", "").strip() or env.get("EDITOR", "").strip()
    return named or next((name for name in _KNOWN if which(name)), "")


async def edit(editor: str, path: Path) -> str:
    """Let the user edit a file; gives in words what went wrong. When cancelled, the editor is ended, and the terminal
    is as it was. The terminal must be standard input and standard error."""
    with _terminal() as foreground:
        try:
            process = _start(editor, path)
        except OSError as error:
            return f"{editor}: {error.strerror}"
        try:
            foreground(process.pid)
            code = await anyio.to_thread.run_sync(_wait, process, abandon_on_cancel=True)
        finally:
            if process.returncode is None:
                with anyio.CancelScope(shield=True):
                    await _end(process)
    if code:
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return f"the editor ({editor}) {how}"
    return ""


def _start(editor: str, path: Path) -> subprocess.Popen[bytes]:
    command = ["/bin/sh", "-c", f'{editor} "$@"', editor, str(path)]
    return subprocess.Popen(command, stdout=2, process_group=0)  # standard output may be a file, and a screen is wanted


def _wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the editor, which cannot be put into the background: there is no shell to bring it back."""
    while True:
        try:
            _, status = os.waitpid(process.pid, os.WUNTRACED)
        except ChildProcessError:
            return 0
        if not os.WIFSTOPPED(status):
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGCONT)


async def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGCONT, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        if number is signal.SIGCONT:
            with anyio.move_on_after(_ENDS_S):
                while process.returncode is None:  # noqa: ASYNC110  the thread that waits for it is abandoned
                    await anyio.sleep(0.01)


@contextmanager
def _terminal() -> Iterator[_Foreground]:
    """The terminal of this process: its settings are put back, and whose foreground it is."""
    try:
        settings = termios.tcgetattr(0)
    except termios.error:
        settings = None
    held = _Foreground()
    try:
        yield held
    finally:
        held.back()
        if settings is not None:
            with suppress(termios.error):
                termios.tcsetattr(0, termios.TCSADRAIN, settings)


class _Foreground:
    """Who gets the keys of the terminal. Without a terminal of our own, nothing happens."""

    def __init__(self) -> None:
        self._ours = os.getpgrp()

    def __call__(self, group: int) -> None:
        self._set(group)
        with suppress(ProcessLookupError):
            os.killpg(group, signal.SIGCONT)  # it may have asked for a key too early

    def back(self) -> None:
        self._set(self._ours)

    def _set(self, group: int) -> None:
        if sys.platform == "win32":
            return
        held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTOU})  # else asking from behind would stop us
        try:
            with suppress(OSError):
                os.tcsetpgrp(0, group)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, held)
