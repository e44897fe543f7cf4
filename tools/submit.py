"""The end of an attempt, in the sub-agent's own words, and in the form that its sub-task asks for."""

from __future__ import annotations

from copy import deepcopy
from typing import Annotated, Any, Literal

from pydantic import Field

from swarm.protocols import Sandbox
from swarm.tools.output import clip, failed
from swarm.tools.registry import tool
from swarm.types import JsonObject, Submission, ToolErrorKind, ToolResult
from swarm.values import value

_PROBLEMS = 8


@tool
async def submit(
    status: Annotated[
        Literal["done", "partial", "failed"],
        Field(
            description="done: the sub-task is done and you saw it work. partial: not done, but your changes are right "
            "and worth keeping. failed: nothing worth keeping; your changes are thrown away."
        ),
    ],
    summary: Annotated[
        str, Field(description="The result itself, or what you changed and why, or what stood in the way.")
    ],
) -> ToolResult:
    """End your work and hand in the result. Call it once, last and alone."""
    if not summary.strip():
        return failed(
            ToolErrorKind.BAD_ARGUMENTS,
            "the summary is empty. Say what you found or changed, or what stood in the way.",
        )
    return ToolResult("Submitted.", submission=Submission(status, summary.strip()))


@value(frozen=True, slots=True)
class StructuredSubmit:
    """`submit` with a `result` that must fit `schema`, unless the work is given up (`failed`)."""

    schema: JsonObject

    @property
    def name(self) -> str:
        return submit.name

    @property
    def description(self) -> str:
        return submit.description

    @property
    def parameters(self) -> JsonObject:
        whole = deepcopy(submit.parameters)
        held = {key: value for key, value in deepcopy(self.schema).items() if key not in ("$defs", "$schema")}
        whole["properties"]["result"] = held
        if "$defs" in self.schema:  # its references count from the root of what the model is given
            whole["$defs"] = deepcopy(self.schema["$defs"])
        return whole

    async def call(self, arguments: JsonObject, sandbox: Sandbox) -> ToolResult:
        rest = {key: value for key, value in arguments.items() if key != "result"}
        told = await submit.call(rest, sandbox)
        if told.submission is None:
            return told
        if "result" not in arguments:
            if told.submission.status == "failed":
                return told
            return failed(ToolErrorKind.BAD_ARGUMENTS, "submit: `result` is missing. This sub-task asks for one.")
        if problems := _problems(arguments["result"], self.schema):
            words = "; ".join(problems)
            return failed(ToolErrorKind.BAD_ARGUMENTS, f"submit: the result does not fit its schema: {words}.")
        whole = Submission(told.submission.status, told.submission.summary, arguments["result"])
        return ToolResult(told.content, submission=whole)


def _problems(value: Any, schema: JsonObject) -> list[str]:
    from jsonschema import Draft202012Validator
    from referencing import Registry  # an empty one: no reference is ever fetched

    found = Draft202012Validator(schema, registry=Registry()).iter_errors(value)
    problems = []
    try:
        for error in found:
            problems.append(f"{error.json_path.replace('$', 'result', 1)}: {clip(error.message, 200)}")
            if len(problems) == _PROBLEMS:
                break
    except RecursionError:
        problems.append("it is nested too deep")
    return problems
