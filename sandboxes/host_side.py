"""What fails on the host's side of a sandbox is the machine's failure: no tool may take it for its own, nor a model for
its command's."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from swarm.errors import MachineError, SandboxError
from swarm.shortage import remedy_for, shortage_in, told


@contextmanager
def as_sandbox_error(what: str, *, only_shortages: bool = False) -> Iterator[None]:
    """Every error of the operating system in the block is raised as a SandboxError about `what`; or only those by which
    the machine is short of something, where others belong to what is asked for (a file that is missing, or too large).
    """
    try:
        yield
    except MachineError:
        raise
    except Exception as error:
        cause = shortage_in(error)
        if cause is None and isinstance(error, OSError) and not only_shortages:
            cause = error
        if cause is None or (only_shortages and isinstance(cause, OSError) and cause.errno == errno.EFBIG):
            raise
        raise SandboxError(f"{what}: {told(cause)}", remedy=remedy_for(cause)) from error
