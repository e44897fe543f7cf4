"""Where the sub-tasks stand in the drawn graph: a band a stage, in it a column a layer, few crossings. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil

Needs = Mapping[str, Sequence[str]]
_SWEEPS = 4
_RATIO = 1.9
"""Width to height that is aimed at: that of a window."""
_GAP_X, _GAP_Y, _LAYER_GAP, _HEAD, _MARGIN, _NARROWEST = 14.0, 8.0, 46.0, 30.0, 12.0, 760.0


@dataclass(frozen=True, slots=True)
class Layout:
    """The upper left corners by name, and of each stage where its band begins and how high it is."""

    places: dict[str, tuple[float, float]]
    bands: dict[int, tuple[float, float]]
    width: float
    height: float
    node_width: float
    node_height: float


def lay_out(stages: Mapping[int, Sequence[str]], needs: Needs) -> Layout:
    """Lay out the sub-tasks of all stages; what `needs` names beyond a sub-task's stage moves nothing."""
    total = sum(map(len, stages.values()))
    node_width, node_height = (190.0, 40.0) if total <= 40 else (128.0, 26.0) if total <= 120 else (92.0, 20.0)
    places: dict[str, tuple[float, float]] = {}
    bands: dict[int, tuple[float, float]] = {}
    top, widest = 0.0, _NARROWEST
    for stage, names in stages.items():
        ordered = uncrossed(layered(names, needs), needs)
        rows = _rows(ordered, node_width, node_height)
        left, high = _MARGIN, 0
        for layer in ordered:
            columns = max(1, ceil(len(layer) / rows))
            for index, name in enumerate(layer):
                row, column = divmod(index, columns)
                high = max(high, row + 1)
                places[name] = (
                    left + column * (node_width + _GAP_X),
                    top + _HEAD + row * (node_height + _GAP_Y),
                )
            left += columns * (node_width + _GAP_X) - _GAP_X + _LAYER_GAP
        height = _HEAD + high * (node_height + _GAP_Y) + _MARGIN
        bands[stage] = (top, height)
        top += height + _MARGIN
        widest = max(widest, left - _LAYER_GAP + _MARGIN)
    return Layout(places, bands, widest, top, node_width, node_height)


def layered(names: Sequence[str], needs: Needs) -> list[list[str]]:
    """The names by how long the longest way to them is. What waits for itself, in a record made by hand, goes last."""
    inside = set(names)
    waiting = {name: [other for other in needs.get(name, ()) if other in inside and other != name] for name in names}
    layers: list[list[str]] = []
    done: set[str] = set()
    left = list(names)
    while left:
        ready = [name for name in left if all(other in done for other in waiting[name])] or left
        layers.append(list(ready))
        done.update(ready)
        left = [name for name in left if name not in done]
    return layers


def uncrossed(layers: Sequence[Sequence[str]], needs: Needs) -> list[list[str]]:
    """The layers ordered so that each name stands near the middle of those that it is connected with."""
    ordered = [list(layer) for layer in layers]
    after: dict[str, list[str]] = {}
    for layer in layers:
        for name in layer:
            for other in needs.get(name, ()):
                after.setdefault(other, []).append(name)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        near = needs if forward else after
        place = _placed(ordered)
        for layer in ordered if forward else reversed(ordered):
            middle = {name: _middle(near.get(name, ()), place, place[name]) for name in layer}
            layer.sort(key=lambda name: middle[name])
            place.update({name: (index + 0.5) / len(layer) for index, name in enumerate(layer)})
    return ordered


def _placed(layers: Sequence[Sequence[str]]) -> dict[str, float]:
    return {name: (index + 0.5) / len(layer) for layer in layers for index, name in enumerate(layer)}


def _middle(others: Sequence[str], place: Mapping[str, float], own: float) -> float:
    there = [place[other] for other in others if other in place]
    return sum(there) / len(there) if there else own


def _rows(layers: Sequence[Sequence[str]], width: float, height: float) -> int:
    """How many names stand above each other, so that the band comes near the ratio."""
    longest = max(map(len, layers), default=1)

    def off(rows: int) -> float:
        columns = sum(ceil(len(layer) / rows) for layer in layers)
        across = columns * (width + _GAP_X) + len(layers) * _LAYER_GAP
        return abs(across / (min(rows, longest) * (height + _GAP_Y)) - _RATIO)

    return min(range(1, longest + 1), key=off, default=1)
