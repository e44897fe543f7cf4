"""An evaluation in the foreground: what is shown of it, its signals, and what is told at its end."""

from __future__ import annotations

import json as json_lines
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from swarm.cli.in_order import ends_in_order, leave_terminal
from swarm.cli.open_files import allow_many_open_files
from swarm.cli.stdio import complain, discard_output, one_line, tell
from swarm.cli.text import line
from swarm.errors import MachineError, SwarmError
from swarm.evals.runner.evaluation import Halt, Why
from swarm.evals.runner.tally import Count, count, failures
from swarm.tuning import has_fast_loop, quiet_collector, spare_arrow

if TYPE_CHECKING:
    from swarm.cli.evals.common import Work
    from swarm.evals.runner.whole import Evaluated

INTERRUPTED = 130
PATIENCE_S = 20.0
"""Seconds for coming to an order after the second signal."""

_SOFT = "stopping: what is under way comes to rest; once more to stop at once"
_ERRORS_TOLD = 5


def foreground(work: Work, *, json: bool) -> int:
    """Do an evaluation, show how far it is, and tell what came out; the exit code.

    Raises:
        SwarmError: it could not be begun, or a file of it cannot be written.
    """
    allow_many_open_files()
    spare_arrow()
    with ends_in_order():
        found = anyio.run(_run, work, json, backend_options={"use_uvloop": has_fast_loop()})
    with ends_in_order():
        _tell(found, json=json)
        return found.exit_code


async def _run(work: Work, json: bool) -> Evaluated:
    from swarm.cli.evals.display import open_display

    halt = Halt()

    def broken(error: OSError) -> None:
        discard_output()
        halt.end(Why.USER)

    display = open_display(json=json, broken=broken)
    results: list[Evaluated] = []
    failure: Exception | None = None
    async with anyio.create_task_group() as signals:
        at_work = anyio.CancelScope()
        await signals.start(_watch, halt, at_work, display.say)
        async with anyio.create_task_group() as drawing:
            drawing.start_soon(display.run)
            try:
                with at_work, quiet_collector():
                    results.append(await work(halt, display.observe))
            except Exception as error:  # noqa: BLE001  raised below: by itself, not in a group
                failure = error
            finally:
                display.close()
        signals.cancel_scope.cancel()
    if failure is not None:
        raise failure
    if not results:
        raise KeyboardInterrupt  # stopped at once: what had a verdict is on the disk
    return results[0]


async def _watch(halt: Halt, at_work: anyio.CancelScope, say: Any, *, task_status: Any) -> None:
    """Ctrl-C lets what is under way come to rest, a second one, SIGTERM and a closed terminal end it at once."""
    wanted = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wanted.append(signal.SIGHUP)
    with anyio.open_signal_receiver(*wanted) as received:
        task_status.started()
        timer: threading.Timer | None = None
        try:
            async for number in received:
                if number is signal.SIGHUP:
                    leave_terminal()
                if number is signal.SIGINT and not halt.over.is_set():
                    halt.end(Why.USER)
                    say(_SOFT)
                    continue
                halt.end(Why.USER)
                at_work.cancel()
                if timer is None:
                    timer = threading.Timer(PATIENCE_S, os._exit, (INTERRUPTED,))  # whatever hangs
                    timer.daemon = True
                    timer.start()
        finally:
            if timer is not None:
                timer.cancel()


@contextmanager
def with_envelope(*, json: bool, folder: str) -> Iterator[None]:
    """What ends an evaluation before it has come out is told in an envelope, with `--json`, and goes on."""
    try:
        yield
    except BrokenPipeError:
        raise
    except BaseException as error:
        if json:
            code = MachineError.exit_code
            if isinstance(error, KeyboardInterrupt):
                code = INTERRUPTED
            elif isinstance(error, SwarmError):
                code = error.exit_code
            status = "cancelled" if code == INTERRUPTED else "errored"
            told = {"status": status, "exit_code": code, "error": one_line(str(error)), "folder": folder}
            tell(json_lines.dumps({"type": "evaluation", "schema_version": 1, **told}))
        raise


def _tell(found: Evaluated, *, json: bool) -> None:
    """The end: the envelope, or a table of the arms; what was failed by the machine, and how it goes on."""
    arms = _arms(found)
    if json:
        tell(json_lines.dumps(_envelope(found, arms)))
    else:
        tell("\n".join(_table(found, arms)))
    for told in _way_on(found):
        complain(told)


def _arms(found: Evaluated) -> dict[str, Count]:
    asked: dict[str, int] = {}
    for _, arm, _ in found.progress.asked:
        asked[arm] = asked.get(arm, 0) + 1
    lines = found.progress.trials.values()
    return {arm: count(number, [each for each in lines if each.arm == arm]) for arm, number in asked.items()}


def _envelope(found: Evaluated, arms: dict[str, Count]) -> dict[str, Any]:
    code = found.exit_code
    status = {0: "completed", 4: "budget_exhausted", INTERRUPTED: "cancelled"}.get(code, "errored")
    return {
        "type": "evaluation",
        "schema_version": 1,
        "suite": found.manifest.suite,
        "version": found.manifest.version,
        "status": status,
        "exit_code": code,
        "error": found.message,
        "folder": str(found.folder),
        **found.progress.count().figures(),
        "arms": {arm: each.figures() for arm, each in arms.items()},
        "failures": dict(failures(found.progress.trials.values())),
        "wall_s": found.seconds,
    }


def _table(found: Evaluated, arms: dict[str, Count]) -> list[str]:
    from swarm.cli.evals.figures import resolved, spent, why_not

    width = max(map(len, arms), default=0)
    lines = []
    for arm, each in arms.items():
        score = f"mean score {each.score:.3f}" if each.graded else ""
        missing = f"{each.errored} failed by the machine" if each.errored else ""
        left = f"{each.left} left" if each.left else ""
        lines.append(" · ".join(filter(None, (f"{arm:<{width}}  {resolved(each)}", score, spent(each), missing, left))))
    if why := why_not(found.progress):
        lines.append(f"not resolved: {why}")
    lines.append(str(Path(found.folder) / "report.json"))
    return lines


def _way_on(found: Evaluated) -> list[str]:
    lines = [f"swarm: {one_line(found.message.partition(chr(10))[0])}"] if found.message else []
    failed = [each for each in found.progress.trials.values() if each.resolved is None]
    told = [(each, line(each.error.partition("\n")[0], 240)) for each in failed[:_ERRORS_TOLD]]
    lines += [f"swarm: {each.instance_id} {each.arm}: {error}" for each, error in told]
    if len(failed) > _ERRORS_TOLD:
        lines.append(f"swarm: and {len(failed) - _ERRORS_TOLD} more: see {found.folder / 'results.jsonl'}")
    if found.why is Why.BUDGET:
        lines.append("go on: the same command with a larger budget")
    elif found.exit_code:
        lines.append("go on: the same command again; what has a verdict is not run again")
    elif len(found.manifest.arms) > 1 and sys.stdout.isatty():
        lines.append(f"compare: swarm eval compare {found.folder}")
    return lines
