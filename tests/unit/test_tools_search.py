"""grep and glob, with each of the programs that a sandbox may have for them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from swarm.tools.output import LIMIT
from swarm.tools.toolsets import coding
from swarm.types import ExecResult, ToolResult, ToolStatus

pytestmark = pytest.mark.anyio

Require = Callable[[object, str], None]


class Programs:
    """A folder with a few programs, of which commands see no others. Searches need nothing else of a sandbox."""

    def __init__(self, root: Path, path: str, name: str) -> None:
        self.id = self.name = name
        self.workdir = str(root)
        self.root = root
        self.env = {"PATH": path, "LANG": "C.UTF-8"}

    async def exec(
        self,
        command: str,
        *,
        timeout: float = 120.0,
        cwd: str | None = None,
        stdin: bytes = b"",
        max_output: int = 1 << 20,
    ) -> ExecResult:
        with anyio.fail_after(timeout):
            done = await anyio.run_process(
                ["/bin/sh", "-c", command], input=stdin, cwd=cwd or self.workdir, env=self.env, check=False
            )
        assert len(done.stdout) <= max_output
        return ExecResult(done.returncode, done.stdout, done.stderr)

    async def list_folder(self, path: str = ".") -> list[str]:
        return []

    async def read_file(self, path: str, *, most: int | None = None) -> bytes:
        raise AssertionError(f"search reads and writes no file itself, but asked for {path}")

    async def write_file(self, path: str, data: bytes) -> None:
        raise AssertionError(f"search reads and writes no file itself, but asked for {path}")


async def use(box: Programs, name: str, **arguments: Any) -> ToolResult:
    result = await coding().call(name, json.dumps(arguments), box)
    assert len(result.content) <= LIMIT
    return result


def fill(root: Path, files: dict[str, str | bytes]) -> None:
    for name, content in files.items():
        target = root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.encode())


async def told(box: Programs, name: str, **arguments: Any) -> str:
    """The words of a use that fails."""
    result = await use(box, name, **arguments)
    assert result.status is ToolStatus.FAILED, result.content
    return result.content


TREE: dict[str, str | bytes] = {
    "README.md": "Total: 3\n",
    "src/a.py": "def total(x):\n    return 'it''s' # 42\n",
    "src/b.ts": "total()\r\n",
    "src/deep/c.py": "TOTAL = total\n",
    "src/deep/with space's.py": "total: \u00e9\n",
    "src/.hidden/d.py": "total\n",
    "src/bin.dat": b"total\0\n",
    "-dash/e.py": "total\n",
    "latin.txt": b"total caf\xe9\n",
    ".git/config": "total\n",
    "node_modules/x/y.py": "total\n",
}


def _without(folder: Path, *programs: str) -> str:
    """A PATH of the programs that a small image has, and of those named."""
    folder.mkdir()
    for name in ("sh", "find", "grep", "sed", "sort", "tr", "xargs", "head", "cut", "ls", *programs):
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return str(folder)


def _busybox(folder: Path) -> str:
    folder.mkdir()
    found = shutil.which("busybox") or ""
    subprocess.run([found, "--install", "-s", str(folder)], check=True)
    return str(folder)


@pytest.fixture(params=["grep", "rg", "busybox"])
def tree(request: pytest.FixtureRequest, tmp_path: Path, require: Require) -> Programs:
    """The same tree, searched by each program that a sandbox may have."""
    require(shutil.which(request.param), f"{request.param} is not installed")
    if request.param == "busybox":
        path = _busybox(tmp_path / "programs")
    else:
        path = _without(tmp_path / "programs", *([] if request.param == "grep" else ["rg"]))
    root = tmp_path / "work"
    fill(root, TREE)
    return Programs(root, path, request.param)


async def test_grep_gives_path_line_text_sorted(tree: Programs) -> None:
    result = await use(tree, "grep", pattern="total")
    # GNU grep takes invalid UTF-8 for binary; busybox takes nothing for binary.
    assert result.content.split("\n") == [
        "-dash/e.py:1:total",
        *([] if tree.name == "grep" else ["latin.txt:1:total caf\ufffd"]),
        "src/.hidden/d.py:1:total",
        "src/a.py:1:def total(x):",
        "src/b.ts:1:total()",
        *(["src/bin.dat:1:total"] if tree.name == "busybox" else []),
        "src/deep/c.py:1:TOTAL = total",
        "src/deep/with space's.py:1:total: \u00e9",
    ]


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        ({"pattern": "it''s"}, ["src/a.py:2:    return 'it''s' # 42"]),
        ({"pattern": "total", "glob": "*.ts"}, ["src/b.ts:1:total()"]),
        ({"pattern": "total", "glob": "src/*.{py,ts}"}, ["src/a.py:1:def total(x):", "src/b.ts:1:total()"]),
        ({"pattern": "^TOTAL|^def", "path": "src"}, ["src/a.py:1:def total(x):", "src/deep/c.py:1:TOTAL = total"]),
        ({"pattern": "TOTAL", "path": "src/deep/", "glob": "**/*.py"}, ["src/deep/c.py:1:TOTAL = total"]),
        ({"pattern": "def", "path": "src/a.py"}, ["src/a.py:1:def total(x):"]),
        ({"pattern": "total", "path": "-dash"}, ["-dash/e.py:1:total"]),
        ({"pattern": "total", "path": "node_modules"}, ["node_modules/x/y.py:1:total"]),
        ({"pattern": "-e"}, ["No matches."]),
        ({"pattern": "$(touch pwned)"}, ["No matches."]),
        ({"pattern": "total", "glob": "*.none"}, ["No matches."]),
    ],
)
async def test_grep(tree: Programs, arguments: dict[str, str], lines: list[str]) -> None:
    result = await use(tree, "grep", **arguments)
    assert result.status is ToolStatus.COMPLETED
    assert result.content.split("\n") == lines


async def test_grep_takes_the_common_dialect(tree: Programs) -> None:
    pattern = "^Total: [0-9]" if tree.name == "busybox" else r"(?i)^total: \d"
    assert (await use(tree, "grep", pattern=pattern)).content == "README.md:1:Total: 3"


async def test_grep_opens_no_pipes(tree: Programs) -> None:
    os.mkfifo(tree.root / "pipe")
    (tree.root / "link").symlink_to("/dev/zero")
    assert (await use(tree, "grep", pattern="def")).content == "src/a.py:1:def total(x):"


async def test_grep_tells_what_is_wrong(tree: Programs) -> None:
    assert await told(tree, "grep", pattern="(unclosed")
    assert "Did you mean src?" in await told(tree, "grep", pattern="x", path="srcs")
    assert "`pattern`" in await told(tree, "grep", pattern="")


async def test_grep_is_bounded(tree: Programs) -> None:
    fill(tree.root, {"many.txt": "needle\n" * 5000, "wide.txt": "needle2" + "x" * 100_000})
    result = await use(tree, "grep", pattern="needle$")
    assert result.truncated
    assert result.content.endswith(
        "many.txt:200:needle\n[only the first 200 matches; narrow the pattern, path or glob]"
    )
    wide = await use(tree, "grep", pattern="needle2")
    assert wide.content.endswith("xxx [...]")
    assert len(wide.content) < 600


@pytest.mark.parametrize(
    ("pattern", "path", "lines"),
    [
        ("*.md", ".", ["README.md"]),
        ("**/*.py", "src", ["src/.hidden/d.py", "src/a.py", "src/deep/c.py", "src/deep/with space's.py"]),
        ("src/**/*.py", ".", ["src/.hidden/d.py", "src/a.py", "src/deep/c.py", "src/deep/with space's.py"]),
        ("src/*.py", ".", ["src/a.py"]),
        ("*/deep/?.py", ".", ["src/deep/c.py"]),
        ("src/[!a].ts", ".", ["src/b.ts"]),
        ("**/{a,c}.py", ".", ["src/a.py", "src/deep/c.py"]),
        ("-dash/*", ".", ["-dash/e.py"]),
        ("src/deep/**", ".", ["src/deep/c.py", "src/deep/with space's.py"]),
        ("*.py", ".", ["No files. For all folders below use **/*.py."]),
        ("**/a+b(c.py", ".", ["No files."]),
    ],
)
async def test_glob(tree: Programs, pattern: str, path: str, lines: list[str]) -> None:
    result = await use(tree, "glob", pattern=pattern, path=path)
    assert result.content.split("\n") == lines


async def test_glob_by_absolute_path(tree: Programs) -> None:
    result = await use(tree, "glob", pattern=f"{tree.root}/src/*.ts")
    assert result.content == f"{tree.root}/src/b.ts"


async def test_glob_is_bounded(tree: Programs) -> None:
    fill(tree.root, {f"many/{number:04}.txt": "" for number in range(600)})
    result = await use(tree, "glob", pattern="many/*")
    assert result.truncated
    assert result.content.endswith("many/0499.txt\n[only the first 500 files; narrow the pattern or path]")
    assert "does not exist" in await told(tree, "glob", pattern="*", path="nowhere")
