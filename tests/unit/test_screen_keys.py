"""What the keys do, one agent's log, and the terminal that is taken and given back."""

from __future__ import annotations

import os
import pty
import signal
import termios
from pathlib import Path

import anyio
import pytest

from swarm.cli.follow import follow
from swarm.cli.screen.desk import Desk
from swarm.cli.screen.head import Traffic
from swarm.cli.screen.paint import Pen, Theme
from swarm.cli.screen.screen import Screen
from swarm.cli.screen.terminal import Terminal, keys
from swarm.cli.view import RunView, fold
from swarm.events import RunStarted, ToolFinished
from swarm.scheduling.controls import Command, Controls
from tests.unit.stories import HOSTILE, PLAIN, START, desk_of, in_the_middle, shown, stamped, told


def pressed(desk: Desk, *given: str) -> Desk:
    for key in given:
        desk.press(key)
    return desk


def test_keys_steer_the_run() -> None:
    view, controls, used = in_the_middle(12), Controls(), list[Command]()
    view.bounds.width = 4
    desk = desk_of(view, controls)
    with controls.heard_by(used.append):
        assert "select a sub-agent first" in shown(view, pressed(desk, "s"))
        pressed(desk, "p", "p", "+", "-")
        assert [one.action for one in used] == ["pause", "resume", "concurrency", "concurrency"]
        assert [one.concurrency for one in used[2:]] == [5, 3]
        shown(view, desk)
        pressed(desk, "down", "j", "s")
        assert (used[-1].agent, used[-1].soft) == ("t1", True)
        pressed(desk, "x")
        assert used[-1].soft
        assert "x again stops s1 at once" in shown(view, desk)
        pressed(desk, "up", "x", "down", "x")  # another key disarms it
        assert used[-1].soft
        pressed(desk, "x")
        assert (used[-1].agent, used[-1].soft) == ("t1", False)
        count = len(used)
        pressed(desk, "up", "k", "end", "é", "?", "s", "q")
        assert len(used) == count
    shown(view, desk)
    pressed(desk, "escape", "up")
    assert desk.selected == (1, "last")
    with controls.heard_by(used.append):
        pressed(desk, "s")
    assert used[-1].agent == "last"  # one that waits is stopped by the name of its sub-task


def test_a_watched_run_is_read_only_and_left_by_q() -> None:
    left: list[bool] = []
    view = in_the_middle(5)
    desk = Desk(view, None, lambda: None, lambda: left.append(True))
    assert "read-only" in shown(view, desk)
    pressed(desk, "?")
    assert "read-only" in shown(view, desk)
    pressed(desk, "q", "p", "s", "x", "+")
    assert not left
    pressed(desk, "q")
    assert left


def test_one_agents_log(tmp_path: Path) -> None:
    events = stamped(told(3, text=f"{HOSTILE[:-1]}\n" + "\n".join(f"line {n}" for n in range(200))))
    at = next(n for n, e in enumerate(events) if isinstance(e, ToolFinished))
    record = tmp_path / "events.jsonl"
    record.write_text("".join(event.model_dump_json() + "\n" for event in events[: at + 1]))
    view = fold(events[: at + 1])
    desk = desk_of(view, record=record)
    shown(view, desk)
    pressed(desk, "down", "enter")
    assert desk.log is not None
    assert desk.log.read()
    screen = shown(view, desk)
    assert screen.startswith("s0 Repair fault 0")
    assert "line 199" in screen
    assert "read" not in screen
    assert not desk.log.read()
    pressed(desk, "home")
    screen = shown(view, desk)
    assert "attempt 1 · bubblewrap · kimi" in screen
    assert "> bash pytest -q" in screen
    assert "\x1b" not in screen
    with record.open("a") as more:
        more.write('{"type": "of a newer version", "trajectory_id": "t0"}\n')
        more.write("".join(event.model_dump_json() + "\n" for event in events[at + 1 :]))
    assert desk.log.read()
    pressed(desk, "end")
    assert "completed (submitted) after 1 step" in "\n".join(desk.log.lines(Pen(80, PLAIN)))
    pressed(desk, "page up", "up", "q")
    assert desk.log is None


def test_keys_as_terminals_send_them() -> None:
    assert list(keys(b"\x1b[A\x1bOBj\r\x1b[5~ \x1b[1;5C\x1b")) == [
        "up", "down", "j", "enter", "page up", "page down", "escape",
    ]  # fmt: skip
    assert list(keys("é\x00\x7f".encode())) == ["é"]


def test_only_what_changed_is_written() -> None:
    read, write = os.pipe()
    terminal = Terminal(write, None)
    assert b"first" in terminal.frame(["first", "second"], (80, 24))
    assert terminal.frame(["first", "second"], (80, 24)) == b""
    changed = terminal.frame(["first", "third"], (80, 24))
    assert b"third" in changed
    assert b"first" not in changed
    assert b"first" in terminal.frame(["first", "third"], (70, 20))
    os.close(read)
    os.close(write)


class Console:
    """A pseudo-terminal whose output is read as it comes."""

    def __init__(self) -> None:
        self.ours, theirs = pty.openpty()
        self.terminal = Terminal(theirs, theirs)
        self.modes = termios.tcgetattr(theirs)[:4]
        self.seen = b""

    async def until(self, awaited: bytes) -> None:
        while awaited not in self.seen:
            await anyio.wait_readable(self.ours)
            self.seen += os.read(self.ours, 65536)

    def as_it_was(self) -> bool:
        return termios.tcgetattr(self.terminal.output)[:4] == self.modes

    def close(self) -> None:
        os.close(self.ours)
        os.close(self.terminal.output)


@pytest.mark.anyio
async def test_the_screen_takes_the_terminal_and_gives_it_back() -> None:
    view, console, controls = RunView(), Console(), Controls()
    quit_before = signal.getsignal(signal.SIGQUIT)
    screen = Screen(view, console.terminal, Theme(), desk_of(view, controls), clock=lambda: START + 60)
    events = stamped(told(2))
    with anyio.fail_after(300):
        async with anyio.create_task_group() as tasks:
            for event in events[:12]:
                view.apply(event)
            tasks.start_soon(screen.run)
            await console.until(b"p pause")
            assert b"\x1b[?1049h" in console.seen
            assert not console.as_it_was()
            os.write(console.ours, b"p")
            await console.until(b"p go on")
            assert controls.paused
            async with screen.aside():
                assert console.as_it_was()
                await console.until(b"\x1b[?1049l")
                console.seen = b""
            await console.until(b"p go on")
            for event in events[12:]:
                view.apply(event)
            screen.close()
        await console.until(b"partial\x1b[0m\r\n")
    assert console.seen.rpartition(b"\x1b[?1049l")[2].endswith(b"partial\x1b[0m\r\n")
    assert console.as_it_was()
    assert signal.getsignal(signal.SIGQUIT) == quit_before
    console.close()


@pytest.mark.anyio
async def test_a_crash_gives_the_terminal_back() -> None:
    view, console = in_the_middle(2), Console()

    def broken() -> Traffic:
        raise RuntimeError("a bug")

    screen = Screen(view, console.terminal, Theme(), desk_of(view), broken)
    with pytest.raises(RuntimeError):
        try:
            await screen.run()
        except ExceptionGroup as several:
            raise several.exceptions[0] from None
    assert console.as_it_was()
    await console.until(b"\x1b[?1049l")
    console.close()


@pytest.mark.anyio
async def test_following_skips_what_a_newer_version_wrote(tmp_path: Path) -> None:
    record = tmp_path / "events.jsonl"
    known = RunStarted(task="x", task_sha256="", mode="plan", swarm_version="0", config={}, config_sha256="")
    record.write_bytes(known.model_dump_json().encode() + b'\n{"v": 2, "type": "novel"}\n{"torn')
    blocks = [block async for block in follow(record)]
    assert [told.event for block in blocks for told in block] == [known, None]
