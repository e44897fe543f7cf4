"""What a model at an endpoint can do, and where that is kept: probed once, then read from a file.

The user's word comes first, then what was found, then what is known of the provider. A file names endpoint and model,
never a key.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, ValidationError

from swarm.config import Capabilities, RunConfig
from swarm.models.pricing import listed_window
from swarm.models.providers import Endpoint
from swarm.whole_file import write_whole

KEPT_S = 30 * 86_400
"""Seconds after which an endpoint is asked again: servers are upgraded."""

_NONE = Capabilities()


class Record(BaseModel, defer_build=True):
    """One file: what was found of one model at one endpoint, and when (Unix seconds). `version` is that of the probes:
    what others found is not trusted."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    endpoint: str
    model: str
    probed_at: float
    found: Capabilities


class Knowledge:
    """What is known of one model at one endpoint. `folder` keeps what is found; None: it is forgotten."""

    def __init__(
        self,
        endpoint: str,
        model: str,
        folder: Path | None = None,
        *,
        given: Capabilities = _NONE,
        provider: Capabilities = _NONE,
    ) -> None:
        self.endpoint = without_credentials(endpoint)
        self.model = model
        self.given = given
        self._provider = provider
        self._found = _NONE
        self._now = _NONE  # assumed, in this process alone
        self._parts = (given, _NONE, _NONE)  # what `_current` was put together from
        self._current = given.over(provider)
        self._path = folder / f"{_key(self.endpoint, model)}.json" if folder else None
        self.loaded = self._path is None
        self.lock = anyio.Lock()
        """Held while the endpoint is asked, so that siblings do not ask the same."""

    def __repr__(self) -> str:
        return f"<Knowledge of {self.model} at {self.endpoint}: {self.current.model_dump(exclude_none=True)}>"

    @property
    def current(self) -> Capabilities:
        """All that is known; call `load` first."""
        given, now, found = self._parts
        if self.given is not given or self._now is not now or self._found is not found:  # asked for with every call
            self._parts = (self.given, self._now, self._found)
            self._current = self.given.over(self._now.over(self._found.over(self._provider)))
        return self._current

    async def load(self) -> None:
        """Read what was found before, once. A file that is old, of another version or broken counts as none."""
        if self.loaded or self._path is None:
            return
        self.loaded = True
        path = anyio.Path(self._path)
        try:
            record = Record.model_validate_json(await path.read_bytes())
        except (OSError, ValidationError):
            return
        fresh = 0 <= time.time() - record.probed_at < KEPT_S
        if fresh and (record.endpoint, record.model) == (self.endpoint, self.model):
            self._found = record.found.over(self._found)

    async def keep(self, found: Capabilities) -> None:
        """What a probe found, for this process and later ones."""
        self._found = found.over(self._found)
        if self._path is not None:
            record = Record(endpoint=self.endpoint, model=self.model, probed_at=time.time(), found=self._found)
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_write, self._path, record.model_dump_json(exclude_none=True))

    def assume(self, found: Capabilities) -> None:
        """What nothing proved, such as by one refusal, which may have been about that one request: it is not kept."""
        self._now = found.over(self._now)


def knowledge_of(where: Endpoint, config: RunConfig, home: Path) -> Knowledge:
    """What is known of the model at an endpoint; what is found is kept under `home`."""
    folder = home / "capabilities"
    provider = where.capabilities.over(Capabilities(context_tokens=listed_window(where)))
    return Knowledge(where.base_url, where.model, folder, given=given_by(config), provider=provider)


def given_by(config: RunConfig) -> Capabilities:
    """What the user says that models can do."""
    return Capabilities(context_tokens=config.context_tokens).over(config.capabilities)


def without_credentials(url: str) -> str:
    """The address without user, password, query and last slash."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))


def _key(endpoint: str, model: str) -> str:
    return hashlib.sha256(f"{endpoint}\n{model}".encode("utf-8", "surrogatepass")).hexdigest()[:24]


def _write(path: Path, text: str) -> None:
    """Write a file whole or not at all. Where it cannot be kept, the next process asks again: nothing is lost."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, text.encode(errors="replace"))
    except OSError:
        return
