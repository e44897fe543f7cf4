"""Known endpoints by short name, their keys and quirks, and what is known of prices and tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from swarm.config import Price, Quirks, RunConfig, load_config
from swarm.errors import UsageError
from swarm.models.pricing import cost, known_price
from swarm.models.providers import (
    EMBEDDED_CAPABILITIES,
    adapted,
    declared_in,
    endpoint_of,
    known,
    secrets_in,
    without_reasoning,
)
from swarm.models.tokens import TokenRatio
from swarm.types import Usage

ENV = {"MOONSHOT_API_KEY": "sk-moon", "OPENAI_API_KEY": "sk-open", "GEMINI_API_KEY": "g", "GROQ_API_KEY": "q"}


def config(**values: Any) -> RunConfig:
    return RunConfig.model_validate(values)


def test_a_short_name_gives_address_and_its_own_key() -> None:
    where = endpoint_of("moonshot/kimi-k2.5", config(api_key="sk-other"), ENV)
    assert (where.base_url, where.model) == ("https://api.moonshot.ai/v1", "kimi-k2.5")
    assert where.key is not None
    assert where.key.get_secret_value() == "sk-moon", "never a key that was meant for another"
    assert "sk-moon" not in repr(where)
    assert endpoint_of("groq/openai/gpt-oss-120b", config(), ENV).model == "openai/gpt-oss-120b"
    assert endpoint_of("vllm/org/model", config(), {}).key is None


def test_every_key_that_an_endpoint_is_told_is_a_secret() -> None:
    loaded = config(
        api_key="sk-own",
        base_url=("http://a:1/v1", "http://u:pass%40word@b:1/v1"),
        providers={"corp": {"base_url": "http://me:sesame@c/v1", "key_env": "CORP_AUTH"}},
    )
    secrets = secrets_in(loaded, ENV | {"CORP_AUTH": "plain", "OTHER": "no"})
    assert set(secrets.values()) == {*ENV.values(), "plain", "sk-own", "sesame", "pass%40word", "pass@word"}


def test_an_address_that_was_given_wins() -> None:
    where = endpoint_of("openai/gpt-oss-20b", config(base_url="http://h:1/v1", api_key="k"), ENV)
    assert (where.base_url, where.model, where.provider) == ("http://h:1/v1", "openai/gpt-oss-20b", "")
    assert endpoint_of("embedded", config(base_url="http://h:1/v1"), {}).capabilities == EMBEDDED_CAPABILITIES


@pytest.mark.parametrize(
    ("listed", "tools"),
    [
        ({"data": [{"id": "a"}, {"id": "m", "swarm_capabilities": {"tools": True}}]}, True),
        ({"data": [{"id": "m"}]}, None),
        ({"data": [{"id": "m", "swarm_capabilities": ["tools"]}]}, None),
        ({"data": [{"id": "m", "swarm_capabilities": {"wings": 2}}]}, None),
        ({"data": [7]}, None),
        ([], None),
    ],
)
def test_what_a_list_of_models_declares(listed: object, tools: bool | None) -> None:
    assert declared_in(json.dumps(listed).encode(), "m").tools is tools
    assert declared_in(b"<html>", "m").tools is None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("deepseek/deepseek-chat", "DEEPSEEK_API_KEY is not set"),
        ("moonshot/", "no model is named"),
        ("nobody/model", "no endpoint is named for nobody/model.*moonshot"),
        ("gpt-5", "no endpoint is named"),
    ],
)
def test_what_is_missing_is_named(name: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        endpoint_of(name, config(), ENV)


def test_the_user_names_endpoints_of_their_own(tmp_path: Path) -> None:
    user = tmp_path / "swarm"
    user.mkdir()
    (user / "config.toml").write_text(
        '[providers.lab]\nbase_url = "http://gpu:8000/v1"\nkey_env = "LAB_KEY"\nlike = "mistral"\n'
        "[providers.lab.quirks]\nreasoning_back = true\n[capabilities]\ntools = false\n"
    )
    loaded = load_config({"model": "lab/x"}, {"XDG_CONFIG_HOME": str(tmp_path)})
    where = endpoint_of("lab/x", loaded, {"LAB_KEY": "k"})
    assert where.quirks == Quirks(seed_field="random_seed", stream_options=False, reasoning_back=True)
    assert where.capabilities.structured == "json_schema"
    assert where.price_id is None, "prices are those of an address"
    assert loaded.capabilities.tools is False
    unlike = config(providers={"lab": {"base_url": "http://gpu:8000/v1", "like": "nobody"}})
    with pytest.raises(UsageError, match=r"providers\.lab\.like"):
        endpoint_of("lab/x", unlike, {})


@pytest.mark.parametrize(
    ("text", "env", "flags", "refused"),
    [
        ('base_url = "http://evil/v1"', {"OPENAI_API_KEY": "sk-mine"}, {}, "your key .the environment. would be sent"),
        ('[providers.openai]\nbase_url = "http://evil/v1"', {}, {}, "providers in .*may not ask for"),
        ('base_url = "http://lan/v1"', {}, {}, None),
        (
            'base_url = "http://lan/v1"\napi_key = "sk-mine"',
            {},
            {},
            "api_key in .* is no place for a key",
        ),
        ('api_key_file = "/home/me/.key"', {}, {}, "api_key_file in .*may not ask for"),
        ('base_url = "http://evil/v1"', {"OPENAI_API_KEY": "sk-mine"}, {"base_url": "http://mine/v1"}, None),
        ('base_url = "http://evil/v1"', {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "http://mine/v1"}, {}, None),
    ],
)
def test_a_repository_cannot_have_the_users_key(
    tmp_path: Path, text: str, env: dict[str, str], flags: dict[str, str], refused: str | None
) -> None:
    (tmp_path / "swarm.toml").write_text(text)
    env = {"HOME": str(tmp_path / "nobody"), **env}
    if refused is None:
        load_config(flags, env, tmp_path)
        return
    with pytest.raises(UsageError, match=refused) as caught:
        load_config(flags, env, tmp_path)
    assert "sk-mine" not in str(caught.value)


def test_quirks_are_data() -> None:
    options = {
        "max_tokens": 5,
        "seed": 1,
        "temperature": 0.5,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    table = known()
    assert adapted(options, "gpt-5-mini", table["openai"].quirks) == {
        "max_completion_tokens": 5,
        "seed": 1,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert adapted(options, "gpt-4.1", table["openai"].quirks)["temperature"] == 0.5
    mistral = adapted(options, "m", table["mistral"].quirks)
    assert mistral == {"max_tokens": 5, "random_seed": 1, "temperature": 0.5, "stream": True}
    assert adapted({"a": 1}, "m", Quirks(extra_body={"a": 0, "b": 2})) == {"a": 1, "b": 2}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y", "reasoning_content": "z"}]
    assert without_reasoning(messages) == [messages[0], {"role": "assistant", "content": "y"}]
    assert without_reasoning(messages[:1]) is not None


def test_prices_come_from_the_user_then_from_the_library_and_are_never_guessed() -> None:
    own = Price(prompt=1, completion=2)
    kimi = known_price("moonshot/kimi-k2.5", config(), ENV)
    assert kimi is not None
    assert kimi.cached is not None
    assert kimi.cached < kimi.prompt < kimi.completion
    assert known_price("moonshot/kimi-k2.5", config(prices={"kimi-k2.5": own}), ENV) == own
    assert known_price("moonshot/kimi-k2.5", config(prices={"moonshot/kimi-k2.5": own}), ENV) == own
    assert known_price("gpt-5", config(base_url="https://api.openai.com/v1"), ENV) is not None
    for name, address in (("gpt-5", "http://localhost:8000/v1"), ("gpt-5", "https://llm.example.org/v1")):
        assert known_price(name, config(base_url=address), ENV) is None
    assert known_price("openai/no-such-model", config(), ENV) is None
    assert known_price("vllm/gpt-5", config(), ENV) is None
    embedded = known_price("embedded:repair", config(), {})
    assert embedded is not None
    assert embedded.prompt == 0


def test_a_cost_counts_cached_and_reasoning_tokens_and_long_prompts() -> None:
    price = Price.model_validate(
        {
            "prompt": 2,
            "completion": 10,
            "cached": 1,
            "reasoning": 20,
            "above": {"1000": {"prompt": 4, "completion": 40}},
        }
    )
    usage = Usage(prompt_tokens=1000, cached_tokens=400, completion_tokens=100, reasoning_tokens=50, calls=1)
    assert cost(price, usage) == pytest.approx((600 * 2 + 400 + 50 * 10 + 50 * 20) / 1e6)
    longer = usage.model_copy(update={"prompt_tokens": 1001})
    assert cost(price, longer) == pytest.approx((1001 * 4 + 100 * 40) / 1e6)
    assert cost(None, usage) is None
    gemini = known_price("gemini/gemini-2.5-pro", config(), ENV)
    assert gemini is not None
    assert list(gemini.above) == [200_000]


def test_the_ratio_of_tokens_is_learnt_from_below() -> None:
    ratio = TokenRatio()
    assert ratio.tokens(3000) == 1001
    for _ in range(3):
        ratio.learn(40_000, 10_000)
    assert ratio.ratio == 3.0, "a few calls do not make it bolder"
    for _ in range(50):
        ratio.learn(40_000, 10_000)
    assert ratio.tokens(40_000) == pytest.approx(10_000, rel=0.02)
    for size in (36_000, 44_000) * 20:
        ratio.learn(size, 10_000)
    assert ratio.tokens(40_000) > 10_000, "what varies is estimated with care"
    careful = TokenRatio()
    careful.learn(15_000, 10_000)
    assert careful.ratio == 1.5
    careful.learn(10_000, 0)
    assert careful.ratio == 1.5, "an endpoint that does not count teaches nothing"
