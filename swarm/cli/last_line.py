"""The last line of `--json` is an envelope, also where a run never came to one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from swarm.errors import MachineError, SwarmError

if TYPE_CHECKING:
    from swarm.events import Event
    from swarm.result import RunResult


@dataclass
class Known:
    """What is known of a run. `folder` is None while there is none. `result`: how far it came that could not be brought
    to its end; `earlier`: its record, where it was to be gone on with and that could not be begun."""

    run_id: str
    folder: Path | None = None
    result: RunResult | None = None
    earlier: Iterable[Event] | None = None


@contextmanager
def always_an_envelope(*, json: bool, run_id: str = "") -> Iterator[Known]:
    """What ends the block before its run had an envelope is told in one, with `--json`, and goes on."""
    known = Known(run_id)
    try:
        yield known
    except BrokenPipeError:
        raise  # nobody reads it
    except BaseException as error:
        if json:
            _tell(known, error)
        raise


def _tell(known: Known, error: BaseException) -> None:
    from swarm.cli.interrupts import INTERRUPTED, so_far, tell_envelope
    from swarm.cli.view import seen
    from swarm.result import RunResult
    from swarm.types import RunStatus

    if known.result is not None:
        tell_envelope(known.result)
        return
    status, code = RunStatus.ERRORED, MachineError.exit_code
    if isinstance(error, KeyboardInterrupt):
        status, code = RunStatus.CANCELLED, INTERRUPTED
    elif isinstance(error, SwarmError):
        code = error.exit_code
    if known.folder is not None and known.earlier is not None:
        with suppress(SwarmError):  # it cannot be read any more
            tell_envelope(so_far(seen(known.earlier), status, code, known.folder))
            return
    run_id = known.folder.name if known.folder is not None else known.run_id
    where = str(known.folder) if known.folder is not None else ""
    tell_envelope(RunResult(run_id=run_id, status=status, exit_code=code, answer="", run_dir=where))
