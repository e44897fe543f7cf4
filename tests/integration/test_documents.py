"""Runs with attached documents: what is read, what counts as a source, what goes on after a crash, and images."""

from __future__ import annotations

import json
from pathlib import Path

import anyio
import pytest

from swarm import RunConfig, Swarm
from swarm.calls import ModelRequest
from swarm.cli.screen.log import AgentLog
from swarm.cli.screen.paint import Pen, Theme
from swarm.errors import UsageError
from swarm.events import CallFinished, DocumentsAttached, Event, Notice, ToolFinished
from swarm.journal.reader import read_events
from swarm.parts import Parts
from swarm.testing import FakeBackend, Turn, tool_call
from tests.documents import PNG, corpus, handed_in, one_agent, pdf, plain, swarm_of

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWARM_HOME", str(tmp_path / "home"))


async def test_all_kinds_are_read_and_what_is_cited_is_in_the_envelope(tmp_path: Path) -> None:
    look = [
        tool_call("search_documents", query="tower built"),
        tool_call("read_document", document="scan.pdf", page=2),
        tool_call("search_documents", query="keeper"),
    ]
    answer = (
        'The tower "was built in 1871" [d1:3]. It was sold in 1902 [d3:p2], and Ada Holm kept it [d2:3].\n\n'
        "Nothing is said of its height. [no source]"
    )
    _, swarm = swarm_of(one_agent(look, handed_in(answer)))
    async with swarm:
        result = await swarm.run("What is known?", attach=[corpus(tmp_path / "docs")])
    events = [*read_events(Path(result.run_dir) / "events.jsonl")]
    attached = next(event for event in events if isinstance(event, DocumentsAttached))
    assert [(each.id, each.name) for each in attached.documents] == [
        ("d1", "docs/log.md"), ("d2", "docs/page.html"), ("d3", "docs/scan.pdf"),
    ]  # fmt: skip
    notice = next(e.message for e in events if isinstance(e, Notice) and "not attached" in e.message)
    assert "blob.bin (binary)" in notice and "out.txt (a link out of the folder)" in notice
    assert result.sources is not None and result.sources.supported == 3
    assert [each.cited for each in result.sources.documents] == [True, True, True]
    assert [each.reason for each in result.sources.unsupported] == ["no source was found"]
    assert "[d1:3]" in result.answer and "- d3: docs/scan.pdf" in result.answer
    kept = Path(result.run_dir, "documents")
    assert "x()" not in "".join(path.read_text(errors="replace") for path in kept.glob("*.txt"))


@pytest.mark.parametrize(
    ("claim", "reason"),
    [
        ("The tower was built in 1871.", "no source"),
        ("The tower was built in 1871 [d9:3].", "d9:3: there is no such document"),
        ("The tower was built in 1871 [d1:40].", "d1:40: nothing stands there"),
        ("It was sold in 1902 [d2:1].", "d2:1: it was not read"),
        ('It "was built in the year 1872" [d1:3].', 'the words "was built in the year 1872" are not there'),
    ],
)
async def test_a_claim_without_a_source_is_told_back_once_then_marked(tmp_path: Path, claim: str, reason: str) -> None:
    model, swarm = swarm_of(one_agent(tool_call("search_documents", query="tower"), handed_in(claim)))
    async with swarm:
        result = await swarm.run("What is known?", attach=[plain(tmp_path / "docs")])
    told = [m for r in model.requests for m in r.messages[-1:] if "Not taken yet" in str(m["content"])]
    assert len(told) == 1 and reason in told[0]["content"]
    assert result.sources is not None and [each.reason for each in result.sources.unsupported] == [reason]
    assert f"[unsupported: {reason}]" in result.answer and result.sources.supported == 0


async def test_words_without_a_submission_are_looked_at_as_well(tmp_path: Path) -> None:
    search = tool_call("search_documents", query="tower")
    _, swarm = swarm_of(one_agent(search, "It was built in 1871.", "It was built in 1871 [d1:3]."))
    async with swarm:
        result = await swarm.run("What is known?", attach=[plain(tmp_path / "docs") / "log.md"])
    assert result.sources is not None and (result.sources.supported, result.sources.unsupported) == (1, [])


async def test_a_table_is_checked_row_by_row(tmp_path: Path) -> None:
    rows = [{"what": "tower", "year": "1871 [d1:3]"}, {"what": "lamp", "year": "1902"}]
    schema = {"type": "array", "items": {"type": "object", "properties": {"what": {"type": "string"}}}}

    def answer(request: ModelRequest) -> Turn:
        if request.response_format:
            task = {"id": "a", "title": "a", "instructions": "x", "result_schema": schema}
            return {"rationale": "r", "subtasks": [task]}
        search = tool_call("search_documents", query="tower")
        return search if len(request.messages) < 3 else handed_in("a table", result=rows)

    model, swarm = swarm_of(answer)
    async with swarm:
        result = await swarm.run("years", attach=[plain(tmp_path / "docs")])
    assert "no source in the row: lamp; 1902" in str(model.requests[-1].messages[-1]["content"])
    assert result.sources is not None and [each.claim for each in result.sources.unsupported] == ["lamp | 1902"]


async def test_a_run_goes_on_with_what_was_attached_and_says_what_has_changed(tmp_path: Path) -> None:
    docs, stop = plain(tmp_path / "docs"), anyio.Event()

    def at(event: Event) -> None:
        if isinstance(event, ToolFinished):
            stop.set()

    turns = one_agent(tool_call("search_documents", query="tower"), handed_in("It was built in 1871 [d1:3]."))
    _, swarm = swarm_of(turns)
    async with swarm:
        first = await swarm.run("When?", attach=[docs], on_event=at, stop=stop)
        assert first.status == "cancelled"
        (docs / "log.md").write_text("it was built in 1999\n")
        again = await swarm.resume(first.run_dir)
    assert again.sources is not None and again.sources.supported == 1, "what was read before counts"
    events = [*read_events(Path(first.run_dir) / "events.jsonl")]
    assert sum(isinstance(event, DocumentsAttached) for event in events) == 1
    assert any("changed since" in e.message and "log.md" in e.message for e in events if isinstance(e, Notice))


async def test_what_cannot_be_attached_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, swarm = swarm_of(one_agent("never asked"))
    docs = corpus(tmp_path / "docs")
    async with swarm:
        with pytest.raises(UsageError, match=r"nowhere: there is no such file"):
            await swarm.run("x", attach=[tmp_path / "nowhere"])
        with pytest.raises(UsageError, match=r"blob\.bin: binary"):
            await swarm.run("x", attach=[docs / "blob.bin"])
        monkeypatch.setattr("swarm.documents.sources.find_spec", lambda name: None)
        with pytest.raises(UsageError, match=r"scan\.pdf: reading PDF needs pypdf.*pip install 'swarm\[documents\]'"):
            await swarm.run("x", attach=[docs / "scan.pdf"])
    assert not (tmp_path / "home" / "runs").exists(), "no run was begun"


async def test_a_broken_document_leaves_the_others(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/broken.pdf").write_bytes(pdf("some words")[:60] + b"\xff" * 40)
    (tmp_path / "docs/good.txt").write_text("The tower was built in 1871.")
    _, swarm = swarm_of(one_agent(tool_call("read_document", document="d1"), handed_in("Built in 1871 [d1:1].")))
    async with swarm:
        result = await swarm.run("x", attach=[tmp_path / "docs"])
    events = [*read_events(Path(result.run_dir) / "events.jsonl")]
    assert any("docs/broken.pdf (" in event.message for event in events if isinstance(event, Notice))
    assert result.sources is not None and result.sources.supported == 1


@pytest.mark.parametrize("sees", [True, False])
async def test_images_reach_models_that_take_them_and_others_say_so(tmp_path: Path, sees: bool) -> None:
    (tmp_path / "chart.png").write_bytes(PNG)
    script = tmp_path / "script.toml"
    lacks = "" if sees else '[[lacks]]\nwhat = "images"\n'
    script.write_text(
        lacks + '[[rules]]\nrole = "any"\n[[rules.turns]]\ncontent = "The chart shows one point in grey [d1]."\n'
    )
    config = RunConfig(mode="single", model=f"embedded:script:{script}")
    async with Swarm(config=config, parts=Parts(backend=FakeBackend())) as swarm:
        result = await swarm.run("What does the chart show?", attach=[tmp_path / "chart.png"])
    events = [*read_events(Path(result.run_dir) / "events.jsonl")]
    said = [event.message for event in events if isinstance(event, Notice) and "takes no images" in event.message]
    assert len(said) == (not sees)
    call = next(event for event in events if isinstance(event, CallFinished))
    address = call.new_messages[-1]["content"][-1]["image_url"]["url"]
    name = address.removeprefix("artifact:")
    assert Path(result.run_dir, "artifacts", name).read_bytes() == PNG
    assert "base64" not in json.dumps(call.new_messages)
    assert call.fitted.get("dropped", []) == ([] if sees else ["images"])
    log = AgentLog(Path(result.run_dir, "events.jsonl"), [call.trajectory_id])
    assert log.read() and "What does the chart show?" in "\n".join(log.lines(Pen(200, Theme())))


async def test_a_model_of_your_own_is_given_the_images_themselves(tmp_path: Path) -> None:
    (tmp_path / "chart.png").write_bytes(PNG)
    model, swarm = swarm_of(one_agent("It shows one point in grey [d1]."), mode="single")
    async with swarm:
        await swarm.run("What does it show?", attach=[tmp_path / "chart.png"])
    url = model.requests[0].messages[-1]["content"][-1]["image_url"]["url"]
    assert url.startswith("data:image/png;base64,iVBOR")


@pytest.mark.parametrize("mode", ["plan", "parl"])
async def test_who_makes_the_answer_is_told_as_well(tmp_path: Path, mode: str) -> None:
    bare, cited = "It was built in 1871.", "It was built in 1871 [d1:3]."

    def answer(request: ModelRequest) -> Turn:
        said = sum(each["role"] == "assistant" for each in request.messages)
        if request.response_format:
            return {"rationale": "r", "subtasks": [{"id": i, "title": i, "instructions": "x"} for i in "ab"]}
        if not request.tools:  # the aggregator
            return f"{(bare, cited)[said]}\nSources: a, b"
        if said == 0:
            return tool_call("search_documents", query="tower")
        return handed_in(cited) if mode == "plan" else (bare, cited)[said - 1]

    model, swarm = swarm_of(answer, mode=mode)
    async with swarm:
        result = await swarm.run("When was it built?", attach=[plain(tmp_path / "docs")])
    assert result.sources is not None and (result.sources.supported, result.sources.unsupported) == (1, [])
    assert result.answer.startswith(cited)
    told = [each for each in model.requests if "Not taken yet" in str(each.messages[-1]["content"])]
    assert len(told) == 1


async def test_who_made_the_answer_is_not_forgotten_when_a_run_goes_on(tmp_path: Path) -> None:
    bare, cited = "It was built in 1871.", "It was built in 1871 [d1:3]."

    def answer(request: ModelRequest) -> Turn:
        if request.response_format:
            return {"rationale": "r", "subtasks": [{"id": i, "title": i, "instructions": "x"} for i in "ab"]}
        said = sum(each["role"] == "assistant" for each in request.messages)
        if not request.tools:
            return f"{(bare, cited)[said]}\nSources: a, b"
        return handed_in(cited) if said else tool_call("search_documents", query="tower")

    stop, asked = anyio.Event(), list[str]()

    def at(event: Event) -> None:
        if isinstance(event, CallFinished) and event.trajectory_id.startswith("aggregator"):
            asked.append(event.trajectory_id)
            if len(asked) == 2:
                stop.set()

    _, swarm = swarm_of(answer)
    async with swarm:
        first = await swarm.run("When was it built?", attach=[plain(tmp_path / "docs")], on_event=at, stop=stop)
        again = await swarm.resume(first.run_dir, on_event=at)
    assert (first.status, len(asked)) == ("cancelled", 2), "the second answer is taken from the record"
    assert again.answer.startswith(cited) and again.sources is not None and again.sources.supported == 1


async def test_who_has_failed_is_asked_for_no_source_of_that(tmp_path: Path) -> None:
    why = "I could not find anything of it there."
    look, failed = tool_call("search_documents", query="tower"), tool_call("submit", status="failed", summary=why)
    _, swarm = swarm_of(one_agent(look, failed))
    async with swarm:
        result = await swarm.run("When was it built?", attach=[plain(tmp_path / "docs")])
    assert result.status == "failed" and why in result.answer and "unsupported" not in result.answer


async def test_with_a_repository_words_about_code_need_no_source(tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    repo.mkdir()
    (repo / "a.txt").write_text("old\n")
    me = ["-c", "user.name=m", "-c", "user.email=m@e.org"]
    for words in (["init", "-q"], ["add", "."], [*me, "commit", "-qm", "a"]):
        await anyio.run_process(["git", "-C", str(repo), *words])
    docs, search = plain(tmp_path / "docs"), tool_call("search_documents", query="tower")
    look = tool_call("read", path="a.txt")
    for turns, supported, reasons in (
        ([look, handed_in("All that was asked for is there already.")], 0, ["no source"]),  # it is the answer
        ([search, handed_in("It was built in 1871 [d1:3]. It was painted in 1872.")], 1, ["no source"]),
    ):
        model, swarm = swarm_of(one_agent(*turns))
        async with swarm:
            result = await swarm.run("x", repo=repo, attach=[docs])
        assert result.sources is not None and result.sources.supported == supported
        assert [each.reason for each in result.sources.unsupported] == reasons
        told = [each for each in model.requests if "Not taken yet" in str(each.messages[-1]["content"])]
        assert len(told) == supported, "who read no document is not asked for sources"


async def test_the_policy_says_so_where_it_finds_nothing(tmp_path: Path) -> None:
    async with Swarm(config=RunConfig(model="embedded:documents", sandbox="process", timeout=60)) as swarm:
        result = await swarm.run("Who painted the zorblax?", attach=[corpus(tmp_path / "docs")])
    assert (result.status, result.outcomes) == ("completed", {"completed": 1})
    assert "No document that was found says anything of this. [no source]" in result.answer
