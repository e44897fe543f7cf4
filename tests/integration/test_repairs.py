"""Repair sub-agents: whole runs in which patches are evicted, repaired, and merged or left out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.integration.conftest import Cli, Done, Files, Script, git, plan, submit, subtask, use
from tests.integration.test_parl import assign, create, turn
from tests.integration.test_resume import assert_nothing_twice, journal, kill_at, result_of, slow

MakeRepo = Callable[[Files], Path]

LIST = "fruits = [\n    'apple',\n    'cherry',\n]\n"
CHECK = """
import test_it
names = [name for name in vars(test_it) if name.startswith("test_")]
red = []
for name in names:
    try:
        vars(test_it)[name]()
    except Exception as error:
        red.append(f"FAILED test_it.py::{name} - {error!r}")
print("=" * 9, "short test summary info", "=" * 9)
print(*red, f"{len(red)} failed, {len(names) - len(red)} passed in 0.01s", sep="\\n")
raise SystemExit(bool(red))
"""
"""What pytest says, at a tenth of its time."""

FILES = {
    "fruits.py": LIST,
    "price.py": "def price(n):\n    return n * 2\n",
    "test_it.py": "from price import price\n\n\ndef test_price():\n    assert price(2) == 4\n",
    "check.py": CHECK,
}
TEST = "python3 check.py"


def conflict(script: Script, *names: str) -> None:
    """Sub-agents that put a line of theirs into the same place."""
    for name in names:
        script.agent(name, use("edit", path="fruits.py", old_string="'apple',\n", new_string=f"'{name}',\n"), submit())


def merges(done: Done) -> list[tuple[str, bool, str, str]]:
    return [(m["subtask_id"], m["merged"], m["kind"], m["repair"]) for m in done.of("merge")]


def test_a_conflict_is_brought_in_by_a_repair_sub_agent(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    repo = make_repo(FILES)
    script.planner(plan(subtask("one"), subtask("two"), subtask("three")))
    conflict(script, "one", "two")
    script.agent("three", use("write", path="three.txt", content="3\n"), submit())
    script.agent(
        r"two\.repair-1",
        use("bash", command="grep -c '^<<<<<<<' fruits.py"),
        use("write", path="fruits.py", content="fruits = [\n    'one',\n    'two',\n    'cherry',\n]\n"),
        submit("kept both"),
    )
    done = cli.run("x", repo, "--model", script.model, "--no-test", "--branch", "both")
    assert done.code == 0, done.err
    assert merges(done) == [
        ("three", True, "", ""), ("one", True, "", ""), ("two", False, "conflict", ""),
        ("two", True, "", "two.repair-1"),
    ]  # fmt: skip
    assert done.result["coverage"] == {"asked": 3, "useful": 3, "missing": 0}
    assert done.result["n_subagents"] == 4
    assert done.result["outcomes"] == {"completed": 4}
    assert done.result["critical_steps"] == 1 + 2 + 3  # the plan, the longest of the three, the repair after them
    assert "two, do two: completed (merged after a repair by two.repair-1: kept both)" in done.result["answer"]
    [repairs] = done.of("repairs")
    told = repairs["subtasks"][0]["instructions"]
    assert "conflict with what was merged before in fruits.py (changed by one)" in told
    assert "What sub-task one (do one) changed there" in told
    assert "work on two" in told
    tool = next(t for t in done.of("tool") if t["trajectory_id"] == "two.repair-1")
    assert "1" in tool["result"]
    log = git(repo, "log", "--reverse", "--format=%s|%(trailers:key=Swarm-Subtask,valueonly,separator=+)|"
              "%(trailers:key=Swarm-Repaired-By,valueonly,separator=+)", "main..both").splitlines()  # fmt: skip
    assert log == ["do three|three|", "do one|one|", "do two|two|two.repair-1"]


def test_who_breaks_anothers_test_is_found_repaired_or_delivered_beside(
    cli: Cli, script: Script, make_repo: MakeRepo
) -> None:
    repo = make_repo(FILES)
    script.planner(*slow(plan(*(subtask(name) for name in ("good", "half", "other", "lost"))), plan()))
    script.agent("good", use("write", path="good.txt", content="g\n"), submit())
    # Each of the two is green by itself: one makes the price another, the other asks for the old one twice.
    halved = use("bash", command="printf 'def price(n):\\n    return n + 2\\n' > price.py")
    script.agent("half", halved, submit("n + 2"))
    asked = "\n\ndef test_more():\n    assert price(3) == 6\n"
    script.agent("other", use("bash", command=f"cat >> test_it.py <<'E'{asked}E"), submit("tested more"))
    script.agent(
        "lost", use("write", path="price.py", content="price = None  # for now, and for a while\n" * 9), submit()
    )
    script.agent(
        r"other\.repair-1",
        *slow(
            use("edit", path="price.py", old_string="n + 2", new_string="n + n"),
            use("bash", command="echo checked >> notes.txt"),
            submit("price is right now"),
        ),
    )
    script.agent(r"lost\.repair-1", use("bash", command="true"), submit("it cannot be had", "failed"))
    done = cli.run("x", repo, "--model", script.model, "--test", TEST)
    assert (done.code, done.result["status"]) == (1, "partial"), done.err
    assert done.result["coverage"] == {"asked": 4, "useful": 3, "missing": 1}
    assert done.result["gate"]["passed"]
    last = {merge["subtask_id"]: merge for merge in done.of("merge")}
    first = {merge["subtask_id"]: merge for merge in reversed(done.of("merge"))}
    assert (first["other"]["kind"], first["other"]["against"]) == ("gate", ["half"])
    assert first["other"]["tests"] == ["test_it.py::test_more"]
    assert (last["other"]["merged"], last["other"]["repair"]) == (True, "other.repair-1")
    assert (last["lost"]["merged"], last["lost"]["kind"]) == (False, "conflict")
    assert "it cannot be had" in last["lost"]["reason"]
    beside = (Path(done.result["run_dir"]) / "unmerged/lost.diff").read_text()
    assert "price = None" in beside
    assert "do lost: completed (not merged: conflict" in done.result["answer"]
    planner = [call for call in done.of("call") if call["trajectory_id"] == "orchestrator"][1]
    said = planner["new_messages"][-1]["content"]
    assert "merged after it was repaired by other.repair-1: price is right now" in said
    assert "not merged: conflict" in said

    killed = cli.start(
        "run", "x", "--repo", str(repo), "--json", "--sandbox", cli.box, "--model", script.model, "--test", TEST
    )
    folder = kill_at(cli, killed, lambda events: any(e["type"] == "bisect" for e in events), 2)
    again = cli.start("resume", folder.name, "--json")
    kill_at(
        cli,
        again,
        lambda events: any(e.get("trajectory_id") == "other.repair-1" and e["type"] == "tool" for e in events),
        2,
    )
    resumed = cli("resume", folder.name, "--json")
    assert result_of(resumed) == result_of(done), resumed.err
    assert_nothing_twice(folder)
    tested = [(e["commit"], e["purpose"], e["attempt"]) for e in journal(folder) if e["type"] == "gate"]
    assert len(tested) == len(set(tested))
    assert (folder / "unmerged/lost.diff").read_text() == beside


def test_repairs_are_agents_like_others_and_end_where_there_is_no_room(
    cli: Cli, script: Script, make_repo: MakeRepo
) -> None:
    repo = make_repo(FILES)
    names = ("one", "two", "three")
    script.planner({"content": "", **turn(create("w"), *(assign("w", f"write {name}") for name in names))})
    script.rules[-1]["turns"].append({"content": "all that could be"})
    for n, name in enumerate(names, 1):
        script.agent(
            f"w-{n}", use("edit", path="fruits.py", old_string="'apple',\n", new_string=f"'{name}',\n"), submit()
        )
    kept = use("bash", command="sed -i '/^<<<<<<<\\|^>>>>>>>\\|^=======/d; /^|||||||/,/apple/d' fruits.py")
    script.agent(r"w-2\.repair-1", kept, submit("kept both"))
    done = cli.run("x", repo, "--model", script.model, "--mode", "parl", "--no-test", "--max-agents", "4")
    assert (done.code, done.result["status"]) == (1, "partial"), done.err
    assert done.result["n_subagents"] == 4
    patch = Path(done.result["patch_path"]).read_text()
    assert [name in patch for name in names] == [True, True, False]
    assert done.result["coverage"] == {"asked": 3, "useful": 2, "missing": 1}
    answers = [t for t in done.of("tool") if t["name"] == "assign_task"]
    assert "merged after it was repaired by w-2.repair-1: kept both" in answers[1]["result"]
    assert "not merged: conflict" in answers[2]["result"]


def test_a_repair_that_resolves_nothing_is_no_repair(cli: Cli, script: Script, make_repo: MakeRepo) -> None:
    repo = make_repo(FILES)
    script.planner(plan(subtask("one"), subtask("two")), plan())
    conflict(script, "one", "two")
    script.agent(r"two\.repair-1", use("bash", command="true"), submit("all is well"))
    script.agent(r"two\.repair-2", use("write", path="more.txt", content="m\n"), submit("all is well"))
    done = cli.run("x", repo, "--model", script.model, "--no-test")
    assert done.code == 1
    asked = {r["subtasks"][0]["id"]: r["subtasks"][0]["instructions"] for r in done.of("repairs")}
    assert list(asked) == ["two.repair-1", "two.repair-2"]
    assert "two.repair-1 changed nothing" in asked["two.repair-2"]
    last = done.of("merge")[-1]
    assert not last["merged"]
    assert "two.repair-2 left conflict marks in fruits.py" in last["reason"]
    assert "<<<<<<<" not in Path(done.result["patch_path"]).read_text()


def test_repairs_that_move_marks_undo_others_or_delete_tests_are_refused(
    cli: Cli, script: Script, make_repo: MakeRepo
) -> None:
    repo = make_repo({**FILES, "gone.txt": "a\nb\n"})
    script.planner(plan(subtask("one"), subtask("two"), subtask("red")), plan())
    script.agent("one", use("bash", command="rm gone.txt; sed -i s/apple/one/ fruits.py"), submit())
    mine = "fruits = [\n    'two',\n    'cherry',\n]\n"
    script.agent("two", use("write", path="fruits.py", content=mine + "# 2\n" * 9), submit())
    script.agent("red", use("bash", command="seq 9 > red.txt; sed -i s/2/3/ price.py"), submit())
    script.agent(r"two\.repair-1", use("bash", command="mv fruits.py moved.py"), submit())
    script.agent(r"two\.repair-2", use("write", path="fruits.py", content=mine + "# 2\n" * 9), submit())
    again = use("bash", command="printf 'a\\n' > gone.txt"), use("write", path="fruits.py", content=mine + "# 3\n")
    script.agent(r"two\.repair-3", *again, submit("it had to be"))
    script.agent(r"red\.repair-1", use("bash", command="sed -i 's/ test_price/ price_test/' test_it.py"), submit())
    script.agent(r"red\.repair-3", use("bash", command="sed -i s/3/2/ price.py"), submit())
    done = cli.run("x", repo, "--model", script.model, "--test", TEST, "--repairs", "3")
    assert done.code == 0, done.err
    reasons = {m["reason"].rpartition("; its repair ")[2] for m in done.of("merge") if not m["merged"]}
    assert {"two.repair-1 left conflict marks in moved.py", "red.repair-1 took away test_it.py::test_price"} <= reasons
    assert "two.repair-2 put the change in place of what one merged" in reasons
    assert any(reason.startswith("red.repair-2 errored") for reason in reasons)  # which is not the last word
    undid = "changed again or took back 1 of the 2 lines that one changed in fruits.py, 2 of the 2 lines"
    assert f"[it {undid}" in done.result["answer"]
    assert any(f"two.repair-3 {undid}" in notice["message"] for notice in done.of("notice"))
