"""What every record of a run carries."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class EventBase(BaseModel):
    """What every record carries."""

    model_config = ConfigDict(extra="forbid")

    v: int = 1
    seq: int = -1
    run_id: str = ""
    t: float = 0.0
    mono: float = 0.0
