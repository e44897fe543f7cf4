"""A closed world for wide questions: hundreds of documents that a seed makes, questions about them, and the answers.

Firms that do not exist make things in regions; each has two pages, and lists in parts tell who makes what where. What
a question wants of a firm stands on both its pages, so that a table of twenty rows takes some forty pages. The columns
are of all kinds that are graded without a model: names, dates, numbers, addresses.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from swarm.errors import MachineError, UsageError
from swarm.evals.widesearch.data import GOLD, Question, Rule
from swarm.evals.widesearch.tables import Table, read_table
from swarm.rl.tasks.corpus import Document, names
from swarm.whole_file import write_whole

MOST = 40
"""Questions of one world."""
_FEWEST_DOCUMENTS = 300
_LISTED = 8
"""Firms on one page of a list."""

_GOODS = ("glass", "rope", "clocks", "paper", "bells", "lenses", "kites", "salt", "lamps", "drums")
_REGIONS = ("the Upper Fens", "Westmark", "the Salt Coast", "Harrow Vale", "the Nine Isles", "Ostermoor")
_MONTHS = [date(2000, month, 1).strftime("%B") for month in range(1, 13)]
_TOWNS = 24

_RULES: Mapping[str, Rule] = {
    "firm": Rule(("norm_str",), ("exact_match",)),
    "founded": Rule(("norm_date",), ("date_near",)),
    "founder": Rule(("norm_str",), ("exact_match",)),
    "town": Rule(("norm_str",), ("exact_match",)),
    "employees": Rule(("extract_number",), ("number_near",), 0.0),
    "turnover": Rule(("extract_number",), ("number_near",), 0.01),
    "website": Rule(("norm_str",), ("url_match",)),
}
_MEANING = {
    "firm": "its name",
    "founded": "the day, as YYYY-MM-DD",
    "founder": "first and last name",
    "town": "where it was founded",
    "employees": "a number",
    "turnover": "in millions of crowns",
    "website": "its address, with https://",
}


@dataclass(frozen=True, slots=True)
class World:
    """Questions with their gold tables (as CSV, by id), and the documents that hold the answers."""

    questions: tuple[Question, ...]
    gold: Mapping[str, str]
    documents: tuple[Document, ...]

    def table(self, question: Question) -> Table:
        """The gold table of a question."""
        return read_table(self.gold[question.id], ",")


def synthetic_world(seed: int, count: int) -> World:
    """A world with so many questions. The same seed and number give the same world.

    Raises:
        UsageError: there are 1 to 40 questions.
    """
    if not 1 <= count <= MOST:
        raise UsageError(f"{count} synthetic questions cannot be made", remedy=f"ask for 1 to {MOST}")
    chance = random.Random(f"{seed} widesearch {count}")
    every = names(chance, 1900)
    towns, rest = every[:_TOWNS], iter(every[_TOWNS:])
    fields = [(goods, region) for goods in _GOODS for region in _REGIONS]
    chance.shuffle(fields)
    documents: list[Document] = []
    questions: list[Question] = []
    gold: dict[str, str] = {}
    for number, (goods, region) in enumerate(fields):
        asked = number < count
        if not asked and len(documents) >= _FEWEST_DOCUMENTS:
            break
        firms = [_firm(next(rest), towns, chance) for _ in range(chance.randint(12, 24) if asked else 10)]
        documents += _pages(goods, region, firms)
        if asked:
            name = f"syn_{seed}_{number + 1:03}"
            question, rows = _question(name, goods, region, firms, chance)
            questions.append(question)
            gold[name] = _csv(question.required, rows)
    return World(tuple(questions), gold, tuple(documents))


def write_world(world: World, folder: Path) -> list[Path]:
    """Write a world in WideSearch's own form (`widesearch.jsonl`, a folder of gold tables) and its documents
    (`corpus.jsonl`: title and text). The files that were written, the gold tables as their folder.

    Raises:
        MachineError: they cannot be written.
    """
    lines = [json.dumps(_row(question), ensure_ascii=False) for question in world.questions]
    pages = [json.dumps({"title": each.title, "text": each.text}, ensure_ascii=False) for each in world.documents]
    try:
        (folder / GOLD).mkdir(parents=True, exist_ok=True)
        for name, text in world.gold.items():
            write_whole(folder / GOLD / f"{name}.csv", text.encode())
        write_whole(folder / "corpus.jsonl", "".join(f"{line}\n" for line in pages).encode())
        write_whole(folder / "widesearch.jsonl", "".join(f"{line}\n" for line in lines).encode())
    except OSError as error:
        raise MachineError(f"{folder} cannot be written: {error.strerror}") from None
    return [folder / "widesearch.jsonl", folder / GOLD, folder / "corpus.jsonl"]


def read_corpus(path: Path) -> list[Document]:
    """The documents of a `corpus.jsonl`: an object with `title` and `text` on each line.

    Raises:
        UsageError: it cannot be read, or a line is no document.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "no text in UTF-8"
        raise UsageError(f"{path}: {told}", remedy="name a file with a document on each line") from None
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            page = json.loads(line)
            title, text = page["title"], page["text"]
        except (ValueError, KeyError, TypeError, RecursionError):
            title = text = None
        if not isinstance(title, str) or not isinstance(text, str):
            raise UsageError(f"{path}, line {number}: no document", remedy='a line is {"title": "...", "text": "..."}')
        found.append(Document(title, text))
    return found


def _firm(name: str, towns: Sequence[str], chance: random.Random) -> dict[str, str]:
    founded = date(chance.randint(1700, 1989), chance.randint(1, 12), chance.randint(1, 28))
    first, last = names(chance, 2)
    return {
        "firm": name,
        "founded": founded.isoformat(),
        "founder": f"{first} {last}",
        "town": chance.choice(towns),
        "employees": str(chance.randint(3, 19000)),
        "turnover": f"{chance.randint(11, 9999) / 10:.1f}",
        "website": f"https://www.{name.lower()}.example/",
    }


def _pages(goods: str, region: str, firms: Sequence[Mapping[str, str]]) -> Iterator[Document]:
    """Two pages for each firm, and the lists in which they all stand."""
    for firm in firms:
        day = date.fromisoformat(firm["founded"])
        when = f"{day.day} {_MONTHS[day.month - 1]} {day.year}"
        yield Document(
            firm["firm"],
            f"{firm['firm']} makes {goods} in {region}. It was founded on {when} by {firm['founder']}, "
            f"in the town of {firm['town']}.",
        )
        yield Document(
            f"{firm['firm']}: the year in figures",
            f"{firm['firm']} had {int(firm['employees']):,} employees at the end of the year, and a turnover of "
            f"{firm['turnover']} million crowns. Its site is {firm['website']}",
        )
    listed = sorted(firm["firm"] for firm in firms)
    parts = [listed[at : at + _LISTED] for at in range(0, len(listed), _LISTED)]
    for number, part in enumerate(parts, start=1):
        title = f"Makers of {goods} in {region}, part {number} of {len(parts)}"
        yield Document(title, f"{title}: {', '.join(part)}.")


def _question(
    name: str, goods: str, region: str, firms: Sequence[Mapping[str, str]], chance: random.Random
) -> tuple[Question, list[Mapping[str, str]]]:
    extra = chance.sample([column for column in _RULES if column != "firm"], 4)
    required = tuple(column for column in _RULES if column == "firm" or column in extra)
    rows, condition = list(firms), ""
    if "founded" in extra and chance.random() < 0.5:
        middle = sorted(firm["founded"] for firm in firms)[len(firms) * 2 // 3]
        rows = [firm for firm in firms if firm["founded"] < f"{middle[:4]}-01-01"]
        condition = f" that were founded before {middle[:4]}"
    rows = rows or list(firms)
    if len(rows) == len(firms):
        condition = ""
    listed = "; ".join(f"{column} ({_MEANING[column]})" for column in required)
    prompt = (
        f"Find all firms that make {goods} in {region}{condition}. The tool search_corpus finds the documents that "
        f'tell of them: the pages "Makers of {goods} in {region}" list them, part by part, and each firm has two pages '
        f"of its own. Answer with one Markdown table with a row for each firm and these columns: {listed}. Name the "
        f"columns exactly {', '.join(required)}, and put the table into a fence of its own: ```markdown ... ```"
    )
    rules = {column: _RULES[column] for column in required}
    return Question(name, prompt, required, ("firm",), rules), sorted(rows, key=lambda row: row["firm"])


def _csv(columns: Sequence[str], rows: Sequence[Mapping[str, str]]) -> str:
    """No cell of this world holds a comma or a quote."""
    lines = [columns, *([row[column] for column in columns] for row in rows)]
    return "".join(f"{','.join(line)}\n" for line in lines)


def _row(question: Question) -> dict[str, Any]:
    pipeline = {
        name: {"preprocess": list(rule.preprocess), "metric": list(rule.metrics), "criterion": rule.criterion}
        for name, rule in question.rules.items()
    }
    evaluation = {"required": question.required, "unique_columns": question.key, "eval_pipeline": pipeline}
    return {
        "instance_id": question.id,
        "query": question.query,
        "evaluation": json.dumps(evaluation),
        "language": question.language,
    }
