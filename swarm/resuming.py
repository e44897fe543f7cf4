"""Going on with a run that ended before its time: what is checked, said and restored before it is gone through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import anyio
from pydantic import ValidationError
from pydantic_core import to_json

from swarm import __version__
from swarm.budgets.funds import Funds
from swarm.config import HOST_KEYS, RunConfig, home, load_config
from swarm.errors import JournalError, UsageError
from swarm.events import CallFinished, CallSent, Event, Gap, RunStarted
from swarm.journal.past import Past
from swarm.journal.reader import Held
from swarm.journal.said import Unsaid
from swarm.journal.seal import is_sealed, key_folders
from swarm.journal.writer import Journal
from swarm.keys import refuse_to_send
from swarm.mission import Mission
from swarm.models.pricing import cost
from swarm.result import RunResult
from swarm.types import Role, Usage
from swarm.whole_file import write_whole
from swarm.wiring import head_of

_BUDGETS = ("budget_usd", "budget_tokens", "max_critical_steps")
_PLACES = ("base_url", "base_url_found", "executor", "ray_address")
CHANGEABLE = (*_BUDGETS, *_PLACES, "max_steps", "timeout", "concurrency", "max_in_flight", "park")
"""Keys of the configuration that may be given anew when a run goes on."""

_HIDDEN = "[redacted:"
_OF_THE_END = (
    "result.json",
    "events.parquet",
    "tokens.parquet",
    "graph.sqlite",
    "graph.sqlite-wal",
    "graph.sqlite-shm",
)


def resumable(past: Past, folder: Path) -> RunStarted:
    """How a run began that can be gone on with.

    Raises:
        UsageError: it cannot.
    """
    started = past.course.started
    if started is None:
        raise UsageError(f"{folder.name} was ended before it began", remedy="start it again")
    if started.mode == "gateway":
        raise UsageError(f"{folder.name} is the record of a gateway", remedy="start one: swarm endpoint --proxy URL")
    if started.config.get("replay"):
        raise UsageError(f"{folder.name} takes its answers from a file", remedy="run it again: that costs nothing")
    if started.repo and not (folder / "repo.git").is_dir():
        raise UsageError(f"{folder.name} has lost its trees: {folder / 'repo.git'}", remedy="start it again")
    return started


def require_own(held: Held, folder: Path, env: Mapping[str, str]) -> None:
    """Refuse a run that this user did not begin, where its record names other places for keys than the user does, or
    anything that counts outside of sandboxes. Blocks.

    Raises:
        UsageError: it has no seal of this user; the message tells what it would open.
    """
    if is_sealed(folder, key_folders(home(env), env), held.past.configured):
        return
    config = held.past.config
    own = load_config({}, env).base_urls
    named = [f"{key} = {config[key]}" for key in (*HOST_KEYS, "prompts") if config.get(key)]
    if (urls := _as_urls(config.get("base_url"))) not in ((), own):
        named.append(f"base_url = {', '.join(urls)}")
    named += ["sandbox = process"] if config.get("sandbox") == "process" else []
    named += ["executor = ray"] if config.get("executor") == "ray" else []
    if not named:
        return
    raise UsageError(
        f"{folder.name} was not begun by you: to go on with it is to trust its record with your key and machine "
        f"({', '.join(named)})",
        remedy=f"look at it first: swarm show {folder}; then, if you trust it (or began it yourself, where no seal "
        f"could be kept, or with a key that is gone): swarm resume {folder} --trust",
    )


def _as_urls(value: Any) -> tuple[str, ...]:
    """What a record holds as `base_url`: none, one, or several."""
    return (value,) if isinstance(value, str) else tuple(map(str, value or ()))


def finished(past: Past, folder: Path) -> RunResult:
    """The result of a run that came to its end, written to its folder where the run was killed before it could. Blocks.

    Raises:
        JournalError: it cannot be written.
    """
    assert past.course.ended is not None
    target = folder / "result.json"
    if not target.exists():
        try:
            write_whole(target, to_json(past.course.ended.result, indent=2))
        except OSError as error:
            raise JournalError(f"{target} cannot be written: {error.strerror or error}") from error
    return RunResult.model_validate({**past.course.ended.result, "run_dir": str(folder)})


def config_of(past: Past, given: Mapping[str, Any], env: Mapping[str, str]) -> RunConfig:
    """The configuration that a run goes on with: its own, with what is given now, and with the key of today.

    Raises:
        UsageError: it cannot be used, or the key would be sent where a repository says.
    """
    assert past.course.started is not None
    own = load_config({}, env)
    config = past.config | dict(given)
    if place := config.get("base_url_found"):
        if "base_url" in given or _as_urls(config.get("base_url")) == own.base_urls:
            config["base_url_found"] = ""
        elif own.api_key is not None or own.api_key_file is not None or own.api_key_keyring is not None:
            refuse_to_send("of today", str(place))
    if past.course.concurrency is not None:
        config = {**config, "concurrency": given.get("concurrency", past.course.concurrency)}
    if _HIDDEN in str(config.get("workers")):
        config["workers"] = {**config["workers"], **own.workers}
    hidden = [key for key, value in config.items() if _HIDDEN in str(value)]
    if hidden:
        raise UsageError(
            f"the record of this run holds no secrets, and one stood in {', '.join(hidden)}",
            remedy=f"give it again: {' '.join('--' + key.replace('_', '-') for key in hidden)}",
        )
    try:
        return RunConfig(**config, api_key=own.api_key)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise UsageError(
            f"the run was begun by swarm {past.course.started.swarm_version} with {first['loc'][0]!r}, which swarm "
            f"{__version__} does not take: {first['msg']}",
            remedy=f"resume it with swarm {past.course.started.swarm_version}",
        ) from None


async def go_on(
    mission: Mission, journal: Journal, sink: Unsaid, reducers: Sequence[Callable[[Event], None]], funds: Funds
) -> None:
    """Say that the run goes on, restore what was summed up of it, and close what was in flight."""
    assert mission.held is not None
    past = mission.past
    funds.restore(_shown(mission.held.events, reducers))
    lost, now = past.lost(), past.config
    past.course.widen(mission.config.model_dump())
    resumed = past.reopened(__version__)
    resumed.changed = await _changes(mission)
    config = mission.config.model_dump(mode="json", include=set(CHANGEABLE))
    resumed.config = {key: value for key, value in config.items() if value != now.get(key)}
    if not resumed.config.keys().isdisjoint(_BUDGETS):
        given = mission.config
        funds.allow(given.budget_tokens, given.budget_usd, given.max_critical_steps)
    for name in _OF_THE_END:
        await anyio.Path(mission.folder / name).unlink(missing_ok=True)
    if mission.held.torn:
        journal.emit(Gap(reason="a last line that was not whole is gone", lost=1))
    journal.emit(resumed)
    past.observe(resumed)
    sink.forget(resumed)
    sink.open = past.unended
    for call in lost:
        journal.emit(_closing(mission, call))


def _shown(events: Iterable[Event], reducers: Sequence[Callable[[Event], None]]) -> Iterator[Event]:
    """The events, each shown to the reducers before: a long journal is read once for all of them."""
    for event in events:
        for reduce in reducers:
            reduce(event)
        yield event


def _closing(mission: Mission, call: CallSent) -> CallFinished:
    """The end of a call whose answer nobody read. It may be billed."""
    start = mission.past.start(call.trajectory_id)
    role = Role(start.role) if start is not None else Role.SUBAGENT
    usage = Usage(prompt_tokens=call.prompt_tokens)
    turn = call.call_id.rpartition("/")[2].partition("-")[0]
    return CallFinished(
        trajectory_id=call.trajectory_id,
        call_id=call.call_id,
        turn=int(turn) if turn.isdecimal() else 0,
        attempt=call.attempt,
        accepted=False,
        untrainable="failed" if start is not None and start.trainable else "frozen",
        model=mission.models.by_role[role].name,
        usage=usage,
        cost_usd=cost(mission.models.prices[role], usage),
        estimated=True,
        error="lost",
        error_message="it was in flight when the process that made it died",
    )


async def _changes(mission: Mission) -> list[str]:
    """What is not as it was when the run began, in words."""
    started = mission.past.course.started
    assert started is not None
    changes = []
    if started.swarm_version != __version__:
        changes.append(f"begun by swarm {started.swarm_version}, gone on with by {__version__}")
    for role, model in mission.models.by_role.items():
        was = started.models.get(role.value, model.name)
        if was != model.name:
            changes.append(f"{role.value}: the model was {was} and is {model.name}")
    if mission.repo is not None:
        head = await anyio.to_thread.run_sync(head_of, Path(mission.repo))
        if head != started.git_head:
            where = f"is at {head[:12]} now" if head else "is gone"
            changes.append(f"{mission.repo} {where}; the run goes on from {started.git_head[:12]}, where it began")
    return changes
