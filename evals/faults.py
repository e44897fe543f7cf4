"""A seeded generator of one-line faults for any Python package whose tests run under pytest.

Each fault stands in a function of its own, alone turns at least one test of the package red, and neither hangs the
tests nor keeps them from being collected; nor do all of them together. The same seed gives the same faults.
"""

from __future__ import annotations

import functools
import random
import shutil
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from swarm.errors import UsageError
from swarm.evals.fault_kinds import KINDS, Candidate, candidates, means_another
from swarm.evals.prober import Prober, prober


@dataclass(frozen=True, slots=True)
class Fault:
    """One planted fault: where, what, and the tests that it alone turns red (of those that run its line)."""

    file: str
    line: int
    function: str
    kind: str
    old: str
    new: str
    failing: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Planted:
    """What was planted, and the tests that fail with all faults in place. `tests` is how many there are."""

    faults: tuple[Fault, ...]
    failing: tuple[str, ...]
    tests: int


@dataclass(frozen=True, slots=True)
class FaultConfig:
    """How to plant. `package` is the folder of the sources, relative to the root.

    `share` bounds the tests that a fault may touch, as a part of all; times are seconds; `tries` is how many
    kinds are tried on one function before the next is taken; `workers` interpreters run tests side by side.
    """

    package: str
    count: int = 12
    seed: int = 1
    share: float = 0.15
    tries: int = 4
    try_timeout: float = 10.0
    suite_timeout: float = 180.0
    workers: int = 2
    python: str = sys.executable


class _Survey:
    """What one traced run of the whole suite told: which tests run which lines, and how long each takes."""

    def __init__(self, root: Path, config: FaultConfig, replies: Sequence[Mapping[str, Any]]) -> None:
        self.root = root
        self.config = config
        self.seconds: dict[str, float] = {}
        self._lines: dict[str, dict[str, list[str]]] = {}
        self._imported: dict[str, set[int]] = {}
        for reply in replies:
            self.seconds |= reply["seconds"]
            for file, by_line in reply["lines"].items():
                mine = self._lines.setdefault(file, {})
                for line, tests in by_line.items():
                    mine.setdefault(line, []).extend(tests)
            for file, lines in reply["imported"].items():
                self._imported.setdefault(file, set()).update(lines)

    def queue(self) -> Iterator[tuple[str, list[Candidate]]]:
        """One function with its possible faults after the other, in the order of the seed.

        Files take turns, and so do kinds: of a file, the next function is one where the kind whose turn it is fits.
        The faults of a function come in the order in which they should be tried.
        """
        dice = random.Random(self.config.seed)
        kinds = list(KINDS)
        files = sorted(file for file in self._lines if not _is_test(Path(file).relative_to(self.root)))
        dice.shuffle(kinds)
        dice.shuffle(files)
        left: dict[str, list[list[Candidate]]] = {}
        turns = deque(files)
        while turns:
            file = turns.popleft()
            if file not in left:
                left[file] = self._functions(file, dice)
            if not left[file]:
                continue
            turns.append(file)
            pick = min(left[file], key=lambda function: min(kinds.index(c.kind) for c in function))
            left[file].remove(pick)
            by_kind = [[c for c in pick if c.kind == kind] for kind in kinds]
            yield file, [dice.choice(some) for some in by_kind if some]
            kinds.append(kinds.pop(0))

    def _functions(self, file: str, dice: random.Random) -> list[list[Candidate]]:
        """The functions of a file that few enough tests run, and none runs while it is imported."""
        imported = self._imported.get(file, set())
        found: dict[str, list[Candidate]] = {}
        for candidate in candidates(Path(file).read_text(encoding="utf-8")):
            if imported.isdisjoint(candidate.body) and self.covering(file, candidate):
                found.setdefault(candidate.function, []).append(candidate)
        names = sorted(found)
        dice.shuffle(names)
        return [found[name] for name in names]

    def covering(self, file: str, candidate: Candidate) -> tuple[str, ...]:
        """The tests that run the candidate's line (in a signature: the function); none where they are too many."""
        by_line = self._lines.get(file, {})
        lines = [candidate.line] if candidate.line in candidate.body else list(candidate.body)
        tests = sorted({test for line in lines for test in by_line.get(str(line), ())})
        limit = max(3, int(self.config.share * len(self.seconds)))
        return tuple(tests) if len(tests) <= limit else ()


async def plant(root: Path, config: FaultConfig) -> Planted:
    """Plant `config.count` faults in the package below `root` and write them there.

    All trying is done in a copy; `root` changes only at the end, by the faults alone.

    Raises:
        UsageError: the package is not there, its tests do not pass as it is, or it has too few places for faults.
        MachineError: its tests cannot be run here.
    """
    if not (root / config.package).is_dir():
        raise UsageError(f"{root / config.package}: no such folder", remedy="name a folder of the repository")
    with tempfile.TemporaryDirectory(prefix="faults-") as temp:
        copy = Path(temp).resolve() / "tree"
        ignore = shutil.ignore_patterns(".git", "__pycache__")
        await anyio.to_thread.run_sync(functools.partial(shutil.copytree, root, copy, symlinks=True, ignore=ignore))
        async with AsyncExitStack() as stack:
            probers = [await stack.enter_async_context(prober(copy, config.python)) for _ in range(config.workers)]
            planted = await _choose(copy, config, probers)
    for fault in planted.faults:
        _write(root / fault.file, fault)
    return planted


async def _choose(copy: Path, config: FaultConfig, probers: list[Prober]) -> Planted:
    survey = await _look(copy, config, probers)
    queue = enumerate(survey.queue())
    faults: list[Fault] = []
    for _ in range(3):
        while len(faults) < config.count:
            wave = [turn for turn, _ in zip(queue, range(config.count - len(faults)), strict=False)]
            if not wave:
                raise UsageError(f"only {len(faults)} faults found in {config.package}; ask for fewer")
            faults += await _wave(survey, wave, probers)
        together, faults = await _together(copy, config, faults, probers[0])
        if len(faults) == config.count:
            return Planted(tuple(faults), tuple(sorted(together["failed"])), len(survey.seconds))
    raise UsageError(f"the faults of seed {config.seed} do not go together", remedy="try another seed")


async def _look(copy: Path, config: FaultConfig, probers: list[Prober]) -> _Survey:
    """Run the whole suite under a tracer, shared out among the probers by test files."""
    package = f"{copy / config.package}/"
    replies: list[dict[str, Any]] = [{} for _ in probers]

    async def ask(i: int) -> None:
        replies[i] = await probers[i].ask(package=package, part=(i, len(probers)), timeout=config.suite_timeout)

    async with anyio.create_task_group() as group:
        for i in range(len(probers)):
            group.start_soon(ask, i)
    for reply in replies:
        if reply["exit"] not in (0, 5):  # 5: no tests, where there are fewer test files than probers
            names = ", ".join(reply["failed"][:3]) or "they cannot be collected, or run out of time"
            raise UsageError(
                f"the tests of {config.package} do not pass as they are: {names}", remedy="mend or leave out those"
            )
    return _Survey(copy, config, replies)


async def _wave(
    survey: _Survey, wave: list[tuple[int, tuple[str, list[Candidate]]]], probers: list[Prober]
) -> list[Fault]:
    """Try one function for each turn of the wave, side by side; the faults found, in the order of the wave."""
    found: dict[int, Fault] = {}
    send: MemoryObjectSendStream[tuple[int, tuple[str, list[Candidate]]]]
    receive: MemoryObjectReceiveStream[tuple[int, tuple[str, list[Candidate]]]]
    send, receive = anyio.create_memory_object_stream(len(wave))

    async def work(own: Prober, turns: MemoryObjectReceiveStream[tuple[int, tuple[str, list[Candidate]]]]) -> None:
        async with turns:
            async for turn, (file, choice) in turns:
                fault = await _first_that_shows(survey, Path(file), choice, own)
                if fault is not None:
                    found[turn] = fault

    async with anyio.create_task_group() as group:
        for one in probers:
            group.start_soon(work, one, receive.clone())
        receive.close()
        async with send:
            for item in wave:
                send.send_nowait(item)
    return [found[turn] for turn in sorted(found)]


async def _first_that_shows(survey: _Survey, file: Path, choice: list[Candidate], own: Prober) -> Fault | None:
    """Of the slips possible in one function, the first that its tests notice."""
    config = survey.config
    source = file.read_text(encoding="utf-8")
    for c in choice[: config.tries]:
        if not means_another(source, c):
            continue
        tests = survey.covering(str(file), c)
        limit = min(config.try_timeout, 2 + 4 * sum(survey.seconds[test] for test in tests))
        reply = await own.ask(tests=tests, timeout=limit, fault=(file, c.applied(source)))
        if reply["exit"] != 1 or not reply["failed"]:
            continue
        sound = await own.ask(tests=tests, timeout=limit)  # alone, in this order, without the fault
        if sound["exit"] == 0:
            name = file.relative_to(survey.root).as_posix()
            return Fault(name, c.line, c.function, c.kind, c.old, c.new, tuple(sorted(reply["failed"])))
    return None


async def _together(
    copy: Path, config: FaultConfig, faults: list[Fault], own: Prober
) -> tuple[dict[str, Any], list[Fault]]:
    """Run the whole suite with all faults in place; give up the latest ones until it comes to an end."""
    while faults:
        sources = {copy / fault.file: (copy / fault.file).read_bytes() for fault in faults}
        for fault in faults:
            _write(copy / fault.file, fault)
        for stale in (copy / config.package).rglob("__pycache__"):
            shutil.rmtree(stale)  # a byte-code file knows its source by size and second only
        reply = await own.ask(timeout=config.suite_timeout)
        for path, data in sources.items():
            path.write_bytes(data)
        if reply["exit"] == 1:
            return reply, faults
        faults = faults[:-1]
    return {"failed": []}, faults


def _is_test(path: Path) -> bool:
    """Whether a file of the package is one of its tests, where they stand among its sources."""
    return not {"test", "tests"}.isdisjoint(path.parts) or path.name.startswith(("test_", "conftest"))


def _write(path: Path, fault: Fault) -> None:
    lines = path.read_bytes().decode().split("\n")
    assert lines[fault.line - 1] == fault.old, f"{path}:{fault.line} is not what it was"
    lines[fault.line - 1] = fault.new
    path.write_bytes("\n".join(lines).encode())
