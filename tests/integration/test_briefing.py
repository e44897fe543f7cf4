"""What a sub-agent is told of sub-tasks that it depends on, where their changes are not in its files."""

from __future__ import annotations

from pathlib import Path

import pytest

from swarm.events import Notice
from swarm.prompts.briefing import Briefing, Occasion, Terms
from swarm.stages import Merged
from swarm.testing import RecordingSink
from swarm.types import SubTask
from tests.integration.stores import BASE, Store, harvest, open_store

pytestmark = pytest.mark.anyio
LATER = SubTask(id="later", title="go on", instructions="x", depends_on=("one", "two"))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


async def test_dependencies_that_conflict_with_each_other_are_told(store: Store) -> None:
    work = harvest(
        {name: store.commit({**BASE, "a.txt": f"{name}\n", f"{name}.txt": "1\n"}) for name in ("one", "two")}
    )
    sink = RecordingSink()
    briefing = Briefing(Terms("the task", repository=store.repository), sink)
    briefing.announce(work.plan)
    spec = await briefing.spec(LATER, 1, work.results, Occasion(1, store.repository.base, 9))
    assert spec.base is not None
    assert "one.txt" in store.tree(spec.base)
    assert "two.txt" not in store.tree(spec.base)
    missing = "[not in your files: its change conflicts with the others' in a.txt]"
    assert f"# Result of two (do two)\n\n{missing}\n\ntwo is done" in spec.instructions
    assert "# Result of one (do one)\n\none is done" in spec.instructions
    assert [notice.message for notice in sink.of(Notice)] == [f"later begins without the change of two {missing}"]


async def test_in_a_later_stage_it_is_told_what_was_not_merged() -> None:
    work = harvest({"one": "c1", "two": "c2"})
    briefing = Briefing(Terms("the task"))
    briefing.announce(work.plan)
    briefing.remember(work.results, Merged("", evicted={"two": "conflict in a.txt"}))
    spec = await briefing.spec(LATER, 1, (), Occasion(2, None, 9))
    assert "# Result of two (do two)\n\n[not merged: conflict in a.txt]\n\ntwo is done" in spec.instructions
    assert "# Result of one (do one)\n\none is done" in spec.instructions
