"""The simulation of `benchmarks/simulate`: it repeats itself, loses nothing, and what decides in it is the product."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping
from dataclasses import replace

import pytest

from benchmarks.simulate.policies import Policy
from benchmarks.simulate.replica import Hardware, Trouble
from benchmarks.simulate.scenes import scene
from benchmarks.simulate.workload import Workload
from benchmarks.simulate.world import Outcome, Scene, simulate
from swarm.calls import Ask
from swarm.errors import EndpointError
from swarm.models.replicas import Place
from swarm.models.router import RoutedModel

TROUBLES = {
    0: (Trouble("limited", 2.0, 12.0, part=0.5, pause=1.0),),
    1: (Trouble("busy", 0.0, 30.0, part=0.1), Trouble("slow", 5.0, 20.0, factor=3.0)),
    2: (Trouble("dead", 6.0, 30.0),),
}
IN_FLIGHT = ("way and client", "queue", "prompt", "answer")
SCENE = Scene(200, 5, workload=Workload(3), hardware=Hardware(seats=24, kv=60_000), troubles=TROUBLES)


@pytest.fixture(scope="module")
def troubled() -> Outcome:
    return simulate(SCENE)


def _told(outcome: Outcome) -> str:
    figures = outcome.figures()
    own = ("simulated_in_s", "simulation_cpu_us_per_call")
    return json.dumps({key: value for key, value in figures.items() if key not in own})


def test_a_scene_is_the_same_again_and_another_seed_is_not(troubled: Outcome) -> None:
    assert _told(simulate(SCENE)) == _told(troubled)
    small = replace(SCENE, agents=20, troubles={})
    assert _told(simulate(small)) != _told(simulate(replace(small, workload=Workload(4))))


def test_every_call_ends_once(troubled: Outcome) -> None:
    log, replicas = troubled.log, troubled.replicas
    wanted = sum(len(SCENE.workload.turns_of(number)) for number in range(SCENE.agents))
    assert log.answered == len(log.latency) == sum(replica.tally.answered for replica in replicas) == wanted
    assert log.sent == log.answered + sum(log.failed.values())
    assert {"rate_limited", "overloaded", "unreachable"} <= set(log.failed)
    assert log.in_flight == 0
    assert [replica.calls for replica in replicas] == [0] * SCENE.replicas
    assert all(result.outcome == "completed" for result in troubled.stage.results)


def test_littles_law_holds(troubled: Outcome) -> None:
    """Calls at the replicas on average are their arrivals a second times the seconds that they stay."""
    log = troubled.log
    inside = sum(replica.tally.inside_s for replica in troubled.replicas)
    stayed = log.spent["queue"] + log.spent["prompt"] + log.spent["answer"]
    assert inside == pytest.approx(stayed, rel=1e-6)
    assert log.flight_s == pytest.approx(sum(log.spent[name] for name in IN_FLIGHT), rel=1e-6)


def test_the_client_hears_of_answers_and_refusals_one_after_the_other() -> None:
    half_refuse = Scene(60, 2, Policy(warm=False), troubles={0: (Trouble("limited", 0.0, 5.0, pause=1.0),)})
    slow, quick = simulate(replace(half_refuse, cpu_s=0.01)), simulate(half_refuse)
    assert slow.core_s == pytest.approx(0.01 * slow.log.sent)
    assert slow.log.flight_s == pytest.approx(sum(slow.log.spent[name] for name in IN_FLIGHT), rel=1e-6)
    assert sum(slow.log.failed.values()) > sum(quick.log.failed.values()), "more are on their way until it is heard"


def test_the_products_governor_admits_and_its_router_chooses(
    troubled: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert sum(each.admitted for each in troubled.governors) == troubled.log.sent
    assert sum(each.refused for each in troubled.governors) == sum(
        count for kind, count in troubled.log.failed.items() if kind in ("rate_limited", "overloaded")
    )
    small = Scene(40, 4, Policy(warm=False), Workload(3))
    assert simulate(small).log.peak > 20
    assert simulate(replace(small, policy=Policy(warm=False, ceiling=1))).log.peak == 4
    with monkeypatch.context() as patch:
        patch.setattr(RoutedModel, "_choose", lambda router, ask, refused: router._places[1])
        answered = [replica.tally.answered for replica in simulate(small).replicas]
        assert answered[1] > 0 == answered[0] + answered[2] + answered[3]


@pytest.mark.parametrize("setting", ["slow", "dead", "storm", "quota", "errors"])
def test_our_policies_are_no_slower_than_the_usual_ones(setting: str) -> None:
    """With a slow replica, one that dies, two that refuse most calls or have a quota, one call in twenty refused. The
    least busy replica may be a dead one."""
    ours = simulate(scene(setting, 200, Policy(), 1))
    least_busy = simulate(scene(setting, 200, Policy("least busy", "unbounded"), 1))
    assert statistics.fmean(ours.log.latency) < statistics.fmean(least_busy.log.latency)
    assert ours.makespan_s <= 1.03 * least_busy.makespan_s, "one agent alone may have bad luck"
    assert ours.log.answered == least_busy.log.answered
    assert sum(ours.log.failed.values()) <= 1.2 * sum(least_busy.log.failed.values())


def test_a_call_that_waits_long_looks_seldom_where_else_it_would_go(monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    choose = RoutedModel._choose

    def counted(router: RoutedModel, ask: Ask, refused: Mapping[Place, EndpointError]) -> Place:
        nonlocal looks
        looks += 1
        return choose(router, ask, refused)

    monkeypatch.setattr(RoutedModel, "_choose", counted)
    crowd = simulate(Scene(1000, 4, Policy(ceiling=16)))
    waited = crowd.log.spent["admission"] / crowd.log.answered
    assert waited > 30
    assert looks / crowd.log.sent < 3.8, "with doubling alone it was 4"
