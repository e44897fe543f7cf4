"""What carries over between the commands of one agent, kept as files in its sandbox: no shell lives between them.

A command's working directory and exported variables are written down when its shell ends, and taken over by the next.
Whatever happens to a command, the state before it stays good: only a shell that ended by itself leaves a new one. There
are two of them in turn, `env.a` and `env.b`, and `now` tells which counts: no program must be started to change it.
`now` is written over in place, one letter for another, so that whoever reads it beside that finds the one or the other.
Only a reader still at its file when two more commands have ended would find another state in it, or half of one.
"""

from __future__ import annotations

import shlex

FOLDER = '"${TMPDIR:-/tmp}/.swarm"'
"""The folder of the state, as a word of shell: inside the sandbox, private to it."""

# On one line, so that line numbers in a command's own errors stay true. $1 is the folder. A working directory that is
# gone must not make the tool unusable; OLDPWD is kept for `cd -`.
# `now` is empty only where the shell that made it was killed: the first, which had written `env.a`.
_RESTORE = (
    '__swarm_at=; if [ -f "$1/now" ]; then read -r __swarm_at <"$1/now"; __swarm_at=${{__swarm_at:-a}}; fi; '
    'if [ -f "$1/env.$__swarm_at" ]; then __swarm_dir=$PWD; {clear} . "$1/env.$__swarm_at" 2>/dev/null; '
    "__swarm_old=${{OLDPWD-}}; "
    'if cd -- "${{PWD:-/}}" 2>/dev/null; then OLDPWD=$__swarm_old; '
    'else cd -- "$__swarm_dir"; echo "[the working directory is gone; now in $PWD]"; fi; '
    "unset __swarm_dir __swarm_old; fi; "
)
# The agent's `set -C` must not hold for these files, nor a function of its own called `echo`.
_KEEP = (
    "__swarm=$1; case $__swarm_at in a) __swarm_at=b ;; *) __swarm_at=a ;; esac; __swarm_keep() { export PWD; "
    'export -p >|"$__swarm/env.$__swarm_at" && command echo "$__swarm_at" 1<>"$__swarm/now"; }; '
    "trap '{ __swarm_keep; } 2>/dev/null' EXIT; "
)
_TYPED = 'eval "set --; $__swarm_text"'
_CLEAR = "unset $(compgen -e) 2>/dev/null;"  # what was unset stays unset; only bash can tell all names


def script(body: str = "", *, name: str = "", keep: bool = False) -> str:
    """A script for the sandbox's shell that runs what comes on its standard input where the last command left off, as
    if typed; or, where there is a `body`, stores that input as file `name` of the folder and runs the body.

    Where the sandbox's shell is bash already, no other is started.

    `body` sees the folder as `$1`; with `keep` the state is changed. Both streams come out as one; standard input is
    empty.
    """
    store = f'cat >"$__swarm_d/{name}" || exit 1; ' if body else ""
    kept = f'__swarm_d={FOLDER}; [ -d "$__swarm_d" ] || mkdir -p -m 700 "$__swarm_d"; {store}exec 2>&1; '
    runs = {}
    for shell, read, clear in (("bash", "IFS= read -rd '' __swarm_text", _CLEAR), ("sh", "__swarm_text=$(cat)", "")):
        # Read before the variables are restored, which may leave no PATH to find `cat`.
        load = "" if body else f"{read}; exec </dev/null; "
        inner = load + _RESTORE.format(clear=clear) + (_KEEP if keep else "") + (body or _TYPED)
        runs[shell] = ("exec </dev/null; " if body else "") + inner
    here = f'set -- "$__swarm_d"; unset __swarm_d REPLY; {runs["bash"]}'
    exec_sh, exec_bash = (
        f'exec {shell} -c {shlex.quote(runs[shell])} {shell} "$__swarm_d"' for shell in ("sh", "bash")
    )
    return (
        f'{kept}if [ -n "$BASH_VERSION" ]; then eval {shlex.quote(here)}; '
        f"elif command -v bash >/dev/null; then {exec_bash}; else {exec_sh}; fi"
    )


STORE = (
    f'd={FOLDER}; [ -d "$d" ] || mkdir -p -m 700 "$d"; n=1; while [ -e "$d/output-$n.txt" ]; do n=$((n+1)); done; '
    'cat >"$d/output-$n.txt" && printf %s "$d/output-$n.txt"'
)
"""A script that stores its standard input under a new name and prints that."""
