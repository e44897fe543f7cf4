"""A test command narrowed to chosen tests: only where its form leaves no doubt."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import dropwhile

_ASSIGNED = re.compile(r"[A-Za-z_]\w*=")
_QUOTED = re.compile(r"""'[^']*'|"[^"$`\\]*\"""")
_SHELL = re.compile(r"[|&;<>()`$\n\\#*?~{}!]")
_SCENE = re.compile(r"\s*cd\s+((?:\./)?[\w.-]+(?:/[\w.-]+)*)/?\s*&&\s*")
_PYTHON = re.compile(r"(?:.*/)?python[\d.]*")
_STARTERS = frozenset(("uv", "poetry", "pdm", "pipenv", "rye", "hatch", "coverage", "env", "time", "nice", "xvfb-run"))
# Options of pytest that take the next word.
_VALUED = frozenset(
    (
        *("-k", "-m", "-c", "-o", "-p", "-r", "-W", "-n", "--tb", "--rootdir", "--import-mode", "--confcutdir"),
        *("--override-ini", "--config-file", "--dist", "--durations", "--color", "--timeout", "--ignore", "--deselect"),
        *("--maxfail", "--junitxml", "--junit-xml", "--log-level", "--log-cli-level", "--basetemp", "--cov-report"),
    )
)
_FLAGS = frozenset(
    (
        *("--strict-markers", "--strict-config", "--strict", "--no-header", "--no-summary", "--quiet", "--verbose"),
        *("--exitfirst", "--showlocals", "--full-trace", "--no-cov", "--runxfail", "--cache-clear", "--runslow"),
        *("--disable-warnings", "--disable-pytest-warnings", "--doctest-modules"),
    )
)
# With these it does something else, or what is named is not what is run.
_OTHER = frozenset(
    (
        *("--collect-only", "--co", "--lf", "--last-failed", "--ff", "--failed-first", "--sw", "--stepwise"),
        *("--pyargs", "--version", "--fixtures", "--markers", "-h", "--help"),
    )
)
_NOT_BY_FILE = ("--ignore", "--ignore-glob", "--doctest-modules", "--doctest-glob", "-c", "--config-file", "--rootdir")


@dataclass(frozen=True, slots=True)
class PytestCommand:
    """A command that does nothing but call pytest. `head` is shell text up to and with its options, `paths` are the
    tests that it names, none where it runs all. `folder` is where it is run, "" for the workspace's own folder.
    `by_file`: whether the files that it runs are those that pytest's rules and its paths say."""

    head: str
    paths: tuple[str, ...] = ()
    folder: str = ""
    by_file: bool = True

    def only(self, tests: Sequence[str]) -> str:
        """The same with these tests in place of its own."""
        return " ".join((self.head, *map(shlex.quote, tests)))


def parse(command: str) -> PytestCommand | None:
    """What can be narrowed of a command, None where that is in doubt."""
    scene = _SCENE.match(command)
    text = command[scene.end() :] if scene else command
    parts = [part for part in scene.group(1).split("/") if part != "."] if scene else []
    if _SHELL.search(_QUOTED.sub("", text.strip())) or ".." in parts:
        return None
    try:
        words = shlex.split(text)
    except ValueError:
        return None
    at = next((n for n, word in enumerate(words) if word.rpartition("/")[2] in ("pytest", "py.test")), None)
    if at is None or not _starts(words[:at]):
        return None
    taken = _options(words[at + 1 :])
    if taken is None:
        return None
    options, paths = taken
    folder = "/".join(parts)
    head = " ".join((*map(_quote, words[: at + 1]), *map(shlex.quote, options)))
    by_file = not any(option.partition("=")[0] in _NOT_BY_FILE for option in options)
    return PytestCommand(
        f"cd {shlex.quote(folder)} && {head}" if folder else head,
        paths,
        folder,
        by_file and not any("::" in p for p in paths),
    )


def _starts(words: Sequence[str]) -> bool:
    """Whether these words only say how pytest is to be started."""
    left = list(dropwhile(_ASSIGNED.match, words))
    return not left or bool(_PYTHON.fullmatch(left[0]) and left[-1] == "-m") or left[0].rpartition("/")[2] in _STARTERS


def _options(words: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Options and paths; None where it is in doubt which is which."""
    options, paths = list[str](), list[str]()
    rest, last = iter(words), ""
    for word in rest:
        if not word.startswith("-"):
            if last.startswith("--") and "=" not in last and last not in _FLAGS and not re.search(r"[/.]", word):
                return None  # the value of an option that is not known here?
            paths.append(word)
        elif word.partition("=")[0] in _OTHER:
            return None
        else:
            options.append(word)
            if word in _VALUED and (value := next(rest, None)) is not None:
                options.append(value)
        last = word if word not in _VALUED else ""
    return tuple(options), tuple(paths)


def _quote(word: str) -> str:
    if _ASSIGNED.match(word):
        name, _, value = word.partition("=")
        return f"{name}={shlex.quote(value)}"
    return shlex.quote(word)
