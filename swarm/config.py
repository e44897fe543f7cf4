"""Configuration: flag > environment > swarm.toml of the repository > ~/.config/swarm/config.toml > default."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

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

from swarm.addresses import address, addresses, all_embedded
from swarm.errors import UsageError
from swarm.foreign import ForeignAgent, refuse_groups
from swarm.keys import add_named_key, refuse_literal, refuse_to_send
from swarm.misnamed import keys_at, unknown, wanted
from swarm.toml_file import behind_known_prices, inside, read_toml

Mode = Literal["plan", "parl", "single"]
Aggregate = Literal["auto", "text", "table", "vote"]
SandboxName = Literal["auto", "docker", "bubblewrap", "process"]

HOST_IMAGE = "host"
"""The name of the image that is no image: the machine's own system folders, read-only."""

HOST_KEYS = (
    *("tools", "mcp", "search", "web_hosts", "toolchain", "network", "providers", "record", "replay"),
    *("api_key_file", "api_key_keyring", "ray_address", "worker", "workers"),
)
"""Keys that open this machine: code outside the sandboxes, hosts, folders, keys. A repository may not set them, nor
`sandbox = "process"` or `executor = "ray"`: it may be a stranger's."""
_OURS = {"test_found", "base_url_found"}  # what swarm says of its own find


class Price(BaseModel):
    """Dollars per million tokens. `cached` defaults to the price of other prompt tokens, `reasoning` to that of other
    completion tokens. `above` holds what a call costs altogether whose prompt has more tokens than the key. One
    `unless_known` (all that a repository names) counts only where nobody else knows the model's price."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)
    reasoning: float | None = Field(default=None, ge=0)
    above: dict[int, Price] = Field(default_factory=dict)
    unless_known: bool = False


class Capabilities(BaseModel):
    """What a model at an endpoint can do; None where it is not known.

    `structured` is the strongest `response_format` that is kept to. `token_ids` is whose way of asking for token ids
    works, `reasoning` the field that the reasoning comes in ("": none was seen), `vision` whether it takes images,
    `context_tokens` how many tokens prompt and answer may have together.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    tools: bool | None = None
    parallel_tools: bool | None = None
    structured: Literal["json_schema", "json_object", "none"] | None = None
    stream_usage: bool | None = None
    logprobs: bool | None = None
    token_ids: Literal["vllm", "sglang", "none"] | None = None
    reasoning: str | None = None
    seed: bool | None = None
    vision: bool | None = None
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

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    max_tokens_field: str = "max_tokens"
    seed_field: str = "seed"
    stream_options: bool = True
    no_temperature: tuple[str, ...] = ()
    reasoning_back: bool = True
    format_with_tools: bool = True
    extra_body: dict[str, Any] = Field(default_factory=dict)


class Provider(BaseModel):
    """A known endpoint. `key_env` names the environment variable with its key, `key_file` a file, `key_keyring` an
    entry of the keyring (see `swarm.keys`); `price_id` its prices in the library of prices; `like` is a known provider
    that gives what is not set here (but not its address or key)."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    base_url: Annotated[str, AfterValidator(address)]
    key_env: str | None = Field(default=None, pattern=r"^[A-Za-z_]\w*$")
    key_file: Path | None = None
    key_keyring: str | None = None
    key_needed: bool = True
    price_id: str | None = None
    like: str | None = None
    quirks: Quirks = Quirks()
    capabilities: Capabilities = Capabilities()


class Rollout(BaseModel):
    """What a trainer says of a run, for the record: the group of runs of the same prompt and its place in that, the
    weights of PARL's two auxiliary rewards with the step of their annealing; and of the policy that learns its engine,
    and the hashes of its tokenizer and its chat template, which no endpoint tells."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)

    group_id: str = ""
    index: int = Field(default=0, ge=0)
    lambda1: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    lambda2: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    anneal_step: int = Field(default=0, ge=0)
    engine: str = ""
    tokenizer_sha256: str = ""
    chat_template_sha256: str = ""

    @property
    def policy(self) -> dict[str, Any]:
        """What is said of the policy."""
        return {name: getattr(self, name) for name in ("engine", "tokenizer_sha256", "chat_template_sha256")}


class RunConfig(BaseModel):
    """All that shapes a run but the task itself. Every key may stand in swarm.toml under its own name."""

    # What is refused may hold a secret, such as an address with a password.
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True, hide_input_in_errors=True)

    mode: Mode = "plan"
    model: str | None = None
    planner_model: str | None = None
    subagent_model: str | None = None
    aggregator_model: str | None = None
    # With the model `embedded` it names an endpoint that is running already; without, one is started in process.
    # Several are replicas of the same models.
    base_url: Annotated[str | tuple[str, ...] | None, BeforeValidator(addresses)] = None
    base_url_found: str = ""  # the repository's file that names it, where no user does: no key goes there
    api_key: SecretStr | None = Field(default=None, exclude=True)
    api_key_file: Path | None = Field(default=None, description="file with the endpoint's key, mode 600")
    api_key_keyring: str | None = Field(default=None, description="SERVICE/USER of the endpoint's key in the keyring")
    temperature: float | None = Field(default=None, ge=0, le=2)
    seed: int | None = None
    rollout: Rollout = Field(default=Rollout(), description="what a trainer says of this run")
    record: Path | None = Field(default=None, description="file that every exchange with the models is written to")
    replay: Path | None = Field(default=None, description="file that the models' answers are taken from")

    max_agents: int = Field(default=64, ge=1, description="sub-agents of the whole run, all stages together")
    max_depth: int = Field(default=1, ge=1, le=4, description="levels of sub-agents; more than 1 in mode parl alone")
    concurrency: int = Field(default=8, ge=1, description="sub-agents at work at once")
    repairs: int = Field(default=2, ge=0, le=10, description="tries to repair a patch that was not merged; 0: none")
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

    executor: Literal["local", "ray"] = Field(default="local", description="where sub-agents work: here, or by Ray")
    ray_address: str | None = Field(default=None, description="HOST:PORT of the cluster, `auto`, or `local`")
    sandbox: SandboxName = "auto"
    image: str = HOST_IMAGE
    sandbox_env: dict[Annotated[str, Field(pattern="^[A-Za-z_][A-Za-z0-9_]*$")], str] = Field(
        default_factory=dict, description="environment of what runs in sandboxes"
    )
    workdir: str | None = Field(default=None, pattern="^/", description="folder of the image for the working copy")
    toolchain: tuple[Path, ...] = Field(default=(), description="host folders visible read-only in sandboxes")
    network: tuple[str, ...] = Field(default=(), description="hosts that sandboxes may reach")

    worker: str | None = Field(default=None, description="acp:COMMAND, command:COMMAND, or a name of [workers]")
    workers: dict[str, ForeignAgent] = Field(default_factory=dict, description="other people's agents, for `worker`")
    board: bool = Field(default=True, description="agents at work at once share claims and findings")
    prompts: Annotated[Path, AfterValidator(Path.absolute)] | None = Field(
        default=None, description="folder of system prompts that take the place of ours"
    )
    tools: tuple[str, ...] = Field(default=(), description="further tools: names, or package.module:name")
    mcp: Path | None = Field(default=None, description="file of MCP servers, which run on this machine")
    web_hosts: tuple[str, ...] = Field(default=(), description="hosts that web_fetch may read")
    search: str | None = Field(default=None, description="package.module:name of what answers web_search")

    test: str | None = Field(default=None, description="the gate: the command that the merged tree must pass")
    find_test: bool = Field(default=True, description="find the test command where none is given (command line)")
    # Why the test command was chosen, where the user did not give it: one that cannot be run is left out then.
    test_found: str = ""
    agents_md: bool = Field(default=True, description="AGENTS.md files of the repository reach planner and sub-agents")
    test_timeout: float = Field(default=600.0, gt=0, description="seconds for one run of the gate")

    @model_validator(mode="after")
    def _deep_enough(self) -> Self:
        if self.max_depth > 1 and self.mode != "parl":
            raise ValueError(f"max_depth {self.max_depth} needs mode parl: elsewhere no agent starts others")
        refuse_groups(self.worker, self.workers, self.max_depth)
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
    shared = _read_toml(repo / "swarm.toml", repo) if repo else {}
    for key in (*HOST_KEYS, "sandbox", "executor"):
        if (key in HOST_KEYS and key in shared) or shared.get(key) in ("process", "ray"):
            raise UsageError(
                f"{key} in {repo}/swarm.toml: this opens your machine, which a repository may not ask for",
                remedy="give it on the command line, or in ~/.config/swarm/config.toml",
            )
    if repo and isinstance(own := shared.get("prompts"), str):
        shared["prompts"] = inside(repo, own, "prompts")
    mine = _read_toml(user / "swarm/config.toml")
    for source, values in (
        (str(user / "swarm/config.toml"), mine),
        (f"{repo}/swarm.toml", behind_known_prices(shared, mine)),
        ("the environment", _from_env(env)),
        ("the command line", dict(flags)),
    ):
        merged |= values
        origin |= dict.fromkeys(values, source)
    add_named_key(merged, origin)
    if repo and origin.get("base_url") == f"{repo}/swarm.toml":
        merged["base_url_found"] = origin["base_url"]
        if "api_key" in origin:
            refuse_to_send(origin["api_key"], origin["base_url"])
    if "base_url" not in flags and all_embedded(merged):
        merged.pop("base_url", None)  # a standing endpoint does not take the place of one that was asked for by name
    try:
        return RunConfig(**merged)
    except ValidationError as error:
        wrong = error.errors()
        first = next((each for each in wrong if each["type"] == "extra_forbidden"), wrong[0])
        key = str(first["loc"][0]) if first["loc"] else "configuration"
        where = ".".join(str(part) for part in first["loc"])
        known = set(keys_at(RunConfig, first["loc"])) - _OURS
        said = unknown(str(first["loc"][-1]), sorted(known)) if first["type"] == "extra_forbidden" else ""
        place = f"{where} in {origin.get(key, 'the configuration')}"
        if key in flags and not said:
            place = f"--{key.replace('_', '-')}"  # as it was typed
        raise UsageError(
            f"{place}: {said or wanted(first['type'], first['msg'])}",
            remedy="see `swarm run --help` for what is allowed",
        ) from None


def _read_toml(path: Path, repo: Path | None = None) -> dict[str, Any]:
    try:
        found = read_toml(path, repo)
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: {error}", remedy="mend or remove the file") from None
    refuse_literal(found, path)
    if ours := next((name for name in _OURS if name in found), None):
        raise UsageError(f"{ours} in {path}: {unknown(ours, ())}", remedy="remove the key")
    return found


def _from_env(env: Mapping[str, str]) -> dict[str, Any]:
    names = {"OPENAI_BASE_URL": "base_url", "OPENAI_API_KEY": "api_key", "SWARM_MODEL": "model"}
    names |= {"SWARM_API_KEY_FILE": "api_key_file"}
    return {key: env[name] for name, key in names.items() if env.get(name)}
