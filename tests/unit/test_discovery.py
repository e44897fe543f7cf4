"""The command that tests a repository, told from its files."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.cli.discovery import told, with_gate
from swarm.config import RunConfig
from swarm.discovery.search import choose, find_tests
from swarm.discovery.verdict import unusable

PYTEST = "python3 -m pytest -q"
NPM = json.dumps({"scripts": {"test": "jest"}})
STUB = json.dumps({"scripts": {"test": 'echo "Error: no test specified" && exit 1'}})
CASES: list[tuple[dict[str, str], str]] = [
    ({"pyproject.toml": "[tool.pytest.ini_options]\n"}, PYTEST),
    ({"pytest.ini": ""}, PYTEST),
    ({"tox.ini": "[pytest]\n"}, PYTEST),
    ({"setup.cfg": "[tool:pytest]\n"}, PYTEST),
    ({"conftest.py": ""}, PYTEST),
    ({"tests/test_a.py": ""}, PYTEST),
    ({"tests/deep/er/test_a.py": ""}, PYTEST),
    ({"setup.py": "", "pkg/test_a.py": ""}, PYTEST),
    ({"tox.ini": "[tox]\n"}, "tox -q"),
    ({"pyproject.toml": "[tool.tox]\n"}, "tox -q"),
    ({"noxfile.py": ""}, "nox"),
    ({"manage.py": "import django"}, "python3 manage.py test"),
    ({"tests/testing.py": ""}, "python3 -m unittest discover -s tests"),
    ({"tests/testing.py": "", "tests/__init__.py": ""}, "python3 -m unittest discover -s tests -t ."),
    ({"package.json": NPM}, "npm test"),
    ({"package.json": NPM, "pnpm-lock.yaml": ""}, "pnpm test"),
    ({"package.json": NPM, "yarn.lock": ""}, "yarn test"),
    ({"package.json": NPM, "bun.lock": ""}, "bun run test"),
    ({"package.json": json.dumps({"scripts": {"test": "x"}, "packageManager": "pnpm@9.1"})}, "pnpm test"),
    ({"package.json": STUB}, ""),
    ({"package.json": "{", "Makefile": "test:\n\ttrue\n"}, "make test"),
    ({"package.json": "{}", "bun.lockb": "", "src/a.test.ts": ""}, "bun test"),
    ({"deno.json": "{}"}, "deno test"),
    ({"deno.jsonc": '{"tasks": {/* all */ "test": "deno test -A",}} // end'}, "deno task test"),
    ({"Cargo.toml": "[package]\nname='a'"}, "cargo test"),
    ({"Cargo.toml": "[package]\nname='a'\n[workspace]"}, "cargo test --workspace"),
    ({"go.mod": "module a"}, "go test ./..."),
    ({"go.work": "go 1.22\nuse (\n  ./a\n  ./b\n)\n"}, "go test ./a/... ./b/..."),
    ({"pom.xml": ""}, "mvn -q test"),
    ({"build.gradle.kts": "", "gradlew": ""}, "./gradlew test"),
    ({"settings.gradle": ""}, "gradle test"),
    ({"a.sln": ""}, "dotnet test"),
    ({"mix.exs": ""}, "mix test"),
    ({"phpunit.xml.dist": ""}, "phpunit"),
    ({"Gemfile": "", "spec/a_spec.rb": ""}, "bundle exec rspec"),
    ({"Rakefile": "Rake::TestTask.new"}, "rake test"),
    ({"Makefile": "CC := gcc\nall check: x\n\ttrue\n"}, "make check"),
    ({"Makefile": "test := 1\nall:\n\ttrue\n"}, ""),
    ({"Makefile": "define text\ntest:\nendef\nall:\n\ttrue\n"}, ""),
    ({"Makefile": "define a\nendef\ntest:\n\ttrue\n"}, "make test"),
    ({"Makefile": "-include mk/rules.mk # all\nall:\n", "mk/rules.mk": "test:\n\ttrue\n"}, "make test"),
    ({"Makefile": "include ../rules.mk $(X)\nall:\n"}, ""),
    (
        {"CMakeLists.txt": "project(a)\n  enable_testing ()\n"},
        "cmake -S . -B /tmp/build && cmake --build /tmp/build && ctest --test-dir /tmp/build --output-on-failure",
    ),
    ({"justfile": "build:\n  x\ntest *args:\n  y\n"}, "just test"),
    ({"README.md": "", "src/a.py": ""}, ""),
    # several: what is configured goes before what only builds, that before what may do anything
    ({"Cargo.toml": "[package]", "package.json": NPM}, "npm test"),
    ({"Cargo.toml": "[package]", "Makefile": "test:\n"}, "cargo test"),
    ({"tox.ini": "[tox]\n[testenv]\n", "tests/test_a.py": ""}, PYTEST),
    ({"Makefile": "test:\n", "sub/pytest.ini": ""}, "make test"),
    # of projects below the top the least deep; what is installed is none
    ({"node_modules/a/package.json": NPM, ".venv/pytest.ini": ""}, ""),
    ({"a/b/package.json": NPM, "c d/go.mod": "", "c d/x/pytest.ini": ""}, "cd 'c d' && go test ./..."),
]


def made(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(("files", "command"), CASES, ids=[f"{next(iter(files))}-{c}" for files, c in CASES])
def test_the_surest_command(tmp_path: Path, files: dict[str, str], command: str) -> None:
    assert choose(find_tests(made(tmp_path, files)), lambda found: True).command == command


def test_the_nearest_project_on_the_way_to_the_top_goes_first(tmp_path: Path) -> None:
    top = made(tmp_path, {"pytest.ini": "", "web/package.json": NPM, "web/src/a.ts": "", "lib/tests/test_a.py": ""})
    assert choose(find_tests(top, top / "web/src"), lambda found: True).command == "cd web && npm test"
    assert choose(find_tests(top, top / "lib"), lambda found: True).command == PYTEST  # tests, but no project
    assert choose(find_tests(top, top), lambda found: True).command == PYTEST


def test_what_cannot_be_run_is_passed_over_and_named(tmp_path: Path) -> None:
    found = find_tests(made(tmp_path, {"package.json": NPM, "go.mod": "", "tests/test_a.py": ""}))
    choice = choose(found, lambda each: each.program == "go")
    assert (choice.command, [each.program for each in choice.missing][:1]) == ("go test ./...", ["npm"])
    nothing = choose(found, lambda each: False)
    assert (nothing.command, len(nothing.missing)) == ("", len(found))


@pytest.mark.parametrize(
    ("command", "code", "output", "said"),
    [
        (PYTEST, 127, "sh: 1: python3: not found\n", "not found"),
        (PYTEST, 1, "/usr/bin/python3: No module named pytest\n", "No module named pytest"),
        (PYTEST, 5, "no tests ran in 0.01s\n", "no tests"),
        (PYTEST, 4, "x\nerror: unrecognized arguments: --cov\n", "--cov"),
        (PYTEST, 1, "FAILED tests/test_a.py::test - ModuleNotFoundError: No module named 'a'\n", ""),
        (PYTEST, 2, "ERROR tests/test_a.py\n", ""),
        ("make test", 5, "", ""),
        ("npm test", 0, "", ""),
    ],
)
def test_whether_it_tests_anything(command: str, code: int, output: str, said: str) -> None:
    assert said in unusable(command, code, output)
    assert bool(unusable(command, code, output)) is bool(said)


HOSTILE = {
    "CMakeLists.txt": "\n" * 30_000,
    "go.work": "\n" * 30_000,
    "Rakefile": "task" + " " * 30_000,
    "tox.ini": "[tox]\na" + " " * 30_000 + "b",
    "pyproject.toml": "a = " + "[" * 5_000,
    "Cargo.toml": ".".join("a" * 50_000) + " = 1",
    "setup.cfg": "[" * 50_000,
    "package.json": '"' + '\\"' * 30_000,
    "deno.jsonc": "/*" * 30_000,
    "Makefile": ("a " * 15_000 + "\n") + " \t" * 15_000 + "include" + " " * 30_000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_file_of_a_stranger_holds_it_up(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(HOSTILE[name])
    spent = time.process_time()
    find_tests(tmp_path)
    assert time.process_time() - spent < 5.0  # of CPU; the patterns once took time that grows with the square


NAMES = ["pyproject.toml", "package.json", "Cargo.toml", "tox.ini", "setup.cfg", "Makefile", "go.work", "deno.jsonc"]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(NAMES), st.binary(max_size=300))
def test_no_file_makes_it_fail(tmp_path_factory: pytest.TempPathFactory, name: str, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    (folder / name).write_bytes(data)
    find_tests(folder)


def test_it_is_looked_for_only_where_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made(tmp_path, {"Makefile": "test:\n", "package.json": NPM})
    monkeypatch.setattr("swarm.cli.discovery._able", lambda config, repo: lambda found: found.program == "make")
    found = with_gate(RunConfig(), tmp_path, tmp_path)
    assert (found.test, found.test_found) == ("make test", "Makefile: test")
    for config, repo in (
        (RunConfig(test="true"), tmp_path),
        (RunConfig(find_test=False), tmp_path),
        (RunConfig(), None),
    ):
        assert with_gate(config, repo, tmp_path) is config


def test_projects_that_the_command_does_not_test_are_named(tmp_path: Path) -> None:
    made(tmp_path, {"packages/a/package.json": NPM, "packages/b/pytest.ini": "", "packages/c/go.mod": "", "x/y": ""})
    choice = choose(find_tests(tmp_path), lambda found: found.program != "go")
    assert choice.command == "cd packages/a && npm test"
    assert told(choice) == (
        "packages/a/package.json: scripts.test; not tested by it: packages/b/, packages/c/; "
        "also found: `cd packages/b && python3 -m pytest -q` (pytest.ini)"
    )


def test_what_is_found_and_lacks_its_program_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made(tmp_path, {"package.json": json.dumps({"scripts": {"test": "x"}, "packageManager": "pnpm@1"})})
    config = RunConfig(image="host")
    if with_gate(config, tmp_path, tmp_path).test is None:  # else this machine has pnpm where sandboxes see it
        assert "no gate: `pnpm test` was found (package.json: scripts.test), but the sandbox has no pnpm" in (
            capsys.readouterr().err
        )
