"""Records of what a run was expected to cost, and what it did."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from swarm.events.base import EventBase
from swarm.preview import Held, Preview, Quantity


class CostPreviewed(EventBase):
    """The cost preview of a stage's plan, before anybody was asked about it."""

    type: Literal["preview"] = "preview"
    preview: Preview


class PreviewHeld(EventBase):
    """The first stage's preview against what the whole run came to, where it came to its end. `wall_s` is without the
    waits for the user; it is left out where it cannot be told, as dollars are. `support` as in `Basis`."""

    type: Literal["preview_held"] = "preview_held"
    support: float
    held: dict[Quantity, Held] = Field(default_factory=dict)
