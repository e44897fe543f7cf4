"""A repository whose dependency has just been upgraded: real programs for pyparsing 2, and pyparsing 3.

The programs are those that pyparsing 2.4.7 brought as examples. The dependency stands in `vendor/`, and the tests run
each program, allow no warning of deprecation, and compare what it prints with what it printed with the old version.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from swarm.errors import MachineError, UsageError
from swarm.evals.packages import Package, fetch, make_repository, unpack

OLD = Package(
    name="pyparsing",
    version="2.4.7",
    sha256="c203ec8783bf771a155b207279b9bccb8dea02d8f0c9e5f8ead507bc3246ecc1",
    sources="examples",
    test="python -m pytest -q --tb=short -p no:cacheprovider",
)
NEW_VERSION = "3.3.3"
NEW_SHA256 = "ece8c00a69cf01b45d0b1dedabb469c90d8caf996d4fda40f147627a122849a4"

RENAMED = (
    *("TAP", "apicheck", "builtin_parse_action_demo", "cLibHeader", "cpp_enum_parser", "dictExample", "eval_arith"),
    *("include_preprocessor", "invRegex", "linenoExample", "list1", "listAllMatches", "macroExpander", "nested"),
    *("nested_markup", "parseListString", "parseTabularData", "pgn", "position", "pymicko", "pythonGrammarParser"),
    *("rosettacode", "scanExamples", "searchparser", "shapes", "simpleBool", "simpleWiki", "sql2dot"),
)
"""Programs in which names have changed and nothing else."""

CHANGED = ("indentedGrammarExample",)
"""Programs that want more than new names: `indentedBlock` has other arguments as `IndentedBlock`, and makes something
else."""

TASK = f"""\
pyparsing was upgraded from {OLD.version} to {NEW_VERSION} (vendor/pyparsing). The programs in programs/ were written \
for the old version. Bring each to the API of the new one: nothing that is deprecated may be used, and what a program \
prints must stay as it is, which the tests compare. Change programs/ alone; do not silence warnings. Each program is \
upgraded apart from the others."""

_TESTS = '''\
"""Each program runs without a warning of deprecation, and prints what it printed before the upgrade."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted(path.stem for path in (ROOT / "programs").glob("*.py"))


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(program):
    done = subprocess.run(
        [sys.executable, "-W", "default::DeprecationWarning", f"programs/{program}.py"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": "vendor", "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
    )
    assert done.returncode == 0, done.stderr
    assert "DeprecationWarning" not in done.stderr, done.stderr
    assert done.stdout == (ROOT / "tests" / "printed" / f"{program}.txt").read_text(encoding="utf-8")
'''


def make(folder: Path, cache: Path, programs: Sequence[str]) -> None:
    """Make the repository in the new `folder`, with both versions from the registry that pip is set up for.

    Raises:
        MachineError: one of them cannot be fetched, or a program does not run with the old one.
    """
    with tempfile.TemporaryDirectory() as temp:
        old = Path(temp) / "old"
        unpack(fetch(OLD, cache), old)
        for name in ("programs", "tests/printed"):
            (folder / name).mkdir(parents=True)
        for name in programs:
            shutil.copyfile(old / "examples" / f"{name}.py", folder / "programs" / f"{name}.py")
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            printed = list(pool.map(lambda name: _printed(folder, old, name), programs))
        for name, text in zip(programs, printed, strict=True):
            (folder / "tests/printed" / f"{name}.txt").write_text(text, encoding="utf-8")
        shutil.copyfile(old / "LICENSE", folder / "LICENSE")
    with zipfile.ZipFile(_wheel(cache)) as wheel:
        wheel.extractall(folder / "vendor")
    (folder / "tests/test_programs.py").write_text(_TESTS, encoding="utf-8")
    (folder / "requirements.txt").write_text(f"pyparsing=={NEW_VERSION}  # in vendor/\n", encoding="utf-8")
    make_repository(folder, f"Upgrade pyparsing from {OLD.version} to {NEW_VERSION}")


def choice(number: int, *, changed: bool) -> tuple[str, ...]:
    """So many programs, and those that want more than new names.

    Raises:
        UsageError: there are not as many.
    """
    if not 1 <= number <= len(RENAMED):
        raise UsageError(f"--programs {number}: there are 1 to {len(RENAMED)}")
    return RENAMED[:number] + (CHANGED if changed else ())


def _printed(folder: Path, library: Path, name: str) -> str:
    """What a program prints with the library in that folder."""
    environment = {**os.environ, "PYTHONPATH": str(library), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", f"programs/{name}.py"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
        raise MachineError(f"{name}.py does not run with pyparsing {OLD.version}: {last}")
    return done.stdout


def _wheel(cache: Path) -> Path:
    """The new version, from `cache` or from the registry."""
    kept = cache / f"pyparsing-{NEW_VERSION}-py3-none-any.whl"
    if kept.is_file() and hashlib.sha256(kept.read_bytes()).hexdigest() == NEW_SHA256:
        return kept
    with tempfile.TemporaryDirectory(dir=cache) as temp:
        wanted = Path(temp) / "wanted.txt"
        wanted.write_text(f"pyparsing=={NEW_VERSION} --hash=sha256:{NEW_SHA256}\n", encoding="ascii")
        command = [sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check", "--no-input"]
        command += ["--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(wanted), "-d", temp]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=300, check=False)
        found = next(Path(temp).glob("*.whl"), None)
        if done.returncode != 0 or found is None:
            lines = done.stderr.strip().splitlines() or [f"pip ended with exit code {done.returncode}"]
            raise MachineError(
                f"cannot fetch pyparsing {NEW_VERSION}: {lines[-1].strip()}",
                remedy="check the network and pip's configuration",
            )
        found.replace(kept)
    return kept
