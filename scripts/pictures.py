"""Make the pictures of README and docs again, from a real run: python -m scripts.pictures [--home DIR]

Plants faults in a package as `make demo` does, lets `swarm run` repair them at a pseudo-terminal, and keeps the frame
of its live screen in which most is to be seen (docs/images/screen.svg); then the run's report, as Chromium shows it
(docs/images/report-*.png). Two minutes; needs chromium on PATH for the report.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import pty
import re
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import unicodedata
from collections.abc import Iterator
from html import escape
from pathlib import Path

from examples import demo
from swarm.evals.repair.damage import TASK
from tests.chromium import chromium

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs" / "images"
COLUMNS, LINES = 110, 29
_WIDE, _HIGH, _EDGE, _BAR = 8.4, 19, 14, 30
_SEQUENCE = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|\x1b.|([^\x1b])", re.DOTALL)
_COLOURS = {31: "#ff7b72", 32: "#7ee787", 33: "#e3b341", 34: "#79c0ff", 35: "#d2a8ff", 36: "#56d4dd"}
_PAPER, _INK, _DIM = "#0d1117", "#e6edf3", "#9198a1"
_AT_WORK = re.compile(r"^[▸■◦] .*\d/\d", re.MULTILINE)
_DONE = re.compile(r"✓ (\d+) completed")
REPORT = {"timeline": 660, "patch": 620}
"""Parts of the report of which there are pictures, with their heights."""

Cell = tuple[str, tuple[int, ...]]


class Paper:
    """As much of a terminal as the live screen uses: places, erasing, styles."""

    def __init__(self) -> None:
        self._rows = [self._blank() for _ in range(LINES)]
        self._row = self._column = 0
        self._style: tuple[int, ...] = ()

    def feed(self, text: str) -> None:
        for numbers, letter, character in _SEQUENCE.findall(text):
            if character == "\n":
                self._row = min(self._row + 1, LINES - 1)
            elif character == "\r":
                self._column = 0
            elif character:
                self._put(character)
            elif letter and not numbers.startswith("?"):
                self._obey(letter, [int(number or 0) for number in numbers.split(";")])

    def rows(self) -> list[list[Cell]]:
        return [list(row) for row in self._rows]

    def text(self) -> str:
        return "\n".join("".join(character for character, _ in row).rstrip() for row in self._rows)

    def _put(self, character: str) -> None:
        if character.isprintable() and self._column < COLUMNS:
            self._rows[self._row][self._column] = (character, self._style)
            self._column += 2 if unicodedata.east_asian_width(character) in "WF" else 1

    def _obey(self, letter: str, numbers: list[int]) -> None:
        match letter:
            case "H":
                self._row = min(max(numbers[0] - 1, 0), LINES - 1)
                self._column = max(numbers[1] - 1, 0) if len(numbers) > 1 else 0
            case "G":
                self._column = max(numbers[0] - 1, 0)
            case "K":
                self._rows[self._row] = self._blank()
            case "J":
                below = self._row if numbers[0] == 0 else 0
                self._rows[below:] = [self._blank() for _ in self._rows[below:]]
            case "m":
                self._style = () if numbers == [0] else (*self._style, *numbers)

    @staticmethod
    def _blank() -> list[Cell]:
        return [(" ", ())] * COLUMNS


def record(command: list[str], env: dict[str, str]) -> list[list[Cell]]:
    """Run a command at a pseudo-terminal; the frame with most agents at work, of these the one with most done."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env, start_new_session=True)
    os.close(theirs)
    paper, best, shown = Paper(), (-1, -1), None
    for data in _heard(ours):
        for part in re.split(r"(?<=\x1b\[\?2026l)", data):  # the end of a frame
            paper.feed(part)
            if part.endswith("\x1b[?2026l"):
                text = paper.text()
                done = _DONE.search(text)
                much = (len(_AT_WORK.findall(text)), int(done[1]) if done else 0)
                if much >= best:
                    best, shown = much, paper.rows()
    if process.wait() != 0 or shown is None:
        raise SystemExit(f"pictures: the run ended with {process.returncode}:\n{paper.text()}")
    return shown


def _heard(terminal: int) -> Iterator[str]:
    rest = b""
    while True:
        select.select([terminal], [], [])
        try:
            data = os.read(terminal, 1 << 16)
        except OSError:  # the other side is closed
            return
        data = rest + data
        cut = max(data.rfind(b"\x1b[?2026l") + 8, 0) or len(data)
        rest = data[cut:]
        yield data[:cut].decode("utf-8", "replace")


def drawn(rows: list[list[Cell]], title: str) -> str:
    """A picture of a terminal. Nothing is loaded from elsewhere: text in the reader's own monospaced font."""
    width, height = 2 * _EDGE + COLUMNS * _WIDE, _BAR + 2 * _EDGE + LINES * _HIGH - 6
    dots = "".join(f'<circle cx="{18 + 18 * n}" cy="15" r="5" fill="#484f58"/>' for n in range(3))
    texts = [
        f'<text x="{_EDGE + start * _WIDE:.1f}" y="{_BAR + _EDGE + (n + 0.72) * _HIGH:.1f}" '
        f'textLength="{len(text) * _WIDE:.1f}" {_look(style)}>{escape(text)}</text>'
        for n, row in enumerate(rows)
        for start, text, style in _pieces(row)
    ]
    font = "ui-monospace,SFMono-Regular,Menlo,Consolas,&quot;DejaVu Sans Mono&quot;,monospace"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'role="img" font-family="{font}" font-size="13.5"><title>{escape(title)}</title>'
        f'<rect width="100%" height="100%" rx="8" fill="{_PAPER}" stroke="#30363d"/>{dots}'
        f'<text x="{width / 2:.0f}" y="19" fill="{_DIM}" text-anchor="middle" font-size="12">{escape(title)}</text>'
        f'<g xml:space="preserve" lengthAdjust="spacingAndGlyphs">\n' + "\n".join(texts) + "\n</g></svg>\n"
    )


def _pieces(row: list[Cell]) -> Iterator[tuple[int, str, tuple[int, ...]]]:
    """What has one style and no gap of more than one blank."""
    start, text = 0, ""
    for n, (character, style) in enumerate([*row, (" ", (-1,))]):
        if text and (style != row[start][1] or (character == " " and text.endswith(" "))):
            if text.strip():
                yield start, text.rstrip(), row[start][1]
            text = ""
        if not text and character == " ":
            continue
        if not text:
            start = n
        text += character


def _look(style: tuple[int, ...]) -> str:
    colour = next((_COLOURS[number] for number in style if number in _COLOURS), _DIM if 2 in style else _INK)
    more = ' font-weight="bold"' if 1 in style else ""
    return f'fill="{colour}"{more}' + (' font-style="italic"' if 3 in style else "")


def picture_report(run: str, env: dict[str, str], folder: Path) -> None:
    """The report of a run in a browser."""
    command = shutil.which("chromium")
    if command is None:
        raise SystemExit("pictures: chromium is not on PATH")
    page = folder / "report.html"
    subprocess.run([sys.executable, "-m", "swarm", "report", run, "--html", str(page)], env=env, check=True)
    with chromium(command, folder / "profile", "--window-size=1180,900", "--hide-scrollbars") as browser:
        browser.open(page.as_uri())
        for part, height in REPORT.items():
            browser.click(f"#tab-{part}")
            browser.do("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            width = browser.do("document.querySelector('header').getBoundingClientRect().width")  # without a scroll bar
            clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
            browser.screenshot(IMAGES / f"report-{part}.png", clip=clip)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m scripts.pictures", description=__doc__)
    parser.add_argument("--home", type=Path, help="keep the run there (default: a folder that is removed)")
    parser.add_argument("--report", metavar="RUN", help="picture only the report of a run that is in --home")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        home = (args.home or folder / "home").absolute()
        env = demo.environment(home) | {"TERM": "xterm-256color", "PYTHONPATH": str(ROOT)}
        if not args.report:
            settings = demo.Settings(seed=1, faults=12, agents=8, sandbox="auto")
            faulty, _ = demo.damaged(settings)
            task = TASK.format(sources=settings.package.sources)
            command = ["run", task, "--repo", str(faulty), "--test", settings.package.test, "--model", "embedded"]
            command += ["--seed", "1", "--concurrency", "8", "--yes", "--patch", str(folder / "fix.patch")]
            rows = record([sys.executable, "-m", "swarm", *command], env)
            title = 'swarm run "The tests of this package fail. ..." --model embedded --concurrency 8'
            (IMAGES / "screen.svg").write_text(drawn(rows, title), encoding="utf-8")
        picture_report(args.report or "last", env, folder)


if __name__ == "__main__":
    main()
