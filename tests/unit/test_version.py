"""`swarm --version --verbose`: all that a bug report needs, and nothing that its reader should not have."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from swarm import __version__
from swarm.cli.main import main

ROOT = Path(__file__).resolve().parents[2]
CANARY = "sk-canary-0123456789abcdefghij"

GUARDED = """
import sys
def guard(event, args):
    if event == "socket.getaddrinfo" or event == "socket.connect" and not isinstance(args[1], (str, bytes)):
        raise RuntimeError(f"{event}: the network is asked")
sys.addaudithook(guard)
from swarm.cli.main import main
code = main(sys.argv[1:])
print(*{"openai", "httpx", "docker", "langgraph", "rich"} & set(sys.modules), file=sys.stderr)
sys.exit(code)
"""


@contextmanager
def engine(answer: bytes) -> Iterator[str]:
    """What answers at the socket of a Docker Engine; gives DOCKER_HOST."""
    with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/s")
        listener.listen()
        listener.settimeout(20)

        def serve() -> None:
            with listener.accept()[0] as one:
                one.recv(1000)
                one.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"unix://{folder}/s"
        thread.join()


def test_it_tells_versions_and_names_of_settings_without_network_and_secrets(tmp_path: Path) -> None:
    repo, home = tmp_path / "repo", tmp_path / "home"
    for folder in (repo / ".git", repo / "below", home / ".config/swarm"):
        folder.mkdir(parents=True)
    (home / ".config/swarm/config.toml").write_text(f'base_url = "http://me:{CANARY}@host/v1"\nseed = 7\n')
    (repo / "swarm.toml").write_text(f'mode = "parl"\n"{CANARY}\\u001b[2J" = 1\n')
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": str(ROOT), "LANG": "C.UTF-8"}
    env |= {"OPENAI_API_KEY": CANARY, "SWARM_MODEL": "m", "UNRELATED": "x", "TERM": CANARY}
    answer = b'HTTP/1.0 200 OK\r\n\r\n{"Version": "99.1", "ApiVersion": "1.99"}'
    with engine(answer) as address:
        done = subprocess.run(
            [sys.executable, "-c", GUARDED, "--version", "--verbose", "--json"],
            cwd=repo / "below",
            env={**env, "DOCKER_HOST": address},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    assert (done.returncode, done.stderr.strip()) == (0, "")
    assert CANARY not in done.stdout
    said = json.loads(done.stdout)
    assert said["swarm"]["version"] == __version__
    assert said["sandboxes"]["docker"] == "engine 99.1, API 1.99"
    assert said["packages"]["anyio"]
    assert said["configuration (names only)"] == {
        "environment": "DOCKER_HOST, OPENAI_API_KEY, SWARM_MODEL",
        "runs": "~/.local/share/swarm",
        "~/.config/swarm/config.toml": "base_url, seed",
        f"{repo}/swarm.toml": "mode, (an odd name)",
    }


@pytest.mark.parametrize(
    ("answer", "said"),
    [(b"", "something else answers"), (b"HTTP/1.0 200 OK\r\n\r\n[" + b"[" * 40_000, "something else answers")],
    ids=["nothing", "nested"],
)
def test_whatever_answers_for_an_engine(
    answer: bytes, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with engine(answer) as address:
        monkeypatch.setenv("DOCKER_HOST", address)
        assert main(["--verbose", "--version"]) == 0
    assert f"  docker           {said}\n" in capsys.readouterr().out


def test_where_nothing_is_set_and_no_home_is_it_is_told_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://192.0.2.1:2375")
    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setenv("SWARM_HOME", "/n\udcff")
    assert main(["--version", "--verbose"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"swarm {__version__}\n")
    assert "elsewhere (DOCKER_HOST), not asked" in out
    assert "its path is not UTF-8" in out


def test_it_stands_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--verbose"]) == 2
    assert main(["--version", "--verbose", "--jsn"]) == 0  # as --version alone
    assert capsys.readouterr().out == f"swarm {__version__}\n"
