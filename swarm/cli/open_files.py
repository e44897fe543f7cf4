"""How many files this process may hold open."""

from __future__ import annotations

_ENOUGH = 1 << 16
"""More than any run holds. Some hard limits are a thousand million, and a child that closes every number it could have
open, as old programs do, would take minutes over it."""


def allow_many_open_files() -> None:
    """Raise the soft limit, which is 1,024 on many systems, to the hard one: each agent holds a connection and the
    pipes of its sandbox, so a few hundred would meet it. Where that is refused, the limit stays as it is."""
    import resource
    from contextlib import suppress

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _ENOUGH if hard == resource.RLIM_INFINITY else min(hard, _ENOUGH)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
