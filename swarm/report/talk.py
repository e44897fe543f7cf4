"""The conversation of one trajectory, told from its calls and tools."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Literal

from swarm.events import AgentTold, CallFinished, ContextEdited, ToolFinished, ToolStarted, WorkerSaid
from swarm.types import Message


@dataclass(slots=True)
class Item:
    """One thing that was said or done. `system` is an index into `Page.systems`; times are milliseconds.

    `call` is a use of a tool: `text` is what the model was given back. `fault` is a call that failed, `note` what
    happened to the conversation itself.
    """

    kind: Literal["system", "user", "assistant", "call", "fault", "note"]
    text: str = ""
    system: int = -1
    thinking: str = ""
    turn: int = 0
    at: int = 0
    ms: int = 0
    tokens: tuple[int, int, int] | None = None
    finish: str = ""
    name: str = ""
    arguments: str = ""
    status: str = ""
    error: str = ""
    exit_code: int | None = None
    truncated: bool = False

    def told(self) -> dict[str, Any]:
        """As it goes onto the page: what it does not have is left out."""
        there = {name: value for name, default in _DEFAULTS if (value := getattr(self, name)) != default}
        return {"kind": self.kind, **there}


_DEFAULTS = [(each.name, each.default) for each in fields(Item) if each.name != "kind"]


class Systems:
    """System prompts, each held once: many agents are given the same."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._known: dict[str, int] = {}

    def number(self, text: str) -> int:
        if text not in self._known:
            self._known[text] = len(self.texts)
            self.texts.append(text)
        return self._known[text]


class Talk:
    """Tell it the events of one trajectory, in order. What an agent is told again is shown once."""

    def __init__(self, systems: Systems) -> None:
        self._systems = systems
        self._items: list[Item] = []
        self._told: set[tuple[str, str]] = set()
        self._open: dict[tuple[str, str], list[Item]] = {}
        self._results: set[str] = set()

    @property
    def items(self) -> list[dict[str, Any]]:
        """All of it, as it goes onto the page."""
        return [item.told() for item in self._items]

    def called(self, event: CallFinished, at: int, ms: int) -> None:
        """A call of the model ended, well or not."""
        for message in event.new_messages if event.accepted else ():
            self._hear(message, at, again=not event.prefix_call_id)
        if not event.accepted:
            said = ": ".join(part for part in (event.error.replace("_", " "), event.error_message) if part)
            self._items.append(
                Item(kind="fault", text=said or "failed", turn=event.turn, at=at, ms=ms, name=str(event.attempt))
            )
            return
        message = event.response
        text = event.read_as if event.read_as is not None else content_text(message.get("content"))
        thinking = content_text(message.get("reasoning_content") or message.get("reasoning"))
        usage = event.usage
        self._items.append(
            Item(
                kind="assistant",
                text=text,
                thinking=thinking,
                turn=event.turn,
                at=at,
                ms=ms,
                tokens=(usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens),
                finish="" if event.finish_reason in ("stop", "tool_calls") else event.finish_reason,
            )
        )
        self._told.add(("assistant", text))

    def started(self, event: ToolStarted, at: int) -> None:
        """A tool is at work; this stands as long as it has no end."""
        item = Item(kind="call", name=event.name, arguments=event.arguments, at=at, status="not ended")
        self._open.setdefault((event.call_id, event.tool_call_id), []).append(item)
        self._items.append(item)

    def finished(self, event: ToolFinished, at: int, ms: int) -> None:
        """A tool ended."""
        waiting = self._open.get((event.call_id, event.tool_call_id))  # a model may give two the same id
        if waiting:
            item = waiting.pop(0)
        else:
            item = Item(kind="call", name=event.name, arguments=event.arguments)
            self._items.append(item)
        item.at, item.ms, item.status, item.error = at, ms, event.status.value, event.error.value
        item.exit_code, item.truncated, item.text = event.exit_code, event.truncated, event.result
        self._results.add(event.tool_call_id)

    def cut_off(self) -> None:
        """The run's process ended, and with it the tools that were at work."""
        for item in (each for waiting in self._open.values() for each in waiting):
            item.status = "cut off with the run's process"
        self._open.clear()

    def edited(self, event: ContextEdited, at: int) -> None:
        """The conversation was shortened."""
        what = {
            "shortened": f"the output of tools was shortened in {event.shortened} messages",
            "summarized": "a summary by the model stands in the place of what came before",
            "cut": "an account stands in the place of what came before",
            "rewritten": "the agent, which is somebody else's, went on from other messages",
        }[event.action]
        size = f"about {event.tokens_before} to {event.tokens_after} tokens"
        self._items.append(Item(kind="note", text=f"The context was made smaller ({size}): {what}.", at=at))

    def hurried(self, event: AgentTold, at: int) -> None:
        """It was told to finish."""
        self._items.append(Item(kind="note", text=f"Told to finish ({event.reason}).", at=at))

    def told_of(self, event: WorkerSaid, at: int) -> None:
        """It is somebody else's agent, and told of itself."""
        status = f" ({event.status})" if event.status else ""
        self._items.append(Item(kind="note", text=f"{event.kind}{status}: {event.text}", at=at))

    def _hear(self, message: Message, at: int, again: bool) -> None:
        """What was put before the model; where it was told all `again`, only what does not stand there yet."""
        role, text = str(message.get("role", "")), content_text(message.get("content"))
        if role == "tool" and message.get("tool_call_id") in self._results:
            return
        if again and (role, text) in self._told:
            return
        self._told.add((role, text))
        match role:
            case "system" | "developer":
                self._items.append(Item(kind="system", system=self._systems.number(text)))
            case "assistant":
                self._items.append(Item(kind="assistant", text=text, at=at))
            case "tool":
                self._items.append(Item(kind="call", name="tool", text=text, at=at))
            case _:
                self._items.append(Item(kind="user", text=text, at=at))


def content_text(content: Any) -> str:
    """The text of a message's content: a string, or the parts of the wire form that are text."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = (part.get("text") for part in content if isinstance(part, dict))
        return "\n".join(part for part in parts if isinstance(part, str))
    return ""
