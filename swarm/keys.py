"""Where keys of endpoints may stand besides the environment: a file that only the user can read, or the keyring of the
desktop. Never in a configuration, which is shown, shared and committed."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from swarm.errors import UsageError

_LONGEST = 1 << 14
_MOUNTED = "/run/secrets"
_PLACES = "export OPENAI_API_KEY, or name a file with mode 600 by api_key_file, or a keyring's entry by api_key_keyring"


def key_in_file(path: Path) -> str:
    """The key that a file holds, alone on its line. Blocks.

    Raises:
        UsageError: there is none, others may change it, or read it (but on a read-only mount or in /run/secrets, where
            containers find theirs), or it holds something else. No content is told.
    """
    path = path.expanduser()
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise UsageError(f"key file {path}: {error.strerror}", remedy="name a file that holds the key alone") from None
    with os.fdopen(fd, "rb") as file:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise UsageError(f"key file {path}: it is no plain file", remedy="name a file that holds the key alone")
        if about.st_mode & (0o022 if _is_mounted(fd, path) else 0o077):
            mode = stat.S_IMODE(about.st_mode)
            raise UsageError(f"key file {path}: others may use it (mode {mode:o})", remedy=f"chmod 600 {path}")
        if about.st_uid not in (os.geteuid(), 0):
            raise UsageError(f"key file {path}: it belongs to somebody else", remedy="name a file of your own")
        data = file.read(_LONGEST + 1)
    return _checked(data.decode("utf-8-sig", "replace"), f"key file {path}")


def _is_mounted(fd: int, path: Path) -> bool:
    """Whether a file is one that a container is given, whose mode nobody in there can change."""
    return bool(os.fstatvfs(fd).f_flag & os.ST_RDONLY) or path.resolve().is_relative_to(_MOUNTED)


def key_in_keyring(entry: str) -> str:
    """The key of `SERVICE/USER` in the keyring of this session. Blocks.

    Raises:
        UsageError: the package `keyring` is not installed, the keyring cannot be asked, or has no such entry.
    """
    service, _, user = entry.rpartition("/")
    if not service or not user:
        raise UsageError(f"{entry!r} names no entry of a keyring", remedy="the form is SERVICE/USER")
    try:
        keyring, errors = import_module("keyring"), import_module("keyring.errors")
    except ImportError:
        raise UsageError("the keyring needs the package keyring", remedy="pip install 'swarm[keyring]'") from None
    try:
        key: str | None = keyring.get_password(service, user)
    except errors.KeyringError as error:
        raise UsageError(f"the keyring cannot be asked: {type(error).__name__}", remedy="unlock it") from None
    if key is None:
        raise UsageError(f"the keyring has no {entry}", remedy=f"keyring set {service} {user}")
    return _checked(key, f"the keyring's {entry}")


def refuse_literal(values: Mapping[str, Any], path: Path) -> None:
    """Refuse a configuration file that holds a key itself.

    Raises:
        UsageError: it does; the key is not told.
    """
    if "api_key" in values:
        raise UsageError(f"api_key in {path}: a configuration is no place for a key", remedy=_PLACES)


def named_key(values: Mapping[str, Any]) -> str | None:
    """The key that a configuration names and does not hold. Blocks.

    Raises:
        UsageError: it cannot be had.
    """
    if isinstance(path := values.get("api_key_file"), str | Path) and str(path):
        return key_in_file(Path(path))
    if isinstance(entry := values.get("api_key_keyring"), str) and entry:
        return key_in_keyring(entry)
    return None


def add_named_key(values: dict[str, Any], origin: dict[str, str]) -> None:
    """Put the key that a configuration names among its values, and where it was named into `origin`. Blocks. One that
    cannot be had is told of where a key is needed."""
    name = next((each for each in ("api_key_file", "api_key_keyring") if values.get(each)), None)
    if "api_key" in values or name is None:
        return
    origin["api_key"] = origin[name]
    with suppress(UsageError):
        if (key := named_key(values)) is not None:
            values["api_key"] = key


def refuse_to_send(key: str, place: str) -> NoReturn:
    """Refuse to send a key (`key`: where it stands) to an address that the file `place` of a repository names."""
    raise UsageError(
        f"base_url in {place}: your key ({key}) would be sent where a repository says",
        remedy="name the endpoint with --base-url or OPENAI_BASE_URL, or run without the key",
    )


def _checked(text: str, where: str) -> str:
    key = text.strip()
    if not key or len(key) > _LONGEST or not key.isascii() or not key.isprintable() or " " in key:
        raise UsageError(f"{where}: it holds no key, which is one word", remedy="let the key stand there alone")
    return key
