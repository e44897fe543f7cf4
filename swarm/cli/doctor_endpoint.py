"""The part of `swarm doctor` that looks at model endpoints: which are here, what they can do, how fast they answer."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from swarm.cli.findings import Finding

if TYPE_CHECKING:
    from swarm.config import Capabilities, RunConfig
    from swarm.journal.redaction import Redactor
    from swarm.models.providers import Endpoint

LIST_TIMEOUT = 3.0  # seconds
CALL_TIMEOUT = 60.0
MODEL_TIMEOUT = 300.0  # for all that is asked of one model at one endpoint

Show = Callable[[str], str]
"""Makes a text fit to be printed that an endpoint sent."""


async def look_at_endpoints(config: RunConfig, redactor: Redactor, *, probe: bool) -> list[Finding]:
    """What there is to say of the configured endpoints and of servers on this machine. With `probe` the capabilities
    are asked for again, and kept."""
    from swarm.cli.text import line
    from swarm.legible import clean
    from swarm.models.local_servers import find

    def show(text: str) -> str:  # a secret must not be cut before it is seen, nor broken by a terminal's controls
        return line(redactor.redact(clean(text))[0])

    servers = [
        Finding(
            "local server",
            None,
            f"{found.base_url} ({'needs a key' if found.needs_key else show(', '.join(found.models)) or 'no models'})",
            details=found._asdict(),
        )
        for found in await find()
    ]
    return [*await _configured(config, show, probe=probe), *servers]


async def _configured(config: RunConfig, show: Show, *, probe: bool) -> list[Finding]:
    from swarm.errors import UsageError
    from swarm.models.providers import EMBEDDED, Endpoint, endpoint_of, own_key, replicas_of

    roles = (config.model_of("planner"), config.model_of("subagent"), config.model_of("aggregator"))
    names = [name for name in dict.fromkeys(roles) if name and (name != EMBEDDED or config.base_url)]
    names = [name for name in names if not name.startswith(f"{EMBEDDED}:")]
    found: list[Finding] = []
    try:
        key = own_key(config)
    except UsageError as error:
        if not names or not config.base_urls:  # else the endpoint's own finding tells
            found.append(Finding("key", False, str(error), needed=bool(config.base_urls)))
        key = None
    answers: dict[str, bool | None] = {}
    for name in names:
        try:
            where = endpoint_of(name, config, os.environ)
        except UsageError as error:
            found.append(Finding("endpoint", False, str(error), needed=True))
            continue
        for each in replicas_of(where, config):
            if each.base_url not in answers:
                listed = await _listed(each, [n.partition("/")[2] if each.provider else n for n in names], show)
                found.append(listed)
                answers[each.base_url] = listed.ok
            if answers[each.base_url]:
                found += await _model(name, each, config, show, probe=probe)
    if not found and config.base_urls:
        return [await _listed(Endpoint(url, "", key), [], show) for url in config.base_urls]
    if not found:
        text = "none configured (--base-url or OPENAI_BASE_URL); `--model embedded` repairs Python without one"
        return [Finding("endpoint", None, text)]
    return found


async def _listed(where: Endpoint, names: list[str], show: Show) -> Finding:
    """Whether an endpoint answers, by the list of its models."""
    import httpx

    from swarm.errors import EndpointFault
    from swarm.models.fitting.capabilities import without_credentials
    from swarm.models.local_servers import list_models
    from swarm.models.wire.faults import fault_said

    place = show(without_credentials(where.base_url))

    def finding(ok: bool, text: str) -> Finding:
        return Finding("endpoint", ok, f"{place} {text}", needed=True)

    headers = {"Authorization": f"Bearer {where.key.get_secret_value()}"} if where.key else {}
    try:
        async with httpx.AsyncClient(timeout=LIST_TIMEOUT) as client:
            answer = await list_models(client, where.base_url, LIST_TIMEOUT, headers)
    except TimeoutError:
        return finding(False, f"does not list its models within {LIST_TIMEOUT:g} s")
    except ImportError as error:  # a SOCKS proxy, and no socksio
        return finding(False, f"cannot be reached: {error}")
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        return finding(False, f"cannot be reached ({type(error).__name__})")
    refused = not 200 <= answer.status < 300
    told = fault_said(answer.content, answer.status, "", place, {}) if refused else None
    if told is not None and told.kind is EndpointFault.WRONG_KEY:
        return finding(False, f"refuses the key (HTTP {answer.status}): see {_key_name(where)}")
    models = answer.models
    if models is None:
        return finding(False, f"answers HTTP {answer.status}, but not as an OpenAI-compatible endpoint")
    unknown = [name for name in dict.fromkeys(names) if models and name not in models]
    note = f"; it does not list {show(', '.join(unknown))}" if unknown else ""
    return finding(True, f"answers ({show(', '.join(models[:8])) or 'no models listed'}){note}")


async def _model(name: str, where: Endpoint, config: RunConfig, show: Show, *, probe: bool) -> list[Finding]:
    """What one model can do, how fast it answers, what it costs."""
    import anyio

    from swarm.config import Capabilities, home
    from swarm.errors import EndpointError
    from swarm.models.fitting.capabilities import knowledge_of
    from swarm.models.fitting.probe import ASPECTS, Probing
    from swarm.models.fitting.probe import probe as ask
    from swarm.models.pricing import known_price
    from swarm.models.wire.client import OpenAIModel, open_client

    price = known_price(name, config, os.environ)
    cost = f"${price.prompt:g} in, ${price.completion:g} out per million tokens" if price else "unknown (see [prices])"
    told = Finding(
        "price", None, f"{show(name)}: {cost}", details={"model": name, "price": price and price.model_dump()}
    )
    knowledge = knowledge_of(where, config, home(os.environ))
    await knowledge.load()
    key = where.key.get_secret_value() if where.key else None
    done = Probing()
    async with open_client(where.base_url, key) as client:
        model = OpenAIModel(client, where.model, where.quirks)
        try:
            with anyio.fail_after(MODEL_TIMEOUT):
                timed = await _timed(model, name, show)
                declared = await model.declared()
                knowledge.assume(declared)
                for aspect in ASPECTS:
                    if not _knows(declared if probe else knowledge.current, aspect):
                        await ask(model, aspect, done)
        except EndpointError as error:
            return [Finding("model", False, f"{show(name)}: {show(str(error))}", needed=True), told]
        except TimeoutError:
            late = f"{show(name)}: not all questions were answered within {MODEL_TIMEOUT:g} s"
            return [Finding("model", False, late, needed=True), told]
        finally:
            knowledge.assume(done.assumed)
            if done.found != Capabilities():
                await knowledge.keep(done.found)
    known = knowledge.current.model_dump(exclude_none=True)
    tokens = done.usage.total_tokens
    asked = f" (asked with {done.usage.calls} calls, {tokens} tokens)" if done.exchanges else " (known)"
    able = Finding(
        "can do",
        None,
        f"{show(name)}: {show(_words(knowledge.current))}{asked}",
        details={"model": name, "capabilities": known, "usage": done.usage.model_dump()},
    )
    return [timed, able, told]


async def _timed(model: Any, name: str, show: Show) -> Finding:
    """One small call, timed."""
    from swarm.calls import ModelRequest, StreamLimits

    request = ModelRequest(
        [{"role": "user", "content": "Say yes."}],
        max_tokens=16,
        timeout=CALL_TIMEOUT,
        stream=StreamLimits(CALL_TIMEOUT, CALL_TIMEOUT),
    )
    reply = await model.complete(request)
    first, whole = reply.t_first_token - reply.t_sent, reply.t_done - reply.t_sent
    text = f"{show(name)} answers: first token after {first:.2f} s, all of it after {whole:.2f} s"
    data = {"model": name, "first_token_s": round(first, 4), "whole_s": round(whole, 4)}
    return Finding("model", True, text, needed=True, details=data)


def _knows(known: Capabilities, aspect: str) -> bool:
    field = "token_ids" if aspect == "tokens" else aspect
    return getattr(known, field) is not None


def _words(known: Capabilities) -> str:
    """The capabilities, and what is done without those that are missing."""
    parts = [
        {True: "tools", False: "no tools (told by text)", None: "tools not known"}[known.tools],
        {True: "calls in parallel", False: "one call at a time (parl: one sub-agent a stage)", None: ""}[
            known.parallel_tools if known.tools else None
        ],
        {
            "json_schema": "JSON by schema",
            "json_object": "JSON (schema by prompt)",
            "none": "no JSON mode (by prompt)",
            None: "JSON not known",
        }[known.structured],
        {True: "usage of streams", False: "no usage of streams", None: ""}[known.stream_usage],
        "logprobs" if known.logprobs else "no logprobs",
        "token ids" if known.token_ids not in (None, "none") else "no token ids",
        f"reasoning in {known.reasoning}" if known.reasoning else "",
        {True: "seed", False: "no seed", None: ""}[known.seed],
    ]
    return ", ".join(part for part in parts if part)


def _key_name(where: Endpoint) -> str:
    from swarm.models.providers import known

    provider = known().get(where.provider)
    return (provider.key_env if provider else None) or "OPENAI_API_KEY"
