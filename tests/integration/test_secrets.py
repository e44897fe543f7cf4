"""Keys that endpoints are told, and that an endpoint tells again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.integration.conftest import Cli
from tests.web_server import Handler, web_server

KEY = "zq-does-not-sound-secret"


class Echo(Handler):
    """A model that answers with the key that it was sent."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        text = f"You are {self.headers['Authorization'].removeprefix('Bearer ')}."
        choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        self.answer({"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 1}})

    def do_GET(self) -> None:
        self.answer({"data": []})

    def answer(self, told: object) -> None:
        body = json.dumps(told).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[int]:
    with web_server(Echo) as port:
        yield port


def test_a_key_by_any_name_is_in_no_record(cli: Cli, server: int, tmp_path: Path) -> None:
    folder = cli.cwd / ".config/swarm"
    folder.mkdir(parents=True)
    provider = f'[providers.corp]\nbase_url = "http://127.0.0.1:{server}/v1"\nkey_env = "CORP_AUTH"\n'
    (folder / "config.toml").write_text(provider)
    cassette = tmp_path / "cassette.jsonl"
    named = replace(cli, env=cli.env | {"CORP_AUTH": KEY})
    done = named.run("say who I am", None, "--mode", "single", "--model", "corp/m", "--record", str(cassette))
    [run] = cli.runs
    texts = [done.out, *(each.read_text() for each in (cassette, run / "events.jsonl", run / "result.json"))]
    assert all("[redacted:CORP_AUTH]" in text for text in texts), done.err
    assert not any(KEY in text for text in (*texts, done.err))
