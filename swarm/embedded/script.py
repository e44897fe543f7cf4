"""A scripted model: the answers stand in a TOML or JSON file, by role, by words of the prompt and by turn.

For tests, demos and load. It has no memory: the turn is the number of assistant messages in the request.
The format is told in docs/endpoint.md.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from swarm.embedded.faults import Fault
from swarm.embedded.lacks import Lack
from swarm.embedded.limits import Limit, Window
from swarm.embedded.policy import Pace, PolicyReply, PolicyRequest, PolicyToolCall
from swarm.embedded.wire import first_problem
from swarm.errors import UsageError

RoleName = Literal["planner", "subagent", "aggregator", "any"]
Place = Literal["user", "system", "last", "all"]
DONE = "done"


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Draw(_Strict):
    """A log-normal quantity; sigma 0 makes it the number `median`."""

    median: float = Field(ge=0)
    sigma: float = Field(default=0.0, ge=0, le=5)

    def drawn(self, chance: random.Random) -> float:
        return self.median * chance.lognormvariate(0.0, self.sigma) if self.sigma else self.median


def _number_or_draw(value: Any) -> Any:
    return {"median": value} if isinstance(value, int | float) else value


def _not_zero(draw: Draw) -> Draw:
    if not draw.median:
        raise ValueError("must be greater than 0 (`inf`: all at once)")
    return draw


def _compiled(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return re.compile(value)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from None


Quantity = Annotated[Draw, BeforeValidator(_number_or_draw)]
Regex = Annotated[re.Pattern[str], BeforeValidator(_compiled)]


class _Paced(_Strict):
    first_token_s: Quantity | None = None
    tokens_per_s: Annotated[Quantity, AfterValidator(_not_zero)] | None = None


class ScriptedCall(_Strict):
    """A tool call; `raw` stands for arguments that need not be JSON."""

    name: str
    arguments: dict[str, Any] | None = None
    raw: str | None = None

    @model_validator(mode="after")
    def _one_form(self) -> ScriptedCall:
        if self.arguments is not None and self.raw is not None:
            raise ValueError("give `arguments` or `raw`, not both")
        return self


class Turn(_Paced):
    """One answer."""

    content: str | None = None
    json_: dict[str, Any] | None = Field(default=None, alias="json")
    tool_calls: tuple[ScriptedCall, ...] = ()

    @model_validator(mode="after")
    def _says_something(self) -> Turn:
        if self.content is not None and self.json_ is not None:
            raise ValueError("give `content` or `json`, not both")
        if self.content is None and self.json_ is None and not self.tool_calls:
            raise ValueError("a turn needs `content`, `json` or `tool_calls`")
        return self


class Rule(_Paced):
    """Answers for the requests that fit; without `loop` the last turn is followed by the answer `done`."""

    role: RoleName = "any"
    match: Regex | None = None
    where: Place = "user"
    loop: bool = True
    turns: tuple[Turn, ...] = Field(min_length=1)


class Script(_Paced):
    """The whole file."""

    seed: int = 0
    rules: tuple[Rule, ...] = Field(min_length=1)
    faults: tuple[Fault, ...] = ()
    limit: Limit | None = None
    lacks: tuple[Lack, ...] = ()
    window: Window | None = None


def load_script(path: Path) -> Script:
    """Read a script, JSON where the name ends so, else TOML.

    Raises:
        UsageError: the file cannot be read or is no script; one line with the file and the key.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", remedy="name a readable TOML or JSON file") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: {error}", remedy="the file must be valid TOML, or JSON if named .json") from None
    try:
        return Script.model_validate(data)
    except ValidationError as error:
        key, reason = first_problem(error, data)
        raise UsageError(f"{path}: {key or 'script'}: {reason}", remedy="see docs/endpoint.md for the format") from None


class ScriptPolicy:
    """Answers from a script: the first rule that fits, at the turn that the request has reached."""

    def __init__(self, script: Script, source: str) -> None:
        self._script = script
        self._source = source

    @property
    def name(self) -> str:
        return "script"

    def reply(self, request: PolicyRequest) -> PolicyReply:
        """The scripted answer.

        Raises:
            UsageError: no rule fits the request.
        """
        role = role_of(request)
        for index, rule in enumerate(self._script.rules):
            if rule.role not in ("any", role):
                continue
            found = rule.match.search(_text(request, rule.where)) if rule.match else None
            if found is None and rule.match is not None:
                continue
            groups = {name: value or "" for name, value in found.groupdict().items()} if found else {}
            return self._answer(request, index, rule, groups)
        raise UsageError(f"{self._source}: no rule fits this {role} request", remedy="add a last rule without `match`")

    def _answer(self, request: PolicyRequest, index: int, rule: Rule, groups: Mapping[str, str]) -> PolicyReply:
        turn_index = sum(message.get("role") == "assistant" for message in request.messages)
        over = turn_index >= len(rule.turns)
        turn = Turn(content=DONE) if over and not rule.loop else rule.turns[min(turn_index, len(rule.turns) - 1)]
        content = turn.content or ""
        if turn.json_ is not None:
            content = json.dumps(_filled(turn.json_, groups), ensure_ascii=False)
        else:
            content = _filled(content, groups)
        calls = []
        for call in turn.tool_calls:
            arguments = json.dumps(_filled(call.arguments or {}, groups), ensure_ascii=False)
            calls.append(
                PolicyToolCall(_filled(call.name, groups), arguments if call.raw is None else _filled(call.raw, groups))
            )
        return PolicyReply(content, tuple(calls), self._pace(request, index, (turn, rule, self._script)))

    def _pace(self, request: PolicyRequest, index: int, levels: tuple[_Paced, ...]) -> Pace:
        """The nearest pace that is set. Draws depend on the script's seed, the rule and the request alone."""
        first = next((level.first_token_s for level in levels if level.first_token_s), None)
        rate = next((level.tokens_per_s for level in levels if level.tokens_per_s), None)
        if not any(draw and draw.sigma for draw in (first, rate)):
            return Pace(first.median if first else 0.0, rate.median if rate else None)
        told = json.dumps([self._script.seed, request.seed, index, request.messages], sort_keys=True)
        chance = random.Random(hashlib.sha256(told.encode()).digest())
        return Pace(first.drawn(chance) if first else 0.0, rate.drawn(chance) if rate else None)


def role_of(request: PolicyRequest) -> RoleName:
    """Who seems to ask: a planner wants JSON by schema (a judge wants a ranking) or can delegate and has nobody to
    submit to, a sub-agent has other tools, an aggregator has neither."""
    wanted = request.response_format or {}
    if wanted.get("type") == "json_schema":
        return "aggregator" if wanted.get("json_schema", {}).get("name") == "ranking" else "planner"
    names = {tool.get("function", {}).get("name") for tool in request.tools}
    if "assign_task" in names and "submit" not in names:
        return "planner"
    return "subagent" if request.tools else "aggregator"


def _text(request: PolicyRequest, where: Place) -> str:
    """The words that a rule's `match` is searched in; several messages are joined by line ends."""
    keep: dict[Place, Callable[[dict[str, Any]], bool]] = {
        "user": lambda message: message["role"] == "user",
        "system": lambda message: message["role"] in ("system", "developer"),
        "all": lambda message: True,
    }
    chosen = request.messages[-1:] if where == "last" else filter(keep[where], request.messages)
    return "\n".join(_content(message) for message in chosen)


def _content(message: dict[str, Any]) -> str:
    content = message.get("content") or ""
    return content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content)


def _filled(value: Any, groups: Mapping[str, str]) -> Any:
    """The value with each `{{name}}` of a group in its strings replaced; other braces stay as they are."""
    if isinstance(value, str):
        return re.sub(r"\{\{(\w+)\}\}", lambda hole: groups.get(hole[1], hole[0]), value)
    if isinstance(value, dict):
        return {key: _filled(each, groups) for key, each in value.items()}
    return [_filled(each, groups) for each in value] if isinstance(value, list) else value
