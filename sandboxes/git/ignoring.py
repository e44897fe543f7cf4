"""What the user's git ignores by rules that stand in no tree: so must the copies."""

from __future__ import annotations

from pathlib import Path

from swarm.sandboxes.git.opened import Opened


def ignored(user: Opened) -> bytes:
    """The lines of `core.excludesFile` and of `info/exclude`, which counts more, of a repository."""
    return _read(_everywhere(user)) + _read(user.common / "info/exclude")


def ignored_below(folder: bytes, user: Opened) -> bytes:
    """The lines of `info/exclude` of a repository in a folder, as they read from the top."""
    lines = _read(user.common / "info/exclude").split(b"\n")
    return b"".join(_moved(folder, line.rstrip(b"\r")) for line in lines)


def _everywhere(user: Opened) -> Path:
    git = user.git
    if "core.excludesfile" in user.configured:
        return git.cwd / user.path_of("core.excludesfile")
    above = git.env.get("XDG_CONFIG_HOME") or Path(git.env.get("HOME", "/nonexistent"), ".config")
    return Path(above, "git/ignore")


def _read(path: Path) -> bytes:
    try:
        text = path.read_bytes() if path.is_file() else b""
    except OSError:  # git warns of it and goes on
        return b""
    return text.removeprefix(b"\xef\xbb\xbf").rstrip(b"\n") + b"\n" * bool(text)


def _moved(folder: bytes, line: bytes) -> bytes:
    if not line.strip() or line.startswith(b"#"):
        return b""
    sign, pattern = (b"!", line[1:]) if line.startswith(b"!") else (b"", line)
    if b"/" not in pattern.rstrip().rstrip(b"/"):
        pattern = b"**/" + pattern
    above = b"".join(b"\\" + bytes((byte,)) if byte in b"\\*?[" else bytes((byte,)) for byte in folder)
    return sign + b"/" + above + b"/" + pattern.removeprefix(b"/") + b"\n" if b"\n" not in folder else b""
