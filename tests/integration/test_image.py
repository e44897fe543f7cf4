"""`swarm image`: what is refused before anything is built. Real builds are in tests/interop."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swarm.errors import UsageError
from swarm.sandboxes.images.python import installations
from swarm.sandboxes.images.recipe import PACKAGES, Wish, plan_image
from tests.integration.conftest import Cli


@pytest.fixture
def bookworm(tmp_path: Path) -> Path:
    """A root that says it is Debian 12."""
    return _system(tmp_path, 'ID=debian\nVERSION_CODENAME="bookworm"\nPRETTY_NAME="Debian 12"\n')


def _system(folder: Path, text: str) -> Path:
    (folder / "etc").mkdir()
    (folder / "etc/os-release").write_text(text)
    return folder


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["host"], "choose another name"),
        (["Has/Capitals"], "NAME"),
        (["--python", "three"], "--python: 'three'"),
        (["--suite", "../x"], "--suite"),
        (["--mirror", "ftp://m.invalid"], "--mirror"),
        (["--package", "a,b"], "--package: 'a,b'"),
        (["--package", "--help"], "expected one argument"),
    ],
)
def test_what_cannot_be_had_is_told_at_once(cli: Cli, tmp_path: Path, args: list[str], told: str) -> None:
    cli.env["DOCKER_HOST"] = f"unix://{tmp_path}/none.sock"  # never asked for
    rest = [word for word in ("--suite=bookworm", "--mirror=http://m.invalid") if word.split("=")[0] not in args]
    done = cli("image", "build", *rest, *args)
    assert done.code == 2, done.err
    assert told in done.err
    assert len(done.err.splitlines()) == 1


def test_a_python_that_is_nowhere_is_told_with_those_that_are_here(bookworm: Path) -> None:
    with pytest.raises(UsageError, match=r"no Python 3.4 can be had: bookworm holds .*; in folders of this machine: "):
        plan_image(Wish(python="3.4"), os.environ, bookworm)


def test_without_an_engine_it_says_how_to_start_one(cli: Cli, tmp_path: Path) -> None:
    cli.env["DOCKER_HOST"] = f"unix://{tmp_path}/none.sock"
    build = ["build", "--suite", "bookworm", "--mirror", "http://m.invalid"]
    for args in (build, ["list"], ["remove", "a"]):
        done = cli("image", *args)
        assert done.code == 3
        assert "systemctl start docker" in done.err
    assert not (cli.home / "leases").exists()


def test_another_system_is_told_what_to_give(tmp_path: Path) -> None:
    root = _system(tmp_path, 'ID=fedora\nVERSION_CODENAME=""\nPRETTY_NAME="Fedora Linux 41"\n')
    with pytest.raises(UsageError, match=r"Fedora Linux 41.*--suite NAME --mirror URL"):
        plan_image(Wish(), os.environ, root)
    recipe = plan_image(Wish(suite="bookworm", mirror="http://m.invalid/debian"), os.environ, root)
    assert (recipe.suite, recipe.components) == ("bookworm", ("main",))


def test_the_same_wish_is_the_same_image_and_another_is_another(bookworm: Path) -> None:
    def recipe(**more: str | tuple[str, ...]) -> tuple[str, str]:
        wish = Wish(**{"mirror": "http://m.invalid/debian", **more})  # type: ignore[arg-type]  # names and tuples of them
        made = plan_image(wish, os.environ, bookworm)
        assert set(PACKAGES) <= set(made.packages)
        return made.name, made.fingerprint

    assert recipe() == recipe()
    names = [recipe(), recipe(packages=("tree",)), recipe(suite="trixie"), recipe(mirror="http://other.invalid")]
    assert len({name for name, _ in names}) == len({mark for _, mark in names}) == len(names)
    assert recipe(packages=("a1", "b1"))[1] == recipe(packages=("b1", "a1"))[1]


def test_a_mirrors_password_is_shown_nowhere(bookworm: Path) -> None:
    recipe = plan_image(Wish(mirror="http://me:secret@m.invalid/debian"), os.environ, bookworm)
    assert recipe.shown_mirror == "http://m.invalid/debian"
    assert recipe.mirror == "http://me:secret@m.invalid/debian"


def test_pythons_of_pyenv_and_uv_are_found_and_broken_ones_are_not(tmp_path: Path) -> None:
    pyenv = tmp_path / ".pyenv/versions/3.9.1"
    uv = tmp_path / ".local/share/uv/python/cpython-3.8.2"
    broken = tmp_path / ".pyenv/versions/3.7.0"
    for prefix, version in ((pyenv, "3.9.1"), (uv, "3.8.2"), (broken, "")):
        program = prefix / "bin" / f"python{'.'.join(prefix.name.split('-')[-1].split('.')[:2])}"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\necho \'["{version}", "{prefix}", ["ssl"]]\'\n' if version else "#!/bin/false\n")
        program.chmod(0o755)
    (pyenv / "lib/python3.9/site-packages/pytest-8.dist-info").mkdir(parents=True)
    found = {one.version: one for one in installations({"HOME": str(tmp_path), "PATH": ""})}
    assert found["3.9.1"].prefix == pyenv
    assert found["3.9.1"].installed == ("pytest-8.dist-info",)
    assert found["3.8.2"].modules == ("ssl",)
    assert broken not in {one.prefix for one in found.values()}
