"""What `--help` says: of every command, in lines that fit, and with the defaults that are the defaults."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import pytest

from swarm.cli.dispatch import _parser
from swarm.cli.options import CONFIGURED
from swarm.config import RunConfig

_TOLD = re.compile(r"([\w.]+) \(default\)|\(default: ([^)]+)\)")


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


ALL = {parser.prog: parser for parser in parsers(_parser(""))}


@pytest.mark.parametrize("name", ALL)
def test_every_command_and_option_is_explained_in_lines_that_fit(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    parser = ALL[name]
    text = parser.format_help()
    assert parser.description and parser.description[0].isupper() and re.search(r"[.`]$", parser.description)
    assert not parser.allow_abbrev
    assert [line for line in text.splitlines() if len(line) > 80] == []
    explained = [action for action in parser._actions if not isinstance(action, argparse._SubParsersAction)]
    assert [action.dest for action in explained if not action.help] == []


def test_the_defaults_that_are_told_are_those_of_the_configuration() -> None:
    checked = set()
    for name in ("swarm run", "swarm mcp", "swarm eval repair"):
        for action in ALL[name]._actions:
            told = _TOLD.search(action.help or "")
            if action.dest not in CONFIGURED or action.dest == "seed" or told is None:
                continue
            assert action.default is None, action.dest  # else a flag that nobody gave would hide the configuration
            default, said = (
                RunConfig.model_fields[action.dest].get_default(call_default_factory=True),
                told[1] or told[2],
            )
            if isinstance(default, int) and default:
                assert said == str(default), action.dest
                checked.add(action.dest)
            elif told[1] and action.dest not in ("executor",):
                assert said.strip("`") == default, action.dest
                checked.add(action.dest)
            else:
                assert not said.isdigit(), action.dest
    assert {"max_agents", "concurrency", "repairs", "max_steps", "max_in_flight", "mode"} <= checked


@pytest.mark.parametrize("name", ["swarm run", "swarm mcp", "swarm acp"])
def test_options_are_spelled_as_keys_of_the_configuration(name: str) -> None:
    for action in ALL[name]._actions:
        if action.dest in RunConfig.model_fields and action.option_strings:
            assert action.option_strings == ["--" + action.dest.replace("_", "-")]
