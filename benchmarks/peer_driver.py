"""Runs inside a peer's own virtual environment: takes a command a line on standard input, answers with its time in ms.

python peer_driver.py mini-swe-agent IMAGE
python peer_driver.py swe-rex-execute|swe-rex-session PORT TOKEN
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time

ANSWERS = os.dup(1)
"""Where answers go. What the peers print themselves goes to standard error."""


def tell(text: str) -> None:
    os.write(ANSWERS, f"{text}\n".encode())


def answer(started: float) -> None:
    tell(str((time.perf_counter() - started) * 1000))


def mini_swe_agent(image: str) -> None:
    from minisweagent.environments.docker import DockerEnvironment

    environment = DockerEnvironment(image=image, run_args=["--rm", "--network", "none"])
    tell("ready")
    for line in sys.stdin:
        started = time.perf_counter()
        done = environment.execute({"command": line.rstrip("\n")})
        answer(started)
        assert done["returncode"] == 0, done
    environment.cleanup()


async def swe_rex(kind: str, port: str, token: str) -> None:
    from swerex.deployment.config import RemoteDeploymentConfig
    from swerex.runtime.abstract import BashAction, Command, CreateBashSessionRequest

    deployment = RemoteDeploymentConfig(auth_token=token, port=int(port), timeout=30).get_deployment()
    for _ in range(200):  # its server takes seconds to come up
        try:
            await deployment.start()
            if await deployment.is_alive(timeout=1):
                break
        except Exception:  # noqa: BLE001  whatever it raises while nobody listens
            await asyncio.sleep(0.1)
    runtime = deployment.runtime
    if kind == "swe-rex-session":
        await runtime.create_session(CreateBashSessionRequest())
    tell("ready")
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        command = line.rstrip("\n")
        started = time.perf_counter()
        if kind == "swe-rex-session":
            done = await runtime.run_in_session(BashAction(command=command))
        else:
            done = await runtime.execute(Command(command=command, shell=True))
        answer(started)
        assert done.exit_code == 0, done


if __name__ == "__main__":
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    if sys.argv[1] == "mini-swe-agent":
        mini_swe_agent(sys.argv[2])
    else:
        asyncio.run(swe_rex(*sys.argv[1:4]))
