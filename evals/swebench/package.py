"""Asking the `swebench` package, which works in a process of its own (`swarm.evals.swebench.official`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from swarm.errors import MachineError, UsageError

_ANSWERS_S = 600.0
"""Seconds for one answer: the first one waits for the imports."""

_LONGEST = 256 << 20
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH")
_PROGRAM = Path(__file__).with_name("official.py")
_BEGIN = "import runpy, sys; del sys.path[0]; runpy.run_path(sys.argv[1], run_name='__main__')"
"""Neither its folder nor the current one are searched for modules; what the user installed is, unlike with -I."""

_GONE = (anyio.EndOfStream, anyio.IncompleteRead, anyio.BrokenResourceError, TimeoutError, OSError)


@dataclass(frozen=True, slots=True)
class About:
    """How the official harness applies a patch: `apply` are the commands, tried in turn; `anew`: each but the first on
    a clean tree, and what is there already counts as applied. `refused` is how it says that none worked."""

    version: str
    apply: tuple[str, ...]
    anew: bool
    refused: str


@dataclass(frozen=True, slots=True)
class Report:
    """`report` is the official one of an instance; `status` what was parsed, test by test. `outside`: the log has
    results outside the markers, which were not counted. `reason`: why the machine may be to blame, and how surely."""

    report: Mapping[str, Any]
    status: Mapping[str, str]
    outside: bool
    reason: tuple[str, str] | None


class Package:
    """The package, in the environment of an interpreter. Questions are answered one after the other; where its process
    ends or falls silent, it is started again, and the question put once more."""

    def __init__(self, python: str) -> None:
        self._python = python
        self._process: Process | None = None
        self._answers: BufferedByteReceiveStream | None = None
        self._asking = anyio.Lock()
        self._number = 0
        self._about: About | None = None

    async def about(self) -> About:
        """Raises: UsageError where the package is not there."""
        if self._about is None:
            told = await self._ask(do="about")
            self._about = About(told["version"], tuple(told["apply"]), told["anew"], told["refused"])
        return self._about

    async def eval_script(self, row: Mapping[str, Any]) -> str:
        """The script by which an instance is tested.

        Raises:
            UsageError: the package is not there, or cannot make one of this row.
        """
        told = await self._ask(do="spec", row=row)
        if told["assets"]:
            raise UsageError(f"{row['instance_id']} needs binary files beside its patch, which are not supported")
        return str(told["eval_script"])

    async def report(self, row: Mapping[str, Any], prediction: Mapping[str, Any], log: Path) -> Report:
        """The official report on a log. Raises: UsageError as `eval_script`."""
        told = await self._ask(do="report", row=row, prediction=prediction, log=str(log))
        reason = (told["reason"][0], told["reason"][1]) if told["reason"] else None
        return Report(told["report"][prediction["instance_id"]], told["status"], told["outside"], reason)

    async def _ask(self, **request: Any) -> dict[str, Any]:
        async with self._asking:
            try:
                answer = await self._put(request)
            except _GONE:
                await self.close()
                try:
                    answer = await self._put(request)
                except _GONE as error:
                    why = f"was silent for {_ANSWERS_S:g} s" if isinstance(error, TimeoutError) else "ended"
                    await self.close()
                    raise MachineError(
                        f"the swebench package in {self._python} {why}, and did so again when it was started anew",
                        remedy="look whether `import swebench.harness.grading` works there",
                    ) from error
        if "missing" in answer:
            raise UsageError(
                f"swebench cannot be imported by {self._python}: {answer['missing']}",
                remedy="install it with `pip install 'swarm[evals]'`, or name the python of an environment that has it "
                "with --swebench-python",
            )
        if "wrong" in answer:
            raise UsageError(f"swebench: {answer['wrong']}")
        found: dict[str, Any] = answer["is"]
        return found

    async def _put(self, request: Mapping[str, Any]) -> dict[str, Any]:
        self._number += 1
        order = json.dumps({"number": self._number, **request}, default=str).encode() + b"\n"
        process, answers = await self._running()
        assert process.stdin is not None
        with anyio.fail_after(_ANSWERS_S):
            with anyio.CancelScope(shield=True):  # half a line would spoil the next one
                await process.stdin.send(order)
            while True:  # earlier questions may have been cancelled, and are answered all the same
                answer: dict[str, Any] = json.loads(await answers.receive_until(b"\n", _LONGEST))
                if answer["number"] == self._number:
                    return answer

    async def _running(self) -> tuple[Process, BufferedByteReceiveStream]:
        """Its process, started where there is none.

        Raises:
            UsageError: there is no such interpreter.
        """
        if self._process is None or self._answers is None:
            self._process = await _start(self._python)
            assert self._process.stdout is not None
            self._answers = BufferedByteReceiveStream(self._process.stdout)
        return self._process, self._answers

    async def close(self) -> None:
        """End its process."""
        process, self._process, self._answers = self._process, None, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.kill()
            with anyio.CancelScope(shield=True):
                await process.aclose()


@asynccontextmanager
async def open_package(python: str = sys.executable) -> AsyncIterator[Package]:
    """The package in the environment of an interpreter, for the length of the block.

    Raises:
        UsageError: there is no such interpreter, or it has no such package.
    """
    package = Package(python)
    try:
        await package.about()
        yield package
    finally:
        await package.close()


async def _start(python: str) -> Process:
    # Nothing of ours: the package reads a `.env`, and asks for nothing that is in the environment.
    env = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"HF_HUB_OFFLINE": "1"}
    program = str(Path(python).expanduser().absolute()) if "/" in python else python
    try:
        return await anyio.open_process(
            [program, "-W", "ignore", "-c", _BEGIN, str(_PROGRAM)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=env,
            cwd="/",
        )
    except OSError as error:
        raise UsageError(
            f"--swebench-python: {python} cannot be run: {error.strerror}", remedy="name a Python that has swebench"
        ) from error
