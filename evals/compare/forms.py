"""How figures are written."""

from __future__ import annotations

from swarm.evals.compare.model import Estimate

_UNKNOWN = "unknown"


def figure(value: float | None, form: str) -> str:
    """A value of a metric: 62.0 %, $0.0123, 12.3 s, 1.2k."""
    if value is None:
        return _UNKNOWN
    sign, size = ("-" if value < 0 else ""), abs(value)
    match form:
        case "share":
            return f"{sign}{100 * size:.1f} %"
        case "dollars":
            return f"{sign}${size:.4f}" if size < 1 else f"{sign}${size:.2f}"
        case "seconds":
            return f"{sign}{_seconds(size)}"
        case _:
            return f"{sign}{_count(size)}"


def _seconds(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02} h" if hours else f"{minutes}:{rest:02} min"


def _count(number: float) -> str:
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= size:
            return f"{number / size:.1f}{unit}"
    return f"{number:.0f}" if number == int(number) else f"{number:.2f}" if number < 10 else f"{number:.1f}"


def estimate(given: Estimate, form: str) -> str:
    """A value with its interval: 62.0 % (48.1 to 74.2)."""
    text = figure(given.value, form)
    if given.value is None or given.low is None or given.high is None:
        return text
    bounds = [figure(bound, form).removesuffix(" %").removesuffix(" s") for bound in (given.low, given.high)]
    return f"{text} ({bounds[0]} to {bounds[1]})"


def change(given: Estimate, form: str) -> str:
    """A difference with its interval and its sign: +8.0 (-2.0 to +18.0), in points where it is one of shares."""
    if given.value is None:
        return _UNKNOWN
    unit = " points" if form == "share" else ""
    said = _signed(given.value, form) + unit
    if given.low is None or given.high is None:
        return said
    return f"{said} ({_signed(given.low, form)} to {_signed(given.high, form)})"


def _signed(value: float, form: str) -> str:
    text = figure(value, form).removesuffix(" %")
    return f"+{text}" if value > 0 else text


def p_value(p: float | None) -> str:
    """0.021, or < 0.001; empty where nothing was tested."""
    if p is None:
        return ""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def ratio(value: float | None) -> str:
    """x1.25; empty where there is none."""
    return "" if value is None else f"x{value:.2f}"
