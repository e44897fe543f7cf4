"""Which instances of a suite are run, in which order, and the seed of each trial."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from swarm.errors import UsageError
from swarm.evals.suite import Instance

_PART = re.compile(r"(-?\d*):(-?\d*)")
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Selection:
    """`ids` and a regular expression that is searched in the id and in what is known about an instance; of these, in an
    order drawn with `shuffle` (None: that of the data), the `part` and at most `limit`."""

    ids: tuple[str, ...] = ()
    pattern: str = ""
    part: str = ""
    limit: int | None = None
    shuffle: int | None = None


def select(instances: Sequence[Instance], wanted: Selection) -> list[Instance]:
    """The instances that are wanted.

    Raises:
        UsageError: one that is named is not there, none is left, an expression cannot be read, the data hold one twice.
    """
    counted = Counter(instance.id for instance in instances)
    if twice := [name for name, count in counted.items() if count > 1]:
        raise UsageError(f"the data hold {_some(twice)} more than once", remedy="each instance has an id of its own")
    if strange := [name for name in wanted.ids if name not in counted]:
        raise UsageError(f"the data do not hold {_some(strange)}", remedy="see --ids")
    found = [each for each in instances if not wanted.ids or each.id in wanted.ids]
    if wanted.pattern:
        try:
            matches = re.compile(wanted.pattern).search
        except re.error as error:
            raise UsageError(f"--filter {wanted.pattern!r}: {error}", remedy="give a regular expression") from None
        found = [each for each in found if any(map(matches, (each.id, *each.about.values())))]
    if wanted.shuffle is not None:
        random.Random(wanted.shuffle).shuffle(found)
    found = found[_part(wanted.part)][: wanted.limit]
    if not found:
        raise UsageError(f"none of {len(instances)} instances is selected", remedy="see --ids, --filter and --slice")
    return found


def seed_of(base: int | None, instance_id: str, epoch: int) -> int | None:
    """The seed of a trial: the same in every arm, so that they can be compared; None without one to begin with."""
    if base is None:
        return None
    return int.from_bytes(sha256(f"{base}/{instance_id}/{epoch}".encode()).digest()[:4], "big") >> 1


def _part(given: str) -> slice:
    if not given:
        return slice(None)
    match = _PART.fullmatch(given.strip())
    if match is None:
        raise UsageError(f"--slice {given!r} is no part", remedy="give it as 0:50, :50, 50: or -10:")
    first, last = (int(bound) if bound else None for bound in match.groups())
    return slice(first, last)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
