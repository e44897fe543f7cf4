"""The Docker Engine without a client library: HTTP over its unix socket, by hand. What any client can reach at best."""

from __future__ import annotations

import http.client
import json
import os
import socket
from typing import Any
from urllib.parse import quote

DEFAULT = "unix:///var/run/docker.sock"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self._path)


class RawEngine:
    """Calls that block, over a connection that is kept while the engine keeps it. Not for two threads at once."""

    def __init__(self) -> None:
        address = os.environ.get("DOCKER_HOST") or DEFAULT
        if not address.startswith("unix://"):
            raise ValueError("only a unix socket")
        self._connection = UnixConnection(address.removeprefix("unix://"))

    def call(self, method: str, path: str, body: object = None) -> bytes:
        """One request; its answer."""
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": "application/json"} if data else {}
        self._connection.request(method, path, data, headers)
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content.decode(errors='replace')}")
        return content

    def exec(self, container: str, command: list[str]) -> int:
        """Run a command, read its streams, ask for its exit code: three requests, as the API has it."""
        wanted = {"Cmd": command, "AttachStdout": True, "AttachStderr": True}
        made = json.loads(self.call("POST", f"/containers/{container}/exec", wanted))["Id"]
        self.call("POST", f"/exec/{made}/start", {"Detach": False, "Tty": False})
        return int(json.loads(self.call("GET", f"/exec/{made}/json"))["ExitCode"])

    def start(self, image: str, command: list[str], *, host: dict[str, Any] | None = None) -> str:
        """Create and start a container; its id."""
        wanted = {"Image": image, "Cmd": command, "HostConfig": {"NetworkMode": "none", **(host or {})}}
        made = str(json.loads(self.call("POST", "/containers/create", wanted))["Id"])
        self.call("POST", f"/containers/{made}/start")
        return made

    def remove(self, container: str) -> None:
        """Kill and remove a container."""
        self.call("DELETE", f"/containers/{container}?force=1&v=1")

    def first_process(self, container: str) -> int:
        """The id of a container's first process on this machine."""
        return int(json.loads(self.call("GET", f"/containers/{container}/json"))["State"]["Pid"])

    def close(self) -> None:
        """Give up the connection."""
        self._connection.close()


def newest_image() -> str | None:
    """The newest image that `swarm image build` made; None where there is none, or no engine."""
    engine = RawEngine()
    filters = quote(json.dumps({"label": ["swarm.image=built"]}))
    try:
        images = json.loads(engine.call("GET", f"/images/json?filters={filters}"))
    except (OSError, RuntimeError):
        return None
    finally:
        engine.close()
    named = [image for image in images if image["RepoTags"] not in (None, ["<none>:<none>"])]
    return max(named, key=lambda image: image["Created"])["RepoTags"][0] if named else None
