"""The words for a cost preview, and for how it came out."""

from __future__ import annotations

from swarm.cli.text import clock, count, line, many
from swarm.events import PreviewHeld
from swarm.preview import Basis, Preview, Quantity, Range

_NAMES: dict[Quantity, str] = {
    "usd": "dollars",
    "tokens": "tokens",
    "calls": "model calls",
    "wall_s": "time",
    "critical_steps": "critical steps",
}
_TOLD: tuple[Quantity, ...] = ("usd", "tokens", "wall_s")


def preview_lines(preview: Preview) -> list[str]:
    """A preview in full: ranges, where they come from, how earlier ones came out."""
    further = "" if preview.stage == 1 else f" from stage {preview.stage} on"
    lines = [f"cost preview{further}: where 8 of 10 such runs end, planning and later stages included"]
    for quantity, name in _NAMES.items():
        found = preview.of(quantity)
        if found is not None and found.high > 0:
            lines.append(f"  {name}: {_range(quantity, found)}, likely {_amount(quantity, found.likely)}")
        elif found is not None:
            lines.append(f"  {name}: none, as the models are free")
        else:
            models = ", ".join(line(model) for model in preview.unpriced)
            lines.append(f"  {name}: unknown{f' (no price for {models})' if models else ''}")
    spent = f"{_amount('usd', preview.spent_usd)}, " if preview.spent_usd else ""
    lines.append(f"  spent of it: {spent}{count(preview.spent_tokens)} tokens")
    if preview.limited >= 0.005:
        lines.append(f"  a limit (budget, time, critical steps) ends the run in {preview.limited:.0%} of all cases")
    lines.append(f"  from {_basis(preview.basis)}")
    return [*lines, *_calibration(preview)]


def preview_line(preview: Preview) -> str:
    """A preview in a line."""
    known = [(quantity, found) for quantity in _TOLD if (found := preview.of(quantity)) is not None]
    told = ", ".join(_said(quantity, found) for quantity, found in known if found.high > 0)
    return f"preview: {told}, from {_basis(preview.basis)}"


def outcome_line(held: PreviewHeld) -> str:
    """What was said and what it came to; nothing where nothing was."""
    parts = []
    for quantity in _TOLD:
        one = held.held.get(quantity)
        if one is not None and one.range.high > 0:
            missed = "" if one.held else " (outside)"
            parts.append(f"{_said(quantity, one.range)} said, {_amount(quantity, one.actual)} came{missed}")
    return f"preview: {'; '.join(parts)}" if parts else ""


def _said(quantity: Quantity, found: Range) -> str:
    return f"{_range(quantity, found)}{' tokens' if quantity == 'tokens' else ''}"


def _range(quantity: Quantity, found: Range) -> str:
    return f"{_amount(quantity, found.low)} to {_amount(quantity, found.high)}"


def _amount(quantity: Quantity, value: float) -> str:
    match quantity:
        case "usd":
            return f"${value:.2f}" if value >= 1 or not value else f"${value:.2g}" if value >= 1e-4 else f"${value:.1e}"
        case "wall_s":
            return clock(value) if value >= 10 else f"{value:.1f} s"
        case _:
            return count(round(value))


def _basis(basis: Basis) -> str:
    parts = []
    if basis.repository:
        parts.append(f"{many(basis.repository, 'past run')} like this (repository, model, mode)")
    if basis.model:
        parts.append(f"{basis.model} of this model elsewhere")
    if basis.others:
        parts.append(f"{basis.others} of other models or modes")
    if basis.assumed >= 0.005:
        parts.append(f"built-in assumptions{f' ({basis.assumed:.0%})' if parts else ' alone (no past run)'}")
    return ", ".join(parts)


def _calibration(preview: Preview) -> list[str]:
    """Of dollars where they are told, else of tokens; and of the time."""
    told: list[str] = []
    first: Quantity = "usd" if preview.usd is not None and preview.usd.high > 0 else "tokens"
    for quantity in (first, "wall_s"):
        found = preview.calibration.get(quantity)
        if found is None or not found.previews:
            continue
        times = f", {found.median_ratio:.2f} times the likely in the middle" if found.median_ratio is not None else ""
        told.append(f"{_NAMES[quantity]}: {found.held} of the last {found.previews} held{times}")
    return [f"  earlier previews: {'; '.join(told)}"] if told else []
