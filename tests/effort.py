"""How hard the tests look that draw their cases: briefly with every `make test`, for long under `make chaos`."""

from __future__ import annotations

import os

from hypothesis import Phase, settings

_PROFILE = os.environ.get("SWARM_HYPOTHESIS", "short")
LONG = _PROFILE == "long"
_TIMES = int(os.environ.get("SWARM_HYPOTHESIS_TIMES", "50")) if LONG else 1


def examples(count: int) -> int:
    """The cases to be drawn where so many are drawn briefly."""
    return count * _TIMES


def load_profile() -> None:
    """`long` draws ever new cases. `short` draws from the same seed each time: the same cases, as long as the same
    modules of ours are imported, because hypothesis also tries constants out of these. What fails there is told as it
    was found: to make it smaller may take minutes. Both print what repeats a failure."""
    phases = [phase for phase in Phase if phase not in (Phase.shrink, Phase.explain)]
    settings.register_profile("short", deadline=None, derandomize=True, print_blob=True, phases=phases)
    settings.register_profile("long", deadline=None, print_blob=True, max_examples=examples(100))
    settings.load_profile(_PROFILE)
