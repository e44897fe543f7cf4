"""WideSearch as a suite of the runner: real data or a synthetic world, a judge where one is named."""

from __future__ import annotations

import functools
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio.to_thread

from swarm.config import RunConfig
from swarm.errors import MachineError, UsageError
from swarm.evals.suite import Ended, Instance, Ready, Verdict
from swarm.evals.widesearch.data import Question, gold_folder, gold_table, load_questions
from swarm.evals.widesearch.judge import Judges, NoJudge, open_judges
from swarm.evals.widesearch.report import report
from swarm.evals.widesearch.scoring import VERSION, Scores, grade
from swarm.evals.widesearch.synthetic import read_corpus, synthetic_world
from swarm.evals.widesearch.tables import Table
from swarm.result import RunResult
from swarm.rl.tasks.corpus import CorpusSearch, Document
from swarm.whole_file import write_whole


@dataclass(frozen=True, slots=True)
class WideData:
    """Questions, the way to their gold tables, and the documents of a closed corpus (none: the web)."""

    questions: Sequence[Question]
    gold: Callable[[Question], Table]
    documents: Sequence[Document] = ()

    @property
    def digest(self) -> str:
        """Of the questions and the documents."""
        told = repr([(q.id, q.query, q.required, q.key, sorted(q.rules.items())) for q in self.questions])
        pages = repr([(each.title, each.text) for each in self.documents])
        return sha256(f"{told}{pages}".encode("utf-8", "surrogatepass")).hexdigest()


def file_data(source: str, gold: Path | None, corpus: Path | None = None) -> WideData:
    """Data of a file, or of a data set by name (see `load_questions`); `corpus` is a file of documents.

    Raises:
        UsageError: something of it is missing or cannot be read.
    """
    questions = load_questions(source)
    folder = gold_folder(source, gold)
    documents = read_corpus(corpus) if corpus is not None else ()
    return WideData(questions, functools.partial(gold_table, folder=folder), documents)


def synthetic_data(seed: int, count: int) -> WideData:
    """Data of a synthetic world.

    Raises:
        UsageError: the number is out of bounds.
    """
    world = synthetic_world(seed, count)
    return WideData(world.questions, world.table, world.documents)


class WideSearch:
    """`swarm.evals.suite.Suite`. `judge` is the configuration whose aggregator's model judges (None: no model does),
    `kept` the folder of its judgements. `trials` are the numbers of trials in reports, where they are not 1, 2, ...
    Use it within `open()`."""

    name = "widesearch"

    def __init__(
        self, data: WideData, judge: RunConfig | None = None, kept: Path | None = None, trials: Sequence[int] = ()
    ) -> None:
        if judge is not None and kept is None:
            raise ValueError("a judge needs a folder for its judgements")
        self._data = data
        self._judge = judge
        self._kept = kept or Path()
        self._trials = trials
        self._judges = Judges()
        self._by_id = {question.id: question for question in data.questions}
        self._tools = (CorpusSearch(data.documents),) if data.documents else ()
        self.options: Mapping[str, Any] = {}
        judged = f"-{judge.model_of('aggregator')}" if judge else ""
        self.version = f"{VERSION}-{data.digest[:12]}{judged}"

    def __repr__(self) -> str:
        judge = self._judges.name or "no judge"
        return f"<WideSearch: {len(self._by_id)} questions, {len(self._data.documents)} documents, {judge}>"

    def instances(self) -> Sequence[Instance]:
        """See `Suite.instances`."""
        return [Instance(q.id, q.query, {"language": q.language}) for q in self._data.questions]

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """See `Suite.open`: the judge's endpoint."""
        async with AsyncExitStack() as stack:
            self._judges = await stack.enter_async_context(open_judges(self._judge, self._kept))
            yield

    @asynccontextmanager
    async def ready(self, instance: Instance, place: Path) -> AsyncIterator[Ready]:
        """See `Suite.ready`: no repository, and the search over the corpus where there is one."""
        yield Ready(tools=self._tools, digest=self._data.digest)

    async def grade(self, instance: Instance, result: RunResult, place: Path) -> Verdict:
        """See `Suite.grade`. An answer is resolved where its table is perfect; its score is the F1 of cells.

        Raises:
            MachineError: the judge could not be asked.
        """
        return await anyio.to_thread.run_sync(self._graded, self._by_id[instance.id], result.answer, place)

    def summary(self, verdicts: Mapping[str, Sequence[Verdict]]) -> Mapping[str, Any]:
        """See `Suite.summary`."""
        return report(verdicts, self._judges.name, self._trials)

    def files(self, model: str, ended: Sequence[Ended]) -> Mapping[str, bytes]:
        """See `Suite.files`: the answers in the form in which `grade` reads them."""
        lines = []
        for each in ended:
            answer = each.place / "answer.txt"
            if answer.is_file():
                text = answer.read_text(encoding="utf-8")
                told = {"instance_id": each.instance.id, "response": text, "trial": self._number(each.trial.epoch)}
                lines.append(json.dumps(told, ensure_ascii=False))
        return {"responses.jsonl": "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")}

    def _number(self, epoch: int) -> int:
        return self._trials[epoch - 1] if epoch <= len(self._trials) else epoch

    def _graded(self, question: Question, answer: str, place: Path) -> Verdict:
        judge = self._judges.one()
        try:
            scores = grade(question, self._data.gold(question), answer or None, judge or NoJudge())
        except UsageError as error:  # there is nothing to grade by: trying again would not help
            return Verdict(None, error=str(error), details={"judge": judge.bill.as_dict()} if judge else {})
        details = scores.as_dict() | ({"judge": judge.bill.as_dict()} if judge else {})
        if kind := _kind(scores):
            details["kind"] = kind
        try:
            place.mkdir(parents=True, exist_ok=True)
            told = {"instance_id": question.id, **details}
            write_whole(place / "report.json", json.dumps(told, ensure_ascii=False, indent=2).encode())
        except OSError as error:
            raise MachineError(f"{place} cannot be written: {error.strerror}") from None
        return Verdict(scores.score == 1, min(1.0, scores.f1_by_item), details)


def _kind(scores: Scores) -> str:
    """In a word why a table is not perfect."""
    if scores.score == 1:
        return ""
    if scores.f1_by_item == 0:
        return "no table" if "table" in scores.msg or "no response" in scores.msg else "no row right"
    if scores.recall_by_item < scores.precision_by_item:
        return "rows missing"
    return "rows too many" if scores.recall_by_item > scores.precision_by_item else "cells wrong"
