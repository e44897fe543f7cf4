"""`swarm resume` that ends before its run goes on: its envelope tells the whole run all the same."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.integration.conftest import Cli, Done, Script, plan, submit, subtask, use

TOLD = ("coverage", "usage", "cost_usd", "critical_steps", "total_steps", "n_subagents", "peak_concurrency", "outcomes")


def sums(done: Done) -> dict[str, object]:
    return {name: done.result[name] for name in TOLD}


@contextmanager
def no_leases(home: Path) -> Iterator[None]:
    """Nothing can be leased: no sandbox is opened."""
    where = home / "leases"
    kept = where.rename(where.with_name("kept"))
    where.write_text("no folder")
    yield
    where.unlink()
    kept.rename(where)


def cut(folder: Path) -> None:
    """As if it had been killed before it told its end."""
    lines = (folder / "events.jsonl").read_text().splitlines(keepends=True)
    at = next(n for n, line in enumerate(lines) if json.loads(line)["type"] in ("preview_held", "reward", "run_end"))
    (folder / "events.jsonl").write_text("".join(lines[:at]))
    (folder / "result.json").unlink()


def test_a_run_that_could_not_be_gone_on_with_tells_its_totals(cli: Cli, script: Script) -> None:
    script.planner(plan(subtask("one")), plan())
    script.agent("one", *(use("bash", command=f"echo {n} >> a.txt") for n in range(4)), submit())
    ended = cli.run("x", None, "--model", script.model, "--budget-tokens", "9000")
    assert (ended.code, ended.result["outcomes"]) == (4, {"budget_exhausted": 1}), ended.err
    assert ended.result["total_steps"] > 1
    [folder] = cli.runs
    more = ("--json", "--budget-tokens", "1000000")

    refused = cli("resume", folder.name, "--json", "--concurrency", "0")
    assert (refused.code, refused.result["status"], refused.result["exit_code"]) == (2, "errored", 2), refused.err
    assert sums(refused) == sums(ended)

    for killed in (True, False):
        kept = {name: (folder / name).read_bytes() for name in ("events.jsonl", "result.json")}
        if killed:
            cut(folder)
        before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
        with no_leases(cli.home):
            failed = cli("resume", folder.name, *more)
        assert (failed.code, failed.result["status"], failed.result["exit_code"]) == (3, "errored", 3), failed.err
        assert sums(failed) == sums(ended)
        assert (failed.result["run_id"], failed.result["run_dir"]) == (folder.name, str(folder))
        assert killed or failed.result["answer"] == ended.result["answer"]
        assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before
        for name, data in kept.items():
            (folder / name).write_bytes(data)

    done = cli("resume", folder.name, *more)
    assert done.code == 0, done.err
    assert done.result["total_steps"] > ended.result["total_steps"]
