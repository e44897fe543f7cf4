"""SWE-ReX: its server inside a container, its client here.

python -m benchmarks.workers.swe_rex execute|session COUNT PLACE

PLACE is JSON as in `containers`. The client is told where the server listens, which is its `RemoteDeployment`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import socket
import sys
import time
from typing import Any

from benchmarks.peers.raw_docker import RawEngine
from benchmarks.workers.timing import PAUSE_S, WARM, summed


async def commands(kind: str, port: int, token: str, count: int) -> dict[str, float]:
    """`true` so many times."""
    from swerex.deployment.config import RemoteDeploymentConfig
    from swerex.runtime.abstract import BashAction, Command, CreateBashSessionRequest

    deployment = RemoteDeploymentConfig(auth_token=token, port=port, timeout=60).get_deployment()
    for _ in range(600):  # its server takes seconds to come up
        try:
            await deployment.start()
            if await deployment.is_alive(timeout=1):
                break
        except Exception:  # noqa: BLE001  whatever it raises while nobody listens
            await asyncio.sleep(0.1)
    runtime = deployment.runtime
    if kind == "session":
        await runtime.create_session(CreateBashSessionRequest())
    times = []
    for _ in range(WARM + count):
        await asyncio.sleep(PAUSE_S)
        began = time.perf_counter()
        if kind == "session":
            done = await runtime.run_in_session(BashAction(command="true"))
        else:
            done = await runtime.execute(Command(command="true", shell=True))
        times.append(time.perf_counter() - began)
        assert done.exit_code == 0, done
    return summed(times)


def main(kind: str, count: int, place: dict[str, Any]) -> None:
    answers = os.dup(1)
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    token = secrets.token_hex(8)
    command = [sys.executable, "-m", "swerex", "--host", "127.0.0.1", "--port", str(port), "--auth-token", token]
    shown = [f"{path}:{path}:ro" for path in dict.fromkeys([*place["binds"], sys.prefix, sys.base_prefix])]
    engine = RawEngine()
    container = engine.start(place["image"], command, host={"NetworkMode": "host", "Binds": shown})
    try:
        found = asyncio.run(commands(kind, port, token, count))
    finally:
        engine.remove(container)
        engine.close()
    os.write(answers, (json.dumps(found) + "\n").encode())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]))
