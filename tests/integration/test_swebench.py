"""A run in an instance's image: what the agent finds there, what it never finds, and what becomes of its changes."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import anyio
import anyio.from_thread
import docker
import pytest

from swarm import RunConfig, Swarm
from swarm.errors import SandboxError, UsageError
from swarm.evals.swebench.base import TESTBED, Base, lay_out, take_base
from swarm.evals.swebench.bases import Bases
from swarm.evals.swebench.checkout import check_out, find_mirror
from swarm.evals.swebench.container import Wanted, open_container
from swarm.evals.swebench.patches import model_patch
from swarm.evals.swebench.rows import checked
from swarm.parts import Parts
from swarm.removal import remove_tree
from swarm.sandboxes.docker.engine import connect
from swarm.sandboxes.leases.lease import open_lease
from swarm.testing import ScriptedModel, tool_call
from tests.conftest import Require
from tests.swebench_instance import Made, image_in, make_instance

pytestmark = pytest.mark.anyio

LOOK = """git rev-parse HEAD~1
git log --all --format=%H
git rev-list --all --objects --reflog
git fsck --lost-found --no-progress 2>&1
find / -name '*.pack' -o -name packed-refs -o -path '*/objects/??/*' 2>/dev/null
for name in LATER; do git cat-file -t $name; done
git grep -n test_add; cat built/extension; echo "$CONDA_DEFAULT_ENV $PATH $PWD"
"""
FIX = "printf 'add() { echo $(($1 + $2)); }\\n' >calc.sh; printf 'caf\\351\\n' >latin; echo new >built/extension"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make_instance(tmp_path_factory.mktemp("instance"))


@pytest.fixture(scope="module")
def image(made: Made, docker_box: str, require: Require) -> Iterator[str]:
    require(shutil.which("patch"), "there is no program patch for the image")
    with image_in(docker_box, made) as name:
        yield name


async def test_a_run_in_the_image(made: Made, image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    look = LOOK.replace("LATER", " ".join(made.later))
    model = ScriptedModel(
        [
            tool_call("bash", command=look),
            tool_call("bash", command=FIX),
            tool_call("submit", status="done", summary="mended"),
        ]
    )
    async with open_lease(tmp_path / "home", "test") as lease, connect() as engine:
        bases = Bases(engine, lease.folder)
        async with bases.open(image) as (base, digest), bases.open(image) as (same, _):
            assert base is same
            assert digest.startswith("sha256:")
            repo = tmp_path / "setup/testbed"
            lay_out(base, repo)
            config = RunConfig(mode="single", sandbox="docker", image=image, workdir=TESTBED, sandbox_env=base.env)
            async with Swarm(config=config, parts=Parts(model=model)) as swarm:
                result = await swarm.run("mend add", repo=repo)
            seen = "".join(str(message.get("content")) for message in model.requests[1].messages)
            assert "compiled" in seen
            assert "testbed /opt/miniconda3/envs/testbed/bin:" in seen
            assert f"{TESTBED}\n" in seen
            assert "test_add" not in seen.replace("git grep -n test_add", "")
            assert not [name for name in made.later if name in seen.replace(look, "").replace(f"fatal: {name}", "")]
            assert result.patch_path
            raw = Path(result.patch_path).read_bytes()
            store = Path(result.run_dir) / "repo.git"
            remove_tree(repo)  # as an evaluation does before it grades
            patch = model_patch(raw, store, base)
    assert b"built/extension" in raw
    assert "built/extension" not in patch
    assert _applies(made.repo, patch) == {"calc.sh", "latin"}
    assert (made.repo / "latin").read_bytes() == b"caf\xe9\n"


def _applies(repo: Path, patch: str) -> set[str]:
    """What `git apply`, as the official harness calls it, changes."""
    subprocess.run(["git", "apply", "--verbose", "-"], cwd=repo, input=patch.encode(), check=True, capture_output=True)
    told = subprocess.run(["git", "status", "--short"], cwd=repo, capture_output=True, text=True, check=True).stdout
    return {line.split()[-1] for line in told.splitlines()}


async def test_the_same_files_are_the_same_commit(image: str, tmp_path: Path) -> None:
    """So that a run which was killed can be gone on with."""
    taken: list[Base] = []
    async with open_lease(tmp_path / "home", "test") as lease, connect() as engine:
        for number in range(2):
            taken.append(await take_base(engine, lease.folder, image, lease.folder / str(number)))
    assert taken[0].commit == taken[1].commit
    assert taken[0].ignored == (b"built/",)


@pytest.mark.parametrize("how", ["kill", "remove"])
async def test_a_command_whose_container_ends_is_the_machines_failure(image: str, tmp_path: Path, how: str) -> None:
    """Its exit code and what it wrote look like those of a command that came to its end."""
    begun = anyio.Event()

    async with (
        open_lease(tmp_path / "home", "test") as lease,
        connect() as engine,
        open_container(engine, lease.folder, Wanted(image, "none")) as container,
    ):

        async def end() -> None:
            await begun.wait()
            api = engine.client.api
            await engine.call(partial(api.kill if how == "kill" else partial(_remove, api), container.id))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(end)
            with pytest.raises(SandboxError):
                await container.run("sh -c 'echo; sleep 600'", lambda chunk: anyio.from_thread.run_sync(begun.set))


def _remove(api: docker.APIClient, id: str) -> None:
    api.remove_container(id, force=True)


async def test_an_image_without_a_repository(docker_box: str, tmp_path: Path, made: Made) -> None:
    async with open_lease(tmp_path / "home", "test") as lease, connect() as engine:
        with pytest.raises(SandboxError, match="cannot be pulled"):
            await take_base(engine, lease.folder, "localhost:9/none", lease.folder / "base")


def test_a_checkout_holds_its_commit_and_nothing_that_came_later(made: Made, tmp_path: Path) -> None:
    row = checked([made.row], "here")[0]
    (tmp_path / "mirrors").mkdir()
    (tmp_path / "mirrors/demo__calc.git").symlink_to(made.repo / ".git")
    with pytest.raises(UsageError, match="no repository other/one"):
        find_mirror(tmp_path / "mirrors", "other/one")
    mirror = find_mirror(tmp_path / "mirrors", row.repo)
    check_out(mirror, row.base_commit, tmp_path / "out")
    listed = ["git", "cat-file", "--batch-all-objects", "--batch-check=%(objectname)"]
    objects = subprocess.run(listed, cwd=tmp_path / "out", capture_output=True, text=True, check=True).stdout
    assert row.base_commit in objects
    assert not set(made.later) & set(objects.split())
    refs = subprocess.run(["git", "for-each-ref"], cwd=tmp_path / "out", capture_output=True, text=True, check=True)
    assert refs.stdout.split()[-1] == "refs/heads/main"
    with pytest.raises(UsageError, match="does not hold the commit"):
        check_out(mirror, "1" * 40, tmp_path / "none")
