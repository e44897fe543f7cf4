"""Known endpoints: from `moonshot/kimi-k2.5` to an address, a key, and what is known of it beforehand."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import field, replace
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr
from pydantic_core import from_json

from swarm.config import Capabilities, Provider, Quirks, RunConfig
from swarm.errors import UsageError
from swarm.journal.redaction import Redactor, secrets_of
from swarm.keys import key_in_file, key_in_keyring, named_key
from swarm.types import JsonObject, Message
from swarm.values import value

EMBEDDED = "embedded"
"""The name of the embedded endpoint's model, alone or before a colon."""

EMBEDDED_CAPABILITIES = Capabilities(
    tools=True,
    parallel_tools=True,
    structured="json_schema",
    stream_usage=True,
    logprobs=True,
    token_ids="vllm",
    reasoning="",
    seed=True,
)
"""Of the embedded endpoint: it is ours, so nothing is tried out on it."""

DECLARED = "swarm_capabilities"
"""The member of an entry of `GET /models` by which the embedded endpoint tells them."""

WINDOWS = ("max_model_len", "context_length", "context_window", "max_context_length")
"""The members of such an entry that tell the window: of vLLM and SGLang; OpenRouter and Together; Groq; Mistral."""

REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
"""The fields of an assistant's message that hold its reasoning, by the names that servers give them."""


@value(frozen=True, slots=True)
class Endpoint:
    """Where one model of the configuration is served. `provider` is its short name, "" for a bare address."""

    base_url: str
    model: str
    key: SecretStr | None = None
    provider: str = ""
    price_id: str | None = None
    quirks: Quirks = field(default_factory=Quirks)
    capabilities: Capabilities = field(default_factory=Capabilities)


@cache
def known() -> Mapping[str, Provider]:
    """The providers that come with the package, by short name."""
    text = (files("swarm.models") / "providers.toml").read_text(encoding="utf-8")
    return {name: Provider.model_validate(table) for name, table in tomllib.loads(text).items()}


def providers_of(config: RunConfig) -> dict[str, Provider]:
    """The known providers and those of the user, whose names win.

    Raises:
        UsageError: one of the user's is like a provider that there is not.
    """
    own = {name: _completed(name, provider) for name, provider in config.providers.items()}
    return {**known(), **own}


def _completed(name: str, provider: Provider) -> Provider:
    if provider.like is None:
        return provider
    model = known().get(provider.like)
    if model is None:
        raise UsageError(
            f"providers.{name}.like: there is no provider {provider.like!r}", remedy=f"known are {', '.join(known())}"
        )
    quirks = Quirks(**{**model.quirks.model_dump(), **provider.quirks.model_dump(exclude_unset=True)})
    capabilities = provider.capabilities.over(model.capabilities)
    return provider.model_copy(update={"quirks": quirks, "capabilities": capabilities})


def names_provider(name: str, config: RunConfig) -> bool:
    """Whether a model's name begins with a provider. An address that was given wins: then the name is the model's,
    slashes included."""
    return not config.base_urls and name.partition("/")[0] in providers_of(config) and "/" in name


def endpoint_of(name: str, config: RunConfig, env: Mapping[str, str]) -> Endpoint:
    """Where the model `name` of a configuration is served: at its base URL, else at the provider that the name begins
    with. A provider's key comes from its own variable of `env`, its own file or its own entry of the keyring alone.

    Raises:
        UsageError: there is no such provider, no model is named, or its key is not set.
    """
    short, _, model = name.partition("/")
    if not names_provider(name, config):
        if not config.base_urls:
            raise UsageError(
                f"no endpoint is named for {name}",
                remedy=f"give --base-url, or PROVIDER/{name} with one of {', '.join(providers_of(config))}",
            )
        # By its name too: a proxy in front of it hands on no `DECLARED`.
        capabilities = EMBEDDED_CAPABILITIES if name.split(":")[0] == EMBEDDED else Capabilities()
        return Endpoint(config.base_urls[0], name, own_key(config), capabilities=capabilities)
    provider = providers_of(config)[short]
    if not model:
        raise UsageError(f"{name}: no model is named", remedy=f"give --model {short}/MODEL")
    key = _key_of(provider, env)
    if not key and provider.key_env and provider.key_needed:
        raise UsageError(f"{name} needs a key, and {provider.key_env} is not set", remedy=f"export {provider.key_env}")
    return Endpoint(
        provider.base_url,
        model,
        SecretStr(key) if key else None,
        short,
        provider.price_id,
        provider.quirks,
        provider.capabilities,
    )


def own_key(config: RunConfig) -> SecretStr | None:
    """The key for the base URL, None where none is configured. Raises: UsageError: it is named, and cannot be had."""
    if config.api_key is not None:
        return config.api_key
    named = named_key({"api_key_file": config.api_key_file, "api_key_keyring": config.api_key_keyring})
    return SecretStr(named) if named else None


def _key_of(provider: Provider, env: Mapping[str, str]) -> str | None:
    """A provider's key. Raises: UsageError: the file or the entry that is to hold it cannot be used."""
    if key := env.get(provider.key_env or ""):
        return key
    if provider.key_file is not None:
        return key_in_file(provider.key_file)
    return key_in_keyring(provider.key_keyring) if provider.key_keyring else None


def secrets_in(config: RunConfig, env: Mapping[str, str]) -> dict[str, str]:
    """What a configuration lets endpoints be told and nobody else, by name: keys of `env` that providers name, whatever
    they are called, the configured one, those in variables of other people's agents, and passwords in addresses."""
    providers = {**known(), **config.providers}.values()
    found = {each.key_env: env[each.key_env] for each in providers if each.key_env and env.get(each.key_env)}
    for name, own in config.providers.items():
        with suppress(UsageError):  # what cannot be had is told nobody
            if key := _key_of(own, env):
                found.setdefault(own.key_env or f"key of {name}", key)
    with suppress(UsageError):
        if (mine := own_key(config)) is not None:
            found["api_key"] = mine.get_secret_value()
    for who, worker in config.workers.items():
        own_env = {name: value for name, value in worker.env.items() if "{" not in value}
        found |= {f"{who}.{name}": value for name, value in secrets_of(own_env).items()}
    passwords = [urlsplit(url).password for url in (*config.base_urls, *(each.base_url for each in providers))]
    forms = dict.fromkeys(form for each in passwords if each for form in (each, unquote(each)))
    return {**found, **{f"password-{number}": form for number, form in enumerate(forms, 1)}}


def redactor_of(config: RunConfig, env: Mapping[str, str]) -> Redactor:
    """What takes the secrets of an environment and a configuration out of texts."""
    return Redactor(secrets_of(env) | secrets_in(config, env))


def replicas_of(where: Endpoint, config: RunConfig) -> list[Endpoint]:
    """The endpoints that serve the model of `where`: it, or all of the addresses that were given."""
    if where.provider or where.base_url not in config.base_urls:
        return [where]
    return [replace(where, base_url=url) for url in config.base_urls]


def hosts_of(model: str, config: RunConfig, env: Mapping[str, str]) -> str:
    """Who serves a model, without credentials; empty where the caller brings one, or it is in process.

    Raises:
        UsageError: as `endpoint_of`.
    """
    here = model.startswith(f"{EMBEDDED}:") or (model == EMBEDDED and not config.base_urls)
    if not model or here or not (config.base_urls or names_provider(model, config)):
        return ""
    places = replicas_of(endpoint_of(model, config, env), config)
    return ", ".join(dict.fromkeys(urlsplit(place.base_url).netloc.rpartition("@")[2] for place in places))


def declared_in(listed: bytes, model: str) -> Capabilities:
    """What an answer to `GET /models` tells that a model can do; nothing where it does not, or in another form."""
    try:
        data = from_json(listed).get("data", ())
        entry: JsonObject = next((each for each in data if each.get("id") == model), {})
        windows = (entry.get(name) for name in WINDOWS)
        window = next((each for each in windows if isinstance(each, int) and each > 1), None)
        return Capabilities.model_validate(entry.get(DECLARED) or {}).over(Capabilities(context_tokens=window))
    except (ValueError, AttributeError, TypeError):
        return Capabilities()


def adapted(options: JsonObject, model: str, quirks: Quirks) -> JsonObject:
    """The options of a chat request (all but its messages and tools) as an endpoint with these quirks wants them."""
    changed = dict(quirks.extra_body) | options
    for standard, wanted in (("max_tokens", quirks.max_tokens_field), ("seed", quirks.seed_field)):
        if wanted != standard and standard in changed:
            changed[wanted] = changed.pop(standard)
    if any(fnmatchcase(model, pattern) for pattern in quirks.no_temperature):
        changed.pop("temperature", None)
    if not quirks.stream_options:
        changed.pop("stream_options", None)
    return changed


def without_reasoning(messages: Sequence[Message]) -> Sequence[Message]:
    """The messages without what the model thought, for an endpoint that refuses it."""
    if not any(field in message for message in messages for field in REASONING_FIELDS):
        return messages
    return [
        {key: value for key, value in message.items() if key not in REASONING_FIELDS}
        if message.get("role") == "assistant"
        else message
        for message in messages
    ]
