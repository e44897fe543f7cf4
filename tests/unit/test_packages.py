"""Foreign archives are unpacked without harm, and become repositories that depend on nobody's git settings."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from swarm.errors import MachineError
from swarm.evals.packages import make_repository, unpack


def archive(path: Path, *members: tuple[str, bytes | str]) -> Path:
    """A source distribution; a member with a text is a link to it."""
    with tarfile.open(path, "w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                tar.addfile(info)
            else:
                info.size, info.mode = len(content), 0o4755
                tar.addfile(info, io.BytesIO(content))
    return path


def test_plain_files_come_out_without_the_leading_folder(tmp_path: Path) -> None:
    made = archive(tmp_path / "p.tar.gz", ("p-1/a/b.py", b"x = 1\n"), ("p-1/link", "/etc/passwd"), ("p-1/run", b"#!"))
    unpack(made, tmp_path / "out")
    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*"))
    assert files == ["a", "a/b.py", "run"]
    assert (tmp_path / "out/run").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("name", ["p-1/../../evil", "/evil/x", "p-1/.git/hooks/pre-commit"])
def test_names_that_point_elsewhere_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(MachineError, match="does not belong"):
        unpack(archive(tmp_path / "p.tar.gz", (name, b"x")), tmp_path / "deep/out")
    assert not (tmp_path / "evil").exists()


def test_a_repository_has_one_commit_that_is_always_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, require: Callable[[object, str], None]
) -> None:
    require(shutil.which("git"), "git is not installed")
    (tmp_path / "gitconfig").write_text("[commit]\n\tgpgsign = true\n[core]\n\tautocrlf = input\n", encoding="ascii")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    heads = []
    for name in ("a", "b"):
        unpack(archive(tmp_path / "p.tar.gz", ("p-1/x.txt", b"one\r\n")), tmp_path / name)
        make_repository(tmp_path / name, "first")
        git = ["git", "-C", str(tmp_path / name)]
        heads.append(subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, check=True).stdout)
        assert subprocess.run([*git, "show", "HEAD:x.txt"], capture_output=True, check=True).stdout == b"one\r\n"
        assert not subprocess.run([*git, "status", "--porcelain"], capture_output=True, check=True).stdout
    assert heads[0] == heads[1]
