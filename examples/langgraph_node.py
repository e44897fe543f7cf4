"""A swarm as one node of a LangGraph graph: it repairs a repository, and a person is asked before a branch is made.

python -m examples.langgraph_node                                      # a small repository, made for it; needs no model
python -m examples.langgraph_node --repo . --test "pytest -q" --model NAME --base-url URL

    repair (a swarm) ──▶ review (an interrupt of the graph) ──▶ branch
          └─ the tests still fail ──▶ end

The graph is yours: nodes before and behind the swarm's may be anything. Its state lies in LangGraph's checkpointer, so
that the answer may come days later, from another process, with a checkpointer that keeps.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal, TypedDict

import anyio
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, interrupt

from examples.flags import Flags, flags_of, guarded, parser, say, search_path
from examples.repair import TASK, TEST, make_shop
from swarm import Swarm
from swarm.config import load_config
from swarm.errors import UsageError
from swarm.events import AgentEnded, AgentStarted
from swarm.langgraph import swarm_node

BRANCH = "swarm-repair"


class State(TypedDict, total=False):
    """What the graph's nodes tell each other."""

    task: str
    answer: str
    result: dict[str, Any]
    approved: bool


def main(arguments: list[str] | None = None) -> int:
    """Run the graph; 0 where the tests pass in the end."""
    made = parser("langgraph_node", "a swarm as a node of a LangGraph graph")
    made.add_argument("--repo", type=Path, metavar="PATH", help="a repository of yours, whose tests fail")
    made.add_argument("--test", default=TEST, metavar="CMD", help=f"the command that has to pass ({TEST})")
    made.add_argument("--yes", action="store_true", help="make the branch without asking")
    given = made.parse_args(arguments)
    return guarded("langgraph_node", lambda: _main(given))


def _main(given: argparse.Namespace) -> int:
    flags = flags_of(given)
    os.environ |= {"PATH": search_path(), "SWARM_HOME": str(flags.home)}
    return anyio.run(run, flags, given)


async def run(flags: Flags, given: argparse.Namespace) -> int:
    """Build the graph around an open swarm, and run it to its end, over the question in the middle."""
    repo = given.repo or make_shop(flags.out / "shop")
    asked = {"model": flags.model, "sandbox": flags.sandbox, "concurrency": flags.agents}
    asked |= {"base_url": flags.base_url} if flags.base_url else {}
    async with Swarm(config=load_config(asked)) as swarm:
        graph = StateGraph(State)
        graph.add_node("repair", swarm_node(swarm, repo=repo, test=given.test, result_key="result"))
        graph.add_node("review", review)
        graph.add_node("branch", branch_of(repo))
        graph.add_edge(START, "repair")
        graph.add_conditional_edges("repair", worth_a_look)
        graph.add_edge("review", "branch")
        graph.add_edge("branch", END)
        whole = graph.compile(checkpointer=InMemorySaver())
        thread: Any = {"configurable": {"thread_id": "repair"}}
        ask: Any = State(task=TASK)
        async for event in whole.astream(ask, thread, stream_mode="custom"):
            if isinstance(event, AgentStarted | AgentEnded):  # typed events, those of the journal
                say(f"  {event.type} {event.trajectory_id}")
        state = await whole.aget_state(thread)
        if state.interrupts:
            yes = given.yes or await anyio.to_thread.run_sync(_asked, state.interrupts[0].value)
            await whole.ainvoke(Command(resume=yes), thread)
            state = await whole.aget_state(thread)
    say(f"{state.values['result']['status']}: {state.values['answer']}")
    return int(state.values["result"]["exit_code"])


def worth_a_look(state: State) -> Literal["review", "__end__"]:
    """On where the gate passed: a run that failed is a result, too."""
    return "review" if state["result"]["patch_path"] and state["result"]["gate"]["passed"] else "__end__"


def review(state: State) -> State:
    """Wait for a person, who is shown the patch."""
    patch = Path(state["result"]["patch_path"]).read_text(encoding="utf-8")
    return State(approved=bool(interrupt({"question": f"Make the branch {BRANCH} of it?", "patch": patch})))


def branch_of(repo: Path) -> Any:
    """A node that makes a branch of the patch, by git alone; the checkout stays as it is."""

    async def branch(state: State) -> State:
        if not state["approved"]:
            say("no branch was made")
            return State()
        name = ("-c", "user.name=swarm", "-c", "user.email=swarm@localhost")
        with tempfile.TemporaryDirectory() as temp:
            tree = Path(temp) / "tree"
            await _git(repo, "worktree", "add", "-q", "-b", BRANCH, str(tree))
            try:
                await _git(tree, "apply", "--index", state["result"]["patch_path"])
                await _git(tree, *name, "commit", "-q", "-m", f"Repair by swarm\n\n{state['answer']}")
            finally:
                await _git(repo, "worktree", "remove", "--force", str(tree))
        say(f"branch {BRANCH} in {repo}")
        return State()

    return branch


async def _git(folder: Path, *words: str) -> None:
    done = await anyio.run_process(["git", "-C", str(folder.resolve()), *words], check=False)
    if done.returncode != 0:
        raise UsageError(f"git {words[0]}: {done.stderr.decode(errors='replace').strip()}")


def _asked(question: dict[str, str]) -> bool:
    """Yes or no of who sits at the terminal; without one it is no."""
    say(question["patch"])
    if not sys.stdin.isatty():
        say(f"{question['question']} Nobody is there to ask: no (--yes says yes)")
        return False
    return input(f"{question['question']} [y/N] ").strip().lower() in ("y", "yes")


if __name__ == "__main__":
    sys.exit(main())
