"""House rules that no linter knows: short files, lock files without places, no registry host or machine path."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from swarm import __version__

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 350

# Put together from parts, so that this file does not name them itself.
HOSTS = (
    "pypi" + ".org",
    "python" + "hosted.org",
    "registry-1." + "docker.io",
    "index." + "docker.io",
    "npmjs" + ".org",
)
FOLDERS = ("work", "root/\\.", "tmp/t", "opt/" + "pypi", "opt/" + "wheels")
FORBIDDEN = re.compile("|".join([*map(re.escape, HOSTS), *(rf"(?<![\w.$}}])/{folder}/" for folder in FOLDERS)]))


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    """Files that are in the repository, or would be with the next `git add`."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a checkout")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def test_no_file_is_long(tracked: list[Path]) -> None:
    python = [path for path in tracked if path.suffix == ".py"]
    lengths = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in python}
    assert not {name: length for name, length in lengths.items() if length > LONGEST}


def test_no_file_names_a_registry_or_a_machine(tracked: list[Path]) -> None:
    found = []
    for path in tracked:
        text = path.read_bytes().decode("utf-8", "replace")
        for number, line in enumerate(text.splitlines(), 1):
            if match := FORBIDDEN.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {match.group()}")
    assert not found


def test_lock_files_hold_names_versions_and_hashes_only(tracked: list[Path]) -> None:
    line = re.compile(r"[a-z0-9-]+==[^ ;]+( ; .+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?|#.*|")
    locks = sorted((ROOT / "requirements").glob("*.txt"))
    assert [path.name for path in locks] == ["audit.txt", "base.txt", "demo.txt", "dev.txt", "docs.txt"]
    for path in locks:
        odd = [text for text in path.read_text(encoding="utf-8").splitlines() if not line.fullmatch(text)]
        assert not odd, path.name


def test_the_version_stands_once() -> None:
    assert f'version = "{__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
