"""An agent's window: how its conversation goes on when it comes near the end of it, or has met it.

Old tool output goes first; where that is not enough, the model writes a summary of what it did, and goes on with the
task, the summary and its last turns. All is decided from the conversation alone, so that a run that is resumed or
replayed comes to the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from swarm.agents.compaction import Aim, Edit, account, head_of, size_of, with_summary, without_output
from swarm.agents.conversation import Conversation
from swarm.calls import ModelReply
from swarm.errors import BudgetExhausted, EndpointError, EndpointFault
from swarm.events import ContextEdited
from swarm.journal.artifacts import TOOL, Artifact, Artifacts
from swarm.models.fitting.windows import asked_said, limit_said
from swarm.models.tokens import HIGHEST, LOWEST, SAFE_RATIO
from swarm.retry import FATAL
from swarm.types import JsonObject, Message
from swarm.values import value

ANSWER = 8192
"""Tokens that are left for the answer; in a small window a quarter of it."""

REFUSALS = 3
"""Refusals of one call as too long that are met by making it shorter."""

_DOWN_TO = 0.5
"""Of the room for a prompt, what is left of one that is shortened: edits cost the endpoint's cache, so they are few."""

_AT_MOST = 0.75
"""Of it, what may be left where only the last turns could be cut further."""

_WORTH = 0.9
"""What is not made smaller than this share of what it was is left alone."""

_SUMMARY_SHARE = 0.25
"""Of that, what a summary may take."""


@value(frozen=True, slots=True)
class ContextPolicy:
    """What goes along with compaction: the prompt that asks for a summary (empty: none is asked for), and where tool
    output is kept that is left out (None: nowhere)."""

    prompt: str = ""
    artifacts: Artifacts | None = None


class Context:
    """A conversation that is kept inside its model's window. Ask through it."""

    __slots__ = ("_conversation", "_least", "_policy")

    def __init__(self, conversation: Conversation, policy: ContextPolicy | None = None) -> None:
        self._conversation = conversation
        self._policy = policy or ContextPolicy()
        self._least = 0  # bytes that the last edit came down to

    def __repr__(self) -> str:
        return f"<Context of {self._tokens(()):d} tokens in a window of {self.window or 'unknown'}>"

    @property
    def window(self) -> int | None:
        """Tokens of prompt and answer together, None where nobody knows."""
        return self._conversation.window or self._conversation.line.window.tokens

    async def ask(self, tools: Sequence[JsonObject] = (), response_format: JsonObject | None = None) -> ModelReply:
        """The model's next message: `Conversation.ask`, after there was made room for it.

        Raises:
            BudgetExhausted, EndpointError: as `Conversation.ask`; CONTEXT_TOO_LONG where the task itself does not fit,
                or nothing is left to leave out.
        """
        if self._conversation.recorded:  # what room it took is in its prompt
            return await self._conversation.ask(tools, response_format)
        await self._before(tools)
        for _ in range(REFUSALS):
            try:
                return await self._conversation.ask(tools, response_format)
            except EndpointError as error:
                if error.kind is not EndpointFault.CONTEXT_TOO_LONG:
                    raise
                await self._after(error, tools)
        return await self._conversation.ask(tools, response_format)

    async def _before(self, tools: Sequence[JsonObject]) -> None:
        """Make room where the next prompt leaves too little for the answer."""
        window, conversation = self.window, self._conversation
        if window is None or self._tokens(tools) <= _room(window):
            return
        bare = size_of(conversation.messages[: head_of(conversation.messages)])
        if bare / HIGHEST > window:  # also with the fewest tokens that so many bytes can have
            raise self._hopeless(self._tokens(tools), None)
        if conversation.size(tools) > self._least / _WORTH:
            await self._make_room(tools, refused=False)

    async def _after(self, refusal: EndpointError, tools: Sequence[JsonObject]) -> None:
        """Make room where the endpoint refused the prompt, or only its sum with the answer that it was to leave room
        for. Raises: EndpointError, where there is none to be made."""
        before, window = self._tokens(tools), self.window
        told = limit_said(refusal.message)
        if told is not None and before <= _room(told) and (window is None or told < window):
            self._conversation.window = told  # then the answer is bounded by it
            return
        conversation = self._conversation
        if (asked := asked_said(refusal.message)) is not None and asked > before:  # more than was thought
            conversation.measured = (conversation.size(tools), asked)
            before = asked
        conversation.window = min(told or before, int(before * _WORTH), window or before)
        if not await self._make_room(tools, refused=True):
            raise self._hopeless(before, refusal) from refusal

    async def _make_room(self, tools: Sequence[JsonObject], *, refused: bool) -> bool:
        """Shorten the conversation. Whether it is smaller now, and worth another call."""
        conversation = self._conversation
        size, before, messages = conversation.size(tools), self._tokens(tools), conversation.messages
        room = _room(self.window or before)
        others = size - size_of(messages)
        if size_of(messages[: head_of(messages)]) + others > size * _WORTH:
            return False
        whole = min(room * self._ratio, size)
        aim = Aim(max(0, int(whole * _DOWN_TO) - others), max(0, int(whole * _AT_MOST) - others))
        edit = without_output(messages, aim, self._keeper(tools))
        action: Literal["shortened", "summarized", "cut"] = "shortened"
        call_id, after = "", edit.messages
        if size_of(after) > aim.most:
            summary = await self._summary(edit, tools, aim, refused=refused)
            action = "summarized" if summary else "cut"
            call_id = f"{conversation.trajectory_id}/{conversation.steps + 1}-summary" if summary else ""
            after = with_summary(messages, summary or account(messages)[: _limit(aim)], aim, edit.messages)
        if size_of(after) + others > size * _WORTH:
            return False
        for artifact in edit.artifacts:
            if self._policy.artifacts is not None:
                await self._policy.artifacts.keep(artifact)
        conversation.rewind(after)
        self._least = conversation.size(tools)
        conversation.line.sink.emit(
            ContextEdited(
                trajectory_id=conversation.trajectory_id,
                lineage_id=conversation.lineage,
                action=action,
                refused=refused,
                window_tokens=self.window or 0,
                tokens_before=before,
                tokens_after=self._tokens(tools),
                messages_before=len(messages),
                messages_after=len(after),
                shortened=edit.shortened,
                call_id=call_id,
                artifacts=[artifact.handle for artifact in edit.artifacts],
            )
        )
        return True

    async def _summary(self, edit: Edit, tools: Sequence[JsonObject], aim: Aim, *, refused: bool) -> str:
        """The model's own summary, empty where it gives none."""
        if not self._policy.prompt:
            return ""
        conversation, room = self._conversation, _room(self.window or 0)
        others = conversation.size(tools) - size_of(conversation.messages)
        wish: Message = {"role": "user", "content": self._policy.prompt}
        asked = [*conversation.messages, wish]
        # As it is, it shares the endpoint's cache with the last call; shortened, where that does not fit.
        if refused or (size_of(asked) + others) / self._ratio > max(room, (self.window or 0) - ANSWER // 4):
            least = max(0, int(room * self._ratio) - others - size_of([wish]))
            fits = size_of(edit.messages) <= least
            kept = (
                edit.messages
                if fits
                else with_summary(edit.messages, account(conversation.messages), Aim(least, least))
            )
            asked = [*kept, wish]
        try:
            reply = await conversation.aside(asked, "summary", tools)
        except EndpointError as error:
            if error.kind in FATAL:
                raise
            return ""
        except BudgetExhausted:  # perhaps what is left is enough for a shorter prompt
            return ""
        return reply.content.strip()[: _limit(aim)]

    def _keeper(self, tools: Sequence[JsonObject]) -> _Keeper | None:
        can_open = any(tool.get("function", {}).get("name") == TOOL for tool in tools)
        return _Keeper(self._policy.artifacts) if can_open and self._policy.artifacts else None

    @property
    def _ratio(self) -> float:
        """Bytes per token of this conversation's last prompt; a careful guess before the first."""
        size, tokens = self._conversation.measured
        return float(min(max(size / tokens, LOWEST), HIGHEST)) if tokens else SAFE_RATIO

    def _tokens(self, tools: Sequence[JsonObject]) -> int:
        """Tokens of the next prompt."""
        return int(self._conversation.size(tools) / self._ratio) + 1

    def _hopeless(self, tokens: int, error: EndpointError | None) -> EndpointError:
        messages = self._conversation.messages
        what = "the task" if head_of(messages) == len(messages) else "what is left of the conversation"
        said = f": {error.message}" if error else f" of {self.window} tokens"
        name = self._conversation.line.service.name
        return EndpointError(
            EndpointFault.CONTEXT_TOO_LONG,
            f"{what}, about {tokens} tokens, does not fit the window of {name}{said}",
            remedy="give a model with a larger window, or smaller tasks",
            status=error.status if error else None,
        )


@value(frozen=True, slots=True)
class _Keeper:
    """Names the artifact that output becomes."""

    artifacts: Artifacts

    def __call__(self, text: str) -> Artifact:
        return self.artifacts.of("output", text)


def _room(window: int) -> int:
    """Tokens that a prompt may have, so that there is room for the answer."""
    return window - min(ANSWER, window // 4)


def _limit(aim: Aim) -> int:
    """Characters that a summary may have."""
    return max(400, int(aim.wanted * _SUMMARY_SHARE))
