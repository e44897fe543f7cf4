"""`swarm init`: writes a `swarm.toml` for a repository, with what was found there."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from swarm.cli.stdio import complain

if TYPE_CHECKING:
    from pathlib import Path

    from swarm.discovery.search import Choice

NAME = "swarm.toml"
_FIRST = ("test", "mode", "sandbox")
_USEFUL = (
    *("model", "test_timeout", "find_test", "agents_md", "image", "max_agents", "concurrency", "max_steps"),
    *("budget_tokens", "budget_usd", "timeout", "seed", "prompts", "repairs"),
)


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command and its options."""
    parser = commands.add_parser(
        "init",
        help="write a swarm.toml for a repository",
        description="Write a commented swarm.toml at the top of a git repository, with the test command that was "
        "found there as a comment. Flags and the environment go before what it says.",
        allow_abbrev=False,
    )
    parser.add_argument("--repo", metavar="PATH", help="the git repository (default: the one around this folder)")
    parser.add_argument("--test", metavar="CMD", help="the test command, in place of the one that is found")
    parser.add_argument("--force", action="store_true", help="write it anew where there is one")


def run(args: argparse.Namespace) -> int:
    """Write the file and say what was found; exit code 2 where there is one already.

    Raises:
        UsageError: there is no repository, or the file is there.
        OSError: it cannot be written.
    """
    from pathlib import Path

    import anyio

    from swarm.cli.discovery import found_in, told, without
    from swarm.config import load_config
    from swarm.discovery.search import command_of
    from swarm.errors import UsageError
    from swarm.sandboxes.git.workspace import find_top

    start = Path(args.repo or ".")
    repo = anyio.run(find_top, start)
    path = repo / NAME
    if os.path.lexists(path) and not args.force:
        raise UsageError(f"{path} is there already", remedy="edit it, or write it anew with --force")
    if args.test is not None and not args.test.strip():
        raise UsageError("--test is empty", remedy="give a command, or leave it out")
    config = load_config({})
    choice = found_in(repo, repo, config)
    found = choice.found is not None and not args.test
    test, why = (args.test, "given with --test") if args.test else (choice.command, "")
    if found:
        why = f"found by {told(choice)}"
    _write(path, _text(test, why, choice, found), anew=args.force)
    complain(f"test: {test or 'none'}" + (f" ({why})" if why else ""))
    if found:
        complain(f"  each run finds it by itself: {NAME} holds it as a comment")
    if not test and choice.missing:
        complain(f"  {without(choice)}: {NAME} holds it as a comment")
    for each in choice.others if args.test else ():
        complain(f"  found: {command_of(each)} ({each.why})")
    print(path)
    return 0


def _write(path: Path, text: str, *, anew: bool) -> None:
    """All or nothing; without `anew`, only where there is none."""
    if not anew:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
        return
    from swarm.whole_file import write_whole

    write_whole(path, text.encode())


def _text(test: str, why: str, choice: Choice, found: bool) -> str:
    from swarm.config import RunConfig
    from swarm.discovery.search import command_of

    fields = RunConfig.model_fields
    lines = [
        "# What swarm does in this repository. Flags and the environment go before it, it goes before",
        "# ~/.config/swarm/config.toml. What opens your machine (network, tools, mcp, ...) stands there only.",
        "",
        f"# {fields['test'].description}" + (f"; {why}" if why else ""),
    ]
    shown = [(each, command_of(each)) for each in (*choice.others, *choice.missing) if command_of(each) != test]
    lines += [f"# test = {_toml(command)}  # {each.why}" for each, command in shown[:5]]
    if found:  # as a key of the file it would have to pass even where it turns out to test nothing
        lines.append('# each run finds it by itself; without the "#" it is yours, and fails where it tests nothing')
    lines.append(f"{'# ' if found else ''}test = {_toml(test)}" if test else '# test = "make test"')
    lines += [
        "",
        "# plan: a planner splits the task; parl: an agent that delegates by tools; single: one agent",
        f"mode = {_toml(fields['mode'].default)}",
        "",
        "# docker, bubblewrap, or auto: the strongest that the machine has",
        f"sandbox = {_toml(fields['sandbox'].default)}",
        "",
    ]
    for name in _USEFUL:
        field = fields.get(name)
        if field is None:
            continue
        lines.append(f"# {name} = {_toml(field.default)}" + (f"  # {field.description}" if field.description else ""))
    return "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if value is None:
        return "..."
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        import json

        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
