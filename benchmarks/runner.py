"""One run: all competitors of a row in turn, as many rounds as it asks for, every sample told and kept."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks import machine
from benchmarks.environments import NotInstalled, asked, make
from benchmarks.record import Entrant, Heading, Results, Sample
from benchmarks.shape import Competitor, Place, Row, Taken

_QUICK_ROUNDS = 2

Tell = Callable[[str], None]


def run(rows: Iterable[Row], place: Place, command: str, out: Path, tell: Tell) -> Results:
    """Measure; `out` is written after each row, so that a run that is broken off is not lost."""
    began = time.monotonic()
    load = machine.load()
    about = {**machine.about(), "load_before": load}
    results = Results(time.strftime("%Y-%m-%dT%H:%M:%S%z"), command, machine.commit(), about, place.quick)
    if load > machine.LOADED:
        tell(f"warning: the machine is loaded ({load:.2f}, quiet is below {machine.LOADED}): read ratios only")
    for row in rows:
        _measured(row, place, results, tell)
        results.wall_s = round(time.monotonic() - began, 1)
        results.save(out)
    disturbed = sum((sample.others or 0) > machine.DISTURBED for sample in results.samples)
    if disturbed:
        tell(f"warning: others took more than {machine.DISTURBED} of a processor beside {disturbed} of "
             f"{len(results.samples)} samples: read ratios only")  # fmt: skip
    return results


def _measured(row: Row, place: Place, results: Results, tell: Tell) -> None:
    absent = {each.name: _missing(each, place) for each in row.competitors}
    entrants = tuple(Entrant(each.name, each.title, each.kind, absent[each.name]) for each in row.competitors)
    results.rows.append(Heading(row.name, row.title, row.note, row.figures, entrants))
    there = [each for each in row.competitors if not absent[each.name]]
    for name, reason in absent.items():
        if reason:
            tell(f"{row.name}: left out: {name}: {reason}")
    if not there:
        return
    for each in there:
        if each.environment:
            results.versions[each.environment] = asked(each.environment)
    rounds = min(row.rounds, _QUICK_ROUNDS) if place.quick else row.rounds
    began = time.monotonic()
    with row.open(place) as measure:
        for number in range(1, rounds + 1):
            for each in there:
                if each.slow and number > 1:
                    continue
                load, others = machine.load(), machine.Others()
                taken = measure(each, number)
                sample = Sample(
                    row.name, each.name, number, load, _short(taken), taken.failed, taken.of, taken.error,
                    others=others.taken(),
                )  # fmt: skip
                results.samples.append(sample)
                tell(f"{row.name} {number}/{rounds} {each.name}: {_line(sample)}")
    tell(f"{row.name}: {time.monotonic() - began:.0f} s")


def _missing(competitor: Competitor, place: Place) -> str:
    """Why a competitor cannot take part; its environment is made where it is not there."""
    if place.quick and competitor.slow:
        return "not in the quick form"
    if reason := competitor.missing(place):
        return reason
    try:
        if competitor.environment:
            make(place.cache, competitor.environment)
    except NotInstalled as error:
        return str(error)
    return ""


def _short(taken: Taken) -> dict[str, float]:
    return {key: float(f"{value:.5g}") for key, value in taken.figures.items()}


def _line(sample: Sample) -> str:
    told = ", ".join(f"{key} {value:.4g}" for key, value in sample.figures.items())
    failed = f"{sample.failed} of {sample.of} failed: {sample.error}" if sample.failed else ""
    return "; ".join(part for part in (told, failed, f"others {sample.others}") if part)


def to_stderr(line: str) -> None:
    """As it goes."""
    print(line, file=sys.stderr, flush=True)
