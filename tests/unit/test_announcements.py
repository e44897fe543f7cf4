"""Who is told of an endpoint's limits is not kept for it: a Swarm makes thousands of runs while they last."""

from __future__ import annotations

import gc
from weakref import ref

from swarm.agents.line import Teller
from swarm.calls import Ask
from swarm.events import Notice
from swarm.models.admission.waiting import Admission
from swarm.models.announcements import RUNS, Announcements
from swarm.testing import RecordingSink
from swarm.types import Role


def call(sink: RecordingSink) -> Admission:
    return Admission(Ask(Role.SUBAGENT, 1, tell=Teller(sink)), "m", 0.0)


def test_each_run_is_told_once_and_none_is_kept() -> None:
    news = Announcements()
    one, other = RecordingSink(), RecordingSink()
    news.announce("slow down", [call(one)], 0.0)
    for now in range(200):  # the limits go on
        news.announce("slow down", [call(one), call(one), call(other)], float(now))
    assert [[notice.message for notice in sink.of(Notice)] for sink in (one, other)] == [["slow down"]] * 2
    gone = ref(one)
    del one
    gc.collect()
    assert gone() is None
    newer = RecordingSink()
    news.tell(call(newer), 199.0)
    assert len(newer.of(Notice)) == 1


def test_there_is_an_end_to_who_is_remembered() -> None:
    news = Announcements()
    sinks = [RecordingSink() for _ in range(RUNS + 10)]
    news.announce("slow down", [call(sink) for sink in sinks], 0.0)
    news.announce("slow down", [call(sinks[-1]), call(sinks[0])], 1.0)
    assert (len(sinks[-1].of(Notice)), len(sinks[0].of(Notice))) == (1, 2)
