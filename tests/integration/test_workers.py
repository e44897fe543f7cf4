"""Somebody else's agent does the sub-tasks: in the sandbox, with our model, within limits, on record."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from swarm import Event, Outcome, Parts, RunConfig, RunResult, RunStatus, Swarm
from swarm.calls import ModelRequest
from swarm.config import load_config
from swarm.errors import UsageError
from swarm.events import AgentEnded, AgentStarted, AgentTold, CallFinished, ContextEdited, WorkerSaid
from swarm.foreign import ForeignAgent
from swarm.journal.validation import validate
from swarm.testing import ScriptedModel, Turn
from swarm.workers import hired
from tests.integration.conftest import Files, plan, subtask

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
AGENT = Path(__file__).with_name("worker_agent.py")
COMMAND = f"command:python3 -I -S {AGENT}"
MakeRepo = Callable[[Files], Path]


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-user-0123456789")


@pytest.fixture
def repo(make_repo: MakeRepo) -> Path:
    return make_repo({"a.txt": "a\n"})


class Seen(list[Event]):
    """The events of a run."""

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]

    def said(self, kind: str) -> str:
        return "".join(event.text for event in self.of(WorkerSaid) if event.kind == kind)


async def run(model: ScriptedModel, repo: Path | None, seen: Seen, **given: Any) -> RunResult:
    config = RunConfig(**{"mode": "single", "sandbox": "process", "worker": COMMAND, "max_steps": 9, **given})
    async with Swarm(config=config, parts=Parts(model=model)) as swarm:
        result = await swarm.run("Add a line to a.txt", repo=repo, on_event=seen.append)
    assert not list(validate(Path(result.run_dir)))
    return result


def turns(*said: Turn) -> ScriptedModel:
    return ScriptedModel(list(said))


async def test_a_command_asks_our_model_and_its_change_is_merged(box: str, repo: Path) -> None:
    seen = Seen()
    model = turns("echo b >> a.txt; env; cat /proc/1/environ | tr '\\0' '\\n'", "end added a line")
    result = await run(model, repo, seen, sandbox=box)
    assert (result.status, result.usage.calls, result.total_steps) == (RunStatus.COMPLETED, 2, 2)
    assert "+b" in Path(str(result.patch_path)).read_text()
    assert "Add a line to a.txt" in model.requests[0].messages[0]["content"]
    told = model.requests[1].messages[-1]["content"]
    assert "OPENAI_API_KEY=swarm-" in told
    assert "sk-of-the-user" not in told
    assert model.requests[0].temperature == 0.25
    (ended,) = seen.of(AgentEnded)
    assert (ended.outcome, ended.final_output) == (Outcome.COMPLETED, "added a line")
    assert seen.of(AgentStarted)[0].worker == "command:python3"
    assert seen.said("output") == "added a line\n"
    (handle,) = seen.of(WorkerSaid)[-1].artifacts
    assert (Path(result.run_dir) / "artifacts" / f"{handle}.txt").read_text() == "added a line\n"
    assert not seen.of(ContextEdited)  # one conversation, told as it grew


async def test_an_agent_of_the_protocol_works_by_way_of_its_client(box: str, repo: Path, tmp_path: Path) -> None:
    seen = Seen()
    line = f"PYTHONPATH={ROOT} {sys.executable} -m tests.integration.acp_agent"
    workers = {"little": ForeignAgent(acp=line, toolchain=(ROOT / "tests",))}
    result = await run(turns("b\n"), repo, seen, sandbox=box, worker="little", workers=workers)
    assert result.status is RunStatus.COMPLETED
    assert result.answer.endswith("completed. leave: yes; lines: 2 a.txt")
    assert "+b" in Path(str(result.patch_path)).read_text()
    kinds = [(event.kind, event.status) for event in seen.of(WorkerSaid)]
    assert kinds == [
        *[("message", ""), ("tool", "pending"), ("permission", "yes"), ("tool", "completed"), ("message", "")],
        ("ended", "0"),
    ]


async def test_what_is_no_agent_of_the_protocol_says_so(repo: Path) -> None:
    seen = Seen()
    result = await run(turns(), repo, seen, worker="acp:echo hello; echo oh no >&2; exit 3")
    assert result.status is RunStatus.FAILED
    assert seen.of(AgentEnded)[0].final_output == "acp:echo ended with exit code 3: oh no"


async def test_it_is_told_to_finish_and_then_refused_and_killed(
    repo: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(hired, "GRACE_S", 0.05)
    seen, pid = Seen(), tmp_path / "pid"
    stays = f"{COMMAND}; echo refused: $?; echo $$ > {pid}; setsid sleep 4321 & exec sleep 4322"
    model = ScriptedModel(lambda request: "echo again")
    await run(model, repo, seen, worker=stays, max_steps=9)
    assert len(model.requests) == 9
    (ended,) = seen.of(AgentEnded)
    assert (ended.outcome, ended.stop, ended.steps) == (Outcome.BUDGET_EXHAUSTED, "max_steps", 9)
    assert "budget_exhausted" in seen.said("error")
    (told,) = seen.of(AgentTold)
    for request in model.requests[-2:]:
        assert told.text in [message["content"] for message in request.messages]
    assert not seen.of(ContextEdited)  # what it was told stays where it was put
    assert not [each for each in processes() if "sleep 432" in each]


def processes() -> list[str]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(place.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    return found


async def test_the_budget_of_the_run_holds_for_it(repo: Path) -> None:
    seen = Seen()
    result = await run(ScriptedModel(lambda request: "echo again"), repo, seen, budget_tokens=3_000)
    assert result.status is RunStatus.BUDGET_EXHAUSTED
    assert result.usage.prompt_tokens + result.usage.completion_tokens <= 3_000


async def test_its_time_is_limited(repo: Path) -> None:
    seen = Seen()
    await run(turns("end"), repo, seen, worker=f"{COMMAND}; exec sleep 4323", agent_seconds=0.5)
    (ended,) = seen.of(AgentEnded)
    assert (ended.outcome, ended.stop) == (Outcome.TIMED_OUT, "timeout")
    assert seen.of(WorkerSaid)[-1].status == "killed"
    assert not [each for each in processes() if "sleep 4323" in each]


async def test_nobody_calls_with_the_token_of_another(make_repo: MakeRepo, tmp_path: Path) -> None:
    """Both ways: another's token at one's own endpoint, and one's own at another's."""
    thief = tmp_path / "thief.py"
    thief.write_text(THIEF.format(agents=str(AGENT.parent), folder=str(tmp_path)))
    model = ScriptedModel(lambda request: planned(request, "one", "two"))
    seen = Seen()
    repo = make_repo({"a.txt": "a\n"})
    result = await run(model, repo, seen, mode="plan", worker=f"command:python3 {thief} {{task}}", concurrency=2)
    assert result.outcomes == {"completed": 2}
    assert seen.said("output").count("[401, 401]") == 2
    assert len(model.requests) == 1  # the planner's


THIEF = """
import json, os, pathlib, sys, time
sys.path.insert(0, {agents!r})
from worker_agent import ask
me, other = ("one", "two") if "Sub-task one:" in sys.argv[1] else ("two", "one")
mine = os.environ["OPENAI_BASE_URL"], os.environ["OPENAI_API_KEY"]
folder = pathlib.Path({folder!r})
(folder / (me + ".part")).write_text(json.dumps(mine))
(folder / (me + ".part")).rename(folder / (me + ".json"))
while not (folder / (other + ".json")).exists():
    time.sleep(0.01)
theirs = json.loads((folder / (other + ".json")).read_text())
words = [{{"role": "user", "content": "hello"}}]
tried = [ask(words, mine[0], theirs[1])["error"], ask(words, theirs[0], mine[1])["error"]]
(folder / (me + ".done")).touch()
while not (folder / (other + ".done")).exists():
    time.sleep(0.01)
pathlib.Path(me).touch()
print(tried)
"""


def planned(request: ModelRequest, *names: str) -> Turn:
    if request.response_format is None:
        return "all is done"
    return dict(plan(*(subtask(name) for name in names))["json"] if not _again(request.messages) else plan()["json"])


def _again(messages: Sequence[dict[str, Any]]) -> bool:
    return any(message["role"] == "assistant" for message in messages)


async def test_a_result_is_wanted_in_its_form(make_repo: MakeRepo) -> None:
    schema = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
    asked = [subtask("good", result_schema=schema), subtask("bad", result_schema=schema)]

    def answer(request: ModelRequest) -> Turn:
        if request.response_format is not None:
            return dict(plan(*asked)["json"] if not _again(request.messages) else plan()["json"])
        count = "7" if "Sub-task good:" in str(request.messages[0]["content"]) else '"many"'
        return f'end Counted.\n```json\n{{"count": {count}}}\n```'

    seen = Seen()
    await run(ScriptedModel(answer), None, seen, mode="plan", aggregate="text")
    ends = {event.trajectory_id: event for event in seen.of(AgentEnded)}
    assert (ends["good"].outcome, ends["good"].submitted) == (Outcome.COMPLETED, {"count": 7})
    assert (ends["bad"].outcome, ends["bad"].stop) == (Outcome.FAILED, "no_result")


SINGLE = RunConfig(mode="single", sandbox="process", worker=COMMAND)


async def cut_when(
    asked: anyio.Event, answer: Callable[[ModelRequest], Awaitable[Turn]], repo: Path, seen: Seen
) -> RunResult:
    """A run that is stopped as soon as its agent has `asked`."""
    stop = anyio.Event()
    async with (
        Swarm(config=SINGLE, parts=Parts(model=ScriptedModel(answer))) as swarm,
        anyio.create_task_group() as group,
    ):

        async def until_asked() -> None:
            await asked.wait()
            stop.set()

        group.start_soon(until_asked)
        cut = await swarm.run("Add a line to a.txt", repo=repo, on_event=seen.append, stop=stop)
    assert cut.status is RunStatus.CANCELLED
    return cut


async def test_an_attempt_that_was_cut_is_made_again_and_no_answer_is_paid_twice(repo: Path) -> None:
    seen, asked = Seen(), anyio.Event()

    async def first(request: ModelRequest) -> Turn:
        if len(request.messages) == 1:
            return "echo b >> a.txt"
        asked.set()
        await anyio.sleep_forever()
        return ""

    cut = await cut_when(asked, first, repo, seen)
    again = turns("end went on")
    async with Swarm(config=SINGLE, parts=Parts(model=again)) as swarm:
        result = await swarm.resume(Path(cut.run_dir).name, on_event=seen.append)
    assert (result.status, len(again.requests)) == (RunStatus.COMPLETED, 1)
    assert Path(str(result.patch_path)).read_text().count("+b") == 1
    accepted = [event.call_id for event in seen.of(CallFinished) if event.accepted]
    assert accepted == sorted(set(accepted))
    assert not list(validate(Path(result.run_dir)))


async def test_an_agent_that_asks_otherwise_after_a_resume_has_its_calls_made_anew(repo: Path) -> None:
    seen, asked = Seen(), anyio.Event()

    async def first(request: ModelRequest) -> Turn:
        if len(request.messages) == 1:
            return "date +%N"  # says something else each time
        if len(request.messages) == 3:
            return "echo stale >> a.txt"
        asked.set()
        await anyio.sleep_forever()
        return ""

    cut = await cut_when(asked, first, repo, seen)
    again = turns("echo b >> a.txt", "end went on")
    async with Swarm(config=SINGLE, parts=Parts(model=again)) as swarm:
        result = await swarm.resume(Path(cut.run_dir).name, on_event=seen.append)
    assert (result.status, result.usage.calls) == (RunStatus.COMPLETED, 4)
    assert [event.action for event in seen.of(ContextEdited)] == ["rewritten"]
    assert "stale" not in Path(str(result.patch_path)).read_text()
    assert not list(validate(Path(result.run_dir)))


def test_only_its_user_names_a_worker(tmp_path: Path) -> None:
    (tmp_path / "swarm.toml").write_text('worker = "command:rm -rf {task}"\n')
    with pytest.raises(UsageError, match="opens your machine"):
        load_config({}, {"HOME": str(tmp_path)}, tmp_path)
    (tmp_path / "swarm.toml").unlink()
    named = tmp_path / ".config/swarm/config.toml"
    named.parent.mkdir(parents=True)
    named.write_text('[workers.mini]\ncommand = "mini -t {task}"\n')
    env = {"HOME": str(tmp_path)}
    assert load_config({"worker": "mini"}, env).worker == "mini"
    with pytest.raises(UsageError, match="the nearest is 'mini'"):
        load_config({"worker": "minni"}, env)
    with pytest.raises(UsageError, match="starts none of ours"):
        load_config({"worker": "mini", "mode": "parl", "max_depth": 2}, env)


async def test_elsewhere_there_are_none(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swarm.executors.ray.cluster.load", lambda: None)
    with pytest.raises(UsageError, match="other people's agents"):
        await run(turns(), repo, Seen(), executor="ray", ray_address="local")
