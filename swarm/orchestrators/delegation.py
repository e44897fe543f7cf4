"""The two tools of an orchestrator for delegation, with the names, fields and types of the Kimi K2.5 report
(arXiv 2602.02276): models trained for them know exactly these. The descriptions are our own.

    create_subagent {name: string, system_prompt: string}
    assign_task     {agent: string, prompt: string}
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from swarm.budgets.headcount import Headcount
from swarm.types import JsonObject, SubTask

CREATE = "create_subagent"
ASSIGN = "assign_task"

_STRING = {"type": "string"}
_LONGEST_NAME = 100
_MOST_NAMED = 30
_OURS = ("orchestrator", "aggregator", "gate", "judge", "ahead")
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


class _Create(BaseModel, defer_build=True):
    model_config = ConfigDict(strict=True, extra="forbid")

    name: str
    system_prompt: str


class _Assign(BaseModel, defer_build=True):
    model_config = ConfigDict(strict=True, extra="forbid")

    agent: str
    prompt: str


class Refused(ValueError):
    """A call that cannot be followed; the message tells the model how to mend it."""


class Delegation:
    """The kinds of agents that one agent has registered, and the sub-tasks that it has asked for.

    `owner` is its trajectory, empty for the orchestrator's: ids of sub-tasks begin with it, so that they depend on
    nothing but what the agent itself did. `headcount` counts for the whole run.
    """

    def __init__(self, headcount: Headcount, owner: str = "") -> None:
        self._headcount = headcount
        self._owner = owner.replace("#", "_.")  # as no plan's ids may be: `plan_graph`
        self._prompts: dict[str, str] = {}
        self._asked: list[SubTask] = []
        self._taken: set[str] = set()
        self._number = 1
        self._closed = ""

    def close(self, reason: str) -> None:
        """From now on refuse every assignment, for this reason."""
        self._closed = reason

    def take(self, subtask_ids: Iterable[str]) -> None:
        """These ids are in use: whoever asked for them, no other sub-task gets them."""
        self._taken |= set(subtask_ids)

    @property
    def most(self) -> int:
        """How many agents the run may have altogether."""
        return self._headcount.most

    def create(self, arguments: str) -> str:
        """Register a kind; gives the answer for the model.

        Raises:
            Refused: malformed, or the name is taken.
        """
        wanted = _parse(_Create, CREATE, arguments)
        if not wanted.name.strip():
            raise Refused("the name is empty: give a short one")
        if len(wanted.name) > _LONGEST_NAME:
            raise Refused(f"the name has {len(wanted.name)} characters, of at most {_LONGEST_NAME}: give a short one")
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
            raise Refused(f"there is no agent {_short(wanted.agent)} (registered: {self._known()}): create it first")
        if not wanted.prompt.strip():
            raise Refused("the prompt is empty: say what is to be done")
        if self._closed:
            raise Refused(f"not started: {self._closed}; go on with what there is")
        while (name := self._name(wanted.agent)) in self._taken:
            self._number += 1
        if not self._headcount.allows(name):
            most = self._headcount.most
            raise Refused(f"not started: all {most} agents of the run were used; go on with what there is")
        again = (s.id for s in self._asked if s.id in failed and s.instructions == wanted.prompt)
        subtask = SubTask(
            id=name,
            title=_title(wanted.prompt),
            instructions=wanted.prompt,
            system_prompt=self._prompts[wanted.agent],
            kind=wanted.agent,
            replaces=tuple(again),
        )
        self._asked.append(subtask)
        self._number += 1
        self._headcount.add(name)
        return subtask

    def _name(self, agent: str) -> str:
        return f"{self._owner}.{self._number}" if self._owner else f"{_slug(agent)}-{self._number}"

    def _known(self) -> str:
        first = list(map(repr, self._prompts))[:_MOST_NAMED]
        more = len(self._prompts) - len(first)
        return ", ".join([*first, *([f"and {more} more"] if more else [])]) or "none yet"


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


def _short(name: str) -> str:
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}...")


def _slug(name: str) -> str:
    """A word that no trajectory of the runtime's own begins with, short enough for the ids of descendants."""
    slug = _NOT_ALLOWED.sub("-", name).strip("-").lower()[:32].strip("-") or "agent"
    return f"agent-{slug}"[:32] if slug.partition("-")[0] in _OURS else slug


def _title(prompt: str) -> str:
    line = " ".join(prompt.strip().splitlines()[0].split())
    return line if len(line) <= 120 else f"{line[:117]}..."
