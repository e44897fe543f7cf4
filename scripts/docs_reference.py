"""A hook of mkdocs: pages of the reference that are made from the code itself, so that they cannot differ from it."""

from __future__ import annotations

import argparse
import inspect
import re
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic import BaseModel
from pydantic.fields import FieldInfo

import swarm
from swarm import errors
from swarm.cli import dispatch
from swarm.config import HOST_KEYS, Capabilities, Price, Provider, Quirks, Rollout, RunConfig
from swarm.events import ANY_EVENT


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages."""
    for name, text in pages().items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def pages() -> dict[str, str]:
    """Markdown by the name of the page."""
    return {
        "cli": _cli(),
        "configuration": _configuration(),
        "events": _events(),
        "errors": _errors(),
        "python": _python(),
    }


def _cli() -> str:
    root = dispatch._parser("completion")
    parts = [
        "# Command line",
        "Made from the parser of the command itself. Options take effect in this order: flag, environment, "
        "`swarm.toml` of the repository, `~/.config/swarm/config.toml`, default ([configuration](configuration.md)).",
        "| exit code | meaning |\n|---|---|\n" + "\n".join(f"| {code} | {text} |" for code, text in _CODES),
    ]
    for name, parser in _commands(root):
        parts += _command(name, parser)
    return "\n\n".join(parts) + "\n"


_CODES = (
    (0, "done"),
    (1, "failed or partial: a sub-task is missing, or the gate failed"),
    (2, "usage or configuration"),
    (3, "the machine: endpoint unreachable, wrong key, sandbox broken"),
    (4, "a budget is exhausted"),
    (130, "interrupted"),
)


def _commands(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """All commands below a parser that do something themselves."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                inner = list(_commands(below))
                yield below.prog, below
                yield from inner


def _command(name: str, parser: argparse.ArgumentParser) -> Iterator[str]:
    yield f"## {name}"
    if parser.description:
        yield _plain(parser.description % {"prog": parser.prog} if "%(" in parser.description else parser.description)
    width = 78
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=width)
    yield f"```text\n{parser.format_usage().removeprefix('usage: ').rstrip()}\n```"
    for group in parser._action_groups:
        rows = [row for action in group._group_actions for row in _option(action, parser)]
        if rows:
            title = (group.title or "").replace("positional arguments", "arguments")
            yield f"**{title}**\n\n| name | meaning |\n|---|---|\n" + "\n".join(rows)
    if parser.epilog:
        yield _plain(parser.epilog)


def _option(action: argparse.Action, parser: argparse.ArgumentParser) -> Iterator[str]:
    if action.help == argparse.SUPPRESS or isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
        return
    shown = parser._get_formatter()._format_action_invocation(action)
    text = parser._get_formatter()._expand_help(action) if action.help else ""
    yield f"| `{shown.replace('|', chr(92) + '|')}` | {_cell(text)} |"


def _configuration() -> str:
    closed = ", ".join(f"`{key}`" for key in HOST_KEYS)
    parts = [
        "# Configuration",
        "Every key may stand in `swarm.toml` (of the repository) or in `~/.config/swarm/config.toml` under its own "
        "name; most have a flag of the same name ([command line](cli.md)). Flag, environment, repository, user, "
        "default: the first that is given counts.",
        f'A repository may be a stranger\'s: its `swarm.toml` may not set {closed}, nor `sandbox = "process"`.',
        "| environment | |\n|---|---|\n" + "\n".join(f"| `{name}` | {text} |" for name, text in _ENVIRONMENT),
    ]
    for model in (RunConfig, Rollout, Price, Provider, Quirks, Capabilities):
        said = _helps() if model is RunConfig else {}
        ours = ("test_found", "base_url_found", "api_key")
        parts += [f"## {model.__name__}", _doc(model), _fields(model, ours, said)]
    return "\n\n".join(parts) + "\n"


def _helps() -> dict[str, str]:
    """What the options of `swarm run` say of themselves, for keys that say nothing."""
    run = next(parser for name, parser in _commands(dispatch._parser("completion")) if name == "swarm run")
    form = run._get_formatter()
    return {each.dest: form._expand_help(each) for each in run._actions if each.help and each.help != argparse.SUPPRESS}


_ENVIRONMENT = (
    ("OPENAI_BASE_URL", "the endpoint, where none is given"),
    ("OPENAI_API_KEY", "its key"),
    ("SWARM_API_KEY_FILE", "a file with the key, mode 600"),
    ("SWARM_MODEL", "the model, where none is given"),
    ("SWARM_HOME", "where runs are kept (default: `~/.local/share/swarm`)"),
    ("XDG_CONFIG_HOME", "where `swarm/config.toml` is looked for (default: `~/.config`)"),
    ("XDG_STATE_HOME", "where the key of logs' seals is kept (default: `~/.local/state`)"),
    ("VISUAL, EDITOR", "what edits a plan"),
    ("PAGER", "what shows a patch that is asked about"),
    ("DOCKER_HOST", "the Docker Engine, as for `docker`"),
    ("NO_COLOR", "no colours"),
    ("SWARM_DEBUG", "tracebacks with errors"),
)


def _events() -> str:
    parts = [
        "# Events and the log",
        "A run's `events.jsonl` has one of these a line, and so has the output of `--json`. Every key stands on every "
        "line. What the log is for, its order and its checks: [trajectories](../trajectories.md).",
    ]
    base = next(model for model in get_args(get_args(ANY_EVENT._type)[0]))
    shared = list(base.__mro__[1].model_fields)
    parts += ["## On every line", _fields(base.__mro__[1])]
    for model in get_args(get_args(ANY_EVENT._type)[0]):
        parts += [f"## `{model.model_fields['type'].default}`", _doc(model), _fields(model, ours=("type", *shared))]
    return "\n\n".join(part for part in parts if part) + "\n"


def _errors() -> str:
    parts = ["# Errors", "```text\n" + inspect.cleandoc(errors.__doc__ or "") + "\n```"]
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        if issubclass(kind, errors.SwarmError):
            parts += [f"## {kind.__name__}", f"Exit code {kind.exit_code}.", _doc(kind)]
    kinds = "\n".join(f"| `{kind.value}` |" for kind in errors.EndpointFault)
    return "\n\n".join([*parts, "## Kinds of EndpointError", "| kind |\n|---|\n" + kinds]) + "\n"


def _python() -> str:
    parts = [
        "# Python",
        "What `from swarm import ...` gives, made from the docstrings. Programs to begin with: "
        "[Embed it in Python](../tutorials/python.md), [parts of your own](../how-to/own-parts.md).",
        *(f"::: {swarm._HOME[name]}.{name}" for name in swarm.__all__),
    ]
    for title, text, names in _BESIDE:
        parts += [f"## {title}", text, *(f"::: {name}\n    options:\n      heading_level: 3" for name in names)]
    return "\n\n".join(parts) + "\n"


_BESIDE = (
    (
        "The shapes of parts",
        "What a class of yours must have to take the place of one of swarm's (`swarm.protocols`).",
        [f"swarm.protocols.{name}" for name in ("Model", "Tool", "SandboxBackend", "Orchestrator", "Aggregator")],
    ),
    ("In other programs", "", ["swarm.langgraph.swarm_node", "swarm.tracing.Spans", "swarm.tuning.quiet_collector"]),
    (
        "For tests",
        "`swarm.testing`: no endpoint, no sandbox, no waiting.",
        [
            f"swarm.testing.{name}"
            for name in ("ScriptedModel", "tool_call", "FakeBackend", "RecordingSink", "VirtualClock")
        ],
    ),
    (
        "For training",
        "The pages say what these are for: [rollouts](../rollouts.md), [rewards](../rewards.md).",
        [
            "swarm.rl.rollout.Rollouts",
            "swarm.rl.rollout.Bounds",
            "swarm.rl.tasks.task.Task",
            "swarm.rl.tasks.task.by_score",
            "swarm.rl.rewards.Parl",
            "swarm.rl.annealing.Annealing",
            "swarm.rl.shaping.advantages",
            "swarm.rl.export.catalog.export",
        ],
    ),
)


def _doc(kind: type) -> str:
    return inspect.cleandoc(kind.__doc__ or "")


def _fields(model: type[BaseModel], ours: tuple[str, ...] = (), said: Mapping[str, str] | None = None) -> str:
    rows = [
        (f"`{name}`", _type(field), _default(field), _cell(field.description or (said or {}).get(name, "")))
        for name, field in model.model_fields.items()
        if name not in ours
    ]
    columns = 4 if any(row[3] for row in rows) else 3  # the model's own words tell of all keys otherwise
    table = [("key", "type", "default", "meaning"), ("---",) * 4, *rows]
    return "\n".join(f"| {' | '.join(row[:columns])} |" for row in table) if rows else ""


def _type(field: FieldInfo) -> str:
    told = field.annotation.__name__ if isinstance(field.annotation, type) and not get_args(field.annotation) else None
    text = told or re.sub(r"\b(?:\w+\.)+(\w+)", r"\1", str(field.annotation))
    return f"`{text.replace('NoneType', 'None')}`".replace("|", "\\|")


def _default(field: FieldInfo) -> str:
    value: Any = field.get_default(call_default_factory=True) if not field.is_required() else "required"
    if isinstance(value, BaseModel):
        return ""
    return f"`{value!r}`".replace("|", "\\|") if not field.is_required() else "required"


def _cell(text: str) -> str:
    return _plain(text).replace("|", "\\|").replace("\n", " ")


def _plain(text: str) -> str:
    """Text that markdown shows as it is."""
    return re.sub(r"([<*_])", r"\\\1", text)
