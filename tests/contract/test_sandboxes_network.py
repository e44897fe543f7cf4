"""A sandbox and the hosts that it may reach: a real server on the host's loopback, and real programs inside."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from swarm.errors import SandboxError, UsageError
from swarm.protocols import Sandbox, SandboxBackend
from swarm.sandboxes.catalog import open_backend
from swarm.sandboxes.network import gateway
from swarm.types import SandboxRequest

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).resolve().parents[2]
Require = Callable[[object, str], None]
BOUND = 60.0


class Server:
    """A server of the host. What asks for /endless is told something until it goes away."""

    def __init__(self) -> None:
        outer = self
        self.begun, self.left = threading.Event(), threading.Event()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", "6" if self.path != "/endless" else str(1 << 40))
                self.end_headers()
                self.wfile.write(b"hello\n")
                try:
                    while self.path == "/endless":
                        self.wfile.write(b"x" * (1 << 16))
                        outer.begun.set()
                except OSError:
                    outer.left.set()

            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data[::-1])

            def log_message(self, *args: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


@pytest.fixture(params=["docker", "bubblewrap"])
async def backend(request: pytest.FixtureRequest, require: Require, tmp_path: Path) -> AsyncIterator[SandboxBackend]:
    request.getfixturevalue(f"{request.param}_box")
    require(shutil.which("curl"), "curl is not installed")
    tmp_path.chmod(0o755)
    async with open_backend(request.param, tmp_path) as opened:
        yield opened


def wanted(tmp_path: Path, *network: str) -> SandboxRequest:
    workspace = tmp_path / "workspace"
    workspace.mkdir(exist_ok=True)
    return SandboxRequest("test-run", "test", tmp_path, workspace, "/workspace", network=network)


async def said(sandbox: Sandbox, command: str) -> str:
    result = await sandbox.exec(command)
    return (result.stdout + result.stderr).decode()


async def test_without_a_list_there_is_no_way_out(backend: SandboxBackend, server: Server, tmp_path: Path) -> None:
    async with backend.open(wanted(tmp_path)) as sandbox:
        url = f"http://127.0.0.1:{server.port}/"
        assert (await sandbox.exec(f"curl -s {url}")).exit_code == 7
        assert (await sandbox.exec(f"curl -s -x http://127.0.0.1:{gateway.PORT} {url}")).exit_code == 7
        assert "proxy" not in (await said(sandbox, "env")).lower()


async def test_the_hosts_of_the_list_and_no_others(
    backend: SandboxBackend, server: Server, other: Server, require: Require, tmp_path: Path
) -> None:
    host, closed = f"127.0.0.1:{server.port}", f"127.0.0.1:{other.port}"
    async with backend.open(wanted(tmp_path, host, f"localhost:{server.port}")) as sandbox:
        assert await said(sandbox, f"curl -sS http://{host}/") == "hello\n"
        assert await said(sandbox, f"curl -sS http://localhost:{server.port}/") == "hello\n"
        assert await said(sandbox, f"curl -sSp http://{host}/") == "hello\n"  # by CONNECT
        big = f"head -c 3000000 /dev/zero | tr '\\0' a >big; curl -sS --data-binary @big http://{host}/ | cmp - big"
        assert await said(sandbox, big) == ""
        assert f"--network {closed}`" in await said(sandbox, f"curl -sS http://{closed}/")
        assert "response 403" in await said(sandbox, f"curl -sSp http://{closed}/")
        assert "--network a.invalid`" in await said(sandbox, "curl -sS http://a.invalid/")
        # Past the proxy there is nothing: neither the host's loopback nor a device that leads anywhere.
        assert (await sandbox.exec(f"curl -s --noproxy '*' http://{host}/")).exit_code == 7
        assert (await sandbox.exec("curl -s --noproxy '*' -m 20 http://192.0.2.1/")).exit_code == 7
        require(Path("/usr/bin/python3").exists(), "the system has no python3")
        fetch = f"import urllib.request as u; print(u.urlopen('http://{host}/').read().decode(), end='')"
        assert await said(sandbox, f'/usr/bin/python3 -c "{fetch}"') == "hello\n"
        refused = await said(sandbox, f'/usr/bin/python3 -c "{fetch.replace(host, closed)}"')
        assert f"HTTP Error 403: {closed} is not among the hosts" in refused


async def test_each_sandbox_has_its_own_list(backend: SandboxBackend, server: Server, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    url = f"http://127.0.0.1:{server.port}/"
    first, second = wanted(one, f"127.0.0.1:{server.port}"), wanted(two, "a.invalid")
    for folder in (tmp_path, one, two):
        folder.chmod(0o755)
    async with backend.open(first) as allowed, backend.open(second) as not_allowed:
        assert await said(allowed, f"curl -sS {url}") == "hello\n"
        through = f"curl -sS --noproxy '' -x http://127.0.0.1:{gateway.PORT}"
        assert "is not among the hosts" in await said(not_allowed, f"{through} {url}")


async def test_the_proxy_ends_with_its_sandbox(backend: SandboxBackend, server: Server, tmp_path: Path) -> None:
    request = wanted(tmp_path, f"127.0.0.1:{server.port}")
    async with backend.open(request):
        pass  # what is opened once and kept, is open
    before = sockets()
    async with backend.open(request) as sandbox:
        await sandbox.exec(f"curl -s -o /dev/null http://127.0.0.1:{server.port}/endless >/dev/null 2>&1 &")
        await happened(server.begun)
    await happened(server.left)
    assert sockets() == before


async def test_cancelled_in_the_middle(backend: SandboxBackend, server: Server, tmp_path: Path) -> None:
    request = wanted(tmp_path, f"127.0.0.1:{server.port}")
    async with backend.open(request):
        pass
    before = sockets()

    async def fetch() -> None:
        async with backend.open(request) as sandbox:
            await sandbox.exec(f"curl -s -o /dev/null http://127.0.0.1:{server.port}/endless")

    async with anyio.create_task_group() as group:
        group.start_soon(fetch)
        await happened(server.begun)
        group.cancel_scope.cancel()
    await happened(server.left)
    assert sockets() == before


async def test_what_fails_inside_comes_out_as_it_is(backend: SandboxBackend, tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="mine"):
        async with backend.open(wanted(tmp_path, "a.invalid")):
            raise KeyError("mine")
    with pytest.raises(UsageError, match="network host 'a b'"):
        async with backend.open(wanted(tmp_path, "a b")):
            pass


async def test_a_process_that_is_not_the_sandbox_is_not_entered() -> None:
    with pytest.raises(SandboxError, match="not on this machine") as raised:
        async with gateway.open_gateway(["a.org"], os.getpid(), "a-name-that-it-does-not-bear"):
            pass
    assert "--sandbox bubblewrap" in raised.value.remedy
    argument = Path(f"/proc/{os.getpid()}/cmdline").read_bytes().split(b"\0")[0].decode()
    with pytest.raises(SandboxError, match="no network of its own"):
        async with gateway.open_gateway(["a.org"], os.getpid(), argument):
            pass


async def test_without_isolation_no_list_is_promised(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="whole network"):
        async with open_backend("process", tmp_path, network=["a.org"]):
            pass
    with pytest.raises(UsageError, match="network host"):
        async with open_backend("auto", tmp_path, network=["http://a.org"]):
            pass


AS_USER = """
import sys, anyio
from pathlib import Path
from swarm.sandboxes.catalog import open_backend
from swarm.types import SandboxRequest

async def main(lease, port):
    network = (f"127.0.0.1:{port}",)
    workspace = lease / "workspace"
    workspace.mkdir()
    async with open_backend("bubblewrap", lease, network=network) as backend:
        async with backend.open(SandboxRequest("r", "o", lease, workspace, "/workspace", network=network)) as sandbox:
            for port in (port, 1):
                done = await sandbox.exec(f"curl -sS http://127.0.0.1:{port}/; curl -s --noproxy '*' 127.0.0.1:{port}")
                print(done.stdout.decode(), done.stderr.decode(), done.exit_code)

anyio.run(main, Path(sys.argv[1]), int(sys.argv[2]))
"""


def test_as_an_ordinary_user(bubblewrap_box: None, server: Server, require: Require, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    lease = tmp_path / "lease"
    lease.mkdir()
    for folder in (lease, *tmp_path.parents[: len(tmp_path.parents) - 2], tmp_path):
        folder.chmod(0o755)
    os.chown(lease, 4242, 4242)
    python = _python_for_others(lease)
    if python is None:
        pytest.skip("no Python that another user may run finds what swarm needs")
    done = subprocess.run(
        [*python, "-c", AS_USER, str(lease), str(server.port)], capture_output=True, text=True, cwd="/"
    )
    assert done.stdout.split("\n")[0] == "hello", done.stderr
    assert "--network 127.0.0.1:1`" in done.stdout
    assert done.stdout.split()[-1] == "7"


def _python_for_others(home: Path) -> list[str] | None:
    """A command line by which user 4242 runs Python with swarm in sight."""
    packages = Path(anyio.__file__).parents[1]
    drop = ["setpriv", "--reuid", "4242", "--regid", "4242", "--clear-groups"]
    env = ["env", "-i", f"PATH={os.environ['PATH']}", f"HOME={home}", f"PYTHONPATH={ROOT}:{packages}"]
    for python in (sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"):
        command = [*drop, *env, "PYTHONDONTWRITEBYTECODE=1", python]
        # It must also start by itself: that is how our helper is started.
        for probe in ([*command, "-c", "import swarm.sandboxes.catalog"], [*drop, python, "-I", "-c", ""]):
            if subprocess.run(probe, capture_output=True, cwd="/").returncode != 0:
                break
        else:
            return command
    return None


async def happened(event: threading.Event) -> None:
    assert await anyio.to_thread.run_sync(event.wait, BOUND)


def sockets() -> int:
    """How many network sockets this process has open, whatever their namespace."""
    count = 0
    for fd in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the one of this very look
            if fd.is_socket():
                with socket.socket(fileno=os.dup(int(fd.name))) as copy:
                    count += copy.family in (socket.AF_INET, socket.AF_INET6)
    return count
