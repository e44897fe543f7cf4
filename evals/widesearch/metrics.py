"""How single cells are prepared and compared: the kinds of WideSearch. The model judge is apart, in `judge`."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import import_module
from typing import Any
from urllib.parse import urlparse

from swarm.errors import UsageError

JUDGED = "llm_judge"
"""The metric that a model decides, a whole column at a time."""
NEAR_DAYS = 31

_NUMBER = re.compile(r"[-+]?(?:\d*\.\d+|\d+\.?\d*)%?")
_URL = re.compile(r"https?://[$-_a-z!]+")


class Unmeasurable(Exception):
    """A cell with which a metric cannot be computed: WideSearch's grader gives the whole table 0 then."""


def norm_str(cell: str) -> str:
    """Without case, blanks and asterisks."""
    return cell.lower().strip().replace(" ", "").replace("*", "")


def extract_number(cell: str) -> str:
    """The first number of a text, with its percent sign; `NULL` where there is none."""
    found = _NUMBER.search(cell.replace(",", ""))
    return found.group() if found else "NULL"


def norm_date(cell: str) -> str:
    """A date as YYYY-MM-DD; a text that is none stays as it is."""
    date = _date(cell)
    return cell if date is None else date.strftime("%Y-%m-%d")


def exact_match(response: str, target: str) -> bool:
    """Equal but for case."""
    return response.lower() == target.lower()


def in_match(response: str, target: str) -> bool:
    """The response stands in the target."""
    return response in target


def url_match(response: str, target: str) -> bool:
    """Both name the same hosts."""
    return _hosts(response) == _hosts(target)


def number_near(response: str, target: str, criterion: Any) -> bool:
    """Numbers that differ by no more than the criterion's part of the target; what is no number must be equal."""
    told, wanted = _number(response), _number(target)
    if told is None or wanted is None:
        return told is None and wanted is None and response == target
    try:
        return bool(abs(told - wanted) <= abs(wanted) * criterion)
    except TypeError:
        raise Unmeasurable(f"number_near needs a number as its criterion, not {criterion!r}") from None


def date_near(response: str, target: str) -> bool:
    """Dates at most 31 days apart; two texts that are both no dates are near."""
    told, wanted = _date_or_none(response), _date_or_none(target)
    if told is None or wanted is None:
        return told is None and wanted is None
    try:
        return abs((told - wanted).days) <= NEAR_DAYS
    except TypeError:
        raise Unmeasurable(f"{response!r} and {target!r}: one date has a time zone, the other none") from None


PREPROCESS: Mapping[str, Callable[[str], str]] = {
    "norm_str": norm_str,
    "extract_number": extract_number,
    "norm_date": norm_date,
}
_COMPARE: Mapping[str, Callable[[str, str], bool]] = {
    "exact_match": exact_match,
    "in_match": in_match,
    "url_match": url_match,
    "date_near": date_near,
}
METRICS = (*_COMPARE, "number_near", JUDGED)


def compare(metric: str, response: str, target: str, criterion: Any) -> float:
    """1 where a cell is right by a metric (any but the model's), else 0.

    Raises:
        Unmeasurable: it cannot be told.
    """
    if metric == "number_near":
        return float(number_near(response, target, criterion))
    return float(_COMPARE[metric](response, target))


def _hosts(text: str) -> frozenset[str]:
    try:
        return frozenset(urlparse(url).netloc for url in _URL.findall(text))
    except ValueError as error:
        raise Unmeasurable(f"{text!r} holds no good address: {error}") from None


def _number(text: str) -> float | None:
    try:
        return float(text.replace("%", "")) / 100.0 if "%" in text else float(text)
    except ValueError:
        return None


def _date_or_none(text: str) -> datetime | None:
    try:
        return _date(text)
    except Unmeasurable:
        return None


@functools.lru_cache(maxsize=65536)
def _date(text: str) -> datetime | None:
    """What a text says in any language; of a month without a day the first."""
    try:
        parse = import_module("dateparser").parse
    except ImportError:
        raise UsageError(
            "this data set compares dates, which needs dateparser", remedy="pip install 'swarm[evals]'"
        ) from None
    try:
        found: datetime | None = parse(text, settings={"PREFER_DAY_OF_MONTH": "first"})
    except Exception as error:
        raise Unmeasurable(f"{text!r} as a date: {error}") from error
    return found
