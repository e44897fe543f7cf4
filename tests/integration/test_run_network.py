"""`swarm run --network`: agents that fetch."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.conftest import Cli, Script, plan, submit, subtask, use
from tests.web_server import Handler, web_server


@pytest.fixture
def port() -> Iterator[int]:
    class Page(Handler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"from-the-host\n")

    with web_server(Page) as port:
        yield port


def fetching(script: Script, port: int) -> None:
    script.planner(plan(subtask("fetch")), plan())
    fetch = f"curl -sS http://127.0.0.1:{port}/; curl -sS http://elsewhere.invalid/"
    script.agent("fetch", use("bash", command=fetch), submit())


def test_a_run_with_a_network(bubblewrap_box: None, cli: Cli, script: Script, port: int) -> None:
    fetching(script, port)
    done = cli.run(
        "fetch", None, "--network", f"a.invalid,127.0.0.1:{port}", "--network", "b.invalid", "--model", script.model
    )
    assert done.code == 0, done.err
    (used,) = [call for call in done.of("tool") if call["name"] == "bash"]
    assert "from-the-host" in used["result"]
    assert "elsewhere.invalid:80 is not among the hosts" in used["result"]
    (told,) = [notice["message"] for notice in done.of("notice") if "elsewhere.invalid" in notice["message"]]
    assert "`--network elsewhere.invalid` would allow it" in told


def test_a_run_without_one(bubblewrap_box: None, cli: Cli, script: Script, port: int) -> None:
    fetching(script, port)
    done = cli.run("fetch", None, "--model", script.model)
    assert "from-the-host" not in done.out


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--network", "http://a.org/"), "a URL is no host"),
        (("--network", "a.org", "--sandbox", "process"), "whole network"),
    ],
)
def test_what_cannot_be_asked_for(cli: Cli, script: Script, options: tuple[str, ...], told: str) -> None:
    fetching(script, 1)
    done = cli.run("fetch", None, "--model", script.model, *options)
    assert done.code == 2
    assert told in done.err
    assert not cli.runs
