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
from dataclasses import dataclass
from pathlib import Path

import anyio

from swarm.protocols import Sandbox
from swarm.types import ExecResult


class Nonconforming(AssertionError):
    """A backend does not do what the contract says."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A fresh sandbox under test, and its workspace on the host."""

    sandbox: Sandbox
    workspace: Path


@dataclass(frozen=True, slots=True)
class Check:
    """One check. `isolation`: it is of no meaning to a backend that isolates nothing."""

    name: str
    what: str
    isolation: bool
    run: Callable[[Subject], Awaitable[None]]


CANARY = "SWARM_CONFORMANCE_CANARY"
"""A variable of the host's environment whose value must be seen nowhere inside; whoever runs the checks sets it."""


def _same(found: object, wanted: object, what: str) -> None:
    if found != wanted:
        raise Nonconforming(f"{what}: {found!r} instead of {wanted!r}")


def _true(holds: object, what: str) -> None:
    if not holds:
        raise Nonconforming(what)


async def _raises(kind: type[OSError], work: Awaitable[object], what: str) -> None:
    try:
        await work
    except OSError as error:
        _true(type(error) is kind, f"{what}: {type(error).__name__} instead of {kind.__name__}")
        return
    raise Nonconforming(f"{what}: no error instead of {kind.__name__}")


async def _out(subject: Subject, command: str) -> str:
    result = await subject.sandbox.exec(command)
    _same(result.exit_code, 0, f"exit code of {command!r} ({result.stderr!r})")
    return result.stdout.decode()


async def exit_codes(subject: Subject) -> None:
    """The exit code is the command's own; a signal is 128 and its number."""
    for command, code in (("true", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("no-such-command-at-all", 127)):
        _same((await subject.sandbox.exec(command)).exit_code, code, command)


async def syntax_error(subject: Subject) -> None:
    """A command that is no shell is the command's failure, not the sandbox's."""
    _same((await subject.sandbox.exec("if then (")).exit_code, 2, "exit code")


async def streams_apart(subject: Subject) -> None:
    """Standard output and standard error are kept apart."""
    result = await subject.sandbox.exec("echo out; echo err >&2")
    _same((result.stdout, result.stderr), (b"out\n", b"err\n"), "streams")


async def stdin_is_given(subject: Subject) -> None:
    """What is given as standard input arrives whole, and ends."""
    data = bytes(range(256)) * 4096
    result = await subject.sandbox.exec("cat", stdin=data, max_output=2 * len(data))
    _true(result.stdout == data, "standard input came back changed")


async def stdin_unread(subject: Subject) -> None:
    """A command may leave its input unread."""
    _same((await subject.sandbox.exec("exit 5", stdin=b"x" * (1 << 20))).exit_code, 5, "exit code")


async def stdin_is_empty(subject: Subject) -> None:
    """Without input, standard input is at its end."""
    result = await subject.sandbox.exec("cat; echo end", timeout=30)
    _same((result.stdout, result.timed_out), (b"end\n", False), "output")


async def starts_in_workdir(subject: Subject) -> None:
    """A command starts in the workspace."""
    _same(await _out(subject, "pwd"), f"{subject.sandbox.workdir}\n", "folder")


async def cwd_is_respected(subject: Subject) -> None:
    """`cwd` may be relative to the workspace or absolute; where it is missing the command fails."""
    sandbox = subject.sandbox
    await _out(subject, "mkdir -p 'in a/folder'")
    for cwd in ("in a/folder", f"{sandbox.workdir}/in a/folder"):
        found = await sandbox.exec("pwd", cwd=cwd)
        _same(found.stdout.decode(), f"{sandbox.workdir}/in a/folder\n", "folder")
    _same((await sandbox.exec("echo ran", cwd="missing")).stdout, b"", "output in a missing folder")


async def commands_do_not_share_a_shell(subject: Subject) -> None:
    """Neither a folder nor a variable outlives its command."""
    await _out(subject, "cd /; export LEFT=1; set -e; umask 077")
    _same(await _out(subject, 'pwd; echo "${LEFT:-none}"'), f"{subject.sandbox.workdir}\nnone\n", "state")


async def time_out(subject: Subject) -> None:
    """A time-out is a result, with what was written until then."""
    result = await subject.sandbox.exec("echo before; sleep 600; echo after", timeout=1.0)
    _same((result.exit_code, result.timed_out, result.stdout), (124, True, b"before\n"), "result")


async def time_out_kills_all(subject: Subject) -> None:
    """A time-out also ends background children, and those that ignore SIGTERM."""
    mark = f"6{os.getpid():06d}"
    command = f"sleep {mark} & (trap '' TERM INT HUP; sleep {mark}; sleep {mark}) & trap '' TERM; sleep {mark}"
    result = await subject.sandbox.exec(command, timeout=1.0)
    _same(result.timed_out, True, "timed out")
    await _nothing_runs(subject, mark)


async def background_ends_with_its_command(subject: Subject) -> None:
    """A background child that holds the streams neither delays the command's end nor outlives it."""
    mark = f"7{os.getpid():06d}"
    result = await subject.sandbox.exec(f"sleep {mark} & echo started", timeout=60)
    _same((result.exit_code, result.timed_out, result.stdout), (0, False, b"started\n"), "result")
    await _nothing_runs(subject, mark)


async def _nothing_runs(subject: Subject, mark: str) -> None:
    listing = "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done 2>/dev/null"
    found = await subject.sandbox.exec(f"{listing} | grep -c '^sleep {mark[:1]}['{mark[1:]}']*' || true")
    _same(found.stdout.strip(), b"0", "processes left inside")


async def output_is_capped(subject: Subject) -> None:
    """Of more output than is wanted the first and the last half are kept."""
    result = await subject.sandbox.exec("i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done", max_output=1000)
    _same((result.truncated, len(result.stdout)), (True, 1000), "cut")
    _true(result.stdout.startswith(b"0\n1\n2\n") and result.stdout.endswith(b"19998\n19999\n"), "not head and tail")


async def a_flood_ends(subject: Subject) -> None:
    """Endless output on both streams is bounded by the time limit, and held in bounded memory."""
    result = await subject.sandbox.exec("yes & yes >&2", timeout=1.0, max_output=4096)
    _same((result.timed_out, len(result.stdout), len(result.stderr)), (True, 4096, 4096), "result")


async def output_is_bytes(subject: Subject) -> None:
    """Output is bytes: NUL, invalid UTF-8 and escape codes pass."""
    result = await subject.sandbox.exec(r"printf '\000\377\376\033[31m\r\n'")
    _same(result.stdout, b"\0\xff\xfe\x1b[31m\r\n", "output")


async def files_binary(subject: Subject) -> None:
    """Five megabytes of anything are written and read unchanged, in folders that did not exist."""
    data = os.urandom(5 << 20)
    await subject.sandbox.write_file("new/folder/blob", data)
    _true(await subject.sandbox.read_file("new/folder/blob") == data, "the file came back changed")
    _same((await _out(subject, "wc -c < new/folder/blob")).strip(), str(len(data)), "size seen inside")


async def files_overwrite(subject: Subject) -> None:
    """Writing replaces the whole content and keeps the mode; the sandbox may then change the file."""
    sandbox = subject.sandbox
    await _out(subject, "echo a long first content > over; chmod 755 over")
    await sandbox.write_file("over", b"short\n")
    await sandbox.write_file("fresh", b"1\n")
    _same(await _out(subject, "echo more >> over; echo 2 >> fresh; cat over fresh"), "short\nmore\n1\n2\n", "content")
    _true(await _out(subject, "test -x over; echo $?") == "0\n", "the mode was lost")


async def files_outside_the_workspace(subject: Subject) -> None:
    """Absolute paths outside the workspace are the sandbox's own."""
    sandbox = subject.sandbox
    name = f"{(await _out(subject, 'echo $TMPDIR')).strip() or '/tmp'}/swarm-conformance-{os.getpid()}"
    await sandbox.write_file(name, b"here")
    _same(await _out(subject, f"cat {shlex.quote(name)}; rm {shlex.quote(name)}"), "here", "content")


async def files_odd_names(subject: Subject) -> None:
    """Names may hold spaces, quotes, newlines, a leading dash and any alphabet."""
    for name in ("a b", "-n", "it's", 'say "x"', "new\nline", "naïve-ßß-日本", "$HOME", "a;b", "*"):
        await subject.sandbox.write_file(name, name.encode())
        _same(await subject.sandbox.read_file(name), name.encode(), name)


async def files_errors(subject: Subject) -> None:
    """A missing file, a folder and a path through a file are told apart by the usual errors."""
    sandbox = subject.sandbox
    await _out(subject, "mkdir -p folder; echo x > file")
    for prefix in ("", "/"):
        await _raises(FileNotFoundError, sandbox.read_file(f"{prefix}missing/file"), "reading what is missing")
    await _raises(IsADirectoryError, sandbox.read_file("folder"), "reading a folder")
    await _raises(IsADirectoryError, sandbox.read_file("/"), "reading the root")
    await _raises(IsADirectoryError, sandbox.write_file("folder", b""), "writing a folder")
    await _raises(FileNotFoundError, sandbox.read_file("file/below"), "reading below a file")
    await _raises(PermissionError, sandbox.write_file("file/below", b""), "writing below a file")


async def files_fifo(subject: Subject) -> None:
    """A FIFO in the workspace hangs nobody."""
    await _out(subject, "mkfifo fifo")
    with anyio.fail_after(30):
        await _raises(PermissionError, subject.sandbox.read_file("fifo"), "reading a FIFO")
        await _raises(PermissionError, subject.sandbox.write_file("fifo", b"x"), "writing a FIFO")


async def files_links_inside(subject: Subject) -> None:
    """A link within the workspace means what it means inside."""
    sandbox = subject.sandbox
    await _out(subject, "mkdir -p real; echo content > real/file; ln -sfn real link; ln -sf real/file file-link")
    for name in ("link/file", "file-link", "real/../real/file"):
        _same(await sandbox.read_file(name), b"content\n", name)
    await sandbox.write_file("link/file", b"changed\n")
    _same(await _out(subject, "cat real/file"), "changed\n", "written through a link")


async def files_links_to_the_host(subject: Subject) -> None:
    """A link out of the workspace leads nowhere on the host, neither for reading nor for writing."""
    secret = subject.workspace.parent / f"secret-{os.getpid()}"
    secret.write_text("secret")
    try:
        quoted = shlex.quote(str(secret))
        await _out(subject, f"ln -sf {quoted} out; ln -sfn {shlex.quote(str(secret.parent))} out-folder")
        for name in ("out", f"out-folder/{secret.name}", f"../{secret.name}", str(secret)):
            try:
                found = await subject.sandbox.read_file(name)
            except OSError:
                continue
            raise Nonconforming(f"{name} of the host was read: {found!r}")
        for name in ("out", f"out-folder/{secret.name}"):
            try:
                await subject.sandbox.write_file(name, b"overwritten")
            except OSError:
                continue
        _same(secret.read_text(), "secret", "a file of the host")
    finally:
        secret.unlink()


async def workspace_is_shared(subject: Subject) -> None:
    """What is written inside is there on the host, and the other way round."""
    await _out(subject, "echo inside > from-inside; printf '#!/bin/sh\\necho ran\\n' > run; chmod +x run; ./run")
    _same((subject.workspace / "from-inside").read_text(), "inside\n", "seen on the host")
    await subject.sandbox.write_file("from-host", b"host\n")
    _same(await _out(subject, "cat from-host"), "host\n", "seen inside")


async def tmp_persists(subject: Subject) -> None:
    """Temporary files and HOME outlive a command, can be written and executed."""
    await _out(
        subject, 'd=${TMPDIR:-/tmp}; printf "#!/bin/sh\\necho ran\\n" > $d/kept; chmod +x $d/kept; echo x > ~/kept'
    )
    _same(await _out(subject, "${TMPDIR:-/tmp}/kept; cat ~/kept"), "ran\nx\n", "what was kept")


async def environment_is_ours(subject: Subject) -> None:
    """Nothing of the host's environment is seen inside."""
    value = os.environ.get(CANARY)
    _true(value, f"set {CANARY} before running the checks")
    found = await _out(subject, "env; cat /proc/self/environ | tr '\\0' '\\n'")
    _true(str(value) not in found and CANARY not in found, "the host's environment is seen inside")


async def parallel(subject: Subject) -> None:
    """Commands at the same time do not mix."""
    results: dict[int, ExecResult] = {}

    async def one(number: int) -> None:
        results[number] = await subject.sandbox.exec(f"cat; exit {number}", stdin=f"{number}".encode() * 5000)

    async with anyio.create_task_group() as group:
        for number in range(8):
            group.start_soon(one, number)
    for number, result in results.items():
        _same((result.exit_code, result.stdout), (number, f"{number}".encode() * 5000), f"command {number}")


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
    await _nothing_runs(subject, mark)


async def no_network(subject: Subject) -> None:
    """There is no network but the loopback, and no way to a host."""
    found = await _out(subject, "cat /proc/net/route; cat /proc/net/dev")
    names = {line.partition(":")[0].strip() for line in found.splitlines() if ":" in line}
    _true("lo" in names and not any(name.startswith(("eth", "en", "wl", "docker", "br")) for name in names), str(names))
    for route in found.splitlines()[1:]:
        _true(not route.startswith(("eth", "en", "wl")), f"a route: {route}")


async def not_root(subject: Subject) -> None:
    """The user is not root, holds no capability and cannot gain one."""
    status = dict(line.split(":", 1) for line in (await _out(subject, "cat /proc/self/status")).splitlines())
    _true("0" not in status["Uid"].split(), f"user ids {status['Uid']}")
    for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        _same(int(status[key], 16), 0, key)
    _same(status["NoNewPrivs"].strip(), "1", "NoNewPrivs")


async def root_is_read_only(subject: Subject) -> None:
    """Nothing but the workspace and temporary files can be written, the kernel's settings neither."""
    for path in ("/probe", "/usr/probe", "/etc/probe", "/bin/sh", "/etc/passwd", "/proc/sys/kernel/core_pattern"):
        result = await subject.sandbox.exec(f"( : >> {path} )")
        _true(result.exit_code != 0, f"{path} can be written")


async def host_is_invisible(subject: Subject) -> None:
    """Homes, secrets and sockets of the host are not seen."""
    home = Path.home()
    seen = await _out(subject, f"ls -A {shlex.quote(str(home))} /home /var/run /run /root 2>/dev/null || true")
    for name in (".ssh", ".bashrc", ".profile", ".gitconfig", ".netrc", "docker.sock"):
        _true(name not in seen.split(), f"{name} of the host is seen")
    for path in ("/etc/shadow", "/var/run/docker.sock", "/run/docker.sock", str(Path(__file__))):
        _true((await subject.sandbox.exec(f"test -e {shlex.quote(path)}")).exit_code != 0, f"{path} is seen")


async def host_processes_are_invisible(subject: Subject) -> None:
    """The host's processes cannot be seen."""
    found = await _out(subject, "ls /proc")
    count = sum(name.isdigit() for name in found.split())
    _true(count < 40, f"{count} processes are seen")


async def core_and_processes_are_limited(subject: Subject) -> None:
    """No core files; what a command may write to one file is bounded."""
    found = (await _out(subject, "ulimit -c; ulimit -f")).split()
    _same(found[0], "0", "size of core files")
    _true(found[1] != "unlimited", "size of files is unlimited")


_ANY = (
    exit_codes, syntax_error, streams_apart, stdin_is_given, stdin_unread, stdin_is_empty, starts_in_workdir,
    cwd_is_respected, commands_do_not_share_a_shell, time_out, time_out_kills_all, background_ends_with_its_command,
    output_is_capped, a_flood_ends, output_is_bytes, files_binary, files_overwrite, files_outside_the_workspace,
    files_odd_names, files_errors, files_fifo, files_links_inside, workspace_is_shared, tmp_persists,
    environment_is_ours, parallel, cancelled_exec,
)  # fmt: skip
_ISOLATED = (
    files_links_to_the_host, no_network, not_root, root_is_read_only, host_is_invisible,
    host_processes_are_invisible, core_and_processes_are_limited,
)  # fmt: skip


def _check(run: Callable[[Subject], Awaitable[None]], isolation: bool) -> Check:
    return Check(run.__name__.replace("_", "-"), inspect.getdoc(run) or "", isolation, run)


CHECKS: tuple[Check, ...] = (
    *(_check(run, False) for run in _ANY),
    *(_check(run, True) for run in _ISOLATED),
)
