"""Rows about agents that call a model: what a call costs, how long a swarm takes, what a live agent holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from benchmarks.record import Figure
from benchmarks.servers import health, load_server
from benchmarks.shape import Competitor, Measure, Place, Row, Taken, child

_OURS, _FLOOR, _PEER = "ours", "floor", "peer"
COMPETITORS = (
    Competitor("swarm", "swarm, a whole run", _OURS),
    Competitor("swarm-given", "swarm, sub-tasks given (as to the peers)", _OURS),
    Competitor("swarm-speed", "swarm[speed], sub-tasks given, uvloop", _OURS),
    Competitor("raw", "raw asyncio protocol + orjson, uvloop", _FLOOR, "floors"),
    Competitor("aiohttp", "aiohttp + orjson on plain dicts", _FLOOR, "floors"),
    Competitor("openai-tuned", "AsyncOpenAI tuned: post of bytes, uvloop", _PEER, "openai"),
    Competitor("openai", "AsyncOpenAI as documented", _PEER, "openai"),
    Competitor("agent-framework", "Microsoft Agent Framework", _PEER, "agent-framework"),
    Competitor("autogen", "AutoGen", _PEER, "autogen"),
    Competitor("langgraph", "LangGraph, Send to create_agent", _PEER, "langgraph"),
    Competitor("openai-agents", "OpenAI Agents SDK, tracing off", _PEER, "openai-agents"),
    Competitor("smolagents", "smolagents (threads)", _PEER, "smolagents"),
    Competitor("pydantic-ai", "pydantic-ai", _PEER, "pydantic-ai"),
    Competitor("deepagents", "deepagents", _PEER, "deepagents"),
    Competitor("crewai", "CrewAI (first round only)", _PEER, "crewai", slow=True),
)
_LIMIT_S = 240.0


def _asked(place: Place, competitor: Competitor, url: str, agents: int, calls: int, *flags: str) -> Taken:
    """One process; what it says it did must be what the endpoint saw."""
    before = health(url)["agents"]
    words = ("benchmarks.workers.agents", competitor.name, url, str(agents), *flags)
    taken = child(place, competitor, words, timeout=_LIMIT_S, env=QUIET)
    if not taken.figures:
        return Taken(failed=agents, of=agents, error=taken.error)
    seen, expected = health(url)["agents"] - before, taken.figures["agents"] * calls
    if seen != expected and not taken.failed:
        return Taken(failed=agents, of=agents, error=f"the endpoint saw {seen:.0f} calls of agents, not {expected:.0f}")
    return taken


QUIET = {
    "PYTHONDONTWRITEBYTECODE": "",  # else a checkout would be compiled anew each time
    "OTEL_SDK_DISABLED": "true",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "CREWAI_TRACING_ENABLED": "false",
    "CREWAI_TESTING": "true",
    "LANGSMITH_TRACING": "false",
    "MSWEA_SILENT_STARTUP": "1",
    "OPENAI_API_KEY": "none",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
"""No competitor tells its makers about the run, nor asks a question on its first start. Arrow's memory: as `swarm run`
has it (`swarm.tuning`); nobody else uses Arrow."""


def _calls(agents: int, quick_agents: int, turns: int) -> Callable[[Place], AbstractContextManager[Measure]]:
    @contextmanager
    def opened(place: Place) -> Iterator[Measure]:
        size = quick_agents if place.quick else agents
        calls = size * (turns + 1)
        with load_server(turns, 0.0) as url:

            def measure(competitor: Competitor, number: int) -> Taken:
                taken = _asked(place, competitor, url, size, turns + 1)
                if taken.failed:
                    return Taken({}, taken.failed, taken.of, taken.error)
                told = taken.figures
                found = {"cpu_ms": 1000 * told["cpu_s"] / calls, "calls_s": calls / told["wall_s"]}
                if number == 1:  # it does not depend on the machine's load
                    counted = _asked(place, competitor, url, size, turns + 1, "--count")
                    if "python_calls" in counted.figures:
                        found["python_calls"] = counted.figures["python_calls"] / calls
                return Taken(found, 0, size)

            yield measure

    return opened


def _waiting(
    agents: int, quick_agents: int, turns: int, latency: float
) -> Callable[[Place], AbstractContextManager[Measure]]:
    @contextmanager
    def opened(place: Place) -> Iterator[Measure]:
        size = quick_agents if place.quick else agents
        ideal = latency * (turns + 1)
        with load_server(turns, latency) as url:

            def measure(competitor: Competitor, number: int) -> Taken:
                taken = _asked(place, competitor, url, size, turns + 1)
                if not taken.figures:
                    return taken
                wall = taken.figures["wall_s"]
                found = {"ratio": wall / ideal, "wall_s": wall}
                # What failed was not waited for: the time of less work is no figure.
                return Taken({} if taken.failed else found, taken.failed, taken.of, taken.error)

            yield measure

    return opened


@contextmanager
def _live(place: Place) -> Iterator[Measure]:
    with load_server(1, 1.5) as url:

        def measure(competitor: Competitor, number: int) -> Taken:
            taken = _asked(place, competitor, url, 50 if place.quick else 250, 2, "--live")
            found = {"kb_per_agent": taken.figures["kb_per_agent"]} if taken.figures and not taken.failed else {}
            return Taken(found, taken.failed, taken.of, taken.error)

        yield measure


_RATIO, _WALL = Figure("ratio", "makespan ÷ ideal"), Figure("wall_s", "s")
_MEMORY = Figure("kb_per_agent", "KB / agent")
_ALONE = "An endpoint in a process of its own; every agent calls the tool `lookup`, then answers."
_SERVER = f"{_ALONE} The endpoint's own count of calls must be what was done."

CALLS = Row(
    "calls",
    "Model calls: 100 agents x 5 tool calls + an answer, an endpoint without latency",
    f"{_SERVER} CPU is the client's, journal and planner included in ours; Python calls are counted in round 1 only.",
    (
        Figure("cpu_ms", "CPU ms / call"),
        Figure("calls_s", "calls / s", "more"),
        Figure("python_calls", "Python calls / call"),
    ),
    COMPETITORS,
    _calls(100, 20, 5),
)
MAKESPAN = Row(
    "makespan",
    "Makespan: 100 agents x 5 calls at 50 ms (ideal 0.25 s)",
    f"{_SERVER} Starting up is not in it; in ours, planning (one more call of 50 ms) and the answer are.",
    (_RATIO, _WALL),
    COMPETITORS,
    _waiting(100, 20, 4, 0.05),
)
THOUSAND = Row(
    "thousand",
    "1,000 agents at once x 2 calls at 50 ms (ideal 0.1 s)",
    f"{_SERVER} Agents that failed are counted; where one failed, the time of the others is no figure.",
    (_WALL, _RATIO),
    tuple(each for each in COMPETITORS if not each.slow),
    _waiting(1000, 100, 1, 0.05),
    rounds=3,
)
MEMORY = Row(
    "memory",
    "Memory of a live agent: 50, then 250 at once, x 2 calls of 1.5 s each",
    f"{_SERVER} The peak of the resident memory with 250 agents less that with 50, by agent.",
    (_MEMORY,),
    tuple(each for each in COMPETITORS if not each.slow),
    _live,
    rounds=3,
)
STEADY = Row(
    "makespan-1000",
    "Makespan: 1,000 agents x 4 calls at 5 s, as long as a model takes (ideal 20 s)",
    f"{_SERVER} Some of the competitors only: a sample takes half a minute.",
    (_RATIO, _WALL),
    tuple(each for each in COMPETITORS if each.name in {"swarm-given", "aiohttp", "agent-framework", "langgraph"}),
    _waiting(1000, 100, 3, 5.0),
    rounds=2,
)
LONG = Row(
    "makespan-long",
    "Makespan: 1,000 agents x 10 calls at 5 s (ideal 50 s)",
    f"{_SERVER} What a swarm costs at its start it costs once: from then on agents work while others wait.",
    (_RATIO, _WALL),
    tuple(each for each in COMPETITORS if each.name in {"swarm-given", "aiohttp", "agent-framework"}),
    _waiting(1000, 100, 9, 5.0),
    rounds=2,
)
ROWS = (CALLS, MEMORY, MAKESPAN, THOUSAND, STEADY, LONG)
