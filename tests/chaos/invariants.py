"""What must hold after every scenario, whatever went wrong in it. Each gives what it found broken, in words."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from swarm.journal.validation import validate
from tests.chaos.endpoint import KEY
from tests.chaos.live import BRANCH, LiveRun
from tests.chaos.shapes import BASE, brought
from tests.machine import cgroups_of, mounts_of, processes_of

Check = Callable[[LiveRun], Iterator[str]]

_STATUS = {"completed": (0,), "partial": (1,), "failed": (1,), "errored": (3, 2), "budget_exhausted": (4,)}
_UNPAID = ("unreachable", "connect_timed_out", "rate_limited", "overloaded", "quota_exhausted", "wrong_key")
"""Failures of calls for which nothing was answered."""

ENDS_S = 5.0


def broken(run: LiveRun) -> list[str]:
    """All that does not hold."""
    found: list[str] = []
    for check in CHECKS:
        try:
            found += [f"{check.__name__}: {text}" for text in check(run)]
        except Exception as error:  # noqa: BLE001  what cannot even be looked at is a finding
            found.append(f"{check.__name__}: {type(error).__name__}: {error}")
    return found


def _of(run: LiveRun, kind: str) -> list[dict[str, Any]]:
    return [event for event in run.events() if event["type"] == kind]


def ends(run: LiveRun) -> Iterator[str]:
    """It ended by itself, in a way that swarm knows, and never with a traceback."""
    last = run.lives[-1]
    if last.code not in run.final:
        yield f"it ended with {last.code}: {last.err[-600:]}"
    for number, life in enumerate(run.lives):
        if "Traceback (most recent call last)" in life.err:
            yield f"life {number} shows a traceback: {life.err[-1500:]}"
        if life.code is not None and life.code > 0 and life.code not in (1, 2, 3, 4, 130):
            yield f"life {number} ended with {life.code}"


def envelope_is_true(run: LiveRun) -> Iterator[str]:
    """What it said at its end is in its folder, and what its record adds up to."""
    for number, life in enumerate(run.lives):
        told = life.envelope
        if told is None:
            told_so = "standard output cannot be written" in life.err
            if life.code is not None and life.code >= 0 and number not in run.unread and not told_so:
                yield f"life {number} (code {life.code}) gave no envelope: {life.err[-600:]}"
            continue
        if told["exit_code"] != life.code and (life.code or 0) >= 0:  # else it was killed on its last step
            yield f"life {number}: the envelope says {told['exit_code']}, the process {life.code}"
        if told["status"] != "cancelled" and told["exit_code"] not in _STATUS[told["status"]]:
            yield f"life {number}: {told['status']} with {told['exit_code']}"
    yield from _never_less(run)
    told, folder = run.lives[-1].envelope, run.run_folder
    if told is None or folder is None or not told["run_id"] or told["exit_code"] == 2:  # it was refused
        return
    kept = json.loads((folder / "result.json").read_text())
    if kept != {key: value for key, value in told.items() if key not in ("type", "schema_version")} and kept != {
        key: value for key, value in told.items() if key != "type"
    }:
        differ = [key for key in told if key != "type" and kept.get(key) != told[key]]
        yield f"result.json is another than the envelope in {differ}"
    yield from _sums(run, told)


def _never_less(run: LiveRun) -> Iterator[str]:
    """Whoever goes on with a run tells all of it, also where that ends before it begins."""
    most = 0
    for number, life in enumerate(run.lives):
        told = life.envelope
        if told is None or not told["run_id"] or "cannot be written" in life.err:
            continue
        if life.args[0] == "resume" and told["total_steps"] < most:
            yield f"life {number} tells {told['total_steps']} steps, an earlier one {most}"
        most = told["total_steps"] if life.args[0] == "run" else max(most, told["total_steps"])


def _sums(run: LiveRun, told: dict[str, Any]) -> Iterator[str]:
    calls = _of(run, "call")
    for key in ("prompt_tokens", "completion_tokens", "calls"):
        total = sum(call["usage"][key] for call in calls)
        if told["usage"][key] != total:
            yield f"usage.{key} is {told['usage'][key]}, the record adds up to {total}"
    steps = sum(call["accepted"] for call in calls)
    if told["total_steps"] != steps:
        yield f"total_steps is {told['total_steps']}, the record has {steps}"
    coverage = told["coverage"]
    if coverage["asked"] != coverage["useful"] + coverage["missing"]:
        yield f"coverage does not add up: {coverage}"
    if sum(told["outcomes"].values()) < coverage["useful"]:
        yield f"{coverage['useful']} useful of outcomes {told['outcomes']}"
    patch = told["patch_path"]
    if patch is not None and not Path(patch).is_file():
        yield f"no patch at {patch}"
    if told["status"] == "completed" and coverage["missing"]:
        yield f"completed, with {coverage['missing']} missing"


def journal_is_valid(run: LiveRun) -> Iterator[str]:
    """Its record is whole, and says what it says."""
    folder = run.run_folder
    if folder is None:
        if run.lives[-1].code == 0:
            yield "there is none"
        return
    yield from (str(problem) for problem in validate(folder))
    seqs = [event["seq"] for event in run.events()]
    if seqs != list(range(len(seqs))):
        yield "its numbers have gaps"
    if run.lives[-1].code == 0 and not _of(run, "run_end"):
        yield "it has no end"


def nothing_is_paid_twice(run: LiveRun) -> Iterator[str]:
    """The endpoint's own account against the record: each request has its record, each whole answer was accepted, or is
    told as lost; none was asked for again."""
    if _gone_anew(run):
        return
    account, calls = run.endpoint.account, _of(run, "call")
    accepted = [call for call in calls if call["accepted"]]
    not_answered = [call for call in calls if not call["accepted"]]
    doubtful = [call for call in not_answered if call["error"] not in _UNPAID]
    # A kept connection that ends at once, without a byte of an answer, is taken for one that ended before the request.
    asked = sum(each.status > 0 for each in account.exchanges)
    answered = account.answered
    if asked > len(calls):
        yield f"the endpoint was asked {asked} times, the record has {len(calls)} calls"
    if len(accepted) > len(answered):
        yield f"{len(accepted)} calls are accepted, the endpoint answered {len(answered)}"
    if len(answered) - len(accepted) > len(doubtful):
        yield f"{len(answered)} answers were paid, {len(accepted)} used, and only {len(doubtful)} told as lost"
    again = Counter(each.prompt for each in answered)
    twice = sum(count - 1 for count in again.values()) - len(_of_broken_attempts(run))
    if twice > len(doubtful):
        yield f"{twice} prompts were answered again, and only {len(doubtful)} calls told as lost"
    ids = Counter(call["call_id"] for call in accepted)
    yield from (f"{name} was accepted {count} times" for name, count in ids.items() if count > 1)
    if len(accepted) == len(answered) and not run.estimated:
        for key in ("prompt_tokens", "completion_tokens"):
            paid = sum(getattr(each, key) for each in answered)
            booked = sum(call["usage"][key] for call in accepted)
            if paid != booked:
                yield f"the endpoint counts {paid} {key}, the record {booked}"


def _of_broken_attempts(run: LiveRun) -> list[dict[str, Any]]:
    """Calls of attempts whose sandbox broke, and that were made again: the next one asks the same."""
    broke = {event["trajectory_id"] for event in _of(run, "agent_end") if event["outcome"] == "errored"}
    return [call for call in _of(run, "call") if call["trajectory_id"] in broke]


def _gone_anew(run: LiveRun) -> bool:
    """Whether it was killed before its record began, and started again: what was asked then is in no record."""
    return sum(life.args[0] == "run" for life in run.lives) > 1


def budget_holds(run: LiveRun) -> Iterator[str]:
    """Neither by its own count nor by the endpoint's."""
    if "--budget-tokens" not in run.options or run.estimated:
        return
    most = int(run.options[run.options.index("--budget-tokens") + 1])
    paid = sum(each.prompt_tokens + each.completion_tokens for each in run.endpoint.account.answered)
    if paid > most:
        yield f"{paid} tokens were paid of {most}"
    told = run.lives[-1].envelope
    if told is not None and (used := told["usage"]["prompt_tokens"] + told["usage"]["completion_tokens"]) > most:
        yield f"{used} tokens were used of {most}"


def each_subtask_once(run: LiveRun) -> Iterator[str]:
    """None is lost, none is done twice."""
    begun = Counter(event["trajectory_id"] for event in _of(run, "agent_start"))
    yield from (f"{name} began {count} times" for name, count in begun.items() if count > 1)
    planned = [subtask["id"] for event in _of(run, "stage_start") for subtask in event["plan"]["subtasks"]]
    yield from (f"{name} was planned {count} times" for name, count in Counter(planned).items() if count > 1)
    over: set[str] = set()
    ended: set[str] = set()
    for event in run.events():
        if event["type"] == "agent_end" and event["outcome"] == "completed":
            ended.add(event["trajectory_id"])
        elif event["type"] == "run_resume":
            over = ended - set(event["again"])
        elif event["type"] == "call_sent" and event["trajectory_id"] in over:
            yield f"{event['trajectory_id']} had ended, and was at work again"
    told = run.lives[-1].envelope
    if told is not None and told["status"] in ("completed", "partial", "failed"):
        settled = told["coverage"]["asked"]
        if settled != len(set(planned)):
            yield f"{len(set(planned))} sub-tasks were planned, coverage knows of {settled}"
        if (settled := sum(told["outcomes"].values())) < len(set(planned)):  # repairs have one, too
            yield f"{len(set(planned))} sub-tasks were planned, {settled} have an outcome"


def same_answer(run: LiveRun) -> Iterator[str]:
    """It came to what it would have come to undisturbed."""
    told = run.lives[-1].envelope
    if not run.same:
        return
    if told is None or told["exit_code"] != 0 or told["status"] != "completed":
        yield f"it ended {told and told['status']}: {run.lives[-1].err[-800:]}"
        return
    shape, count = run.shape, len(run.shape.names)
    whole = {"asked": count, "useful": count, "missing": 0}
    if told["coverage"] != whole or told["outcomes"] != {"completed": count} or _began(run) != count:
        yield f"coverage {told['coverage']}, outcomes {told['outcomes']}, {told['n_subagents']} sub-agents"
    if shape.gate and (told["gate"] is None or not told["gate"]["passed"]):
        yield f"the gate is {told['gate']}"
    patch = Path(told["patch_path"]).read_text() if told["patch_path"] else ""
    if brought(patch) != shape.files():
        yield f"the patch brings {brought(patch)}, not {shape.files()}"
    if told["answer"] != shape.answer:
        yield f"the answer is {told['answer']!r}, not {shape.answer!r}"


def _began(run: LiveRun) -> int:
    """Sub-tasks on which somebody worked, each counted once whatever its sandboxes came to."""
    return len({event["name"] for event in _of(run, "agent_start") if event["role"] == "subagent"})


def checkout_is_the_users(run: LiveRun) -> Iterator[str]:
    """The user's checkout holds what was asked for, all of it or nothing, and else is as it was."""
    if run.repo is None:
        return
    git = ["git", "-C", str(run.repo)]

    def said(*args: str) -> str:
        return subprocess.run([*git, *args], capture_output=True, text=True, check=True).stdout

    trees = said("worktree", "list").splitlines()
    if len(trees) != 1:
        yield f"worktrees are left: {trees}"
    told = run.lives[-1].envelope
    done = told is not None and told["exit_code"] == 0
    wanted = dict(BASE)
    if run.delivery == "apply":
        changed = {path for path in _files(run.repo) if path not in BASE}
        if done or changed:
            wanted |= run.shape.files()
    if run.same or not run.delivery:
        found = _files(run.repo)
        if found != wanted:
            yield f"the checkout holds {sorted(found)} instead of {sorted(wanted)}, or other contents"
    if done and run.same and run.delivery == "branch":
        tips = {name: said("show", f"{BRANCH}:{name}") for name in run.shape.files()}
        if tips != run.shape.files():
            yield f"the branch holds {tips}"
    if done and run.same and run.delivery == "patch":
        wrote = run.folder / "wanted.diff"
        if not wrote.is_file() or brought(wrote.read_text()) != run.shape.files():
            yield "the patch file is not the patch"
    if said("rev-list", "--count", "HEAD").strip() != "1" or said("stash", "list"):
        yield "the history or the stash is another"
    odd = [path.name for path in (run.repo / ".git").glob("*swarm*")]
    if odd:
        yield f"left in .git: {odd}"


def _files(repo: Path) -> dict[str, str]:
    return {
        str(path.relative_to(repo)): path.read_text()
        for path in repo.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(repo).parts
    }


def nothing_is_left(run: LiveRun) -> Iterator[str]:
    """No process, mount, control group, lease, temporary file, half-written file; what is just being ended by the
    kernel has a few seconds."""
    limit = time.monotonic() + ENDS_S
    while left := list(_left(run)):
        if time.monotonic() > limit:
            yield from left
            return
        time.sleep(0.1)  # the kernel is waited for


def _left(run: LiveRun) -> Iterator[str]:
    home = os.path.realpath(run.home)
    yield from sorted(processes_of(str(run.folder)))
    yield from sorted(mounts_of(os.path.realpath(run.folder)))
    for folder in (run.home / "runs").glob("*"):
        yield from sorted(cgroups_of(f"swarm-{folder.name}"))
    yield from (f"lease {path.name}" for path in Path(home, "leases").glob("*") if path.name != ".lock")
    yield from (f"temporary file {path.name}" for path in run.temp.rglob("*"))
    if run.run_folder is not None:
        yield from (f"half-written: {path.name}" for path in run.run_folder.glob(".*"))


def no_secret_is_written(run: LiveRun) -> Iterator[str]:
    """The key is in no file that the run made."""
    wanted = KEY.encode()
    for top in (run.home, run.temp, *(life.folder for life in run.lives)):
        for path in top.rglob("*"):
            if path.is_file() and not path.is_symlink() and wanted in path.read_bytes():
                yield f"the key is in {path.relative_to(run.folder)}"


CHECKS: Sequence[Check] = (
    ends,
    envelope_is_true,
    journal_is_valid,
    nothing_is_paid_twice,
    budget_holds,
    each_subtask_once,
    same_answer,
    checkout_is_the_users,
    nothing_is_left,
    no_secret_is_written,
)
