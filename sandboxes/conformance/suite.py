"""What every sandbox backend must do, as named checks that anybody can run on theirs.

    async with backend.open(request) as sandbox:
        subject = Subject(sandbox, request.workspace)
        for check in CHECKS:
            if check.isolation and not isolated: continue
            await check.run(subject)          # raises Nonconforming

A backend's known limits are listed by whoever runs the checks, by name and with the reason.
"""

from __future__ import annotations

import inspect
import os
import shlex
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio

from swarm.sandboxes.conformance import files, hostile, shell, state
from swarm.sandboxes.conformance.kit import Check, Nonconforming, Subject, holds, nothing_runs, output_of, same
from swarm.types import ExecResult

__all__ = ["CANARY", "CHECKS", "Check", "Nonconforming", "Subject"]

CANARY = "SWARM_CONFORMANCE_CANARY"
"""A variable of the host's environment whose value must be seen nowhere inside; whoever runs the checks sets it."""


async def exit_codes(subject: Subject) -> None:
    """The exit code is the command's own; a signal is 128 and its number."""
    for command, code in (("true", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("no-such-command-at-all", 127)):
        same((await subject.sandbox.exec(command)).exit_code, code, command)


async def syntax_error(subject: Subject) -> None:
    """A command that is no shell is the command's failure, not the sandbox's."""
    same((await subject.sandbox.exec("if then (")).exit_code, 2, "exit code")


async def streams_apart(subject: Subject) -> None:
    """Standard output and standard error are kept apart."""
    result = await subject.sandbox.exec("echo out; echo err >&2")
    same((result.stdout, result.stderr), (b"out\n", b"err\n"), "streams")


async def stdin_is_given(subject: Subject) -> None:
    """What is given as standard input arrives whole, and ends."""
    data = bytes(range(256)) * 4096
    result = await subject.sandbox.exec("cat", stdin=data, max_output=2 * len(data))
    holds(result.stdout == data, "standard input came back changed")


async def stdin_unread(subject: Subject) -> None:
    """A command may leave its input unread."""
    same((await subject.sandbox.exec("exit 5", stdin=b"x" * (1 << 20))).exit_code, 5, "exit code")


async def stdin_is_empty(subject: Subject) -> None:
    """Without input, standard input is at its end."""
    result = await subject.sandbox.exec("cat; echo end", timeout=30)
    same((result.stdout, result.timed_out), (b"end\n", False), "output")


async def starts_in_workdir(subject: Subject) -> None:
    """A command starts in the workspace."""
    same(await output_of(subject, "pwd"), f"{subject.sandbox.workdir}\n", "folder")


async def cwd_is_respected(subject: Subject) -> None:
    """`cwd` may be relative to the workspace or absolute; where it is missing the command fails."""
    sandbox = subject.sandbox
    await output_of(subject, "mkdir -p 'in a/folder'")
    for cwd in ("in a/folder", f"{sandbox.workdir}/in a/folder"):
        found = await sandbox.exec("pwd", cwd=cwd)
        same(found.stdout.decode(), f"{sandbox.workdir}/in a/folder\n", "folder")
    same((await sandbox.exec("echo ran", cwd="missing")).stdout, b"", "output in a missing folder")


async def commands_do_not_share_a_shell(subject: Subject) -> None:
    """Neither a folder nor a variable outlives its command."""
    await output_of(subject, "cd /; export LEFT=1; set -e; umask 077")
    same(await output_of(subject, 'pwd; echo "${LEFT:-none}"'), f"{subject.sandbox.workdir}\nnone\n", "state")


async def time_out(subject: Subject) -> None:
    """A time-out is a result, with what was written until then."""
    result = await subject.sandbox.exec("echo before; sleep 600; echo after", timeout=1.0)
    same((result.exit_code, result.timed_out, result.stdout), (124, True, b"before\n"), "result")


async def time_out_kills_all(subject: Subject) -> None:
    """A time-out also ends background children, and those that ignore SIGTERM."""
    mark = f"6{os.getpid():06d}"
    command = f"sleep {mark} & (trap '' TERM INT HUP; sleep {mark}; sleep {mark}) & trap '' TERM; sleep {mark}"
    result = await subject.sandbox.exec(command, timeout=1.0)
    same(result.timed_out, True, "timed out")
    await nothing_runs(subject, mark)


async def background_ends_with_its_command(subject: Subject) -> None:
    """A background child that holds the streams neither delays the command's end nor outlives it."""
    mark = f"7{os.getpid():06d}"
    result = await subject.sandbox.exec(f"sleep {mark} & echo started", timeout=60)
    same((result.exit_code, result.timed_out, result.stdout), (0, False, b"started\n"), "result")
    await nothing_runs(subject, mark)


async def output_is_capped(subject: Subject) -> None:
    """Of more output than is wanted the first and the last half are kept."""
    result = await subject.sandbox.exec("i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done", max_output=1000)
    same((result.truncated, len(result.stdout)), (True, 1000), "cut")
    holds(result.stdout.startswith(b"0\n1\n2\n") and result.stdout.endswith(b"19998\n19999\n"), "not head and tail")


async def a_flood_ends(subject: Subject) -> None:
    """Endless output on both streams is bounded by the time limit, and held in bounded memory."""
    result = await subject.sandbox.exec("yes & yes >&2", timeout=1.0, max_output=4096)
    same((result.timed_out, len(result.stdout), len(result.stderr)), (True, 4096, 4096), "result")


async def output_is_bytes(subject: Subject) -> None:
    """Output is bytes: NUL, invalid UTF-8 and escape codes pass."""
    result = await subject.sandbox.exec(r"printf '\000\377\376\033[31m\r\n'")
    same(result.stdout, b"\0\xff\xfe\x1b[31m\r\n", "output")


async def workspace_is_shared(subject: Subject) -> None:
    """What is written inside is there on the host, and the other way round."""
    await output_of(subject, "echo inside > from-inside; printf '#!/bin/sh\\necho ran\\n' > run; chmod +x run; ./run")
    same((subject.workspace / "from-inside").read_text(), "inside\n", "seen on the host")
    await subject.sandbox.write_file("from-host", b"host\n")
    same(await output_of(subject, "cat from-host"), "host\n", "seen inside")


async def tmp_persists(subject: Subject) -> None:
    """Temporary files and HOME outlive a command, can be written and executed."""
    await output_of(
        subject, 'd=${TMPDIR:-/tmp}; printf "#!/bin/sh\\necho ran\\n" > $d/kept; chmod +x $d/kept; echo x > ~/kept'
    )
    same(await output_of(subject, "${TMPDIR:-/tmp}/kept; cat ~/kept"), "ran\nx\n", "what was kept")


async def environment_is_ours(subject: Subject) -> None:
    """Nothing of the host's environment is seen inside."""
    value = os.environ.get(CANARY)
    holds(value, f"set {CANARY} before running the checks")
    found = await output_of(subject, "env; cat /proc/self/environ | tr '\\0' '\\n'")
    holds(str(value) not in found and CANARY not in found, "the host's environment is seen inside")


async def parallel(subject: Subject) -> None:
    """Commands at the same time do not mix."""
    results: dict[int, ExecResult] = {}

    async def one(number: int) -> None:
        results[number] = await subject.sandbox.exec(f"cat; exit {number}", stdin=f"{number}".encode() * 5000)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(one, number)
    for number, result in results.items():
        same((result.exit_code, result.stdout), (number, f"{number}".encode() * 5000), f"command {number}")


async def cancelled_exec(subject: Subject) -> None:
    """A cancelled command is ended; the sandbox goes on."""
    sandbox = subject.sandbox
    mark = f"8{os.getpid():06d}"
    async with anyio.create_task_group() as group:
        group.start_soon(sandbox.exec, f": > begun; (trap '' TERM; sleep {mark}) & sleep {mark}")
        with anyio.fail_after(30):
            while not (subject.workspace / "begun").exists():
                await sandbox.exec("true")
        group.cancel_scope.cancel()
    await nothing_runs(subject, mark)


async def no_network(subject: Subject) -> None:
    """There is no network but the loopback, and no way to a host."""
    found = await output_of(subject, "cat /proc/net/route; cat /proc/net/dev")
    names = {line.partition(":")[0].strip() for line in found.splitlines() if ":" in line}
    holds("lo" in names and not any(name.startswith(("eth", "en", "wl", "docker", "br")) for name in names), str(names))
    for route in found.splitlines()[1:]:
        holds(not route.startswith(("eth", "en", "wl")), f"a route: {route}")


async def not_root(subject: Subject) -> None:
    """The user is not root, holds no capability and cannot gain one."""
    status = dict(line.split(":", 1) for line in (await output_of(subject, "cat /proc/self/status")).splitlines())
    holds("0" not in status["Uid"].split(), f"user ids {status['Uid']}")
    for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        same(int(status[key], 16), 0, key)
    same(status["NoNewPrivs"].strip(), "1", "NoNewPrivs")


async def root_is_read_only(subject: Subject) -> None:
    """Nothing but the workspace and temporary files can be written, the kernel's settings neither."""
    for path in ("/probe", "/usr/probe", "/etc/probe", "/bin/sh", "/etc/passwd", "/proc/sys/kernel/core_pattern"):
        result = await subject.sandbox.exec(f"( : >> {path} )")
        holds(result.exit_code != 0, f"{path} can be written")


async def host_is_invisible(subject: Subject) -> None:
    """Homes, secrets and sockets of the host are not seen."""
    home = Path.home()
    seen = await output_of(subject, f"ls -A {shlex.quote(str(home))} /home /var/run /run /root 2>/dev/null || true")
    for name in (".ssh", ".bashrc", ".profile", ".gitconfig", ".netrc", "docker.sock"):
        holds(name not in seen.split(), f"{name} of the host is seen")
    for path in ("/etc/shadow", "/var/run/docker.sock", "/run/docker.sock", str(Path(__file__))):
        holds((await subject.sandbox.exec(f"test -e {shlex.quote(path)}")).exit_code != 0, f"{path} is seen")


async def host_processes_are_invisible(subject: Subject) -> None:
    """The host's processes cannot be seen."""
    found = await output_of(subject, "ls /proc")
    count = sum(name.isdigit() for name in found.split())
    holds(count < 40, f"{count} processes are seen")


async def core_and_processes_are_limited(subject: Subject) -> None:
    """No core files; what a command may write to one file is bounded."""
    found = (await output_of(subject, "ulimit -c; ulimit -f")).split()
    same(found[0], "0", "size of core files")
    holds(found[1] != "unlimited", "size of files is unlimited")


_ANY = (
    state.patch_tells_all, state.patch_of_nothing, state.snapshot_is_frozen, state.fork_is_apart,
    state.fork_while_a_command_runs, state.state_of_what_is_locked, state.state_of_deep_folders,
    exit_codes, syntax_error, streams_apart, stdin_is_given, stdin_unread, stdin_is_empty, starts_in_workdir,
    cwd_is_respected, commands_do_not_share_a_shell, time_out, time_out_kills_all, background_ends_with_its_command,
    output_is_capped, a_flood_ends, output_is_bytes, workspace_is_shared, tmp_persists, environment_is_ours, parallel,
    cancelled_exec, files.files_binary, files.files_overwrite, files.files_outside_the_workspace,
    files.files_listed, files.files_odd_names, files.files_errors, files.files_fifo, files.files_links_inside,
    files.files_large, files.files_too_large, shell.writes_to_the_channel,
    files.files_folder_is_made, shell.all_exit_codes, shell.all_signals, shell.no_signal_is_ignored,
    shell.own_process_group, shell.no_terminal, shell.long_command, shell.big_environment, shell.many_lines,
    shell.lines_are_counted_from_one, shell.starts_without_arguments, shell.exit_trap_runs, shell.nul_in_a_command,
    shell.odd_folders, shell.large_input, shell.output_is_whole, hostile.kills_its_shell,
    hostile.floods_200_megabytes, hostile.stops_itself, hostile.closes_its_streams, hostile.replaces_its_shell,
    hostile.removes_its_workspace, hostile.background_holder_in_a_session_of_its_own,
    hostile.time_out_kills_other_sessions, hostile.background_job_lives_on, hostile.background_server_answers,
    hostile.loopback_server_answers, hostile.late_output_goes_nowhere, hostile.background_reader_takes_no_input,
    hostile.pretends_to_be_the_channel, hostile.many_parallel, hostile.pause_and_resume,
    hostile.threads_and_children_start,
)  # fmt: skip
_ISOLATED = (
    files.files_links_to_the_host, no_network, not_root, root_is_read_only, host_is_invisible,
    host_processes_are_invisible, core_and_processes_are_limited, files.files_dot_dot, hostile.kills_everything,
    hostile.signals_the_first_process, hostile.fork_bomb, hostile.nothing_piles_up, shell.meddles_with_the_next_shell,
    hostile.keyring_is_closed, hostile.namespaces_are_closed,
)  # fmt: skip


def _check(run: Callable[[Subject], Awaitable[None]], isolation: bool) -> Check:
    return Check(run.__name__.replace("_", "-"), inspect.getdoc(run) or "", isolation, run)


CHECKS: tuple[Check, ...] = (
    *(_check(run, False) for run in _ANY),
    *(_check(run, True) for run in _ISOLATED),
)
