"""What every record of a run carries."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class EventBase(BaseModel):
    """What every record carries. `crc` is the CRC-32 of its line without it, in hexadecimal: whatever happens to a line
    is found, also in the record of a run that never came to its end."""

    model_config = ConfigDict(extra="forbid", defer_build=True)

    v: int = 1
    seq: int = -1
    run_id: str = ""
    t: float = 0.0
    mono: float = 0.0
    crc: str = ""
