"""Grading one patch as the official harness does: its way of applying it, the instance's eval script in the instance's
image, its parser and its report. Only where it runs is ours."""

from __future__ import annotations

import codecs
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio.to_thread

from swarm.errors import SandboxError
from swarm.evals.swebench.base import TESTBED
from swarm.evals.swebench.container import MEMORY, Container, Ended, Wanted, open_container
from swarm.evals.swebench.package import About, Package, Report
from swarm.evals.swebench.rows import Row
from swarm.sandboxes.docker.engine import Engine

TIMEOUT_S = 1800.0
"""Seconds that an eval script may run, as in the official harness."""

OUTPUT, REPORT, PATCH = "test_output.txt", "report.json", "patch.diff"
_PATCH, _SCRIPT = "/tmp/patch.diff", "/eval.sh"
_ANEW = ["/bin/sh", "-c", "git checkout -- . ; git clean -fd"]
_CHANGED = "git -c core.fileMode=false diff"

EMPTY, REFUSED, LATE, FAILED, NOTHING = (
    "empty patch",
    "patch does not apply",
    "tests timed out",
    "tests fail",
    "no test results",
)
"""Why an instance is not resolved."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What was handed in; `patch` is None where nothing was."""

    instance_id: str
    model: str
    patch: str | None

    @property
    def official(self) -> dict[str, Any]:
        """In the official form."""
        return {"instance_id": self.instance_id, "model_name_or_path": self.model, "model_patch": self.patch}


@dataclass(frozen=True, slots=True)
class Graded:
    """`report` in the official form; `kind`: why it is not resolved; `reason`: where the machine may be to blame, why,
    and how surely; `outside`: results outside the markers were not counted; `strange`: a change is no UTF-8, which is
    an error in the official harness, for all that it would resolve."""

    report: Mapping[str, Any]
    kind: str
    reason: tuple[str, str] | None = None
    outside: bool = False
    strange: bool = False
    status: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def resolved(self) -> bool:
        return bool(self.report["resolved"])


@dataclass(frozen=True, slots=True)
class Grader:
    """Grades patches. `lease` as in `SandboxRequest`. `network`: the engine's, None: its usual one, as in the official
    harness."""

    engine: Engine
    package: Package
    lease: Path
    timeout: float = TIMEOUT_S
    network: str | None = None

    async def grade(self, row: Row, image: str, prediction: Prediction, place: Path) -> Graded:
        """Grade one patch, and leave the patch, the output of the tests and the report in `place`.

        Raises:
            UsageError: the package is not there, or cannot grade this row.
            SandboxError: the image cannot be had, or the engine failed.
        """
        await anyio.to_thread.run_sync((place / PATCH).write_bytes, _bytes(prediction.patch or ""))
        if not prediction.patch:
            graded = Graded(_not_run(prediction), EMPTY)
            await anyio.to_thread.run_sync((place / OUTPUT).write_bytes, b"")
        else:
            graded = await self._run(row, image, prediction, place / OUTPUT)
        text = json.dumps({row.instance_id: graded.report}, indent=4)
        await anyio.to_thread.run_sync((place / REPORT).write_text, text)
        return graded

    async def _run(self, row: Row, image: str, prediction: Prediction, log: Path) -> Graded:
        about = await self.package.about()
        script = await self.package.eval_script(row.raw)
        wanted = Wanted(image, self.network)
        late = starved = strange = False
        seconds = 0.0
        async with open_container(self.engine, self.lease, wanted) as container:
            await container.put(_PATCH, _bytes(prediction.patch or ""))
            refusal = await _apply(container, about)
            if refusal is None:
                strange = await _is_strange(container)
                await container.put(_SCRIPT, script.encode())
                ended = await self._test(container, log)
                late, seconds = ended.code is None, ended.seconds
            if not late:  # that it still answers shows that nothing above ended with it
                strange = strange or (refusal is None and await _is_strange(container))
                starved = await container.lacked_memory()
        if refusal is not None:
            await anyio.to_thread.run_sync(log.write_bytes, _bytes(f"{about.refused}:\n{refusal}"))
        report = await self.package.report(row.raw, prediction.official, log)
        kind = REFUSED if refusal is not None else LATE if late else _kind(report)
        resolved = bool(report.report["resolved"]) and kind not in (REFUSED, LATE)
        if starved and not resolved:  # officially it has all memory there is
            raise SandboxError(
                f"tests of {row.instance_id} were killed for want of memory: they have {MEMORY >> 30} GiB"
            )
        told = {**report.report, "resolved": resolved}
        return Graded(told, "" if resolved else kind, report.reason, report.outside, strange, report.status, seconds)

    async def _test(self, container: Container, path: Path) -> Ended:
        """Run the eval script. Raises: SandboxError also where it writes more than can be kept."""
        # Into one stream: the markers, which the shell writes to the other one, are to stand where they belong.
        command = ["/bin/bash", "-c", f"exec /bin/bash {_SCRIPT} 2>&1"]
        log = await anyio.to_thread.run_sync(_Log, path)
        late = ""
        try:
            ended = await container.run(command, log.add, timeout=self.timeout)
            if ended.code is None:
                late = f"\n\nTimeout error: {self.timeout:g} seconds exceeded."
        finally:
            log.close(late)
        if ended.cut:
            raise SandboxError(f"the tests wrote more than can be kept; the beginning is in {path}")
        return ended


class _Log:
    """A file of text out of the bytes that come, from any thread: what is no UTF-8 is replaced, which the package could
    not read. Nothing is added once it is closed."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._adding = threading.Lock()

    def add(self, chunk: bytes) -> None:
        with self._adding:
            if not self._file.closed:
                self._file.write(self._decoder.decode(chunk))

    def close(self, last: str = "") -> None:
        with self._adding:
            self._file.write(self._decoder.decode(b"", final=True) + last)
            self._file.close()


async def _is_strange(container: Container) -> bool:
    """Whether what git tells of the changes is no UTF-8: there the official harness gives up."""
    _, told = await container.output(_CHANGED, workdir=TESTBED)
    try:
        told.decode()
    except UnicodeDecodeError:
        return True
    return False


async def _apply(container: Container, about: About) -> str | None:
    """Apply the patch by the first way that works. Gives what the last one said where none does."""
    said = b""
    for number, command in enumerate(about.apply):
        if number and about.anew:  # what another way left behind would be in the way of this one
            await container.output(_ANEW, workdir=TESTBED)
        code, said = await container.output(f"{command} {_PATCH}", workdir=TESTBED)
        if code == 0:
            return None
    if about.anew:
        code, _ = await container.output(f"git apply --check --reverse {_PATCH}", workdir=TESTBED)
        if code == 0:  # it is all there, though each of them complained
            return None
    return said.decode(errors="replace")


def _kind(report: Report) -> str:
    return FAILED if report.report.get("patch_successfully_applied") else NOTHING


def _not_run(prediction: Prediction) -> dict[str, Any]:
    """The report on what the official harness does not run."""
    return {
        "patch_is_None": prediction.patch is None,
        "patch_exists": prediction.patch is not None,
        "patch_successfully_applied": False,
        "resolved": False,
        "infra_failure": False,
    }


def _bytes(text: str) -> bytes:
    """As the official harness writes it; a lone surrogate, which it cannot write, is replaced."""
    return text.encode("utf-8", errors="replace")
