"""Reading the output of a test command, whatever runners it calls: by what they print, not by the command."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from swarm.gating.outcomes import Outcomes
from swarm.gating.outputs import compiled, javascript, others, python

LONGEST_LINE = 4_000
_CODES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")

Reader = Callable[[Sequence[str]], Outcomes | None]
_READERS: tuple[Reader, ...] = (
    *(python.pytest, python.unittest),
    *(javascript.jest, javascript.vitest, javascript.mocha, javascript.tap, javascript.node_spec),
    *(compiled.cargo, compiled.nextest, compiled.go, compiled.go_json, compiled.ctest),
    *(others.rspec, others.minitest, others.phpunit, others.surefire, others.gradle, others.dotnet),
)


def read(output: str) -> Outcomes:
    """What an output tells of its tests; nothing where no runner is known by it. Takes time in proportion to its
    length, and never raises."""
    text = _CODES.sub("", output).replace("\r\n", "\n").replace("\r", "\n")
    lines = [line[:LONGEST_LINE] for line in text.split("\n")]
    found = [each for reader in _READERS if (each := reader(lines)) is not None]
    if len(found) < 2:
        return found[0] if found else Outcomes()
    counts = [each.ran for each in found if each.ran is not None]
    return Outcomes(
        runner=", ".join(each.runner for each in found),
        failed=tuple(dict.fromkeys(name for each in found for name in each.failed)),
        ran=sum(counts) if counts else None,
        complete=all(each.complete for each in found),
        compiles=any(each.compiles for each in found),
    )
