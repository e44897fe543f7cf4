"""A scenario: everything about one run that meets with faults, drawn from one number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from random import Random
from typing import Literal, Protocol

from tests.chaos.live import LiveRun
from tests.chaos.shapes import SHAPES, Shape

Delivery = Literal["", "apply", "branch", "patch"]


class Fault(Protocol):
    """What goes wrong with one run. `around` is entered before the run is started (it may change how it is: `env`,
    `options`, `config`, `acts`, the endpoint's strikes), stays during all its lives, and is left before anything is
    checked. It counts in `run.injected` what it really did; what the endpoint or the launcher did they count."""

    @property
    def name(self) -> str: ...

    def around(self, run: LiveRun) -> AbstractAsyncContextManager[None]: ...


@dataclass(frozen=True, slots=True)
class Setting:
    """What a fault is drawn for."""

    shape: Shape
    box: str
    concurrency: int
    delivery: Delivery
    stream: bool


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: how one is drawn, and for which runs. Kinds of one `clash` do not come together."""

    name: str
    draw: Callable[[Random, Setting], Fault]
    fits: Callable[[Setting], bool] = lambda setting: True
    weight: float = 1.0
    clash: str = ""


@dataclass(frozen=True, slots=True)
class Scenario:
    seed: int
    setting: Setting
    faults: tuple[Fault, ...]

    def __str__(self) -> str:
        setting, shape = self.setting, self.setting.shape
        what = f"{shape.mode} {'+'.join(map(str, shape.stages))}{' repo' if shape.repo else ''}"
        how = f"{setting.box}, {setting.concurrency} at once{', ' + setting.delivery if setting.delivery else ''}"
        return f"SEED={self.again}: {what}, {how}; {'; '.join(str(fault) for fault in self.faults)}"

    @property
    def again(self) -> str:
        """The SEED with which `make chaos` plays it again."""
        return f"docker{self.seed:+}" if self.setting.box == "docker" else str(self.seed)


def draw(seed: int, kinds: Sequence[Kind], boxes: Sequence[str]) -> Scenario:
    """The scenario of a seed, for a machine with these sandboxes."""
    chance = Random(seed)
    shape = chance.choice(SHAPES)
    deliveries: Sequence[Delivery] = ("", "", "apply", "branch", "patch") if shape.repo else ("",)
    setting = Setting(
        shape,
        box=chance.choice(boxes),
        concurrency=chance.randint(1, 4),
        delivery=chance.choice(deliveries),
        stream=chance.random() < 0.8,
    )
    faults: list[Fault] = []
    taken: set[str] = set()
    for _ in range(chance.choices((1, 2, 3), (5, 3, 1))[0]):
        open_kinds = [each for each in kinds if each.fits(setting) and (each.clash or each.name) not in taken]
        if not open_kinds:
            break
        kind = chance.choices(open_kinds, [each.weight for each in open_kinds])[0]
        taken.add(kind.clash or kind.name)
        faults.append(kind.draw(chance, setting))
    return Scenario(seed, setting, tuple(faults))
