"""The standard streams, which may be closed, full, or without a reader: never a reason to fall over."""

from __future__ import annotations

import io
import os
import sys


def open_closed_streams() -> None:
    """Let closed standard streams lead nowhere: else the next file opened would take their number. Those that are open
    take any character."""
    for fd, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest free number: `fd`
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, open(nowhere, mode, encoding="utf-8", closefd=False))  # noqa: SIM115  open to the end
        stream = getattr(sys, name)
        if mode == "w" and isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors="backslashreplace")  # for what the locale has no characters for


def one_line(message: str) -> str:
    """A message that came from anywhere, as one line without control characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in message).split())


def tell(text: str) -> None:
    """Print to standard output; where it cannot be written, say so once and go on."""
    try:
        print(text, flush=True)
    except OSError as error:
        discard_output()
        if not isinstance(error, BrokenPipeError):
            complain(f"swarm: standard output cannot be written: {error.strerror}")


def write_out(data: bytes) -> None:
    """Write all of it to standard output. Raises: OSError, and nothing more goes there then."""
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except OSError:
        discard_output()
        raise


def complain(text: str) -> None:
    """Print to standard error what may hold anything that was read; where it cannot be written there is nobody to
    tell."""
    from swarm.legible import clean

    complain_as_it_is(clean(text))


def complain_as_it_is(text: str) -> None:
    """As `complain`, for text that steers the terminal on purpose."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        _discard(2)


def discard_output() -> None:
    """Send the rest of standard output nowhere: Python flushes it once more at exit."""
    _discard(1)


def settle() -> None:
    """Flush, so that nothing is left which could fail at exit."""
    for fd, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            _discard(fd)


def _discard(fd: int) -> None:
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), fd)
