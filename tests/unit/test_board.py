"""The board that siblings share: who holds what, what is new to whom, and that the records alone make it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from swarm.agents.board import (
    KEY_LIMIT,
    MOST_CLAIMS,
    MOST_FINDINGS,
    SHOWN,
    TEXT_LIMIT,
    Board,
    BoardSeat,
    has_siblings,
    same,
)
from swarm.agents.prompt import Prompt
from swarm.errors import JournalError
from swarm.events import ANY_EVENT, AgentEnded, AgentStarted, BoardPosted, CallFinished, Event, RunResumed
from swarm.journal.masking import mask
from swarm.journal.redaction import Redactor
from swarm.protocols import Sandbox
from swarm.testing import FakeSandbox, RecordingSink
from swarm.tools.board import BoardTool
from swarm.tools.registry import Toolset
from swarm.tools.toolsets import Kit, coding
from swarm.types import BoardAction, JsonObject, Outcome, Plan, SubTask, ToolErrorKind, ToolResult

SECRET = "sk-abcdefghijklmnopqrstuvwxyz0123456789"


@dataclass
class Run:
    """A board with the journal that feeds it: masked, as one line each."""

    board: Board = field(default_factory=Board)
    lines: list[bytes] = field(default_factory=list)
    redactor: Redactor = field(default_factory=lambda: Redactor({SECRET: "KEY"}))

    def emit(self, event: Event) -> None:
        event, line = mask(event, self.redactor)
        self.lines.append(line)
        self.board.observe(event)

    async def flush(self) -> None: ...

    def start(self, name: str, attempt: int = 1, stage: int = 1) -> BoardSeat:
        trajectory = name if attempt == 1 else f"{name}#{attempt}"
        task = SubTask(id=name, title=name, instructions=name)
        self.emit(
            AgentStarted(
                trajectory_id=trajectory, role="subagent", name=name, trainable=False, subtask=task, stage=stage
            )
        )
        return self.board.seat(trajectory, self)

    def step(self, trajectory: str) -> None:
        self.emit(CallFinished(trajectory_id=trajectory, call_id="c", turn=1, attempt=1, accepted=True))

    def end(self, trajectory: str, outcome: Outcome = Outcome.COMPLETED) -> None:
        self.emit(
            AgentEnded(trajectory_id=trajectory, outcome=outcome, stop="submitted", terminated=True, truncated=False)
        )

    def rebuilt(self) -> Board:
        board = Board()
        for line in self.lines:
            board.observe(ANY_EVENT.validate_json(line))
        return board

    def resume(self, *again: str) -> None:
        self.board = self.rebuilt()
        self.emit(RunResumed(swarm_version="1", began_with="1", again=list(again)))


def test_a_claim_is_of_one_and_ends_with_its_agent() -> None:
    run = Run()
    a, b = run.start("a"), run.start("b")
    run.step("a")
    assert a.use("claim", "src/Parser.py", "") == "Yours: src/Parser.py."
    assert "Taken: a has ./src/parser.py since its step 1" in b.use("claim", "./src/parser.py", "")
    assert a.use("claim", "src/parser.py/", "").startswith("Yours")
    assert b.use("release", "src/parser.py", "") == "You have no claim on src/parser.py."
    assert "src/Parser.py: a, since its step 1" in b.use("read", "", "")
    run.end("a")
    assert run.board.claims == ()
    assert b.use("claim", "src/parser.py", "") == "Yours: src/parser.py. a had it before (completed)."


def test_two_attempts_at_one_sub_task_share_their_claims() -> None:
    run = Run()
    first, other = run.start("a"), run.start("b")
    first.use("claim", "x", "")
    second = run.start("a", attempt=2)
    assert second.use("claim", "x", "").startswith("Yours")
    run.end("a", Outcome.ERRORED)
    assert other.use("claim", "x", "").startswith("Taken: a")
    run.end("a#2")
    assert other.use("claim", "x", "").startswith("Yours")


def test_what_is_new_is_told_once_and_found_again_by_its_words() -> None:
    run = Run()
    a, b, c = run.start("a"), run.start("b"), run.start("c")
    assert a.use("find", "lexer.py", "tabs are\n dropped") == "Posted."
    assert c.use("find", "LEXER.py", "Tabs are dropped").startswith("On the board already, from a.")
    assert len(run.board.findings) == 1
    assert b.use("claim", "docs", "").endswith("New:\n- a (lexer.py): tabs are dropped [step 0]")
    assert b.use("read", "", "") == "Nothing new, and nothing claimed by others."
    assert "tabs are dropped" in b.use("read", "", "dropped lexer")
    assert b.use("read", "", "unicorns") == "Nothing on the board holds: unicorns"
    assert "- docs: b" in a.use("read", "", "")
    assert "New" not in a.use("read", "", "")  # its own is no news
    assert run.board.found_in(1) == ("a (lexer.py): tabs are dropped",)
    assert run.board.found_in(2) == ()


def test_it_is_bounded_and_says_how_to_go_on() -> None:
    run = Run()
    a, b = run.start("a"), run.start("b")
    wrong: tuple[tuple[BoardAction, str, str, str], ...] = (
        ("claim", " ", "", "claim needs a `key`"),
        ("find", "k", "", "find needs a `text`"),
        ("claim", "k" * (KEY_LIMIT + 1), "", f"at most {KEY_LIMIT}"),
        ("find", "", "t" * (TEXT_LIMIT + 1), f"at most {TEXT_LIMIT}"),
    )
    for action, key, text, words in wrong:
        with pytest.raises(ValueError, match=re.escape(words)):
            a.use(action, key, text)
    before = len(run.lines)
    for number in range(MOST_CLAIMS):
        a.use("claim", f"k{number}", "")
    with pytest.raises(ValueError, match="release one first"):
        a.use("claim", "one more", "")
    assert a.use("claim", "k3", "").startswith("Yours")  # what it has, it has
    for number in range(MOST_FINDINGS):
        a.use("find", "", f"f{number}")
    with pytest.raises(ValueError, match="no more findings"):
        a.use("find", "", "one more")
    assert len(run.lines) == before + MOST_CLAIMS + MOST_FINDINGS + 1  # refusals are no records
    c = run.start("c")
    c.use("find", "", "the newest")
    told = b.use("read", "", "")
    assert f"New (the newest {SHOWN} of {MOST_FINDINGS + 1};" in told
    assert "the newest [step 0]" in told
    assert told.count("\n- ") == 2 * SHOWN


def test_secrets_are_masked_and_a_claim_on_one_is_still_a_claim() -> None:
    run = Run()
    a, b = run.start("a"), run.start("b")
    a.use("find", "", f"the key is {SECRET}")
    assert SECRET not in b.use("read", "", "")
    assert a.use("claim", SECRET, "").startswith("Yours")
    assert b.use("claim", SECRET, "").startswith("Taken: a")
    assert SECRET.encode() not in b"".join(run.lines)


def test_a_board_that_does_not_hear_its_records_says_so() -> None:
    seat = Board().seat("a", RecordingSink())
    with pytest.raises(JournalError, match="does not hear"):
        seat.use("claim", "x", "")


def test_who_goes_on_after_a_crash_has_what_it_had() -> None:
    run = Run()
    a, b = run.start("a"), run.start("b")
    a.use("claim", "x", "")
    b.use("claim", "y", "")
    run.start("c").use("claim", "z", "")
    run.end("a", Outcome.CANCELLED)  # the run was interrupted; b was killed with it, c is lost
    run.resume("a", "b")
    assert {claim.key: claim.subtask_id for claim in run.board.claims} == {"x": "a", "y": "b"}
    run.start("a")  # said again or not, it is one attempt
    run.end("a")
    run.end("b")
    assert run.board.claims == ()
    assert "0 agents" in repr(run.board)


KEYS = st.sampled_from(["a", "A ", "./a", "b", "c/d", SECRET, f"p {SECRET}"])
NAMES = st.sampled_from(["one", "two", "three"])


class Boards(RuleBasedStateMachine):
    """Any use in any order, also of agents that have ended, against what was promised."""

    def __init__(self) -> None:
        super().__init__()
        self.run = Run()
        self.alive: dict[str, str] = {}
        self.seats = {
            trajectory: self.run.board.seat(trajectory, self.run) for trajectory in ("one", "one#2", "two", "three")
        }

    @rule(name=NAMES, attempt=st.integers(1, 2))
    def start(self, name: str, attempt: int) -> None:
        trajectory = name if attempt == 1 else f"{name}#2"
        if trajectory in self.seats and trajectory not in self.alive:
            self.run.start(name, attempt)
            self.alive[trajectory] = name

    @rule(trajectory=st.sampled_from(["one", "one#2", "two", "three"]), outcome=st.sampled_from(Outcome))
    def end(self, trajectory: str, outcome: Outcome) -> None:
        self.run.end(trajectory, outcome)
        self.alive.pop(trajectory, None)

    @rule(trajectory=st.sampled_from(["one", "one#2", "two", "three"]), key=KEYS)
    def claim(self, trajectory: str, key: str) -> None:
        before = {claim.subtask_id for claim in self.run.board.claims}
        told = self.seats[trajectory].use("claim", key, "")
        mine = self.alive.get(trajectory)
        if mine is None:
            assert {claim.subtask_id for claim in self.run.board.claims} == before
        else:
            keys = {same(mask_key(self.run, key))}
            holder = next(c.subtask_id for c in self.run.board.claims if same(c.key) in keys)
            assert told.startswith("Yours" if holder == mine else f"Taken: {holder}")

    @rule(trajectory=st.sampled_from(["one", "two"]), key=KEYS, action=st.sampled_from(["release", "find", "read"]))
    def use(self, trajectory: str, key: str, action: BoardAction) -> None:
        self.seats[trajectory].use(action, key, key if action == "find" else "")

    @rule()
    def resume(self) -> None:
        self.run.resume(*self.alive)
        self.seats = {trajectory: self.run.board.seat(trajectory, self.run) for trajectory in self.seats}

    @invariant()
    def one_holder_each_and_it_lives(self) -> None:
        keys = [same(claim.key) for claim in self.run.board.claims]
        assert len(keys) == len(set(keys))
        assert {claim.subtask_id for claim in self.run.board.claims} <= set(self.alive.values())

    @invariant()
    def the_records_make_the_same_board(self) -> None:
        assert vars_of(self.run.rebuilt()) == vars_of(self.run.board)


def mask_key(run: Run, key: str) -> str:
    event, _ = mask(BoardPosted(trajectory_id="t", action="claim", key=" ".join(key.split())), run.redactor)
    assert isinstance(event, BoardPosted)
    return event.key


def vars_of(board: Board) -> object:
    return board.claims, board.findings, board.last, board.posts, repr(board)


test_boards = Boards.TestCase


@given(st.lists(st.lists(st.integers(0, 6), max_size=3), min_size=1, max_size=7))
def test_siblings_are_two_that_neither_waits_for_the_other(needs: list[list[int]]) -> None:
    ids = [f"t{number}" for number in range(len(needs))]
    tasks = tuple(
        SubTask(id=ids[at], title="t", instructions="t", depends_on=tuple({ids[n] for n in wants if n < at}))
        for at, wants in enumerate(needs)
    )
    above: dict[str, set[str]] = {}
    for task in tasks:
        above[task.id] = set(task.depends_on).union(*(above[other] for other in task.depends_on))
    apart = any(a not in above[b] and b not in above[a] for a in ids for b in ids if a != b)
    assert has_siblings(Plan(subtasks=tasks)) is apart


class Looked:
    """A tool that counts how often its description is wanted."""

    name, description = "looked", "Look."
    times = 0

    @property
    def parameters(self) -> JsonObject:
        self.times += 1
        return {}

    async def call(self, arguments: JsonObject, sandbox: Sandbox) -> ToolResult:
        raise NotImplementedError


def test_a_thousand_agents_are_told_of_their_tools_in_words_that_are_made_once() -> None:
    run, task, looked = Run(), SubTask(id="a", title="a", instructions="a"), Looked()
    kit = Kit(Toolset([looked]))
    sets = [kit.fitted(task, run.start(f"a{number}")) for number in range(20)]
    told = [Prompt().tools(tools.schemas()) for tools in sets]
    assert looked.times == 1
    assert all(each is told[0] for each in told)
    assert [each["function"]["name"] for each in json.loads(told[0])] == ["board", "looked"]
    seats = [tools.get("board") for tools in sets]
    assert len({id(seat) for seat in seats}) == len(seats), "each agent has its own seat"


@pytest.mark.anyio
async def test_the_tool_is_small_the_same_for_all_and_names_files_as_others_do() -> None:
    run, task = Run(), SubTask(id="a", title="a", instructions="a")
    kit = Kit(coding())
    mine, others = kit.fitted(task, run.start("a")), kit.fitted(task, run.start("b"))
    assert mine.schemas() == others.schemas()
    assert "board" not in kit.fitted(task).names
    [schema] = [each for each in mine.schemas() if each["function"]["name"] == "board"]
    assert len(str(schema)) < 900
    box = FakeSandbox(workdir="/workspace")
    assert "Yours: a.py." in (await mine.call("board", '{"action": "claim", "key": "/workspace/a.py"}', box)).content
    taken = await others.call("board", '{"action": "claim", "key": "a.py"}', box)
    assert taken.content.startswith("Taken: a")
    for wrong in ('{"action": "steal", "key": "x"}', '{"action": "claim"}', "{", '{"action": "claim", "keys": "x"}'):
        answer = await mine.call("board", wrong, box)
        assert answer.error is ToolErrorKind.BAD_ARGUMENTS
        assert answer.content.startswith("Error: board: ")
    own = BoardTool(run.board.seat("a", run))
    assert Kit(type(mine)([*coding(), own])).fitted(task, run.start("c")).get("board") is own
