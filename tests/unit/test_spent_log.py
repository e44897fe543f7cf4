"""How much had been spent by a time: what an allowance makes of what an endpoint tells, beside a plain list."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.models.admission import rates


@given(st.lists(st.tuples(st.sampled_from(["spent", "told", "rest"]), st.integers(0, 3)), max_size=60))
def test_what_was_spent_by_a_time_is_known_however_it_is_kept(steps: list[tuple[str, int]]) -> None:
    """Of a log that holds five."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rates, "_LOGGED", 5)
        log, forgotten, now, spent = rates._Log(), 0.0, 0.0, 0.0
        plain: list[tuple[float, float]] = []
        for step, number in steps:
            now += number
            if step == "spent":
                spent += number + 1
                log.add(now, spent)
                plain.append((now, spent))
                if len(plain) > 5:
                    forgotten = plain.pop(0)[1]
            elif step == "rest":
                log.forget(spent)
                plain, forgotten = [], spent
            else:
                while plain and plain[0][0] <= now - 2:
                    forgotten = plain.pop(0)[1]
                assert log.spent_by(now - 2) == forgotten
