"""What swarm stands on: locked to the byte, of licences that we allow, told in a bill of materials, and no more."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.supply.audit import FOUND, NOT_CHECKED, VULNERABLE, Known, licences, vulnerabilities
from tests.supply.licences import is_allowed
from tests.supply.locked import FILES, read_lock

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "requirements"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
MOST_OF_USERS = 66
"""Packages that a user gets at most, those of other systems included. One more is to be a decision."""


def test_every_locked_package_has_hashes_and_one_version() -> None:
    locks = {file: read_lock(LOCKS / f"{file}.txt") for file in FILES}
    versions = {file: {(each.name, each.version, str(each.marker)) for each in lock} for file, lock in locks.items()}
    assert versions["base"] <= versions["demo"] <= versions["dev"]
    assert len(versions["base"]) <= MOST_OF_USERS
    assert {path.stem for path in LOCKS.glob("*.txt")} == set(FILES)


@pytest.mark.parametrize(
    "line",
    [
        "a==1.0",
        "a>=1.0 --hash=sha256:" + 64 * "0",
        "a==1.0 \\\n    --hash=md5:" + 32 * "0",
        "a @ https://example.org/a.whl --hash=sha256:" + 64 * "0",
        "--index-url https://example.org",
        "-e .",
    ],
)
def test_a_lock_with_anything_else_is_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "lock.txt").write_text(f"# made by\nb==1 \\\n    --hash=sha256:{64 * 'a'}\n{line}\n")
    with pytest.raises(ValueError, match="no exact version"):
        read_lock(tmp_path / "lock.txt")


def test_all_licences_are_known_and_allowed() -> None:
    assert licences(ROOT) == []


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("MIT AND (Apache-2.0 OR GPL-3.0-only)", True),
        ("MIT AND GPL-3.0-only", False),
        ("GPL-2.0-only OR MIT", True),
        ("MIT OR GPL-2.0-only AND MIT", True),
        ("GPL-2.0-only WITH Classpath-exception-2.0", False),
        ("LicenseRef-Proprietary", False),
    ],
)
def test_a_licence_is_allowed_where_one_can_choose_allowed_ones_alone(expression: str, allowed: bool) -> None:
    assert is_allowed(expression) is allowed


_IMPORT = re.compile(r"(?m)^ *(?:import ([\w.]+)|from ([\w.]+) import |.*import_module\(\"([\w.]+)\"\))")
_SEVERAL = {"langgraph.checkpoint.sqlite": "langgraph-checkpoint-sqlite", "langgraph": "langgraph"}
"""Of modules that several distributions are part of: whose they are, the longest first."""


def imported(folder: Path) -> set[str]:
    """Distributions that modules import, at their top or anywhere in them."""
    texts = (path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    modules = {next(filter(None, found)) for text in texts for found in _IMPORT.findall(text)}
    owners = packages_distributions()
    used: set[str] = set()
    for module in modules:
        top = module.partition(".")[0]
        owner = next((dist for part, dist in _SEVERAL.items() if module.startswith(part)), owners.get(top, [top])[0])
        if top and top not in sys.stdlib_module_names and top != "swarm":
            used.add(canonicalize_name(owner))
    return used


BELOW = {"certifi", "httpcore2", "langchain-core", "pydantic-core", "referencing", "requests", "typing-extensions"}
"""What comes with what is declared: its own words for what it is given."""

IF_THERE = {"datasets", "keyring", "pytest", "tiktoken", "torch"}
"""What is used where the user has it."""


def test_users_get_what_the_program_imports_and_nothing_else() -> None:
    wanted = {canonicalize_name(Requirement(each).name) for each in PROJECT["dependencies"]}
    extras = PROJECT["optional-dependencies"].values()
    more = {canonicalize_name(Requirement(each).name) for extra in extras for each in extra}
    used = {each for folder in ("swarm", "tools", "sandboxes", "evals") for each in imported(ROOT / folder)}
    assert wanted - used == set(), "declared, and imported nowhere"
    assert used - wanted - more <= BELOW | IF_THERE, "imported, and not declared"


def test_the_bill_of_materials_names_every_locked_file(require: Callable[[object, str], None], tmp_path: Path) -> None:
    require(find_spec("cyclonedx"), "cyclonedx-python-lib is not installed")
    from cyclonedx.validation.json import JsonStrictValidator

    from tests.supply.sbom import VERSION, bill

    text = bill(ROOT)
    said = json.loads(text)
    files = {
        (part["name"], part["version"]): {each["content"] for each in part["externalReferences"][0]["hashes"]}
        for part in said["components"]
    }
    assert files == {(each.name, each.version): set(each.hashes) for each in read_lock(LOCKS / "dev.txt")}
    required = {part["name"] for part in said["components"] if part["scope"] == "required"}
    assert required == {each.name for each in read_lock(LOCKS / "base.txt")}
    assert [part["name"] for part in said["components"] if not part.get("licenses")] == []
    assert not re.search(r"https?://(?!cyclonedx\.org)", text)

    # The schema takes seconds for all of it (`make sbom` does that): the odd ones stand for the others.
    (tmp_path / "requirements").mkdir()
    for name in ("pyproject.toml", "requirements/licences.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    for name in ("base", "dev"):
        rows = re.findall(
            r"(?m)^(?:colorama|numpy|orjson|regex|sqlite-vec|openai)==.*(?:\n    .*)*",
            (LOCKS / f"{name}.txt").read_text(),
        )
        (tmp_path / f"requirements/{name}.txt").write_text("\n".join(rows) + "\n")
    text = bill(tmp_path)
    assert len(json.loads(text)["components"]) == 7
    assert JsonStrictValidator(VERSION).validate_str(text) is None
    assert bill(tmp_path) == text
    assert JsonStrictValidator(VERSION).validate_str(text.replace('"SHA-256"', '"SHA"', 1)) is not None


PACKAGES = [("one", "1"), ("two", "2")]
CANARY = " ".join(VULNERABLE)


def answering(known: Known, canary: list[str]) -> Callable[[str, str], Known]:
    def ask(service: str, lines: str) -> Known:
        if service == "away":
            raise OSError("no such host")
        return {CANARY: canary} if "idna" in lines else known

    return ask


@pytest.mark.parametrize(
    ("known", "canary", "services", "code", "said"),
    [
        ({"one 1": [], "two 2": []}, ["V-0"], ["there"], 0, ""),
        ({"one 1": [], "two 2": ["V-1"]}, ["V-0"], ["away", "there"], FOUND, "two 2: V-1"),
        ({"one 1": []}, ["V-0"], ["there"], NOT_CHECKED, "knows nothing of two 2"),
        ({"one 1": [], "two 2": []}, [], ["there"], NOT_CHECKED, "does not know that idna"),
        ({}, [], ["away"], NOT_CHECKED, "no such host"),
    ],
    ids=["well", "vulnerable", "one unknown", "blind source", "no source"],
)
def test_an_audit_is_green_only_where_a_source_that_sees_was_asked_about_everything(
    known: Known, canary: list[str], services: list[str], code: int, said: str
) -> None:
    verdict = vulnerabilities(answering(known, canary), PACKAGES, services)
    assert verdict.exit_code == code
    assert said in " ".join([*verdict.found, *verdict.unchecked])
