"""Conformance checks of what a command finds around it: its shell, its signals, its environment."""

from __future__ import annotations

import signal

import anyio

from swarm.sandboxes.conformance.kit import Subject, holds, output_of, same


async def all_exit_codes(subject: Subject) -> None:
    """Each exit code from 0 to 255 comes back."""
    for code in range(256):
        same((await subject.sandbox.exec(f"exit {code}")).exit_code, code, "exit code")


async def all_signals(subject: Subject) -> None:
    """A command ended by a signal gives 128 and its number (SIGQUIT is left out: bash never heeds it)."""
    for name in ("HUP", "INT", "ABRT", "KILL", "USR1", "SEGV", "USR2", "PIPE", "ALRM", "TERM"):
        code = 128 + getattr(signal, f"SIG{name}")
        same((await subject.sandbox.exec(f"kill -{name} $$; exit 0")).exit_code, code, name)


async def no_signal_is_ignored(subject: Subject) -> None:
    """A command starts with no signal ignored or blocked, but for the two that the C library keeps for itself (32 and
    33): a shell can neither see nor change what it inherited there."""
    status = dict(line.split(":", 1) for line in (await output_of(subject, "cat /proc/self/status")).splitlines())
    for key in ("SigIgn", "SigBlk"):
        same(int(status[key], 16) & ~(0b11 << 31), 0, key)


async def own_process_group(subject: Subject) -> None:
    """A command's shell leads a process group of its own; commands do not share an id."""
    first, second = [(await output_of(subject, "read -r p n s pp g rest </proc/$$/stat; echo $$ $g")) for _ in range(2)]
    process, group = first.split()
    same(process, group, "process and group")
    holds(first != second, "two commands have one process id")


async def no_terminal(subject: Subject) -> None:
    """There is no terminal, to be written to or to take signals from."""
    result = await subject.sandbox.exec("test -t 0 || test -t 1 || test -t 2 || ( : < /dev/tty )")
    holds(result.exit_code != 0, "there is a terminal")


async def long_command(subject: Subject) -> None:
    """A command may be a megabyte long."""
    text = "x" * (1 << 20)
    same(await output_of(subject, f"# {text}\nv={text}\necho ${{#v}}"), f"{1 << 20}\n", "length")


async def big_environment(subject: Subject) -> None:
    """A command may give its children an environment of a megabyte."""
    parts = "; ".join(f"export BIG{number}=$b" for number in range(10))
    found = await output_of(subject, f"b={'x' * 100_000}; {parts}; sh -c 'echo ${{#BIG0}} ${{#BIG9}}'")
    same(found, "100000 100000\n", "lengths")


async def many_lines(subject: Subject) -> None:
    """Here-documents, comments, quotes over lines and a missing newline at the end mean what they mean in a file."""
    text = "cat <<'X'\n$HOME `id`\nX\n# comment '\necho \"two\nlines\" # end\necho last\\\n-word"
    same(await output_of(subject, text), "$HOME `id`\ntwo\nlines\nlast-word\n", "output")


async def lines_are_counted_from_one(subject: Subject) -> None:
    """The numbers of lines in the shell's complaints are the command's own."""
    result = await subject.sandbox.exec("\n\nno-such-command-at-all")
    holds(b"3" in result.stderr.replace(b"no-such", b""), f"not line 3: {result.stderr!r}")


async def starts_without_arguments(subject: Subject) -> None:
    """A command sees no arguments, and no error trap or option of anybody else's."""
    same(await output_of(subject, 'echo "$#"; trap'), "0\n", "arguments and traps")


async def exit_trap_runs(subject: Subject) -> None:
    """What a command wants done at its end is done, and counts as its output."""
    result = await subject.sandbox.exec("trap 'echo bye' EXIT; exit 3")
    same((result.exit_code, result.stdout), (3, b"bye\n"), "result")


async def nul_in_a_command(subject: Subject) -> None:
    """A command with a NUL, which no shell can take, fails; it is not cut."""
    result = await subject.sandbox.exec("echo cut\0; exit 0")
    holds(result.exit_code != 0 and not result.stdout, "it was run")


async def odd_folders(subject: Subject) -> None:
    """`cwd` may hold any character."""
    for name in ("with 'quotes\"", "new\nline\n", "-d", "$(exit)", "ünï"):
        await subject.sandbox.write_file(f"{name}/here", name.encode())
        same((await subject.sandbox.exec("cat here", cwd=name)).stdout.decode(), name, "file in the folder")


async def large_input(subject: Subject) -> None:
    """Thirty megabytes of input arrive whole."""
    data = bytes(range(256)) * (30 << 12)
    result = await subject.sandbox.exec("wc -c; cat", stdin=data)
    same(int(result.stdout), len(data), "length of the input")


async def output_is_whole(subject: Subject) -> None:
    """Ten megabytes on each stream come back whole and in order when so much is wanted."""
    command = "yes 0123456789 | head -c 10485760; yes abcdefghi | head -c 10485760 >&2"
    result = await subject.sandbox.exec(command, max_output=16 << 20)
    wanted = [(line * (1 + (10 << 20) // len(line)))[: 10 << 20] for line in (b"0123456789\n", b"abcdefghi\n")]
    holds([result.stdout, result.stderr] == wanted and not result.truncated, "output came back changed")


async def writes_to_the_channel(subject: Subject) -> None:
    """What a command writes to the channel, or takes of it, is neither its end nor another's, and breaks nothing."""
    own = "d=/.swarm/${SWARM_COMMAND#*.}; "
    for text in ("garbage", "\\302\\262", "0", "99999999999999999999", "-1", "0 0"):
        result = await subject.sandbox.exec(f"{own} printf '{text}\\n' > $d/status; exit 7", timeout=30)
        same((result.exit_code, result.timed_out), (7, False), text)
    answers = 'for i in 0 1 2 3 4 5 6 7 8 9; do printf "$i \\302\\262\\n$i 0\\n" > /.swarm/answers; done'
    thief = "cat /.swarm/orders >/dev/null 2>&1 </dev/null & "
    result = await subject.sandbox.exec(f"{thief} ({answers}) 2>/dev/null; sleep 600", timeout=1.0)
    same(result.timed_out, True, "timed out")
    same(await output_of(subject, "echo well"), "well\n", "the next command's output")


async def meddles_with_the_next_shell(subject: Subject) -> None:
    """A job that writes to every shell that it sees waiting cannot say how another command ended, nor block it."""
    look = "for p in /proc/[0-9]*; do tr '\\0' '\\n' <$p/cmdline | grep '^/.swarm/'; done 2>/dev/null"
    write = 'while read -r d; do for w in 4242 "0 0" junk; do (echo $w >$d/status) & done; done'
    if subject.sandbox.workdir == str(subject.workspace):
        return  # its channel is elsewhere
    job = f"(while :; do {{ {look}; }} | {write}; sleep 0.01; done) >/dev/null 2>&1 </dev/null & echo $!"
    await output_of(subject, job)
    try:
        for code in (0, 3, 9):
            await anyio.sleep(0.1)  # time for the job, not for us
            same((await subject.sandbox.exec(f"sleep 0.05; exit {code}", timeout=30)).exit_code, code, "exit code")
    finally:
        await subject.sandbox.exec("kill -9 -1")
    same(await output_of(subject, "echo well"), "well\n", "the next command's output")
