"""An OpenAI-compatible endpoint on loopback: the policy that learns, with its tokens in vLLM's form, and the clerk.

Requests that wait while the policy computes are sampled together.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from examples.parl.clerk import Clerk
from examples.parl.policy import Policy, Sampled
from examples.parl.vocabulary import END, VOCABULARY, encode_prompt, read_turn
from swarm.embedded.policy import PolicyReply, PolicyRequest
from swarm.embedded.server import running_app

ORCHESTRATOR, CLERK = "orchestrator", "clerk"
MOST_TOKENS = 28
"""Of one turn."""
MOST_ROWS = 32
"""Requests that are sampled together."""


@dataclass(slots=True)
class _Waiting:
    prompt: Sequence[int]
    seed: str
    most: int
    done: anyio.Event = field(default_factory=anyio.Event)
    sampled: Sampled = field(default_factory=lambda: Sampled([], []))
    version: int = 0


class Endpoint:
    """Serve it with `serving`. While nothing is asked of it, its policy may be given other weights."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.sampled: list[tuple[list[int], Sampled]] | None = None
        """Each prompt and what was sampled after it, where somebody wants to compare: set it to an empty list."""
        self._clerk = Clerk()
        self._waiting: list[_Waiting] = []
        self._some = anyio.Event()

    def __repr__(self) -> str:
        return f"<Endpoint at version {self.policy.version}, {len(self._waiting)} waiting>"

    async def work(self) -> None:
        """Sample what waits, for ever."""
        while True:
            await self._some.wait()
            batch, self._waiting = self._waiting[:MOST_ROWS], self._waiting[MOST_ROWS:]
            if not self._waiting:
                self._some = anyio.Event()
            policy, most = self.policy, max(each.most for each in batch)
            prompts, seeds = [each.prompt for each in batch], [each.seed for each in batch]
            turns = await anyio.to_thread.run_sync(policy.sample, prompts, seeds, most)
            for each, turn in zip(batch, turns, strict=True):
                each.sampled = Sampled(turn.ids[: each.most], turn.logprobs[: each.most])
                each.version = policy.version
                each.done.set()

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions"""
        body: dict[str, Any] = await request.json()
        if body["model"] == CLERK:
            reply = self._clerk.reply(PolicyRequest(tuple(body["messages"]), tuple(body.get("tools") or ())))
            return _answer(body, reply, [0], Sampled([0], [0.0]), self._clerk.version)
        if body["model"] != ORCHESTRATOR:
            return _refused(404, f"there is no model {body['model']!r}: use {ORCHESTRATOR} or {CLERK}")
        if body.get("stream"):
            return _refused(400, "this endpoint does not stream")
        if body.get("temperature", 1) != 1 or body.get("top_p", 1) != 1:
            return _refused(400, "this endpoint samples at temperature 1 and top_p 1, and not otherwise")
        prompt = encode_prompt(body["messages"])
        told = hashlib.sha256(json.dumps([body.get("seed"), prompt]).encode()).hexdigest()
        most = min(MOST_TOKENS, body.get("max_completion_tokens") or body.get("max_tokens") or MOST_TOKENS)
        waiting = _Waiting(prompt, told, most)
        self._waiting.append(waiting)
        self._some.set()
        await waiting.done.wait()
        turn = waiting.sampled
        if self.sampled is not None:
            self.sampled.append((prompt, turn))
        whole = turn.ids[-1:] == [END]
        reply = read_turn(turn.ids[:-1]) if whole else PolicyReply(" ".join(VOCABULARY[each] for each in turn.ids))
        return _answer(body, reply, prompt, turn, f"{waiting.version}", "" if whole else "length")


@asynccontextmanager
async def serving(endpoint: Endpoint) -> AsyncIterator[str]:
    """Serve it for the length of the block; gives the base URL."""
    app = Starlette(
        routes=[Route("/v1/chat/completions", endpoint.chat, methods=["POST"]), Route("/v1/models", _models)]
    )
    async with anyio.create_task_group() as group:
        group.start_soon(endpoint.work)
        async with running_app(app) as url:
            yield url
        group.cancel_scope.cancel()


async def _models(request: Request) -> Response:
    return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in (ORCHESTRATOR, CLERK)]})


def _refused(status: int, message: str) -> Response:
    return JSONResponse({"error": {"message": message, "type": "invalid_request_error"}}, status)


def _answer(
    body: dict[str, Any], reply: PolicyReply, prompt: Sequence[int], turn: Sampled, version: str, finish: str = ""
) -> Response:
    message: dict[str, Any] = {"role": "assistant", "content": reply.content}
    if reply.tool_calls:
        message["tool_calls"] = [
            {
                "id": f"call_{uuid4().hex[:24]}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in reply.tool_calls
        ]
    choice: dict[str, Any] = {"index": 0, "message": message, "finish_reason": finish or _finish(reply)}
    root: dict[str, Any] = {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": body["model"],
        "choices": [choice],
        "usage": {
            "prompt_tokens": len(prompt),
            "completion_tokens": len(turn.ids),
            "total_tokens": len(prompt) + len(turn.ids),
        },
    }
    if body["model"] == ORCHESTRATOR and body.get("logprobs"):
        choice["logprobs"] = {
            "content": [
                {"token": VOCABULARY[each], "logprob": logprob, "bytes": None, "top_logprobs": []}
                for each, logprob in zip(turn.ids, turn.logprobs, strict=True)
            ]
        }
    if body["model"] == ORCHESTRATOR and body.get("return_token_ids"):
        root["prompt_token_ids"], choice["token_ids"] = list(prompt), turn.ids
    return JSONResponse(root, headers={"x-policy-version": version})


def _finish(reply: PolicyReply) -> str:
    return "tool_calls" if reply.tool_calls else "stop"
