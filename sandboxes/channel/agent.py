"""The agent inside a sandbox: a small POSIX shell script that starts commands when told, and ends what they leave.

It is the first process of its namespace, so that no command can kill it. It talks through FIFOs in a control folder
that is read-only inside: nothing that a command prints passes through it. It keeps one shell started ahead, so that a
command need not wait for one.

Only what every shell has built in is used; `setsid` and `bash` where they are there.

Orders, one a line: `shell ID TOKEN` starts a shell that waits in the folder ID; its exit code is told with the token,
which no command learns. `end SEQ ID PID all|holders` kills what is left of it, and answers with how many it met;
`clear SEQ` kills all that runs here; `ping SEQ`. Each but the first is answered by
`SEQ COUNT`. When nobody gives orders any more, it ends.
"""

from __future__ import annotations

MARK = "SWARM_COMMAND"
"""The variable by which a command's processes are told; its value is `SANDBOX.ID`."""

CONTROL = "/.swarm"
"""Where the control folder is seen inside an isolated sandbox."""

_AHEAD = (
    'exec 8<"$1/go"; echo "$$" >&9; exec 9>&-; read -r REPLY <&8 || exit; '
    'exec 8<&- >"$1/out" 2>"$1/err"; eval "$REPLY"; '
)
# On one line, so that the numbers of the command's lines stay true.
_BASH = _AHEAD + 'IFS= read -r -d "" <"$1/script"; shift; eval "$REPLY"'
_SH = _AHEAD + 'REPLY=$1/script; shift; . "$REPLY"'

_AGENT = r"""
dir=$1 mark=$2
if [ -z "$3" ]; then
  exec 3<"$dir/orders" 4>"$dir/answers" </dev/null >/dev/null 2>&1
  echo hello >&4
fi
if command -v bash; then shell=bash ahead=$bash; else shell=sh ahead=$sh; fi
setsid=
if command -v setsid; then setsid=setsid; fi

# A shell that cannot fork gives up; this one starts again, and tells that the order failed.
trap 'if [ "$order" = shell ]; then : >"$dir/$seq/status"; fi
exec /bin/sh "$dir/agent" "$dir" "$mark" again' EXIT
# Some shells would end by these even as the first process. Caught, not ignored: commands get them back as they are.
trap : HUP INT QUIT TERM
unset id

# A list with `&` would ignore SIGINT for good; a pipe does not, so its shell is killed as soon as both ends are there.
launch() (
  exec 9>"$dir/$seq/status" 3<&- 4>&-
  read -r me rest </proc/self/stat
  keep | kill -KILL "$me"
)
keep() {
  env="SWARM_COMMAND=$mark.$seq"
  export "$env"
  $setsid "$shell" -c "$ahead" "$shell" "$dir/$seq" >/dev/null
  echo "$id $?" >&9
}
holds() {
  for fd in "/proc/$1/fd/"*; do
    if [ "$fd" -ef "$dir/$id/out" ] || [ "$fd" -ef "$dir/$id/err" ]; then return 0; fi
  done
  return 1
}
marked() {
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in *"SWARM_COMMAND=$mark.$id"*) return 0 ;; esac
  done <"/proc/$1/environ"
  return 1
}
# The first thread of a process may have ended long before the others; what it holds is seen with one of these then.
other() {
  for other in "/proc/$pid/task/"[0-9]*; do
    other=${other##*/}
    case $other in "$pid" | "["*) ;; *) return 0 ;; esac
  done
  return 1
}
belongs() {
  [ "$how" != all ] || [ "$session" != "$leader" ] || return 0
  holds "$1" || { [ "$how" = all ] && marked "$1"; }
}
finish() {
  found=0
  if [ "$how" = all ]; then kill -s KILL -- "-$leader"; fi
  for stat in /proc/[0-9]*/stat; do
    { read -r line <"$stat"; } || continue
    pid=${line%% *}
    # After the name: state, parent, group, session.
    set -- ${line##*) }
    session=$4
    if [ "$pid" = "$$" ]; then continue; fi
    if { [ "$1" != Z ] && belongs "$pid"; } || { other && belongs "$pid/task/$other"; }; then
      kill -s KILL "$pid"
      found=$((found + 1))
    fi
  done
}
missed=0
while [ "$missed" -lt 2 ]; do
  # A signal may cut one reading short; at the end of the orders the next one fails too.
  read -r order seq id leader how <&3 || { missed=$((missed + 1)); continue; }
  missed=0
  found=0
  case $order in
  shell) launch; jobs; continue ;;
  end) finish ;;
  clear) kill -s KILL -- -1 ;;
  esac
  echo "$seq $found" >&4
done
trap - EXIT
exit 0
"""


def agent_script(limits: str = "") -> str:
    """The agent's text, for the file `agent` of a control folder. `limits`: shell text that comes first."""
    return f"{limits}bash='{_BASH}' sh='{_SH}'{_AGENT}"


def agent_command(folder: str, mark: str) -> list[str]:
    """The agent's command line. `folder`: the control folder, as it is seen inside; `mark`: the sandbox's name."""
    return ["/bin/sh", f"{folder}/agent", folder, mark]
