"""What only shows where pyarrow is installed, which `make test` goes without: 45 MB, and each run would write
Parquet at its end."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.interop.servers import Require, environment

ROOT = Path(__file__).parents[2]
TESTS = (
    "tests/integration/test_memory.py::test_a_log_is_written_as_parquet_in_bounded_memory",
    "tests/integration/test_short_machine.py::"
    "test_a_run_ends_in_order_where_there_is_no_room_for_the_libraries_of_parquet",
    "tests/unit/test_tuning.py::test_arrow_takes_its_memory_from_the_c_library_unless_somebody_says_otherwise",
)


def test_the_tests_that_want_pyarrow(require: Require, tmp_path: Path) -> None:
    programs = environment("arrow", ("pyarrow>=26",), require)
    (packages,) = programs.parent.glob("lib/python*/site-packages")
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(packages)]), "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", f"--basetemp={tmp_path}/t", *TESTS]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "SKIPPED" not in done.stdout
