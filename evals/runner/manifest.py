"""`eval.json`: how an evaluation is made, so that another person can make it again, and that it goes on as it began."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import anyio
from pydantic import BaseModel, Field

from swarm import __version__
from swarm.config import RunConfig
from swarm.errors import UsageError
from swarm.evals.records import MANIFEST, Manifest, read_manifest
from swarm.evals.runner.arms import Way
from swarm.evals.suite import Instance, Suite
from swarm.journal.redaction import Redactor, secrets_of
from swarm.models.providers import hosts_of, secrets_in
from swarm.prompts.texts import load_prompts

_OTHERS = ("swebench", "datasets", "pyarrow", "pytest")
"""Packages that verdicts depend on, beside those that swarm needs."""

_FREE = (
    *("base_url", "record", "budget_usd", "budget_tokens", "max_in_flight", "park", "ask_usd"),
    *("providers", "call_timeout", "first_token_timeout", "stall_timeout", "toolchain", "rollout", "test_found"),
    "base_url_found",
)
"""Keys of the configuration that may change while an evaluation goes on: what a model is asked does not."""


class Sitting(BaseModel):
    """One process that worked on it. `started` is in seconds since 1970."""

    started: float
    command: list[str] = Field(default_factory=list)
    versions: dict[str, str] = Field(default_factory=dict)
    git: str = ""


class EvalManifest(Manifest):
    """What the runner writes. `configs` is what the runs of each arm were made with, `git` the commit that swarm was at
    (`+` where it was changed), `given` the hash of answers that were made elsewhere, `hosts` who served the models."""

    configs: dict[str, dict[str, Any]] = Field(default_factory=dict)
    hosts: dict[str, str] = Field(default_factory=dict)
    git: str = ""
    given: str = ""
    sittings: list[Sitting] = Field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Doing:
    """What this process was asked for."""

    suite: Suite
    ways: Sequence[Way]
    instances: Sequence[Instance]
    epochs: int
    seed: int | None
    command: Sequence[str] = ()
    given: str = ""


async def manifest_of(doing: Doing, folder: Path) -> EvalManifest:
    """The manifest with which the evaluation in a folder is begun, or goes on.

    Raises:
        UsageError: it was begun with something else, which is named.
    """
    now = await anyio.to_thread.run_sync(_now, doing)
    now.git = await _commit()
    now.sittings = [Sitting(started=now.started, command=now.command, versions=now.versions, git=now.git)]
    if not (folder / MANIFEST).exists():
        return now
    before = EvalManifest.model_validate(read_manifest(folder).model_dump())
    if difference := _difference(before, now, doing.suite.options):
        raise UsageError(
            f"{folder} was begun with {difference}", remedy="go on as it began, or name another folder with --out"
        )
    known = set(before.instances)
    return before.model_copy(
        update={
            "instances": [*before.instances, *(name for name in now.instances if name not in known)],
            "epochs": max(before.epochs, now.epochs),
            "options": {**doing.suite.options, **before.options},
            "hosts": now.hosts,
            "sittings": [*before.sittings, *now.sittings],
        }
    )


def _now(doing: Doing) -> EvalManifest:
    found: dict[str, str] = {}
    for way in doing.ways:
        found |= secrets_in(way.config, os.environ)
    redactor = Redactor(secrets_of(os.environ) | found)
    config = doing.ways[0].config
    configs = {} if doing.given else {way.name: _without_secrets(way.config, redactor) for way in doing.ways}
    hosts = {way.arm.model or "model": hosts_of(way.config.model or "", way.config, os.environ) for way in doing.ways}
    return EvalManifest(
        suite=doing.suite.name,
        version=doing.suite.version,
        arms=[way.arm for way in doing.ways],
        instances=[instance.id for instance in doing.instances],
        epochs=doing.epochs,
        seed=doing.seed,
        versions=_versions(),
        prompts={} if doing.given else load_prompts(config.prompts).versions,
        command=[redactor.redact(word)[0] for word in doing.command],
        started=time.time(),
        configs=configs,
        options={**_common(list(configs.values())), **doing.suite.options},
        hosts={name: redactor.redact(host)[0] for name, host in hosts.items() if host},
        given=doing.given,
    )


def _without_secrets(config: RunConfig, redactor: Redactor) -> dict[str, Any]:
    held: dict[str, Any] = config.model_dump(mode="json")
    return {key: _clean(value, redactor) for key, value in held.items()}


def _common(configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all arms were given that is not as it is without being given."""
    usual = RunConfig().model_dump(mode="json")
    first = configs[0] if configs else {}
    own = {key for key in first if any(each[key] != first[key] for each in configs)} | {*_FREE, "mode", "model", "seed"}
    return {key: value for key, value in first.items() if key not in own and value != usual[key]}


def _clean(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str):
        return redactor.redact(value)[0]
    if isinstance(value, Mapping):
        return {key: _clean(each, redactor) for key, each in value.items()}
    if isinstance(value, list):
        return [_clean(each, redactor) for each in value]
    return value


def _difference(before: EvalManifest, now: EvalManifest, own: Mapping[str, Any]) -> str:
    """What would make the results of one folder two evaluations; empty where nothing does. `own`: the suite's options,
    which older folders may lack."""
    for what, was, wanted in (
        ("the suite", before.suite, now.suite),
        ("version", before.version, now.version),
        ("the arms", _names(before), _names(now)),
        ("--seed", before.seed, now.seed),
        ("other answers: sha256", before.given[:12], now.given[:12]),
        ("swarm", before.versions.get("swarm"), now.versions.get("swarm")),
        *((f"{name} =", before.options.get(name, wanted), wanted) for name, wanted in own.items()),
    ):
        if was != wanted:
            return f"{what} {was}, and now it would be {wanted}"
    changed = sorted(name for name in before.prompts if before.prompts[name] != now.prompts.get(name))
    if changed:
        return f"other prompts ({', '.join(changed)})"
    for name, config in now.configs.items():
        earlier = before.configs.get(name, {})
        for key in sorted(config.keys() & earlier.keys() - set(_FREE)):
            if config[key] != earlier[key]:
                return f"{key} = {earlier[key]} in {name}, and now it would be {config[key]}"
    return ""


def _names(manifest: Manifest) -> str:
    models = {arm.model for arm in manifest.arms}
    names = ", ".join(arm.name for arm in manifest.arms)
    return f"{names} with {', '.join(sorted(models))}" if any(models) else names


def _versions() -> dict[str, str]:
    """Of swarm, Python and the packages that a verdict may depend on."""
    found = {"swarm": __version__, "python": platform.python_version(), "platform": platform.platform()}
    try:
        needed = [wanted.partition(";")[0] for wanted in metadata.requires("swarm") or () if "extra ==" not in wanted]
    except metadata.PackageNotFoundError:  # a checkout that is not installed
        needed = []
    names = [*(name.partition(">")[0].partition("=")[0].strip() for name in needed), *_OTHERS]
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


async def _commit() -> str:
    """Of the checkout that swarm runs from; empty where it is installed."""
    here = str(Path(__file__).resolve().parents[2])
    if not (Path(here) / ".git").exists():
        return ""
    try:
        head = await anyio.run_process(["git", "-C", here, "rev-parse", "HEAD"], check=False)
        changed = await anyio.run_process(["git", "-C", here, "status", "--porcelain", "-uno"], check=False)
    except OSError:
        return ""
    return head.stdout.decode().strip() + ("+" if changed.stdout.strip() else "")
