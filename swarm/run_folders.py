"""How runs are named, and where they are kept."""

from __future__ import annotations

import os
import secrets
import time
from pathlib import Path

from swarm.config import home


def new_run_id() -> str:
    """A name for a run, by which runs sort in time; no two of a thousand that begin in one second share it."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(5)}"


def run_folder(run: str) -> Path:
    """Where a run is kept, by its id or its path."""
    return Path(run).absolute() if os.sep in run else home(os.environ).absolute() / "runs" / run
