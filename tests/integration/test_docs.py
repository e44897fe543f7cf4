"""The blocks of docs/python.md, run in order as one program."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from swarm import Parts, RunConfig, Swarm
from swarm.testing import FakeBackend, ScriptedModel

pytestmark = pytest.mark.anyio
TEXT = (Path(__file__).parents[2] / "docs/python.md").read_text(encoding="utf-8")


async def test_the_blocks_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    said: dict[str, Any] = {"__name__": "docs_python"}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL):
        exec(compile(block, "docs/python.md", "exec"), said)
    await said["test_it"]()
    model = ScriptedModel(["first", "second"])
    parts = Parts(model, said["OneForEachLine"], lambda desk: said["Shortest"](), backend=FakeBackend())
    async with Swarm(config=RunConfig(), parts=parts) as swarm:
        await said["in_a_graph"](swarm)
    assert capsys.readouterr().out.split()[-1] == "run_end"
