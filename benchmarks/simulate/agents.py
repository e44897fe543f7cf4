"""The agents of a simulation: an executor for the real scheduler, and the model that its calls meet at a replica."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import anyio

from benchmarks.simulate.policies import Client
from benchmarks.simulate.replica import Refusal, Replica, Work
from benchmarks.simulate.workload import Turn, Workload
from swarm.calls import Ask, ModelReply, ModelRequest
from swarm.errors import EndpointError, EndpointFault
from swarm.retry import FATAL
from swarm.steering import WorkClock
from swarm.types import AgentLimits, AgentResult, AgentSpec, Outcome, Role, SubTask, Usage
from swarm.values import value

_FAULTS = {
    Refusal.LIMITED: (EndpointFault.RATE_LIMITED, 429),
    Refusal.BUSY: (EndpointFault.OVERLOADED, 503),
    Refusal.DEAD: (EndpointFault.UNREACHABLE, None),
    Refusal.CUT: (EndpointFault.CUT, None),
}
LIKELY_TOKENS = 400
"""Tokens of an answer that an agent counts on when it asks for admission."""


SPENT = ("admission", "backoff", "way and client", "queue", "prompt", "answer", "tool")
"""What the seconds of agents go on."""


@dataclass
class Log:
    """What happened to all calls, on the virtual clock. `spent` are seconds of agents by what they went on: they add up
    to the time from an attempt's begin to its end."""

    spent: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SPENT, 0.0))
    latency: array[float] = field(default_factory=lambda: array("d"))
    failed: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    answered: int = 0
    given_up: int = 0
    in_flight: int = 0
    peak: int = 0
    flight_s: float = 0.0
    told: int = 0
    _at: float = 0.0

    def flight(self, now: float, change: int) -> None:
        """A call is sent, or is over."""
        self.flight_s += self.in_flight * (now - self._at)
        self._at = now
        self.in_flight += change
        self.peak = max(self.peak, self.in_flight)


class Cores:
    """The client's processor: each call needs so many seconds of one of its cores, half of them before it is sent and
    half when its answer, or that it is refused, comes back; one after the other."""

    def __init__(self, count: int, seconds: float) -> None:
        self._free_at = [0.0] * count
        self._seconds = seconds / 2
        self.worked_s = 0.0

    def until(self, now: float) -> float:
        """When the next half of a call has had what it needs."""
        first = min(range(len(self._free_at)), key=self._free_at.__getitem__) if len(self._free_at) > 1 else 0
        self._free_at[first] = max(now, self._free_at[first]) + self._seconds
        self.worked_s += self._seconds
        return self._free_at[first]


@value(frozen=True, slots=True)
class SimulatedRequest(ModelRequest):
    """A call of the model, with what it costs in place of messages."""

    turn: Turn = field(default_factory=lambda: Turn(1, 0, 1, 0.0))
    prefix: str = ""
    shared: int = 0
    talk: str = ""


class SimulatedModel:
    """`swarm.protocols.Model` at one replica. `rtt_s` is the way there and back, which every call takes."""

    def __init__(self, name: str, replica: Replica, cores: Cores, log: Log, rtt_s: float, rng: Random) -> None:
        self.name = "simulated"
        self.endpoint = name
        self.replica = replica
        self.reached: Callable[[float], None] | None = None
        """Is told what the first connection took."""

        self._cores = cores
        self._log = log
        self._rtt_s = rtt_s
        self._rng = rng

    async def complete(self, request: ModelRequest) -> ModelReply:
        """See `swarm.protocols.Model.complete`."""
        assert isinstance(request, SimulatedRequest)
        log, sent, turn = self._log, anyio.current_time(), request.turn
        log.sent += 1
        log.flight(sent, +1)
        work: Work | None = None
        try:
            arrives = self._cores.until(sent) + self._rtt_s
            await anyio.sleep_until(arrives)
            arrived = anyio.current_time()
            log.spent["way and client"] += arrived - sent
            if self.reached is not None:
                self.reached(self._rtt_s)
                self.reached = None
            if (refusal := self.replica.refuses(self._rng.random())) is not None:
                await self._hear()
                raise _error(*refusal)
            over, why = anyio.Event(), list[Refusal]()

            def ended(refusal: Refusal | None) -> None:
                why.extend([refusal] if refusal else ())
                over.set()

            work = Work(turn.prompt, turn.answer, request.prefix, request.shared, request.talk, turn.said,
                        request.began or _nothing, ended)  # fmt: skip
            self.replica.take(work)
            await over.wait()
            done = anyio.current_time()
            entered = work.entered or done
            first = work.first or done
            log.spent["queue"] += entered - arrived
            log.spent["prompt"] += first - entered
            log.spent["answer"] += done - first
            await self._hear()
            if why:
                raise _error(why[0], None)
        except BaseException:
            if work is not None:
                self.replica.drop(work)
            raise
        finally:
            log.flight(anyio.current_time(), -1)
        log.answered += 1
        usage = Usage.model_construct(prompt_tokens=turn.prompt, completion_tokens=turn.answer,
                                      cached_tokens=work.cached, reasoning_tokens=0, calls=1)  # fmt: skip
        return ModelReply({}, "", (), "stop", usage, self.name, sent, first, anyio.current_time())

    async def _hear(self) -> None:
        """What came back waits until the client comes to it."""
        came = anyio.current_time()
        heard = self._cores.until(came)
        if heard > came:
            await anyio.sleep_until(heard)
            self._log.spent["way and client"] += heard - came


def _error(refusal: Refusal, pause: float | None) -> EndpointError:
    kind, status = _FAULTS[refusal]
    return EndpointError(kind, f"simulated: {refusal}", status=status, retry_after=pause)


def _nothing() -> None: ...


async def prepare(subtask: SubTask, attempt: int, needed: Sequence[AgentResult]) -> AgentSpec:
    """`swarm.scheduling.scheduler.Prepare`."""
    name = subtask.id if attempt == 1 else f"{subtask.id}#{attempt}"
    return AgentSpec(name, subtask, 1, attempt, int(subtask.id), "", "", None, AgentLimits())


@dataclass
class SimulatedExecutor:
    """`swarm.protocols.Executor` whose agents make the calls of a workload, as `swarm.agents` makes them: admission,
    call, retry policy, tool, and an end as soon as an agent is told to finish."""

    client: Client
    workload: Workload
    log: Log
    rng: Random

    def expect(self, count: int, commit: str | None) -> None:
        """Nothing is prepared for."""

    async def run(self, spec: AgentSpec) -> AgentResult:
        """See `swarm.protocols.Executor.run`."""
        number, steering, log = int(spec.subtask.id), spec.steering, self.log
        outcome, stop, steps = Outcome.COMPLETED, "submitted", 0
        prefix = self.workload.prefix(number)
        turns = self.workload.turns_of(number)
        with steering.clock.limited(spec.limits.timeout):
            for turn in turns:
                told = await steering.before_call()
                log.told += bool(told)
                try:
                    await self._ask(spec.trajectory_id, steps, turn, prefix, steering.clock)
                except EndpointError as error:
                    log.given_up += 1
                    if error.kind in FATAL:
                        raise
                    outcome, stop = Outcome.ERRORED, error.kind.value
                    break
                steps += 1
                if told:
                    break
                if turn.tool_s:
                    await anyio.sleep(turn.tool_s)
                    log.spent["tool"] += turn.tool_s
        log.outcomes[outcome.value] += 1
        return AgentResult(spec.subtask.id, spec.trajectory_id, outcome, "done", stop, steps=steps)

    async def _ask(self, name: str, step: int, turn: Turn, prefix: str, clock: WorkClock) -> None:
        log, retry = self.log, self.client.retry
        wanted, tries, attempt = anyio.current_time(), 0, 0
        request = SimulatedRequest((), turn=turn, prefix=prefix, shared=self.workload.shared, talk=name)
        while True:
            clock.stop()
            attempt += 1
            ask = Ask(Role.SUBAGENT, turn.prompt + LIKELY_TOKENS, prefix, step, wanted, None, name, attempt)
            waits = anyio.current_time()
            try:
                async with self.client.service.admit(ask) as model:
                    log.spent["admission"] += anyio.current_time() - waits
                    clock.start()
                    await model.complete(request)
                log.latency.append(anyio.current_time() - wanted)
                return
            except EndpointError as error:
                log.failed[error.kind.value] += 1
                tries += retry.counts(error)
                again = retry.decide(error, tries, self.rng)
                if again is None:
                    raise
            clock.stop()
            await anyio.sleep(again)
            log.spent["backoff"] += again
