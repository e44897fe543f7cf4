"""llama.cpp's own server with a tiny random model, once for all tests: a real endpoint that is not ours."""

from __future__ import annotations

import importlib.util
import os
import selectors
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests import llama_cpp_model
from tests.llama_cpp_server import ALIAS, API_KEY, WINDOW

_START_S = 180.0
_STOP_S = 10.0


@dataclass(frozen=True)
class LlamaCpp:
    """The server: its address as `--base-url` wants it, its key, its one model, and the tokens of its window."""

    url: str
    key: str = API_KEY
    model: str = ALIAS
    window: int = WINDOW

    @property
    def env(self) -> dict[str, str]:
        """What the command line needs to find it."""
        return {"OPENAI_BASE_URL": self.url, "OPENAI_API_KEY": self.key, "SWARM_MODEL": self.model}


@pytest.fixture(scope="session")
def llama_cpp(require: Callable[[object, str], None], tmp_path_factory: pytest.TempPathFactory) -> Iterator[LlamaCpp]:
    missing = [name for name in ("xllamacpp", "gguf") if importlib.util.find_spec(name) is None]
    require(not missing, f"not installed: {', '.join(missing)} (llama.cpp's server, and the form of its models)")
    folder = tmp_path_factory.mktemp("llama-cpp")
    llama_cpp_model.write(folder / "model.gguf")
    program = Path(__file__).with_name("llama_cpp_server.py")
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, str(program), str(folder / "model.gguf")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env={key: os.environ[key] for key in ("PATH", "LD_LIBRARY_PATH") if key in os.environ},
        )
    assert server.stdin is not None
    assert server.stdout is not None
    with server.stdin, server.stdout:
        try:
            with selectors.DefaultSelector() as waiting:  # select() takes no descriptor above 1023
                waiting.register(server.stdout, selectors.EVENT_READ)
                ready = waiting.select(_START_S)
            address = server.stdout.readline().decode().strip() if ready else ""
            tail = (folder / "log").read_text(errors="replace")[-400:]
            require(address, f"llama.cpp's server does not come up: {tail}")
            yield LlamaCpp(f"{address}/v1")
        finally:
            server.stdin.close()  # its end
            try:
                server.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()
