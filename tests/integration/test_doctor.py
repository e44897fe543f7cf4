"""What `swarm doctor` tells of endpoints and local servers, and what it does not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import anyio
import httpx
import pytest
from anyio.abc import ByteStream

from swarm.models import local_servers
from tests.integration.conftest import Cli, Done
from tests.integration.raw_server import raw_server
from tests.web_server import Handler, web_server


def doctor(cli: Cli, *words: str, **env: str) -> Done:
    return replace(cli, env=cli.env | env)("doctor", *words)


class Answers(Handler):
    """A server with one model below /v1, and with something else elsewhere."""

    status = 200
    listed = b'{"object": "list", "data": [{"id": "small"}]}'

    def do_GET(self) -> None:
        body = self.listed if self.path == "/v1/models" else b"<html>"
        self.send_response(self.status)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def server() -> Iterator[int]:
    with web_server(Answers) as port:
        yield port


@pytest.mark.anyio
async def test_local_servers_are_found(server: int) -> None:
    found = [(f"http://localhost:{server}/v1", ["small"], False)]
    assert await local_servers.find([1, server], timeout=30) == found


@pytest.mark.anyio
async def test_a_local_server_that_wants_a_key_is_found(server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "status", 401)
    found: list[tuple[str, list[str], bool]] = [(f"http://localhost:{server}/v1", [], True)]
    assert await local_servers.find([1, server], timeout=30) == found


@pytest.mark.parametrize("answer", [[], {}, {"data": "x"}, None, 3])
def test_what_is_no_list_of_models(answer: object) -> None:
    assert local_servers.model_names(answer) is None


@pytest.mark.parametrize(("path", "reached"), [("/v1", True), ("/other", False)])
def test_doctor_looks_at_the_endpoint_and_tells_no_key(cli: Cli, server: int, path: str, reached: bool) -> None:
    url = f"http://user:password@127.0.0.1:{server}{path}"
    done = doctor(cli, "--json", OPENAI_BASE_URL=url, OPENAI_API_KEY="sk-secret")
    told = json.loads(done.out)
    endpoint = next(finding for finding in told["findings"] if finding["name"] == "endpoint")
    assert endpoint["ok"] is reached
    assert done.code == (0 if told["ok"] else 3)
    assert "secret" not in done.out + done.err
    assert "password" not in done.out + done.err


def test_doctor_redacts_what_an_endpoint_echoes(cli: Cli, server: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the name of a model, with a terminal's control inside, and behind so much that it would be cut."""
    key = "zq-does-not-sound-secret"
    names = [key, f"{key[:5]}\x1b[0m{key[5:]}", "x" * 120 + key]
    listed = json.dumps({"data": [{"id": name} for name in names]}).encode()
    monkeypatch.setattr(Answers, "listed", listed)
    folder = cli.cwd / ".config/swarm"
    folder.mkdir(parents=True)
    provider = f'[providers.corp]\nbase_url = "http://127.0.0.1:{server}/v1"\nkey_env = "CORP_AUTH"\n'
    (folder / "config.toml").write_text(provider)
    for words in ((), ("--json",)):
        done = doctor(cli, *words, SWARM_MODEL="corp/m", CORP_AUTH=key)
        assert "[redacted:CORP_AUTH]" in done.out
        assert key[5:] not in done.out + done.err
        assert key[:8] not in done.out + done.err


@pytest.mark.parametrize(
    "listed", [b'{"data":' + b"[" * 200_000, b'{"data": [{"id": ' + b"9" * 5_000 + b"}]}", b"\xff"]
)
def test_doctor_takes_a_list_that_cannot_be_read_for_none(
    cli: Cli, server: int, monkeypatch: pytest.MonkeyPatch, listed: bytes
) -> None:
    monkeypatch.setattr(Answers, "listed", listed)
    done = doctor(cli, OPENAI_BASE_URL=f"http://127.0.0.1:{server}/v1")
    assert (done.code, done.err) == (3, "")
    assert "not as an OpenAI-compatible" in " ".join(done.out.split())


@pytest.mark.anyio
async def test_a_list_of_models_without_end_is_given_up() -> None:
    """One that comes drop by drop, and one that is too long."""

    async def drip(request: bytes, stream: ByteStream, number: int) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send(b" ")
            await anyio.sleep(0.01)

    async def flood(request: bytes, stream: ByteStream, number: int) -> None:
        await stream.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await stream.send(b" " * (1 << 20))

    async with httpx.AsyncClient() as client:
        async with raw_server(drip) as (url, _):
            with pytest.raises(TimeoutError):
                await local_servers.list_models(client, url, 0.5)
        async with raw_server(flood) as (url, _):
            with pytest.raises(ValueError, match="without end"):
                await local_servers.list_models(client, url, 60)
