"""The merge queue over whatever patches in whatever order: the same tree, and nothing lost silently."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.events import MergeTried
from swarm.merging.queue import MergeQueue
from swarm.testing import RecordingSink
from tests.integration.stores import BASE, LINES, Store, harvest, open_store, settled

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return open_store(tmp_path_factory.mktemp("merge"))


@dataclass(frozen=True)
class Edit:
    file: str
    at: int
    kind: str


edits = st.builds(
    Edit,
    st.sampled_from(sorted(BASE)),
    st.integers(0, LINES - 1),
    st.sampled_from(["replace", "insert", "delete", "new file", "remove file", "move file"]),
)


def patched(tree: dict[str, str | bytes], name: str, changes: Sequence[Edit]) -> dict[str, str | bytes]:
    """The base with edits; what is added holds the patch's name, which nothing else does."""
    made = dict(tree)
    for n, change in enumerate(changes):
        word, lines = f"{name}:{n}", str(made.get(change.file, "")).splitlines(keepends=True)
        at = min(change.at, len(lines) - 1)
        match change.kind:
            case "new file":
                made[f"new-{change.at}.txt"] = f"{word}\n"
            case "remove file" if len(made) > 1:
                made.pop(change.file, None)
            case "move file" if change.file in made:
                made[f"moved-{name}/{change.file}"] = made.pop(change.file)
            case "delete" if lines:
                del lines[at]
                made[change.file] = "".join(lines)
            case "replace" | "insert" if lines:
                lines[at : at + (change.kind == "replace")] = [f"{word}\n"]
                made[change.file] = "".join(lines)
    return made


def words_of(tree: Mapping[str, str | bytes], name: str) -> list[str]:
    lines = [line for text in tree.values() for line in str(text).splitlines()]
    return sorted(line for line in lines if line.startswith(f"{name}:"))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(work=st.lists(st.lists(edits, min_size=1, max_size=3), min_size=2, max_size=5), seed=st.integers(0, 99))
async def test_merging_is_the_same_in_every_order_and_loses_nothing_silently(
    shared_store: Store, work: list[list[Edit]], seed: int
) -> None:
    store = shared_store
    trees = {f"p{n}": patched(dict(BASE), f"p{n}", changes) for n, changes in enumerate(work)}
    given_in = {name: store.commit(tree) for name, tree in trees.items() if tree != BASE}
    names = list(given_in)
    first = await settled(store, harvest(given_in))
    random.Random(seed).shuffle(names)
    results = {result.subtask_id: result for result in harvest(given_in).results}
    work_again, sink = replace(harvest(given_in), results=tuple(results[name] for name in names)), RecordingSink()
    queue = MergeQueue(store.repository, sink, anyio.Event())
    async with queue.trials(work_again.plan, 1, None) as arrived:
        for name in names:
            arrived(results[name])
    again = await queue.settle(work_again)
    assert again == first
    assert [event.subtask_id for event in sink.of(MergeTried)] == names

    merged = [patch.subtask_id for patch in first.merged]
    assert sorted([*merged, *first.reasons]) == sorted(given_in)
    final = store.tree(first.commit)
    for name in given_in:
        wanted = words_of(trees[name], name) if name in merged else []
        assert words_of(final, name) == wanted
    before = {line for text in BASE.values() for line in str(text).splitlines()}
    kept = {line for text in final.values() for line in text.splitlines()}
    gone = set().union(*(before - {x for t in trees[name].values() for x in str(t).splitlines()} for name in merged))
    assert not gone & kept
    assert before - gone <= kept


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.permutations(sorted(BASE)), kinds=st.lists(edits, min_size=3, max_size=3))
async def test_disjoint_patches_make_what_one_after_the_other_makes(
    shared_store: Store, files: list[str], kinds: list[Edit]
) -> None:
    work = {f"p{n}": replace(kinds[n], file=file, at=n) for n, file in enumerate(files)}
    tree, patches = dict(BASE), {}
    for name, change in work.items():
        own = patched(dict(BASE), name, [change])
        if own != BASE:
            patches[name] = shared_store.commit(own)
            tree = patched(tree, name, [change])
    found = await settled(shared_store, harvest(patches))
    assert not found.evicted
    wanted = shared_store.commit(tree)
    assert shared_store.git("rev-parse", f"{found.commit}^{{tree}}") == shared_store.git(
        "rev-parse", f"{wanted}^{{tree}}"
    )
