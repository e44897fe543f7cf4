"""The toolsets that a sub-agent starts from, and the tools that can be added to them by name."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import field

from anyio.abc import TaskGroup

from swarm.errors import UsageError
from swarm.journal.artifacts import TOOL as OPEN_ARTIFACT
from swarm.protocols import Sandbox, Seat, Tool
from swarm.tools import board
from swarm.tools.files import edit, read, write
from swarm.tools.jobs import Bench, job, open_bench
from swarm.tools.named import load_object
from swarm.tools.patch import apply_patch
from swarm.tools.python import python
from swarm.tools.registry import Toolset
from swarm.tools.search import glob, grep
from swarm.tools.shell import bash
from swarm.tools.submit import StructuredSubmit, submit
from swarm.types import SubTask
from swarm.values import value

# Not in `coding`: bash and edit do the same, and each tool costs every call its description and a model its choice.
EXTRA: dict[str, Tool] = {each.name: each for each in (apply_patch, python)}


def coding() -> Toolset:
    """All that work on a repository needs."""
    return Toolset([bash, job, read, write, edit, grep, glob, submit])


def reading() -> Toolset:
    """Looking without touching."""
    return Toolset([read, grep, glob, submit])


def plain() -> Toolset:
    """For tasks without a repository."""
    return Toolset([bash, job, read, submit])


def extra_tool(name: str) -> Tool:
    """A tool beside the usual ones: one of `EXTRA`, or `package.module:name` of anyone's.

    Raises:
        UsageError: there is none of this name.
    """
    if name in EXTRA:
        return EXTRA[name]
    found = load_object(name, f"the tools to add are {', '.join(EXTRA)}, or package.module:name of your own")
    if not isinstance(found, Tool):
        raise UsageError(f"{name} is no tool", remedy="make one with @tool")
    return found


def of_run(on_repository: bool, web_hosts: Sequence[str], search: str | None) -> Toolset:
    """What every agent of a run has without being asked. Raises: UsageError as `web_tools`."""
    usual = coding() if on_repository else plain()
    if not web_hosts and not search:
        return usual
    from swarm.tools.web import web_tools  # an HTTP client, wanted by few

    return Toolset([*usual, *web_tools(web_hosts, search)])


def with_own(usual: Iterable[Tool], own: Iterable[object], delegating: Collection[str]) -> Toolset:
    """The usual tools and a user's own. `delegating`: the names of the orchestrator's own tools.

    Raises:
        UsageError: one of the user's is no tool, or has a name that is taken.
    """
    tools = list(usual)
    ours = {each.name for each in tools} | {board.NAME, OPEN_ARTIFACT, submit.name, *delegating}
    for each in own:
        if not isinstance(each, Tool) or isinstance(each, type):
            raise UsageError(f"{getattr(each, '__name__', each)!r} is no tool", remedy="make one with @tool")
        if each.name in ours:
            raise UsageError(f"swarm has a tool {each.name!r} of its own", remedy="rename yours: @tool(name=...)")
        tools.append(each)
    return Toolset(tools)


@value(frozen=True, slots=True)
class Kit:
    """The tools of a run, as sub-agents are given them. `jobs`: where their background jobs are at work; None: each
    agent's in a group of its own."""

    tools: Toolset
    jobs: TaskGroup | None = None
    _seated: Toolset | None = field(init=False, repr=False)
    """With a board, where the user has no tool of that name."""

    def __post_init__(self) -> None:
        own = board.NAME in self.tools
        seated = None if own else Toolset([*self.tools, board.BoardTool(board.Nobody())])
        object.__setattr__(self, "_seated", seated)

    def fitted(self, subtask: SubTask, seat: Seat | None = None) -> Toolset:
        """The tools for one sub-task: `submit` asks for the result that it wants, and a seat brings `board`."""
        tools = self.tools
        if seat is not None and self._seated is not None:
            tools = self._seated.exchanged(board.BoardTool(seat))
        if subtask.result_schema is None:
            return tools
        return Toolset(StructuredSubmit(subtask.result_schema) if each.name == submit.name else each for each in tools)

    def orchestrators(self) -> Toolset:
        """The orchestrator's own tools: it answers in words, and submits nothing."""
        return Toolset(each for each in self.tools if each.name != submit.name)

    def bench(self, sandbox: Sandbox) -> AbstractAsyncContextManager[Sandbox]:
        """The sandbox as the tools of one agent use it; background jobs end with the block."""
        return open_bench(sandbox) if self.jobs is None else Bench(sandbox, self.jobs)
