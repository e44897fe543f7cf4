"""The suite notices: each invariant fails where what it stands for does not hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from swarm.events import ANY_EVENT
from tests.chaos import faults_docker, faults_machine, faults_program, faults_sandbox, invariants
from tests.chaos.campaign import play
from tests.chaos.endpoint import KEY
from tests.chaos.launcher import Act
from tests.chaos.live import LiveRun
from tests.chaos.scenario import Scenario, Setting
from tests.chaos.shapes import Shape
from tests.warm import Warm

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("no_patience")]

SMALL = Setting(Shape("plan", (2,), repo=True, gate=True), "process", concurrency=2, delivery="", stream=True)
LONG = bool(int(os.environ.get("SWARM_CHAOS", "0")))


@pytest.fixture
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invariants, "ENDS_S", 0.3)


@dataclass(frozen=True)
class Broken:
    """The product does not do something."""

    act: Act
    name: str = "broken on purpose"

    @asynccontextmanager
    async def around(self, run: LiveRun) -> AsyncIterator[None]:
        run.acts[0] = [self.act]
        run.final = run.final | {3}
        yield


@pytest.mark.parametrize(
    ("act", "check"),
    [
        (Act("lease.release", 1, "skip"), "nothing_is_left"),
        (Act("event:call", 3, "skip"), "nothing_is_paid_twice"),
        *([(Act("event:call", 3, "skip"), "journal_is_valid")] * LONG),
        *([(Act("event:agent_end", 1, "skip"), "journal_is_valid")] * LONG),
        *([(Act("patch", 1, "skip"), "envelope_is_true")] * LONG),
        *([(Act("file.whole", 1, "skip"), "same_answer")] * LONG),
        *([(Act("merge.pick", 1, "skip"), "same_answer")] * LONG),
    ],
    ids=lambda each: str(each) if isinstance(each, str) else f"{each.point}-{each.nth}",
)
async def test_a_product_that_does_not_do_it_is_found_out(act: Act, check: str, warm: Warm, tmp_path: Path) -> None:
    run, found = await play(Scenario(0, SMALL, (Broken(act),)), tmp_path / "s", warm, {})
    assert run.injected, "it never came there"
    assert check in {text.partition(":")[0] for text in found}, found


def test_what_faults_wait_for_is_recorded() -> None:
    types = ANY_EVENT.json_schema()["discriminator"]["mapping"].keys()
    waited = [each.MOMENTS for each in (faults_docker, faults_machine, faults_sandbox)]
    assert not {*faults_program.EVENTS}.union(*waited) - types


async def test_each_invariant_can_fail(warm: Warm, tmp_path: Path) -> None:
    run, found = await play(Scenario(0, SMALL, ()), tmp_path / "s", warm, {})
    assert not found
    for name, spoil in SPOILS:
        with spoil(run):
            said = {text.partition(":")[0] for text in invariants.broken(run)}
        assert name in said, f"{name} does not notice {spoil.__name__}: {said}"
    assert invariants.broken(run) == []


# what is spoilt, and put back


@contextmanager
def _written(path: Path, change: Callable[[str], str]) -> Iterator[None]:
    before = path.read_text() if path.exists() else None
    path.write_text(change(before or ""))
    try:
        yield
    finally:
        path.unlink() if before is None else path.write_text(before)


def _journal(run: LiveRun) -> Path:
    folder = run.run_folder
    assert folder is not None
    return folder / "events.jsonl"


def an_exit_code_of_its_own(run: LiveRun) -> AbstractContextManager[None]:
    @contextmanager
    def spoilt() -> Iterator[None]:
        run.lives[-1].code = 70
        yield
        run.lives[-1].code = 0

    return spoilt()


def a_traceback(run: LiveRun) -> AbstractContextManager[None]:
    return _written(run.lives[-1].folder / "err", lambda text: f"Traceback (most recent call last):\n{text}")


def an_envelope_that_flatters(run: LiveRun) -> AbstractContextManager[None]:
    def less(text: str) -> str:
        *lines, last = text.splitlines()
        told = json.loads(last)
        told["usage"]["prompt_tokens"] -= 1
        return "\n".join([*lines, json.dumps(told)])

    return _written(run.lives[-1].folder / "out", less)


def a_record_with_a_gap(run: LiveRun) -> AbstractContextManager[None]:
    return _written(_journal(run), lambda text: "".join(text.splitlines(keepends=True)[:-2]))


def a_record_that_was_changed(run: LiveRun) -> AbstractContextManager[None]:
    return _written(_journal(run), lambda text: text.replace('"accepted":true', '"accepted":false', 1))


def an_answer_that_was_paid_again(run: LiveRun) -> AbstractContextManager[None]:
    @contextmanager
    def spoilt() -> Iterator[None]:
        exchanges = run.endpoint.account.exchanges
        exchanges.append(replace(exchanges[2], position=len(exchanges) + 1))
        yield
        exchanges.pop()

    return spoilt()


def a_budget_that_is_passed(run: LiveRun) -> AbstractContextManager[None]:
    @contextmanager
    def spoilt() -> Iterator[None]:
        run.options += ["--budget-tokens", "1000"]
        yield
        del run.options[-2:]

    return spoilt()


def an_agent_that_begins_again(run: LiveRun) -> AbstractContextManager[None]:
    def again(text: str) -> str:
        lines = text.splitlines(keepends=True)
        return "".join(lines + [line for line in lines if '"type":"agent_start"' in line][-1:])

    return _written(_journal(run), again)


def a_patch_with_something_done_twice(run: LiveRun) -> AbstractContextManager[None]:
    return _written(_journal(run).with_name("patch.diff"), lambda text: text.replace("+one\n", "+one\n+one\n", 1))


def a_checkout_that_was_touched(run: LiveRun) -> AbstractContextManager[None]:
    assert run.repo is not None
    return _written(run.repo / "src/keep.py", lambda text: f"{text}\n")


def a_worktree(run: LiveRun) -> AbstractContextManager[None]:
    @contextmanager
    def spoilt() -> Iterator[None]:
        where = run.folder / "worktree"
        subprocess.run(["git", "-C", str(run.repo), "worktree", "add", "-q", "--detach", where], check=True)
        yield
        subprocess.run(["git", "-C", str(run.repo), "worktree", "remove", where], check=True)

    return spoilt()


def a_process(run: LiveRun) -> AbstractContextManager[None]:
    @contextmanager
    def spoilt() -> Iterator[None]:
        with subprocess.Popen([sys.executable, "-c", "input()", f"{run.folder}/x"], stdin=subprocess.PIPE) as process:
            yield
            process.kill()

    return spoilt()


def a_temporary_file(run: LiveRun) -> AbstractContextManager[None]:
    return _written(run.temp / "left", lambda text: "x")


def a_lease(run: LiveRun) -> AbstractContextManager[None]:
    return _written(run.home / "leases/left", lambda text: "x")


def a_file_that_was_half_written(run: LiveRun) -> AbstractContextManager[None]:
    return _written(_journal(run).with_name(".result.json.xyz"), lambda text: "{")


def a_key(run: LiveRun) -> AbstractContextManager[None]:
    return _written(_journal(run).with_name("note.txt"), lambda text: f"the key is {KEY}")


SPOILS: list[tuple[str, Callable[[LiveRun], AbstractContextManager[None]]]] = [
    ("ends", an_exit_code_of_its_own),
    ("ends", a_traceback),
    ("envelope_is_true", an_envelope_that_flatters),
    ("journal_is_valid", a_record_with_a_gap),
    ("journal_is_valid", a_record_that_was_changed),
    ("nothing_is_paid_twice", an_answer_that_was_paid_again),
    ("budget_holds", a_budget_that_is_passed),
    ("each_subtask_once", an_agent_that_begins_again),
    ("same_answer", a_patch_with_something_done_twice),
    ("checkout_is_the_users", a_checkout_that_was_touched),
    ("checkout_is_the_users", a_worktree),
    ("nothing_is_left", a_process),
    ("nothing_is_left", a_temporary_file),
    ("nothing_is_left", a_lease),
    ("nothing_is_left", a_file_that_was_half_written),
    ("no_secret_is_written", a_key),
]
