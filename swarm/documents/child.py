"""A program of its own: reads one PDF or HTML page on standard input, writes its text as JSON on standard output.

It is run in a process that may use so much memory and CPU and no more, for what it reads may be anyone's. Nothing of
swarm is imported here.
"""

from __future__ import annotations

import io
import json
import resource
import sys

MEMORY = 1 << 30
"""Bytes of address space."""

CPU_S = 90
MOST_TEXT = 32 << 20
"""Characters of one document; the rest is left out, and that is said."""

MOST_PAGES = 20_000
_MOST_HEADINGS = 200
_NO_TEXT = ("script", "style", "noscript", "template", "svg", "iframe", "object")


def pdf(data: bytes) -> dict[str, object]:
    """The text of each page, and the titles of the outline."""
    import logging

    from pypdf import PdfReader

    logging.disable(logging.CRITICAL)
    reader = PdfReader(io.BytesIO(data), strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        raise ValueError("it is encrypted")
    pages: list[str] = []
    room, broken, cut = MOST_TEXT, 0, False
    for page in reader.pages:
        if cut := room <= 0 or len(pages) >= MOST_PAGES:
            break
        try:
            text = page.extract_text() or ""
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001  a page that cannot be read leaves the others
            text, broken = "", broken + 1
        pages.append(text[:room])
        room -= len(text)
    return {"pages": pages, "headings": _titles(reader), "broken": broken, "cut": cut or room < 0}


def _titles(reader: object) -> list[str]:
    found: list[str] = []
    try:
        left = list(getattr(reader, "outline", []))
        while left and len(found) < _MOST_HEADINGS:
            entry = left.pop(0)
            if isinstance(entry, list):
                left = [*entry, *left]
            elif title := str(getattr(entry, "title", "") or ""):
                found.append(title)
    except Exception:  # noqa: BLE001  an outline is a help, no more
        return found
    return found


def html(data: bytes) -> dict[str, object]:
    """A page as Markdown."""
    from bs4 import BeautifulSoup
    from markdownify import MarkdownConverter

    page = BeautifulSoup(data, "html.parser")
    for tag in page(_NO_TEXT):
        tag.decompose()
    title = page.title.get_text() if page.title is not None else ""
    if page.head is not None:
        page.head.decompose()
    text = MarkdownConverter(heading_style="ATX", strip=["img"]).convert_soup(page)
    if title.strip() and title.strip() not in text[:500]:
        text = f"# {title.strip()}\n\n{text}"
    return {"pages": [text[:MOST_TEXT]], "headings": [], "broken": 0, "cut": len(text) > MOST_TEXT}


def main() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    data = sys.stdin.buffer.read()
    try:
        found = {"pdf": pdf, "html": html}[sys.argv[1]](data)
    except (MemoryError, RecursionError) as error:
        sys.stderr.write(
            f"it takes more memory than {MEMORY >> 20} MiB\n"
            if isinstance(error, MemoryError)
            else "it is nested too deep\n"
        )
        return 3
    except Exception as error:  # noqa: BLE001  libraries raise anything on what is broken
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return 3
    sys.stdout.write(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
