"""The servers that swarm opens, and those that it asks: what others can do with the one and by the other."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest

from swarm import RunConfig
from swarm.embedded import app, proxy
from swarm.embedded.app import build_app
from swarm.embedded.guard import Guard, require_closed
from swarm.embedded.proxy import running_gateway
from swarm.embedded.script import Script, ScriptPolicy
from swarm.embedded.server import running_endpoint
from swarm.errors import UsageError
from swarm.events import CallFinished
from swarm.journal.reader import read_events
from swarm.tools import web
from swarm.wiring import open_models
from tests.integration.conftest import Cli
from tests.web_server import Handler, web_server

pytestmark = pytest.mark.anyio
KEY = "zq-canary-of-a-client-Ab3dEf5hJk7Mn9p"
PONG = {"rules": [{"role": "any", "turns": [{"content": f"your key is {KEY}"}]}]}
ASK = {"model": "embedded", "messages": [{"role": "user", "content": "x"}]}
FROM_A_PAGE = (
    {"Host": "evil.example"},
    {"Host": "localhost.evil.example:80"},
    {"Host": "127.0.0.1.nip.io"},
    {"Host": "0.0.0.0"},
    {"Host": "[::ffff:10.0.0.1]"},
    {"Host": "evil@127.0.0.1.evil.example"},
    {"Host": ""},
    {"Origin": "http://evil.example", "Content-Type": "text/plain"},
    {"Origin": "null"},
    {"Origin": "http://localhost.evil.example"},
    {"Origin": "file://"},
    {"Sec-Fetch-Site": "cross-site"},
)


def policies() -> dict[str, Any]:
    return {"embedded": ScriptPolicy(Script.model_validate(PONG), "test")}


@asynccontextmanager
async def servers() -> AsyncIterator[dict[str, str]]:
    async with running_endpoint(policies()) as url, running_gateway(url) as (gateway, _):
        yield {"endpoint": url, "gateway": gateway}


async def test_pages_of_the_web_get_nothing_from_a_server_on_the_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    async with servers() as urls, httpx.AsyncClient(trust_env=False) as client:
        for url in urls.values():
            for headers in FROM_A_PAGE:
                answer = await client.post(f"{url}/chat/completions", json=ASK, headers=headers)
                assert answer.status_code in (403, 421), headers
                assert "your key" not in answer.text
            port = httpx.URL(url).port
            for headers in ({}, {"Host": f"localhost:{port}"}, {"Host": "[::1]"}, {"Origin": "http://localhost:3000"}):
                answer = await client.post(f"{url}/chat/completions", json=ASK, headers=headers)
                assert answer.status_code == 200, headers
            preflight = await client.options(f"{url}/chat/completions", headers={"Origin": "http://evil.example"})
            assert preflight.status_code == 403 and "access-control-allow-origin" not in preflight.headers
    [run] = (tmp_path / "runs").iterdir()
    assert (run / "events.jsonl").read_text().count('"type":"call"') == 4, "nor into the record"


async def test_who_has_the_key_comes_by_any_name_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind a reverse proxy, from inside of a container: `Host` is theirs. A name for the loopback is one."""
    async with running_endpoint(policies(), api_key=KEY) as url, httpx.AsyncClient(trust_env=False) as client:

        async def asked(host: str, authorization: str) -> int:
            headers = {"Host": host, "Authorization": authorization}
            return (await client.post(f"{url}/chat/completions", json=ASK, headers=headers)).status_code

        for host in ("api.example", "host.docker.internal:8000", "127.0.0.1"):
            assert await asked(host, f"Bearer {KEY}") == await asked(host, f"bearer {KEY}") == 200
            assert await asked(host, f"Bearer {KEY}x") == await asked(host, f"Basic {KEY}") == 401
        health = url.removesuffix("/v1") + "/health"
        assert (await client.get(health, headers={"Host": "evil.example"})).status_code == 421
        assert (await client.get(health)).status_code == 200
        assert (await client.get(f"{health}/../v1/models")).status_code == 401
        assert (await client.get(f"{health}y")).status_code == 401
        page = {"Authorization": f"Bearer {KEY}", "Origin": "http://evil.example"}  # a page that was told the key
        assert (await client.post(f"{url}/chat/completions", json=ASK, headers=page)).status_code == 403
    known = {"ip6-localhost": ["::1"], "a.localhost": ["127.0.0.1", "::1"], "both": ["127.0.0.1", "10.0.0.1"]}

    def resolve(host: str, *_: Any, **__: Any) -> list[Any]:
        if host not in known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(None, None, None, "", (address, 0)) for address in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    for name, here in (("ip6-localhost", True), ("a.localhost", True), ("both", False), ("nowhere", False)):
        with nullcontext() if here else pytest.raises(UsageError, match="--api-key-env"):
            require_closed(name, None)
    guard = Guard(build_app(policies()), "ip6-localhost")
    async with httpx.AsyncClient(transport=httpx.ASGITransport(guard), base_url="http://ip6-localhost:1") as client:
        assert (await client.get("/health")).status_code == 200
        for name in ("a.localhost", "both", "evil.example"):
            answer = await client.get("/health", headers={"Host": name})
            assert answer.status_code == 421, "what a client says is not looked up"


def listening() -> set[tuple[str, int]]:
    """The addresses at which this process takes connections."""
    own = set()
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            own.add(str(fd.readlink()))
    found = set()
    for line in Path("/proc/self/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
            address, port = fields[1].split(":")
            found.add((socket.inet_ntoa(bytes.fromhex(address)[::-1]), int(port, 16)))
    return found


async def test_the_endpoint_of_a_run_is_for_that_run_alone(tmp_path: Path) -> None:
    script = tmp_path / "s.json"
    script.write_text(json.dumps(PONG))
    before = listening()
    async with open_models(RunConfig(model=f"embedded:script:{script}")), httpx.AsyncClient(trust_env=False) as client:
        [(address, port)] = listening() - before
        assert address == "127.0.0.1"
        for headers in ({}, {"Authorization": "Bearer no-key"}, {"Authorization": "Bearer x"}):
            answer = await client.post(f"http://{address}:{port}/v1/chat/completions", json=ASK, headers=headers)
            assert answer.status_code == 401
        assert (await client.get(f"http://{address}:{port}/v1/models")).status_code == 401


def test_an_endpoint_for_others_wants_a_key(cli: Cli) -> None:
    for host in ("0.0.0.0", "::", "192.0.2.1"):
        for more in ((), ("--proxy", "http://127.0.0.1:9/v1")):
            refused = cli("endpoint", "--host", host, *more)
            assert (refused.code, refused.out) == (2, "") and "--api-key-env" in refused.err


async def test_a_gateway_with_a_key_serves_those_who_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    async with (
        running_endpoint(policies(), api_key=KEY) as url,
        running_gateway(url, api_key=KEY) as (gateway, log),
        httpx.AsyncClient(trust_env=False) as client,
    ):
        refused = await client.post(f"{gateway}/chat/completions", json=ASK)
        served = await client.post(f"{gateway}/chat/completions", json=ASK, headers={"Authorization": f"Bearer {KEY}"})
    assert (refused.status_code, served.status_code) == (401, 200)
    assert KEY in served.text
    texts = [path.read_text(errors="replace") for path in log.folder.rglob("*") if path.is_file()]
    assert any("[redacted:api_key" in text for text in texts) and not any(KEY in text for text in texts)


async def test_a_word_for_a_key_is_not_taken_out_of_the_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    secret = "secret-4711"
    ask = {**ASK, "messages": [{"role": "user", "content": f"do anything you like, not {secret}"}]}
    async with servers() as urls, httpx.AsyncClient(trust_env=False) as client:
        for scheme, key in (("Bearer", "anything"), ("bearer", "anything"), ("bearer", secret)):
            headers = {"Authorization": f"{scheme} {key}"}
            await client.post(f"{urls['gateway']}/chat/completions", json=ask, headers=headers)
    [run] = (tmp_path / "runs").iterdir()
    calls = [event for event in read_events(run / "events.jsonl") if isinstance(event, CallFinished)]
    first, second, third = (str(call.new_messages) for call in calls)
    assert "do anything you like" in first and "do anything you like" in second and "do anything you like" in third
    assert "[redacted:api_key" in third and secret not in third and secret in second


@pytest.mark.parametrize("kind", ["endpoint", "gateway"])
async def test_a_request_without_end_is_refused(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path))
    monkeypatch.setattr(app if kind == "endpoint" else proxy, "MAX_BODY", 1 << 16)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1 << 12):  # an end, so that who takes it all is found out
            yield bytes(1 << 12)

    async with servers() as urls, httpx.AsyncClient(trust_env=False) as client:
        url = urls[kind]
        with anyio.fail_after(60):
            try:
                assert (await client.post(f"{url}/chat/completions", content=endless())).status_code == 413
            except (httpx.WriteError, httpx.RemoteProtocolError, httpx.ReadError):
                pass  # it was told, and did not listen
        assert (await client.post(f"{url}/chat/completions", json=ASK)).status_code == 200


class Elsewhere(Handler):
    """Sends whoever asks to another host, with a cookie."""

    target = ""
    seen: list[tuple[str, str | None, str | None]] = []  # noqa: RUF012  emptied by each test

    def do_GET(self) -> None:
        self.seen.append((self.path, self.headers["Authorization"], self.headers["Cookie"]))
        self.send_response(307)
        self.send_header("Location", self.target)
        self.send_header("Set-Cookie", "canary=1; Path=/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_POST = do_GET


@pytest.fixture
def redirecting() -> Iterator[tuple[str, list[str]]]:
    got: list[str] = []

    class Thief(Handler):
        def do_GET(self) -> None:
            got.append(f"{self.path} {self.headers}")
            self.send_response(200)
            self.end_headers()

        do_POST = do_GET

    Elsewhere.seen = []
    with web_server(Thief) as thief, web_server(Elsewhere) as port:
        Elsewhere.target = f"http://localhost:{thief}/v1/models"
        yield f"http://127.0.0.1:{port}/v1", got


def test_nobody_is_followed_to_another_host(cli: Cli, redirecting: tuple[str, list[str]]) -> None:
    url, got = redirecting
    mine = replace(cli, env={**cli.env, "OPENAI_API_KEY": KEY, "SWARM_MODEL": "m", "OPENAI_BASE_URL": url})
    for command in (("doctor",), ("run", "x", "--no-repo", "--mode", "single", "--json", "--sandbox", cli.box)):
        done = mine(*command)
        assert done.code == 3, done.err
        assert KEY not in done.out + done.err
    assert Elsewhere.seen and got == []
    assert {cookie for _, _, cookie in Elsewhere.seen} == {None}


FORMS = (
    *("http://127.0.0.1/", "http://127.1/", "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/"),
    *("http://[::1]/", "http://[::ffff:127.0.0.1]/", "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/", "http://0/"),
    *("http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/", "http://[fe80::1%25lo]/", "http://169.254.169.254/"),
    *("http://[fd00:ec2::254]/", "http://10.0.0.1/", "http://100.64.0.1/", "http://192.168.0.1/", "http://0.0.0.0/"),
    *("http://localhost/", "http://LOCALHOST./", "http://a.org@127.0.0.1/", "http://127.0.0.1#@a.org/"),
    *("http://127.0.0.1\\@a.org/", "http://a.org\t.evil/", "gopher://a.org/", "file:///etc/passwd", "//a.org/"),
    *("http://\u2460\u2461\u2466.\u24ea.\u24ea.\u2460/", "http:a.org", "http://a.org:22/", "http://a.org:443@b.org:1/"),
)


async def test_web_fetch_leads_to_no_address_that_is_not_public(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where every name resolves to something public at first, and to this machine when it is asked again."""
    asked: list[str] = []

    async def resolve(host: str, port: int, **more: Any) -> list[Any]:
        asked.append(host)
        address = "93.184.216.34" if len(asked) == 1 else "127.0.0.1"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    opened: list[str] = []

    async def page() -> AsyncIterator[bytes]:
        yield b"x"

    async def connect(request: httpx.Request, **more: Any) -> httpx.Response:
        opened.append(request.url.host)
        return httpx.Response(200, content=page(), request=request)

    monkeypatch.setattr(anyio, "getaddrinfo", resolve)
    monkeypatch.setattr(httpx.AsyncClient, "send", lambda self, request, **more: connect(request))
    allowed = web.AllowedHosts(["a.org", "*.b.org"])
    for url in FORMS:
        with pytest.raises(web.Refused):
            await web.fetch(url, allowed)
    assert opened == []
    asked.clear()
    await web.fetch("http://a.org/", allowed)
    assert asked == ["a.org"] and opened == ["93.184.216.34"], "what was checked is where it goes"
    assert not re.search(r"127|local", " ".join(opened))
