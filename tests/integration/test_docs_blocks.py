"""What stands in README and docs as code: programs and scripts of the tutorials are run, every command line is one that
the parser takes, settings are settings, and what is only shown can at least be imported."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from swarm.cli import dispatch
from swarm.config import RunConfig

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
TO_RUN = [page for page in PAGES if page.parent.name in ("tutorials", "how-to")]
_BLOCK = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
_COMMAND = re.compile(r"^(?:    (?:\$ )?|\$ )(swarm (?:[^\n\\]|\\\n|\\.)*)", re.MULTILINE)


def blocks(page: Path, *languages: str) -> list[str]:
    return [text for language, text in _BLOCK.findall(page.read_text(encoding="utf-8")) if language in languages]


def commands(page: Path) -> list[str]:
    """Command lines of indented and `console` blocks, and those of `sh` blocks."""
    text = page.read_text(encoding="utf-8")
    found = _COMMAND.findall(text)
    for block in blocks(page, "sh"):
        found += re.findall(r"^(swarm [^\n]*)", block.replace("\\\n", " "), re.MULTILINE)
    return [each.replace("\\\n", " ") for each in found]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if commands(page)], ids=named)
def test_every_command_line_is_one(page: Path) -> None:
    for command in commands(page):
        words = shlex.split(command, comments=True)[1:]
        if words and not {"...", "|", ">", "2>", "&&"} & set(words):
            try:
                _, rest = dispatch._parser(words[0]).parse_known_args(words)
            except SystemExit as end:
                assert end.code == 0, command
            else:
                assert not rest, command


@pytest.mark.parametrize("page", [page for page in TO_RUN if blocks(page, "python")], ids=named)
def test_programs_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", [page for page in TO_RUN if blocks(page, "sh")], ids=named)
def test_scripts_run(page: Path, tmp_path: Path) -> None:
    script = "\n".join(blocks(page, "sh")).replace("swarm run ", "swarm run --sandbox process ")
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    env = {"PATH": path, "HOME": str(tmp_path), "SWARM_HOME": str(tmp_path / "home"), "PYTHONPATH": str(ROOT)}
    script = f'set -e\nswarm() {{ {shlex.quote(sys.executable)} -m swarm "$@"; }}\n{script}'
    ran = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "py", "python")], ids=named)
def test_what_is_shown_is_python_whose_names_are_there(page: Path) -> None:
    for block in blocks(page, "py", "python"):
        tree = compile(block, str(page), "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "swarm":
                module = import_module(node.module or "")
                assert all(hasattr(module, alias.name) for alias in node.names), block


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "toml", "json")], ids=named)
def test_settings_are_settings(page: Path) -> None:
    for block in blocks(page, "json"):
        json.loads(block)
    for block in blocks(page, "toml"):
        read = tomllib.loads(block)
        if page.name != "endpoint.md":  # scripts of the embedded endpoint have a form of their own
            RunConfig.model_validate(read)
