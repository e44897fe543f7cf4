"""A recorded call as the answer that it was."""

from __future__ import annotations

from swarm.calls import ModelReply
from swarm.events import CallFinished
from swarm.models.fitting.text_tools import PARSED
from swarm.models.wire.answers import read_message
from swarm.types import ToolCall


def recorded_reply(record: CallFinished) -> ModelReply:
    """The answer that an accepted call gave."""
    message, content, calls = read_message(record.response)
    if PARSED in message:
        calls = tuple(ToolCall(each["id"], each["name"], each["arguments"]) for each in message[PARSED]["calls"])
    return ModelReply(
        message=message,
        content=content if record.read_as is None else record.read_as,
        tool_calls=calls,
        finish_reason=record.finish_reason,
        usage=record.usage,
        model=record.model,
        t_sent=record.t_sent,
        t_first_token=record.t_first_token,
        t_done=record.t_done,
        fitted=record.fitted,
    )
