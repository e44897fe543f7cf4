"""Appending records to a log that a crash must not lose: python -m benchmarks.workers.log WAY RECORDS

Records are those of a run: a call with its new messages, 14 KB. All ways write the same bytes but ours, which makes its
lines from events (masked, checksummed) as in a run. A batch of 64 is on the disk before the next one begins.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

BATCH = 64
_WORDS = "some words of what a tool told, which an agent then reads again. "
NEW = [{"role": "tool", "tool_call_id": "call_1", "content": _WORDS * 210}]
REPLY = {"role": "assistant", "content": "I look at it. " * 8}


def journal(folder: Path, count: int) -> tuple[float, float]:
    """Ours."""
    import anyio

    from swarm.events import CallFinished
    from swarm.journal.redaction import Redactor, secrets_of
    from swarm.journal.writer import open_journal
    from swarm.types import Usage

    redactor = Redactor(secrets_of({"SOME_KEY": "sk-0123456789abcdefghijkl", "OTHER_TOKEN": "another-secret-value"}))
    sums = {"prompt_sha256": "0" * 64, "policy_version": "7", "untrainable": "frozen"}

    async def written() -> tuple[float, float]:
        async with open_journal(folder / "events.jsonl", "run", redactor) as log:
            cpu, wall = time.process_time(), time.perf_counter()
            for number in range(count):
                log.emit(CallFinished(
                    trajectory_id="a", call_id=f"a/{number}", turn=number + 1, attempt=1, accepted=True, model="m",
                    prefix_call_id="", prefix_messages=0, new_messages=NEW, response=REPLY, finish_reason="stop",
                    usage=Usage(prompt_tokens=3000, completion_tokens=40, calls=1), t_sent=0.0, t_first_token=0.0,
                    t_done=0.0, cost_usd=0.0, **sums,
                ))  # fmt: skip
                if number % BATCH == BATCH - 1:
                    await log.flush()
            await log.flush()
            return time.process_time() - cpu, time.perf_counter() - wall

    return anyio.run(written)


def _record(number: int) -> str:
    return json.dumps({"call_id": f"a/{number}", "new_messages": NEW, "response": REPLY})


def _file(sync_each: int) -> Callable[[Path, int], tuple[float, float]]:
    def written(folder: Path, count: int) -> tuple[float, float]:
        with (folder / "events.jsonl").open("w", encoding="utf-8") as log:
            cpu, wall = time.process_time(), time.perf_counter()
            for number in range(count):
                log.write(_record(number) + "\n")
                if sync_each and number % sync_each == sync_each - 1:
                    log.flush()
                    os.fsync(log.fileno())
            log.flush()
            return time.process_time() - cpu, time.perf_counter() - wall

    return written


def _sqlite(batch: int) -> Callable[[Path, int], tuple[float, float]]:
    def written(folder: Path, count: int) -> tuple[float, float]:
        base = sqlite3.connect(folder / "events.db", isolation_level=None)
        base.execute("pragma journal_mode=wal")
        base.execute("pragma synchronous=full")
        base.execute("create table events (number integer primary key, record text)")
        cpu, wall = time.process_time(), time.perf_counter()
        for number in range(count):
            if number % batch == 0:
                base.execute("begin")
            base.execute("insert into events values (?, ?)", (number, _record(number)))
            if number % batch == batch - 1 or number == count - 1:
                base.execute("commit")
        took = time.process_time() - cpu, time.perf_counter() - wall
        base.close()
        return took

    return written


WAYS: dict[str, Callable[[Path, int], tuple[float, float]]] = {
    "swarm": journal,
    "no-sync": _file(0),
    "sync-64": _file(BATCH),
    "sync-1": _file(1),
    "sqlite-64": _sqlite(BATCH),
    "sqlite-1": _sqlite(1),
}


def main(name: str, count: int) -> None:
    with tempfile.TemporaryDirectory(dir=".") as folder:
        WAYS[name](Path(folder), 2 * BATCH)
        for path in Path(folder).iterdir():
            path.unlink()
        cpu, wall = WAYS[name](Path(folder), count)
    print(json.dumps({"appends_s": count / wall, "cpu_us": 1e6 * cpu / count}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
