"""SWE-bench without an engine: data, names of images, predictions, environments, totals."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from swarm.errors import MachineError, UsageError
from swarm.evals.suite import Verdict
from swarm.evals.swebench.build import install_commands
from swarm.evals.swebench.container import extract
from swarm.evals.swebench.environment import find_environment, read_environment
from swarm.evals.swebench.grading import EMPTY, FAILED, LATE, REFUSED, Prediction
from swarm.evals.swebench.names import TEMPLATE, image_of
from swarm.evals.swebench.package import open_package
from swarm.evals.swebench.predictions import as_lines, as_map, changed_path, known, read_predictions, without
from swarm.evals.swebench.rows import checked, fingerprint, load_rows
from swarm.evals.swebench.totals import HANDED_IN, totals

OLD: dict[str, Any] = {
    "instance_id": "psf__requests-1",
    "repo": "psf/requests",
    "base_commit": "0" * 40,
    "problem_statement": "line\u2028separator",
    "FAIL_TO_PASS": '["a", "b[x]"]',
    "PASS_TO_PASS": "[]",
    "hints_text": None,
}
NEW = {**OLD, "FAIL_TO_PASS": ["a", "b[x]"], "PASS_TO_PASS": [], "eval_script": None, "image": "here/one"}


@pytest.mark.parametrize("form", ["list.json", "map.json", "lines.jsonl", "lines.json"])
def test_rows_of_every_form(tmp_path: Path, form: str) -> None:
    rows = [OLD, {**NEW, "instance_id": "psf__requests-2"}]
    text = {
        "list.json": json.dumps(rows),
        "map.json": json.dumps({row["instance_id"]: row for row in rows}),
    }.get(form, "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n")
    (tmp_path / form).write_text(text, encoding="utf-8")
    first, second = load_rows(str(tmp_path / form))
    assert first.FAIL_TO_PASS == second.FAIL_TO_PASS == ("a", "b[x]")
    assert (first.image, second.image, second.eval_script) == ("", "here/one", "")
    assert first.raw == OLD
    assert fingerprint([first]) != fingerprint([first.model_copy(update={"problem_statement": "another"})])
    assert fingerprint([first, second]) == fingerprint([second, first]) != fingerprint([first])


def test_what_is_no_data_is_told(tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text('[{"instance_id": "../x"}]')
    for source, told in (
        (str(tmp_path / "none.jsonl"), "there is no file"),
        (str(tmp_path / "bad.json"), "row 1 is none of SWE-bench: instance_id"),
        ("nonsense", "no file and no data set"),
    ):
        with pytest.raises(UsageError, match=told):
            load_rows(source)
    with pytest.raises(UsageError, match="there twice"):
        checked([OLD, NEW], "here")


@pytest.mark.parametrize(
    ("template", "name"),
    [
        (TEMPLATE, "swebench/sweb.eval.x86_64.psf_1776_requests-1:latest"),
        ("sweb.eval.x86_64.<id>", "sweb.eval.x86_64.psf__requests-1:latest"),
        ("localhost:5000/my__own-{instance_id}:V__2", "localhost:5000/my__own-psf_1776_requests-1:V__2"),
        ("my__own/sweb:<id>", "my__own/sweb:psf__Requests-1"),
    ],
)
def test_images_have_the_official_names(template: str, name: str) -> None:
    assert image_of(template, "psf__Requests-1") == name
    with pytest.raises(UsageError, match="the same image for all"):
        image_of("swebench/one", "a")


@pytest.mark.parametrize("form", ["map", "list", "lines"])
def test_predictions_of_every_form(tmp_path: Path, form: str) -> None:
    given = [Prediction("a", "m", "diff\r\n\u2028é"), Prediction("b", "m", None), Prediction("c", "m", "")]
    data = {
        "map": as_map(given),
        "list": json.dumps([each.official for each in given]).encode(),
        "lines": as_lines(given),
    }[form]
    (tmp_path / "preds").write_bytes(data)
    assert read_predictions(tmp_path / "preds") == given
    with pytest.raises(UsageError, match="2 predictions are for instances that data does not hold: b, c"):
        known(given, {"a"}, "data")


@pytest.mark.parametrize("text", ["", "3", "[3]", '{"a": {"instance_id": 1}}', '{"a": 3}', "{"])
def test_what_are_no_predictions_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "preds").write_text(text)
    if not text:
        assert read_predictions(tmp_path / "preds") == []
        return
    with pytest.raises(UsageError):
        read_predictions(tmp_path / "preds")


@settings(max_examples=50)
@given(st.text(st.characters(codec="utf-8", exclude_characters="\0\n/"), min_size=1, max_size=12))
def test_paths_of_a_patch(name: str) -> None:
    """As git writes them: quoted where it must be, with spaces and ` b/` in them as they are."""
    raw = name.encode()
    special = any(byte < 0x20 or byte >= 0x7F or byte in b'"\\' for byte in raw)
    quoted = b"".join(
        b"\\%03o" % byte if byte < 0x20 or byte >= 0x7F else b"\\" + bytes([byte]) if byte in b'"\\' else bytes([byte])
        for byte in raw
    )
    line = b'diff --git "a/%s" "b/%s"\n' % (quoted, quoted) if special else b"diff --git a/%s b/%s\n" % (raw, raw)
    assert changed_path(line + b"--- a/x\n") == raw


def test_built_files_are_left_out_of_a_patch() -> None:
    parts = [
        b"diff --git a/%s b/%s\n@@ -1 +1 @@\n-a\n+b\n" % (path, path) for path in (b"src/a.py", b"build/x", b"a.so")
    ]
    assert without(b"".join(parts), (b"build/", b"a.so", b"src/a")) == parts[0]
    assert without(b"".join(parts), ()) == b"".join(parts)


def test_an_environment_is_read_as_conda_writes_it(tmp_path: Path) -> None:
    text = (
        "name: testbed\nchannels:\n  - defaults\ndependencies:\n  - _libgcc_mutex=0.1=main\n  - pip=24.2=py39h06\n"
        "  - pluggy=1.0.0=py39h06a4308_1\n  - openssl=3.0.15=h5\n  - python=3.9.20=he8\n  - tomli=2.0.1=pyhd3eb\n"
        "  - pip:\n      - certifi==2024.8.30\nprefix: /opt\n"
    )
    place = tmp_path / "swebench/resources/swebench-og/psf__requests/1"
    place.mkdir(parents=True)
    (place / "environment.yml").write_text(text)
    found = find_environment(tmp_path, "psf__requests-1")
    assert found.python == "3.9"
    assert found.pins == ("pip==24.2", "pluggy==1.0.0", "tomli==2.0.1", "certifi==2024.8.30")
    with pytest.raises(UsageError, match="environments"):
        find_environment(tmp_path, "psf__requests-2")
    with pytest.raises(UsageError, match="no Python"):
        read_environment("dependencies:\n")


def test_how_an_eval_script_installs() -> None:
    script = (
        "conda activate testbed\ngit show\nconda activate testbed\npip install x\npip install -e .\ngit checkout abc t"
    )
    assert install_commands(script, "abc") == ["pip install x", "pip install -e ."]
    assert install_commands("", "abc") == ["python -m pip install -e ."]


def test_totals_with_the_official_names() -> None:
    found = totals(
        {
            "good": [
                Verdict(True, 1.0, {"kind": "", "failure_reason": ["missing_module", "ambiguous"]}),
                Verdict(False),
            ],
            "bad": [Verdict(False, 0.0, {"kind": FAILED, "failure_reason": ["out_of_memory", "environment"]})],
            "empty": [Verdict(False, 0.0, {"kind": EMPTY})],
            "refused": [Verdict(False, 0.0, {"kind": REFUSED})],
            "late": [Verdict(False, 0.0, {"kind": LATE, "failure_reason": ["tests_timed_out", "ambiguous"]})],
            "machine": [Verdict(None, error="no image", details={HANDED_IN: True})],
            "no run": [Verdict(None, error="no sandbox")],
            "not yet": [],
        }
    )
    assert found["total_instances"] == 8
    assert found["submitted_ids"] == ["bad", "empty", "good", "late", "machine", "refused"]
    assert (found["resolved_ids"], found["unresolved_ids"]) == (["good"], ["bad"])
    assert (found["error_ids"], found["empty_patch_ids"]) == (["late", "machine", "refused"], ["empty"])
    assert (found["incomplete_ids"], found["infra_failure_ids"]) == (["no run", "not yet"], ["bad"])
    assert found["ambiguous_failure_ids"] == ["late"]
    assert found["completed_instances"] == 2


DYING = """#!{python}
import json, pathlib, sys

deaths = pathlib.Path({deaths!r})
for line in sys.stdin:
    order = json.loads(line)
    if order["do"] == "about":
        told = {{"version": "5", "apply": [], "anew": True, "refused": ""}}
    elif (left := int(deaths.read_text())) > 0:
        deaths.write_text(str(left - 1))
        sys.exit(1)
    else:
        told = {{"assets": 0, "eval_script": "true"}}
    print(json.dumps({{"number": order["number"], "is": told}}), flush=True)
"""


@pytest.mark.anyio
async def test_the_package_is_started_again_where_its_process_dies(tmp_path: Path) -> None:
    """Once for each question; what kills it every time is told, and the next question is answered again."""
    python, deaths = tmp_path / "python", tmp_path / "deaths"
    python.write_text(DYING.format(python=sys.executable, deaths=str(deaths)))
    python.chmod(0o755)
    deaths.write_text("1")
    async with open_package(str(python)) as package:
        assert await package.eval_script(OLD) == "true"
        deaths.write_text("2")
        with pytest.raises(MachineError, match="ended, and did so again"):
            await package.eval_script(OLD)
        assert await package.eval_script(OLD) == "true"


@pytest.mark.parametrize(
    "entries",
    [
        [("t/../../evil", tarfile.REGTYPE, "")],
        [("t//etc/evil", tarfile.REGTYPE, "")],
        [("t/link", tarfile.SYMTYPE, "OUT"), ("t/link/evil", tarfile.REGTYPE, "")],
        [("t/link", tarfile.SYMTYPE, "OUT/evil"), ("t/link", tarfile.REGTYPE, "")],
        [("t/hard", tarfile.LNKTYPE, "t/../../evil")],
    ],
)
def test_an_image_cannot_write_outside(tmp_path: Path, entries: list[tuple[str, bytes, str]]) -> None:
    (tmp_path / "in").mkdir()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind, link in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = kind, link.replace("OUT", str(tmp_path))
            archive.addfile(entry)
    buffer.seek(0)
    with tarfile.open(fileobj=buffer, mode="r|") as archive, pytest.raises(tarfile.TarError, match="leads out"):
        extract(archive, str(tmp_path / "in"))
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
