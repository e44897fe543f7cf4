"""The page as one file of HTML: the template, the style, the scripts and the data, and nothing from elsewhere.

What came from models and repositories goes in as JSON in which no character can end the script element; the page's
own scripts put it into the document as text, never as HTML. Its policy allows this style and this script by their
hashes, and no other source of anything.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from importlib.resources import files

from swarm.report.blobs import Blobs
from swarm.report.model import Page
from swarm.report.text import cleaned

_SCRIPTS = ("base", "overview", "plan", "timeline", "agents", "talk", "patch", "gate", "record", "compare", "start")
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def render(page: Page, blobs: Blobs) -> str:
    """The whole page."""
    style = _part("page.css")
    script = "(() => {\n" + "\n".join(_part(f"{name}.js") for name in _SCRIPTS) + "\n})();\n"
    policy = (
        f"default-src 'none'; script-src '{_hash(script)}'; style-src '{_hash(style)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    data = json.dumps(
        cleaned(page.model_dump(mode="json")), ensure_ascii=False, separators=(",", ":"), allow_nan=False
    ).translate(_ESCAPES)
    parts = "\n".join(
        f'<script type="application/octet-stream" id="blob-{number}">{packed}</script>'
        for number, packed in enumerate(blobs.packed)
    )
    filled = {
        "policy": policy,
        "title": html.escape(cleaned(page.title)),
        "style": style,
        "data": data,
        "blobs": parts,
        "script": script,
    }
    pieces = _part("page.html").split("@@")  # text and names in turn
    return "".join(filled[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _part(name: str) -> str:
    return (files("swarm.report") / "page" / name).read_text(encoding="utf-8")
