"""`@tool` makes a tool of a typed function; a `Toolset` is what one agent may use."""

from __future__ import annotations

import inspect
import json
import pickle
import re
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache, partial
from typing import Any, Generic, NoReturn, ParamSpec, TypeVar, overload

import anyio.to_thread
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, from_json, to_json

from swarm.calls import Definitions
from swarm.errors import MachineError, UsageError
from swarm.protocols import Sandbox, Tool
from swarm.tools.output import bounded, clip, failed
from swarm.tools.schema import describe, parameters_of
from swarm.types import JsonObject, ToolErrorKind, ToolResult

P = ParamSpec("P")
R = TypeVar("R")

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class FunctionTool(Generic[P, R]):
    """A function as a tool. Called directly, it is still the function.

    A sync function runs in a worker thread; a cancelled agent waits for it, so it should be short.
    """

    def __init__(self, function: Callable[P, R], *, name: str | None = None, description: str | None = None) -> None:
        """Raises: UsageError where a parameter cannot be described as JSON."""
        self._function = function
        self._is_async = inspect.iscoroutinefunction(function)
        self._parameters = parameters_of(function)
        self._name = str(getattr(function, "__name__", "")) if name is None else name
        self._description = describe(function)[0] if description is None else description
        self.__doc__ = function.__doc__
        self.__module__ = function.__module__

    def __reduce__(self) -> str:
        """By its place at the top of a module, which whoever unpickles it imports: as a function is."""
        if self.__module__ == "__main__":
            raise pickle.PicklingError("it stands in the program that was started, which no other process imports")
        return str(getattr(self._function, "__qualname__", self._name))

    @property
    def name(self) -> str:
        return self._name

    @property
    def description(self) -> str:
        return self._description

    @property
    def parameters(self) -> JsonObject:
        return self._parameters.schema

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<tool {self._name}>"

    async def call(self, arguments: JsonObject, sandbox: Sandbox) -> ToolResult:
        """Check the arguments, run the function, and tell what it gave back or how it failed."""
        try:
            try:
                values = self._parameters.bind(arguments)
            except ValidationError as error:
                return failed(ToolErrorKind.BAD_ARGUMENTS, f"{self._name}: {self._parameters.complaint(error)}")
            if self._parameters.sandbox is not None:
                values[self._parameters.sandbox] = sandbox
            return _result(await self._run(values))
        except Exception as error:  # noqa: BLE001 - the function is the user's: it may raise anything
            return _told(error)

    async def _run(self, values: dict[str, Any]) -> object:
        function: Callable[..., Any] = self._function
        if self._is_async:
            return await function(**values)
        value = await anyio.to_thread.run_sync(_in_thread, partial(function, **values))
        return await value if inspect.isawaitable(value) else value


def _in_thread(function: Callable[[], object]) -> object:
    """What it gives back. An exit in a worker thread, as of argparse, is the tool's alone, and never the program's."""
    try:
        return function()
    except SystemExit as error:
        raise RuntimeError(f"the tool called sys.exit({error.code!r})") from None


@overload
def tool(function: Callable[P, R], /) -> FunctionTool[P, R]: ...


@overload
def tool(
    *, name: str | None = None, description: str | None = None
) -> Callable[[Callable[P, R]], FunctionTool[P, R]]: ...


def tool(
    function: Callable[P, R] | None = None, /, *, name: str | None = None, description: str | None = None
) -> FunctionTool[P, R] | Callable[[Callable[P, R]], FunctionTool[P, R]]:
    """Make a tool of a typed function, sync or async: `@tool`, or `@tool(name=..., description=...)`.

    The first paragraph of the docstring describes the tool, its `Args:` section or `Annotated[..., Field(...)]` the
    parameters. A parameter annotated `Sandbox` gets the agent's sandbox and is not shown to the model. A `str` or a
    `ToolResult` is given back as it is, all else as JSON; an exception is told to the model by its type and message.

    Raises:
        UsageError: a parameter is not annotated, or its type cannot be described as JSON.
    """
    if function is not None:
        return FunctionTool(function)
    return partial(FunctionTool, name=name, description=description)


class Toolset:
    """An ordered, immutable collection of tools with different names."""

    __slots__ = ("_places", "_schemas", "_tools")

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        """Raises: UsageError where a name is not allowed or stands twice."""
        self._schemas: Definitions | None = None
        self._tools = tuple(tools)
        self._places: dict[str, int] = {}
        for place, each in enumerate(self._tools):
            name = each.name
            if not _NAME.fullmatch(name):
                raise UsageError(f"tool name {name!r} is not allowed", remedy="1 to 64 of a-z A-Z 0-9 _ -")
            if name in self._places:
                raise UsageError(f"two tools have the name {name!r}", remedy="rename one: @tool(name=...)")
            self._places[name] = place

    def __iter__(self) -> Iterator[Tool]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __repr__(self) -> str:
        return f"Toolset({', '.join(self.names)})"

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._places)

    def get(self, name: str) -> Tool | None:
        place = self._places.get(name)
        return None if place is None else self._tools[place]

    def only(self, *names: str) -> Toolset:
        """These tools alone, in the order of this set. Raises: UsageError for a name that is not here."""
        self._demand(names)
        return Toolset(each for each in self if each.name in names)

    def without(self, *names: str) -> Toolset:
        """All but these tools. Raises: UsageError for a name that is not here."""
        self._demand(names)
        return Toolset(each for each in self if each.name not in names)

    def exchanged(self, tool: Tool) -> Toolset:
        """With this tool in the place of the one that has its name, and is told to models in the same words."""
        other = object.__new__(Toolset)
        other._places, other._schemas = self._places, self.schemas()
        tools = list(self._tools)
        tools[self._places[tool.name]] = tool
        other._tools = tuple(tools)
        return other

    def schemas(self) -> Definitions:
        """The definitions for a model's request, sorted by name so that the prompt's bytes never change.

        Equal ones are one object, shared by thousands of agents: not to be changed.
        """
        if self._schemas is None:
            parts = [(name, self._tools[place]) for name, place in sorted(self._places.items())]
            self._schemas = _decoded(
                to_json(
                    [
                        {
                            "type": "function",
                            "function": {"name": n, "description": t.description, "parameters": t.parameters},
                        }
                        for n, t in parts
                    ]
                )
            )
        return self._schemas

    async def call(self, name: str, raw_arguments: str, sandbox: Sandbox) -> ToolResult:
        """Use a tool as the model asked for it. All that the model did wrong is told in the result.

        Raises:
            MachineError: the sandbox, or what else the tool stands on, is broken.
        """
        found = self.get(name)
        if found is None:
            known = ", ".join(sorted(self.names)) or "none"
            return failed(ToolErrorKind.UNKNOWN_TOOL, f"there is no tool {clip(name, 64)!r}. The tools are: {known}.")
        arguments = _parsed(raw_arguments)
        if isinstance(arguments, str):
            return failed(ToolErrorKind.BAD_ARGUMENTS, f"{name}: {arguments}")
        try:
            return bounded(await found.call(arguments, sandbox))
        except Exception as error:  # noqa: BLE001 - a tool of a third party's own class may raise anything
            return _told(error)

    def _demand(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name not in self:
                raise UsageError(f"there is no tool {name!r}", remedy=f"the tools are: {', '.join(self.names)}")


@lru_cache(maxsize=64)
def _decoded(encoded: bytes) -> Definitions:
    return Definitions(from_json(encoded))


def _parsed(raw: str) -> JsonObject | str:
    """The arguments, or what is wrong with them. Raw newlines in strings are let pass: their meaning is clear."""
    try:
        value = _DECODER.decode(raw) if raw.strip() else {}
        if not raw.isascii() or "\\u" in raw:  # else there is no half of a pair in it
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        near = clip(raw[max(0, error.pos - 30) : error.pos + 10], 60)
        where = f"line {error.lineno}, column {error.colno}"
        end = " (the end: was it cut off?)" if error.pos >= len(raw.rstrip()) else ""
        return f"the arguments are not valid JSON: {error.msg} at {where}{end}, near {near!r}. Give one JSON object."
    except UnicodeEncodeError:
        return "the arguments hold half of a surrogate pair (\\ud800 to \\udfff), which is no character"
    except (ValueError, RecursionError) as error:
        return f"the arguments are not valid JSON: {clip(str(error), 200)}. Give one JSON object."
    if not isinstance(value, dict):
        return f"the arguments must be one JSON object like {{}}, not {clip(raw, 60)}"
    return value


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


_DECODER = json.JSONDecoder(strict=False, parse_constant=_refuse)


def _result(value: object) -> ToolResult:
    if isinstance(value, ToolResult):
        text = isinstance(value.content, str)
        return (
            value if text else failed(ToolErrorKind.RAISED, "the tool gave back a ToolResult whose content is no text")
        )
    if isinstance(value, str):
        return ToolResult(str(value))
    try:
        return ToolResult(to_json(value).decode())
    except PydanticSerializationError as error:
        return failed(ToolErrorKind.RAISED, f"the tool gave back a value that is not JSON: {clip(str(error), 200)}")


def _told(error: Exception) -> ToolResult:
    """What a model is told of an exception. A broken machine is none of its business and is raised again."""
    causes = list(_leaves(error))
    for cause in causes:
        if isinstance(cause, MachineError):
            raise cause
    return failed(
        ToolErrorKind.RAISED, "; ".join(f"{type(cause).__name__}: {cause}".rstrip(": ") for cause in causes[:5])
    )


def _leaves(error: Exception) -> Iterator[Exception]:
    if isinstance(error, ExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error
