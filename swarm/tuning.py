"""For whoever owns the process: what no library may set by itself. `swarm run` and `swarm resume` do it for theirs."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

YOUNG = 20_000
"""New objects after which the garbage collector looks at them; Python's own is 700."""


@contextmanager
def quiet_collector() -> Iterator[None]:
    """The garbage collector looks only at objects made inside the block, and less often. Enter it when all is imported
    and open: what stands there then, mostly of modules, would be gone through in every full collection.

    It saves about a seventh of the CPU of a run. Cycles among the older objects that become garbage are let go of after
    the block.
    """
    frozen, thresholds = gc.get_freeze_count(), gc.get_threshold()
    gc.freeze()
    gc.set_threshold(max(YOUNG, thresholds[0]) if thresholds[0] else 0, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        if not frozen:  # else it was somebody's wish
            gc.unfreeze()
