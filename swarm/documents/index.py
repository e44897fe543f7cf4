"""The passages of a run's documents in one SQLite file, found by BM25; written once, then only read."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from swarm.documents.passages import Passage
from swarm.errors import MachineError
from swarm.values import value

_WORD = re.compile(r"\w+")
_QUOTED = re.compile(r"\"([^\"]{2,200})\"")
_MOST_WORDS = 32
_SCHEMA = """
CREATE TABLE passages (
    number INTEGER PRIMARY KEY, document TEXT, first INTEGER, last INTEGER, page INTEGER, heading TEXT, text TEXT
);
CREATE INDEX places ON passages (document, first);
CREATE VIRTUAL TABLE words USING fts5(
    heading, text, content='passages', content_rowid='number', tokenize='porter unicode61 remove_diacritics 2'
);
"""


@value(frozen=True, slots=True)
class Found:
    """A passage of a document, by the document's id."""

    document: str
    passage: Passage


def write_index(path: Path, documents: Iterable[tuple[str, Iterable[Passage]]]) -> None:
    """Make the index anew; blocks. Raises: OSError, MachineError."""
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(part)) as database, database:
            database.executescript(_SCHEMA)
            database.execute("PRAGMA synchronous = OFF")
            rows = (
                (document, p.first, p.last, p.page, p.heading, p.text)
                for document, passages in documents
                for p in passages
            )
            database.executemany(
                "INSERT INTO passages (document, first, last, page, heading, text) VALUES (?, ?, ?, ?, ?, ?)", rows
            )
            database.execute("INSERT INTO words (words) VALUES ('rebuild')")
    except sqlite3.Error as error:
        remedy = "use a Python whose sqlite3 has FTS5" if "fts5" in str(error) else ""
        raise MachineError(f"{path} cannot be written: {error}", remedy=remedy) from None
    part.chmod(0o444)
    part.replace(path)


class Index:
    """What is asked of the file at `path`. Every method blocks, and raises MachineError where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def search(self, query: str, document: str | None, most: int) -> Sequence[Found]:
        """The passages that say most of a query's words, the best first; words in double quotes stand together."""
        terms = [" ".join(_WORD.findall(phrase)) for phrase in _QUOTED.findall(query)]
        words = [*filter(None, terms), *_WORD.findall(_QUOTED.sub(" ", query))]
        if not words:
            return ()
        asked = " OR ".join(f'"{word}"' for word in dict.fromkeys(words[:_MOST_WORDS]))
        where = "AND p.document = ?" if document is not None else ""
        return self._all(
            "SELECT p.document, p.first, p.last, p.page, p.heading, p.text FROM words JOIN passages p "
            f"ON p.number = words.rowid WHERE words MATCH ? {where} ORDER BY bm25(words, 2.0, 1.0), p.number LIMIT ?",
            (asked, *([document] if document is not None else []), most),
        )

    def lines(self, document: str, first: int, last: int) -> dict[int, str]:
        """Lines of a document by their numbers; blank ones may be left out."""
        found = self._all(
            "SELECT document, first, last, page, heading, text FROM passages "
            "WHERE document = ? AND first <= ? AND last >= ? ORDER BY first",
            (document, last, first),
        )
        return {
            number: line
            for each in found
            for number, line in enumerate(each.passage.text.split("\n"), each.passage.first)
            if first <= number <= last
        }

    def _all(self, statement: str, values: tuple[str | int, ...]) -> Sequence[Found]:
        with self._opened() as database:
            return [Found(row[0], Passage(*row[1:])) for row in database.execute(statement, values)]

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro&immutable=1", uri=True)) as opened:
                yield opened
        except sqlite3.Error as error:
            raise MachineError(f"the index of documents {self._path} cannot be read: {error}") from None
