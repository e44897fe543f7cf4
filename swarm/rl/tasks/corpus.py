"""A closed corpus of documents that a seed makes, and the local search over it: a world without a network.

Its documents are about firms and people that do not exist, so that nothing of them can be known without searching.
"""

from __future__ import annotations

import math
import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from swarm.protocols import Sandbox
from swarm.types import JsonObject, ToolErrorKind, ToolResult, ToolStatus

SHOWN = 3
"""Documents that one search shows."""

_STARTS = ("Al", "Bren", "Cor", "Dal", "Es", "Fen", "Gar", "Hol", "Is", "Jor", "Kel", "Lor", "Mar", "Nor", "Or", "Pel")
_MIDDLES = ("a", "e", "i", "o", "ari", "eno", "ila", "oma", "une", "eda")
_ENDS = ("bert", "dan", "fort", "lin", "mont", "nic", "ram", "sted", "tor", "vik", "wen", "zar")
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Document:
    """One page. Its title is unique in a corpus."""

    title: str
    text: str


def names(chance: random.Random, count: int) -> list[str]:
    """So many distinct names that nobody bears. Raises: ValueError where there are not as many."""
    every = [start + middle + end for start in _STARTS for middle in _MIDDLES for end in _ENDS]
    if count > len(every):
        raise ValueError(f"there are {len(every)} names, not {count}")
    return chance.sample(every, count)


class CorpusSearch:
    """`swarm.protocols.Tool`: the documents that fit a query best, by BM25; of equals the first by title.

    Give it to a swarm as one of its `Parts.tools`.
    """

    name = "search_corpus"
    description = (
        f"Search the closed corpus. Gives the {SHOWN} documents that fit the query best, whole, "
        "and how many fit at all; `page` 2 gives the next ones."
    )
    parameters: ClassVar[JsonObject] = {
        "type": "object",
        "properties": {
            "query": {"type": "string", "description": "words that the documents should hold"},
            "page": {"type": "integer", "minimum": 1, "default": 1},
        },
        "required": ["query"],
        "additionalProperties": False,
    }
    """Of the arguments."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._documents = sorted(documents, key=lambda each: each.title)
        self._words = [Counter(_words(f"{each.title} {each.text}")) for each in self._documents]
        self._mean = sum(sum(words.values()) for words in self._words) / max(1, len(self._words))
        self._holding = Counter(word for words in self._words for word in words)

    def __repr__(self) -> str:
        return f"<CorpusSearch over {len(self._documents)} documents>"

    async def call(self, arguments: JsonObject, sandbox: Sandbox) -> ToolResult:
        """See `swarm.protocols.Tool.call`."""
        query, page = arguments.get("query"), arguments.get("page", 1)
        if not isinstance(query, str) or not isinstance(page, int) or page < 1 or arguments.keys() - {"query", "page"}:
            text = "give `query`, a text, and if you like `page`, a number from 1"
            return ToolResult(text, ToolStatus.FAILED, error=ToolErrorKind.BAD_ARGUMENTS)
        found = self.find(query)
        shown = found[(page - 1) * SHOWN : page * SHOWN]
        if not shown:
            return ToolResult("No document fits." if page == 1 else f"There are only {len(found)}.")
        pages = [f"## {each.title}\n{each.text}" for each in shown]
        return ToolResult("\n\n".join([f"{len(found)} documents fit; page {page}.", *pages]))

    def find(self, query: str) -> list[Document]:
        """All documents with a word of the query, the best first."""
        wanted = list(dict.fromkeys(_words(query)))
        scored = [(self._score(wanted, at), at) for at in range(len(self._documents))]
        return [self._documents[at] for score, at in sorted(scored, key=lambda each: (-each[0], each[1])) if score > 0]

    def _score(self, wanted: Sequence[str], at: int) -> float:
        words, total = self._words[at], len(self._documents)
        size = sum(words.values()) / self._mean
        score = 0.0
        for word in wanted:
            if count := words[word]:
                rare = math.log(1 + (total - self._holding[word] + 0.5) / (self._holding[word] + 0.5))
                score += rare * count * 2.2 / (count + 1.2 * (0.25 + 0.75 * size))
        return score


def _words(text: str) -> list[str]:
    return [word.casefold() for word in _WORD.findall(text)]
