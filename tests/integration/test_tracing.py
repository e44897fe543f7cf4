"""Spans of a run, sent over HTTP to a collector of the test's own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from swarm import Parts, RunConfig, Swarm
from swarm.cli.dispatch import dispatch
from swarm.testing import FakeBackend, ScriptedModel, Turn, tool_call
from swarm.tracing import Spans, exporting

pytestmark = pytest.mark.anyio
SECRET = "the launch code is 0000"


@contextmanager
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    got: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            got.append(ExportTraceServiceRequest.FromString(body))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_address[1]}")
    try:
        yield got
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_run_is_a_tree_of_spans_without_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = {
        "rationale": "two",
        "subtasks": [{"id": name, "title": name, "instructions": SECRET} for name in ("one", "two")],
    }
    turns: list[Turn] = [
        plan,
        tool_call("bash", command=f"echo {SECRET}"),
        tool_call("bash", command="true"),
        *[SECRET] * 4,
    ]
    parts = Parts(model=ScriptedModel(turns), backend=FakeBackend())
    with collector(monkeypatch) as got, exporting() as tracer:
        async with Swarm(config=RunConfig(), parts=parts) as swarm:
            result = await swarm.run(f"Find out: {SECRET}", on_event=Spans(tracer).observe)
    spans = [
        span for each in got for group in each.resource_spans for scope in group.scope_spans for span in scope.spans
    ]
    by_id = {span.span_id: span for span in spans}
    names = sorted(span.name for span in spans)
    assert names.count("invoke_workflow swarm") == 1
    assert {"invoke_agent one", "invoke_agent two", "execute_tool bash"} <= set(names)
    assert sum(name.startswith("chat ") for name in names) == result.usage.calls
    for span in spans:
        above = by_id.get(span.parent_span_id)
        assert (above is None) == (span.name == "invoke_workflow swarm")
        assert span.end_time_unix_nano >= span.start_time_unix_nano
        if above is not None and span.name.startswith(("chat", "execute_tool")):
            assert above.name.startswith("invoke_agent")
            assert above.start_time_unix_nano <= span.end_time_unix_nano <= above.end_time_unix_nano + 10**6
    assert SECRET not in str(got)


def test_the_command_sends_them_when_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    policy = tmp_path / "policy.toml"
    policy.write_text('[[rules]]\nrole = "any"\n[[rules.turns]]\ncontent = "Seven."\n')
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    command = ["run", "How many?", "--no-repo", "--mode", "single", "--sandbox", "process"]
    command += ["--model", f"embedded:script:{policy}"]
    with collector(monkeypatch) as got:
        assert dispatch(command) == 0
        assert not got
        assert dispatch([*command, "--otel"]) == 0
    assert "invoke_workflow swarm" in str(got)
