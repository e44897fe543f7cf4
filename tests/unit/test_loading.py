"""`swarm.loading`: packages that are put off do all they do otherwise, only later."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType

import anyio
import anyio.lowlevel
import pytest

from swarm import loading
from swarm.loading import lightly, load

BIG = """
import time
from big.ran import RAN
RAN.append(__name__)
time.sleep(0.05)
from .leaf import LEAF
from . import other as other
VALUE = 1
__version__ = "1.2.3"
__all__ = ["VALUE", "LEAF"]
"""


@pytest.fixture
def ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Tells the packages whose code was run: there is one, `big`, with three modules, which is put off."""
    files = {"__init__": BIG, "ran": "RAN = []", "leaf": "LEAF = 'leaf'", "other": "class Thing:\n    pass\n"}
    (tmp_path / "big").mkdir()
    (tmp_path / "big-1.2.3.dist-info").mkdir()
    (tmp_path / "big-1.2.3.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: big\nVersion: 1.2.3\n")
    for name, text in files.items():
        (tmp_path / f"big/{name}.py").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(loading, "LATE", {"big": ("big", "1.2.")})
    with lightly():
        found: list[str] = import_module("big.ran").RAN
    yield found
    for name in [name for name in sys.modules if name.partition(".")[0] == "big"]:
        del sys.modules[name]


def big() -> ModuleType:
    return sys.modules["big"]


def test_a_module_inside_is_loaded_alone(ran: list[str]) -> None:
    with lightly():
        assert import_module("big.leaf").LEAF == "leaf"
    assert ran == []
    assert "big.other" not in sys.modules


def test_a_name_is_there_when_it_is_asked_for_and_all_is_run_once(ran: list[str]) -> None:
    assert big().VALUE == 1
    assert ran == ["big"]
    assert type(big()) is ModuleType
    spec = big().__spec__
    assert spec is not None
    assert spec.loader is big().__loader__
    assert type(big().__loader__).__module__.startswith(("importlib", "_frozen_importlib"))
    assert (big().LEAF, big().VALUE) == ("leaf", 1)
    assert import_module("big") is big()
    assert ran == ["big"]


def test_its_version_and_a_list_of_its_names_can_be_asked_for(ran: list[str]) -> None:
    assert big().__version__ == "1.2.3"
    assert ran == ["big"]


def test_a_list_of_its_names_is_that_of_all(ran: list[str]) -> None:
    assert {"LEAF", "VALUE", "other"} <= set(dir(big()))
    assert ran == ["big"]


def test_nothing_is_put_off_of_a_release_that_was_not_looked_at(
    ran: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "LATE", {"big": ("big", "1.3.")})
    del sys.modules["big"]
    with lightly():
        import_module("big")
    assert ran == ["big"]


def test_it_is_imported_from_as_ever(ran: list[str]) -> None:
    names: dict[str, object] = {}
    exec("from big import *\nfrom big import other", names)
    assert (names["VALUE"], names["LEAF"]) == (1, "leaf")
    assert names["other"] is sys.modules["big.other"]
    assert ran == ["big"]


def test_what_is_not_there_is_not_there(ran: list[str]) -> None:
    assert not hasattr(big(), "__wrapped__")
    assert ran == [], "whoever looks through all modules runs none"
    with pytest.raises(AttributeError, match=r"module 'big' has no attribute 'nothing'"):
        _ = big().nothing
    with pytest.raises(ImportError):
        exec("from big import nothing")


def test_what_it_holds_can_be_pickled(ran: list[str]) -> None:
    thing = big().other.Thing
    assert pickle.loads(pickle.dumps(thing)) is thing


def test_who_asks_while_it_is_run_waits(ran: list[str]) -> None:
    found: list[int] = []
    package = big()
    threads = [threading.Thread(target=lambda: found.append(package.VALUE)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert found == [1] * 8
    assert ran == ["big"]


def test_a_failure_comes_out_each_time(ran: list[str]) -> None:
    path = Path(str(big().__file__))
    path.write_text("raise ValueError('broken')")
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            _ = big().VALUE
    path.write_text("VALUE = 22")
    assert big().VALUE == 22


def test_outside_of_the_block_nothing_is_put_off(ran: list[str]) -> None:
    before = list(sys.meta_path)
    with pytest.raises(KeyError), lightly():
        assert len(sys.meta_path) == len(before) + 1
        raise KeyError
    assert sys.meta_path == before
    del sys.modules["big"]
    import_module("big")
    assert ran == ["big"]


def python(code: str) -> str:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


@pytest.mark.parametrize("name", sorted(loading.LATE))
def test_each_of_their_modules_can_be_the_first_that_is_asked_for(name: str) -> None:
    code = f"""
import pkgutil
from importlib import import_module
from swarm.loading import lightly
with lightly():
    package = import_module({name!r})
    for found in pkgutil.iter_modules(package.__path__, {name!r} + "."):
        import_module(found.name)
"""
    python(code)


def test_who_uses_langgraph_beside_us_meets_nothing_of_it() -> None:
    code = """
import swarm.graph
from langgraph.pregel.remote import RemoteGraph
RemoteGraph("a", url="http://127.0.0.1:1")
from langgraph_sdk import __version__
"""
    python("from swarm.loading import lightly\nwith lightly():\n    import swarm.graph\n" + code)


@pytest.mark.parametrize("name", sorted(loading.LATE))
def test_each_of_those_packages_is_there_and_gives_its_names(name: str) -> None:
    """That one of them is gone, or holds nothing any more, is to be seen."""
    code = f"""
import sys
from importlib import import_module
from swarm.loading import lightly
with lightly():
    package = import_module({name!r})
few = len(sys.modules)
assert not hasattr(package, "no_such_name")
print(len(sys.modules) - few, len(dir(package)))
"""
    more, names = map(int, python(code).split())
    assert more > 3
    assert names > 8


@pytest.mark.anyio
async def test_modules_are_loaded_one_by_one_while_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("apart_a", "apart_b"):
        (tmp_path / f"{name}.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(load, "no_such_module_at_all", "apart_a", "apart_b")
            while "apart_a" not in sys.modules:
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        assert "apart_b" not in sys.modules, "whoever waited goes on between them"
        await load("apart_a", "apart_b")
        assert "apart_b" in sys.modules
    finally:
        for name in ("apart_a", "apart_b"):
            sys.modules.pop(name, None)


@pytest.fixture
def handed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package put off that only hands on names of its modules."""
    text = (
        '"""Two."""\nfrom __future__ import annotations\nfrom .one import One as First\nfrom .two import Two, other\n'
    )
    folder = tmp_path / "handed"
    folder.mkdir()
    (tmp_path / "handed-1.0.dist-info").mkdir()
    (tmp_path / "handed-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: handed\nVersion: 1.0\n")
    files = {"__init__": text, "one": "One = 1", "two": "Two, other = 2, 22", "three": "Three = 3"}
    for name, code in files.items():
        (folder / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(loading, "LATE", {"handed": ("handed", "1.0")})
    with lightly():
        yield import_module("handed")
    for name in [name for name in sys.modules if name.partition(".")[0] == "handed"]:
        del sys.modules[name]


def test_a_name_that_is_only_handed_on_brings_its_own_module_alone(handed: ModuleType) -> None:
    names: dict[str, object] = {}
    exec("from handed import First, three", names)
    assert (names["First"], names["three"]) == (1, sys.modules["handed.three"])
    assert "handed.two" not in sys.modules
    assert handed.First == 1
    assert handed.other == 22
    assert type(handed) is not ModuleType
    assert not hasattr(handed, "One"), "it has another name outside, and its code was run to be sure"
    assert type(handed) is ModuleType
    assert (handed.First, handed.Two) == (1, 2)


@pytest.mark.parametrize("more", ["VALUE = 3", "import sys", "from .two import *", "from math import pi"])
def test_the_code_of_a_package_that_does_more_is_run(more: str, handed: ModuleType) -> None:
    path = Path(str(handed.__file__))
    path.write_text(f"{path.read_text()}{more}\n")
    assert handed.First == 1
    assert type(handed) is ModuleType
    assert "handed.two" in sys.modules
