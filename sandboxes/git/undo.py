"""Changing files of a folder wholly or not at all: what was there is kept beside until all is done."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from swarm.errors import MachineError, UsageError
from swarm.removal import remove_tree
from swarm.sandboxes.git.opened import Opened

_PREFIX = "swarm-undo-"
_SCRIPT = "put-back"
_PUT = """put() {
  if [ ! -e "$1" ] && [ ! -L "$1" ]; then return; fi  # it is back already
  if [ ! -L "$1" ] && [ ! -L "$2" ] && [ "$1" -ef "$2" ]; then return; fi  # it was never changed
  if [ -d "$2" ] && [ ! -L "$2" ]; then echo "$2 is a folder with other files; what was there: $1" >&2; exit 1; fi
  rm -f -- "$2" && mv -f -- "$1" "$2"
}"""


@dataclass(frozen=True, slots=True)
class _Kept:
    """What stood at a path; `copy` holds it, None where nothing stood there."""

    path: Path
    copy: Path | None


@contextmanager
def all_or_nothing(folder: Path, paths: Iterable[bytes], beside: Path) -> Iterator[None]:
    """Put files and links at `paths` of a folder back as they were if the block raises. `beside`: where they are kept
    meanwhile, by a link where that is on the same file system: they must be replaced, not written into.

    Raises:
        MachineError: they cannot be kept, and nothing was changed; or not be put back, and where they are.
    """
    folder = folder.absolute()
    touched = [folder / os.fsdecode(path) for path in dict.fromkeys(paths)]
    try:
        place = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=beside))
    except OSError as error:
        raise MachineError(f"nothing was changed in {folder}: {beside}: {error.strerror}") from error
    folders: dict[Path, int] = {}
    needed = False
    with ExitStack() as held:
        try:
            try:
                held.callback(os.close, _lock(place))
                kept = [_Kept(path, _keep(path, place / str(number))) for number, path in enumerate(touched)]
                for path in touched:
                    folders |= _above(path, folder)
                held.enter_context(_note(place, folder, kept, folders))
            except OSError as error:
                where = error.filename or place
                raise MachineError(f"nothing was changed in {folder}: {where}: {error.strerror}") from error
            try:
                yield
            except BaseException as error:
                if wrong := _put_back(place / _SCRIPT):
                    needed = True
                    raise MachineError(
                        f"{folder} was changed in part, and cannot be put back: {wrong}",
                        remedy=f"mend that, and put back what was there: sh {_word(place / _SCRIPT)}",
                    ) from error
                raise
        finally:
            if not needed:
                (place / _SCRIPT).unlink(missing_ok=True)  # first: half of what was there is not to be put back
                remove_tree(place)


def refuse_half_done(user: Opened) -> None:
    """See that no earlier change of a checkout was cut off half way, by a dead machine or a killed process. What one
    left that had changed nothing yet is removed.

    Raises:
        UsageError: one was; the remedy puts back what was there.
    """
    for script in sorted(user.own.glob(f"{_PREFIX}*/{_SCRIPT}")):
        try:
            with script.open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:  # it is under way, or just done
            continue
        raise UsageError(
            f"an earlier --apply to {user.git.cwd} was cut off: its files may be changed in part",
            remedy=f"put back what was there: sh {_word(script)} (or keep the files as they are: "
            f"rm -r {_word(script.parent)})",
        )

    for place in user.own.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # it is under way, or just done
            fd = _lock(place)
            try:
                if not (place / _SCRIPT).exists():
                    remove_tree(place)
            finally:
                os.close(fd)


def _lock(place: Path) -> int:
    """Tell others that a folder is in use.

    Raises:
        OSError: by somebody else, or it has gone.
    """
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        raise
    return fd


def _note(place: Path, folder: Path, kept: list[_Kept], folders: dict[Path, int]) -> BinaryIO:
    """Leave a script that puts all back, for when nobody is left to do it; it is locked as long as it is open."""
    made = {above for each in kept for above in (each.path, *each.path.parents) if folder in above.parents}
    lines = ["#!/bin/sh", "# Puts back what was here before `swarm --apply` was cut off.", "set -e", _PUT]
    lines += [f"rm -f -- {_word(each.path)} 2>/dev/null || true" for each in kept if each.copy is None]
    deepest = sorted(made - set(folders), key=lambda path: (-len(path.parts), path))
    lines += [f"[ ! -d {_word(path)} ] || rmdir -- {_word(path)} 2>/dev/null || true" for path in deepest]
    lines += [
        f"[ -d {_word(path)} ] || mkdir -m {folders[path]:o} -- {_word(path)}"
        for path in sorted(folders, key=lambda path: (len(path.parts), path))
    ]
    lines += [f"put {_word(each.copy)} {_word(each.path)}" for each in kept if each.copy is not None]
    lines.append(f"rm -rf -- {_word(place)}")
    file = (place / (_SCRIPT + ".part")).open("wb")
    try:
        file.write(b"".join(os.fsencode(line) + b"\n" for line in lines))
        file.flush()
        os.fsync(file.fileno())
        fcntl.flock(file, fcntl.LOCK_EX)
        Path(file.name).rename(place / _SCRIPT)
        folder_fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder_fd)
        finally:
            os.close(folder_fd)
    except BaseException:
        file.close()
        raise
    return file


def _word(path: Path) -> str:
    return shlex.quote(str(path))


def _keep(path: Path, copy: Path) -> Path | None:
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return None
    if stat.S_ISDIR(mode):
        return None  # the files in it are named by themselves
    try:
        os.link(path, copy, follow_symlinks=False)
    except OSError:
        shutil.copy2(path, copy, follow_symlinks=False)
    return copy


def _above(path: Path, folder: Path) -> dict[Path, int]:
    """The folders above a path that are there, and their modes."""
    found: dict[Path, int] = {}
    for above in (path, *path.parents):
        if above == folder:
            break
        try:
            mode = above.lstat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISDIR(mode):
            found[above] = stat.S_IMODE(mode)
    return found


def _put_back(script: Path) -> str:
    """Run it; what went wrong, empty where nothing did."""
    # In a group of its own: a further Ctrl-C is not for it.
    done = subprocess.run(["sh", script], stdin=subprocess.DEVNULL, capture_output=True, process_group=0, check=False)
    lines = done.stderr.decode(errors="replace").strip().splitlines()
    return (lines or [f"exit code {done.returncode}"])[-1] if done.returncode else ""
