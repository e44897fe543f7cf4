"""Keys: where they may come from, and that they are found nowhere else, in whatever form they are told again."""

from __future__ import annotations

import base64
import json
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import quote

import anyio
import pytest

from swarm.cli.doctor_endpoint import _configured
from swarm.config import load_config
from swarm.errors import UsageError
from swarm.journal.redaction import Redactor
from swarm.models.providers import endpoint_of, secrets_in
from swarm.wiring import open_models
from tests.integration.conftest import Cli, Files
from tests.web_server import Handler, web_server

KEY = "zq/Canary+4711-Ab3dEf5hJk7Mn9pQr2StUv4WxYz6"
TOKEN = "of-a-tool-8d1f-Kk3Ll5Mm7Nn9Pp"
FORMS = {
    "as it is": KEY,
    "in JSON": json.dumps(json.dumps(KEY)),
    "in a URL": quote(KEY, safe=""),
    "in base64": base64.b64encode(f"user:{KEY}".encode()).decode(),
    "in base64 for URLs": base64.urlsafe_b64encode(b"xy" + KEY.encode()).decode(),
    "in hexadecimal": KEY.encode().hex(),
    "in capital letters": KEY.encode().hex().upper(),
    "its beginning": KEY[:26],
    "its end": KEY[-26:],
    "its middle": KEY[9:36],
}
PIECE = 20
"""Characters of a key that still tell nothing: half of it."""


def traces(data: bytes) -> list[str]:
    """Pieces of the keys that are in the data, whatever they stand in."""
    found = []
    for form in (KEY, quote(KEY, safe=""), KEY.encode().hex(), KEY.encode().hex().upper(), TOKEN):
        size = PIECE if form == KEY else 2 * PIECE if len(form) > 60 else 24
        pieces = {form[at : at + size] for at in range(max(1, len(form) - size + 1))}
        found += [piece for piece in pieces if piece.encode() in data]
    for before in range(3):
        whole = base64.b64encode(bytes(before) + KEY.encode()).decode()[4:-4]
        found += [form for form in (whole, whole.replace("+", "-").replace("/", "_")) if form.encode() in data]
    return found


@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_known_in_other_clothes(form: str) -> None:
    redactor = Redactor({"A_KEY": KEY})
    said = f"you sent {FORMS[form]}, which is wrong"
    shown, found = redactor.redact(said)
    assert found and not traces(shown.encode())
    assert shown.startswith("you sent ") and shown.endswith(", which is wrong")
    assert redactor.suspects(json.dumps(said).encode()), "the quick look does not pass it by"
    assert Redactor({"P": "pass/wo+1"}).redact("?p=pass%2fwo%2B1") == ("?p=[redacted:P]", 1)


class Echo(Handler):
    """An endpoint that tells the key again in each of its forms, in answers and in errors, and orders it to be kept."""

    asked = 0

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        assert self.headers["Authorization"] == f"Bearer {KEY}"
        Echo.asked += 1
        said = " ".join(FORMS.values())
        if Echo.asked == 1:
            return self.answer(503, {"error": {"message": f"busy, {said}", "code": KEY}})
        turn = sum(message["role"] == "assistant" for message in body["messages"])
        call: tuple[str, dict[str, str]] | None
        names = [tool["function"]["name"] for tool in body.get("tools", ())]
        if "assign_task" in names and turn < 2:
            call = ("create_subagent", {"name": "a", "system_prompt": said})
            if turn:
                call = ("assign_task", {"agent": "a", "prompt": said})
        elif "submit" in names:
            looks = "env; cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline | tr '\\0' '\\n'; cat .env; echo done"
            call = ("bash", {"command": looks}) if not turn else ("submit", {"status": "done", "summary": said})
        else:
            call = None
        message: dict[str, Any] = {"role": "assistant", "content": said, "reasoning_content": said}
        if body.get("response_format"):
            task = {"id": "a", "title": said[:190], "instructions": said}
            message["content"] = json.dumps({"rationale": said, "subtasks": [task] if turn == 0 else [], "dropped": []})
        elif call is not None:
            arguments = json.dumps(call[1])
            function = {"name": call[0], "arguments": arguments}
            message["tool_calls"] = [{"id": f"c{turn}", "type": "function", "function": function}]
        elif not names:
            message["content"] = f"{said}\n\nSources: a"
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 1}
        return self.answer(200, {"id": KEY, "model": "m", "choices": [choice], "usage": usage, "fingerprint": KEY})

    def do_GET(self) -> None:
        self.answer(200, {"data": [{"id": f"m {KEY}"}]})

    def answer(self, status: int, told: object) -> None:
        body = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-request-id", KEY)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def endpoint() -> Iterator[str]:
    Echo.asked = 0
    with web_server(Echo) as port:
        yield f"http://127.0.0.1:{port}/v1"


def children_tell(pid: int) -> bytes:
    """Command lines and environments of all processes below one; of itself the command line alone."""
    told = b""
    stat = {path: path.parent for path in Path("/proc").glob("[0-9]*/stat")}
    parents = {}
    for path, process in stat.items():
        try:
            parents[int(process.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (OSError, IndexError):
            continue
    for each in parents:
        above = each
        while above and above != pid:
            above = parents.get(above, 0)
        if above == pid:
            with suppress(OSError):
                line = Path(f"/proc/{each}/cmdline").read_bytes()
                environment = Path(f"/proc/{each}/environ").read_bytes()
                # One with the same line is the program itself, or a fork of it that has yet to become what it is to be.
                # The user's own git has the user's environment, as anywhere: filters of theirs may need it.
                own = line.startswith(b"git\0") and b"\0GIT_DIR=" not in environment
                fork = line == Path(f"/proc/{pid}/cmdline").read_bytes()
                told += line if fork or own else line + environment
    return told


@pytest.mark.parametrize("mode", ["plan", "parl", "single"])
def test_a_key_is_found_nowhere(
    mode: str, cli: Cli, endpoint: str, make_repo: Callable[[Files], Path], tmp_path: Path
) -> None:
    repo = make_repo({"a.txt": "a\n", ".gitignore": ".env\n"})
    (repo / ".env").write_text(f"API_TOKEN={TOKEN}\n")
    key_file = cli.cwd / "key"
    key_file.write_text(f"{KEY}\n")
    key_file.chmod(0o600)
    temp = tmp_path / "temp"
    temp.mkdir()
    (cli.cwd / ".config/swarm").mkdir(parents=True)
    (cli.cwd / ".config/swarm/config.toml").write_text(
        '[capabilities]\ntools = true\nparallel_tools = true\nstructured = "json_schema"\ntoken_ids = "none"\n'
    )
    env = {**cli.env, "SWARM_API_KEY_FILE": str(key_file), "TOOL_TOKEN": TOKEN, "TMPDIR": str(temp)}
    if mode == "plan":
        env = {**env, "OPENAI_API_KEY": KEY}
    mine = replace(cli, env=env)
    tape = tmp_path / "tape.jsonl"
    given = ("--mode", mode, "--model", "m", "--base-url", endpoint, "--record", str(tape), "--test", "env")
    process = mine.start("run", "x", "--repo", str(repo), "--json", "--sandbox", cli.box, *given)
    seen: list[bytes] = []
    over = threading.Event()

    def look() -> None:
        while not over.wait(0.03):  # some of them live for milliseconds
            seen.append(children_tell(process.pid))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        done = mine.wait(process)  # which reads what it says: a pipe holds little
    finally:
        over.set()
        looking.join()
    assert done.result["n_subagents"] >= 1 and Echo.asked > 2, done.err
    commands = [] if mode != "plan" else [
        mine(*words)
        for words in (
            ("show", "last"), ("show", "last", "--json"), ("runs", "--json"), ("validate", "last"), ("doctor",),
            ("report", "last", "--html", str(tmp_path / "page.html")),
            ("export", "last", "--format", "atif", "--out", str(tmp_path / "atif.json")),
            ("export", "last", "--format", "sft", "--out", str(tmp_path / "sft.jsonl")),
        )
    ]  # fmt: skip
    told = {"children": b"".join(seen), "output": (done.out + done.err).encode()}
    told |= {" ".join(("command", str(number))): (each.out + each.err).encode() for number, each in enumerate(commands)}
    for path in tmp_path.rglob("*"):
        if path.is_file() and path not in (key_file, repo / ".env"):
            told[str(path.relative_to(tmp_path))] = path.read_bytes()
    leaks = {name: traces(data) for name, data in told.items() if traces(data)}
    assert leaks == {}
    assert b"[redacted:" in told["output"] and ("page.html" in told or mode != "plan")


def test_a_key_that_cannot_be_had_is_missed_where_it_is_needed(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "SWARM_API_KEY_FILE": "/nope"}

    async def embedded() -> None:
        async with open_models(load_config({"model": "embedded"}, env)) as models:
            assert models.by_role

    anyio.run(embedded)
    for given in ({}, {"base_url": "http://127.0.0.1:9/v1"}, {"base_url": "http://127.0.0.1:9/v1", "model": "m"}):
        looked = anyio.run(partial(_configured, load_config(given, env), str, probe=False))
        told = [finding for finding in looked if "key file /nope: No such file" in finding.text]
        assert [(finding.ok, finding.needed) for finding in told] == [(False, bool(given))]


def test_a_configuration_holds_no_key(tmp_path: Path) -> None:
    home, repo = tmp_path / "home", tmp_path / "repo"
    for folder in (home / "swarm", repo):
        folder.mkdir(parents=True)
    env = {"XDG_CONFIG_HOME": str(home), "HOME": str(tmp_path)}
    for path, text in (
        (home / "swarm/config.toml", f'api_key = "{KEY}"'),
        (repo / "swarm.toml", f'api_key = "{KEY}"'),
        (home / "swarm/config.toml", f'[providers.lab]\nbase_url = "http://h/v1"\nkey_env = "{KEY}"'),
        (home / "swarm/config.toml", f'[providers.lab]\nbase_url = "http://h/v1"\napi_key = "{KEY}"'),
        (repo / "swarm.toml", 'api_key_file = "key"'),
        (repo / "swarm.toml", 'api_key_keyring = "a/b"'),
    ):
        path.write_text(text)
        with pytest.raises(UsageError) as caught:
            load_config({}, env, repo)
        assert KEY not in str(caught.value) and path.name in str(caught.value)
        path.unlink()


def test_keys_come_from_the_keyring_and_from_files_of_providers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KeyringError(Exception):
        pass

    ring, errors = ModuleType("keyring"), ModuleType("keyring.errors")
    held = {("lab", "me"): KEY}
    ring.__dict__["get_password"] = lambda service, user: held.get((service, user))
    errors.__dict__["KeyringError"] = KeyringError
    monkeypatch.setitem(sys.modules, "keyring", ring)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)
    (tmp_path / "swarm").mkdir()
    (tmp_path / "key").write_text(TOKEN)
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "swarm/config.toml").write_text(
        f'api_key_keyring = "lab/me"\n[providers.corp]\nbase_url = "http://h/v1"\nkey_file = "{tmp_path}/key"\n'
        '[providers.ring]\nbase_url = "http://h/v1"\nkey_keyring = "lab/me"\n'
    )
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    config = load_config({"base_url": "http://own/v1"}, env)
    assert config.api_key is not None and config.api_key.get_secret_value() == KEY
    named = load_config({}, env)
    for name, key in (("corp/m", TOKEN), ("ring/m", KEY)):
        found = endpoint_of(name, named, {}).key
        assert found is not None and found.get_secret_value() == key
    assert set(secrets_in(named, {}).values()) >= {KEY, TOKEN}, "they are taken out of whatever is written"
    held.clear()
    lost = load_config({"base_url": "http://own/v1"}, env)
    with pytest.raises(UsageError, match="keyring set lab me"):
        endpoint_of("m", lost, {})
    monkeypatch.setitem(sys.modules, "keyring", None)
    with pytest.raises(UsageError, match=r"swarm\[keyring\]"):
        endpoint_of("m", lost, {})
