"""Writes the documents of `examples.wide` and `examples.deep`: made up, the same each time, with facts that are known.

python -m examples.corpora FOLDER
"""

from __future__ import annotations

import argparse
import random
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Island:
    """One island of the made-up archipelago."""

    name: str
    area: int
    population: int
    harbour: str
    charted: int


ISLANDS = (
    Island("Aldersay", 41, 1_210, "Port Brann", 1604),
    Island("Brenholm", 17, 340, "Kelp Quay", 1622),
    Island("Carrock", 88, 5_470, "Stonehaven Sound", 1598),
    Island("Dunmere", 9, 62, "North Slip", 1711),
    Island("Eskfell", 63, 2_905, "Lantern Bay", 1640),
    Island("Farrow", 25, 780, "Old Pier", 1633),
    Island("Grimsa", 120, 9_130, "Whale Roads", 1590),
    Island("Hollin", 33, 1_045, "Reed Harbour", 1658),
)
COLUMNS = ("Island", "Area", "Population", "Harbour", "Charted")

QUESTIONS = (
    "Why was the lamp of the Skarn light changed from whale oil to kerosene?",
    "What did the storm of 1884 do to the breakwater?",
    "Who kept the tide tables, and how were they checked?",
    "How was the cable to the mainland repaired?",
)
PLANTED = {
    "keepers-log.md": (
        "The lamp of the Skarn light was changed from whale oil to kerosene because the price of whale oil had trebled "
        "in four years.",
        "After the change the Skarn light could be seen from nineteen miles, where the whale oil lamp had reached "
        "fourteen.",
    ),
    "harbour-accounts.md": (
        "The storm of 1884 tore forty metres of stone from the breakwater, and two barges were sunk behind it.",
        "The breakwater was closed with timber cribs by the spring, and the storm damage cost nine thousand crowns.",
    ),
    "observatory-notes.md": (
        "The tide tables were kept by Ilse Marren, who read the gauge at every turn of the tide for eleven years.",
        "Her tide tables were checked against the gauge at Whale Roads twice a year, and differed by less than a hand.",
        "The cable to the mainland was repaired by dragging a grapnel across the sound until both ends were aboard.",
    ),
}
"""The sentences that answer, by the document that holds them."""

_PLACES = ("the north slip", "the store", "the signal hut", "the east wall", "the boathouse", "the upper path")
_DOINGS = ("was swept", "was found dry", "was painted", "was inspected", "was left as it stood", "needed two men")
_SKIES = ("fog", "clear sky", "low cloud", "light snow", "a hard frost", "drizzle", "haze")


def write_wide(folder: Path) -> Path:
    """A page for each island, and a list of all harbours."""
    folder.mkdir(parents=True, exist_ok=True)
    for island in ISLANDS:
        text = (
            f"# {island.name}\n\nOf the outer islands, {island.name} is one that few ships call at.\n\n"
            f"## Land and people of {island.name}\n\n"
            f"The area of {island.name} is {island.area} square kilometres, most of it heath. At the last count its\n"
            f"population was {island.population:,}.\n\n"
            f"## History of {island.name}\n\n{island.name} was first charted in {island.charted} by a survey ship.\n"
            "Peat was cut there until the cable came.\n"
        )
        (folder / f"{island.name.lower()}.md").write_text(text, encoding="utf-8")
    rows = "".join(f"<p>The harbour of {each.name} is {each.harbour}.</p>\n" for each in ISLANDS)
    page = f"<html><head><title>Harbours</title></head><body><h1>Harbours</h1>\n{rows}</body></html>\n"
    (folder / "harbours.html").write_text(page, encoding="utf-8")
    return folder


def write_deep(folder: Path, days: int = 2_000, seed: int = 7) -> Path:
    """Three long records of so many days each; the few sentences that matter stand somewhere among them."""
    folder.mkdir(parents=True, exist_ok=True)
    draw = random.Random(seed)
    for name, planted in PLANTED.items():
        at = dict(zip(sorted(draw.sample(range(days // 10, days), len(planted))), planted, strict=True))
        lines = [f"# {name.removesuffix('.md').replace('-', ' ').title()}", ""]
        for day in range(days):
            if day % 100 == 0:
                lines += [f"## Days {day + 1} to {day + 100}", ""]
            sky, place, doing = draw.choice(_SKIES), draw.choice(_PLACES), draw.choice(_DOINGS)
            said = f"Day {day + 1}: {sky} at dawn; {place} {doing}."
            lines += [f"{said} {at[day]}" if day in at else said, ""]
        (folder / name).write_text("\n".join(lines), encoding="utf-8")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="gets two folders: wide and deep")
    folder = parser.parse_args().folder
    print(write_wide(folder / "wide"))
    print(write_deep(folder / "deep"))


if __name__ == "__main__":
    main()
