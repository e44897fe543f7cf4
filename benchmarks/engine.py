"""The Docker Engine that the rows about containers use: the one that answers, else a private one for the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from tests.docker_engine import answers, private_engine


class _Cannot(Exception):
    """No engine can be started."""


def _require(condition: object, reason: str) -> None:
    if not condition:
        raise _Cannot(reason)


@contextmanager
def docker_engine() -> Iterator[str]:
    """Its address, empty where there is none."""
    usual = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    if answers(usual):
        yield usual
        return
    try:
        with private_engine(_require) as engine:
            yield engine.address
    except _Cannot:
        yield ""
