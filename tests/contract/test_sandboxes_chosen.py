"""Which backend is opened, and what is said where none can be."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swarm.errors import SandboxError, UsageError
from swarm.sandboxes.catalog import open_backend
from swarm.sandboxes.survey import survey

pytestmark = pytest.mark.anyio


async def test_auto_never_means_no_isolation(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="no sandbox works here") as raised:
        async with open_backend("auto", tmp_path):
            pass
    assert "--sandbox process" in raised.value.remedy
    remedies = {found.name: found.remedy for found in await survey(tmp_path) if found.trouble}
    assert "systemctl start docker" in remedies["docker"]
    assert "apt-get install bubblewrap" in remedies["bubblewrap"]


async def test_bubblewrap_is_an_answer_to_a_missing_engine_only_where_no_image_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing")
    for name, image, other in (("docker", "host", True), ("docker", "a:1", False), ("auto", "a:1", False)):
        with pytest.raises(SandboxError, match="Docker Engine is not running") as raised:
            async with open_backend(name, tmp_path, image=image):
                pass
        assert "systemctl start docker" in raised.value.remedy
        assert ("--sandbox bubblewrap" in raised.value.remedy) is other
        assert "apt-get" not in raised.value.remedy


async def test_auto_tells_a_shortage_and_not_to_install_what_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bwrap").write_text('#!/bin/sh\necho "bwrap: Can\'t write: No space left on device" >&2\nexit 1\n')
    (tmp_path / "bwrap").chmod(0o755)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with pytest.raises(SandboxError, match=r"no sandbox works here .*No space left on device") as raised:
        async with open_backend("auto", tmp_path):
            pass
    assert "`df -h`" in raised.value.remedy
    assert "install" not in raised.value.remedy


async def test_names_that_make_no_sense(tmp_path: Path) -> None:
    for name, image in (("podman", "host"), ("bubblewrap", "python:3.12"), ("process", "python:3.12")):
        with pytest.raises(UsageError):
            async with open_backend(name, tmp_path, image=image):
                pass
