"""An agent's window: a scripted model with a window of its own, and an agent that goes on past it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pydantic_core import to_json

from swarm.agents.compaction import SUMMARY
from swarm.agents.context import Context, ContextPolicy
from swarm.agents.conversation import Conversation, Line
from swarm.budgets.budget import Budget
from swarm.budgets.levels import Limits
from swarm.calls import ModelRequest
from swarm.errors import EndpointError, EndpointFault
from swarm.events import CallFinished, ContextEdited
from swarm.journal.artifacts import Artifacts
from swarm.journal.redaction import Redactor
from swarm.models.fitting.windows import ContextWindow, asked_said, limit_said
from swarm.prompts.texts import own_prompts
from swarm.retry import RetryPolicy
from swarm.testing import RecordingSink, ScriptedModel, Turn, tool_call
from swarm.types import Message, Role
from tests.unit.test_compaction import check

pytestmark = pytest.mark.anyio

TOOLS = [{"type": "function", "function": {"name": "open_artifact", "parameters": {"type": "object"}}}]
PROMPT = own_prompts()["compact"]
TASK = "Read all the files, in order."


def tokens_of(request: ModelRequest) -> int:
    return len(to_json(request.messages)) // 4


def asks_for_summary(request: ModelRequest) -> bool:
    return bool(request.messages[-1].get("content") == PROMPT)


@dataclass
class Desk:
    """One conversation with a model of a window."""

    folder: Path
    window: int
    known: bool = True
    said: str = "This model's maximum context length is {window} tokens"
    summary: Turn = "I read some files; go on."
    output: int = 6_000
    text: int = 0
    sink: RecordingSink = field(default_factory=RecordingSink)
    policy: ContextPolicy = field(init=False)
    model: ScriptedModel = field(init=False)
    conversation: Conversation = field(init=False)
    context: Context = field(init=False)

    def __post_init__(self) -> None:
        self.model = ScriptedModel(self.answer)
        self.policy = ContextPolicy(PROMPT, Artifacts(self.folder, Redactor({"KEY": "hunter2hunter2"})))
        self.begin([{"role": "system", "content": "You read."}, {"role": "user", "content": TASK}])

    def begin(self, messages: list[Message]) -> None:
        known = ContextWindow((lambda: self.window) if self.known else lambda: None)
        line = Line(self.model, Budget(Limits()), self.sink, window=known, retry=RetryPolicy(base=0.0))
        self.conversation = Conversation(line, "t", Role.SUBAGENT, messages)
        self.context = Context(self.conversation, self.policy)

    def answer(self, request: ModelRequest) -> Turn:
        check(request.messages if not asks_for_summary(request) else request.messages[:-1])
        if tokens_of(request) > self.window:
            text = self.said.format(window=self.window)
            return EndpointError(EndpointFault.CONTEXT_TOO_LONG, text, status=400)
        if asks_for_summary(request):
            return self.summary
        return {"message": "x"} if self.output == 0 else tool_call("bash", command="x" * self.text)

    async def turns(self, number: int) -> None:
        """So many turns, each with a long output of its tool."""
        for at in range(number):
            reply = await self.context.ask(TOOLS)
            assert reply.tool_calls
            output = f"output {self.conversation.steps}\n" + "o" * self.output + f"\nhunter2hunter2 {at}"
            message = {"role": "tool", "tool_call_id": reply.tool_calls[0].id, "content": output}
            self.conversation.say(message)

    def accepted(self) -> list[CallFinished]:
        return [call for call in self.sink.of(CallFinished) if call.accepted]


def rebuilt(calls: list[CallFinished]) -> dict[str, list[Message]]:
    """The prompt of each call, put together from the record as its docstring says."""
    whole: dict[str, list[Message]] = {"": []}
    prompts: dict[str, list[Message]] = {}
    for call in calls:
        prompts[call.call_id] = [*whole[call.prefix_call_id][: call.prefix_messages], *call.new_messages]
        whole[call.call_id] = [*prompts[call.call_id], call.response]
    return prompts


@pytest.fixture
def desk(tmp_path: Path) -> Callable[..., Desk]:
    def make(window: int, **more: object) -> Desk:
        return Desk(tmp_path, window, **more)  # type: ignore[arg-type]  # the fields of the class

    return make


async def test_it_goes_on_past_the_window_and_never_meets_it(desk: Callable[..., Desk]) -> None:
    here = desk(8_000)
    await here.turns(60)
    assert not [call for call in here.sink.of(CallFinished) if call.error]
    edits = here.sink.of(ContextEdited)
    assert len(edits) > 5
    assert {edit.action for edit in edits} >= {"shortened"}
    for edit in edits:
        assert edit.tokens_after < edit.tokens_before * 0.9
        assert edit.window_tokens == 8_000
    for request in here.model.requests:
        assert request.messages[1]["content"] == TASK


async def test_each_edit_opens_a_lineage_whose_prompts_can_be_put_together_again(desk: Callable[..., Desk]) -> None:
    here = desk(8_000, text=3_000)
    await here.turns(40)
    edits = here.sink.of(ContextEdited)
    assert "summarized" in {edit.action for edit in edits}
    calls = here.accepted()
    prompts = rebuilt(calls)
    assert [prompts[call.call_id] for call in calls] == [request.messages for request in here.model.requests]
    lineages = [call.lineage_id for call in calls]
    assert lineages == sorted(lineages)
    assert {edit.lineage_id for edit in edits} <= set(lineages) | {edits[-1].lineage_id}
    asides = [call for call in calls if call.call_id.endswith("-summary")]
    assert {call.call_id for call in asides} == {edit.call_id for edit in edits if edit.call_id}
    assert [call.call_id for call in calls if call not in asides] == [f"t/{at}" for at in range(1, 41)]
    assert here.conversation.usage.calls == len(calls)
    for call in asides:  # its own lineage, and nobody else's
        assert lineages.count(call.lineage_id) == 1
        assert call.prefix_messages > 2
    summarized = [request for request in here.model.requests if SUMMARY in json.dumps(request.messages[2:3])]
    assert summarized
    assert "I read some files; go on." in summarized[0].messages[2]["content"]


async def test_left_out_output_is_in_artifacts_without_secrets(desk: Callable[..., Desk]) -> None:
    here = desk(8_000)
    await here.turns(12)
    handles = [handle for edit in here.sink.of(ContextEdited) for handle in edit.artifacts]
    assert handles
    artifacts = here.policy.artifacts
    assert artifacts is not None
    text = await artifacts.read(handles[0])
    assert text is not None
    assert text.startswith("output 1\nooo")
    assert "hunter2" not in text
    assert "[redacted:KEY]" in text
    assert any(handles[0] in json.dumps(list(request.messages)) for request in here.model.requests)


async def test_an_unknown_window_is_learnt_from_a_refusal(desk: Callable[..., Desk]) -> None:
    for said in ("maximum context length is {window} tokens", "it is too long"):
        here = desk(8_000, known=False, said=said)
        await here.turns(30)
        refused = [call for call in here.sink.of(CallFinished) if call.error]
        assert {call.error for call in refused} == {"context_too_long"}
        assert 1 <= len(refused) <= 2
        edits = here.sink.of(ContextEdited)
        assert edits[0].refused
        assert not edits[-1].refused
        numbers = [(call.call_id, call.attempt) for call in here.sink.of(CallFinished)]
        assert len(numbers) == len(set(numbers))


@pytest.mark.parametrize("summary", ["", [tool_call("bash")], EndpointError(EndpointFault.REFUSED, "no")])
async def test_without_a_summary_an_account_takes_its_place(desk: Callable[..., Desk], summary: Turn) -> None:
    here = desk(8_000, text=3_000, summary=summary)
    await here.turns(20)
    edits = here.sink.of(ContextEdited)
    assert "cut" in {edit.action for edit in edits}
    assert "summarized" not in {edit.action for edit in edits}
    last = here.model.requests[-1].messages[2]["content"]
    assert last.startswith(SUMMARY)
    assert "- used bash" in last


async def test_a_task_that_does_not_fit_is_a_clear_failure(desk: Callable[..., Desk]) -> None:
    for known, size in ((True, 90_000), (True, 12_000), (False, 12_000)):
        here = desk(2_000, known=known)
        here.begin([{"role": "system", "content": "You read."}, {"role": "user", "content": "w " * (size // 2)}])
        with pytest.raises(
            EndpointError, match=r"the task, about .* tokens, does not fit the window of scripted"
        ) as raised:
            await here.turns(1)
        assert raised.value.kind is EndpointFault.CONTEXT_TOO_LONG
        assert len(here.model.requests) == (size < 90_000)
        assert not here.sink.of(ContextEdited)


async def test_an_answer_with_no_room_beside_the_prompt_is_bounded_not_the_prompt_cut(
    desk: Callable[..., Desk],
) -> None:
    here = desk(8_000, known=False)
    await here.turns(1)
    sizes: list[int | None] = []

    def strict(request: ModelRequest) -> Turn:
        sizes.append(request.max_tokens)
        if request.max_tokens is None or tokens_of(request) + request.max_tokens > 8_000:
            return EndpointError(EndpointFault.CONTEXT_TOO_LONG, "maximum context length is 8000 tokens", status=400)
        return "fine"

    here.model._turns = strict

    line = Line(here.model, Budget(Limits(tokens=10_000_000)), here.sink, retry=RetryPolicy(base=0.0))
    here.conversation = Conversation(line, "t", Role.SUBAGENT, here.conversation.messages)
    reply = await Context(here.conversation, here.policy).ask(TOOLS)
    assert reply.content == "fine"
    assert len(sizes) == 2
    assert sizes[1] is not None
    assert not here.sink.of(ContextEdited)


@pytest.mark.parametrize(
    ("text", "tokens", "asked"),
    [
        (
            "This model's maximum context length is 4096 tokens. However, your messages resulted in 5000 tokens.",
            4096,
            5000,
        ),
        ("maximum context length of 131072 tokens. You requested a total of 140000", 131072, 140000),
        ("The input (5000 tokens) is longer than the model's context length (4096 tokens).", 4096, 5000),
        ("You passed 5000 input tokens. However, the model's context length is only 4096 tokens", 4096, 5000),
        ("request (1234 tokens) exceeds the available context size (1024 tokens), try increasing it", 1024, 1234),
        ("prompt is too long: 210000 tokens > 200000 maximum", 200000, 210000),
        ("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", 1048576, 1200000),
        ("Prompt contains 40000 tokens, too large for model with 32768 maximum context length", 32768, 40000),
        ("Request too large: Limit 6,000, Requested 6,500", 6000, 6500),
        ("Range of input length should be [1, 30720]", 30720, None),
        ("`inputs` tokens + `max_new_tokens` must be <= 4096. Given: 5000", 4096, 5000),
        ("the prompt is too long", None, None),
        ("context length is 9", None, None),
        ("error 4711: the prompt is too long", None, None),
    ],
)
def test_what_servers_say_of_their_window(text: str, tokens: int | None, asked: int | None) -> None:
    assert (limit_said(text), asked_said(text)) == (tokens, asked)
