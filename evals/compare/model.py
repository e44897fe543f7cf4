"""A comparison as types: what `--json` writes and what the page draws."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from swarm.evals.records import Manifest
from swarm.evals.stats import Interval


class Estimate(BaseModel):
    """A value and its interval at the comparison's confidence; None: not known."""

    value: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, interval: Interval) -> Estimate:
        """The same as a type of the boundary."""
        return cls(value=interval.value, low=interval.low, high=interval.high)


class Figure(BaseModel):
    """One metric in one arm. `mean` is that of the instances' own means; median, p90 and total are of the trials.
    `unknown` counts trials of which it is not known; they are in none of these."""

    mean: Estimate = Estimate()
    median: float | None = None
    p90: float | None = None
    total: float | None = None
    unknown: int = 0


class Coverage(BaseModel):
    """Trials that an arm was asked for: with a verdict, lost to the machine (no verdict), and not run."""

    asked: int
    graded: int
    machine: int
    missing: int


class ArmSummary(BaseModel):
    """One arm. `resolved_alone` is its share over all that it has verdicts on; every other figure is over the
    instances that all arms share. `pass_at` and `pass_all` stand under each k; `short` says how many instances have too
    few verdicts for it. `by_status` and `by_kind` count trials with the verdict *not resolved*; `machine` those without
    verdict, by what went wrong; `subtasks` are the sub-tasks of all trials by how they ended."""

    label: str
    name: str
    mode: str
    model: str
    agents: int
    source: int
    coverage: Coverage
    resolved_alone: Estimate
    instances_alone: int
    trials: int
    figures: dict[str, Figure]
    best_score: Estimate
    worst_score: Estimate
    pass_at: dict[int, Estimate] = Field(default_factory=dict)
    pass_all: dict[int, Estimate] = Field(default_factory=dict)
    short: dict[int, int] = Field(default_factory=dict)
    by_status: dict[str, int] = Field(default_factory=dict)
    by_kind: dict[str, int] = Field(default_factory=dict)
    machine: dict[str, int] = Field(default_factory=dict)
    subtasks: dict[str, int] = Field(default_factory=dict)
    spent_usd: float | None = None
    """Of all that was ever run for it, trials that the machine lost included."""


class Difference(BaseModel):
    """An arm less the base in one metric, paired by instance. `ratio` is of the two means. `p` is of the `test`;
    `p_holm` is adjusted for all arms that are held against the base in this metric."""

    arm: str
    metric: str
    instances: int
    base: float | None = None
    value: float | None = None
    difference: Estimate = Estimate()
    ratio: float | None = None
    test: str = ""
    p: float | None = None
    p_holm: float | None = None


class Flips(BaseModel):
    """Instances by what an arm does on them against the base: `won` is more often resolved, `lost` less often, `both`
    and `neither` always and never by each, `mixed` as often, but not always."""

    arm: str
    won: int = 0
    lost: int = 0
    both: int = 0
    neither: int = 0
    mixed: int = 0


class Cell(BaseModel):
    """What one arm did on one instance; `runs` are the run folders of its trials with what became of each."""

    resolved: int = 0
    graded: int = 0
    machine: int = 0
    score: float | None = None
    cost_usd: float | None = None
    wall_s: float | None = None
    critical_steps: float | None = None
    runs: list[tuple[str, str]] = Field(default_factory=list)


class Row(BaseModel):
    """One instance: a cell for each arm. `shared` is False where not all arms have a verdict on it."""

    instance_id: str
    cells: list[Cell]
    shared: bool = True


class Point(BaseModel):
    """One arm in a picture. `best` says that no other arm succeeds as often for less."""

    arm: str
    x: Estimate
    y: Estimate
    best: bool = False


class Picture(BaseModel):
    """Success against a price: metric names of both axes, and the arms for which both are known."""

    x: str
    y: str
    points: list[Point]


class Source(BaseModel):
    """One evaluation: its folder as it was named, and how it was made."""

    folder: str
    manifest: Manifest


class MetricInfo(BaseModel):
    """How a metric is called and written, and whether more of it is better."""

    name: str
    title: str
    form: str
    more: bool | None


class Comparison(BaseModel):
    """Arms of evaluations beside each other. `instances` are those that all arms have a verdict on; `notes` say in
    sentences what the reader must know before he believes a figure."""

    type: Literal["comparison"] = "comparison"
    schema_version: Literal[1] = 1
    suite: str
    version: str
    confidence: float
    base: str
    instances: list[str]
    notes: list[str]
    arms: list[ArmSummary]
    differences: list[Difference]
    flips: list[Flips]
    rows: list[Row]
    pictures: list[Picture]
    metrics: list[MetricInfo]
    sources: list[Source]
