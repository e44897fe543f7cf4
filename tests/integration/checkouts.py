"""Real git repositories for tests, and what stands in them."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

WHO = ("-c", "user.name=U", "-c", "user.email=u@example.com", "-c", "init.defaultBranch=main")
ODD_NAMES = (
    "with space.txt",
    "new\nline.txt",
    "umlaut-äß.txt",
    "-dash.txt",
    '"quoted".txt',
    "tab\t.txt",
    "trailing ",
    ":(glob)*.txt",
    "composed-\u00e9",
    "composed-e\u0301",
    os.fsdecode(b"latin-\xe9"),
    "-folder /\t/back\\slash",
)


def git(folder: Path, *args: str, stdin: bytes = b"", code: int = 0) -> str:
    done = subprocess.run(["git", *WHO, *args], cwd=folder, input=stdin, capture_output=True, check=False)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout.decode(errors="surrogateescape").strip()


def make_repository(folder: Path, files: Mapping[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q")
    put(folder, files)
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "--allow-empty", "-m", "first")
    return folder


def put(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def state(folder: Path) -> dict[str, str]:
    """Every file below a folder: its mode, and a hash of its content or the target of the link."""
    found: dict[str, str] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_symlink():
            found[str(path.relative_to(folder))] = f"link {path.readlink()}"
        elif path.is_file():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(folder))] = f"{path.stat().st_mode & 0o111:o} {digest}"
    return found


def tree(folder: Path) -> dict[str, str]:
    """Like `state`, without what belongs to git."""
    return {name: what for name, what in state(folder).items() if not name.startswith(".git/")}
