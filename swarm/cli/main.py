"""The command `swarm`. Next to nothing is imported before Ctrl-C is provided for."""

import gc
import os
import sys

INTERRUPTED = 130


def command() -> int:
    """`main` for a process that ends with it: what it still holds is left to the system, as a whole, in place of being
    gone through and let go of one by one, which takes longer than many a command."""
    try:
        return main()
    finally:
        gc.freeze()


def main(argv: "list[str] | None" = None) -> int:
    """Run one command and return its exit code: 0, 1, 2, 3, 4 or 130, as README tells."""
    try:
        from swarm.cli import stdio

        stdio.open_closed_streams()
        _take_programs_from_absolute_folders()
        try:
            from swarm.cli.dispatch import dispatch

            return dispatch(argv)
        except KeyboardInterrupt:
            stdio.complain("swarm: interrupted")
            return _interrupted()
        finally:
            stdio.settle()
    except KeyboardInterrupt:  # before or after all else
        return _interrupted()


def _take_programs_from_absolute_folders() -> None:
    """With `.`, or nothing between two colons, on the PATH, a file `git` of the repository around would be run."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    os.environ["PATH"] = os.pathsep.join(folder for folder in folders if folder.startswith("/")) or os.defpath


def _interrupted() -> int:
    """Python remembers that an `exec` of text was interrupted, such as that of a dataclass which is being imported, and
    would end by the signal; it forgets with the next one."""
    exec("")
    return INTERRUPTED


if __name__ == "__main__":
    sys.exit(command())
