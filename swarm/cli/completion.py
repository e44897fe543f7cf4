"""`swarm completion`: a script for a shell, which at each tab asks this program what may stand there."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from typing import Any

SHELLS = ("bash", "zsh", "fish")
_ASKED = "words"
"""In place of a shell: what may stand at the end of a command line is printed, with a tab before what it is."""

_FILES = ":files"
"""The shell itself knows them best."""

_PATHS = ("FILE", "PATH", "DIR", "PREDS", "RESPONSES")
_MODELS = ("model", "planner_model", "subagent_model", "aggregator_model")

# A line such as `--mode=plan @FILE` is several words in bash, unless the user's COMP_WORDBREAKS has no = or @.
_BASH = """\
# bash completion for swarm; made by `swarm completion bash`
_swarm() {
  local IFS=$'\\n' cur=${COMP_WORDS[COMP_CWORD]} each
  local found=($("${COMP_WORDS[0]}" completion words "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
  COMPREPLY=()
  if [[ ${found[0]} == :files ]]; then
    compopt -o filenames 2>/dev/null
    [[ $cur == "=" ]] && cur=""
    COMPREPLY=($(compgen -f -- "$cur"))
    return
  fi
  for each in "${found[@]}"; do
    each=${each%%$'\\t'*}
    [[ $each == @*/ ]] && compopt -o nospace 2>/dev/null
    [[ $each == @* ]] && printf -v each %q "$each"
    COMPREPLY+=("$each")
  done
}
complete -F _swarm swarm
"""
_ZSH = """\
#compdef swarm
# zsh completion for swarm; made by `swarm completion zsh`
_swarm() {
  local -a found
  [[ $words[CURRENT] == @* ]] && { compset -P @; _files; return }
  found=("${(@f)$("$words[1]" completion words "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
  if [[ $found[1] == :files ]]; then
    compset -P '--*='
    _files
  else
    found=("${(@)found//$'\\t'/:}")
    _describe -V swarm found
  fi
}
if [[ "$funcstack[1]" == _swarm ]]; then _swarm "$@"; else compdef _swarm swarm; fi
"""
_FISH = """\
# fish completion for swarm; made by `swarm completion fish`
function __swarm_words
  set -l words (commandline -opc)
  set -l last (commandline -ct)
  set -l found ($words[1] completion words $words[2..-1] "$last" 2>/dev/null)
  if test "$found[1]" = :files
    __fish_complete_path (string replace -r '^--[^=]*=' '' -- "$last")
  else
    printf '%s\\n' $found
  end
end
complete -c swarm -f -k -a '(__swarm_words)'
"""


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
    parser.add_argument("shell", metavar="SHELL", choices=(*SHELLS, _ASKED), help="bash, zsh or fish")
    parser.add_argument("line", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    parser.set_defaults(commands=commands)


def run(args: argparse.Namespace) -> int:
    """Print the script, or what may stand at the end of a line."""
    if args.shell != _ASKED:
        print({"bash": _BASH, "zsh": _ZSH, "fish": _FISH}[args.shell], end="")
        return 0
    for word, about in candidates(args.commands, args.line):
        print(f"{word}\t{about}" if about else word)
    return 0


def candidates(commands: argparse._SubParsersAction[Any], line: Sequence[str]) -> Iterator[tuple[str, str]]:
    """What the last word of a line may become, and what that is. `line` is what stands behind the program's name."""
    *before, word = _joined(line)
    actions: list[argparse.Action] = [commands]
    wants: argparse.Action | None = None  # the option whose value the next word is
    for each in before:
        if wants is not None:
            wants = None
        elif each.startswith("-"):
            wants = None if "=" in each else _taking(actions, each)
        elif (below := _below(actions)) is not None and each in below.choices:
            actions = below.choices[each]._actions
    option, inline, _ = word.partition("=")
    if wants is None and word.startswith("-") and inline:
        wants = _taking(actions, option)
    if wants is not None:
        start = f"{option}=" if inline and word.startswith("-") else ""
        found = ((f"{start}{each}" if each != _FILES else each, "") for each in _values(wants))
    elif word.startswith("-"):
        found = ((name, _plain(action.help)) for action in actions for name in action.option_strings)
    elif (below := _below(actions)) is not None:
        helps = {each.dest: each.help for each in below._choices_actions}
        found = ((name, _plain(helps.get(name))) for name in below.choices)
    elif word.startswith("@"):
        found = ((each, "") for each in _at_files(word))
    else:
        found = ((each, "") for action in actions if not action.option_strings for each in _values(action))
    return (each for each in found if each[0].startswith(word) or each[0] == _FILES)


def _joined(line: Sequence[str]) -> list[str]:
    """The words as they were typed, where bash has cut them; the last one is where the cursor is."""
    cut = [n for n, each in enumerate(line) if n and each == "=" and line[n - 1].startswith("--")]
    words = [each for n, each in enumerate(line) if n not in cut]
    if not words or len(line) - 1 in cut:
        words.append("")
    if len(words) > 1 and words[-2] == "@":
        words[-2:] = [f"@{words[-1]}"]
    return words


def _below(actions: Sequence[argparse.Action]) -> argparse._SubParsersAction[Any] | None:
    return next((each for each in actions if isinstance(each, argparse._SubParsersAction)), None)


def _taking(actions: Sequence[argparse.Action], option: str) -> argparse.Action | None:
    """The option of this name, where it takes a value."""
    return next((each for each in actions if option in each.option_strings and each.nargs != 0), None)


def _plain(text: str | None) -> str:
    return " ".join((text or "").split()).replace("%%", "%")


def _values(action: argparse.Action) -> list[str]:
    """What a value may be, as far as it is known."""
    named = action.metavar if isinstance(action.metavar, str) else action.dest
    what = named.partition("|")[0].rstrip(".").upper()
    if what in _PATHS:
        return [_FILES]
    if what == "RUN":
        return ["last", *_runs()]
    if action.dest in _MODELS:
        return ["embedded"]  # the one that is there for everybody
    return [each for each in map(str, action.choices or ()) if each != _ASKED]


def _runs() -> list[str]:
    """The runs, newest first. As `swarm.config.home` has it, which is not imported: it would take longer than this. A
    name that a shell could take for a command is not told: a folder may have come from anywhere."""
    import re
    from pathlib import Path

    home = Path(os.environ.get("SWARM_HOME") or Path.home() / ".local/share/swarm")
    try:
        names = [each.name for each in (home / "runs").iterdir()]
    except OSError:
        return []
    return sorted((name for name in names if re.fullmatch(r"\w[\w.-]*", name, re.ASCII)), reverse=True)


def _at_files(word: str) -> list[str]:
    folder = word[1 : word.rfind("/") + 1]
    try:
        with os.scandir(folder or ".") as inner:
            return sorted(f"@{folder}{each.name}{'/' if each.is_dir() else ''}" for each in inner)
    except OSError:
        return []
