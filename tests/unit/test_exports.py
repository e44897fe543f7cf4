"""What `import swarm` gives, and what it does not do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import swarm

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("openai", "langgraph", "langchain_core", "docker", "pydantic", "httpx", "starlette", "uvicorn", "rich")
LINKED = ("tools", "sandboxes", "evals")


def loaded_after(statement: str) -> set[str]:
    """Top-level modules of a fresh interpreter in the checkout after one statement."""
    code = f"import sys\n{statement}\nprint(' '.join({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    return set(done.stdout.split())


def test_the_list_is_sorted_and_true() -> None:
    assert list(swarm.__all__) == sorted(swarm.__all__)
    for name in swarm.__all__:
        assert getattr(swarm, name) is not None
    assert set(swarm.__all__) <= set(dir(swarm))


def test_importing_swarm_loads_nothing_heavy() -> None:
    assert not loaded_after("import swarm") & {*HEAVY, "anyio"}


def test_no_linked_folder_becomes_a_second_module() -> None:
    """In a checkout `import tools` would work; nothing that the program loads may have done it."""
    statement = "import swarm.cli.main, swarm.runtime, swarm.wiring, swarm.tools.registry"
    loaded = loaded_after(statement)
    assert "swarm" in loaded
    assert not loaded & {*LINKED}
