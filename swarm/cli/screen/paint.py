"""Lines for a terminal: cells cut or padded to their size, with the codes of their style.

Made by hand: a rich table of 300 rows costs far more than a core's three hundredths at five frames a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from rich.cells import cell_len, chop_cells, set_cell_size

from swarm.cli.view_parts import Phase, State

RESET = "\x1b[0m"
_CODES = {"bold": "1", "dim": "2", "italic": "3", "reverse": "7"}
_COLOURS = {"red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35", "cyan": "36"}

Cell = tuple[str, int | None, str]
"""Text, its size in cells (None: as it is, at most what is left), and words of style."""

Mark = tuple[str, str, str]
"""How a state is shown: the glyph, one for terminals without such, and its style."""

ENDED: dict[State, Mark] = {
    State.WAITING: ("·", ".", "dim"),
    State.WORKING: ("▸", ">", "cyan"),
    State.COMPLETED: ("✓", "v", "green"),
    State.FAILED: ("✗", "x", "red"),
    State.ERRORED: ("!", "!", "bold red"),
    State.TIMED_OUT: ("◷", "t", "yellow"),
    State.CANCELLED: ("◌", "c", "yellow"),
    State.BUDGET_EXHAUSTED: ("$", "$", "yellow"),
    State.SKIPPED: ("-", "-", "dim"),
}
AT_WORK: dict[Phase, Mark] = {
    Phase.STARTING: ("○", "o", "cyan"),
    Phase.QUEUED: ("◦", ",", "dim"),
    Phase.THINKING: ("▸", ">", "cyan"),
    Phase.TOOL: ("■", "#", "blue"),
    Phase.REFUSED: ("↻", "r", "yellow"),
    Phase.GROUP: ("◇", "<", "blue"),
}
LIMITED: Mark = ("≈", "~", "yellow")
PARKED: Mark = ("‖", "=", "bold yellow")
PAUSED: Mark = ("‖", "=", "magenta")


@dataclass(frozen=True, slots=True)
class Theme:
    """What a terminal can show: styles at all, colours, glyphs beyond ASCII."""

    styles: bool = True
    colours: bool = True
    glyphs: bool = True

    def codes(self, style: str) -> str:
        """What begins a style; empty where there is nothing to begin."""
        return _codes(style, self.colours) if style and self.styles else ""

    def styled(self, text: str, style: str) -> str:
        codes = self.codes(style)
        return f"{codes}{text}{RESET}" if codes else text

    def glyph(self, mark: Mark) -> str:
        return mark[0] if self.glyphs else mark[1]


@lru_cache(maxsize=256)
def _codes(style: str, colours: bool) -> str:
    known = _CODES | _COLOURS if colours else _CODES
    parts = [known[word] for word in style.split() if word in known]
    return f"\x1b[{';'.join(parts)}m" if parts else ""


class Pen:
    """Writes lines of `width` cells."""

    def __init__(self, width: int, theme: Theme) -> None:
        self.width = width
        self.theme = theme
        self._dots = "…" if theme.glyphs else "~"

    def line(self, *cells: Cell, style: str = "") -> str:
        """One line. `style` is that of the whole, beside those of its cells."""
        theme, left = self.theme, self.width
        parts: list[str] = []
        for content, size, own in cells:
            text, used = self._fitted(content, left if size is None else min(size, left), padded=size is not None)
            if text:
                parts.append(theme.styled(text, f"{own} {style}" if style else own))
                left -= used
                if size is not None and theme.styles and not content.isascii():
                    # Whatever width the terminal gives such characters, the next cell stands right.
                    parts.append(f"\x1b[{self.width - left + 1}G")
        return "".join(parts)

    def joined(self, parts: list[str], style: str = "", between: str = " · ") -> str:
        """The parts, without those for which the line has no room: the first ones go first."""
        between = between if self.theme.glyphs else between.replace("·", "-")
        shown: list[str] = []
        left = self.width
        for part in parts:
            size = cells(part) + (len(between) if shown else 0)
            if size <= left or not shown:
                shown.append(part)
                left -= size
        return self.line((between.join(shown), None, style))

    def wrapped(self, text: str, indent: str = "") -> list[str]:
        """Text of one line as lines, broken at the width, at a blank where there is one near; each with the indent."""
        room = max(2, self.width - len(indent))
        if not text.isascii():
            return [indent + piece for piece in chop_cells(text, room)]
        pieces, at = [], 0
        while len(text) - at > room:
            blank = text.rfind(" ", at + room * 2 // 3, at + room + 1)
            end = blank if blank > at else at + room
            pieces.append(indent + text[at:end])
            at = end + (blank == end)
        return [*pieces, indent + text[at:]]

    def _fitted(self, content: str, room: int, *, padded: bool) -> tuple[str, int]:
        if room <= 0:
            return "", 0
        size = cells(content)
        if size > room:
            if content.isascii():
                text = content[: room - 1] + self._dots
            else:
                text = set_cell_size(content, room - 1) + self._dots
            return text, room
        return (content + " " * (room - size), room) if padded else (content, size)


def cells(text: str) -> int:
    """How many cells a text takes."""
    return len(text) if text.isascii() else cell_len(text)
