"""Reads delimited text as WideSearch's own grader does: as pandas reads CSV, its guesses about types included.

A column of whole numbers with one empty cell becomes decimals (`2020` is `2020.0` then), `007` becomes `7`, and `N/A`
is no text but a missing cell, `nan`. Verdicts hang on it, so that it is kept. Checked against pandas 2.3.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MISSING = "nan"
"""How a missing cell is written."""

_NA = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA"]
) | {"NULL", "NaN", "None", "n/a", "nan", "null"}
_TRUE, _FALSE = frozenset(("True", "TRUE", "true")), frozenset(("False", "FALSE", "false"))
_WHOLE = re.compile(r"[ \t\n\v\f\r]*([-+]?[0-9]+)[ \t\n\v\f\r]*")
_DECIMAL = re.compile(r"[ \t\n\v\f\r]*+([-+]?)([0-9]*+)(?:\.([0-9]*+))?(?:[eE]([-+]?[0-9]+))?[ \t\n\v\f\r]*")
_BLANK = re.compile(r"[ \t]*(?:\r\n|[\r\n]|\Z)")
_INFINITE = re.compile(r"([-+]?)(?:inf|infinity)", re.IGNORECASE)
_DIGITS = 17
"""Digits of a decimal that are read, noughts in front included; the others count as noughts."""


@dataclass(slots=True)
class Table:
    """Named columns of texts. All rows have as many cells as there are columns; names may stand there twice."""

    columns: list[str]
    rows: list[list[str]]

    def column(self, name: str) -> list[str]:
        """All cells of a column, by its name."""
        at = self.columns.index(name)
        return [row[at] for row in self.rows]


def read_table(text: str, separator: str) -> Table:
    """The table of a text whose first line names the columns.

    Raises:
        ValueError: it holds no line, a row with more cells than the first one, or a quoted cell without an end.
    """
    header, *rows = _lines(text, separator) or [[]]
    if not header:
        raise ValueError("no columns to read")
    width = len(header)
    for number, row in enumerate(rows):
        # The first row may be wider than the header: its first cells, and those of all rows, are labels then.
        if len(row) > width and number:
            raise ValueError(f"row {number + 1} has {len(row)} cells, not {width}")
        width = max(width, len(row))
        row += [""] * (width - len(row))
    labels = width - len(header) if rows else 0
    cells = [_typed([row[at] for row in rows]) for at in range(labels, width)] if rows else []
    return Table(_names(header), [list(row) for row in zip(*cells, strict=True)])


def _lines(text: str, separator: str) -> list[list[str]]:
    """The cells of each line; quotes count only where a cell begins with one. Blank lines are left out."""
    found: list[list[str]] = []
    row: list[str] = []
    at, end = 0, len(text)
    while at < end:
        if not row and (blank := _BLANK.match(text, at)) and blank.end() > at:
            at = blank.end()
            continue
        cell, at, closed = _cell(text, at, separator)
        row.append(cell)
        if closed:
            found.append(row)
            row = []
        elif at == end:  # a separator was the last character
            row.append("")
            found.append(row)
    return found


def _cell(text: str, at: int, separator: str) -> tuple[str, int, bool]:
    """The cell that begins at a place, where the next one begins, and whether its line ends with it."""
    parts: list[str] = []
    if text.startswith('"', at):
        at += 1
        while True:
            quote = text.find('"', at)
            if quote < 0:
                raise ValueError("a quoted cell has no end")
            parts.append(text[at:quote])
            at = quote + 1
            if not text.startswith('"', at):
                break
            parts.append('"')
            at += 1
    stop = re.compile(f"[{re.escape(separator)}\r\n]").search(text, at)
    if stop is None:
        return "".join([*parts, text[at:]]), len(text), True
    parts.append(text[at : stop.start()])
    if stop.group() == separator:
        return "".join(parts), stop.end(), False
    return "".join(parts), stop.end() + text.startswith("\r\n", stop.start()), True


def _names(header: Sequence[str]) -> list[str]:
    """Column names: those without one are numbered, those that stand there twice get a number behind them."""
    names = [name or f"Unnamed: {at}" for at, name in enumerate(header)]
    seen: Counter[str] = Counter()
    order = [at for at, name in enumerate(header) if name] + [at for at, name in enumerate(header) if not name]
    for at in order:
        first = name = names[at]
        count = seen[name]
        while count > 0:
            seen[first] = count + 1
            name = f"{first}.{count}"
            count = count + 1 if name in names else seen[name]
        names[at] = name
        seen[name] += 1
    return names


def _typed(cells: Sequence[str]) -> list[str]:
    """The cells of a column as they are written once its type is guessed."""
    present = [cell for cell in cells if cell not in _NA]
    if not present:
        return [MISSING] * len(cells)
    whole = _wholes(cells)
    if whole is not None:
        return whole
    for form in (_as_decimal, _as_truth):
        if (written := _all(form, present)) is not None:
            left = iter(written)
            return [MISSING if cell in _NA else next(left) for cell in cells]
    return _texts(cells)


def _all(form: Callable[[str], str | None], cells: Sequence[str]) -> list[str] | None:
    written: list[str] = []
    for cell in cells:
        if (one := form(cell)) is None:
            return None
        written.append(one)
    return written


def _texts(cells: Sequence[str]) -> list[str]:
    return [MISSING if cell in _NA else cell for cell in cells]


def _wholes(cells: Sequence[str]) -> list[str] | None:
    """A column of whole numbers, and of those that are too large to be numbers, which stay texts; None: another."""
    numbers: list[int] = []
    too_large = False
    for cell in cells:
        if cell in _NA:
            continue
        found = _WHOLE.fullmatch(cell)
        if found is None:
            return None
        numbers.append(int(found.group(1)))
        if numbers[-1] >= 2**64:
            return _texts(cells)
        too_large = too_large or not -(2**63) <= numbers[-1] < 2**63
    if not too_large:
        return [str(number) for number in numbers] if len(numbers) == len(cells) else None
    signed = any("-" in cell for cell in cells)
    if max(numbers) >= 2**63 and (signed or len(numbers) < len(cells)):
        return list(cells)  # missing cells, too, as they stand there
    return _texts(cells) if signed else [str(number) for number in numbers]


def _as_truth(cell: str) -> str | None:
    return "True" if cell in _TRUE else "False" if cell in _FALSE else None


def _as_decimal(cell: str) -> str | None:
    if found := _INFINITE.fullmatch(cell):
        return "-inf" if found.group(1) == "-" else "inf"
    found = _DECIMAL.fullmatch(cell)
    if found is None or not (found.group(2) or found.group(3)):
        return None
    value = _decimal(found.group(2) or "", found.group(3) or "", found.group(4) or "")
    return None if value is None else str(-value if found.group(1) == "-" else value)


def _decimal(whole: str, part: str, power: str) -> float | None:
    """A decimal in two roundings, as a reader that is fast rather than exact makes it; None: too large."""
    exponent = int(power or 0)
    digits = whole + part
    exponent += len(digits) - len(digits[:_DIGITS]) - len(part)
    value = 0.0
    for digit in digits[:_DIGITS]:
        value = value * 10.0 + int(digit)
    if exponent > 308:
        return None
    if exponent < -308:
        return value / 1e308 / float(f"1e{min(308, -308 - exponent)}")
    value = value * float(f"1e{exponent}") if exponent > 0 else value / float(f"1e{-exponent}")
    return value if value < float("inf") else None
