"""Where the events of trajectories stand in a journal: those that decide for all are read once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from swarm.events import ANY_EVENT, Event, RunResumed
from swarm.journal import records
from swarm.journal.past import Past
from swarm.journal.records import Records
from swarm.journal.standing import standing
from swarm.types import Outcome
from tests.unit.test_past import began, beginning, call, ended, numbered

NAMES = [f"t{number}" for number in range(5)]


class Read(list[str]):
    """Names that are not looked through for one of them."""

    def __contains__(self, name: object) -> bool:
        raise AssertionError("for each name that is asked for, all of them are gone through")


def test_what_names_all_trajectories_is_not_read_anew_for_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[bytes] = []
    parse_line = records.parse_line

    def noted(line: bytes, where: str) -> Event:
        parsed.append(line)
        return parse_line(line, where)

    events = [*beginning(*NAMES), *(event for name in NAMES for event in (began(name), call(name, 1)))]
    resumed = RunResumed(swarm_version="1", began_with="1", again=NAMES)
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"".join(ANY_EVENT.dump_json(each) + b"\n" for each in numbered(*events, resumed, resumed)))
    monkeypatch.setattr(records, "parse_line", noted)
    fd = os.open(file, os.O_RDONLY)
    try:
        past = Past(Records(fd, file))
        for name in NAMES:
            assert len(past.trails.standing(name, resumed)) == 2
            assert past.call(f"{name}/1") is not None
    finally:
        os.close(fd)
    assert sum(b"run_resume" in line for line in parsed) == 2


def test_the_names_that_go_on_are_a_set() -> None:
    resumed = RunResumed.model_construct(swarm_version="1", began_with="1", again=Read(NAMES))
    kept = standing([*(ended(name, Outcome.CANCELLED) for name in [*NAMES, "other"]), resumed])
    assert [getattr(event, "trajectory_id", "") for event in kept] == ["other", ""]
