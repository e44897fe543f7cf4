"""Finds model servers on this machine, to name them to the user. A run never takes one by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, NamedTuple

import anyio
import httpx
from pydantic_core import from_json

from swarm.models.wire.bounded import MAX_LIST

PORTS = (8000, 11434, 1234, 8080, 30000)  # vLLM, Ollama, LM Studio, llama.cpp, SGLang
TIMEOUT = 0.3  # seconds for one server


class LocalServer(NamedTuple):
    """A server and the names of its models, which one that needs a key does not tell without."""

    base_url: str
    models: list[str]
    needs_key: bool = False


async def find(ports: Sequence[int] = PORTS, timeout: float = TIMEOUT) -> list[LocalServer]:
    """The OpenAI-compatible servers that answer at `http://localhost:PORT/v1`."""
    found: dict[int, LocalServer] = {}

    async def ask(client: httpx.AsyncClient, port: int) -> None:
        base_url = f"http://localhost:{port}/v1"
        try:
            answer = await list_models(client, base_url, timeout)
        except (httpx.HTTPError, TimeoutError, ValueError):
            return
        if answer.models is not None or answer.status == HTTPStatus.UNAUTHORIZED:
            found[port] = LocalServer(base_url, answer.models or [], needs_key=answer.models is None)

    # Proxies of the environment are for the world outside; a server here may still be slow to accept.
    async with httpx.AsyncClient(trust_env=False, timeout=timeout) as client, anyio.create_task_group() as tasks:
        for port in ports:
            tasks.start_soon(ask, client, port)
    return [found[port] for port in ports if port in found]


class Listing(NamedTuple):
    """An answer to `GET /models`: its HTTP status, what it holds, and the models; None where it is no list of them."""

    status: int
    content: bytes
    models: list[str] | None


async def list_models(
    client: httpx.AsyncClient, base_url: str, timeout: float, headers: Mapping[str, str] | None = None
) -> Listing:
    """Ask for the models of an endpoint, in `timeout` seconds altogether.

    Raises:
        httpx.HTTPError: it cannot be reached.
        TimeoutError: it did not answer in time.
        ValueError: the address cannot be used, or the answer is longer than `MAX_LIST`.
    """
    content = bytearray()
    with anyio.fail_after(timeout):
        async with client.stream("GET", base_url.rstrip("/") + "/models", headers=headers) as answer:
            async for part in answer.aiter_bytes():
                content += part
                if len(content) > MAX_LIST:
                    raise ValueError(f"{base_url} lists models without end")
    try:
        models = model_names(from_json(bytes(content))) if answer.is_success else None
    except ValueError:  # also where it is nested too deep
        models = None
    return Listing(answer.status_code, bytes(content), models)


def model_names(answer: Any) -> list[str] | None:
    """The models of an answer to `GET /models`; None where it is no such answer."""
    data = answer.get("data") if isinstance(answer, dict) else None
    if not isinstance(data, list):
        return None
    return [str(item["id"]) for item in data if isinstance(item, dict) and "id" in item]
