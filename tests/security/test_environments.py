"""What a repository says of its Python and packages: none of it runs on this machine, and what people have is found."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from swarm.cli.discovery import found_in
from swarm.config import RunConfig
from swarm.sandboxes.catalog import open_backend
from swarm.sandboxes.environments import own_folders, own_python, pinned
from swarm.sandboxes.toolchain import of_repository
from swarm.types import SandboxRequest
from tests.integration.conftest import Files
from tests.security.conftest import Host

Repo = Callable[[Files], Path]


def program(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    file.chmod(0o755)
    return file


def python(folder: Path, trap: Path | None = None) -> Path:
    """What looks like an installed Python."""
    (folder / "lib/python3.11").mkdir(parents=True)
    (folder / "lib/python3.11/os.py").touch()
    program(folder / "bin/python3", f"#!/bin/sh\ntouch {trap}\n" if trap else "#!/bin/sh\n")
    return folder


@pytest.mark.parametrize("where", ["named", "linked", "said", "active", "linked from the PATH"])
def test_no_python_in_a_repository_is_run(
    where: str, make_repo: Repo, host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one that its environment says it was made of, nor one that its user activated."""
    repo = make_repo({"pytest.ini": "[pytest]\n", ".venv/pyvenv.cfg": "home = /nonexistent/bin\n"})
    base = python(repo / "base", host.written / "base")
    (repo / ".venv/bin").mkdir()
    if where == "named":
        (repo / ".venv/pyvenv.cfg").write_text(f"home = {base}/bin\n")
        program(repo / ".venv/bin/python", "#!/bin/sh\n")
    elif where == "linked":
        (repo / ".venv/bin/python").symlink_to(base / "bin/python3")
    elif where == "said":
        (repo / ".venv/pyvenv.cfg").write_text(f"home = /nonexistent\nexecutable = {base}/bin/python3\n")
        program(repo / ".venv/bin/python", "#!/bin/sh\n")
    elif where == "active":
        monkeypatch.setenv("PATH", f"{base}/bin:{os.environ['PATH']}")
    else:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin/python3").symlink_to(base / "bin/python3")
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    found_in(repo, repo, RunConfig())
    assert host.untouched
    assert str(base / "bin") not in anyio.run(of_repository, repo)[1]


def test_an_environment_of_any_name_counts_where_its_user_activated_it(
    make_repo: Repo, host: Host, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its files tell what it holds."""
    base = python(tmp_path / "real")
    repo = make_repo({"pytest.ini": "", "env/pyvenv.cfg": f"home = {base}/bin\n"})
    program(repo / "env/bin/python3", f"#!/bin/sh\ntouch {host.written}/env\n")
    monkeypatch.setenv("PATH", f"{repo}/env/bin:{os.environ['PATH']}")
    assert found_in(repo, repo, RunConfig()).found is None, "it has no pytest"
    (repo / "env/lib/python3.11/site-packages/pytest").mkdir(parents=True)
    assert found_in(repo, repo, RunConfig()).command == "python3 -m pytest -q"
    shown, entries = anyio.run(of_repository, repo)
    assert {repo / "env", base} <= set(shown)
    assert entries[:2] == (f"{repo}/env/bin", f"{base}/bin")
    assert host.untouched


@pytest.mark.parametrize("how", ["home", "program", "executable"])
def test_an_environment_of_a_linked_python_is_found(how: str, make_repo: Repo, tmp_path: Path) -> None:
    """As `uv python install` leaves: a link in a folder of programs."""
    base = python(tmp_path / "share/cpython")
    link = tmp_path / "local/bin/python3"
    link.parent.mkdir(parents=True)
    link.symlink_to(base / "bin/python3")
    told = {"home": f"home = {link.parent}", "program": "", "executable": f"executable = {base}/bin/python3"}
    repo = make_repo({".venv/pyvenv.cfg": f"{told[how]}\n"})
    if how == "program":
        (repo / ".venv/bin").mkdir()
        (repo / ".venv/bin/python").symlink_to(link)
    else:
        program(repo / ".venv/bin/python", "#!/bin/sh\n")
    found = own_python(repo)
    assert found is not None
    assert found.base == base


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("box", "place"), [("bubblewrap", "local/bin"), ("docker", "local/bin"), ("docker", "share"), ("docker", "")]
)
async def test_a_linked_python_runs_in_a_sandbox(
    box: str, place: str, request: pytest.FixtureRequest, make_repo: Repo, tmp_path: Path
) -> None:
    """It finds its own files from where it really lies: where its link is shown as a file it does not start."""
    request.getfixturevalue(f"{box}_box")
    base, link = tmp_path / "share/cpython", tmp_path / place / "python3"
    lib = Path(os.__file__).parent
    (base / "lib").mkdir(parents=True)
    (base / "lib" / lib.name).mkdir()
    (base / "lib" / lib.name / "os.py").touch()
    program(base / "bin/python3", f'#!/bin/sh\necho "$(readlink -f "$0") $(ls {base}/lib)"\nreadlink {link}\n')
    link.parent.mkdir(parents=True, exist_ok=True)
    link.symlink_to(base / "bin/python3.11")
    (base / "bin/python3.11").symlink_to("python3")
    repo = make_repo({".venv/pyvenv.cfg": f"home = {link.parent}\n"})
    (repo / ".venv/bin").mkdir()
    (repo / ".venv/bin/python3").symlink_to(link)
    shown, entries = await of_repository(repo)
    (tmp_path / "lease/tree").mkdir(parents=True)
    wanted = SandboxRequest(
        "run", "owner", tmp_path / "lease", tmp_path / "lease/tree", "/workspace",
        env={"PATH": ":".join(entries)}, toolchain=shown,
    )  # fmt: skip
    async with open_backend(box, wanted.lease) as backend, backend.open(wanted) as sandbox:
        told = await sandbox.exec("python3")
    assert told.stdout.decode().split() == [f"{base}/bin/python3", lib.name, f"{base}/bin/python3"], told.stderr


def test_links_to_what_others_keep_elsewhere_are_shown(make_repo: Repo, tmp_path: Path) -> None:
    conda, packages = tmp_path / "conda/envs/x", tmp_path / "shared/of-x"
    (conda / "conda-meta").mkdir(parents=True)
    packages.mkdir(parents=True)
    (packages / ".package-lock.json").touch()
    repo = make_repo({"a": ""})
    (repo / ".venv").symlink_to(conda)
    (repo / "node_modules").symlink_to(packages)
    assert own_folders(repo) == [repo / ".venv", repo / "node_modules"]


@pytest.mark.parametrize("where", ["home", ".git", "above"])
def test_links_to_a_home_stay_refused_whatever_it_holds(
    where: str, make_repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = make_repo({"a": ""})
    aim = {"home": tmp_path / "user", ".git": repo / ".git", "above": repo.parent}[where]
    (aim / "conda-meta").mkdir(parents=True)
    for name in ("pyvenv.cfg", ".package-lock.json"):
        (aim / name).touch()
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    for name in (".venv", "venv", "node_modules"):
        (repo / name).symlink_to(aim)
    assert own_folders(repo) == []


def test_a_version_is_pinned_as_people_write_it(tmp_path: Path) -> None:
    repo = tmp_path / "all/repo"
    repo.mkdir(parents=True)
    (repo.parent / ".python-version").write_text("# pinned for CI\n3.11.7  # not later\n\n  3.10\n")
    assert pinned(repo)["PYENV_VERSION"] == "3.11.7:3.10", "it holds for the folders below"
    (repo / ".tool-versions").write_text("# python 2\nnodejs 20\npython 3.9.1 # old\n")
    assert pinned(repo)["ASDF_PYTHON_VERSION"] == "3.9.1", "the nearest goes first"
    (repo / ".python-version").write_text("3.12\n")
    assert set(pinned(repo).values()) == {"3.12"}


@pytest.mark.parametrize("how", ["closed", "too long a name"])
def test_a_folder_of_the_path_that_cannot_be_looked_at_is_no_hindrance(
    how: str, make_repo: Repo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one in another user's home, which `su` and images hand on. Root may look into it all the same."""
    (tmp_path / "home/bin").mkdir(parents=True)
    monkeypatch.setenv("PATH", f"{tmp_path / ('home/bin' if how == 'closed' else 'x' * 300)}:{os.environ['PATH']}")
    (tmp_path / "home").chmod(0)
    try:
        assert "/usr/bin" in anyio.run(of_repository, make_repo({"a.py": ""}))[1]
    finally:
        (tmp_path / "home").chmod(0o700)
