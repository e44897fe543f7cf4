"""Repositories, scripted models and the command line, as whole runs have them; and what must not be reached."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.integration.conftest import cli, counter, fresh, make_repo, script

__all__ = ["cli", "counter", "fresh", "make_repo", "script"]

SECRET = "canary-6f1d2c-of-the-host"


@dataclass(frozen=True)
class Host:
    """A folder of the machine: nobody may read its `key`, nor make anything in `written`."""

    folder: Path

    @property
    def key(self) -> Path:
        return self.folder / ".ssh/id_rsa"

    @property
    def written(self) -> Path:
        return self.folder / "written"

    @property
    def untouched(self) -> bool:
        """Nothing was made there, and the key is as it was, and whose it was."""
        same = self.key.read_text() == SECRET and self.key.stat().st_uid == os.geteuid()
        return same and not any(self.written.iterdir())


@pytest.fixture
def host(tmp_path: Path) -> Host:
    folder = tmp_path / "of-the-host"
    for name in (".ssh", "written"):
        (folder / name).mkdir(parents=True)
    host = Host(folder)
    host.key.write_text(SECRET)
    return host
