"""What the state machine of the scheduler draws: plans, and how attempts behave."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st

from swarm.types import Plan, SubTask
from tests.models.stage_world import ENDS, MANNERS, Script


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    subtasks: list[SubTask] = []
    plain: list[str] = []  # of which members of groups may depend, so that there is no circle
    for n in range(draw(st.sampled_from([1, 2, 3, 3, 4, 5, 7]))):
        group = draw(st.sampled_from(["", "", "g0", "g1"]))
        there = plain if group else [each.id for each in subtasks] + [each.group for each in subtasks if each.group]
        needs = draw(st.sets(st.sampled_from(there), max_size=3)) if there else set()
        subtasks.append(SubTask(id=f"t{n}", title="t", instructions="x", depends_on=tuple(sorted(needs)), group=group))
        plain += [f"t{n}"] if not group and needs <= set(plain) else []
    sizes = Counter(each.group for each in subtasks if each.group)
    need = {group: draw(st.integers(1, sizes[group])) for group in sorted(sizes) if draw(st.booleans())}
    return Plan(subtasks=tuple(subtasks), need=need)


attempts = st.tuples(st.sampled_from(["t0", "t1", "t2", "t3"]), st.integers(1, 2))
hows = st.sampled_from([*[end for end in ENDS if end != "wrong key"], "completed", "completed"])
spans = st.sampled_from([0.0, 0.0, 3.0])
scripts = st.builds(
    Script,
    manners=st.lists(st.sampled_from(MANNERS), min_size=1, max_size=3),
    unprepared=st.just({}) | st.dictionaries(attempts, st.sampled_from(["unpaid", "sandbox", "disk"]), max_size=2),
    slow=st.just({}) | st.dictionaries(attempts, st.booleans(), max_size=2),
)
