"""Configuration: flag > environment > swarm.toml of the repository > ~/.config/swarm/config.toml > default."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)

from swarm.errors import UsageError

Mode = Literal["plan", "parl", "single"]
Aggregate = Literal["auto", "text", "table", "vote"]
SandboxName = Literal["auto", "docker", "bubblewrap", "process"]

HOST_IMAGE = "host"
"""The name of the image that is no image: the machine's own system folders, read-only."""

HOST_KEYS = ("tools", "mcp", "search", "web_hosts", "toolchain", "network", "providers", "record", "replay")
"""Keys that open this machine: code outside the sandboxes, hosts, folders, keys. A repository may not set them, nor
`sandbox = "process"`: it may be a stranger's."""


class Price(BaseModel):
    """Dollars per million tokens. `cached` defaults to the price of other prompt tokens, `reasoning` to that of other
    completion tokens. `above` holds what a call costs altogether whose prompt has more tokens than the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)
    reasoning: float | None = Field(default=None, ge=0)
    above: dict[int, Price] = Field(default_factory=dict)


class Capabilities(BaseModel):
    """What a model at an endpoint can do; None where it is not known.

    `structured` is the strongest `response_format` that is kept to. `token_ids` is whose way of asking for token ids
    works, `reasoning` the field that the reasoning comes in ("": none was seen), `context_tokens` how many tokens
    prompt and answer may have together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    tools: bool | None = None
    parallel_tools: bool | None = None
    structured: Literal["json_schema", "json_object", "none"] | None = None
    stream_usage: bool | None = None
    logprobs: bool | None = None
    token_ids: Literal["vllm", "none"] | None = None
    reasoning: str | None = None
    seed: bool | None = None
    context_tokens: int | None = Field(default=None, ge=1)

    def over(self, below: Capabilities) -> Capabilities:
        """These, and those of `below` where these do not know."""
        return below.model_copy(update=self.model_dump(exclude_none=True))


class Quirks(BaseModel):
    """Where an endpoint wants something else than its siblings.

    `no_temperature` are patterns of model names. `stream_options` is whether it takes the wish for a stream's usage,
    `reasoning_back` whether reasoning may be sent back, `format_with_tools` whether `response_format` and `tools` may
    stand in one request. `extra_body` goes into every request.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_tokens_field: str = "max_tokens"
    seed_field: str = "seed"
    stream_options: bool = True
    no_temperature: tuple[str, ...] = ()
    reasoning_back: bool = True
    format_with_tools: bool = True
    extra_body: dict[str, Any] = Field(default_factory=dict)


def _address(url: str) -> str:
    """The address of an endpoint, as it is.

    Raises:
        ValueError: a request could not be sent there. The message tells no password.
    """
    shown = re.sub(r"//[^/]*@|[?#].*", lambda match: "//" if match[0].endswith("@") else match[0][0] + "...", url)
    if not re.match(r"https?://[^/\s]", url):
        raise ValueError(f"{shown!r} is no address like http://host:8000/v1")
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError(f"{shown!r} holds a blank or a control character")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
        host.encode("idna")
    except ValueError:  # also UnicodeError
        raise ValueError(f"{shown!r}: its host or port cannot be used (ports go from 1 to 65535)") from None
    if not host or port == 0:
        raise ValueError(f"{shown!r}: its {'port' if host else 'host'} cannot be used")
    if "%" in host:
        raise ValueError(f"{shown!r}: a host may hold no %, so no IPv6 zone")
    if "?" in url or "#" in url:
        raise ValueError(f"{shown!r}: an endpoint's address takes no query and no fragment")
    return url


class Provider(BaseModel):
    """A known endpoint. `key_env` names the environment variable with its key, `price_id` its prices in the library
    of prices; `like` is a known provider that gives what is not set here (but not its address or key)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: Annotated[str, AfterValidator(_address)]
    key_env: str | None = None
    key_needed: bool = True
    price_id: str | None = None
    like: str | None = None
    quirks: Quirks = Quirks()
    capabilities: Capabilities = Capabilities()


def _addresses(value: Any) -> Any:
    """One address as it is, several as a tuple; a string may hold several, with commas or blanks between them."""
    parts = re.split(r"[,\s]+", value.strip()) if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or not all(isinstance(part, str) for part in parts):
        return value
    if not parts:
        raise ValueError("nothing is no address like http://host:8000/v1")
    for part in parts:
        _address(part)
    each = tuple(dict.fromkeys(part.rstrip("/") for part in parts)) if len(parts) > 1 else tuple(parts)
    return each[0] if len(each) == 1 else each


class RunConfig(BaseModel):
    """All that shapes a run but the task itself. Every key may stand in swarm.toml under its own name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = "plan"
    model: str | None = None
    planner_model: str | None = None
    subagent_model: str | None = None
    aggregator_model: str | None = None
    # With the model `embedded` it names an endpoint that is running already; without, one is started in process.
    # Several are replicas of the same models.
    base_url: Annotated[str | tuple[str, ...] | None, BeforeValidator(_addresses)] = None
    api_key: SecretStr | None = Field(default=None, exclude=True)
    temperature: float | None = Field(default=None, ge=0, le=2)
    seed: int | None = None
    record: Path | None = Field(default=None, description="file that every exchange with the models is written to")
    replay: Path | None = Field(default=None, description="file that the models' answers are taken from")

    max_agents: int = Field(default=64, ge=1, description="sub-agents of the whole run, all stages together")
    max_depth: int = Field(default=1, ge=1, le=4, description="levels of sub-agents; more than 1 in mode parl alone")
    concurrency: int = Field(default=8, ge=1, description="sub-agents at work at once")
    max_stages: int | None = Field(default=None, ge=1, description="rounds of the orchestrator (plan: 3, parl: 100)")
    max_orchestrator_steps: int = Field(default=100, ge=1, description="model calls of the orchestrator")
    max_steps: int = Field(default=100, ge=1, description="model calls of one sub-agent")
    agent_seconds: float | None = Field(default=None, gt=0, description="seconds of work of one sub-agent")
    agent_tokens: int | None = Field(default=None, ge=1, description="tokens of one sub-agent")
    straggler_factor: float = Field(
        default=3.0, ge=0, description="times what nine of ten siblings took, then told to finish; 0: never"
    )
    straggler_seconds: float = Field(default=60.0, ge=0, description="no sub-agent is late before")
    hedge: bool = Field(default=False, description="a second attempt beside one that is late; the first good one wins")
    max_critical_steps: int | None = Field(default=None, ge=1)
    context_tokens: int | None = Field(default=None, ge=1_000, description="tokens of the models' window")
    budget_tokens: int | None = Field(default=None, ge=1)
    budget_usd: float | None = Field(default=None, gt=0)
    timeout: float | None = Field(default=None, gt=0, description="seconds for the whole run")
    soft_limit: float = Field(default=0.8, gt=0, le=1, description="part of a limit after which agents wrap up")
    reserve: float = Field(default=0.1, ge=0, le=0.5, description="part of a limit kept for merging and the last word")
    call_timeout: float = Field(default=600.0, gt=0, description="seconds for one model call")
    warm_prefix: bool = Field(default=True, description="one call warms a shared prefix before its siblings follow")
    max_in_flight: int = Field(default=256, ge=1, le=1000, description="model calls at once to one endpoint and key")
    park: float = Field(default=0.0, ge=0, description="seconds between tries after a used-up quota; 0: the run ends")
    stream: bool = Field(default=True, description="take answers piece by piece, so that a stalled one is noticed")
    first_token_timeout: float = Field(default=300.0, gt=0, description="seconds until a streamed answer begins")
    stall_timeout: float = Field(default=120.0, gt=0, description="seconds between two pieces of a streamed answer")
    prices: dict[str, Price] = Field(default_factory=dict, description="dollars per million tokens, by model")
    providers: dict[str, Provider] = Field(default_factory=dict, description="endpoints for `--model NAME/MODEL`")
    capabilities: Capabilities = Field(default=Capabilities(), description="known better than an endpoint tells")

    aggregate: Aggregate = Field(default="auto", description="what results become: a text, a table, or the best one")
    table_key: tuple[str, ...] = Field(default=(), description="columns by which rows of a table are the same")
    merge_tokens: int = Field(default=50_000, ge=1_000, description="tokens of results in one merge call")
    ask_usd: float | None = Field(default=None, gt=0, description="ask before a stage when more dollars were spent")

    sandbox: SandboxName = "auto"
    image: str = HOST_IMAGE
    toolchain: tuple[Path, ...] = Field(default=(), description="host folders visible read-only in sandboxes")
    network: tuple[str, ...] = Field(default=(), description="hosts that sandboxes may reach")

    board: bool = Field(default=True, description="agents at work at once share claims and findings")
    prompts: Annotated[Path, AfterValidator(Path.absolute)] | None = Field(
        default=None, description="folder of system prompts that take the place of ours"
    )
    tools: tuple[str, ...] = Field(default=(), description="further tools: names, or package.module:name")
    mcp: Path | None = Field(default=None, description="file of MCP servers, which run on this machine")
    web_hosts: tuple[str, ...] = Field(default=(), description="hosts that web_fetch may read")
    search: str | None = Field(default=None, description="package.module:name of what answers web_search")

    test: str | None = None
    test_timeout: float = Field(default=600.0, gt=0, description="seconds for one run of the gate")

    @model_validator(mode="after")
    def _deep_enough(self) -> Self:
        if self.max_depth > 1 and self.mode != "parl":
            raise ValueError(f"max_depth {self.max_depth} needs mode parl: elsewhere no agent starts others")
        return self

    @property
    def base_urls(self) -> tuple[str, ...]:
        """The addresses of the endpoint's replicas; of one, or none."""
        return (self.base_url,) if isinstance(self.base_url, str) else self.base_url or ()

    @property
    def merge_room(self) -> int:
        """Tokens of results in one merge call: as asked for, and where the window is given at most half of it."""
        return min(self.merge_tokens, (self.context_tokens or 2 * self.merge_tokens) // 2)

    @property
    def rounds(self) -> int:
        """Stages at most: those asked for, else what suits the mode."""
        return self.max_stages or (100 if self.mode == "parl" else 3)

    def model_of(self, role: Literal["planner", "subagent", "aggregator"]) -> str | None:
        """The model for a role: its own where one is set, else `model`."""
        own = {"planner": self.planner_model, "subagent": self.subagent_model, "aggregator": self.aggregator_model}
        return own[role] or self.model


def home(env: Mapping[str, str]) -> Path:
    """The folder where runs are kept.

    Raises:
        UsageError: its path is no text, which the record and the labels of what is made must be.
    """
    folder = Path(env.get("SWARM_HOME") or Path(env.get("HOME", "~")).expanduser() / ".local/share/swarm")
    place = os.path.realpath(folder)
    try:
        place.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(place).decode(errors="backslashreplace")
        raise UsageError(
            f"runs cannot be kept in {shown}: its path is not UTF-8", remedy="set SWARM_HOME to another folder"
        ) from None
    return folder


def load_config(flags: Mapping[str, Any], env: Mapping[str, str] | None = None, repo: Path | None = None) -> RunConfig:
    """Put the sources together; `flags` holds only what was really given.

    Raises:
        UsageError: a file cannot be read, or a value is not allowed; the message names where it stands.
    """
    env = os.environ if env is None else env
    user = Path(env.get("XDG_CONFIG_HOME") or Path(env.get("HOME", "~")).expanduser() / ".config")
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    shared = _read_toml(repo / "swarm.toml") if repo else {}
    for key in (*HOST_KEYS, "sandbox"):
        if (key in HOST_KEYS and key in shared) or shared.get(key) == "process":
            raise UsageError(
                f"{key} in {repo}/swarm.toml: this opens your machine, which a repository may not ask for",
                remedy="give it on the command line, or in ~/.config/swarm/config.toml",
            )
    if isinstance(own := shared.get("prompts"), str):
        shared["prompts"] = _inside(repo, own) if repo else own
    for source, values in (
        (str(user / "swarm/config.toml"), _read_toml(user / "swarm/config.toml")),
        (f"{repo}/swarm.toml", shared),
        ("the environment", _from_env(env)),
        ("the command line", dict(flags)),
    ):
        merged |= values
        origin |= dict.fromkeys(values, source)
    if repo and origin.get("base_url") == f"{repo}/swarm.toml" != origin.get("api_key", f"{repo}/swarm.toml"):
        raise UsageError(
            f"base_url in {repo}/swarm.toml: your key ({origin['api_key']}) would be sent where a repository says",
            remedy="name the endpoint with --base-url or OPENAI_BASE_URL, or run without the key",
        )
    if "base_url" not in flags and _all_embedded(merged):
        merged.pop("base_url", None)  # a standing endpoint does not take the place of one that was asked for by name
    try:
        return RunConfig(**merged)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else "configuration"
        where = ".".join(str(part) for part in first["loc"])
        raise UsageError(
            f"{where} in {origin.get(key, 'the configuration')}: {first['msg']}",
            remedy="see `swarm run --help` for what is allowed",
        ) from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path}: {error}", remedy="mend or remove the file") from None


def _inside(repo: Path, folder: str) -> Path:
    """A folder that a repository names: one of its own.

    Raises:
        UsageError: it lies elsewhere.
    """
    place = (repo / folder).resolve()
    if not place.is_relative_to(repo.resolve()):
        raise UsageError(
            f"prompts in {repo}/swarm.toml: {folder} is not in the repository",
            remedy="give it on the command line, or in ~/.config/swarm/config.toml",
        )
    return place


def _from_env(env: Mapping[str, str]) -> dict[str, Any]:
    names = {"OPENAI_BASE_URL": "base_url", "OPENAI_API_KEY": "api_key", "SWARM_MODEL": "model"}
    return {key: env[name] for name, key in names.items() if env.get(name)}


def _all_embedded(merged: Mapping[str, Any]) -> bool:
    names = [merged.get(key) for key in ("model", "planner_model", "subagent_model", "aggregator_model")]
    return {name for name in names if name} == {"embedded"}
