"""The gate's shell command, taken apart: how to call pytest on chosen tests the way it does."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass

_END = re.compile(r"^(?:\d?[<>].*|\||\|\||;|&&|&)$")
_PYTHON = re.compile(r"(?:^|/)python[\d.]*$")
# Options that say how tests are loaded, not which ones or how they are shown.
_KEPT_WITH_VALUE = {
    "-c",
    "--config-file",
    "-p",
    "-o",
    "--override-ini",
    "-W",
    "--rootdir",
    "--import-mode",
    "--confcutdir",
}
_KEPT = {"--strict-markers", "--runslow", "--doctest-modules"}


@dataclass(frozen=True, slots=True)
class TestCommand:
    """`prefix` is shell text up to the interpreter (`cd x &&`, `A=b`), `python` the interpreter it names or ""."""

    __test__ = False

    prefix: str = ""
    python: str = ""
    options: tuple[str, ...] = ()


def parse(command: str) -> TestCommand:
    """What can be told of a command; the empty TestCommand where it calls pytest in no way known here."""
    # Only the last of `a && b` runs the tests; what stands before it sets the scene.
    scene, last = "", command.strip()
    while (
        cut := re.match(r"^((?:[^'\"|]|'[^']*'|\"[^\"]*\")*?(?:&&|;)\s*)(.*pytest.*)$", last, re.DOTALL)
    ) is not None:
        scene, last = scene + cut.group(1), cut.group(2)
    try:
        words = shlex.split(last)
    except ValueError:
        return TestCommand()
    assigned = 0
    while assigned < len(words) and re.match(r"^[A-Za-z_]\w*=", words[assigned]):
        assigned += 1
    prefix = scene + "".join(
        re.sub(r"=(.*)$", lambda m: "=" + shlex.quote(m.group(1)), w) + " " for w in words[:assigned]
    )
    words = words[assigned:]
    at = next((n for n, w in enumerate(words) if w.rpartition("/")[2] in ("pytest", "py.test")), None)
    if at is None:
        return TestCommand()
    python = ""
    if at >= 2 and words[at - 1] == "-m":
        python = next((w for w in reversed(words[: at - 1]) if _PYTHON.search(w)), "")
    elif "/" in words[at]:
        python = words[at].rpartition("/")[0] + "/python"
    return TestCommand(prefix, python, _options(words[at + 1 :]))


def _options(words: list[str]) -> tuple[str, ...]:
    kept: list[str] = []
    n = 0
    while n < len(words) and not _END.match(words[n]):
        name = words[n].partition("=")[0]
        if name in _KEPT_WITH_VALUE:
            kept.append(words[n])
            if "=" not in words[n] or not name.startswith("--"):
                n += 1
                kept += words[n : n + 1]
        elif name in _KEPT or re.match(r"^-[pWo].", words[n]):
            kept.append(words[n])
        n += 1
    return tuple(kept)
