"""A seal on what a run's record says of how the run is gone on with: that it was written here, by this user.

A run's folder may come from anywhere. To go on with it is to send the user's key where its record says, to load the
tools that it names, to work in the repository that it names. Each record that holds a configuration is sealed before it
is written, with a key that nobody else can read: in the user's state folder, or in SWARM_HOME where none can be kept
there. A run without its seal is read, but not gone on with where its record opens anything, unless the user says so.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic_core import to_json

from swarm.events import Event, RunResumed, RunStarted
from swarm.whole_file import open_plain

SEALED = (RunStarted, RunResumed)
"""The records that hold a configuration."""

_SAID = {"type", "run_id", "task", "config", "repo", "dry_run"}
_SEALS = "seals"
_KEY = "seal.key"
_BYTES = 32
_LARGEST = 1 << 20


def key_folders(home: Path, env: Mapping[str, str]) -> Sequence[Path]:
    """Where the user's key is, or is made: the first of them that can be written. `home`: SWARM_HOME."""
    state = Path(env.get("XDG_STATE_HOME") or Path(env.get("HOME") or home, ".local/state"))
    return (state / "swarm", home) if state.is_absolute() else (home,)


def sealer(folder: Path, keys: Sequence[Path]) -> Callable[[Event], str]:
    """What seals the records of a run, each before it is written, and gives why it could not: the run has no seal
    then."""

    def seal(event: Event) -> str:
        try:
            mark = _mark(_made(keys), event)
            fd = os.open(folder / _SEALS, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(mark.encode() + b"\n")
        except OSError as error:
            where = error.filename or keys[-1]
            return f"this run has no seal ({where}: {error.strerror or error}): to go on with it may need --trust"
        return ""

    return seal


def is_sealed(folder: Path, keys: Sequence[Path], events: Iterable[Event]) -> bool:
    """Whether all that a run's record says of its configuration was written by this user. Blocks."""
    try:
        with open_plain(folder / _SEALS) as file:
            known = set(file.read(_LARGEST).decode("ascii", "replace").split())
    except OSError:
        return False
    own = [key for key in map(_known, keys) if key is not None]
    return all(any(_mark(key, event) in known for key in own) for event in events if isinstance(event, SEALED))


def _mark(key: bytes, event: Event) -> str:
    said = event.model_dump(mode="json", include=_SAID)
    return hmac.new(key, to_json(said), hashlib.sha256).hexdigest()


def _made(places: Sequence[Path]) -> bytes:
    """Raises: OSError: none can be made anywhere."""
    for place in places[:-1]:
        with suppress(OSError):
            return _key(place)
    return _key(places[-1])


def _key(folder: Path) -> bytes:
    """The key in a folder; one is made where there is none, or what is there is none: a power failure may empty it.

    Raises:
        OSError: it cannot be read or made.
    """
    if (key := _read(folder / _KEY)) is not None:
        return key
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd = os.open(folder / f".{_KEY}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        with suppress(OSError):  # a file system without locks: of two keys at once the last is the one
            fcntl.flock(fd, fcntl.LOCK_EX)
        if (key := _read(folder / _KEY)) is None:  # another process may have been first
            _write(folder, key := secrets.token_bytes(_BYTES))
        return key
    finally:
        os.close(fd)


def _write(folder: Path, key: bytes) -> None:
    """On the disk when it returns: a run whose seal outlives the key is not gone on with."""
    partly = folder / f".{_KEY}.{secrets.token_hex(6)}"
    fd = os.open(partly, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        partly.replace(folder / _KEY)
    finally:
        partly.unlink(missing_ok=True)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):  # not every file system can
            os.fsync(fd)
    finally:
        os.close(fd)


def _known(folder: Path) -> bytes | None:
    try:
        return _read(folder / _KEY)
    except OSError:
        return None


def _read(path: Path) -> bytes | None:
    """None where there is no key. Raises: OSError: it cannot be read."""
    try:
        with open_plain(path) as file:
            key = file.read(_BYTES + 1)
    except FileNotFoundError:
        return None
    return key if len(key) == _BYTES and any(key) else None
