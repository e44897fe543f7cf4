"""The record of a run that came from somewhere: read, shown, checked, reported, exported, gone on with, replayed."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swarm.cli import history
from swarm.cli.follow import _read as read_followed
from swarm.cli.history import read_record
from swarm.cli.story import story
from swarm.cli.view import fold
from swarm.errors import JournalError, SwarmError, UsageError
from swarm.events import ANY_EVENT, Event
from swarm.journal.late_rewards import late_rewards
from swarm.journal.past import Past
from swarm.journal.reader import read_events
from swarm.journal.redaction import Redactor
from swarm.journal.standing import standing
from swarm.journal.totals import Totals
from swarm.journal.validation import validate
from swarm.models.tapes.cassette import read_cassette
from swarm.models.tapes.replay import Tape
from swarm.report.build import RunFolder, report
from swarm.resuming import config_of, finished, resumable
from swarm.rl.episode import read_episode
from swarm.rl.export.catalog import export
from swarm.rl.reading import events_of
from tests.effort import examples
from tests.fuzz.hostile import DIGITS, VALUES, mutated, nested, within
from tests.rollouts import make_run

FORMS = ("atif", "parquet", "sft", "slime", "trl", "verifiers", "verl")
FILES = ("events.jsonl", "tokens.jsonl", "rewards.jsonl", "result.json")
SHAPES = settings(max_examples=examples(6), suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def lines(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "events.jsonl").read_bytes().splitlines()]


def everything(folder: Path, out: Path) -> None:
    """All that is done with a folder that somebody has sent."""
    record = read_record(folder)
    json.dumps(record.as_json())
    for problem in validate(folder):
        assert str(problem)
    for line in (folder / "events.jsonl").read_bytes().split(b"\n"):
        with contextlib.suppress(JournalError):
            read_followed(line, "x")
    readers: list[Callable[[], object]] = [
        lambda: list(story(fold(read_events(folder / "events.jsonl")), record, folder)),
        lambda: report([RunFolder(folder, record.status)]),
        lambda: read_episode(events_of(folder)),
        lambda: gone_on_with(tuple(read_events(folder / "events.jsonl")), folder),
        *(lambda name=name: export(name, [folder], out / name) for name in FORMS),
    ]
    for reader in readers:
        with contextlib.suppress(SwarmError):
            reader()


def gone_on_with(events: tuple[Event, ...], folder: Path) -> None:
    past = Past(events)
    totals = Totals()
    for event in standing(events):
        totals.observe(event)
    for event in events:
        name, call_id = getattr(event, "trajectory_id", ""), getattr(event, "call_id", "")
        past.start(name), past.result(name), past.goes_on(name), past.kept(name), past.name_for(name)
        past.tools_used(name, 0), past.seconds(name), past.tokens(name)
        if (call := past.call(call_id)) is not None:
            past.prompt(call)
        for stage in (getattr(event, "stage", 0), 1):
            past.plan(stage), past.decision(stage), past.turns(stage)
    past.lost(), past.asked_at(), past.unended
    resumable(past, folder)
    past.observe(past.reopened("0"))
    config_of(past, {}, {})
    if past.course.ended is not None:
        finished(past, folder)


def copy_of(run: Path, place: Path) -> Path:
    folder = place / run.name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name in FILES:
        if (run / name).exists():
            shutil.copy(run / name, folder / name)
    return folder


@SHAPES
@given(data=st.data())
def test_files_of_any_bytes_are_read_or_refused(data: st.DataObject, run: Path, tmp_path: Path) -> None:
    folder = copy_of(run, tmp_path)
    name = data.draw(st.sampled_from(FILES))
    whole = (run / name).read_bytes() if (run / name).exists() else b""
    (folder / name).write_bytes(data.draw(mutated([whole])))
    with within(60):
        everything(folder, tmp_path)


@pytest.mark.parametrize("name", FILES[:2])
@pytest.mark.parametrize("line", [nested(), nested('{"type":', "}"), DIGITS, '{"type":[]}', "\ufeff{}", "\0", '{"type":"call","trajectory_id":[1],"v":1}', '{"type":"agent_start","trajectory_id":{}}', '{"x":"\\"type\\":\\"reward\\"", "y":"type", "type":"call", "trajectory_id":3}', '{"a":{"type":"reward"},"type":"notice"}', '{"type":"run_start"}', "x" * (1 << 20)], ids=range(12))  # fmt: skip  # noqa: E501
def test_a_line_that_is_none(name: str, line: str, run: Path, tmp_path: Path) -> None:
    for first in (True, False):
        folder = copy_of(run, tmp_path)
        before = (folder / name).read_bytes() if (folder / name).exists() else b""
        odd = line.encode() + b"\n"
        (folder / name).write_bytes(odd + before if first else before + odd)
        with within(60):
            everything(folder, tmp_path)


def bends(draw: st.DrawFn, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Lines that are still events, and tell what cannot be."""
    words = sorted({value for line in lines for value in line.values() if isinstance(value, str) and len(value) < 80})
    made = deepcopy(lines)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(made) - 1))
        match draw(st.integers(0, 4)):
            case 0 if len(made) > 1:
                del made[at]
            case 1:
                made.insert(draw(st.integers(0, len(made))), deepcopy(made[at]))
            case 2:
                other = draw(st.integers(0, len(made) - 1))
                made[at], made[other] = made[other], made[at]
            case _:
                key = draw(st.sampled_from(sorted(made[at].keys() - {"type"})))
                made[at][key] = draw(_like(made[at][key], words))
    return made


def _like(value: Any, words: list[str]) -> st.SearchStrategy[Any]:
    if isinstance(value, bool):
        return st.booleans()
    if isinstance(value, int):
        return st.sampled_from([0, 1, -1, 2, 999, 2**31, 2**63, -(2**63)])
    if isinstance(value, float):
        return st.sampled_from([0.0, -1.0, 1e300, 1e11, -1e18, 253402300800.0])
    if isinstance(value, str):
        return st.sampled_from(
            [*words, "", "a/b", "../x", "#", "\u202e\x1b[2J", "<script>", "x" * 3_000, "call/99", "1" * 4_400]
        )
    if isinstance(value, list):
        return st.sampled_from([[], value * 2, value[::-1], [*value, *value[:1]], [{}], ["x"], [[]]])
    if isinstance(value, dict):
        pairs = st.sampled_from([*value, "x", "", "type"]), st.sampled_from([v for v in VALUES if v == v])
        return st.tuples(*pairs).map(lambda pair: value | {pair[0]: pair[1]})
    return st.sampled_from([None, 0, "", [], {}])


@SHAPES
@given(data=st.data())
def test_events_that_tell_what_cannot_be(
    data: st.DataObject, run: Path, lines: list[dict[str, Any]], tmp_path: Path
) -> None:
    folder = copy_of(run, tmp_path)
    made = data.draw(st.composite(bends)(lines))
    valid = list(_valid(made))
    (folder / "events.jsonl").write_bytes(b"".join(valid))
    with within(60):
        everything(folder, tmp_path)


def _valid(made: list[dict[str, Any]]) -> Iterator[bytes]:
    for each in made:
        line = json.dumps(each, ensure_ascii=True).encode()
        with contextlib.suppress(ValueError):
            ANY_EVENT.validate_json(line)
            yield line + b"\n"


@pytest.mark.parametrize("name", ["", "orchestrator/1", "orchestrator/2"])
def test_calls_that_go_on_from_each_other_in_a_circle(
    name: str, run: Path, lines: list[dict[str, Any]], tmp_path: Path
) -> None:
    made = deepcopy(lines)
    for line in made:
        if line["type"] == "call":
            line["prefix_call_id"], line["prefix_messages"] = name or line["call_id"], 1
    folder = copy_of(run, tmp_path)
    (folder / "events.jsonl").write_bytes(b"".join(_valid(made)))
    with within(60):
        everything(folder, tmp_path)


@pytest.fixture(scope="module")
def cassette() -> bytes:
    key = [1, "orchestrator", 1, 1]
    head = {"kind": "head", "mode": "plan", "seed": 1, "concurrency": 2, "max_agents": 3, "models": {}}
    reply = {"message": {"role": "assistant"}, "content": "c", "tool_calls": [["1", "n", "{}"]], "finish_reason": "s"}
    made: list[dict[str, Any]] = [
        head,
        {"kind": "tools", "sha256": "x", "tools": [{}]},
        {"kind": "sent", "key": key, "kept": 0, "messages": [{"role": "user"}], "options": {}, "sha256": "y"},
        {"kind": "done", "key": key, "reply": reply | {"usage": {}, "model": "m"}},
        {"kind": "told", "run": 1, "text": "t"},
        {"kind": "done", "key": key, "fault": {"kind": "cut", "message": "m"}},
        {"kind": "end", "windows": {"m": 9}},
    ]
    return b"".join(json.dumps(each).encode() + b"\n" for each in made)


@SHAPES
@given(data=st.data())
def test_a_cassette_is_read_or_refused(data: st.DataObject, cassette: bytes, tmp_path: Path) -> None:
    path = tmp_path / "c.jsonl"
    path.write_bytes(
        data.draw(mutated([cassette], (b"-1", b"null", DIGITS.encode(), b'"kept": -9', nested().encode())))
    )
    with contextlib.suppress(UsageError):
        head, rest = read_cassette(path)
        tape = Tape(path, head, rest, Redactor({}))
        assert isinstance(tape.leftover(), str)
        assert isinstance(tape.wants_tokens, bool)


def test_folders_of_runs_that_are_none_are_listed(tmp_path: Path) -> None:
    for number, data in enumerate(
        (b"", b"\0" * 99, nested().encode(), b'{"status":{}}', b'{"type":"run_start","t":1e400,"models":[]}')
    ):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        (folder / "events.jsonl").write_bytes(data + b"\n")
        (folder / "result.json").write_bytes(data)
    assert len(list(history.records(tmp_path))) == 5
    assert [*late_rewards(tmp_path / "run0")] == []
