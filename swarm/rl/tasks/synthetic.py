"""Tasks that a seed makes, with answers that can be verified: wide search, deep search, batch work.

Wide search wants a table of many things that a search finds one at a time, so that it gains from many agents. Deep
search follows a chain in which each link names the next, so that it gains from none. Batch work puts many items
through one rule. Tasks of repair are made by `swarm.evals.repair.rollouts`, from real code.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from swarm.aggregators.rows import text_rows
from swarm.rl.tasks.answers import final_answer, normal
from swarm.rl.tasks.corpus import CorpusSearch, Document, names
from swarm.rl.tasks.task import Task, Verify, by_score

WIDE, DEEP, BATCH = "wide-search", "deep-search", "batch"
SOURCE = "swarm.rl.tasks.synthetic"

_SECTORS = ("glass", "rope", "clock", "paper", "bell", "lens", "kite", "salt", "lamp", "drum")
_COLUMNS = ("firm", "founded", "town", "employees")
_TOWNS = 16
_LINE = re.compile(r"^(?:[^\S\n]|[*>-])*+`?([\w-]++)`?\s*+[:=|]\s*+`?(-?[\w.]++)`?[^\S\n]*+\|?[^\S\n]*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class TaskSet:
    """Tasks, and the search over the corpus that they ask about, for `Parts.tools`; None where they need none."""

    tasks: tuple[Task, ...]
    search: CorpusSearch | None = None


def wide_tasks(seed: int, widths: Sequence[int]) -> TaskSet:
    """A task for each width: a table of so many firms. At most ten, one for each sector.

    Raises:
        ValueError: too many, or a width below 1.
    """
    if len(widths) > len(_SECTORS) or min(widths, default=1) < 1:
        raise ValueError(f"1 to {len(_SECTORS)} tasks of 1 firm or more, not {list(widths)}")
    chance = random.Random(f"{seed} {WIDE}")
    towns, firms = _split(names(chance, sum(widths) + _TOWNS), _TOWNS)
    documents: list[Document] = []
    tasks: list[Task] = []
    for sector, width in zip(chance.sample(_SECTORS, len(widths)), widths, strict=True):
        rows = [
            {
                "firm": next(firms),
                "founded": str(chance.randint(1700, 1999)),
                "town": chance.choice(towns),
                "employees": str(chance.randint(3, 9000)),
            }
            for _ in range(width)
        ]
        for row in rows:
            text = (
                f"{row['firm']} is a maker of {sector}s. It was founded in {row['founded']} in the town of "
                f"{row['town']}, and has {row['employees']} employees."
            )
            documents.append(Document(row["firm"], text))
        listed = ", ".join(sorted(row["firm"] for row in rows))
        documents.append(Document(f"Makers of {sector}s", f"The makers of {sector}s are: {listed}."))
        prompt = (
            f"Find all makers of {sector}s in the corpus (the tool search_corpus finds its documents; the page "
            f'"Makers of {sector}s" lists them). Answer with one markdown table with the columns '
            f"{', '.join(_COLUMNS)} and a row for each firm, and with nothing else."
        )
        tasks.append(Task(id=f"{WIDE}-{seed}-{sector}-{width}", prompt=prompt, answer=rows, kind=WIDE))
    return TaskSet(tuple(tasks), CorpusSearch(documents))


def deep_tasks(seed: int, depths: Sequence[int]) -> TaskSet:
    """A task for each depth: a chain of so many teachers, and at its end a town.

    Raises:
        ValueError: a depth below 1, or more people than there are names.
    """
    if min(depths, default=1) < 1:
        raise ValueError(f"a chain has 1 link or more, not {min(depths)}")
    chance = random.Random(f"{seed} {DEEP}")
    towns, people = _split(names(chance, sum(depth + 1 for depth in depths) + _TOWNS), _TOWNS)
    documents: list[Document] = []
    tasks: list[Task] = []
    for number, depth in enumerate(depths, start=1):
        chain = [next(people) for _ in range(depth + 1)]
        born = [chance.choice(towns) for _ in chain]
        for at, person in enumerate(chain):
            taught = f" The teacher of {person} was {chain[at + 1]}." if at < depth else ""
            documents.append(Document(person, f"{person} was born in the town of {born[at]}.{taught}"))
        prompt = (
            f"Begin with {chain[0]} and go from pupil to teacher {depth} times, as the corpus tells (the tool "
            "search_corpus finds its documents). Write the name of each teacher on the way, in order, one a line as "
            "`1: NAME`, and then in a last line `Answer: TOWN`, the town in which the last one was born."
        )
        key = {"chain": chain[1:], "town": born[-1]}
        tasks.append(Task(id=f"{DEEP}-{seed}-{number}-{depth}", prompt=prompt, answer=key, kind=DEEP))
    return TaskSet(tuple(tasks), CorpusSearch(documents))


def batch_tasks(seed: int, sizes: Sequence[int]) -> TaskSet:
    """A task for each size: so many words through one rule of arithmetic, which differs from task to task.

    Raises:
        ValueError: a size below 1, or more words than there are names.
    """
    if min(sizes, default=1) < 1:
        raise ValueError(f"a batch has 1 item or more, not {min(sizes)}")
    chance = random.Random(f"{seed} {BATCH}")
    tasks: list[Task] = []
    for number, size in enumerate(sizes, start=1):
        rule = _Rule(chance.randint(2, 9), chance.randint(1, 30), chance.choice((89, 97, 101, 103)))
        items = [name.lower() for name in names(chance, size)]
        prompt = (
            f"For each of the {size} words below compute one number: {rule}. Answer with one line for each word, "
            f"`word: number`, and with nothing else.\n\n" + "\n".join(items)
        )
        key = {item: rule.of(item) for item in items}
        tasks.append(Task(id=f"{BATCH}-{seed}-{number}-{size}", prompt=prompt, answer=key, kind=BATCH))
    return TaskSet(tuple(tasks))


def _split(found: list[str], first: int) -> tuple[list[str], Iterator[str]]:
    return found[:first], iter(found[first:])


@dataclass(frozen=True, slots=True)
class _Rule:
    factor: int
    add: int
    modulus: int

    def __str__(self) -> str:
        return (
            "number its letters from 1 on, a is 1 and z is 26; sum up the place of each letter in the word times its "
            f"number in the alphabet; multiply the sum by {self.factor}, add {self.add}, and take the remainder of "
            f"the division by {self.modulus}"
        )

    def of(self, word: str) -> int:
        total = sum(place * (ord(letter) - ord("a") + 1) for place, letter in enumerate(word, start=1))
        return (total * self.factor + self.add) % self.modulus


def table_score(task: Task, text: str) -> float:
    """Item F1 of a table, 0..1: right cells of the rows that both have, by the firm. Rows told twice count once, and
    rows that do not exist cost precision."""
    gold = {normal(row["firm"]): row for row in task.answer}
    told: dict[str, Mapping[str, str]] = {}
    for row in text_rows(text):
        cells = {normal(name): value for name, value in row.items()}
        if "firm" in cells:
            told.setdefault(normal(cells["firm"]), cells)
    right = sum(
        normal(told[firm].get(column, "")) == normal(row[column])
        for firm, row in gold.items()
        if firm in told
        for column in _COLUMNS
    )
    return 2 * right / (len(_COLUMNS) * (len(told) + len(gold)))


def chain_score(task: Task, text: str) -> float:
    """Half for the part of the chain that is right from its beginning, half for the town. In 0..1."""
    chain, town = [normal(name) for name in task.answer["chain"]], normal(task.answer["town"])
    lines = [normal(line) for line in text.splitlines() if not line.strip().lower().startswith("answer")]
    told = [found.group(1) for line in lines if (found := re.match(r"\d+\s*[:.)]\s*(\w+)", line))]
    reached = 0
    for wanted, given in zip(chain, told, strict=False):
        if wanted != given:
            break
        reached += 1
    return 0.5 * reached / len(chain) + 0.5 * (normal(final_answer(text)) == town)


def batch_score(task: Task, text: str) -> float:
    """Right items / the larger of those asked for and those told; of an item that is told twice the last counts."""
    told: dict[str, str] = {normal(name): value for name, value in _LINE.findall(text)}
    key: dict[str, int] = dict(task.answer)
    right = sum(told.get(normal(item)) == str(value) for item, value in key.items())
    return right / max(len(key), len(told))


_SCORES: Mapping[str, Callable[[Task, str], float]] = {WIDE: table_score, DEEP: chain_score, BATCH: batch_score}


def score(task: Task, text: str) -> float:
    """What an answer to a task of this module is worth, 0..1; a pure function.

    Raises:
        ValueError: the task is none of this module's.
    """
    if task.kind not in _SCORES:
        raise ValueError(f"{task.id} is of the kind {task.kind!r}, not of {', '.join(_SCORES)}")
    return _SCORES[task.kind](task, text)


verify: Verify = by_score(score, SOURCE)
"""The verifier of all tasks of this module."""
