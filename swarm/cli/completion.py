"""`swarm completion`: prints a script for a shell, made from the command line's own parser."""

from __future__ import annotations

import argparse
from typing import Any

SHELLS = ("bash", "zsh", "fish")


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command."""
    parser = commands.add_parser(
        "completion",
        help="print a completion script for a shell",
        description="Print a completion script. bash: add `source <(swarm completion bash)` to ~/.bashrc. zsh: "
        "`swarm completion zsh > DIR/_swarm` for a DIR of $fpath. fish: `swarm completion fish > "
        "~/.config/fish/completions/swarm.fish`.",
        allow_abbrev=False,
    )
    parser.add_argument("shell", metavar="SHELL", choices=SHELLS, help="bash, zsh or fish")
    parser.set_defaults(commands=commands)


def run(args: argparse.Namespace) -> int:
    """Print the script."""
    from swarm.cli.shells import script

    print(script(args.shell, args.commands), end="")
    return 0
