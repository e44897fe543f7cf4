"""The two tools of an orchestrator for delegation, with the names, fields and types of the Kimi K2.5 report
(arXiv 2602.02276): models trained for them know exactly these. The descriptions are our own.

    create_subagent {name: string, system_prompt: string}
    assign_task     {agent: string, prompt: string}
"""

from __future__ import annotations

import re
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from swarm.types import JsonObject, SubTask

CREATE = "create_subagent"
ASSIGN = "assign_task"

_STRING = {"type": "string"}
_NOT_ALLOWED = re.compile(r"[^A-Za-z0-9]+")


def _schema(name: str, description: str, fields: dict[str, str]) -> JsonObject:
    properties = {field: {**_STRING, "description": text} for field, text in fields.items()}
    parameters = {"type": "object", "properties": properties, "required": list(fields), "additionalProperties": False}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


SCHEMAS: tuple[JsonObject, ...] = (
    _schema(
        ASSIGN,
        "Start an agent of a registered kind on a task and wait for its one answer. All assign_task calls of one turn "
        "run at the same time; what depends on an answer belongs into a later turn. The agent sees nothing but its "
        "system prompt, the whole task, and this prompt.",
        {
            "agent": "the name that was given to create_subagent",
            "prompt": "what is to be done, with all that is needed for it, and what to report",
        },
    ),
    _schema(
        CREATE,
        "Register a kind of agent, to be used any number of times by assign_task. Starts nothing.",
        {
            "name": "a short name that no other kind has",
            "system_prompt": "its role: what it is good at, how it should work, what it must not do",
        },
    ),
)


Form = TypeVar("Form", bound=BaseModel)


class _Create(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    system_prompt: str


class _Assign(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    agent: str
    prompt: str


class Refused(ValueError):
    """A call that cannot be followed; the message tells the model how to mend it."""


class Delegation:
    """The kinds of agents that an orchestrator has registered, and the sub-tasks that it has asked for.

    At most `max_agents` may be asked for altogether.
    """

    def __init__(self, max_agents: int) -> None:
        self._max_agents = max_agents
        self._prompts: dict[str, str] = {}
        self._asked: list[SubTask] = []

    @property
    def room(self) -> int:
        """How many more agents may be asked for."""
        return self._max_agents - len(self._asked)

    def create(self, arguments: str) -> str:
        """Register a kind; gives the answer for the model.

        Raises:
            Refused: malformed, or the name is taken.
        """
        wanted = _parse(_Create, CREATE, arguments)
        if not wanted.name.strip():
            raise Refused("the name is empty: give a short one")
        if wanted.name in self._prompts:
            raise Refused(f"there is an agent {wanted.name!r} already: use it, or choose another name")
        self._prompts[wanted.name] = wanted.system_prompt
        return f"agent {wanted.name!r} is registered"

    def assign(self, arguments: str, failed: frozenset[str]) -> SubTask:
        """A sub-task for the next stage. `failed`: sub-tasks without success, which an equal one takes over.

        Raises:
            Refused: malformed, of an unknown kind, or one too many.
        """
        wanted = _parse(_Assign, ASSIGN, arguments)
        if wanted.agent not in self._prompts:
            known = ", ".join(map(repr, self._prompts)) or "none yet"
            raise Refused(f"there is no agent {wanted.agent!r} (registered: {known}): create it first")
        if not wanted.prompt.strip():
            raise Refused("the prompt is empty: say what is to be done")
        if self.room < 1:
            raise Refused(f"not started: all {self._max_agents} agents of the run were used; go on with what there is")
        again = (s.id for s in self._asked if s.id in failed and s.instructions == wanted.prompt)
        subtask = SubTask(
            id=f"{_slug(wanted.agent)}-{len(self._asked) + 1}",
            title=_title(wanted.prompt),
            instructions=wanted.prompt,
            system_prompt=self._prompts[wanted.agent],
            kind=wanted.agent,
            replaces=tuple(again),
        )
        self._asked.append(subtask)
        return subtask


def _parse(form: type[Form], name: str, arguments: str) -> Form:
    try:
        return form.model_validate_json(arguments or "{}")
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'the arguments'}: {e['msg']}"
            for e in error.errors(include_url=False, include_input=False)[:4]
        )
        fields = ", ".join(f'"{field}": string' for field in form.model_fields)
        raise Refused(f"{name} wants {{{fields}}}: {wrong}") from None


def _slug(name: str) -> str:
    return _NOT_ALLOWED.sub("-", name).strip("-").lower()[:40] or "agent"


def _title(prompt: str) -> str:
    line = " ".join(prompt.strip().splitlines()[0].split())
    return line if len(line) <= 120 else f"{line[:117]}..."
