"""The record of what a run was given to read."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from swarm.events.base import EventBase


class AttachedDocument(BaseModel):
    """A document as agents know it: by `id` (`d1`, ...) and `name`. `path` is where it was, `sha256` that of its bytes,
    `text_sha256` that of the text that was made of it, under which the run's folder keeps it (of an image: `artifact`
    does). `page_starts` are the lines on which pages begin, empty where it has none."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    id: str
    name: str
    path: str
    kind: Literal["text", "markdown", "html", "pdf", "png", "jpeg"]
    sha256: str
    bytes: int
    text_sha256: str = ""
    characters: int = 0
    lines: int = 0
    page_starts: list[int] = Field(default_factory=list)
    headings: list[str] = Field(default_factory=list)
    artifact: str = ""

    @property
    def is_image(self) -> bool:
        return self.kind in ("png", "jpeg")


class DocumentsAttached(EventBase):
    """What was attached, converted and split, once for the run; `skipped` says what was left out and why."""

    type: Literal["documents"] = "documents"
    documents: list[AttachedDocument]
    skipped: list[str] = Field(default_factory=list)
