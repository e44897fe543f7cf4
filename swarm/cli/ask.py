"""Questions to the person at the terminal. What was typed before a question could be read is no answer to it."""

from __future__ import annotations

import fcntl
import os
import sys
import termios
from contextlib import suppress

from swarm.cli.own_end import own_end
from swarm.cli.stdio import complain
from swarm.cli.text import line


def attended() -> bool:
    """Whether somebody is there to be asked: at a terminal, for input and for what is told."""
    return sys.stdin.isatty() and sys.stderr.isatty()


async def ask(question: str) -> str | None:
    """A line from the terminal, without the blanks around it; None at the end of input."""
    import anyio

    _put(question)
    with own_end(sys.stdin.fileno(), os.O_RDONLY) as terminal:
        await anyio.wait_readable(terminal)  # it gives whole lines: reading one will not block
    return _taken()


def ask_blocking(question: str) -> str | None:
    """Like `ask`, outside of an event loop."""
    _put(question)
    return _taken()


def yes_or_no(typed: str | None) -> bool | None:
    """What was meant; None, which is told, where that is neither: then it is asked again. No word is a no."""
    word = (typed or "").lower()
    if word in ("y", "yes"):
        return True
    if word in ("", "n", "no"):
        return False
    complain(f"{line(word, 40)!r} is no answer: y or n")
    return None


def _put(question: str) -> None:
    whole = b""
    with suppress(OSError, termios.error):  # no terminal: nobody typed
        fd = sys.stdin.fileno()
        whole = fcntl.ioctl(fd, termios.FIONREAD, bytes(4))
        termios.tcflush(fd, termios.TCIFLUSH)
    if any(whole):
        complain("what was typed before the question was not taken")
    with suppress(OSError):  # the terminal is gone: reading will tell
        print(f"{question} ", end="", file=sys.stderr, flush=True)


def _taken() -> str | None:
    try:
        answer = sys.stdin.readline()
    except OSError:  # the terminal is gone
        return None
    if not answer.endswith("\n"):  # the end of input
        complain("")
    return answer.strip() if answer else None
