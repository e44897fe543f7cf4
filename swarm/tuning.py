"""For whoever owns the process: what no library may set by itself. `swarm run`, `swarm resume` and `swarm eval` do it
for theirs."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

YOUNG = 20_000
"""New objects after which the garbage collector looks at them; Python's own is 700."""


def has_fast_loop() -> bool:
    """Whether uvloop can be used, which takes some tenths less CPU than the event loop of Python: `swarm run`, `swarm
    resume` and `swarm eval` do where it is installed (`pip install 'swarm[speed]'`). A program that embeds swarm
    chooses its own: `anyio.run(main, backend_options={"use_uvloop": True})`."""
    return sys.platform != "win32" and find_spec("uvloop") is not None


def spare_arrow() -> None:
    """pyarrow, which writes Parquet at the end of a run, is to take its memory from the C library and to give it back:
    its own allocator takes two to four times as much for that. It has to be said before pyarrow is imported; what the
    environment says goes first."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")


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
