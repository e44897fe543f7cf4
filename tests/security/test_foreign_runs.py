"""The folder of a run that came from somebody else: it is read, and neither obeyed nor followed."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import ValidationError

from swarm.cli.history import read_record
from swarm.cli.story import story
from swarm.cli.view import fold
from swarm.config import load_config
from swarm.errors import MachineError, UsageError
from swarm.events import ANY_EVENT, RunResumed, RunStarted
from swarm.journal.past import Past
from swarm.journal.reader import read_events
from swarm.journal.validation import validate
from swarm.report import authors, patches
from swarm.report.authors import open_store
from swarm.report.blobs import Blobs
from swarm.report.build import RunFolder, report
from swarm.report.fold import Fold
from swarm.report.patches import read_patch, unmerged
from swarm.report.talk import Systems
from swarm.resuming import CHANGEABLE, config_of
from swarm.whole_file import open_plain
from tests.integration.conftest import Cli, Script, submit, use
from tests.security.foreign import Store, with_key, write_events, write_run
from tests.unit.stories import told as run_told
from tests.unit.test_redaction import events
from tests.web_server import Handler, web_server

KEY = "canary-key-4711-aBcDeFgHiJkLmNoP"
LOOKS = (
    ("show",),
    ("show", "--json"),
    ("report", "--html", "-"),
    ("validate",),
    ("watch",),
    *(("export", "--format", form, "--out", "out") for form in ("atif", "sft")),
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "theirs" / "run"


@pytest.mark.parametrize("way", ["configuration", "option"])
def test_a_report_runs_no_program_and_writes_no_file_of_the_record(cli: Cli, folder: Path, way: str) -> None:
    mark = folder.parent / "mark"
    store = Store(folder / "repo.git")
    if way == "configuration":
        store.run_programs(f"touch {mark}; cat")
    write_run(folder, store, base=f"--output={mark}" if way == "option" else "")
    page = folder.parent / "page.html"
    done = cli("report", f"{folder}/", "--html", str(page))
    assert done.code == 0, done.err
    assert list(folder.parent.iterdir()) in ([folder, page], [page, folder])
    told = "who wrote what is not known" in page.read_text()
    assert told == (way == "option"), "the lines of a patch have their authors, where commits are commits"


def test_links_and_pipes_lead_nowhere(cli: Cli, folder: Path) -> None:
    write_run(folder, None)
    secret = folder.parent / "id_rsa"
    secret.write_text(f'{{"status": "{KEY}", "answer": "{KEY}"}}\n')
    (folder / "unmerged").mkdir()
    for name in ("patch.diff", "result.json", "tokens.jsonl", "rewards.jsonl", "unmerged/s1.diff", "seals"):
        (folder / name).symlink_to(secret)
    for look in LOOKS:
        done = cli(look[0], f"{folder}/", *look[1:])
        assert KEY not in done.out + done.err, look
    (cli.home / "runs").mkdir(parents=True)
    (cli.home / "runs/theirs").symlink_to(folder)
    assert KEY not in cli("runs", "--json").out
    for name in ("result.json", "events.jsonl", "tokens.jsonl"):
        (folder / name).unlink(missing_ok=True)
        os.mkfifo(folder / name)
    for look in (*LOOKS, ("resume",)):
        assert cli(look[0], f"{folder}/", *look[1:]).code in (2, 3), look
    assert "unreadable" in cli("runs").out


def test_folders_that_are_links_lead_nowhere(folder: Path) -> None:
    write_run(folder, None)
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    for name in ("declined.diff", "s1.diff", f"{KEY}.diff"):
        (elsewhere / name).write_text(f"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+{KEY}\n")
    for name in ("artifacts", "unmerged"):
        (folder / name).symlink_to(elsewhere)
    blobs = Blobs()
    record = Fold(blobs, Systems())
    for event in read_events(folder / "events.jsonl"):
        record.observe(event)
    assert read_patch(folder, record, None) == (
        [],
        "the patch cannot be read: see artifacts/declined.diff in the run's folder",
    )
    assert unmerged(folder, record, blobs, None) == []
    with pytest.raises(NotADirectoryError):
        open_plain(folder / "unmerged/s1.diff", folder)
    for name in ("artifacts", "unmerged"):
        (folder / name).unlink()
        shutil.copytree(elsewhere, folder / name)
    assert len(read_patch(folder, record, None)[0]) == 1, "nothing but the link stood against it"
    assert len(unmerged(folder, record, blobs, None)) == 3


def test_a_small_store_that_unpacks_to_much_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store(tmp_path / "repo.git")
    long = store.commit("\n" * 3_000, store.base)
    large = store.commit("x" * (9 << 20), store.base)
    with open_store(store.folder) as read:
        assert read is not None
        assert read.diff(store.base, store.second).count(b"\n+") == 3
        assert b"Binary files" in read.diff(store.base, large), "it is not taken apart"
        monkeypatch.setattr(authors, "MOST_LINES", 2_000)
        with pytest.raises(authors.TooMuch):
            read.diff(store.base, long)
        monkeypatch.setattr(authors, "_MOST_BYTES", 1_000)
        with pytest.raises(MachineError, match="more than 1000 bytes"):
            read.own(long)
    monkeypatch.undo()
    monkeypatch.setattr(authors, "_MOST_READ", 5_000)
    with open_store(store.folder) as read:
        assert read is not None and read.own(long)
        with pytest.raises(authors.TooMuch):
            read.own(long)
    monkeypatch.setattr(patches, "MOST_LINES", 3)
    write_run(tmp_path, None)
    (tmp_path / "patch.diff").write_text(f"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1 @@\n+{KEY}\n")
    page = report([RunFolder(tmp_path, "crashed")])
    assert "the patch has more than 3 lines" in page and KEY not in page
    monkeypatch.setattr(patches, "_LARGEST", 1 << 20)
    os.truncate(tmp_path / "patch.diff", 1 << 40)  # it is not read whole
    page = report([RunFolder(tmp_path, "crashed")])
    assert "the patch is larger than 1 MB" in page and KEY not in page


@pytest.mark.parametrize("seed", range(6))
def test_numbers_that_can_be_none_are_read_all_the_same(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)

    def other(value: object, key: str = "") -> object:
        if isinstance(value, dict):
            return {name: other(each, name) for name, each in value.items()}
        if isinstance(value, bool) or key in ("v", "seq") or not isinstance(value, int | float):
            return value
        return rng.choice([value, *((10**30, -1, 2**63) if isinstance(value, int) else (1e308, -1e300, 9e18))])

    told = []
    for event in (*run_told(3), *events("x")):
        try:
            told.append(ANY_EVENT.validate_python(other(event.model_dump(mode="json"))))
        except ValidationError:
            told.append(event)
    write_events(tmp_path / "run", told)
    (tmp_path / "run/tokens.jsonl").touch()
    record = tmp_path / "run/events.jsonl"
    assert list(story(fold(read_events(record)), read_record(tmp_path / "run"), tmp_path / "run"))
    assert "</html>" in report([RunFolder(tmp_path / "run", "crashed")])
    assert list(validate(tmp_path / "run"))


class Endpoint(Handler):
    asked: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        self.asked.append(str(self.headers["Authorization"]))
        self.send_response(500)
        self.end_headers()

    do_GET = do_POST


@pytest.fixture
def theirs() -> Iterator[str]:
    Endpoint.asked = []
    with web_server(Endpoint) as port:
        yield f"http://127.0.0.1:{port}/v1"


def test_a_run_of_others_is_not_gone_on_with(cli: Cli, folder: Path, theirs: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    (cli.cwd / "evil.py").write_text(f"open({str(mark)!r}, 'w').close()\n")
    mine = replace(cli, env=with_key(cli.env, KEY))
    write_run(folder, None, mode="single", base_url=theirs, tools=["evil:tool"], sandbox="process")
    for named in (f"{folder}/", "run"):
        done = mine("resume", named, "--json")
        assert done.code == 2 and "was not begun by you" in done.err, done.err
        assert all(f"{key} = " in done.err for key in ("base_url", "tools", "sandbox"))
        assert done.result["status"] == "errored"
        (cli.home / "runs").mkdir(parents=True, exist_ok=True)
        os.path.lexists(cli.home / "runs/run") or folder.rename(cli.home / "runs/run")
        folder = cli.home / "runs/run"
    assert not mark.exists() and Endpoint.asked == []
    mine("resume", "run", "--trust", "--json")
    assert mark.exists() or Endpoint.asked, "nothing but the refusal stood against it"


def test_a_record_that_was_changed_is_another_one(cli: Cli, script: Script, theirs: str) -> None:
    """One's own run, in which somebody wrote: where it goes on is not theirs to say."""
    script.rules.append({"role": "any", "turns": [use("bash", command="true"), submit("done")]})
    done = cli.run("x", None, "--mode", "single", "--model", script.model, "--budget-tokens", "50")
    assert done.code == 4, done.err
    [run] = cli.runs
    record = run / "events.jsonl"
    text = record.read_text()
    changed = text.replace(f'"model":"{script.model}"', f'"model":"m","base_url":"{theirs}"', 1)
    changed = changed.replace(',"base_url":null', "", 1)
    assert changed != text
    record.write_text(changed)
    mine = replace(cli, env=with_key(cli.env, KEY))
    refused = mine("resume", run.name, "--budget-tokens", "100000")
    assert refused.code == 2 and theirs in refused.err, refused.err
    assert Endpoint.asked == []
    record.write_text(text)
    assert (Path(cli.env["HOME"]) / ".local/state/swarm/seal.key").stat().st_mode & 0o777 == 0o600
    (run / "seals").unlink()  # of somebody else's, which opens nothing: the model is in process, the sandbox closed
    assert cli("resume", run.name, "--budget-tokens", "100000").code == 0


def test_a_repository_has_no_key_by_way_of_resume(tmp_path: Path) -> None:
    """It names an endpoint, the run goes there without a key, and is gone on with when there is one."""
    evil = "http://evil.example/v1"
    (tmp_path / "swarm.toml").write_text(f'base_url = "{evil}"\nmodel = "m"\n')
    bare = {"HOME": str(tmp_path / "home")}
    began = load_config({}, bare, tmp_path).model_dump(mode="json")
    started = RunStarted(
        task="t", task_sha256="x", mode="plan", swarm_version="1", config_sha256="x", config=began, repo=str(tmp_path)
    )
    (tmp_path / "swarm.toml").unlink()  # it may say something else by now
    past, keyed = Past([started]), {**bare, "OPENAI_API_KEY": KEY}
    named = {**bare, "SWARM_API_KEY_FILE": str(tmp_path / "not yet")}
    for env in (keyed, named, {**keyed, "OPENAI_BASE_URL": "http://mine/v1"}):
        with pytest.raises(UsageError, match="would be sent where a repository says"):
            config_of(past, {"max_steps": 5}, env)
    assert config_of(past, {}, bare).api_key is None
    agreed = config_of(past, {}, {**keyed, "OPENAI_BASE_URL": evil})
    assert agreed.base_urls == (evil,) and agreed.api_key is not None
    given = config_of(past, {"base_url": evil}, keyed)
    changed = {key: value for key in CHANGEABLE if (value := given.model_dump()[key]) != began[key]}
    again = Past([started, RunResumed(swarm_version="1", began_with="1", config=changed)])
    assert config_of(again, {}, keyed).base_urls == (evil,), "it was agreed to once"
    mine = load_config({"base_url": evil}, keyed, tmp_path).model_dump(mode="json")
    own = Past([started.model_copy(update={"config": mine})])
    assert config_of(own, {}, keyed).api_key is not None, "where the user sent it, it goes again"
