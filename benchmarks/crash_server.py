"""The endpoint of crash.py, in a process of its own: serves a script, and notes each request and each whole answer.

python benchmarks/crash_server.py SCRIPT LOG
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio

from swarm.embedded.app import build_app
from swarm.embedded.catalog import load_policies
from swarm.embedded.server import serve as serve_app


def serve(script: Path, log: Path) -> None:
    """Serve a script, and note each request and each whole answer as a line."""
    policies, faults = load_policies(f"script:{script}")
    inner = build_app(policies, faults=faults)
    notes = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def noting(scope: Any, receive: Any, send: Any) -> None:
        body = b""

        async def read() -> Any:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")
            if message["type"] == "http.request" and not message.get("more_body") and body:
                os.write(notes, f"asked {_prompt(body)}\n".encode())
            return message

        async def write(message: Any) -> None:
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body") and body:
                os.write(notes, f"answered {_prompt(body)}\n".encode())

        await inner(scope, read, write)

    async def run() -> None:
        async with anyio.create_task_group() as group:
            print(await group.start(serve_app, noting), flush=True)

    anyio.run(run)


def _prompt(body: bytes) -> str:
    return hashlib.sha256(json.dumps(json.loads(body).get("messages")).encode()).hexdigest()[:24]


if __name__ == "__main__":
    serve(Path(sys.argv[1]), Path(sys.argv[2]))
