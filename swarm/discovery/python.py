"""Python: pytest, tox, nox, Django, unittest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from swarm.discovery.found import Found, Rank, any_below, ini_has, inside, text_of, toml_of

_TESTS = ("test_*.py", "*_test.py")
_FOLDERS = ("tests", "test")
PYTEST = "python3 -m pytest -q"
"""Not plain `pytest`: so what lies in the folder can be imported, installed or not."""


def find(folder: Path) -> Iterator[Found]:
    """The ways in which a folder of Python is tested, the surest first."""
    yield from _pytest(folder)
    pyproject = toml_of(folder / "pyproject.toml")
    if section := ini_has(folder / "tox.ini", "tox", "testenv"):
        yield Found("tox -q", "tox", f"tox.ini: [{section}]", Rank.WRAPPED)
    elif inside(pyproject, "tool", "tox") is not None:
        yield Found("tox -q", "tox", "pyproject.toml: [tool.tox]", Rank.WRAPPED)
    if (folder / "noxfile.py").is_file():
        yield Found("nox", "nox", "noxfile.py", Rank.WRAPPED)
    if "django" in text_of(folder / "manage.py"):
        yield Found("python3 manage.py test", "python3", "manage.py", Rank.BUILT, module="django")
    yield from _unittest(folder)


def _pytest(folder: Path) -> Iterator[Found]:
    why, rank = _configured(folder), Rank.CONFIGURED
    if not why:
        why, rank = _held(folder), Rank.BUILT
    if why:
        project = rank is Rank.CONFIGURED or _is_project(folder)
        yield Found(PYTEST, "python3", why, rank, module="pytest", project=project)


def _configured(folder: Path) -> str:
    """Where it is said that pytest tests this folder."""
    for name in ("pytest.ini", ".pytest.ini", "pytest.toml", ".pytest.toml"):
        if (folder / name).is_file():
            return name
    tools = inside(toml_of(folder / "pyproject.toml"), "tool", "pytest")
    if tools is not None:
        return f"pyproject.toml: [tool.pytest{'.ini_options' if inside(tools, 'ini_options') is not None else ''}]"
    for name, section in (("tox.ini", "pytest"), ("setup.cfg", "tool:pytest")):
        if ini_has(folder / name, section):
            return f"{name}: [{section}]"
    return ""


def _held(folder: Path) -> str:
    """What looks like tests for pytest, though nothing says so."""
    if (folder / "conftest.py").is_file():
        return "conftest.py"
    for name in _FOLDERS:
        if (folder / name).is_dir() and any_below(folder / name, "conftest.py", *_TESTS):
            return f"{name}/"
    if any_below(folder, *_TESTS, depth=0):
        return "test_*.py"
    if _is_project(folder) and any_below(folder, *_TESTS):
        return "test_*.py in its folders"
    return ""


def _is_project(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ("pyproject.toml", "setup.py", "setup.cfg"))


def _unittest(folder: Path) -> Iterator[Found]:
    for name in _FOLDERS:
        if (folder / name).is_dir() and any_below(folder / name, "test*.py"):
            top = " -t ." if (folder / name / "__init__.py").is_file() else ""
            command = f"python3 -m unittest discover -s {name}{top}"
            yield Found(command, "python3", f"{name}/", Rank.GUESSED, project=_is_project(folder))
            return
    if any_below(folder, "test*.py", depth=0):
        yield Found("python3 -m unittest", "python3", "test*.py", Rank.GUESSED, project=_is_project(folder))
