"""The documents of one run: kept in its folder by the hash of what they hold, looked up by id or name."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import field
from pathlib import Path

from swarm.documents.index import Index, write_index
from swarm.documents.passages import Text, passages_of
from swarm.errors import MachineError
from swarm.events import AttachedDocument, DocumentsAttached
from swarm.values import value
from swarm.whole_file import write_whole

FOLDER = "documents"
"""The folder of a run with the texts of its documents and their index."""

PICTURE = "artifact:"
"""How the address of an image begins that a message names in place of its bytes."""

_INDEX = "passages.sqlite"
_READ_ONLY = 0o444


def digest(data: bytes) -> str:
    """The name of some bytes: SHA-256 in hex."""
    return hashlib.sha256(data).hexdigest()


@value(frozen=True, slots=True)
class Pictures:
    """The attached images: what messages call them, and the data URLs that stand for these on the wire."""

    parts: Sequence[Mapping[str, object]] = ()
    urls: Mapping[str, str] = field(default_factory=dict)
    unseen_by: set[str] = field(default_factory=set, compare=False)
    """Models that take none, of which that was said."""


def with_pictures(text: str, pictures: Pictures) -> str | list[Mapping[str, object]]:
    """The content of a message: a text, and the images that go along."""
    return [{"type": "text", "text": text}, *pictures.parts] if pictures.parts else text


class Library:
    """The documents that `attached` names, in the folder of their run."""

    def __init__(self, folder: Path, attached: DocumentsAttached) -> None:
        self._folder = folder / FOLDER
        self._artifacts = folder / "artifacts"
        self.attached = attached
        self.index = Index(self._folder / _INDEX)
        self._by_id = {each.id: each for each in attached.documents}
        self._by_name: dict[str, AttachedDocument | None] = {}
        for each in attached.documents:
            for name in {each.name, each.name.rpartition("/")[2]}:
                self._by_name[name.casefold()] = None if name.casefold() in self._by_name else each
        for each in attached.documents:  # a whole name goes before the last part of another's
            self._by_name[each.name.casefold()] = each

    def __repr__(self) -> str:
        return f"<Library of {len(self._by_id)} documents in {self._folder}>"

    def document(self, name: str) -> AttachedDocument | None:
        """The document of an id or a name; None where there is none, or several."""
        name = name.strip()
        return self._by_id.get(name.lower()) or self._by_name.get(name.casefold())

    def page(self, document: AttachedDocument, number: int) -> tuple[int, int] | None:
        """The first and the last line of a page, counted from 1; None where there is no such page."""
        starts = document.page_starts
        if not 1 <= number <= len(starts):
            return None
        return starts[number - 1], (starts[number] - 1 if number < len(starts) else document.lines)

    def page_at(self, document: AttachedDocument, line: int) -> int:
        """The page that a line is on, 0 where it has none."""
        return sum(start <= line for start in document.page_starts)

    def keep(self, texts: Mapping[str, Text], images: Mapping[str, bytes]) -> None:
        """Write the texts (by document), their index, and the images (by artifact); blocks.

        Raises:
            OSError, MachineError: they cannot be written.
        """
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for each in self.attached.documents:
            if not each.is_image:
                path = self._text_path(each)
                if not path.exists():
                    write_whole(path, texts[each.id].whole.encode("utf-8", "replace"), _READ_ONLY)
        write_index(self._folder / _INDEX, ((each, passages_of(text)) for each, text in texts.items()))
        for name, data in images.items():
            if not (self._artifacts / name).exists():
                write_whole(self._artifacts / name, data, _READ_ONLY)

    def check(self) -> None:
        """See that all is there as it was kept; blocks. Raises: MachineError."""
        for each in self.attached.documents:
            path, wanted = self._text_path(each), each.text_sha256
            if each.is_image:
                path, wanted = self._artifacts / each.artifact, each.sha256
            try:
                whole = digest(path.read_bytes()) == wanted
            except OSError:
                whole = False
            if not whole:
                raise MachineError(
                    f"the run's copy of {each.name} is gone or was changed: {path}", remedy="start a new run"
                )
        if not (self._folder / _INDEX).is_file():
            self._index_again()

    def pictures(self) -> Pictures:
        """The images as messages hold them; blocks. Raises: OSError."""
        parts: list[Mapping[str, object]] = []
        urls = {}
        for each in self.attached.documents:
            if each.is_image:
                address = PICTURE + each.artifact
                parts.append({"type": "text", "text": f"Attached image {each.id} ({each.name}):"})
                parts.append({"type": "image_url", "image_url": {"url": address}})
                data = base64.b64encode((self._artifacts / each.artifact).read_bytes()).decode("ascii")
                urls[address] = f"data:image/{each.kind};base64,{data}"
        return Pictures(parts, urls)

    def _text_path(self, document: AttachedDocument) -> Path:
        return self._folder / f"{document.text_sha256}.txt"

    def _index_again(self) -> None:
        texts = {}
        for each in self.attached.documents:
            if not each.is_image:
                lines = self._text_path(each).read_text(encoding="utf-8").replace("\f", "").split("\n")
                texts[each.id] = Text(tuple(lines), tuple(each.page_starts))
        write_index(self._folder / _INDEX, ((each, passages_of(text)) for each, text in texts.items()))
