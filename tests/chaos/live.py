"""A real `swarm run --json` in a process of its own, gone on with by `swarm resume` until it ends."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread

from tests.chaos.endpoint import KEY, Endpoint
from tests.chaos.launcher import Act, environment
from tests.chaos.shapes import BASE, Shape
from tests.warm import ROOT, Process, Warm

LIMIT_S = 150.0
"""The longest that one life may take: a run that hangs is a finding."""

MOST_LIVES = 8
BRANCH = "chaos-answer"
_FINAL = (0, 1, 2, 4)
_KEPT_ENV = ("PATH", "LANG", "DOCKER_HOST")


@dataclass(slots=True)
class Life:
    """One process that was at the run."""

    args: tuple[str, ...]
    folder: Path
    code: int | None = None

    @property
    def out(self) -> str:
        return (self.folder / "out").read_text(errors="replace")

    @property
    def err(self) -> str:
        return (self.folder / "err").read_text(errors="replace")

    @property
    def envelope(self) -> dict[str, Any] | None:
        """The last line, where it is one."""
        lines = self.out.splitlines()
        with suppress(ValueError, IndexError):
            told = json.loads(lines[-1])
            if told.get("type") == "result":
                return dict(told)
        return None


@dataclass
class LiveRun:
    """One run and all that is its own. Before the first life a fault may change `env`, `options` (of `swarm run`),
    `config` (the user's config.toml), `acts` (by life, from 0), and the endpoint's strikes; `mends` are done before
    each further life. `same` is whether it must come to what it would have come to undisturbed; `final` are exit codes
    after which it is not gone on with."""

    shape: Shape
    box: str
    folder: Path
    endpoint: Endpoint
    warm: Warm
    delivery: str = ""
    options: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    acts: dict[int, list[Act]] = field(default_factory=dict)
    mends: list[Callable[[], Awaitable[None]]] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    same: bool = True
    estimated: bool = False
    """Usage was not told for all calls."""
    deletes: bool = False
    """Files in a working copy may be deleted, as its agent might."""
    unread: set[int] = field(default_factory=set)
    """Lives whose standard output nobody reads for long."""
    final: frozenset[int] = frozenset(_FINAL)
    lives: list[Life] = field(default_factory=list)
    process: Process | None = None
    _next: anyio.Event = field(default_factory=anyio.Event)

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def user(self) -> Path:
        return self.folder / "user"

    @property
    def temp(self) -> Path:
        return self.folder / "tmp"

    @property
    def repo(self) -> Path | None:
        return self.folder / "repo" if self.shape.repo else None

    @property
    def life(self) -> int:
        """The number of the process that is at it, from 0."""
        return len(self.lives) - 1

    @property
    def run_folder(self) -> Path | None:
        """Where the run is kept: of several, the last begun."""
        found = sorted((self.home / "runs").glob("*/events.jsonl"))
        return found[-1].parent if found else None

    def events(self) -> list[dict[str, Any]]:
        """The whole lines of the journal."""
        folder = self.run_folder
        data = (folder / "events.jsonl").read_bytes() if folder is not None else b""
        return [json.loads(line) for line in data.splitlines(keepends=True) if line.endswith(b"\n")]

    def length(self) -> int:
        """Lines of the journal."""
        folder = self.run_folder
        return (folder / "events.jsonl").read_bytes().count(b"\n") if folder is not None else 0

    async def begun(self, life: int) -> Process:
        """Wait until the process of this life is there."""
        while self.life < life or self.process is None:
            await self._next.wait()
        return self.process

    async def reached(self, there: Callable[[list[dict[str, Any]]], bool]) -> bool:
        """Wait until the journal says so; False where the process at it ended before."""
        while True:
            ended = not self.lives or self.lives[-1].code is not None
            with suppress(ValueError):  # it is being cut right now
                if there(self.events()):
                    return True
            if ended:
                return False
            await anyio.sleep(0.01)  # another process is waited for

    def prepare(self) -> None:
        """Make its folders, and the user's repository."""
        for folder in (self.home, self.user, self.temp):
            folder.mkdir(parents=True)
        if self.repo is None:
            return
        self.repo.mkdir()
        for name, content in BASE.items():
            (self.repo / name).parent.mkdir(exist_ok=True)
            (self.repo / name).write_text(content)
        who = ["-c", "user.name=t", "-c", "user.email=t@example.invalid", "-c", "init.defaultBranch=main"]
        for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "start"]):
            subprocess.run(["git", *who, *command], cwd=self.repo, check=True, stdin=subprocess.DEVNULL)

    async def to_the_end(self) -> None:
        """Run it, and go on with it until it ends by itself."""
        args = self._begin()
        while len(self.lives) < MOST_LIVES:
            life = await self._live(args)
            if "was cut off: its files may be changed in part" in life.err:
                self._put_back(life)
            elif "is at work already" in life.err:
                await anyio.sleep(0.2)  # what the killed one had just forked holds its lock until it is a program
            elif life.code in self.final or (life.code != -9 and "came to its end; this is its result" in life.err):
                return
            for mend in self.mends:
                await mend()
            args = self._further()
        raise AssertionError(f"the run did not end in {MOST_LIVES} lives")

    def _begin(self) -> tuple[str, ...]:
        where = ["--no-repo"] if self.repo is None else ["--repo", str(self.repo)]
        endpoint = ["--model", "embedded", "--base-url", self.env.pop("ENDPOINT", self.endpoint.url)]
        how = ["--json", "--sandbox", self.box, *endpoint, *self.shape.options, *self.options]
        return ("run", "make the files", *where, *how, *self._delivered())

    def _further(self) -> tuple[str, ...]:
        folder = self.run_folder
        if folder is None or not any(event["type"] == "run_start" for event in self.events()):
            if folder is not None:
                shutil.rmtree(folder)  # it was ended before it began
            return self.lives[0].args
        return ("resume", folder.name, "--json", *self._delivered())

    def _delivered(self) -> list[str]:
        match self.delivery:
            case "apply":
                return ["--apply"]
            case "branch":
                return ["--branch", BRANCH]
            case "patch":
                return ["--patch", str(self.folder / "wanted.diff")]
            case _:
                return []

    def environment(self) -> Mapping[str, str]:
        kept = {key: value for key, value in os.environ.items() if key in _KEPT_ENV}
        own = {"HOME": self.user, "SWARM_HOME": self.home, "TMPDIR": self.temp, "XDG_CONFIG_HOME": self.user / "config"}
        path = {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))}
        return {**kept, **path, **{key: str(value) for key, value in own.items()}, "OPENAI_API_KEY": KEY, **self.env}

    async def _live(self, args: tuple[str, ...]) -> Life:
        life = Life(args, self.folder / f"life-{len(self.lives)}")
        life.folder.mkdir()
        self.process = None
        self.lives.append(life)
        config = self.user / "config/swarm/config.toml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in self.config.items()))
        told = life.folder / "told"
        env = {**self.environment(), **environment(self.acts.get(self.life, []), str(told))}
        with (life.folder / "out").open("wb") as out, (life.folder / "err").open("wb") as err:
            reader, writer = os.pipe() if self.life in self.unread else (None, out.fileno())
            streams = (None, writer, err.fileno())
            self.process = self.warm.start(args, self.user, env, io=streams, module="tests.chaos.launcher")
            if reader is not None:
                os.close(writer)
        self._next.set()
        self._next = anyio.Event()
        try:
            life.code = await self._ended(self.process, reader)
        finally:
            if told.exists():
                self.injected.update(" ".join(line.split()[:2]) for line in told.read_text().splitlines())
        return life

    async def _ended(self, process: Process, reader: int | None) -> int:
        stopped = any(act.do == "stop" for act in self.acts.get(self.life, []))
        try:
            with anyio.fail_after(LIMIT_S):
                async with anyio.create_task_group() as group:
                    if reader is not None:
                        group.start_soon(_go_away, reader)
                    if stopped:
                        group.start_soon(_let_go_on, process.pid)
                    code = await anyio.to_thread.run_sync(
                        process.wait, abandon_on_cancel=True, limiter=anyio.CapacityLimiter(1)
                    )
                    group.cancel_scope.cancel()
                return code
        except TimeoutError:
            process.send_signal(signal.SIGUSR1)  # its stacks go to standard error
            await anyio.sleep(1)
            raise AssertionError(f"it did not end within {LIMIT_S:g} s") from None
        finally:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
            process.stdout.close()
            process.stderr.close()

    def _put_back(self, life: Life) -> None:
        """Do what the refusal tells the user to do."""
        command = life.err.partition("put back what was there: ")[2].partition(" (or keep")[0]
        subprocess.run(shlex.split(command), check=True, stdin=subprocess.DEVNULL, capture_output=True)
        self.injected["apply cut off"] += 1


async def _go_away(reader: int) -> None:
    """Read the beginning, and no more."""
    try:
        await anyio.wait_readable(reader)
        os.read(reader, 100)
    finally:
        os.close(reader)


async def _let_go_on(pid: int) -> None:
    """Wake a process whenever it was stopped."""
    while True:
        with suppress(OSError, IndexError):
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T":
                await anyio.sleep(0.4)  # how long it is stopped
                os.kill(pid, signal.SIGCONT)
        await anyio.sleep(0.02)
