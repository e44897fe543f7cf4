"""How a start loads what is large: almost all that a first answer costs is the loading of modules."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from threading import RLock
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.abc import Loader

LATE = {
    "langgraph_sdk": ("langgraph-sdk", "0.4."),
    "langsmith.types": ("langsmith", "0.15."),
    "openai.lib": ("openai", "3.54."),
    "openai.types": ("openai", "3.54."),
    "openai.types.chat": ("openai", "3.54."),
    "openai.types.responses": ("openai", "3.54."),
    "openai.types.shared": ("openai", "3.54."),
    "openai.types.shared_params": ("openai", "3.54."),
}
"""Packages of which others import one module, or the bare package, and whose `__init__` would load hundreds more; with
the releases that were looked at: none of their modules asks its package for a name while it is loaded, but for those
that only hand on names of their modules: of these a name brings its own module alone. Of another release nothing is
put off, which costs half a second. `tests/unit/test_loading.py` looks at those that are locked."""

THE_RUN = (
    *("swarm.tools.toolsets", "swarm.tools.search", "swarm.agents.agent", "swarm.documents.reading_room"),
    *("swarm.forecast.previewer", "swarm.executors.local", "swarm.loop", "swarm.session", "swarm.run"),
)
"""What a run needs until its first model call, behind what it imports."""

THE_GRAPH = (
    *("urllib3", "requests", "pydantic.v1", "langchain_core.messages"),
    *("langsmith.schemas", "langsmith.utils", "langsmith.client", "langsmith.run_trees"),
    *("langchain_core.callbacks.manager", "langchain_core.tracers.event_stream"),
    *("langgraph.checkpoint.sqlite.aio", "langgraph.pregel", "langgraph.graph", "swarm.graph"),
)
"""The graph of a run, behind what it imports: so that nobody waits long for one of them."""

_OTHERS_S = 0.001
_MANY = 50
"""Modules that are worth telling the collector of."""

_OF_ANY_MODULE = frozenset({"__wrapped__", "__warningregistry__", "__path__", "__file__", "__cached__", "__bases__"})
"""Asked of every module, by whoever looks through them all."""


@contextmanager
def lightly() -> Iterator[None]:
    """Modules are imported inside the block with what `LATE` names put off, and with the garbage collector at rest:
    what they make is there to stay."""
    finder = _LateFinder(LATE)
    sys.meta_path.insert(0, finder)
    collects, loaded = gc.isenabled(), len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        with suppress(ValueError):  # somebody has put others in their place
            sys.meta_path.remove(finder)
        if collects:
            if len(sys.modules) - loaded >= _MANY and not gc.get_freeze_count():  # else it is somebody's wish
                gc.freeze()
                gc.unfreeze()  # all is among the old now, without having been gone through
            gc.enable()


async def load(*modules: str) -> None:
    """Load modules lightly: a companion of work that waits for other processes, which has to have begun by then, and
    goes on between one module and the next, as long as that took: half of the time at least is the others'. It never
    fails: whoever needs a module tells what is wrong with it."""
    import anyio  # here only: whoever asks for the class of an error needs no event loop

    took = 0.0
    for module in modules:
        if module not in sys.modules:
            await anyio.sleep(max(took, _OTHERS_S))
            began = time.perf_counter()
            with suppress(Exception), lightly():
                import_module(module)
            took = time.perf_counter() - began


async def look_ahead() -> None:
    """Load what a run will need, and find out what its clients tell of this machine: as far as it goes while somebody
    waits for something else, who at most waits for one module. It never fails."""
    if THE_GRAPH[-1] in sys.modules:
        return
    import platform

    import anyio.to_thread

    async def told() -> None:
        with suppress(Exception):  # it starts a program, and remembers what that said
            await anyio.to_thread.run_sync(platform.platform, abandon_on_cancel=True)

    async with anyio.create_task_group() as group:
        group.start_soon(told)
        group.start_soon(load, *THE_RUN, *THE_GRAPH)


class _LateFinder:
    """Finds packages as they are found otherwise, but for their loader."""

    def __init__(self, packages: Mapping[str, tuple[str, str]]) -> None:
        self._packages = packages

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if self._known(fullname) else None
        if spec is not None and spec.loader is not None:
            spec.loader = _LateLoader(spec.loader)  # type: ignore[assignment]  # it has what a loader needs
        return spec

    def _known(self, fullname: str) -> bool:
        if fullname not in self._packages:
            return False
        name, release = self._packages[fullname]
        return f"{_version(name)}.".startswith(release)


@cache
def _version(name: str) -> str:
    """Of what is installed by that name, empty where it is not: its description is read in whole for that."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return ""


class _LateLoader:
    """Runs the code of a package when a name is asked for that the package does not have yet. Whoever imports a module
    inside it by its full name gets that alone."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._lock = RLock()
        self._at_work = False
        self._listed: dict[str, tuple[str, str]] | None = None

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _LatePackage(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing yet."""

    def listed(self, package: ModuleType, name: str) -> object | None:
        """What a package that only hands on names of its modules (`from .module import name`) would give for one of
        them, without the others; None where it does more than that, or does not list it."""
        with self._lock:
            if self._listed is None:
                self._listed = _handed_on(self._loader, package)
            if name not in self._listed or self._at_work:
                return None
            where, inside = self._listed[name]
        module = import_module(where)  # without the lock: another thread may hold that of the import
        return getattr(module, inside) if inside else module

    def finish(self, package: ModuleType) -> None:
        """Run its code, unless that was done, or is being done by this very thread."""
        with self._lock:
            if self._at_work or type(package) is ModuleType:
                return
            self._at_work = True
            try:
                self._loader.exec_module(package)
            finally:
                self._at_work = False
            assert package.__spec__ is not None
            package.__class__ = ModuleType
            package.__spec__.loader = package.__loader__ = self._loader


class _LatePackage(ModuleType):
    """A package of which nothing has been asked for."""

    def __getattr__(self, name: str) -> object:
        loader = self.__dict__["__loader__"]
        if name in _OF_ANY_MODULE:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if isinstance(loader, _LateLoader):
            if (found := loader.listed(self, name)) is not None:
                self.__dict__[name] = found
                return found
            loader.finish(self)
        if type(self) is ModuleType:
            return getattr(self, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} yet: its code is being run")

    def __dir__(self) -> list[str]:
        loader = self.__dict__["__loader__"]
        if isinstance(loader, _LateLoader):
            loader.finish(self)
        return sorted(self.__dict__)


def _handed_on(loader: Loader, package: ModuleType) -> dict[str, tuple[str, str]]:
    """Where the names of a package come from, its modules among them, by what its code says; none where that does
    anything but import them."""
    import ast
    from pkgutil import iter_modules

    name = package.__name__
    source: str | None = loader.get_source(name)  # type: ignore[attr-defined]  # a loader of files has it
    found = {each.name: (f"{name}.{each.name}", "") for each in iter_modules(package.__path__)}
    for line in ast.parse(source or "pass").body:
        match line:
            case ast.ImportFrom(module="__future__"):
                continue
            case ast.ImportFrom(module=str(module), names=names, level=1) if names[0].name != "*":
                found |= {each.asname or each.name: (f"{name}.{module}", each.name) for each in names}
            case ast.Expr(value=ast.Constant(value=str())):
                continue
            case _:
                return {}
    return found
