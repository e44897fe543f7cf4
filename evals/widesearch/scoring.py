"""The arithmetic of WideSearch: one answer against one gold table, by rows and by cells."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

from swarm.evals.widesearch.answer import answer_table
from swarm.evals.widesearch.data import Question, column_name
from swarm.evals.widesearch.metrics import JUDGED, PREPROCESS, Unmeasurable, compare
from swarm.evals.widesearch.tables import Table

VERSION = "1"
"""Of this arithmetic and of the judge's prompts."""
_ALIGNED = frozenset((JUDGED, "exact_match"))
"""Metrics of a key column for which the judge may say that two spellings are one thing."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What WideSearch tells of one answer. `score` is 1 where the table is perfect."""

    score: float = 0.0
    precision_by_row: float = 0.0
    recall_by_row: float = 0.0
    f1_by_row: float = 0.0
    precision_by_item: float = 0.0
    recall_by_item: float = 0.0
    f1_by_item: float = 0.0
    msg: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The fields by name, as reports hold them."""
        return asdict(self)


FIGURES = tuple(each.name for each in fields(Scores) if each.name != "msg")
"""The names of all numbers in `Scores`."""


class ColumnJudge(Protocol):
    """What a model decides: which texts mean the same, and which cells are right. It blocks."""

    def align(self, told: Sequence[str], wanted: Sequence[str]) -> Mapping[str, str]:
        """For texts of an answer those of the reference that mean the same, where there are such.

        Raises:
            MachineError: no judgement could be had.
        """
        ...

    def judge(self, told: Sequence[str], wanted: Sequence[str], criterion: Any) -> Sequence[float]:
        """0 or 1 for each pair.

        Raises:
            MachineError: no judgement could be had.
        """
        ...


@dataclass(frozen=True, slots=True)
class _Pair:
    """A row of the answer and the row of the gold table with the same key; cells by column."""

    told: Mapping[str, str]
    wanted: Mapping[str, str]


def grade(question: Question, gold: Table, response: str | None, judge: ColumnJudge) -> Scores:
    """Grade one answer; blocks. None, one that never came, is worth 0, as is one without a readable table.

    Raises:
        MachineError: a model had to decide, and could not.
        UsageError: a model has to decide, and none is named.
    """
    if response is None:
        return Scores(msg="there is no response")
    try:
        table = answer_table(response)
    except ValueError as error:
        return Scores(msg=f"the table cannot be read: {error}")
    if table is None:
        return Scores(msg="the response holds no table")
    names = [column_name(name) for name in table.columns]
    wanted = set(question.required)
    if set(names) != wanted:
        if len(set(names)) == len(wanted):
            renamed = judge.align(names, question.required)
            names = [renamed.get(name, name) for name in names]
        if set(names) != wanted:
            return Scores(msg=f"the columns are {', '.join(names)}, not {', '.join(question.required)}")
    if len(names) > len(wanted):
        return Scores(msg=f"a column stands there twice: {', '.join(names)}")
    table.columns = names
    try:
        return _scored(question, gold, table, judge)
    except Unmeasurable as error:
        return Scores(msg=f"the table cannot be measured: {error}")


def _scored(question: Question, gold: Table, table: Table, judge: ColumnJudge) -> Scores:
    told, wanted = _distinct(question, table), _distinct(question, gold)
    aligned = False
    for name in question.key:
        rule = question.rules.get(name)
        if rule is not None and not _ALIGNED.isdisjoint(rule.metrics):
            aligned = True
            same = judge.align([row[name] for row in told], [row[name] for row in wanted])
            for row in told:
                row[name] = same.get(row[name], row[name])
    for name, rule in question.rules.items():
        if name not in question.required:
            raise Unmeasurable(f"there is a rule for {name}, which is no required column")
        for step in rule.preprocess:
            for row in (*told, *wanted):
                row[name] = PREPROCESS[step](row[name])
    pairs = _joined(question, told, wanted)
    columns = _columns(question, pairs, judge)
    perfect = not aligned and table.columns == list(question.required) and _content(told) == _content(wanted)
    return _summed(question, columns, (len(pairs), len(told), len(wanted)), float(perfect))


def _distinct(question: Question, table: Table) -> list[dict[str, str]]:
    """The rows as cells by column; of those with one key the first."""
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for row in table.rows:
        cells = dict(zip(table.columns, row, strict=True))
        found.setdefault(tuple(cells[name] for name in question.key), cells)
    return list(found.values())


def _content(rows: Sequence[Mapping[str, str]]) -> Counter[tuple[str, ...]]:
    return Counter(tuple(row[name] for name in sorted(row)) for row in rows)


def _joined(question: Question, told: Sequence[Mapping[str, str]], wanted: Sequence[Mapping[str, str]]) -> list[_Pair]:
    """Every row of the answer with every row of the gold table that has its key."""
    by_key: defaultdict[tuple[str, ...], list[Mapping[str, str]]] = defaultdict(list)
    for row in told:
        by_key[tuple(row[name] for name in question.key)].append(row)
    return [_Pair(mine, row) for row in wanted for mine in by_key.get(tuple(row[name] for name in question.key), ())]


def _columns(question: Question, pairs: Sequence[_Pair], judge: ColumnJudge) -> dict[str, list[float]]:
    """For each column and metric the scores of all pairs; a key cell of a pair is right by itself."""
    found: dict[str, list[float]] = {}
    for name in question.required:
        if name in question.key:
            found[f"{name} (key)"] = [1.0] * len(pairs)
            continue
        rule = question.rules.get(name)
        if rule is None:
            raise Unmeasurable(f"there is no rule for the column {name}")
        for metric in dict.fromkeys(rule.metrics):
            told, wanted = [pair.told[name] for pair in pairs], [pair.wanted[name] for pair in pairs]
            if metric == JUDGED:
                scores = list(judge.judge(told, wanted, rule.criterion)) if pairs else []
            else:
                scores = [compare(metric, a, b, rule.criterion) for a, b in zip(told, wanted, strict=True)]
            found[f"{name} ({metric})"] = scores
    return found


def _summed(
    question: Question, columns: Mapping[str, Sequence[float]], counts: tuple[int, int, int], perfect: float
) -> Scores:
    pairs, told, wanted = counts
    rows = sum(min(scores[at] for scores in columns.values()) for at in range(pairs))
    items = sum(sum(scores) for scores in columns.values())
    wide = len(question.required)
    precision, recall = rows / told if told else 0.0, rows / wanted if wanted else 0.0
    by_item = items / (told * wide) if told else 0.0, items / (wanted * wide) if wanted else 0.0
    figures = (precision, recall, _f1(precision, recall), *by_item, _f1(*by_item))
    if all(figure == 1.0 for figure in figures):
        return Scores(1.0, *figures, msg="all items match")
    wrong = {name: sum(score < 1 for score in scores) for name, scores in columns.items()}
    listed = ", ".join(f"{count} of {name}" for name, count in wrong.items() if count)
    msg = (
        f"{wanted} rows wanted, {told} given, {pairs} with a key that is wanted; wrong cells there: {listed or 'none'}"
    )
    return Scores(perfect, *figures, msg=msg)


def _f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall > 1e-9 else 0.0
