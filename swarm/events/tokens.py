"""The record of a call's tokens, in a file of its own beside that of the events."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field, TypeAdapter

from swarm.events.base import EventBase


class TokensTaken(EventBase):
    """The tokens of one accepted call, as its endpoint gave them. `seq` counts within `tokens.jsonl`.

    The prompt's ids are the first `prefix_len` ids of prompt and completion of `prefix_call_id` (none where it is
    empty), followed by `prompt_ids_tail`; `prompt_len` in all, with the hash `prompt_ids_sha256`: of the ids as 64-bit
    integers, lowest byte first. `completion_logprobs` are 32-bit floats. `prompt_tokens` and `completion_tokens` are
    what the endpoint's usage said of this exchange alone.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")  # so that what is no number is found as such

    type: Literal["tokens"] = "tokens"
    trajectory_id: str
    lineage_id: int = 0
    call_id: str
    attempt: int
    prefix_call_id: str = ""
    prefix_len: int = 0
    prompt_ids_tail: list[int] = Field(default_factory=list)
    prompt_len: int = 0
    prompt_ids_sha256: str = ""
    completion_ids: list[int] = Field(default_factory=list)
    completion_logprobs: list[float] = Field(default_factory=list)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    policy_version: str = ""


TOKENS: TypeAdapter[TokensTaken] = TypeAdapter(TokensTaken)
"""Reads one line of `tokens.jsonl`."""
