"""A conversation as it is sent: what was encoded and looked at once is neither encoded nor looked at again."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.agents.prompt import Prompt
from swarm.calls import PIECES, ModelReply, ModelRequest
from swarm.config import Capabilities
from swarm.models.fitting.capabilities import Knowledge
from swarm.models.fitting.fitted import FittedModel
from swarm.models.fitting.text_tools import BROKEN, PARSED
from swarm.models.wire.client import OpenAIModel
from swarm.models.wire.lean import LeanOpenAI
from swarm.testing import ScriptedModel
from swarm.types import NO_USAGE, Message

ANSWER = {"role": "assistant", "content": "yes"}
TEXTS = st.lists(st.text(max_size=20), max_size=8) | st.lists(st.just("word"), min_size=25, max_size=110)


class Looked(list[Message]):
    """Messages that count how often somebody goes through them."""

    times = 0

    def __iter__(self) -> Iterator[Message]:
        self.times += 1
        return super().__iter__()


class Still:
    """A model that looks at nothing."""

    name = endpoint = "still"

    async def complete(self, request: ModelRequest) -> ModelReply:
        return reply(request)


def prompt_of(messages: Sequence[Message]) -> Prompt:
    prompt = Prompt()
    for end in range(len(messages) + 1):
        prompt.take(messages[:end])
    return prompt


def said(texts: Sequence[str]) -> list[Message]:
    return [{"role": "user", "content": text} for text in texts]


def reply(request: ModelRequest) -> ModelReply:
    return ModelReply(ANSWER, "yes", (), "stop", NO_USAGE, "m", 0.0, 0.0, 0.0)


@given(TEXTS)
def test_what_is_kept_of_messages_is_what_they_are(texts: list[str]) -> None:
    messages = said(texts)
    prompt = prompt_of(messages)
    each = list(prompt)
    assert [json.loads(data) for data in each] == messages
    assert len(prompt) == len(messages)
    assert prompt.size == sum(map(len, each))
    assert prompt.sha256 == sha256(b"".join(data + b"\n" for data in each)).hexdigest()


@given(TEXTS, st.booleans())
def test_a_body_is_the_same_however_its_messages_come(texts: list[str], tools: bool) -> None:
    messages, model = said(texts), OpenAIModel(LeanOpenAI(api_key="key", base_url="http://h/v1"), "m")
    with_tools = [{"x": 1}] if tools else []
    requests = [
        ModelRequest(messages, encoded=encoded, tools=with_tools)
        for encoded in ((), list(prompt_of(messages)), prompt_of(messages))
    ]
    bodies = [b"".join(model._body(request)) for request in requests]
    assert bodies[0] == bodies[1] == bodies[2]
    assert json.loads(bodies[0])["messages"] == messages


def test_a_long_conversation_is_put_together_from_few_parts() -> None:
    model = OpenAIModel(LeanOpenAI(api_key="key", base_url="http://h/v1"), "m")
    counts = []
    for turns in (2, 200, 201, 223):
        messages = said(["word"] * turns)
        counts.append(len(model._body(ModelRequest(messages, encoded=prompt_of(messages)))))
    assert counts[0] < 10
    assert max(counts) < PIECES + 10


@pytest.mark.anyio
async def test_messages_that_were_encoded_one_by_one_are_not_gone_through_for_each_call() -> None:
    messages = Looked(said(["word"] * 50))
    model = FittedModel(Still(), Knowledge("http://h/v1", "m", given=Capabilities(tools=True)))
    encoded = prompt_of(messages)
    messages.times = 0
    await model.complete(ModelRequest(messages, encoded=encoded))
    assert messages.times == 0
    await model.complete(ModelRequest(messages))
    assert messages.times > 0, "who has not encoded them is spared nothing"


@pytest.mark.parametrize("mark", [PARSED, BROKEN])
@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.anyio
async def test_a_mark_on_an_early_message_is_known_in_every_later_call(mark: str, whole: bool) -> None:
    """A message with a mark is never sent as it is, however its conversation was encoded."""
    call = {"id": "1", "type": "function", "function": {"name": "look", "arguments": "{"}}
    value = ["1"] if mark == BROKEN else {"form": "f", "calls": [], "beside": "", "end": 0}
    marked: Message = {"role": "assistant", "content": None, "tool_calls": [call], mark: value}
    messages = [*said(["word"]), marked, *said(["word"] * 5)]
    encoded = prompt_of(messages if whole else messages[:-1])
    scripted = ScriptedModel(reply)
    model = FittedModel(scripted, Knowledge("http://h/v1", "m", given=Capabilities(tools=True)))
    told = (await model.complete(ModelRequest(messages, encoded=encoded))).fitted
    sent = scripted.requests[0]
    assert not any(mark in message for message in sent.messages)
    assert len(sent.encoded) == 0, "what was encoded is not what is sent"
    assert ("broken_arguments" in told) == (mark == BROKEN)
    assert ("tools" in told) == (mark == PARSED)
