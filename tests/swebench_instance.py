"""An instance in the form of SWE-bench, and its image: a repository of shell scripts, and the programs it takes."""

from __future__ import annotations

import io
import os
import secrets
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker

INSTANCE = "demo__calc-1"
REPOSITORY = "swarm-test/sweb.eval.x86_64.demo_1776_calc-1"
PROGRAMS = (
    "sh",
    "bash",
    "env",
    "tail",
    "cat",
    "mkdir",
    "mv",
    "rm",
    "ls",
    "cp",
    "git",
    "patch",
    "grep",
    "sleep",
    "find",
)
CALC = "add() { echo $(($1 - $2)); }\ndouble() { echo $(($1 * 2)); }\n"
TESTS = """. ./calc.sh
check() {
  if [ "$2" = "$3" ]; then echo "PASSED tests/run.sh::$1"; else echo "FAILED tests/run.sh::$1 - $2"; failed=1; fi
}
check test_double "$(double 4)" 8
"""
_ACTIVATE = """conda() { export CONDA_DEFAULT_ENV="$2" PATH="/opt/miniconda3/envs/$2/bin:$PATH"; }
"""
_SCRIPT = """#!/bin/bash
set -uxo pipefail
exec 2>&1
source /opt/miniconda3/bin/activate
conda activate testbed
cd /testbed
git config --global --add safe.directory /testbed
cd /testbed
git status
git show
git -c core.fileMode=false diff {base}
source /opt/miniconda3/bin/activate
conda activate testbed
sh ./install.sh
git checkout {base} tests/run.sh
git apply -v - <<'EOF_114329324912'
{test_patch}
EOF_114329324912
: '>>>>> Start Test Output'
sh tests/run.sh
: '>>>>> End Test Output'
git checkout {base} tests/run.sh
"""


@dataclass(frozen=True)
class Made:
    """The row; the repository, which holds what came later too; and the names of what must not be seen."""

    row: dict[str, Any]
    repo: Path
    later: tuple[str, ...]

    @property
    def image(self) -> str:
        """The image's name: its own, as another test may have one at the same time."""
        return str(self.row["image"])


def make_instance(folder: Path) -> Made:
    """Make the repository, with the fix on branches, tags, in reflogs and stashes."""
    repo = folder / "repo"
    (repo / "tests").mkdir(parents=True)
    (repo / "calc.sh").write_text(CALC)
    (repo / "tests/run.sh").write_text(TESTS + 'exit "${failed:-0}"\n')
    (repo / "install.sh").write_text("echo nothing to install\n")
    (repo / ".gitignore").write_text("built/\n")
    _git(repo, "init", "-q", "-b", "main")
    _git(repo, "add", "-A")
    _git(repo, "commit", "-q", "-m", "begin")
    base = _git(repo, "rev-parse", "HEAD").strip()
    (repo / "tests/run.sh").write_text(TESTS + 'check test_add "$(add 1 2)" 3\nexit "${failed:-0}"\n')
    test_patch = _git(repo, "diff")
    _git(repo, "commit", "-q", "-a", "-m", "the hidden test")
    (repo / "calc.sh").write_text(CALC.replace("$1 - $2", "$1 + $2"))
    patch = _git(repo, "diff")
    _git(repo, "commit", "-q", "-a", "-m", "the fix")
    later = [_git(repo, "rev-parse", name).strip() for name in ("HEAD", "HEAD~1", "HEAD:calc.sh", "HEAD:tests/run.sh")]
    _git(repo, "tag", "v2")
    _git(repo, "branch", "later")
    _git(repo, "update-ref", "refs/remotes/origin/main", "HEAD")
    _git(repo, "pack-refs", "--all")
    _git(repo, "repack", "-q", "-a", "-d")
    _git(repo, "reset", "-q", "--hard", base)
    (repo / "built").mkdir()
    (repo / "built/extension").write_text("compiled\n")
    row = {
        "instance_id": INSTANCE,
        "repo": "demo/calc",
        "base_commit": base,
        "version": "1.0",
        "patch": patch,
        "test_patch": test_patch,
        "problem_statement": "add subtracts",
        "FAIL_TO_PASS": '["tests/run.sh::test_add"]',
        "PASS_TO_PASS": '["tests/run.sh::test_double"]',
        "image": f"{REPOSITORY}:{secrets.token_hex(4)}",
        "eval_script": _SCRIPT.format(base=base, test_patch=test_patch),
        "log_parser": "parse_log_pytest",
        "eval_type": "pass_and_fail",
    }
    return Made(row, repo, tuple(later))


@contextmanager
def image_in(address: str, made: Made) -> Iterator[str]:
    """The image in an engine, for the length of the block."""
    client = docker.DockerClient(address)
    try:
        repository, _, tag = made.image.rpartition(":")
        client.api.import_image_from_data(_root(made.repo), repository=repository, tag=tag)
        yield made.image
        client.images.remove(made.image, force=True)
    finally:
        client.close()


def _git(repo: Path, *args: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    return subprocess.run(["git", *who, *args], cwd=repo, capture_output=True, text=True, check=True).stdout


def _root(repo: Path) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in ("tmp", "proc", "dev", "sys", "etc", "root", "usr/bin", "opt/miniconda3/envs/testbed/bin"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(entry)
        for name in ("bin", "lib", "lib64"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
            archive.addfile(entry)
        for path, text in (
            ("opt/miniconda3/bin/activate", _ACTIVATE),
            ("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
        ):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mode = len(text), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
        libraries: set[str] = set()
        for program in PROGRAMS:
            real = os.path.realpath(shutil.which(program) or program)
            _add(archive, real, f"usr/bin/{program}")
            told = subprocess.run(["ldd", real], capture_output=True, text=True).stdout
            libraries |= {word for word in told.split() if word.startswith("/")}
        for library in sorted(libraries):
            _add(archive, os.path.realpath(library), str(Path(library).parent.resolve() / Path(library).name)[1:])
        archive.add(repo, "testbed", filter=_of_root)
    return buffer.getvalue()


def _add(archive: tarfile.TarFile, source: str, place: str) -> None:
    entry = archive.gettarinfo(source, place)
    entry.type, entry.linkname, entry.size = tarfile.REGTYPE, "", Path(source).stat().st_size
    with open(source, "rb") as file:
        archive.addfile(_of_root(entry), file)


def _of_root(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
