"""Secrets: none in what is written or shown, wherever it was planted; events stay valid, other text as it was."""

from __future__ import annotations

import hashlib
import json
import re
from collections import UserDict
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.events import (
    ANY_EVENT,
    AgentStarted,
    CallFinished,
    Event,
    Finished,
    GateFinished,
    Notice,
    PatchMerged,
    RunEnded,
    RunStarted,
    StageStarted,
    SubTaskSkipped,
    ToolFinished,
    ToolStarted,
)
from swarm.journal import redaction
from swarm.journal.masking import mask
from swarm.journal.redaction import LATER, Redactor, secrets_of
from swarm.types import Outcome, Plan, RunStatus, SubTask, ToolStatus

KEY_BLOCK = "-----BEGIN RSA PRIVATE KEY-----\n" + "MIIEpAIBAAKCAQEA\n" * 12 + "-----END RSA PRIVATE KEY-----"
SHAPES = [
    "sk-proj-abcdefghijklmnopqrstuvwxyz",
    "ghp_" + "a1B2" * 9,
    "github_pat_" + "a1_2" * 9,
    "AKIAABCDEFGHIJKLMNOP",
    "xoxb-123456789012-abc",
    "hf_" + "aB3d" * 9,
    "https://me:hunter22@example.org/",
    KEY_BLOCK,
]


def events(text: str) -> list[Event]:
    """Every field of free text there is, with the text in it."""
    told_to = text.encode(errors="replace").decode() or "i"  # a sub-task is refused when it is not UTF-8
    task = SubTask(id="a", title=told_to[:200], instructions=told_to, files=(text,))
    arguments = json.dumps({"cmd": text, "nested": json.dumps([text])})
    call = {"id": "c1", "type": "function", "function": {"name": "shell", "arguments": arguments}}
    told: list[dict[str, Any]] = [
        {"role": "user", "content": text},
        {"role": "tool", "tool_call_id": "c1", "content": [{"text": text}]},
    ]
    answer: dict[str, Any] = {"role": "assistant", "content": None, "reasoning": text, "tool_calls": [call]}
    return [
        RunStarted(
            task=text,
            task_sha256="feedfeed",
            mode="auto",
            swarm_version="1",
            config={"env": {"A": [text]}, "name": text},
            config_sha256="feedfeed",
            endpoints={"m": text},
        ),
        StageStarted(stage=1, plan=Plan(rationale=text, subtasks=(task,))),
        AgentStarted(trajectory_id="t", role="subagent", name="a", trainable=True, subtask=task, tools=[{"d": text}]),
        CallFinished(
            trajectory_id="t",
            call_id="t/1",
            turn=1,
            attempt=1,
            accepted=True,
            new_messages=told,
            response=answer,
            error_message=text,
        ),
        ToolStarted(trajectory_id="t", call_id="t/1", tool_call_id="c1", name="shell", arguments=arguments),
        ToolFinished(
            trajectory_id="t",
            call_id="t/1",
            tool_call_id="c1",
            name="shell",
            arguments=arguments,
            t_start=0,
            t_end=1,
            status=ToolStatus.COMPLETED,
            result=text,
            artifacts=[text],
        ),
        SubTaskSkipped(stage=1, subtask_id="a", outcome=Outcome.SKIPPED, reason=text),
        PatchMerged(stage=1, subtask_id="a", merged=False, files=[text], reason=text),
        GateFinished(
            stage=1, command=text, commit="c", passed=True, exit_code=0, timed_out=False, output=text, seconds=1
        ),
        Finished(answer=text, dropped=["a"]),
        Notice(message=text),
        RunEnded(status=RunStatus.COMPLETED, exit_code=0, result={"status": "completed", "answer": text}, error=text),
    ]


def strings(data: Any) -> list[str]:
    """Every string value, also those inside of strings that are JSON."""
    if isinstance(data, str):
        try:
            inner = json.loads(data)
        except ValueError:
            return [data]
        return [data] if isinstance(inner, int | float | None) else [data, *strings(inner)]
    if isinstance(data, dict):
        return [text for value in data.values() for text in strings(value)]
    return [text for item in data for text in strings(item)] if isinstance(data, list | tuple) else []


def check(event: Event, redactor: Redactor, secret: str) -> None:
    shown, line = mask(event, redactor)
    assert ANY_EVENT.validate_json(line) == shown
    for text in strings(json.loads(line)) + strings(shown.model_dump()):
        assert secret not in re.sub(r"\[redacted:[a-zA-Z-]+\]", "", text)
    if isinstance(shown, CallFinished):
        assert shown.redacted


# Words of the records' own vocabulary ("subagent") are no secrets: hypothesis finds them in the sources.
WORDS = json.dumps([strings(event.model_dump(mode="json")) for event in events("")])
secrets = st.text(st.characters(codec="utf-8"), min_size=8).filter(
    lambda text: len(text.strip()) >= 8 and text.strip() not in WORDS
)
filling = st.text(st.characters(codec="utf-8"), max_size=20)


@given(secrets, filling, filling)
def test_a_known_value_is_found_in_every_free_text(secret: str, before: str, after: str) -> None:
    for event in events(f"{before}{secret}{after}"):
        check(event, Redactor({"S": secret}), secret.strip())


@given(st.sampled_from(SHAPES), st.sampled_from(["", " ", "\n", '"', "=", "é"]), st.sampled_from(["", " ", "\n", '"']))
def test_a_shape_is_found_in_every_free_text(secret: str, before: str, after: str) -> None:
    for event in events(f"{before}{secret}{after}"):
        check(event, Redactor({}), secret)


@pytest.mark.parametrize("secret", ["k1.9-" * 60, "a.b.c.d.e.f", "%%%%%%%%%%", "(a|b)*c[d-e]{9}\\f$"])
def test_a_value_that_is_long_or_no_word_is_found_too(secret: str) -> None:
    for event in events(f"it is {secret}, they say"):
        check(event, Redactor({"S": secret, "OTHER": "nowhere-1"}), secret)


words = st.sampled_from(
    ["completed", "subagent", "assistant", "function", "run_start", "tool_call", "skipped", "RunStarted", "feedfeed"]
)


@given(words, filling)
def test_a_secret_that_is_a_word_of_ours_changes_free_text_only(secret: str, text: str) -> None:
    for event in events(f"{text} {secret}"):
        shown = mask(event, Redactor({"OPENAI_API_KEY": secret}))[0]
        kept = {"type", "status", "outcome", "role", "name", "trajectory_id", "task_sha256", "tool_call_id", "dropped"}
        assert shown.model_dump(include=kept) == event.model_dump(include=kept)
        if isinstance(shown, CallFinished) and isinstance(event, CallFinished):
            assert shown.response["role"] == "assistant"
            assert shown.response["tool_calls"][0]["type"] == "function"


@given(st.text())
def test_text_without_secrets_is_as_it_was(text: str) -> None:
    redactor = Redactor({"MY_KEY": "\x00never drawn\x00", "PASSWORD": "hunter22"})
    if any(mark in text for mark in ("\x00never", "hunter22", "://", "sk-", "BEGIN")):
        return
    assert redactor.redact(text) == (text, 0)
    for event in events("see https://example.org/ " + text):
        shown, line = mask(event, redactor)
        assert shown is event
        assert line == event.model_dump_json().encode()


@given(st.text(st.characters(), max_size=30), st.sampled_from(["\udcff\udce9.txt", "\ud800"]))
def test_lone_surrogates_are_made_visible(text: str, broken: str) -> None:
    for event in events(text + broken):
        shown, line = mask(event, Redactor({"S": "hunter22"}))
        assert ANY_EVENT.validate_json(line) == shown
    shown, _ = mask(Notice(message="\udcff\udce9.txt hunter22"), Redactor({"S": "hunter22"}))
    assert isinstance(shown, Notice)
    assert shown.message == "\\xff\\xe9.txt [redacted:S]"


def test_a_key_that_ends_in_another_field_is_cut_where_it_begins() -> None:
    event = Notice(message="-----BEGIN PRIVATE KEY-----\nMIIE" + "x" * 20_000)
    shown, line = mask(event, Redactor({}))
    assert b"MIIE" not in line
    torn = PatchMerged(
        stage=1,
        subtask_id="a",
        merged=True,
        files=["-----BEGIN PRIVATE KEY-----"],
        reason="-----END PRIVATE KEY-----",
    )
    shown, line = mask(torn, Redactor({}))
    assert ANY_EVENT.validate_json(line) == shown


def test_a_label_never_makes_a_title_too_long() -> None:
    task = SubTask(id="a", title="hunter22" * 25, instructions="i")
    shown, line = mask(StageStarted(stage=1, plan=Plan(subtasks=(task,))), Redactor({"A_LONG_NAME_KEY": "hunter22"}))
    assert ANY_EVENT.validate_json(line) == shown


@pytest.mark.parametrize("text", ["https://me:hunter22@host/", 'a="postgres://me:hunter22@db"'])
def test_a_password_in_an_address_is_taken_out(text: str) -> None:
    redacted, found = Redactor({}).redact(text)
    assert "hunter22" not in redacted
    assert "://[redacted:url-password]@" in redacted
    assert found == 1


def test_only_variables_that_sound_secret_are_taken() -> None:
    env = {
        "OPENAI_API_KEY": "abcdefghijkl",
        "SSH_KEY_FILE": "/home/me/key",
        "PATH": "/usr/bin",
        "DB_PASSWORD": "hunter22",
    }
    assert set(secrets_of(env)) == {"OPENAI_API_KEY", "DB_PASSWORD"}


def test_of_an_environment_only_what_may_be_a_secret_is_read() -> None:
    """Each value of the system's is decoded anew, in every run."""
    read: list[str] = []

    class Counted(UserDict[str, str]):
        def __getitem__(self, name: str) -> str:
            read.append(name)
            return super().__getitem__(name)

    env = Counted({f"PATH_{n}": "value" for n in range(50)} | {"X_TOKEN": "abcdefgh", "SSH_KEY": "/home/u/key"})
    assert secrets_of(env) == {"X_TOKEN": "abcdefgh"}
    assert read == ["X_TOKEN", "SSH_KEY"]


def test_values_that_come_later_are_known_too_and_the_oldest_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the keys of a gateway's clients: there may be any number, and each costs only itself."""
    redactor = Redactor({"A_KEY": "known-from-the-start"})
    keys = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(2 * LATER)]
    made: list[str] = []
    find = redaction._finders_of

    def making(value: str, name: str) -> Iterator[redaction.Finder]:
        made.append(value)
        return find(value, name)

    monkeypatch.setattr(redaction, "_finders_of", making)
    for key in keys:
        redactor = redactor.also("api_key", key)
        redactor = redactor.also("api_key", keys[0])  # it is in use all the time
    kept = [*keys[:1], *keys[-LATER + 1 :]]
    for value in ("known-from-the-start", *kept):
        assert value not in redactor.redact(f"it says {value}.")[0]
        assert redactor.suspects(f'{{"it":"says {value}"}}'.encode())
    assert redactor.redact(keys[1]) == (keys[1], 0)
    assert redactor.also("api_key", " short ") is redactor.also("api_key", kept[0]) is redactor
    assert made == keys, "nothing is made twice"
