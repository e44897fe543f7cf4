"""What policies are compared in: scenes of a size that is given, and what goes wrong in them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from benchmarks.simulate.policies import Policy
from benchmarks.simulate.replica import Trouble
from benchmarks.simulate.workload import Workload
from benchmarks.simulate.world import Scene

POLICIES = (
    Policy(),
    Policy(warm=False),
    Policy("swarm", "fixed 32"),
    Policy("round robin", "swarm", warm=False),
    Policy("round robin", "fixed 32"),
    Policy("round robin", "unbounded"),
    Policy("least busy", "unbounded"),
)
"""Ours first; what ratios are to."""

Troubles = dict[int, tuple[Trouble, ...]]


@dataclass(frozen=True, slots=True)
class Setting:
    """`crowd`: agents for each replica; `prefixes` the kinds of agents; `troubles` by the number of replicas."""

    title: str
    crowd: int = 50
    prefixes: int = 1
    troubles: Callable[[int], Troubles] = lambda replicas: {}


def _some(share: float, trouble: Trouble) -> Callable[[int], Troubles]:
    return lambda replicas: dict.fromkeys(range(max(1, round(share * replicas))), (trouble,))


SETTINGS = {
    "calm": Setting("one kind of agents, 50 for each replica, nothing goes wrong"),
    "kinds": Setting("the same with 40 kinds of agents, each with a system prompt of its own", prefixes=40),
    "crowded": Setting("250 agents for each replica: their conversations do not fit into its cache", crowd=250),
    "slow": Setting("5 % of the replicas, at least one, take five times as long",
                    troubles=_some(0.05, Trouble("slow", 0, inf, factor=5))),
    "dead": Setting("5 % of the replicas, at least one, die after 15 s, for good",
                    troubles=_some(0.05, Trouble("dead", 15, inf))),
    "storm": Setting("half of the replicas refuse 80 % of the calls with 429 from 10 to 40 s, and tell to wait 2 s",
                     troubles=_some(0.5, Trouble("limited", 10, 40, part=0.8, pause=2.0))),
    "quota": Setting("half of the replicas let 60 calls a minute through, and tell with a 429 when the next will pass",
                     troubles=_some(0.5, Trouble("quota", 0, inf, a_minute=60))),
    "errors": Setting("5 % of all calls are answered with 503",
                      troubles=_some(1.0, Trouble("busy", 0, inf, part=0.05))),
}  # fmt: skip


def scene(name: str, agents: int, policy: Policy, seed: int) -> Scene:
    """A setting at a size."""
    setting = SETTINGS[name]
    replicas = max(2, agents // setting.crowd)
    return Scene(agents, replicas, policy, Workload(seed, setting.prefixes), troubles=setting.troubles(replicas))
