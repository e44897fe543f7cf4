"""Asks programs of this machine: the linker and the package manager."""

from __future__ import annotations

import os
import subprocess

TIMEOUT = 20.0


def output(*command: str) -> str:
    """What a program says, also where it could not answer for all that it was asked; "" where it cannot be run."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode(errors="replace")
