"""What is done about each way in which a call fails."""

from __future__ import annotations

import random

import pytest

from swarm.errors import EndpointError, EndpointFault
from swarm.retry import FATAL, OUTAGE, PATIENCE, RetryPolicy

AT_ONCE = {EndpointFault.CONTEXT_TOO_LONG, EndpointFault.REFUSED, EndpointFault.BAD_REQUEST}
CHANCE = random.Random(1)


@pytest.mark.parametrize("kind", EndpointFault)
def test_every_kind_has_its_reaction(kind: EndpointFault) -> None:
    policy, error = RetryPolicy(), EndpointError(kind, "no")
    waits = [policy.decide(error, tries, CHANCE) for tries in range(1, 40)]
    if kind is EndpointFault.RATE_LIMITED or kind in OUTAGE:  # admission holds the call, and gives up
        assert not policy.counts(error)
        assert all(wait is not None and wait < 0.1 for wait in waits)
    elif kind in AT_ONCE or kind in FATAL:
        assert waits[0] is None
    else:
        given = [wait for wait in waits if wait is not None]
        assert 1 <= len(given) < 39
        assert waits[len(given) :] == [None] * (39 - len(given))
        assert all(0 < wait <= policy.ceiling for wait in given)
        assert given[-1] > given[0]


@pytest.mark.parametrize("kind", [EndpointFault.QUOTA_EXHAUSTED, EndpointFault.WRONG_KEY])
def test_a_parked_fault_goes_back_to_admission(kind: EndpointFault) -> None:
    policy = RetryPolicy(park=True)
    assert not policy.counts(EndpointError(kind, "no"))
    assert policy.decide(EndpointError(kind, "no"), 0, CHANCE) is not None


def test_what_the_server_asks_for_comes_first_within_reason() -> None:
    policy = RetryPolicy()
    wait = policy.decide(EndpointError(EndpointFault.OVERLOADED, "busy", retry_after=7.0), 1, CHANCE)
    assert wait is not None
    assert 7.0 <= wait <= 7.0 + policy.base
    long = EndpointError(EndpointFault.OVERLOADED, "busy", retry_after=PATIENCE + 1)
    assert policy.decide(long, 1, CHANCE) is None
