"""What stands in README and docs as code: programs are run (those that need a model at an embedded endpoint), scripts
of the tutorials are run, every command line is one that the parser takes, every program and file that is named is
there, settings are settings, and what is only shown can at least be imported."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

from swarm.cli import dispatch
from swarm.config import RunConfig
from swarm.embedded.app import build_app
from swarm.embedded.script import ScriptPolicy, load_script
from swarm.embedded.server import serve
from swarm.journal.late_rewards import give_rewards
from swarm.rl.tasks.task import perf
from tests.integration.conftest import Files, plan, submit, subtask, use
from tests.rollouts import make_run

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
TO_RUN = [page for page in PAGES if page.parent.name in ("tutorials", "how-to")]
GUIDES = [page for page in PAGES if page not in TO_RUN and page.name != "python.md"]  # that one: test_docs.py
ENDPOINT = "http://localhost:8000/v1"
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
    said = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), said)


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """What the guides call a model: it plans, mends the shop, answers and judges."""
    script = tmp_path_factory.mktemp("script") / "script.json"
    mend = use("write", path="shop.py", content="def total(prices):\n    return sum(prices)\n")
    rules = [
        {"match": "a score from 0", "where": "system", "turns": [{"json": {"reason": "r", "score": 0.5}}]},
        {"match": "compare two answers", "where": "system", "turns": [{"json": {"reason": "r", "better": "A"}}]},
        {"match": "Fix the failing", "role": "planner", "turns": [plan(subtask("mend")), plan()]},
        {"role": "planner", "turns": [{"content": "2"}]},
        {"match": "Fix the failing", "role": "subagent", "turns": [mend, submit("mended")]},
        {"turns": [{"content": "2"}]},
    ]
    script.write_text(json.dumps({"rules": rules}))
    policy = ScriptPolicy(load_script(script), str(script))
    with start_blocking_portal() as portal:
        served, url = portal.start_task(serve, build_app({"kimi-k2.5": policy, "policy": policy}))
        yield url
        served.cancel()


def _prepare(page: Path, place: Path, make_repo: Callable[[Files], Path]) -> None:
    """What the program of a page finds in its folder."""
    if page.name == "README.md":
        shop = "def total(prices):\n    return -sum(prices)\n"
        test = "from shop import total\n\n\ndef test_total():\n    assert total([1, 2]) == 3\n"
        make_repo({"shop.py": shop, "test_shop.py": test}).rename(place / "shop")
    elif page.name == "rewards.md":
        folder = make_run(place)
        give_rewards(folder, [perf(folder.name, 1.0, "judge")])
    (place / "train.jsonl").write_text('{"id": "one", "prompt": "What is 1 + 1?", "answer": "2"}\n')


@pytest.mark.parametrize("page", [page for page in GUIDES if blocks(page, "python")], ids=named)
def test_programs_of_guides_run(
    page: Path,
    endpoint: str,
    make_repo: Callable[[Files], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")  # python, pytest
    monkeypatch.chdir(tmp_path)
    _prepare(page, tmp_path, make_repo)
    said = {"__name__": "__main__"}
    for block in blocks(page, "python"):
        program = block.replace(f'base_url="{ENDPOINT}"', f'base_url="{endpoint}", sandbox="process"')
        exec(compile(program, str(page), "exec"), said)
    if page.name == "README.md":
        assert capsys.readouterr().out.startswith("completed")


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_program_and_file_that_is_named_is_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for module in re.findall(r"python3? -m ((?:swarm|benchmarks|examples|tests|scripts)[\w.]*)", text):
        assert module != module.lower() or find_spec(module), module  # a NAME to be filled in
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(re.findall(r"^ {4}make ([a-z-]+)|`make ([a-z-]+)", text, re.MULTILINE)) <= {
        each for target in targets for each in ((target, ""), ("", target))
    }
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", re.sub(r"`[^`]*`", "", text))
    made = {f"reference/{name}.md" for name in ("cli", "configuration", "events", "errors", "python")}
    for link in links:
        assert (page.parent / link).exists() or any(link.endswith(name) for name in made), link


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
