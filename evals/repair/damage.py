"""Makes an instance: a package with faults in it, the tests that agents see, and those that are held back."""

from __future__ import annotations

import functools
import json
import os
import shutil
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from swarm.errors import MachineError, UsageError
from swarm.evals.faults import Fault, FaultConfig, Planted, plant
from swarm.evals.packages import make_repository
from swarm.evals.repair.hiding import chosen, function_of, take_out
from swarm.evals.repair.origins import Origin
from swarm.evals.repair.retest import Retester
from swarm.removal import remove_tree
from swarm.sandboxes.folders import private_folder

VERSION = "1"
"""Of how instances are made and graded."""
WHOLE, SEEN, FACTS = "whole", "seen", "instance.json"
_TRIES = 3

TASK = """\
The tests of this package fail. Several functions in the sources below {sources}/ were damaged, one line each. Find \
the damage and repair it, so that all tests pass. Leave the tests as they are."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to make. `hidden` is the share of the tests that is held back, 0..1."""

    origin: Origin
    faults: int
    seed: int
    hidden: float = 0.3

    @property
    def id(self) -> str:
        """The name of the instance."""
        return f"{self.origin.name}-{self.origin.version}-{self.faults}-s{self.seed}"

    @property
    def digest(self) -> str:
        """Of everything that the instance follows from."""
        origin = self.origin
        told = [VERSION, origin.digest, origin.sources, origin.test, self.faults, self.seed, self.hidden]
        return sha256(repr(told).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Damaged:
    """An instance in its folder: `whole` and `seen` are the damaged trees with all tests, and without those that are
    `hidden` (functions). `green` are the tests that passed before anything was planted."""

    folder: Path
    faults: tuple[Fault, ...]
    green: frozenset[str]
    hidden: frozenset[str]

    @property
    def whole(self) -> Path:
        """The damaged tree with all its tests."""
        return self.folder / WHOLE

    @property
    def seen(self) -> Path:
        """The damaged tree that agents get."""
        return self.folder / SEEN

    def is_hidden(self, test: str) -> bool:
        """Whether a test was held back."""
        return function_of(test) in self.hidden


async def damage(origin: Origin, cache: Path, folder: Path, faults: int, seed: int) -> Planted:
    """A damaged package with all its tests as a repository in the new `folder`.

    Raises:
        UsageError: so many faults cannot be planted.
        MachineError: the package cannot be fetched, or its tests cannot be run here.
    """
    await origin.lay_out(cache, folder)
    planted = await plant(folder, FaultConfig(origin.sources, faults, seed))
    await anyio.to_thread.run_sync(make_repository, folder, f"{origin.name} {origin.version}, damaged")
    return planted


async def prepared(wanted: Wanted, kept: Path, retester: Retester) -> Damaged:
    """The instance, from the folder `kept` where it was made before.

    Raises:
        UsageError: so many faults cannot be planted, or the package's tests do not pass as they are.
        MachineError: the package cannot be fetched, or its tests cannot be run here.
    """
    folder = kept / f"{wanted.id}-{wanted.digest[:12]}"
    if (folder / FACTS).is_file():
        return await anyio.to_thread.run_sync(_read, folder)
    await anyio.to_thread.run_sync(functools.partial(kept.mkdir, parents=True, exist_ok=True))
    async with private_folder(kept, "making") as making:
        facts = await _made(wanted, kept.parent / "packages", making, retester)
        (making / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
        await anyio.to_thread.run_sync(_put, making, folder)
        making.mkdir()  # what the block removes
    return await anyio.to_thread.run_sync(_read, folder)


def copy_seen(damaged: Damaged, place: Path) -> None:
    """A repository for one run, without the hidden tests; blocks. Its only commit is always the same."""
    shutil.copytree(damaged.seen, place, symlinks=True)
    make_repository(place, "damaged")


async def _made(wanted: Wanted, cache: Path, folder: Path, retester: Retester) -> dict[str, Any]:
    origin, whole, seen = wanted.origin, folder / WHOLE, folder / SEEN
    await origin.lay_out(cache, whole)
    copy = functools.partial(shutil.copytree, whole, symlinks=True)
    await anyio.to_thread.run_sync(copy, seen)
    before = await retester.run(whole, origin.test)
    if not before.ended or before.failed:
        names = ", ".join(sorted(before.failed)[:3]) or "they come to no end"
        raise UsageError(
            f"the tests of {origin.name} do not pass as they are: {names}", remedy="leave those out with --test"
        )
    planted = await plant(whole, FaultConfig(origin.sources, wanted.faults, wanted.seed))
    red = [fault.failing for fault in planted.faults]
    hidden = await _hide(chosen(before.passed, red, wanted.hidden, wanted.seed), seen, before.passed, origin, retester)
    for file in {fault.file for fault in planted.faults}:
        shutil.copyfile(whole / file, seen / file)
    return {
        "id": wanted.id,
        "faults": [asdict(fault) for fault in planted.faults],
        "green": sorted(before.passed),
        "hidden": sorted(hidden),
    }


async def _hide(
    hidden: frozenset[str], seen: Path, green: frozenset[str], origin: Origin, retester: Retester
) -> frozenset[str]:
    """Take tests out of the sound tree. What others need stays in: the rest must pass as it did."""
    sound = seen.with_name("sound")
    await anyio.to_thread.run_sync(functools.partial(shutil.copytree, seen, sound, symlinks=True))
    for _ in range(_TRIES):
        hidden = await anyio.to_thread.run_sync(take_out, seen, hidden)
        told = await retester.run(seen, origin.test)
        left = {test for test in green if function_of(test) not in hidden}
        if told.ended and left == told.passed and not told.failed:
            await anyio.to_thread.run_sync(remove_tree, sound)
            return hidden
        wrong = {test.partition("::")[0] for test in (left ^ told.passed) | told.failed} if told.ended else set()
        hidden = frozenset(test for test in hidden if test.partition("::")[0] not in wrong) if wrong else frozenset()
        await anyio.to_thread.run_sync(remove_tree, seen)
        await anyio.to_thread.run_sync(functools.partial(shutil.copytree, sound, seen, symlinks=True))
    raise MachineError(f"no tests of {origin.name} can be held back: the others do not pass without them")


def _read(folder: Path) -> Damaged:
    try:
        facts = json.loads((folder / FACTS).read_bytes())
        faults = tuple(Fault(**{**each, "failing": tuple(each["failing"])}) for each in facts["faults"])
        return Damaged(folder, faults, frozenset(facts["green"]), frozenset(facts["hidden"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise MachineError(f"{folder} cannot be read: {error}", remedy="remove it, and it is made anew") from None


def _put(making: Path, folder: Path) -> None:
    try:
        os.rename(making, folder)  # noqa: PTH104  fails where another process was first, and put the same there
    except OSError:
        if not (folder / FACTS).is_file():
            raise
        remove_tree(making)
