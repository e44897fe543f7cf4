"""A replica of an inference server that batches continuously, as a fluid: on a virtual clock or on a real one.

It holds `n` sequences that decode, one prompt that is read between their steps (chunked prefill), and a queue of calls,
first come, first served. One step of the server takes

    step = (a + b n + [c / P while a prompt is read]) x slow        seconds
    decode  = 1 / step    tokens a second of every sequence that decodes
    prefill = c / step    tokens a second of the prompt that is read

with `a` the weights' way through memory, `b` what a sequence adds, `c` the tokens of a chunk and `P` the tokens a
second at which prompts are read when nothing else is done. The first of the queue enters when the prompt before it has
been read, fewer than `seats` others are inside, and its tokens (those of the prompt that are not cached, and of the
answer) fit into what is free of the `kv` tokens of the KV cache. What is free holds the prefixes that were used last
(LRU): those that agents share, and each conversation up to its last answer; of a prompt only what is not cached there
is read.

Between two events all rates are constant, so the next end of a prompt or an answer is known and nothing is integrated
by steps. Left out: preemption (a call's whole answer is set aside when it enters), speculation, and bandwidth.

Sources: iteration-level batching, Orca (Yu et al., OSDI 2022); KV blocks and their limit as the bound of the batch,
vLLM (Kwon et al., SOSP 2023); chunked prefill and the cost of a step as a sum of decode and chunk, Sarathi-Serve
(Agrawal et al., OSDI 2024); LRU over shared prefixes, SGLang (Zheng et al., 2024). The defaults are in the range that
these report for a model of 70 B parameters on eight GPUs; nothing here was measured on one.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from itertools import count
from math import inf


@dataclass(frozen=True, slots=True)
class Hardware:
    """What a replica is: seconds `a` and `b` of a step, tokens `c` of a chunk, tokens a second `p` of a prompt; the
    most calls inside, tokens of the KV cache, and calls that may wait (beyond that it answers 503)."""

    a: float = 0.018
    b: float = 0.00015
    c: int = 512
    p: float = 12_000.0
    seats: int = 256
    kv: int = 400_000
    queue: float = inf


class Refusal(StrEnum):
    """Why a call was not taken, or did not come to its end."""

    LIMITED = "429"
    BUSY = "503"
    DEAD = "dead"
    CUT = "cut"


@dataclass(slots=True, eq=False)
class Work:
    """One call at a replica. `prompt` tokens, of which the first `shared` are those of `prefix`; `talk` names its
    conversation, whose first `said` tokens were here if its last call was."""

    prompt: int
    answer: int
    prefix: str
    shared: int
    talk: str
    said: int
    began: Callable[[], None]
    ended: Callable[[Refusal | None], None]
    cached: int = 0
    arrived: float = 0.0
    entered: float = 0.0
    first: float = 0.0
    gone: bool = False
    held: int = 0


@dataclass(frozen=True, slots=True)
class Trouble:
    """From one time to another: `limited` and `busy` refuse the share `part` of the calls, `dead` all, `slow` makes
    steps `factor` times as long, and `quota` lets so many calls a minute through. `pause` is what a limit tells to
    wait, None: nothing; a quota tells when the next call will pass."""

    kind: str
    begin: float
    end: float
    part: float = 1.0
    factor: float = 1.0
    pause: float | None = None
    a_minute: float = inf


@dataclass(slots=True)
class Tally:
    """Sums over the time of a replica: seconds with anybody inside, with a queue, sequence seconds of decoding and of
    reading, call seconds, tokens of prompts and those of them that were cached."""

    busy_s: float = 0.0
    queued_s: float = 0.0
    decode_s: float = 0.0
    inside_s: float = 0.0
    prompt: int = 0
    cached: int = 0
    answered: int = 0
    peak: int = 0


class Replica:
    """One replica on the clock of the running event loop. Its callers ask `refuses` first, then hand over `take`."""

    def __init__(self, hardware: Hardware, troubles: tuple[Trouble, ...] = ()) -> None:
        self.hardware = hardware
        self.troubles = troubles
        self.tally = Tally()
        self._loop = asyncio.get_running_loop()
        self._at = self.began = self._loop.time()
        self._waiting: deque[Work] = deque()
        self._reading: Work | None = None
        self._step = 1.0
        self._left = 0.0  # tokens of the prompt that is read
        self._said = 0.0  # tokens that a sequence has said which decodes from the beginning
        self._decoding: list[tuple[float, int, Work]] = []  # by what `_said` is at their end
        self._number = count()
        self._calls = self._inside = 0
        self._kv_used = 0
        self._cache: OrderedDict[str, int] = OrderedDict()
        self._cached = 0
        self._quota, self._quota_at = 1.0, self._at  # calls that it lets through now, and when that was so
        self._timer: asyncio.TimerHandle | None = None
        for trouble in troubles:
            if trouble.kind in ("slow", "dead"):
                for time in (trouble.begin, trouble.end):
                    if time < inf:
                        self._loop.call_at(self.began + time, self._turn)

    def __repr__(self) -> str:
        return f"<Replica: {self._inside} inside, {len(self._waiting)} wait, {self._kv_used} tokens>"

    @property
    def calls(self) -> int:
        """Calls that are inside or wait."""
        return self._calls

    def trouble(self, kind: str) -> Trouble | None:
        """What it has now of a kind."""
        if not self.troubles:
            return None
        now = self._loop.time() - self.began
        return next((each for each in self.troubles if each.kind == kind and each.begin <= now < each.end), None)

    def refuses(self, draw: float) -> tuple[Refusal, float | None] | None:
        """Why a call is not taken now, and what it is told to wait; `draw` is a number from 0 to 1."""
        if self.troubles:
            if self.trouble("dead"):
                return Refusal.DEAD, None
            for kind, refusal in (("limited", Refusal.LIMITED), ("busy", Refusal.BUSY)):
                trouble = self.trouble(kind)
                if trouble is not None and draw < trouble.part:
                    return refusal, trouble.pause
            if (trouble := self.trouble("quota")) is not None and (pause := self._beyond(trouble.a_minute)) > 0:
                return Refusal.LIMITED, pause
        return (Refusal.BUSY, None) if len(self._waiting) >= self.hardware.queue else None

    def _beyond(self, a_minute: float) -> float:
        """Seconds until a bucket of a second lets the next call through, 0 where it is this one."""
        now, a_second = self._loop.time(), a_minute / 60
        self._quota = min(max(1.0, a_second), self._quota + (now - self._quota_at) * a_second)
        self._quota_at = now
        if self._quota < 1:
            return (1 - self._quota) / a_second
        self._quota -= 1
        return 0.0

    def take(self, work: Work) -> None:
        """A call arrives. Its `began` and `ended` are called as it goes on."""
        self._pass()
        work.arrived = self._at
        self._calls += 1
        self.tally.peak = max(self.tally.peak, self._calls)
        self._waiting.append(work)
        self._go_on()

    def drop(self, work: Work) -> None:
        """Nobody waits for it any more; what it holds is free when its turn comes."""
        work.gone = True

    # time

    def _pass(self) -> None:
        """Up to now."""
        now = self._loop.time()
        seconds, self._at = now - self._at, now
        if seconds <= 0 or not self._calls:
            return
        tally = self.tally
        tally.inside_s += seconds * self._calls
        if self._inside:
            tally.busy_s += seconds
            tally.decode_s += seconds * len(self._decoding)
            if self._waiting:
                tally.queued_s += seconds
            steps = seconds / self._step
            self._said += steps
            if self._reading is not None:
                self._left -= steps * self.hardware.c

    def _go_on(self) -> None:
        """Let in who may come in, end what has ended, and see when the next will."""
        if self._reading is not None and self._left <= 1e-6:
            self._read(self._reading)
        while self._decoding and self._decoding[0][0] <= self._said + 1e-6:
            self._end(heapq.heappop(self._decoding)[2], None)
        while self._waiting and self._reading is None and self._enter(self._waiting[0]):
            self._waiting.popleft()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self._inside:
            return
        hardware, slow = self.hardware, self.trouble("slow")
        step = hardware.a + hardware.b * len(self._decoding)
        step += 0.0 if self._reading is None else hardware.c / hardware.p
        self._step = step if slow is None else step * slow.factor
        steps = self._decoding[0][0] - self._said if self._decoding else inf
        if self._reading is not None:
            steps = min(steps, self._left / hardware.c)
        self._timer = self._loop.call_at(self._at + steps * self._step, self._turn)

    def _turn(self) -> None:
        self._pass()
        if self.troubles and self.trouble("dead"):
            self._die()
        else:
            self._go_on()

    def _die(self) -> None:
        """Its process is gone, and what was in it."""
        lost = [*self._waiting, *(each for _, _, each in self._decoding)]
        lost += [self._reading] if self._reading is not None else []
        self._waiting.clear()
        self._decoding.clear()
        self._cache.clear()
        self._reading = None
        self._calls = self._inside = self._kv_used = self._cached = 0
        if self._timer is not None:
            self._timer.cancel()
        for work in lost:
            work.ended(Refusal.CUT)

    # one call

    def _enter(self, work: Work) -> bool:
        hardware = self.hardware
        if work.gone:
            self._calls -= 1
            return True
        if self._inside >= hardware.seats:
            return False
        cached = self._find(work)
        held = work.prompt - cached + work.answer
        if self._inside and self._kv_used + held > hardware.kv:
            return False
        work.cached, work.held, work.entered = cached, held, self._at
        self._inside += 1
        self._kv_used += held
        self._forget()
        self.tally.prompt += work.prompt
        self.tally.cached += cached
        self._reading, self._left = work, float(work.prompt - cached)
        return True

    def _read(self, work: Work) -> None:
        """Its prompt has been read: it decodes."""
        self._reading = None
        work.first = self._at
        if not work.gone:
            work.began()
        self._keep(work.prefix, work.shared)
        heapq.heappush(self._decoding, (self._said + (0 if work.gone else work.answer), next(self._number), work))

    def _end(self, work: Work, refusal: Refusal | None) -> None:
        self._calls -= 1
        self._inside -= 1
        self._kv_used -= work.held
        if not work.gone:
            self._keep(work.talk, max(0, work.prompt + work.answer - work.shared))
            self.tally.answered += 1
            work.ended(refusal)

    # prefixes

    def _find(self, work: Work) -> int:
        """Tokens of its prompt that are cached."""
        shared = self._cache.get(work.prefix, 0)
        if not shared:
            return 0
        self._cache.move_to_end(work.prefix)
        own = min(self._cache.get(work.talk, 0), max(0, work.said - work.shared)) if work.said else 0
        if own:
            self._cache.move_to_end(work.talk)
        return min(work.prompt - 1, min(shared, work.shared) + own)

    def _keep(self, name: str, tokens: int) -> None:
        if name:
            self._cached += tokens - self._cache.pop(name, 0)
            self._cache[name] = tokens
            self._forget()

    def _forget(self) -> None:
        while self._cache and self._kv_used + self._cached > self.hardware.kv:
            self._cached -= self._cache.popitem(last=False)[1]
