"""What an image is to be made of, found out before anything is made: suite, mirror, packages, Python."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from swarm.errors import UsageError
from swarm.sandboxes.images.asking import output
from swarm.sandboxes.images.python import Installation, installations, library_packages

PACKAGES = ("ca-certificates", "git", "make", "python3", "python3-pip", "python3-venv", "ripgrep")
_COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "universe")}
_REPOSITORY = "swarm-base"


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for; empty where it is left to us."""

    name: str = ""
    python: str = ""
    packages: tuple[str, ...] = ()
    suite: str = ""
    mirror: str = ""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides what is in an image. `python`: the version asked for, or nothing; `copied`: whence it comes
    where the suite does not hold it; `mirror`: empty for debootstrap's own choice."""

    name: str
    suite: str
    mirror: str
    components: tuple[str, ...]
    packages: tuple[str, ...]
    python: str
    copied: Installation | None
    proxies: Mapping[str, str]

    @property
    def shown_mirror(self) -> str:
        """The mirror without a user and password."""
        parts = urlsplit(self.mirror)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))

    @property
    def fingerprint(self) -> str:
        """The same for the same inputs."""
        copied = self.copied and (self.copied.version, str(self.copied.prefix), self.copied.installed)
        inputs = [1, self.suite, self.shown_mirror, self.components, self.packages, self.python, copied]
        return hashlib.sha256(json.dumps(inputs).encode()).hexdigest()[:16]


def plan_image(wish: Wish, env: Mapping[str, str], root: Path = Path("/")) -> Recipe:
    """Look at this machine and settle what is left open. Blocks.

    Raises:
        UsageError: something that was asked for cannot be had; the message says what there is.
    """
    _check(wish)
    system = _os_release(root / "etc/os-release")
    kind = system.get("ID", "")
    own = system.get("VERSION_CODENAME", "") if kind in _COMPONENTS else ""
    suite = wish.suite or own
    if not suite or not (own or wish.mirror):
        raise UsageError(
            f"this machine is {system.get('PRETTY_NAME', 'of an unknown kind')}, whose packages cannot be used",
            remedy="name a Debian or Ubuntu with --suite NAME --mirror URL, and have debootstrap and its keyring",
        )
    sources = _sources() if own else []
    mirror = wish.mirror or _mirror(sources, suite) or _mirror(sources, own)
    packages = {*PACKAGES, *wish.packages}
    copied: Installation | None = None
    if wish.python:
        debian = _suite_pythons(sources, suite)
        if not debian and suite == own:  # apt has not been updated yet; the machine's own Python is of its suite
            debian = sorted(path.name.removeprefix("python") for path in root.glob("usr/bin/python3.?*[0-9]"))
        if wish.python in debian:
            packages |= {f"python{wish.python}", f"python{wish.python}-venv"}
        else:
            copied = _installed(wish.python, env, debian, suite, certain=suite == own)
            packages |= {*library_packages(copied)} if copied else set()
    name = wish.name or _default_name(wish, suite)
    return Recipe(
        name=name if ":" in name.rpartition("/")[2] else f"{name}:latest",
        suite=suite,
        mirror=mirror,
        components=_COMPONENTS.get(kind, ("main",)),
        packages=tuple(sorted(packages)),
        python=wish.python,
        copied=copied,
        proxies=_proxies(),
    )


def _check(wish: Wish) -> None:
    rules = (
        (
            "NAME",
            (wish.name,),
            r"[a-z0-9]+([._/-][a-z0-9]+)*(:\w[\w.-]*)?",
            "small letters and digits, and then a :tag",
        ),
        ("--python", (wish.python,), r"3\.\d+", "such as 3.9"),
        ("--suite", (wish.suite,), r"[a-z][a-z0-9.-]*", "such as bookworm"),
        ("--mirror", (wish.mirror,), r"(https?|file)://\S+", "an http, https or file URL"),
        ("--package", wish.packages, r"[a-z0-9][a-z0-9+.-]+", "one name of a package each"),
    )
    for option, values, pattern, form in rules:
        for value in values:
            if value and not re.fullmatch(pattern, value):
                raise UsageError(f"{option}: {value!r} cannot be used", remedy=f"give {form}")
    if wish.name.partition(":")[0] == "host":
        raise UsageError("NAME: `host` stands for this machine's own system folders", remedy="choose another name")


def _default_name(wish: Wish, suite: str) -> str:
    tag = suite + (f"-py{wish.python}" if wish.python else "")
    if wish.packages or wish.mirror:
        extra = json.dumps([sorted(wish.packages), wish.mirror])
        tag += f"-{hashlib.sha256(extra.encode()).hexdigest()[:8]}"
    return f"{_REPOSITORY}:{tag}"


def _installed(
    version: str, env: Mapping[str, str], debian: Sequence[str], suite: str, *, certain: bool
) -> Installation | None:
    """The newest installation of a version. `certain`: the suite surely does not hold it."""
    found = installations(env)
    for one in found:
        if one.minor == version:
            return one
    if not certain:
        return None  # perhaps it is the suite's own: seen when it is there
    here = ", ".join(dict.fromkeys(one.version for one in found)) or "none"
    raise UsageError(
        f"no Python {version} can be had: {suite} holds {', '.join(debian) or 'its own python3'}; "
        f"in folders of this machine: {here}",
        remedy=f"install one first, such as by `uv python install {version}` or `pyenv install {version}`",
    )


def _os_release(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {key: value.strip().strip("\"'") for key, _, value in pairs}


def _sources() -> list[tuple[str, str]]:
    """Mirror and suite of each of apt's sources, as apt itself reads them."""
    told = output("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
    lines = (line.split(" ") for line in told.splitlines())
    return [(parts[0], parts[1]) for parts in lines if len(parts) == 3 and parts[2] == "main"]


def _mirror(sources: Sequence[tuple[str, str]], suite: str) -> str:
    usable = (uri for uri, name in sources if name == suite and uri.startswith(("http://", "https://", "file:/")))
    return next(usable, "")


def _suite_pythons(sources: Sequence[tuple[str, str]], suite: str) -> list[str]:
    """The Pythons that a suite holds, as far as apt knows it."""
    names = [
        name for name in output("apt-cache", "pkgnames", "python3.").split() if re.fullmatch(r"python3\.\d+", name)
    ]
    if not names:
        return []
    known = {name for _, name in sources}
    held = set()
    for line in output("apt-cache", "madison", *names).splitlines():
        package, _, where = (part.strip() for part in line.split("|"))
        # `https://… bookworm/main amd64 Packages`
        if suite in known and f" {suite}/" in f" {where.partition(' ')[2]}" and where.endswith("Packages"):
            held.add(package.removeprefix("python"))
    return sorted(held, key=lambda version: int(version.partition(".")[2]))


def _proxies() -> dict[str, str]:
    """apt's proxies, under the names that other programs know."""
    found: dict[str, str] = {}
    for scheme in ("http", "https"):
        proxy = output("apt-config", "dump", "--format", "%v", f"Acquire::{scheme}::Proxy").strip()
        if proxy and proxy != "DIRECT":
            found[f"{scheme}_proxy"] = proxy
    return found
