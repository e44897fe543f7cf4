"""The order of what is ready, held against the simple form: all estimates and ways made anew at each look."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.scheduling.ordering import ENOUGH, MOVED, Durations, Queue

GRAPHS = st.lists(st.tuples(st.lists(st.integers(0, 9), max_size=3), st.sampled_from("abc ")), min_size=1, max_size=10)
MOVES = st.lists(
    st.one_of(
        st.tuples(st.just("took"), st.sampled_from("abcz "), st.sampled_from([0.0, 1.0, 1.2, 2.0, 9.0])),
        st.tuples(st.just("push"), st.integers(0, 9), st.just(0.0)),
        st.tuples(st.just("pop"), st.just(0), st.just(0.0)),
    ),
    max_size=60,
)


class Simple:
    def __init__(self, needs: dict[str, list[str]], kinds: dict[str, str], durations: Durations) -> None:
        self.needs, self.kinds, self.durations = needs, kinds, durations
        self.assumed = {kind: durations.estimate(kind) for kind in kinds.values()}
        self.ready: list[str] = []

    def look(self) -> None:
        for kind, was in self.assumed.items():
            now = self.durations.estimate(kind)
            if now != was and not (min(now, was) > 0 and max(now, was) <= MOVED * min(now, was)):
                self.assumed[kind] = now

    def way(self, node: str) -> float:
        behind = [self.way(other) for other, needs in self.needs.items() if node in needs]
        return self.assumed[self.kinds[node]] + max(behind, default=0.0)

    def pop(self) -> str:
        waited_for = {node: sum(node in needs for needs in self.needs.values()) for node in self.needs}
        place = list(self.kinds)
        first = min(self.ready, key=lambda node: (-self.way(node), -waited_for[node], place.index(node)))
        self.ready.remove(first)
        return first


@settings(deadline=None)
@given(GRAPHS, MOVES)
def test_the_order_is_that_of_the_simple_form(graph: list[tuple[list[int], str]], moves: list[tuple]) -> None:  # type: ignore[type-arg]
    needs = {str(n): [str(other) for other in dict.fromkeys(some) if other < n] for n, (some, _) in enumerate(graph)}
    kinds = {str(n): kind.strip() for n, (_, kind) in enumerate(graph)}
    durations = Durations()
    queue, simple = Queue(needs, kinds, durations), Simple(needs, kinds, durations)
    gone: set[str] = set()
    for what, which, seconds in moves:
        if what == "took":
            durations.observe(which.strip(), seconds)
            continue
        if what == "push" and (node := str(which % len(graph))) not in simple.ready:
            waited_for = any(other in simple.ready or other in gone for other in needs if node in needs[other])
            if waited_for or not gone.issuperset(needs[node]):
                continue
            queue.push(node)
            simple.ready.append(node)
            gone.discard(node)  # it may be that it comes back
        elif what == "pop" and simple.ready:
            simple.look()
            node = queue.pop()
            assert node == simple.pop()
            gone.add(node)
        simple.look()
        assert len(queue) == len(simple.ready)
        assert [queue.way(node) for node in needs if node not in gone] == [
            simple.way(node) for node in needs if node not in gone
        ]


class Counted(Durations):
    estimates = 0

    def estimate(self, kind: str) -> float:
        self.estimates += 1
        return super().estimate(kind)


def test_an_end_costs_no_estimate_of_every_kind() -> None:
    number = 400
    kinds = {f"t{n}": f"k{n // ENOUGH}" for n in range(number)}
    durations = Counted()
    queue = Queue({node: [] for node in kinds}, kinds, durations)
    for node in kinds:
        queue.push(node)
    for at in range(number):
        durations.observe(kinds[queue.pop()], 1.0 + at % 7)
    assert durations.estimates < 12 * number
