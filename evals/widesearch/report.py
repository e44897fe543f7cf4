"""The figures of WideSearch over all questions: each question's mean, best and worst trial, then the mean of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from swarm.evals.suite import Verdict
from swarm.evals.widesearch.scoring import FIGURES

_OVER: Mapping[str, Callable[[Sequence[float]], float]] = {"avg@N": fmean, "max@N": max, "min@N": min}


def report(verdicts: Mapping[str, Sequence[Verdict]], judge: str, trials: Sequence[int] = ()) -> dict[str, Any]:
    """The contents of `report.json`. `judge` is the name of the model that judged, empty where none did.

    `instances` holds, by id, one object a trial: the figures and `msg`; or `error` where it could not be
    graded, which counts as nothing, not as 0. `N` is the largest number of trials. A question without a graded trial
    stands in `ungraded`, and not in the means. `trials` are the numbers of the trials, where they are not 1, 2, ...
    """
    numbers = [*trials, *range(len(trials) + 1, max(map(len, verdicts.values()), default=0) + 1)]
    instances = {
        name: [_trial(number, each) for number, each in zip(numbers, given, strict=False)]
        for name, given in verdicts.items()
    }
    graded = {name: [each for each in given if each.resolved is not None] for name, given in verdicts.items()}
    told = {name: given for name, given in graded.items() if given}
    summary = {
        figure: {
            over: fmean(function([each.details[figure] for each in given]) for given in told.values())
            for over, function in _OVER.items()
        }
        for figure in FIGURES
        if told
    }
    return {
        "N": max(map(len, verdicts.values()), default=0),
        "total_instances": len(verdicts),
        "graded_instances": len(told),
        "ungraded": sorted(verdicts.keys() - told.keys()),
        "judge": {"model": judge, **_bills(verdicts)} if judge else None,
        "summary": summary,
        "instances": instances,
    }


def _trial(number: int, verdict: Verdict) -> dict[str, Any]:
    if verdict.resolved is None:
        return {"trial": number, "error": verdict.error}
    return {"trial": number, **{name: verdict.details[name] for name in (*FIGURES, "msg")}}


def _bills(verdicts: Mapping[str, Sequence[Verdict]]) -> dict[str, Any]:
    """What the judge took in all; dollars are None where a price is not known."""
    bills = [each.details["judge"] for given in verdicts.values() for each in given if "judge" in each.details]
    totals: dict[str, Any] = {
        name: sum(bill[name] for bill in bills) for name in ("calls", "kept", "prompt_tokens", "completion_tokens")
    }
    dollars = [bill["cost_usd"] for bill in bills]
    return totals | {"cost_usd": None if None in dollars else sum(dollars)}
