"""What a repository brings to run with (`.venv`, `node_modules`): told by its files, and never run on this machine.

It may be a stranger's, or a patch's: a program in it runs in sandboxes alone, and no link in it shows a sandbox what
else lies on this machine.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path
from shutil import which

from swarm.values import value

_PYTHONS = (".venv", "venv")
_OTHERS = ("node_modules",)
_CONFIG = "pyvenv.cfg"
_NAMES = ("python3", "python")
_INSTALLED = (".package-lock.json", ".modules.yaml", ".yarn-integrity", ".yarn-state.yml")
"""What npm, pnpm and Yarn leave in a folder of packages."""

_LONGEST = 1 << 16
_SHARED = re.compile(r"^[ \t]*include-system-site-packages[ \t]*=[ \t]*true[ \t]*$", re.MULTILINE)

_VERSION = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,99}")
"""A version by its name; a path or an address could make a shim run what lies in the repository."""

_PARTS = ("bin", "lib", "lib64", "include")
"""Of a folder that holds more than a Python, what that needs."""


@value(frozen=True, slots=True)
class Environment:
    """A Python's folder, the folder of the Python that it was made of, and its program."""

    prefix: Path
    base: Path
    executable: Path


def own_folders(repo: Path) -> list[Path]:
    """Folders of a repository that hold what it runs with, though git mostly does not keep them.

    A link counts where it leads to such a folder, and not to just any.
    """
    found = [repo / name for name in (*_PYTHONS, *_OTHERS)]
    found = [folder for folder in found if _kind(folder) == stat.S_IFDIR]
    return [folder for folder in found if not folder.is_symlink() or _leads_to_one(folder, repo)]


def own_python(repo: Path, path: str = "") -> Environment | None:
    """The Python among them; else that of a PATH, where it lies in the repository: its user activated it."""
    for folder in own_folders(repo):
        if folder.name in _PYTHONS and (python := _python(folder, repo)) is not None:
            return python
    first = next((found for name in _NAMES if (found := which(name, path=path)) is not None), "")
    folder = Path(first).parent.parent
    inside = Path(first).is_absolute() and _real(repo) in _real(folder).parents
    return _python(folder, repo) if inside and _is_environment(folder) else None


def path_without(repo: Path, path: str) -> str:
    """A PATH without the folders by which a Python that lies in the repository could be run."""
    top = _real(repo)
    kept = []
    for folder in path.split(os.pathsep):
        # Where a program is no link, it lies where its folder does.
        programs = [Path(folder, name) for name in _NAMES]
        links = (_real(program) for program in programs if _is_link(program))
        if not _is_in(top, Path(folder)) and not any(program.is_relative_to(top) for program in links):
            kept.append(folder)
    return os.pathsep.join(kept)


def lies_in(repo: Path, file: Path) -> bool:
    """Whether a path is a repository's, by its name or by where it leads."""
    return _is_in(_real(repo), file)


def _is_in(top: Path, file: Path) -> bool:
    real = _real(file)
    return real.is_relative_to(top) or (_is_link(file) and (_real(file.parent) / file.name).is_relative_to(top))


def holds_module(environment: Environment, module: str) -> bool:
    """Whether a module can be imported there, as far as names of files tell."""
    own = [environment.prefix / "lib", environment.prefix / "lib64"]
    folders = [place for lib in own for place in lib.glob("py*/site-packages")]
    folders += [place for lib in ("lib", "lib64", "local/lib") for place in (environment.base / lib).glob("py*")]
    told = _text(environment.prefix / _CONFIG)
    if not told or _SHARED.search(told):  # no virtual environment, or one that sees what its base has
        folders += [place / name for place in (*folders,) for name in ("site-packages", "dist-packages")]
    return any((place / module).is_dir() or (place / f"{module}.py").is_file() for place in folders)


def pinned(repo: Path) -> dict[str, str]:
    """The variables that tell a version manager which Python a repository wants, in place of its own look there and in
    the folders above."""
    plain, several = _nearest(repo, ".python-version"), _nearest(repo, ".tool-versions")
    pyenv = [words[0] for words in _lines(plain) if _VERSION.fullmatch(words[0])]
    tools = next((words[1:] for words in _lines(several) if words[0] == "python"), [])
    tools = [word for word in tools if _VERSION.fullmatch(word)]
    nearer = len(several.parts) > len(plain.parts)
    found = (tools or pyenv) if nearer else (pyenv or tools)
    told = {"PYENV_VERSION": ":".join(pyenv)} if pyenv else {}
    return told | ({"ASDF_PYTHON_VERSION": found[0], "MISE_PYTHON_VERSION": found[0]} if found else {})


def without_private(folders: Iterable[Path], env: Mapping[str, str]) -> list[Path]:
    """Folders of Pythons to be shown; of one that holds a home, or what programs keep there, only what is Python's."""
    private = _private(env)
    shown: list[Path] = []
    for folder in folders:
        if any(place.is_relative_to(_real(folder)) for place in private):
            shown += [folder / part for part in _PARTS if (folder / part).is_dir()]
        else:
            shown.append(folder)
    return shown


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # `resolve` raises where links lead in a circle


def _private(env: Mapping[str, str]) -> list[Path]:
    home = Path(env.get("HOME") or "/nonexistent")
    places = [home, home / ".config", home / ".local/share", Path(env.get("SWARM_HOME") or home)]
    return [_real(place) for place in places]


def _leads_to_one(link: Path, repo: Path) -> bool:
    place = _real(link)
    above = [_real(repo), *_private(os.environ)]
    if place.is_relative_to(_real(repo / ".git")) or any(each.is_relative_to(place) for each in above):
        return False
    if link.name in _PYTHONS:
        return _is_environment(place)
    return place.name == link.name or any(_is_file(place / name) for name in _INSTALLED)


def _is_environment(folder: Path) -> bool:
    return _is_file(folder / _CONFIG) or _kind(folder / "conda-meta") == stat.S_IFDIR


def _python(folder: Path, repo: Path) -> Environment | None:
    for name in _NAMES:
        executable = folder / "bin" / name
        if _is_file(executable):
            base = _base(folder, repo)
            reaches = [_real(each) for each in (folder, base, Path("/usr"))]
            plain = any(_real(executable).is_relative_to(each) for each in reaches)
            return Environment(folder, base, executable if plain else folder)
    return None


def _base(folder: Path, repo: Path) -> Path:
    """The Python that an environment was made of; itself where its files tell of none that there is elsewhere.

    What is in the repository is none: its programs would go before the machine's.
    """
    told = dict[str, Path]()
    for line in _text(folder / _CONFIG).splitlines():
        key, _, value = line.partition("=")
        told.setdefault(key.strip(), Path(value.replace("\0", "").strip()))
    home = [told["home"]] if "home" in told else []
    linked = [place / name for place in (*home, folder / "bin") for name in _NAMES]
    linked += [told["executable"]] if "executable" in told else []
    for place in (*home, *(_real(each).parent for each in linked if each.is_absolute() and _is_file(each))):
        base = place.parent
        libs = [lib for part in ("lib", "lib64") for lib in (base / part).glob("py*/os.py")]
        if place.is_absolute() and not lies_in(repo, base) and any(_is_file(lib) for lib in libs):
            return base
    return folder


def _nearest(repo: Path, name: str) -> Path:
    top = _real(repo)
    return next((folder / name for folder in (top, *top.parents) if _is_file(folder / name)), top / name)


def _kind(path: Path) -> int:
    try:
        return stat.S_IFMT(path.stat().st_mode)
    except OSError:  # `is_file` raises where a folder above is closed
        return 0


def _is_link(path: Path) -> bool:
    try:
        return path.is_symlink()
    except OSError:  # a folder above is closed
        return False


def _is_file(path: Path) -> bool:
    return _kind(path) == stat.S_IFREG


def _lines(file: Path) -> list[list[str]]:
    """The words of a file's lines; comments are none."""
    return [words for line in _text(file).splitlines() if (words := line.partition("#")[0].split())]


def _text(path: Path) -> str:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return ""
        with path.open("rb") as file:
            return file.read(_LONGEST).decode(errors="replace")
    except OSError:
        return ""
