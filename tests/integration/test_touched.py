"""What an overlay's upper layer tells is all that was changed: a capture that looks at no more comes to the same."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.errors import MachineError
from swarm.sandboxes.copies import checkouts
from swarm.sandboxes.copies.layering import Kind
from swarm.sandboxes.copies.layers import Layers
from swarm.sandboxes.git.workspace import GitRepository, snapshot
from tests.integration.checkouts import make_repository

FILES = {
    ".gitignore": b"*.log\n",
    ".gitattributes": b"*.u16 working-tree-encoding=UTF-16\n",
    **{name: name.encode() for name in ("a", "d/x", "d/y", "d/e/z", "f/g/h", "kept.log")},
}
PATHS = ("a", "d", "d/x", "d/e", "d/e/z", "f", "f/g", "f/g/h", "new", "d/new", "n/m", "new.log", "kept.log", "x.u16")
CHANGES = ("write", "remove", "link", "mode", "fifo", "repository", "folder", "same")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(CHANGES), st.sampled_from(PATHS), st.just("")),
        st.tuples(st.just("rename"), st.sampled_from(PATHS), st.sampled_from(PATHS)),
    ),
    max_size=8,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[GitRepository, Path]]:
    folder = tmp_path_factory.mktemp("touched")
    repo = make_repository(folder / "repo", FILES)
    (folder / "lease").mkdir()
    yield anyio.run(snapshot, repo, folder / "store"), folder / "lease"


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_a_look_at_the_upper_layer_is_enough(
    place: tuple[GitRepository, Path], require: Callable[[object, str], None], steps: list[tuple[str, str, str]]
) -> None:
    require(os.geteuid() == 0, "overlays take root")
    store, lease = place

    async def both() -> None:
        layers = Layers(lease, store, kind=Kind.OVERLAY)
        async with layers.open(store.base) as copy:
            for step in steps:
                change(copy.tree, *step)
            quick = await store.capture(copy.tree, store.base, author="t", message="m")
            note = checkouts._upper_of(store.checkouts.index_of(copy.tree))
            assert note.exists()
            note.unlink()
            assert quick == await store.capture(copy.tree, store.base, author="t", message="m")

    anyio.run(both)


@pytest.mark.anyio
async def test_a_copy_whose_upper_layer_is_taken_away_is_the_machines_failure(
    place: tuple[GitRepository, Path], require: Callable[[object, str], None]
) -> None:
    require(os.geteuid() == 0, "overlays take root")
    store, lease = place
    async with Layers(lease, store, kind=Kind.OVERLAY).open(store.base) as copy:
        change(copy.tree, "write", "new", "")
        shutil.rmtree(copy.tree.with_name("upper"))
        with pytest.raises(MachineError, match="has lost its files"):
            await store.capture(copy.tree, store.base, author="t", message="m")


def change(tree: Path, what: str, name: str, other: str) -> None:
    path = tree / name
    try:
        match what:
            case "write" | "same":
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(FILES.get(name, b"") if what == "same" else b"written\n")
            case "remove":
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            case "link":
                path.symlink_to("d")
            case "mode":
                path.chmod(0o755)
            case "fifo":
                os.mkfifo(path)
            case "folder":
                path.mkdir(parents=True)
            case "repository":
                (path / ".git").mkdir(parents=True)
                (path / ".git/HEAD").write_text("ref: refs/heads/main\n")
            case "rename":
                path.rename(tree / other)
    except OSError:
        pass  # what is there does not let itself be changed so
