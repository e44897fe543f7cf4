"""Configuration: who wins over whom, and one clear line for what is wrong."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from swarm.config import RunConfig, home, load_config
from swarm.errors import UsageError


def test_flag_beats_environment_beats_project_beats_user_beats_default(tmp_path: Path) -> None:
    user, repo = tmp_path / "config/swarm", tmp_path / "repo"
    user.mkdir(parents=True)
    repo.mkdir()
    (user / "config.toml").write_text('model = "user"\nconcurrency = 2\nmax_steps = 7\nseed = 1\n')
    (repo / "swarm.toml").write_text('model = "project"\nconcurrency = 3\nmax_steps = 8\n')
    env = {"XDG_CONFIG_HOME": str(tmp_path / "config"), "SWARM_MODEL": "env", "OPENAI_API_KEY": "sk-secret-value"}
    config = load_config({"concurrency": 4}, env, repo)
    assert (config.concurrency, config.model, config.max_steps, config.seed) == (4, "env", 8, 1)
    assert config.max_agents == RunConfig().max_agents
    assert "sk-secret-value" not in repr(config) + config.model_dump_json()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("colour = 1", "colour in .*swarm.toml: there is no such key"),
        ("max_agent = 1", "max_agent in .*swarm.toml: there is no such key; the nearest is 'max_agents'"),
        ("budget-usd = 1", "the nearest is 'budget_usd'"),
        ("modle = 1", "the nearest is 'model'"),
        ("prices.m.promt = 1", r"prices\.m\.promt in .*; the nearest is 'prompt'"),
        ('concurrency = "many"', "concurrency in .*swarm.toml"),
        ("concurrency = 0", "greater than or equal to 1"),
        ("prices.m.prompt = -1", r"prices\.m\.prompt in .*swarm.toml"),
        ('base_url = "localhost:8000"', "base_url in .*swarm.toml"),
        ("= broken", "swarm.toml: Invalid"),
        ("model = 7", "model in .*swarm.toml: a text is wanted"),
        ('table_key = "a"', "table_key in .*: a list is wanted"),
        ('mode = "plans"', "mode in .*: it should be 'plan'"),
        ('test_found = "x"', "test_found in .*swarm.toml: there is no such key"),
        ("a = " + "[" * 5_000, "swarm.toml: it is nested too deeply"),
        ("a = " + "1" * 5_000, "swarm.toml: Exceeds the limit"),
        (".".join("a" * 5_000) + " = 1", "swarm.toml: a line has more than 500 dots"),
        ("#" * 300_000, "swarm.toml: it has more than 262144 characters"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "swarm.toml").write_text(text)
    with pytest.raises(UsageError, match=words) as caught:
        load_config({}, {"HOME": str(tmp_path)}, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_wrong_option_is_named_as_it_was_typed(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"^--max-agents: it should be greater than or equal to 1"):
        load_config({"max_agents": 0}, {"XDG_CONFIG_HOME": str(tmp_path)})


@pytest.mark.parametrize("kind", ["fifo", "zero", "folder"])
def test_what_is_no_plain_file_is_refused_and_never_waited_for(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "swarm.toml"
    {"fifo": os.mkfifo, "zero": lambda path: path.symlink_to("/dev/zero"), "folder": Path.mkdir}[kind](path)
    with pytest.raises(UsageError, match=r"swarm\.toml: it is no plain file"):
        load_config({}, {"HOME": str(tmp_path)}, tmp_path)


@pytest.mark.parametrize(
    "address",
    [
        "ftp://h/v1",
        "http://",
        "http://[",
        "http://:80/v1",
        "http://h:0/v1",
        "http://h:99999/v1",
        "http://h:many/v1",
        "http://h/v 1",
        "http://h\x00/v1",
        "http://a..b/v1",
        "http://[fe80::1%eth0]:80/v1",
        "http://user:sesame@h:99999/v1",
        "http://h/v1?key=sesame",
        "http://h/v1#sesame",
    ],
)
def test_an_address_that_cannot_be_used_is_refused_in_one_line_without_its_secrets(address: str) -> None:
    for flags in (
        {"base_url": address},
        {"base_url": [address, "http://h/v1"]},
        {"providers": {"p": {"base_url": address}}},
    ):
        with pytest.raises(UsageError) as caught:
            load_config(flags, {})
        assert "\n" not in str(caught.value)
        assert "sesame" not in str(caught.value)
        with pytest.raises(ValidationError) as refused:  # as a program makes one
            RunConfig(**flags)
        assert "sesame" not in str(refused.value)


@pytest.mark.parametrize("address", ["http://h", "https://u:p@h:65535/v1/", "http://[::1]:80/v1", "http://my_host/v1"])
def test_an_address_is_kept_as_it_is(address: str) -> None:
    assert load_config({"base_url": address}, {}).base_urls == (address,)


def test_home_is_where_swarm_home_says() -> None:
    assert home({"SWARM_HOME": "/x"}) == Path("/x")
    assert home({"HOME": "/h"}) == Path("/h/.local/share/swarm")


@pytest.mark.parametrize(
    "line", ['toolchain = ["/home"]', 'web_hosts = ["x"]', 'tools = ["a:b"]', 'sandbox = "process"']
)
def test_a_repository_cannot_open_the_machine(tmp_path: Path, line: str) -> None:
    (tmp_path / "swarm.toml").write_text(line)
    with pytest.raises(UsageError, match="a repository may not ask for"):
        load_config({}, {"HOME": str(tmp_path)}, tmp_path)
    (tmp_path / "swarm.toml").write_text('sandbox = "bubblewrap"')
    assert load_config({}, {"HOME": str(tmp_path)}, tmp_path).sandbox == "bubblewrap"
