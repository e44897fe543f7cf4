"""Finds model servers on this machine, to name them to the user. A run never takes one by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import anyio
import httpx

PORTS = (8000, 11434, 1234, 8080, 30000)  # vLLM, Ollama, LM Studio, llama.cpp, SGLang
TIMEOUT = 0.3  # seconds for one server


async def find(ports: Sequence[int] = PORTS, timeout: float = TIMEOUT) -> list[tuple[str, list[str]]]:
    """The OpenAI-compatible servers that answer at `http://localhost:PORT/v1`, with the names of their models."""
    found: dict[int, tuple[str, list[str]]] = {}

    async def ask(client: httpx.AsyncClient, port: int) -> None:
        base_url = f"http://localhost:{port}/v1"
        with anyio.move_on_after(timeout):
            try:
                answer = await client.get(f"{base_url}/models")
                models = model_names(answer.json()) if answer.is_success else None
            except (httpx.HTTPError, ValueError):
                return
            if models is not None:
                found[port] = (base_url, models)

    # Proxies of the environment are for the world outside; a server here may still be slow to accept.
    async with httpx.AsyncClient(trust_env=False, timeout=timeout) as client, anyio.create_task_group() as tasks:
        for port in ports:
            tasks.start_soon(ask, client, port)
    return [found[port] for port in ports if port in found]


def model_names(answer: Any) -> list[str] | None:
    """The models of an answer to `GET /models`; None where it is no such answer."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        return None
    return [str(item["id"]) for item in data if isinstance(item, dict) and "id" in item]
