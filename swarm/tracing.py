"""A run as OpenTelemetry spans, in the form of its GenAI conventions (semantic conventions 1.40, in development).

    from swarm.tracing import Spans, exporting

    with exporting() as tracer:                       # where OTEL_EXPORTER_OTLP_ENDPOINT says
        await swarm.run("...", on_event=Spans(tracer).observe)

Off unless asked for. Spans hold names, times, counts and outcomes; never a prompt, an answer, a command or a result.
Source: opentelemetry.io/docs/specs/semconv/gen-ai.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from swarm import __version__
from swarm.errors import UsageError
from swarm.events import (
    AgentEnded,
    AgentStarted,
    CallFinished,
    Event,
    GateFinished,
    RunEnded,
    RunResumed,
    RunStarted,
    ToolFinished,
)
from swarm.types import Outcome, RunStatus, ToolStatus

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer
    from opentelemetry.util.types import AttributeValue

_NS = 1_000_000_000


class Spans:
    """Feed it every event of one run, in order, with `observe`: it starts and ends the spans of it.

    Their tree: the run (`invoke_workflow`), in it its agents (`invoke_agent`), below whoever started them, and in an
    agent its model calls (`chat`) and uses of tools (`execute_tool`).
    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self._run: Span | None = None
        self._agents: dict[str, Span] = {}
        self._endpoints: Mapping[str, str] = {}
        self._roles: dict[str, str] = {}

    def observe(self, event: Event) -> None:
        """Take in one event."""
        match event:
            case RunStarted():
                self._endpoints = event.endpoints
                self._begin(event, {"swarm.mode": event.mode})
            case RunResumed():
                self._begin(event, {"swarm.resumed": True})
            case AgentStarted():
                self._start_agent(event)
            case CallFinished():
                self._call(event)
            case ToolFinished():
                self._tool(event)
            case GateFinished():
                told = {"swarm.gate.purpose": event.purpose, "swarm.gate.passed": event.passed}
                if self._run is not None:
                    self._run.add_event("gate", told, int(event.t * _NS))
            case AgentEnded():
                self._end_agent(event)
            case RunEnded():
                self._end(event)

    def _begin(self, event: Event, told: Mapping[str, AttributeValue]) -> None:
        attributes = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": "swarm",
            "gen_ai.conversation.id": event.run_id,
            "swarm.version": __version__,
            **told,
        }
        self._run = self._tracer.start_span(
            "invoke_workflow swarm", start_time=int(event.t * _NS), attributes=attributes
        )

    def _start_agent(self, event: AgentStarted) -> None:
        if event.trajectory_id in self._agents:
            return
        self._roles[event.trajectory_id] = event.role
        attributes: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "invoke_agent",
            "gen_ai.agent.id": event.trajectory_id,
            "gen_ai.agent.name": event.name,
            "gen_ai.conversation.id": event.run_id,
            "gen_ai.request.model": event.model,
            "swarm.role": event.role,
            "swarm.stage": event.stage,
            "swarm.attempt": event.attempt,
        }
        above = self._agents.get(event.parent_trajectory_id, self._run)
        self._agents[event.trajectory_id] = self._span(
            f"invoke_agent {event.name}", above, int(event.t * _NS), attributes
        )

    def _call(self, event: CallFinished) -> None:
        attributes: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": event.model,
            "gen_ai.usage.input_tokens": event.usage.prompt_tokens,
            "gen_ai.usage.output_tokens": event.usage.completion_tokens,
            "gen_ai.usage.cache_read.input_tokens": event.usage.cached_tokens,
            "gen_ai.conversation.id": event.run_id,
            "swarm.call.id": event.call_id,
            "swarm.call.attempt": event.attempt,
            "swarm.call.wait_s": event.wait_s,
        }
        role = self._roles.get(event.trajectory_id, "")
        if address := self._endpoints.get(role):
            attributes["server.address"] = address
        if event.finish_reason:
            attributes["gen_ai.response.finish_reasons"] = [event.finish_reason]
        if event.cost_usd is not None:
            attributes["swarm.cost_usd"] = event.cost_usd
        if event.t_first_token:
            attributes["gen_ai.response.time_to_first_chunk"] = event.t_first_token - event.t_sent
        above = self._agents.get(event.trajectory_id, self._run)
        span = self._span(f"chat {event.model}", above, _wall(event, event.t_sent), attributes)
        _fail(span, event.error)
        span.end(_wall(event, event.t_done))

    def _tool(self, event: ToolFinished) -> None:
        attributes: dict[str, AttributeValue] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": event.name,
            "gen_ai.tool.call.id": event.tool_call_id,
            "gen_ai.tool.type": "function",
            "swarm.tool.status": event.status.value,
        }
        above = self._agents.get(event.trajectory_id, self._run)
        span = self._span(f"execute_tool {event.name}", above, _wall(event, event.t_start), attributes)
        _fail(span, "" if event.status == ToolStatus.COMPLETED else event.error.value or event.status.value)
        span.end(_wall(event, event.t_end))

    def _end_agent(self, event: AgentEnded) -> None:
        span = self._agents.pop(event.trajectory_id, None)
        if span is None:
            return
        span.set_attribute("swarm.outcome", event.outcome.value)
        span.set_attribute("swarm.steps", event.steps)
        span.set_attribute("gen_ai.usage.input_tokens", event.usage.prompt_tokens)
        span.set_attribute("gen_ai.usage.output_tokens", event.usage.completion_tokens)
        _fail(span, "" if event.outcome == Outcome.COMPLETED else event.outcome.value)
        span.end(int(event.t * _NS))

    def _end(self, event: RunEnded) -> None:
        for span in self._agents.values():
            span.end(int(event.t * _NS))
        self._agents.clear()
        if self._run is None:
            return
        usage = event.result.get("usage", {})
        self._run.set_attribute("swarm.status", event.status.value)
        self._run.set_attribute("swarm.critical_steps", event.critical_steps)
        self._run.set_attribute("gen_ai.usage.input_tokens", usage.get("prompt_tokens", 0))
        self._run.set_attribute("gen_ai.usage.output_tokens", usage.get("completion_tokens", 0))
        _fail(self._run, "" if event.status == RunStatus.COMPLETED else event.fault or event.status.value)
        self._run.end(int(event.t * _NS))
        self._run = None

    def _span(self, name: str, above: Span | None, start: int, attributes: Mapping[str, AttributeValue]) -> Span:
        from opentelemetry.trace import set_span_in_context

        context = set_span_in_context(above) if above is not None else None
        return self._tracer.start_span(name, context=context, start_time=start, attributes=attributes)


def _wall(event: Event, mono: float) -> int:
    """A monotonic time of an event as nanoseconds since 1970."""
    return int((event.t - (event.mono - mono if mono else 0.0)) * _NS)


def _fail(span: Span, error: str) -> None:
    if error:
        from opentelemetry.trace import Status, StatusCode

        span.set_attribute("error.type", error)
        span.set_status(Status(StatusCode.ERROR))


@contextmanager
def exporting() -> Iterator[Tracer]:
    """A tracer whose spans go to where OpenTelemetry's own environment variables say (OTLP over HTTP); what is left is
    sent at the end of the block, for at most ten seconds.

    Raises:
        UsageError: the packages of the extra `otel` are missing.
    """
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError as missing:
        remedy = "pip install 'swarm[otel]'"
        raise UsageError(f"spans cannot be sent: {missing.name} is not installed", remedy=remedy) from None
    resource = Resource.create({"service.name": "swarm", "service.version": __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    try:
        yield provider.get_tracer("swarm", __version__)
    finally:
        provider.force_flush(10_000)
        provider.shutdown()


@contextmanager
def traced(wanted: bool) -> Iterator[Callable[[Event], None]]:
    """What is to be told of a run's events so that they are sent as spans; it does nothing where that is not wanted.

    Raises as `exporting`.
    """
    if not wanted:
        yield lambda event: None
        return
    with exporting() as tracer:
        yield Spans(tracer).observe
