"""How a start loads what is large: almost all that a first answer costs is the loading of modules."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
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
    "openai.types": ("openai", "3.54."),
    "openai.types.responses": ("openai", "3.54."),
    "openai.types.shared": ("openai", "3.54."),
}
"""Packages of which others import one module, or the bare package, and whose `__init__` would load hundreds more; with
the releases that were looked at: none of their modules asks its package for a name while it is loaded. Of another
release nothing is put off, which costs half a second. `tests/unit/test_loading.py` looks at those that are locked."""

_BEGUN_S = 0.01
_MANY = 50
"""Modules that are worth telling the collector of."""

_OF_ANY_MODULE = frozenset({"__wrapped__", "__warningregistry__", "__path__", "__file__", "__cached__", "__bases__"})
"""Asked of every module, by whoever looks through them all."""


@contextmanager
def lightly() -> Iterator[None]:
    """Modules are imported inside the block with what `LATE` names put off, and the garbage collector at rest: what
    they make is there to stay."""
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


async def load(module: str) -> None:
    """Load a module lightly: a companion of work that waits for another process, which has to have begun by then."""
    import anyio  # here only: whoever asks for the class of an error needs no event loop

    await anyio.sleep(_BEGUN_S)
    with suppress(ImportError), lightly():  # whoever needs it tells what is wrong with it
        import_module(module)


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
        from importlib.metadata import PackageNotFoundError, version

        name, release = self._packages[fullname]
        with suppress(PackageNotFoundError):
            return f"{version(name)}.".startswith(release)
        return False


class _LateLoader:
    """Runs the code of a package when a name is asked for that the package does not have yet. Whoever imports a module
    inside it by its full name gets that alone."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader
        self._lock = RLock()
        self._at_work = False

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _LatePackage(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Nothing yet."""

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
            loader.finish(self)
        if type(self) is ModuleType:
            return getattr(self, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r} yet: its code is being run")

    def __dir__(self) -> list[str]:
        loader = self.__dict__["__loader__"]
        if isinstance(loader, _LateLoader):
            loader.finish(self)
        return sorted(self.__dict__)
