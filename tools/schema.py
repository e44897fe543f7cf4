"""A typed function's parameters: their JSON schema, and the check of what a model wrote against it."""

from __future__ import annotations

import difflib
import inspect
import re
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaWarningKind
from pydantic_core import PydanticUndefined

from swarm.errors import UsageError
from swarm.protocols import Sandbox
from swarm.tools.output import clip
from swarm.types import JsonObject
from swarm.values import value

_NAMED = frozenset({"properties", "$defs", "patternProperties", "dependentSchemas"})
_DATA = frozenset({"default", "const", "enum", "examples", "required", "discriminator"})
_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns?|Raises|Yields|Examples?|Notes?):\s*$")
_ENTRY = re.compile(r"^\*{0,2}(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


@value(frozen=True, slots=True)
class Parameters:
    """What of a function a model fills in.

    `schema` is the JSON schema of the arguments; `sandbox` the parameter that gets the sandbox, None without one.
    """

    schema: JsonObject
    sandbox: str | None
    _model: type[BaseModel]
    _fields: Mapping[str, str]

    def bind(self, arguments: JsonObject) -> dict[str, Any]:
        """The checked and converted value of every parameter.

        Raises:
            ValidationError: the arguments do not fit; `complaint` puts it into words.
        """
        checked = self._model.model_validate(arguments)
        return {parameter: getattr(checked, field) for field, parameter in self._fields.items()}

    def complaint(self, error: ValidationError) -> str:
        """What is wrong with the arguments, and what is expected, for a model to act on."""
        allowed = list(self._fields.values())
        problems = [_problem(dict(found), allowed) for found in error.errors(include_url=False)[:8]]
        expected = ", ".join(self._outline()) or "none"
        return f"the arguments do not fit: {'; '.join(problems)}. Expected: {expected}."

    def _outline(self) -> list[str]:
        required = self.schema.get("required", [])
        return [
            f"{name} ({_type_words(schema)}{'' if name in required else ', optional'})"
            for name, schema in self.schema["properties"].items()
        ]


def parameters_of(function: Callable[..., object]) -> Parameters:
    """Read a function's signature, annotations and docstring.

    Raises:
        UsageError: a parameter is not annotated, or of a kind or type that JSON cannot give.
    """
    where = f"tool function {getattr(function, '__qualname__', function)}"
    told = describe(function)[1]
    hints = _hints(function, where)
    definitions: dict[str, Any] = {}
    fields: dict[str, str] = {}
    sandbox: str | None = None
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise UsageError(f"{where}: parameter {name} cannot be given by name", remedy="use plain parameters only")
        if name not in hints:
            raise UsageError(f"{where}: parameter {name} has no annotation", remedy="annotate it")
        if _is_sandbox(hints[name]):
            if sandbox is not None:
                raise UsageError(f"{where}: {sandbox} and {name} are both a Sandbox", remedy="keep one")
            sandbox = name
            continue
        # Fields have names of their own, since a parameter may be called `schema`, `copy` or `_x`.
        field = f"p{len(fields)}"
        fields[field] = name
        definitions[field] = _definition(name, hints[name], parameter.default, told.get(name))
    try:
        model = create_model("Arguments", __config__=ConfigDict(extra="forbid"), **definitions)
        schema = model.model_json_schema(schema_generator=_Generator)
    except PydanticUserError as error:
        remedy = "use types that JSON can give"
        raise UsageError(f"{where}: {str(error).splitlines()[0].rstrip('.')}", remedy=remedy) from None
    return Parameters(_tidied(schema), sandbox, model, fields)


def describe(function: Callable[..., object]) -> tuple[str, dict[str, str]]:
    """The first paragraph of the docstring, and the descriptions in its Google-style `Args:` section."""
    lines = (inspect.getdoc(function) or "").split("\n")
    summary: list[str] = []
    for line in lines:
        if not line.strip() or _SECTION.match(line):
            break
        summary.append(line.strip())
    told: dict[str, list[str]] = {}
    inside, current, indent = False, "", 0
    for line in lines:
        if heading := _SECTION.match(line):
            inside, current = heading[1] in ("Args", "Arguments", "Parameters"), ""
            continue
        if not inside or not line.strip():
            continue
        depth = len(line) - len(line.lstrip())
        if depth == 0:
            inside = False
        elif (entry := _ENTRY.match(line.strip())) and (not current or depth <= indent):
            current, indent = entry[1], depth
            told[current] = [entry[2]]
        elif current:
            told[current].append(line.strip())
    return " ".join(summary), {name: " ".join(part for part in parts if part) for name, parts in told.items()}


class _Generator(GenerateJsonSchema):
    # A default that JSON cannot hold is left out of the schema; the function still has it.
    ignored_warning_kinds: set[JsonSchemaWarningKind] = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012 - as the base declares it


def _hints(function: Callable[..., object], where: str) -> dict[str, Any]:
    plain = inspect.unwrap(function)
    written = dict(getattr(plain, "__annotations__", {}))
    written.pop("return", None)  # it may name what is imported for type checkers only
    holder = type("_Holder", (), {"__annotations__": written})
    try:
        return typing.get_type_hints(holder, getattr(plain, "__globals__", {}), include_extras=True)
    except NameError as error:
        remedy = "import or define it at the top level of the module, not under TYPE_CHECKING"
        raise UsageError(f"{where}: the annotation {error.name} is not known", remedy=remedy) from None


def _is_sandbox(hint: Any) -> bool:
    return (typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint) is Sandbox


def _definition(name: str, hint: Any, default: Any, described: str | None) -> tuple[Any, Any]:
    if isinstance(default, FieldInfo):
        hint, default = Annotated[hint, default], inspect.Parameter.empty
    inner = [part for part in getattr(hint, "__metadata__", ()) if isinstance(part, FieldInfo)]
    description = next((part.description for part in reversed(inner) if part.description), described)
    value = PydanticUndefined if default is inspect.Parameter.empty else default
    if value is PydanticUndefined:
        return hint, Field(alias=name, description=description)
    return hint, Field(value, alias=name, description=description)


def _tidied(schema: JsonObject) -> JsonObject:
    """Without titles, and without the null that only repeats that an argument may be left out."""
    tidy: JsonObject = _untitled(schema)
    properties = tidy.setdefault("properties", {})
    for name, held in properties.items():
        if held.get("default", ...) is None and "anyOf" in held:
            rest = {key: value for key, value in held.items() if key not in ("default", "anyOf")}
            choices = [choice for choice in held["anyOf"] if choice != {"type": "null"}]
            plain = choices[0] if len(choices) == 1 else {"anyOf": choices}
            properties[name] = dict(sorted((plain | rest).items()))
    return tidy


def _untitled(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_untitled(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {}
    for key, said in schema.items():
        if key == "title":
            continue
        if key in _NAMED:
            tidy[key] = {name: _untitled(part) for name, part in said.items()}
        else:
            tidy[key] = said if key in _DATA else _untitled(said)
    return tidy


def _problem(found: dict[str, Any], allowed: list[str]) -> str:
    name = ".".join(str(part) for part in found["loc"]) or "arguments"
    if found["type"] == "missing":
        return f"`{name}` is missing"
    if found["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, allowed, n=1)
        return f"`{clip(name, 60)}` is unknown" + (f" (did you mean `{near[0]}`?)" if near else "")
    return f"`{name}`: {clip(found['msg'], 200)} (got {clip(repr(found['input']), 80)})"


def _type_words(schema: JsonObject) -> str:
    if "enum" in schema:
        return "one of " + ", ".join(repr(value) for value in schema["enum"])
    if "anyOf" in schema:
        return " or ".join(_type_words(choice) for choice in schema["anyOf"])
    return str(schema.get("type", "object" if "$ref" in schema else "any"))
