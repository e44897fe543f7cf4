"""What a test command's output tells of its tests."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What an output tells. `failed` holds the names of all tests that are red, those that could not even be run too.
    `ran`: how many have a result, be it that they were skipped; None where nothing tells. `complete`: no test was left
    out because of what went wrong before. `runner`: whose output it is, "" for nobody's that is known here. `compiles`:
    that it was run says something also where there was no test."""

    runner: str = ""
    failed: tuple[str, ...] = ()
    ran: int | None = None
    complete: bool = True
    compiles: bool = False

    def below(self, folder: str) -> Outcomes:
        """The same, with paths below a folder told from there: it has another place in every sandbox."""
        top = f"{folder.rstrip('/')}/"
        if len(top) < 2 or not any(top in name for name in self.failed):
            return self
        return replace(self, failed=tuple(dict.fromkeys(name.replace(top, "") for name in self.failed)))
