"""The page as one file of HTML: the template, the style, the scripts and the data, and nothing from elsewhere.

What came from models and repositories goes in as JSON in which no character can end the script element; the page's
own scripts put it into the document as text, never as HTML. Its policy allows this style and this script by their
hashes, and no other source of anything.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from swarm.report.blobs import Blobs, clean_json, cleaned
from swarm.report.model import Page

_SCRIPTS = ("base", "overview", "plan", "timeline", "agents", "talk", "patch", "gate", "record", "compare", "start")
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def render(page: Page, blobs: Blobs) -> str:
    """The whole page."""
    return one_file(page.title, page.model_dump(mode="json"), [part(f"{name}.js") for name in _SCRIPTS], blobs.packed)


def one_file(title: str, data: Any, scripts: Sequence[str], blobs: Sequence[str] = (), more_style: str = "") -> str:
    """A page of its own data and scripts in the form of the report."""
    style = part("page.css") + more_style
    script = "(() => {\n" + "\n".join(scripts) + "\n})();\n"
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    written = clean_json(data)
    parts = "\n".join(
        f'<script type="application/octet-stream" id="blob-{number}">{packed}</script>'
        for number, packed in enumerate(blobs)
    )
    filled = {
        "policy": policy,
        "title": html.escape(cleaned(title)),
        "style": style,
        "data": written.translate(_ESCAPES),
        "blobs": parts,
        "script": script,
    }
    pieces = part("page.html").split("@@")  # text and names in turn
    return "".join(filled[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def part(name: str) -> str:
    """A file of the report's own page: `page.css`, or one of its scripts."""
    return (files("swarm.report") / "page" / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
