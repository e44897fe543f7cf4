"""From a file to its text: plain text here, PDF and HTML in a bounded process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from swarm.documents.passages import Text, headings_of, plain_line, text_of
from swarm.documents.sources import Kind
from swarm.values import value

SECONDS = 120.0
"""Wall time for one document."""

MOST_HEADINGS = 200
_PASSED_ON = ("PATH", "PYTHONPATH", "LANG", "LC_ALL", "VIRTUAL_ENV", "LD_LIBRARY_PATH")
_CHILD = Path(__file__).with_name("child.py")


class Unreadable(Exception):
    """A document of which no text can be made; the message says why."""


@value(frozen=True, slots=True)
class Converted:
    """The text of a document. `note` says what is not whole in it, "" where all is."""

    text: Text
    headings: tuple[str, ...] = ()
    note: str = ""


async def convert(data: bytes, kind: Kind) -> Converted:
    """The text of a document's bytes. Raises: Unreadable."""
    if kind in ("text", "markdown"):
        return await anyio.to_thread.run_sync(_of_text, data, kind)
    found = await _in_child(data, kind)
    return await anyio.to_thread.run_sync(_of_pages, found, kind)


def _of_text(data: bytes, kind: Kind) -> Converted:
    text = text_of([_decoded(data)], paged=False)
    return _whole(text, headings_of(text) if kind == "markdown" else [], "")


def _of_pages(found: dict[str, Any], kind: Kind) -> Converted:
    text = text_of(found["pages"], paged=kind == "pdf")
    notes = [f"{found['broken']} pages cannot be read"] if found["broken"] else []
    notes += ["too long, the end is left out"] if found["cut"] else []
    return _whole(text, found["headings"] or headings_of(text), "; ".join(notes))


def _whole(text: Text, headings: list[str], note: str) -> Converted:
    if not any(line.strip() for line in text.lines):
        raise Unreadable("it holds no text (pictures of pages?)")
    plain = (plain_line(heading)[:120] for heading in headings)
    return Converted(text, tuple(heading for heading in plain if heading)[:MOST_HEADINGS], note)


def _decoded(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16", "replace")
    return data.decode("utf-8-sig", "replace")


async def _in_child(data: bytes, kind: Kind) -> dict[str, Any]:
    """What the conversion program says of some bytes. It is given no key of the environment, and an empty folder."""
    env = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        with tempfile.TemporaryDirectory(prefix="swarm-convert-") as nowhere, anyio.fail_after(SECONDS):
            done = await anyio.run_process(
                [sys.executable, "-P", "-X", "utf8", str(_CHILD), kind],
                input=data,
                stderr=subprocess.PIPE,
                check=False,
                cwd=nowhere,
                env=env,
            )
    except TimeoutError:
        raise Unreadable(f"it took longer than {SECONDS:.0f} s") from None
    if done.returncode != 0:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [""]
        if done.returncode < 0:
            last = ["its conversion was stopped: it took too much time or memory"]
        raise Unreadable(plain_line(last[0])[:200] or f"its conversion failed with {done.returncode}")
    try:
        found: dict[str, Any] = await anyio.to_thread.run_sync(json.loads, done.stdout)
    except ValueError:
        raise Unreadable("its conversion gave no text") from None
    return found
