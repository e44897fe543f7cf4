"""What `examples.wide` and `examples.deep` share: one task, a folder of documents, an answer with its sources."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.flags import EMBEDDED, Flags, say, tell
from swarm import RunResult, Swarm
from swarm.config import load_config
from swarm.parts import Own
from swarm.run_folders import new_run_id


async def answered(flags: Flags, task: str, docs: Path, shape: Mapping[str, Any], name: str) -> RunResult:
    """Run the task on the documents, write its answer to `name` in the example's folder, and tell what stands behind
    it. `shape` are keys of the configuration.

    Raises:
        SwarmError: the run could not be begun.
    """
    model = f"{EMBEDDED}:documents" if flags.model == EMBEDDED and flags.embedded else flags.model
    if flags.embedded:
        say("no language model: sentences are found by search, and quoted")
    given = {"model": model, "base_url": flags.base_url, "concurrency": flags.agents, "sandbox": flags.sandbox}
    config = load_config({**{key: value for key, value in given.items() if value is not None}, **shape})
    async with Swarm(config=config) as swarm:
        result = await swarm.run(task, attach=[docs], own=Own(folder=flags.home / "runs" / new_run_id()))
    (flags.out / name).write_text(result.answer + "\n", encoding="utf-8")
    say(f"{result.answer}\n")
    if result.sources is not None:
        bad = result.sources.unsupported
        say(f"{result.sources.supported} claims with a source that holds, {len(bad)} without")
        for each in bad:
            say(f"- {each.claim}: {each.reason}")
    say(f"answer: {flags.out / name}")
    tell(flags, result)
    return result
