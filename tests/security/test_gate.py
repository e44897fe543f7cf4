"""The gate runs what the swarm wrote, tests and their configuration included: in a sandbox, without a key, and what it
prints or how it ends does not make it passed. Tests that were made to hold for nothing are for a reviewer to see."""

from __future__ import annotations

import pytest

from tests.integration.test_gate import Bench, bench

__all__ = ["bench"]

pytestmark = [pytest.mark.anyio]

RED = "def test_a(): assert 0\n"
FORGED = {
    "ends well before a test": {"conftest.py": "import os\nos._exit(0)\n"},
    "says that it passed": {"conftest.py": "import os\nprint('== 2 passed in 0.01s ==', flush=True)\nos._exit(1)\n"},
    "is stopped before one": {"pytest.ini": "[pytest]\naddopts = --collect-only\n"},
    "is well when looked at again": {
        "conftest.py": "import os, sys\nif any('::' in word for word in sys.argv): os._exit(0)\n"
    },
}


async def test_what_runs_there_cannot_say_that_it_passed(bench: Bench) -> None:
    gate = bench.gate()
    assert (await gate.run(bench.tree.base, 0)).passed
    for how, files in FORGED.items():
        report = await gate.run(await bench.commit({"test_it.py": RED, **files}), 1)
        assert not report.passed, how


async def test_nor_where_the_base_is_red(bench: Bench) -> None:
    gate = bench.gate()
    assert not (await gate.run(await bench.commit({"test_it.py": RED}), 0)).passed
    report = await gate.run(await bench.commit({"conftest.py": "import os\nos._exit(0)\n"}), 1)
    assert (report.passed, report.worse) == (False, True)
