"""Completion scripts for bash, zsh and fish. They list runs and files by themselves: no program is started for it."""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from typing import Any

_FILES = ("FILE", "PATH", "DIR", "PREDS", "RESPONSES")
_RUNS = ("RUN",)
_MODELS = ("model", "planner_model", "subagent_model", "aggregator_model")


@dataclass(frozen=True)
class Option:
    """One option: its names, whether it takes a value, what the value is (`files`, `runs`, words, or nothing)."""

    names: tuple[str, ...]
    help: str
    takes: bool = False
    files: bool = False
    runs: bool = False
    words: tuple[str, ...] = ()


@dataclass
class Command:
    """One command, and those below it."""

    path: tuple[str, ...]
    help: str
    options: list[Option] = field(default_factory=list)
    below: list[Command] = field(default_factory=list)
    runs: bool = False
    files: bool = False
    words: tuple[str, ...] = ()


def script(shell: str, commands: argparse._SubParsersAction[Any]) -> str:
    """The script for a shell, with these commands."""
    top = Command((), "", [Option(("--help", "-h"), "show what there is"), Option(("--version",), "show the version")])
    top.below = _below(commands, ())
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](top)


def _below(action: argparse._SubParsersAction[Any], path: tuple[str, ...]) -> list[Command]:
    helps = {each.dest: each.help or "" for each in action._choices_actions}
    return [_command(parser, (*path, name), helps.get(name, "")) for name, parser in action.choices.items()]


def _command(parser: argparse.ArgumentParser, path: tuple[str, ...], help: str) -> Command:
    command = Command(path, help)
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            command.below = _below(action, path)
        elif action.option_strings:
            command.options.append(_option(action))
        else:
            command.runs = command.runs or _names(action) in _RUNS
            command.files = command.files or _names(action) in _FILES
            command.words += tuple(map(str, action.choices or ()))
    return command


def _names(action: argparse.Action) -> str:
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest
    return metavar.partition("|")[0].rstrip(".").upper()


def _option(action: argparse.Action) -> Option:
    words = tuple(map(str, action.choices or ()))
    return Option(
        tuple(action.option_strings),
        " ".join((action.help or "").split()).replace("%%", "%"),
        takes=action.nargs != 0,
        files=_names(action) in _FILES,
        runs=_names(action) in _RUNS,
        words=("embedded",) if action.dest in _MODELS else words,  # the one that is there for everybody
    )


def _all(command: Command) -> list[Command]:
    return [command, *(inner for each in command.below for inner in _all(each))]


# The runs are listed by the shell itself: no program is started for it.
_LIST = '"${SWARM_HOME:-${HOME}/.local/share/swarm}"/runs'

_BASH = """\
# bash completion for swarm; made by `swarm completion bash`
_swarm_runs() {
  local run home=__LIST__
  COMPREPLY=($(compgen -W "last" -- "$cur"))
  for run in "$home"/"$cur"*/; do
    [ -d "$run" ] && run=${run%/} && COMPREPLY+=("${run##*/}")
  done
}
_swarm_files() {
  compopt -o filenames 2>/dev/null
  local IFS=$'\\n'
  COMPREPLY=($(compgen -f -- "$cur"))
}
_swarm_task() {
  local IFS=$'\\n' name
  for name in $(compgen -f -- "${cur#@}"); do
    [ -d "$name" ] && name+=/ && compopt -o nospace 2>/dev/null
    printf -v name %q "$name" && COMPREPLY+=("@$name")
  done
}
_swarm() {
  local cur=${COMP_WORDS[COMP_CWORD]} last=$((COMP_CWORD - 1)) at="" word n
  COMPREPLY=()
  # --mode=plan and @FILE are several words here, unless the user's COMP_WORDBREAKS has no = or @
  [[ $cur == "=" ]] && cur="" last=$COMP_CWORD
  [[ ${COMP_WORDS[last]} == "=" ]] && ((last--))
  local prev=${COMP_WORDS[last]}
  for ((n = 1; n < COMP_CWORD; n++)); do
    word=${COMP_WORDS[n]}
    case "$at/$word" in
__STEPS__
    esac
  done
  case "$at $prev" in
__VALUES__
  esac
  [[ $prev == "@" || $cur == @* ]] && { _swarm_task; return; }
  case "$at" in
__COMMANDS__
  esac
}
complete -F _swarm swarm
"""


def _bash(top: Command) -> str:
    steps, values, commands = list[str](), list[str](), list[str]()
    for command in _all(top):
        at = "/".join(("", *command.path)) if command.path else ""
        steps += [f'      "{at}/{each.path[-1]}") at="{at}/{each.path[-1]}" ;;' for each in command.below]
        for option in (option for option in command.options if option.takes):
            names = "|".join(f'"{at} {name}"' for name in option.names)
            values.append(f"    {names}) {_bash_value(option)}; return ;;")
        words = [name for option in command.options for name in option.names]
        first = [each.path[-1] for each in command.below] or list(command.words)
        rest = "_swarm_runs" if command.runs else "_swarm_files" if command.files else _bash_words(first)
        commands.append(f'    "{at}") if [[ $cur == -* ]]; then {_bash_words(words)}; else {rest}; fi ;;')
    text = _BASH.replace("__STEPS__", "\n".join(steps)).replace("__VALUES__", "\n".join(values))
    return text.replace("__COMMANDS__", "\n".join(commands)).replace("__LIST__", _LIST)


def _bash_words(words: list[str]) -> str:
    return f'COMPREPLY=($(compgen -W "{" ".join(words)}" -- "$cur"))'


def _bash_value(option: Option) -> str:
    if option.words:
        return _bash_words(list(option.words))
    return "_swarm_runs" if option.runs else "_swarm_files" if option.files else ":"


def _fish(top: Command) -> str:
    lines = [
        "# fish completion for swarm; made by `swarm completion fish`",
        "function __swarm_at",
        "  set -l at",
        "  for word in (commandline -opc)[2..-1]",
        '    switch "$at/$word"',
    ]
    for command in _all(top):
        at = "/".join(("", *command.path)) if command.path else ""
        lines += [f"      case {at}/{each.path[-1]}; set at {at}/{each.path[-1]}" for each in command.below]
    lines += [
        "    end",
        "  end",
        '  test "$at" = "$argv[1]"',
        "end",
        "function __swarm_runs",
        "  set -l home ~/.local/share/swarm",
        "  set -q SWARM_HOME; and set home $SWARM_HOME",
        "  set -l runs $home/runs/*/",
        "  printf '%s\\t\\n' last (path basename $runs[-1..1])",
        "end",
        "complete -c swarm -f",
    ]
    for command in _all(top):
        at = "/".join(("", *command.path)) if command.path else '""'
        start = f"complete -c swarm -n '__swarm_at {at}'"
        lines += [f"{start} -a {each.path[-1]} -d {_quoted(each.help)}" for each in command.below]
        lines += [f"{start} -a {_quoted(word)}" for word in command.words]
        if command.runs:
            lines.append(f"{start} -k -a '(__swarm_runs)'")
        if command.files:
            lines.append(f"{start} -F")
        for option in command.options:
            names = " ".join(f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names)
            value = ""
            if option.takes:
                value = " -r -F" if option.files else " -x"
                # the tab ends the word: else each would be shown with the option's help
                value += " -a '" + " ".join(f"{word}\\t" for word in option.words) + "'" if option.words else ""
                value += " -k -a '(__swarm_runs)'" if option.runs else ""
            lines.append(f"{start} {names}{value} -d {_quoted(option.help)}")
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    """For fish, in which only these two mean anything between single quotes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _zsh(top: Command) -> str:
    lines = [
        "#compdef swarm",
        "# zsh completion for swarm; made by `swarm completion zsh`",
        "_swarm_runs() {",
        f"  local -a runs; runs=(last {_LIST}/*(N/On:t))",
        "  compadd -V runs -a runs",
        "}",
    ]
    lines += [line for command in _all(top) for line in _zsh_function(command)]
    lines += ['if [[ "$funcstack[1]" == _swarm ]]; then _swarm "$@"; else compdef _swarm swarm; fi']
    return "\n".join(lines) + "\n"


def _zsh_name(path: tuple[str, ...]) -> str:
    return "_".join(("_swarm", *(part.replace("-", "_") for part in path), *(("at",) if path else ())))


def _zsh_function(command: Command) -> list[str]:
    specs = [_zsh_option(option) for option in command.options]
    if command.below:
        specs += ["'1: :->command'", "'*:: :->rest'"]
    elif command.runs:
        specs.append("'*:run:_swarm_runs'")
    elif command.files:
        specs.append("'*:file:_files'")
    elif command.words:
        specs.append(f"'1: :({' '.join(command.words)})'")
    else:
        specs.append("'*: :_files -P @ -g \"*\"'" if command.path == ("run",) else "'*: :'")
    lines = [
        f"{_zsh_name(command.path)}() {{",
        "  local state line context; typeset -A opt_args",
        "  _arguments -C -s \\",
    ]
    lines += [f"    {spec} \\" for spec in specs[:-1]] + [f"    {specs[-1]}"]
    if command.below:
        described = [_zsh_quoted(f"{each.path[-1]}:{each.help}") for each in command.below]
        lines += [
            "  case $state in",
            f"    command) local -a commands; commands=({' '.join(described)}); _describe command commands ;;",
            "    rest) case $line[1] in",
            *(f"      {each.path[-1]}) {_zsh_name(each.path)} ;;" for each in command.below),
            "    esac ;;",
            "  esac",
        ]
    return [*lines, "}"]


def _zsh_option(option: Option) -> str:
    told = option.help.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace(":", "\\:")
    value = ""
    if option.takes:
        what = f"({' '.join(option.words)})" if option.words else "_swarm_runs" if option.runs else ""
        value = f": :{what or ('_files' if option.files else ' ')}"
    names = option.names[0] if len(option.names) == 1 else f"{{{','.join(option.names)}}}"
    if len(option.names) > 1:
        return f"{names}{_zsh_quoted(f'[{told}]{value}')}"
    return _zsh_quoted(f"*{names}[{told}]{value}")


def _zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
