"""The examples, run as a user runs them: what takes longer, or others' packages, is in tests/interop."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from examples import repair
from examples.flags import search_path
from examples.upgrade import __main__ as upgrade
from examples.upgrade.policy import UpgradePolicy
from examples.upgrade.rename import renamed
from examples.upgrade.warned import rules_in
from swarm.config import SandboxName
from swarm.embedded.policy import PolicyRequest
from tests.integration.conftest import Files

LEDGER = """\
import warnings


def entries(text, *, separator=None, sep=None):
    if sep is not None:
        warnings.warn("'sep' argument is deprecated, use 'separator'", DeprecationWarning, stacklevel=2)
    return [float(part) for part in text.split(separator or sep or ",")]


def readEntries(text, **how):
    warnings.warn("The `readEntries` function is deprecated; use `entries` instead.", DeprecationWarning, stacklevel=2)
    return entries(text, **how)


def total(numbers):
    return sum(numbers)


def sumUp(numbers):
    warnings.warn("'sumUp' deprecated - use 'total'", DeprecationWarning, stacklevel=2)
    return total(numbers)
"""
"""A dependency after its upgrade."""

REPOSITORY: Files = {
    "vendor/ledger/__init__.py": LEDGER,
    "app/invoice.py": "from ledger import readEntries, sumUp\n\n\ndef due(text):\n"
    "    return sumUp(readEntries(text, sep=';'))\n",
    "app/report.py": "import ledger\n\n\ndef sumUp(words):\n    return ' + '.join(words)\n\n\n"
    "def told(text):\n    return sumUp(str(n) for n in ledger.readEntries(text))\n",
    "tests/test_invoice.py": "from app.invoice import due\n\n\ndef test_due():\n    assert due('1;2') == 3\n",
    "tests/test_report.py": "from app.report import told\n\n\ndef test_told():\n    assert told('1') == '1.0'\n",
    "pytest.ini": "[pytest]\npythonpath = . vendor\nfilterwarnings = error\n",
}

TEST = "PYTEST_DISABLE_PLUGIN_AUTOLOAD=1 python -m pytest -q --tb=short -p no:cacheprovider"


def passes(folder: Path) -> bool:
    """Whether the tests pass there."""
    command = ["git", "-C", str(folder), "status", "--porcelain"]
    assert subprocess.run(command, capture_output=True, check=True).stdout.strip() != b"", "nothing was changed"
    environment = {"PATH": search_path(), "PYTHONDONTWRITEBYTECODE": "1"}
    return (
        subprocess.run(TEST, shell=True, cwd=folder, env=environment, capture_output=True, check=False).returncode == 0
    )


def test_a_dependency_is_upgraded_by_an_agent_for_each_module(
    make_repo: Callable[[Files], Path], tmp_path: Path, box: SandboxName, capfd: pytest.CaptureFixture[str]
) -> None:
    repo, out = make_repo(REPOSITORY), tmp_path / "out"
    before = (repo / "app/invoice.py").read_bytes()
    code = upgrade.main(["--repo", str(repo), "--test", TEST, "--out", str(out), "--sandbox", box, "--agents", "2"])
    told = capfd.readouterr()
    assert code == 0, told.out + told.err
    assert (repo / "app/invoice.py").read_bytes() == before, "the checkout stays as it is"
    subprocess.run(["git", "-C", str(repo), "apply", str(out / "upgrade.patch")], check=True)
    assert passes(repo)
    assert "sumUp(str(n) for n in ledger.entries(text))" in (repo / "app/report.py").read_text()
    assert "separator=';'" in (repo / "app/invoice.py").read_text()
    (folder,) = (out / "home/runs").iterdir()
    assert json.loads((folder / "result.json").read_text())["outcomes"] == {"completed": 2}


def test_the_readme_names_modules_and_flags_that_are_there() -> None:
    folder = Path(upgrade.__file__).parents[1]
    common = (folder / "flags.py").read_text(encoding="utf-8")
    found = re.findall(r"python -m examples\.(\w+)([^`\n#]*)", (folder / "README.md").read_text(encoding="utf-8"))
    assert {name for name, _ in found} == {"NAME", "repair", "upgrade", "wide", "deep", "langgraph_node", "parl"}
    for name, words in found:
        if name != "NAME":
            place = next(path for path in (folder / f"{name}.py", folder / name / "__main__.py") if path.exists())
            known = place.read_text(encoding="utf-8") + common
            missing = [flag for flag in re.findall(r"--[a-z-]+", words) if f'"{flag}"' not in known]
            assert not missing, name


@pytest.mark.parametrize(
    ("said", "names", "arguments"),
    [
        ("x.py:1: W: 'parseString' deprecated - use 'parse_string'", {"parseString": "parse_string"}, {}),
        ("'parseAll' argument is deprecated, use 'parse_all'", {}, {"parseAll": "parse_all"}),
        ("The `dict` method is deprecated; use `model_dump` instead.", {"dict": "model_dump"}, {}),
        ('"lib.old()" is deprecated and will go in 3.0, call "lib.new()"', {"old": "new"}, {}),
        ("module 'm' has no attribute 'sumup'. Did you mean: 'sum_up'?", {"sumup": "sum_up"}, {}),
        ("got an unexpected keyword argument 'colour'. Did you mean 'color'?", {}, {"colour": "color"}),
        ("'collections.Mapping' is deprecated, use 'collections.abc.Mapping'", {}, {}),
        ("'a' was deprecated.\n'b' is fine", {}, {}),
    ],
)
def test_renamings_are_read_out_of_what_libraries_say(
    said: str, names: dict[str, str], arguments: dict[str, str]
) -> None:
    found = rules_in(said)
    assert (found.names, found.arguments) == (names, arguments)


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("from m import old as o, two\no(old=1)\n", "from m import new as o, two\no(old=1)\n"),
        ("é = m.old(\n    'old', arg=old)\n", "é = m.new(\n    'old', argument=new)\n"),
        ("def old(arg): return arg\nold(2); m.old\n", "def old(arg): return arg\nold(2); m.old\n"),
        ("é, old = 1, m.other(arg=2)\n", "é, old = 1, m.other(argument=2)\n"),
        ("x = m . old . old\r\n# old\r\n", "x = m . new . new\r\n# old\r\n"),
    ],
)
def test_uses_are_renamed_and_nothing_else(source: str, wanted: str) -> None:
    text, _ = renamed(source.encode(), {"old": "new"}, {"arg": "argument"})
    assert text.decode() == wanted


@pytest.mark.parametrize(
    "source",
    [
        'x = f"""\\\n{m.old!r:>{m.old}}"""\n',
        "y = 1, (f'a'\n  f'b {m.old} {m . old}')\n",
        "f'{m.f(arg=1)}'\n",
    ],
)
def test_what_is_inside_an_f_string_is_renamed(source: str) -> None:
    text, done = renamed(source.encode(), {"old": "new"}, {"arg": "argument"})
    assert text.decode() == source.replace("old}", "new}").replace("old!", "new!").replace("arg=", "argument=")
    assert len(done) == text.decode().count("m.") + text.decode().count("m .")


def test_another_encoding_is_left_alone() -> None:
    source = "# coding: latin-1\nx = 'é', m.old\n".encode("latin-1")
    assert renamed(source, {"old": "new"}, {}) == (source, [])


def agent(steps: Sequence[tuple[str, str]]) -> tuple[str, dict[str, object]]:
    """The policy's next call, after its earlier scripts and what came of them."""
    task = f"Test command: `{TEST}`\n\nSub-task a: Upgrade app/a.py\n\nUpgrade app/a.py.\n\ntests/test_a.py::test_a\n"
    messages: list[dict[str, object]] = [{"role": "user", "content": task}]
    for number, (script, result) in enumerate(steps):
        function = {"name": "bash", "arguments": json.dumps({"command": script})}
        call = {"id": str(number), "type": "function", "function": function}
        messages += [{"role": "assistant", "content": "", "tool_calls": [call]}]
        messages += [{"role": "tool", "tool_call_id": str(number), "content": result}]
    tools = tuple({"type": "function", "function": {"name": name}} for name in ("bash", "submit"))
    (call,) = UpgradePolicy().reply(PolicyRequest(tuple(messages), tools)).tool_calls  # type: ignore[assignment]  # another kind of call
    return call.name, json.loads(call.arguments)  # type: ignore[attr-defined]  # as above


def test_an_agent_gives_up_when_renaming_does_not_help() -> None:
    look, red = (
        ("# look\n", "1 W: 'old' deprecated - use 'new'\n[exit code 1]"),
        "app/a.py:3: old -> new\n[exit code 0]",
    )
    name, asked = agent([look])
    assert (name, str(asked["command"])[:8]) == ("bash", "# rename")
    name, asked = agent([look, ("# rename\n", red)])
    assert (name, str(asked["command"])[:6]) == ("bash", "# look")
    name, asked = agent([look, ("# rename\n", red), look])
    assert (name, asked["status"]) == ("submit", "failed")
    assert "old -> new (1)" in str(asked["summary"])
    name, asked = agent([look, ("# rename\n", red), ("# look\n", "1 passed\n[exit code 0]")])
    assert (name, asked["status"]) == ("submit", "done")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--repo", "x"], "belong together"),
        (["--agents", "0"], "at least 1"),
        (["--programs", "99"], "there are 1 to"),
    ],
)
def test_wrong_usage_is_told_in_one_line(
    arguments: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upgrade.main([*arguments, "--out", str(tmp_path)]) == 2
    assert says in capsys.readouterr().err


def test_a_folder_with_files_of_others_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "shop/mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    assert repair.main(["--out", str(tmp_path)]) == 2
    assert "it holds what no example made" in capsys.readouterr().err
    assert mine.read_text() == "mine"
