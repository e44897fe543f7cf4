"""Running git: in the run's own store, deaf to every configuration, and in the user's repository, changing nothing.

Neither runs hooks, a file system monitor or automatic maintenance. In the store there is no configuration but ours,
so that no attribute of a tree can name a program to be run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import field, replace
from functools import lru_cache
from pathlib import Path

from swarm.errors import MachineError
from swarm.values import value

OLDEST = (2, 38)
"""The first git that merges without a checkout (`merge-tree --write-tree`)."""

_TIMEOUT = 600.0
_QUIET = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.untrackedCache=false",
    "core.splitIndex=false",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.addEmbeddedRepo=false",
    "log.showSignature=false",
    "core.safecrlf=false",
)
_OWN = {
    "HOME": "/nonexistent",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_ATTR_NOSYSTEM": "1",
}
# A partial clone must not fetch what it lacks behind our back: no protocol is allowed.
_COMMON = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ALLOW_PROTOCOL": "none",
}
_KEPT = re.compile(r"GIT_(CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_\d+|VALUE_\d+)|CEILING_DIRECTORIES)")


@value(frozen=True, slots=True)
class Finished:
    """How one git ended."""

    code: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode(errors="replace").strip()

    @property
    def parts(self) -> list[bytes]:
        """What it listed with `-z`."""
        return [part for part in self.out.split(b"\0") if part]

    @property
    def complaint(self) -> str:
        """The first line that says what is wrong."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        wrong = [line for line in lines if line.startswith(("fatal:", "error:"))]
        return (wrong or lines or [f"exit code {self.code}"])[0]


@value(frozen=True, slots=True)
class Git:
    """One way of running git: its environment, the folder where it runs, and settings that outdo what is configured."""

    env: Mapping[str, str] = field(repr=False)
    cwd: Path
    settings: tuple[str, ...] = ()

    def run(
        self, *args: str | Path, stdin: bytes = b"", ok: tuple[int, ...] = (0,), env: Mapping[str, str] | None = None
    ) -> Finished:
        """Run git to its end; blocks.

        Raises:
            MachineError: git is missing, hangs, or ended with a code that is not in `ok`.
        """
        finished = self.attempt(*args, stdin=stdin, env=env)
        if finished.code not in ok:
            raise MachineError(f"git {args[0]} failed in {self.cwd}: {finished.complaint}")
        return finished

    def most_of(self, *args: str, most: int) -> bytes:
        """What git says, where that is at most `most` bytes; blocks. For stores that others made.

        Raises:
            MachineError: git is missing, hangs, failed, or says more.
        """
        options = [word for setting in (*_QUIET, *self.settings) for word in ("-c", setting)]
        try:
            process = subprocess.Popen(
                ["git", *options, *args],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=self.cwd,
                env=self.env,
                process_group=0,
            )
        except OSError as error:
            raise MachineError(f"git {args[0]} cannot be started in {self.cwd}: {error.strerror}") from error
        late = threading.Timer(_TIMEOUT, process.kill)
        late.start()
        try:
            with process:
                assert process.stdout is not None
                out = process.stdout.read(most + 1)
                if len(out) > most:
                    process.kill()
        finally:
            late.cancel()
        if len(out) > most:
            raise MachineError(f"git {args[0]} says more than {most} bytes in {self.cwd}")
        if process.returncode:
            raise MachineError(f"git {args[0]} failed in {self.cwd}: exit code {process.returncode}")
        return out

    def merge_tree(self, *words: str, options: tuple[str, ...] = ()) -> Finished:
        """Merge without a checkout: the first part of what it says is the tree; exit code 1 tells of conflicts. Blocks.

        Raises:
            MachineError: it failed. Where objects are gone, git tells that with the same code, and without a tree.
        """
        done = self.run(*options, "merge-tree", "--write-tree", "-z", "--name-only", *words, ok=(0, 1))
        if not done.out.strip(b"\0"):
            raise MachineError(f"git merge-tree failed in {self.cwd}: {done.complaint}")
        return done

    def attempt(self, *args: str | Path, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Finished:
        """Like `run`, whatever the exit code."""
        options = [word for setting in (*_QUIET, *self.settings) for word in ("-c", setting)]
        try:
            done = subprocess.run(
                ["git", *options, *map(str, args)],
                input=stdin,
                capture_output=True,
                cwd=self.cwd,
                env={**self.env, **(env or {})},
                timeout=_TIMEOUT,
                check=False,
                process_group=0,  # the terminal's keys are not for it: Ctrl-Z once stopped it before it was git
            )
        except FileNotFoundError as error:
            if shutil.which("git") is not None:
                raise MachineError(f"git cannot run in {self.cwd}: the folder is gone") from error
            raise MachineError("git is not installed", remedy="run `sudo apt-get install git`") from error
        except OSError as error:
            raise MachineError(f"git {args[0]} cannot be started in {self.cwd}: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise MachineError(f"git {args[0]} did not end within {_TIMEOUT:.0f} s in {self.cwd}") from error
        return Finished(done.returncode, done.stdout, done.stderr.decode(errors="replace"))


def own_git(store: Path) -> Git:
    """git in a bare repository of ours, whatever is configured on this machine."""
    return Git({"PATH": os.environ.get("PATH", os.defpath), **_OWN, **_COMMON, "GIT_DIR": str(store)}, store)


def user_git(folder: Path) -> Git:
    """git as the user has configured it, but deaf to a repository that the environment names."""
    env = {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or _KEPT.fullmatch(key)}
    return Git({**env, **_COMMON}, folder)


def without_filters(git: Git) -> Git:
    """git in a repository that lies in the user's without being recorded there: without the filters that its own
    configuration names, which are programs.

    Those of the user's configuration stay, but where the repository gives them another meaning.
    """
    told = git.attempt("config", "--show-scope", "--name-only", "-z", "--get-regexp", r"^filter\.").out.split(b"\0")
    own = [key for scope, key in zip(told[::2], told[1::2], strict=False) if scope in (b"local", b"worktree")]
    names = dict.fromkeys(os.fsdecode(key.split(b".", 1)[1].rpartition(b".")[0]) for key in own)
    env = dict(git.env)
    count = int(env.get("GIT_CONFIG_COUNT") or 0)
    for name in names:
        if name == "lfs":  # runs no program that is configured: `lfs.filtered` says what runs
            continue
        for key, setting in (("process", ""), ("clean", ""), ("smudge", ""), ("required", "false")):
            # Not by -c: a name may hold an equals sign.
            env |= {f"GIT_CONFIG_KEY_{count}": f"filter.{name}.{key}", f"GIT_CONFIG_VALUE_{count}": setting}
            count += 1
    return replace(git, env=env | {"GIT_CONFIG_COUNT": str(count)} if names else git.env)


@lru_cache(maxsize=1)
def _version(path: str, *program: str | int) -> str:
    """What the git of a PATH says that it is; asked again when the `program` is another."""
    return Git({"PATH": path, **_OWN}, Path("/")).run("version").text


def require_version() -> None:
    """Raises: MachineError where git is missing or too old."""
    path = os.environ.get("PATH", os.defpath)
    try:
        program = shutil.which("git", path=path) or "git"
        about = Path(program).stat()
        text = _version(path, program, about.st_ino, about.st_mtime_ns)
    except OSError:
        text = _version.__wrapped__(path)
    found = re.search(r"(\d{1,4})\.(\d{1,4})", text)
    if found is None or (int(found[1]), int(found[2])) < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        raise MachineError(f"{text or 'this git'} is too old", remedy=f"install git {wanted} or newer")


def one_line(path: bytes) -> str:
    """A path as it can be told."""
    text = path.decode(errors="replace")
    return text if text.isprintable() else repr(text)


def quoted(path: Path) -> str:
    """A path as a line of `objects/info/alternates`, whatever characters it has."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'
