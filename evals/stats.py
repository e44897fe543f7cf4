"""The arithmetic of comparing: intervals, paired tests, pass@k and pass^k. Pure, and the same on every machine.

Sources: E. B. Wilson, JASA 22 (1927), for the interval of a share; Q. McNemar, Psychometrika 12 (1947), in its exact
binomial form; R. A. Fisher, The Design of Experiments (1935), §21, for the test by flipping signs; B. Efron and
R. Tibshirani, An Introduction to the Bootstrap (1993), ch. 13, for percentile intervals; E. Miller, Adding Error Bars
to Evals (arXiv 2411.00640): trials of one instance are one cluster, and arms are compared in pairs; M. Chen et al.
(arXiv 2107.03374), eq. 1, for pass@k; S. Yao et al., tau-bench (arXiv 2406.12045), for pass^k; S. Holm, Scand. J.
Statist. 6 (1979), for several comparisons at once; R. Hyndman and Y. Fan (1996), type 7, for quantiles.
"""

from __future__ import annotations

import math
import random
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from operator import itemgetter
from statistics import NormalDist, fmean

_DRAWS = 2_000
_FEWEST = 400
_CELLS = 600_000
"""Resamples times clusters: above, fewer resamples are drawn, but never fewer than `_FEWEST`."""
_EXACT = 12
"""Differences that are not 0, up to which the test by flipping signs goes through all patterns."""
_EQUAL = 1e-9
"""Part of the largest value below which a difference is the last digits of a sum."""
FEWEST_CLUSTERS = 6
"""Below, resampling says next to nothing of the spread."""
_BITS = bytes.maketrans(b"01", b"\0\1")


@dataclass(frozen=True, slots=True)
class Interval:
    """A value and where it may lie; the bounds are None where too little is known to say."""

    value: float
    low: float | None = None
    high: float | None = None


def wilson(successes: int, trials: int, confidence: float = 0.95) -> Interval:
    """The share of successes in independent trials, with Wilson's score interval: also fit for few, none or all.

    Raises:
        ValueError: there are no trials, or more successes than trials.
    """
    if not 0 <= successes <= trials or not trials:
        raise ValueError(f"{successes} of {trials} is no share")
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / trials
    shrink = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / shrink
    half = z * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / shrink
    return Interval(share, max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def bootstrap(values: Sequence[float], confidence: float = 0.95, seed: int = 0) -> Interval:
    """The mean over clusters with its percentile interval. A cluster's value is the mean of its trials: of one
    instance's, or of the difference of two arms on it, which makes it the paired bootstrap. Without bounds where too
    little is known of the spread: fewer than `FEWEST_CLUSTERS` clusters, or all alike.

    Raises:
        ValueError: there are no values.
    """
    if not values:
        raise ValueError("nothing to average")
    mean, number = fmean(values), len(values)
    if number < FEWEST_CLUSTERS or max(values) - min(values) <= _EQUAL * max(map(abs, values)):
        return Interval(mean)
    means = sorted(sum(draw(values)) / number for draw in _resamples(number, seed))
    tail = (1 - confidence) / 2
    return Interval(mean, min(mean, quantile(means, tail)), max(mean, quantile(means, 1 - tail)))


def share(clusters: Iterable[Collection[bool]], confidence: float = 0.95) -> Interval:
    """The mean over clusters of the share of successes among their trials. See `mean_share`; raises as it does."""
    return mean_share([fmean(each) for each in clusters], confidence)


def mean_share(shares: Sequence[float], confidence: float = 0.95) -> Interval:
    """The mean of clusters' shares: with Wilson's interval over the clusters where each is 0 or 1, as where each was
    tried once, else as `bootstrap`.

    Raises:
        ValueError: there are none.
    """
    if shares and all(each in (0.0, 1.0) for each in shares):
        return wilson(round(sum(shares)), len(shares), confidence)
    return bootstrap(shares, confidence)


@lru_cache(maxsize=2)
def _resamples(number: int, seed: int) -> tuple[itemgetter[tuple[float, ...]], ...]:
    """Ways to draw as many of so many values, with repetition: the same for every metric of a comparison."""
    chance, places = random.Random(seed), range(number)
    return tuple(itemgetter(*chance.choices(places, k=number)) for _ in range(_draws(number)))


def _draws(number: int) -> int:
    return max(_FEWEST, min(_DRAWS, _CELLS // number))


def mcnemar(won: int, lost: int) -> float:
    """The exact two-sided p of as uneven a split of the pairs in which just one of two arms succeeded."""
    number = won + lost
    tail = sum(math.comb(number, each) for each in range(min(won, lost) + 1))
    return min(1.0, tail / 2 ** (number - 1)) if number else 1.0


def sign_flips(differences: Iterable[float], seed: int = 0) -> float:
    """The two-sided p of so large a mean difference if each pair's sign were chance. Exact for few pairs that differ,
    by seeded draws for many. For differences of -1, 0 and 1 it is McNemar's exact test."""
    pairs = [each for each in differences if each]
    if not pairs:
        return 1.0
    slack = _EQUAL * max(map(abs, pairs))
    pairs = [each for each in pairs if abs(each) > slack]
    observed = abs(math.fsum(pairs)) - slack
    if len({abs(each) for each in pairs}) == 1:
        won = sum(each > 0 for each in pairs)
        return mcnemar(won, len(pairs) - won)
    if len(pairs) <= _EXACT:
        sums = [0.0]
        for each in pairs:
            sums = [total + sign for total in sums for sign in (each, -each)]
        return sum(abs(total) >= observed for total in sums) / len(sums)
    chance, draws, hits, total = random.Random(seed), _draws(len(pairs)), 0, math.fsum(pairs)
    for _ in range(draws):
        bits = f"{chance.getrandbits(len(pairs)):0{len(pairs)}b}".encode().translate(_BITS)
        hits += abs(total - 2 * sum(compress(pairs, bits))) >= observed
    return (hits + 1) / (draws + 1)


def holm(ps: Sequence[float]) -> list[float]:
    """Each p adjusted for how many were looked at."""
    adjusted = [0.0] * len(ps)
    worst = 0.0
    for rank, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        worst = max(worst, min(1.0, (len(ps) - rank) * ps[index]))
        adjusted[index] = worst
    return adjusted


def pass_at(k: int, samples: int, correct: int) -> float:
    """pass@k without bias: how often at least one of k samples, drawn from these, is correct.

    Raises:
        ValueError: fewer than k samples, or more correct ones than samples.
    """
    return 1 - math.comb(samples - correct, k) / _ways(k, samples, correct)


def pass_all(k: int, samples: int, correct: int) -> float:
    """pass^k without bias: how often all of k samples, drawn from these, are correct.

    Raises:
        ValueError: fewer than k samples, or more correct ones than samples.
    """
    return math.comb(correct, k) / _ways(k, samples, correct)


def _ways(k: int, samples: int, correct: int) -> int:
    if not (1 <= k <= samples and 0 <= correct <= samples):
        raise ValueError(f"{correct} correct of {samples} samples say nothing of {k}")
    return math.comb(samples, k)


def quantile(ordered: Sequence[float], share: float) -> float:
    """A quantile of values in ascending order, interpolated between two of them.

    Raises:
        ValueError: there are none.
    """
    if not ordered:
        raise ValueError("no values, no quantile")
    at = share * (len(ordered) - 1)
    below = math.floor(at)
    above = min(below + 1, len(ordered) - 1)
    low, high = ordered[below], ordered[above]
    return low if low == high else min(high, low + (at - below) * (high - low))
