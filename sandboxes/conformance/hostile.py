"""Conformance checks of commands that misbehave: none may harm the next one, nor leave what it must not."""

from __future__ import annotations

import os

import anyio

from swarm.errors import SandboxError
from swarm.protocols import Pausable
from swarm.sandboxes.conformance.kit import Nonconforming, Subject, holds, nothing_runs, output_of, runs, same
from swarm.types import ExecResult


async def _next_is_well(subject: Subject) -> None:
    same(await output_of(subject, "echo well"), "well\n", "the next command's output")


async def kills_its_shell(subject: Subject) -> None:
    """A command that kills its own shell or its whole group was killed; the next one is well."""
    for command in ("kill -9 $$", "kill -9 0", "sh -c 'kill -9 $PPID'; echo not reached"):
        same((await subject.sandbox.exec(command)).exit_code, 137, command)
        await _next_is_well(subject)


async def kills_everything(subject: Subject) -> None:
    """A command that kills all that it can ends, as killed, and the next one is well."""
    result = await subject.sandbox.exec("kill -9 -1; exit 137", timeout=60)
    same((result.exit_code, result.timed_out), (137, False), "result")
    await _next_is_well(subject)


async def signals_the_first_process(subject: Subject) -> None:
    """The first process inside cannot be ended or stopped from inside."""
    for name in ("TERM", "HUP", "INT", "STOP", "KILL"):
        await subject.sandbox.exec(f"kill -{name} 1")
        await _next_is_well(subject)


async def fork_bomb(subject: Subject) -> None:
    """A fork bomb is bounded, ends with its time limit, and the next command is well."""
    result = await subject.sandbox.exec("b() { b | b & }; b 2>/dev/null; sleep 600", timeout=3.0)
    holds(result.timed_out or result.exit_code != 0, "the bomb went unnoticed")
    await _next_is_well(subject)


async def floods_200_megabytes(subject: Subject) -> None:
    """200 MB of output pass through to the end, and only what is wanted of it is kept."""
    result = await subject.sandbox.exec("yes | head -c 209715200; echo end", max_output=1000, timeout=300)
    same((result.exit_code, result.timed_out, result.truncated, len(result.stdout)), (0, False, True, 1000), "result")
    holds(result.stdout.endswith(b"y\nend\n"), "the end is missing")


async def stops_itself(subject: Subject) -> None:
    """A command that stops its own shell is ended by its time limit."""
    same((await subject.sandbox.exec("kill -STOP $$; exit 3", timeout=1.0)).timed_out, True, "timed out")
    await _next_is_well(subject)


async def closes_its_streams(subject: Subject) -> None:
    """A command that closes all its streams still has its own exit code, and is waited for."""
    mark = f"5{os.getpid():06d}"
    result = await subject.sandbox.exec(f"exec <&- >&- 2>&-; sleep 0.2; : > closed-{mark}; exit 3")
    same((result.exit_code, result.stdout, result.stderr), (3, b"", b""), "result")
    holds((subject.workspace / f"closed-{mark}").exists(), "it was not waited for")


async def replaces_its_shell(subject: Subject) -> None:
    """`exec` gives the exit code of what took the shell's place."""
    result = await subject.sandbox.exec("exec sh -c 'echo replaced; exit 9'; echo not reached")
    same((result.exit_code, result.stdout), (9, b"replaced\n"), "result")


async def removes_its_workspace(subject: Subject) -> None:
    """A command that empties the workspace, or removes the folder it stands in, harms only files."""
    await output_of(subject, 'mkdir -p gone/deep && cd gone/deep && rm -rf ../../gone; rm -rf "$PWD"/* 2>/dev/null; :')
    await _next_is_well(subject)


async def background_holder_in_a_session_of_its_own(subject: Subject) -> None:
    """A background child that changed its session but holds the streams ends with its command."""
    mark = f"9{os.getpid():06d}"
    result = await subject.sandbox.exec(f"setsid sleep {mark} & echo started", timeout=60)
    same((result.exit_code, result.timed_out, result.stdout), (0, False, b"started\n"), "result")
    await nothing_runs(subject, mark)


async def time_out_kills_other_sessions(subject: Subject) -> None:
    """A time-out also ends what changed its session and let go of the streams."""
    mark = f"4{os.getpid():06d}"
    result = await subject.sandbox.exec(f"setsid sleep {mark} >/dev/null 2>&1 </dev/null & sleep {mark}", timeout=1.0)
    same(result.timed_out, True, "timed out")
    await nothing_runs(subject, mark)


async def background_job_lives_on(subject: Subject) -> None:
    """A background child that let go of the streams outlives its command."""
    mark = f"3{os.getpid():06d}"
    result = await subject.sandbox.exec(f"sleep {mark} >/dev/null 2>&1 & echo $!", timeout=60)
    same((result.exit_code, result.timed_out), (0, False), "result")
    same(await runs(subject, mark), 1, "processes that live on")
    await output_of(subject, f"kill -9 {int(result.stdout)}")


async def background_server_answers(subject: Subject) -> None:
    """A server that one command started answers the next one."""
    server = 'while read -r question < ask; do echo "answer $question" > reply; done'
    await output_of(subject, f"mkfifo ask reply; sh -c '{server}' >/dev/null 2>&1 & echo $! > server-pid")
    for number in range(3):
        found = await output_of(subject, f"echo {number} > ask; read -r line < reply; echo $line")
        same(found, f"answer {number}\n", "answer")
    await output_of(subject, "kill -9 $(cat server-pid); rm ask reply")


async def loopback_server_answers(subject: Subject) -> None:
    """A server on the loopback that one command started is reached by the next one (where there is python3)."""
    if (await subject.sandbox.exec("command -v python3 && python3 -c ''")).exit_code != 0:
        return
    serve = (
        "import socket, os; s = socket.create_server(('127.0.0.1', 0)); "
        "open('port.new', 'w').write(str(s.getsockname()[1])); os.rename('port.new', 'port'); "
        "c, _ = s.accept(); c.sendall(b'hello'); c.close()"
    )
    ask = "import socket; print(socket.create_connection(('127.0.0.1', int(open('port').read()))).recv(9).decode())"
    await output_of(subject, f'rm -f port; python3 -c "{serve}" >/dev/null 2>&1 </dev/null &')
    await output_of(subject, "while [ ! -e port ]; do sleep 0.05; done")
    same(await output_of(subject, f'python3 -c "{ask}"'), "hello\n", "answer")


async def late_output_goes_nowhere(subject: Subject) -> None:
    """What a background child writes after its command's end is not taken for the next one's output."""
    await output_of(subject, "(while :; do echo late; done) & :")
    for _ in range(5):
        await _next_is_well(subject)


async def background_reader_takes_no_input(subject: Subject) -> None:
    """A background child that reads its input does not take the next command's."""
    result = await subject.sandbox.exec("cat >/dev/null 2>&1 &", stdin=b"first")
    same(result.exit_code, 0, "exit code")
    same((await subject.sandbox.exec("cat", stdin=b"second")).stdout, b"second", "input")


async def pretends_to_be_the_channel(subject: Subject) -> None:
    """Output that looks like a protocol is output, and nothing of ours inside can be changed."""
    text = "echo; echo 0; echo hello; echo '1 0'; echo '{\"exit-code\": 0}'; exit 6"
    same((await subject.sandbox.exec(text)).exit_code, 6, "exit code")
    if subject.sandbox.workdir != str(subject.workspace):
        await subject.sandbox.exec("rm -rf /.swarm/*; echo x > /.swarm/orders; chmod 777 /.swarm/*; : > /.swarm/agent")
    await _next_is_well(subject)


async def nothing_piles_up(subject: Subject) -> None:
    """After many commands with children that nobody waits for, hardly any process is left, dead or alive."""
    mark = "for s in /proc/[0-9]*/stat; do read -r l < $s || continue; case $l in *') Z '*) echo $l;; esac; done"
    for _ in range(30):
        await output_of(subject, "for i in 1 2 3; do (sh -c : &) ; done >/dev/null 2>&1")
    found = (await output_of(subject, f"{{ {mark}; }} 2>/dev/null")).splitlines()
    holds(len(found) < 20, f"{len(found)} dead processes are left")


async def many_parallel(subject: Subject) -> None:
    """Forty commands at the same time each have their own result."""
    results: dict[int, ExecResult] = {}

    async def one(number: int) -> None:
        results[number] = await subject.sandbox.exec(f"echo {number}; echo {-number} >&2; exit {number}")

    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(one, number)
    for number, result in results.items():
        same(
            (result.exit_code, result.stdout, result.stderr),
            (number, f"{number}\n".encode(), f"{-number}\n".encode()),
            f"command {number}",
        )


async def pause_and_resume(subject: Subject) -> None:
    """Paused, nothing goes on and no command is taken; resumed, all goes on where it was."""
    sandbox = subject.sandbox
    if not isinstance(sandbox, Pausable):
        raise Nonconforming("it cannot be paused")
    ticks = subject.workspace / "ticks"
    await output_of(subject, "(while :; do echo >> ticks; sleep 0.01; done) >/dev/null 2>&1 & echo $! > ticker")
    await output_of(subject, "while [ ! -s ticks ]; do sleep 0.01; done")
    await sandbox.pause()
    before = ticks.stat().st_size
    await anyio.sleep(0.2)
    during = ticks.stat().st_size
    try:
        await sandbox.exec("true")
    except SandboxError:
        refused = True
    else:
        refused = False
    await sandbox.resume()
    same((during - before, refused), (0, True), "ticks while paused, and whether a command was refused")
    await output_of(subject, f"while [ $(wc -c < ticks) -le {before} ]; do sleep 0.01; done; kill -9 $(cat ticker)")


_CALLS = """
import ctypes, os, sys
calls = {
    "x86_64": dict(add_key=248, bpf=321, keyctl=250, mount=165, perf_event_open=298, setns=308, unshare=272),
    "aarch64": dict(add_key=217, bpf=280, keyctl=219, mount=40, perf_event_open=241, setns=268, unshare=97),
}.get(os.uname().machine)
libc = ctypes.CDLL(None, use_errno=True)
def done(name, *arguments):
    ctypes.set_errno(0)
    return libc.syscall(calls[name], *map(ctypes.c_void_p, arguments)) >= 0 or ctypes.get_errno() not in (1, 38)
"""
"""Whether a call was made, or refused for its arguments only: not permitted is 1, not there is 38."""


async def _refused(subject: Subject, tries: str) -> None:
    """Try system calls by `done(name, ...)`, where there is python3."""
    if (await subject.sandbox.exec("command -v python3 && python3 -c 'import ctypes'")).exit_code == 0:
        script = f"{_CALLS}\nif calls: print(*[name for name in {tries}])"
        same(
            (await output_of(subject, f"python3 - <<'END'\n{script}\nEND\n")).split(), [], "calls that were let through"
        )


async def keyring_is_closed(subject: Subject) -> None:
    """The kernel's keyring, which no namespace divides, can neither be asked nor read."""
    await _refused(subject, "[n for n in ('keyctl', 'add_key') if done(n, 0, -3, 0, 0, 0)]")
    same((await subject.sandbox.exec("cat /proc/keys")).stdout, b"", "/proc/keys")


async def namespaces_are_closed(subject: Subject) -> None:
    """Nobody becomes root in a user namespace of their own, enters another one, or mounts."""
    for command in ("unshare --user true", "unshare --user --map-root-user --mount true"):
        holds((await subject.sandbox.exec(command)).exit_code != 0, f"{command} worked")
    await _refused(subject, "[n for n in ('setns', 'mount', 'bpf', 'perf_event_open') if done(n, -1, 0, 0, 0, 0)]")
    await _refused(subject, "[n for n in ('unshare',) if done(n, 0x10000000)]")


async def threads_and_children_start(subject: Subject) -> None:
    """What is refused harms no ordinary program: threads, children and sockets (where there is python3)."""
    if (await subject.sandbox.exec("command -v python3 && python3 -c ''")).exit_code != 0:
        return
    script = (
        "import socket, subprocess, threading; t = [threading.Thread(target=print, args=('t',)) for _ in range(9)]; "
        "[o.start() for o in t]; [o.join() for o in t]; subprocess.run(['echo', 'child'], check=True); "
        "a, b = socket.socketpair(); socket.socket(socket.AF_INET, socket.SOCK_DGRAM).close()"
    )
    found = (await output_of(subject, f'python3 -c "{script}"')).split()
    same(sorted(found), ["child", *["t"] * 9], "output")
