"""What the agents of a run tell each other: who has claimed what, and what was found.

The board is nothing but a fold of the run's records: feed it those of the past, and it is the same again. Whoever
posts emits a record and then looks at what became of it; there is no other way to change the board. A claim is of a
sub-task, not of an attempt at it (two attempts want the same things), and ends with its last attempt at work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from swarm.errors import JournalError
from swarm.events import AgentEnded, AgentStarted, BoardPosted, CallFinished, Event, RunResumed
from swarm.protocols import EventSink
from swarm.scheduling.plan_graph import sorter
from swarm.types import BoardAction, Outcome, Plan, Role
from swarm.values import value

KEY_LIMIT = 200
"""Characters of what a posting is about."""

TEXT_LIMIT = 600
"""Characters of a finding."""

MOST_CLAIMS = 20
"""Things that one sub-task may have claimed at once."""

MOST_FINDINGS = 20
"""Findings of one sub-task."""

MOST_FINDINGS_OF_RUN = 1_000

SHOWN = 20
"""Findings, and claims, in one answer; the newest are shown."""


@value(frozen=True, slots=True)
class Claim:
    """Something that a sub-task works on, since a step of its agent."""

    subtask_id: str
    step: int
    key: str


@value(frozen=True, slots=True)
class Finding:
    """Something that is good to know, posted by the agent of a sub-task at one of its steps."""

    subtask_id: str
    stage: int
    step: int
    key: str
    text: str

    def __str__(self) -> str:
        about = f" ({self.key})" if self.key else ""
        return f"{self.subtask_id}{about}: {self.text}"


@dataclass(slots=True, eq=False)
class _Agent:
    """One attempt at work. `seen`: how many findings it was shown."""

    subtask_id: str
    stage: int
    step: int = 0
    seen: int = 0


@value(frozen=True, slots=True)
class Posted:
    """What became of the last posting. `claim` is the claim on its key, whoever's it is; `before` who had it earlier,
    and how that ended; `known` the finding that says the same already."""

    claim: Claim | None = None
    before: tuple[str, Outcome] | None = None
    known: Finding | None = None


@dataclass(slots=True, eq=False)
class Board:
    """The board of one run. Feed it every event, in order, with `observe`."""

    findings: list[Finding] = field(default_factory=list)
    last: Posted = field(default_factory=Posted)
    posts: int = 0
    _claims: dict[str, Claim] = field(default_factory=dict)
    _before: dict[str, tuple[str, Outcome]] = field(default_factory=dict)
    _known: dict[tuple[str, str], Finding] = field(default_factory=dict)
    _agents: dict[str, _Agent] = field(default_factory=dict)
    _attempts: Counter[str] = field(default_factory=Counter)
    _held: dict[str, dict[str, None]] = field(default_factory=dict)
    _found: Counter[str] = field(default_factory=Counter)
    _stopped: dict[str, tuple[_Agent, Sequence[Claim]]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"<Board {len(self._claims)} claims, {len(self.findings)} findings, {len(self._agents)} agents>"

    @property
    def claims(self) -> Sequence[Claim]:
        """What is claimed now, the oldest first."""
        return tuple(self._claims.values())

    def observe(self, event: Event) -> None:
        """Take in one event of the run."""
        match event:
            case CallFinished(accepted=True):
                if agent := self._agents.get(event.trajectory_id):
                    agent.step += 1
            case AgentStarted(role=Role.SUBAGENT.value, subtask=subtask) if subtask is not None:
                if event.trajectory_id not in self._agents:  # else it goes on in a run that was resumed
                    self._agents[event.trajectory_id] = _Agent(subtask.id, event.stage)
                    self._attempts[subtask.id] += 1
            case AgentEnded():
                self._end(event.trajectory_id, event.outcome)
            case BoardPosted():
                self._post(event)
            case RunResumed():
                self._resume(event)
            case _:
                pass

    def claim_on(self, key: str) -> Claim | None:
        """The claim on a thing, if it is claimed."""
        return self._claims.get(same(key))

    def claims_of(self, subtask_id: str) -> Sequence[Claim]:
        return [self._claims[key] for key in self._held.get(subtask_id, ())]

    def count_of(self, subtask_id: str) -> int:
        """How many findings a sub-task has posted."""
        return self._found[subtask_id]

    def found_in(self, stage: int) -> tuple[str, ...]:
        """The findings of a stage, each on a line of its own."""
        return tuple(str(finding) for finding in self.findings if finding.stage == stage)

    def unseen(self, trajectory_id: str) -> Sequence[Finding]:
        """What others have found since an agent used the board last."""
        agent = self._agents.get(trajectory_id)
        if agent is None:
            return ()
        return [each for each in self.findings[agent.seen :] if each.subtask_id != agent.subtask_id]

    def subtask_of(self, trajectory_id: str) -> str:
        """The sub-task that an agent works on; empty where it is not at work."""
        agent = self._agents.get(trajectory_id)
        return agent.subtask_id if agent else ""

    def seat(self, trajectory_id: str, sink: EventSink) -> BoardSeat:
        """An agent's place at this board. What the sink is told, `observe` must be told."""
        return BoardSeat(self, trajectory_id, sink)

    def _post(self, event: BoardPosted) -> None:
        self.posts += 1
        agent = self._agents.get(event.trajectory_id)
        self.last = Posted()
        if agent is None:  # it ended, or never began
            return
        key, mine = same(event.key), agent.subtask_id
        held = self._claims.get(key)
        if event.action == "claim":
            if held is None:
                held = self._claims[key] = Claim(mine, agent.step, event.key)
                self._held.setdefault(mine, {})[key] = None
            before = self._before.get(key)
            self.last = Posted(held, before if before and before[0] != mine else None)
        elif event.action == "release":
            self.last = Posted(held)
            if held is not None and held.subtask_id == mine:
                del self._claims[key], self._held[mine][key]
        elif event.action == "find":
            what = key, same(event.text)
            known = self._known.get(what)
            self.last = Posted(known=known)
            if known is None:
                finding = Finding(mine, agent.stage, agent.step, event.key, event.text)
                self._known[what] = finding
                self.findings.append(finding)
                self._found[mine] += 1
        if event.action != "read" or not event.text:  # a search shows no news
            agent.seen = len(self.findings)

    def _end(self, trajectory_id: str, outcome: Outcome) -> None:
        agent = self._agents.pop(trajectory_id, None)
        if agent is None:
            return
        mine = agent.subtask_id
        self._attempts[mine] -= 1
        held = [] if self._attempts[mine] else [self._claims.pop(key) for key in self._held.pop(mine, ())]
        for claim in held:
            self._before[same(claim.key)] = (mine, outcome)
        if outcome is Outcome.CANCELLED:  # it may go on, when the run does
            self._stopped[trajectory_id] = agent, held

    def _resume(self, event: RunResumed) -> None:
        """Who was at work and does not go on is lost; who goes on has again what it had, unless others took it."""
        for trajectory_id in [each for each in self._agents if each not in event.going_on]:
            self._end(trajectory_id, Outcome.ERRORED)
        for trajectory_id in event.again:
            agent, held = self._stopped.get(trajectory_id, (None, ()))
            if agent is not None:
                self._agents[trajectory_id] = agent
                self._attempts[agent.subtask_id] += 1
            for claim in held:
                if self._claims.setdefault(same(claim.key), claim) is claim:
                    self._held.setdefault(claim.subtask_id, {})[same(claim.key)] = None
        self._stopped.clear()


class BoardSeat:
    """`swarm.protocols.Seat`: how one agent uses the board, in words for its model."""

    __slots__ = ("_board", "_sink", "_trajectory_id")

    def __init__(self, board: Board, trajectory_id: str, sink: EventSink) -> None:
        self._board = board
        self._trajectory_id = trajectory_id
        self._sink = sink

    def use(self, action: BoardAction, key: str, text: str) -> str:
        """See `swarm.protocols.Seat`."""
        key, text = " ".join(key.split()), " ".join(text.split())
        self._check(action, key, text)
        news = self._board.unseen(self._trajectory_id)
        if action == "read" and text:
            self._post(action, key, text)
            return self._search(text)
        posted = self._post(action, key, text)
        parts = [self._said(action, key, posted)] if action != "read" else []
        if action == "read":
            parts.append(_listed("Claimed by others", [_claimed(each) for each in self._others()]))
        parts.append(_listed("New", [f"{each} [step {each.step}]" for each in news]))
        return "\n".join(part for part in parts if part) or "Nothing new, and nothing claimed by others."

    def _check(self, action: BoardAction, key: str, text: str) -> None:
        mine = self._board.subtask_of(self._trajectory_id)
        if action in ("claim", "release") and not key:
            raise ValueError(f"{action} needs a `key`: name the thing as others would, such as a path")
        if action == "find" and not text:
            raise ValueError("find needs a `text`: the fact, in a sentence or two")
        if len(key) > KEY_LIMIT:
            raise ValueError(f"the key has {len(key)} characters, of at most {KEY_LIMIT}: name the thing in few words")
        if len(text) > TEXT_LIMIT:
            raise ValueError(f"the text has {len(text)} characters, of at most {TEXT_LIMIT}: keep what others need")
        full = len(self._board.claims_of(mine)) >= MOST_CLAIMS
        if action == "claim" and full and self._board.claim_on(key) is None:
            raise ValueError(f"you have claimed {MOST_CLAIMS} things: release one first")
        found = self._board.count_of(mine)
        if action == "find" and (found >= MOST_FINDINGS or len(self._board.findings) >= MOST_FINDINGS_OF_RUN):
            raise ValueError("the board takes no more findings of yours: put the rest into your result")

    def _post(self, action: BoardAction, key: str, text: str) -> Posted:
        held, before = self._board.claim_on(key) if key else None, self._board.posts
        mine = self._board.subtask_of(self._trajectory_id)
        holder = held.subtask_id if held is not None and held.subtask_id != mine else ""
        self._sink.emit(
            BoardPosted(trajectory_id=self._trajectory_id, action=action, key=key, text=text, holder=holder)
        )
        if self._board.posts == before:  # a claim that nobody keeps would be a lie to the model
            raise JournalError("the board does not hear what is posted on it")
        return self._board.last

    def _said(self, action: BoardAction, key: str, posted: Posted) -> str:
        mine, claim = self._board.subtask_of(self._trajectory_id), posted.claim
        if action == "find":
            return f"On the board already, from {posted.known.subtask_id}." if posted.known else "Posted."
        yours = claim is not None and claim.subtask_id == mine
        if action == "release":
            return f"Released: {key}." if yours else f"You have no claim on {key}."
        if claim is not None and not yours:
            return f"Taken: {claim.subtask_id} has {key} since its step {claim.step}. Leave it, and go on elsewhere."
        before = f" {posted.before[0]} had it before ({posted.before[1]})." if posted.before else ""
        return f"Yours: {key}.{before}"

    def _others(self) -> list[Claim]:
        mine = self._board.subtask_of(self._trajectory_id)
        return [claim for claim in self._board.claims if claim.subtask_id != mine]

    def _search(self, text: str) -> str:
        words = text.casefold().split()

        def holds(line: str) -> bool:
            return all(word in line.casefold() for word in words)

        claims = [line for line in map(_claimed, self._board.claims) if holds(line)]
        found = [line for line in map(str, self._board.findings) if holds(line)]
        parts = [_listed("Claimed", claims), _listed("Found", found)]
        return "\n".join(part for part in parts if part) or f"Nothing on the board holds: {text}"


def same(text: str) -> str:
    """Equal for what means the same thing: case, blanks, and how a path is written do not count."""
    return " ".join(text.split()).casefold().removeprefix("./").rstrip("/.")


def has_siblings(plan: Plan) -> bool:
    """Whether two sub-tasks of a valid plan can ever be at work at once."""
    graph = sorter(plan)
    graph.prepare()
    ids = {subtask.id for subtask in plan.subtasks}
    while graph.is_active():
        ready = graph.get_ready()
        if sum(node in ids for node in ready) > 1:
            return True
        graph.done(*ready)
    return False


def _claimed(claim: Claim) -> str:
    return f"{claim.key}: {claim.subtask_id}, since its step {claim.step}"


def _listed(heading: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    left_out = f" (the newest {SHOWN} of {len(lines)}; `read` with a `text` finds the others)" * (len(lines) > SHOWN)
    return "\n".join([f"{heading}{left_out}:", *(f"- {line}" for line in lines[-SHOWN:])])
