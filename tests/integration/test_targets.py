"""Where a patch may go: what is refused before the run, and what is said of it after."""

from __future__ import annotations

import io
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

from swarm.cli.deliver import deliver
from swarm.cli.offer import offer
from swarm.cli.targets import check_targets
from swarm.errors import UsageError
from swarm.result import RunResult
from swarm.types import RunStatus
from tests.integration.checkouts import git, make_repository

pytestmark = pytest.mark.usefixtures("no_configuration")

POINTER = """diff --git a/large b/large
--- a/large
+++ b/large
@@ -1,3 +1,3 @@
 version https://git-lfs.github.com/spec/v1
-oid sha256:{old}
+oid sha256:{new}
 size 5
""".format(old="0" * 64, new="1" * 64)


def asked(**options: Any) -> Namespace:
    return Namespace(**({"apply": False, "branch": None, "patch": None, "json": False} | options))


def test_what_could_not_be_delivered_is_refused_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo, inner = (make_repository(tmp_path / name, {"a": b"1\n"}) for name in ("repo", "inner"))
    git(repo, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner), "lib")
    git(repo, "branch", "feat")
    git(repo, "branch", "team/one")
    git(repo / "lib", "branch", "theirs")
    for name, why in {
        "": "not a name",
        "@{-1}": "not a name",
        "-x": "not a name",
        "HEAD": "not a name",
        "main": "exists already",
        "feat/x": "beside feat",
        "team": "beside team/one",
        "theirs": "exists already in lib",
    }.items():
        with pytest.raises(UsageError) as raised:
            check_targets(asked(branch=name), repo)
        assert why in raised.value.message
    check_targets(asked(branch="team/two"), repo)
    check_targets(asked(branch="fea"), repo)

    (tmp_path / "dangling").symlink_to(tmp_path / "no/such")
    (tmp_path / "well").symlink_to(tmp_path / "new")
    for name in ("", str(tmp_path), str(tmp_path / "no/such"), str(tmp_path / "dangling")):
        with pytest.raises(UsageError, match="cannot be written"):
            check_targets(asked(patch=name), repo)
    with pytest.raises(UsageError, match="both write"):
        check_targets(asked(patch="-", json=True), repo)
    for name in ("-", str(tmp_path / "well"), "/dev/null"):
        check_targets(asked(patch=name), repo)

    for option in ({"apply": True}, {"branch": "new"}):
        with pytest.raises(UsageError, match="gone is gone"):
            check_targets(asked(**option), tmp_path / "gone")
    monkeypatch.setenv("GIT_DIR", str(inner / ".git"))  # is not the repository that is meant
    git(inner, "branch", "wanted")
    check_targets(asked(branch="wanted"), repo)


def test_a_patch_without_the_contents_of_large_files_says_so(
    tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1\n"})
    folder = tmp_path / "run"
    (folder / "unmerged").mkdir(parents=True)
    (folder / "patch.diff").write_text(POINTER)
    result = RunResult(
        run_id="r", status=RunStatus.COMPLETED, exit_code=0, answer="", run_dir=str(folder),
        patch_path=str(folder / "patch.diff"),
    )  # fmt: skip
    way = "take swarm resume r --apply"
    for args in (asked(), asked(patch=str(tmp_path / "out")), asked(patch="-"), asked(apply=True)):
        done, lines = deliver(args, result, repo, gated=args.apply)
        assert (done, way in lines[-1]) == (result, True)
    assert (tmp_path / "out").read_text() == POINTER
    assert capfdbinary.readouterr().out == POINTER.encode()
    (folder / "patch.diff").write_text(POINTER.replace("+oid", " oid"))
    (folder / "unmerged/t.diff").write_text(POINTER)
    _, lines = deliver(asked(), result, repo, gated=False)
    assert [way in line for line in lines] == [False] * 4
    assert f"the contents are in {folder}/repo.git/lfs" in lines[-1]


def test_what_hides_in_a_patch_is_shown_to_who_is_asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = make_repository(tmp_path / "repo", {"a": b"1\n", "crlf": b"1\n"})
    (repo / "a").write_bytes("ok \u202e\u2066 \u200b\u2028\x0c+forged\n\x1b[2J caf\u00e9".encode() + b"\xe9\n")
    (repo / "crlf").write_bytes(b"1\r\n")
    (repo / "n\u202el").write_bytes(b"1\n")
    git(repo, "config", "core.quotePath", "false")
    git(repo, "add", "-A")
    patch = tmp_path / "p.diff"
    patch.write_bytes(git(repo, "diff", "--cached").encode(errors="surrogateescape") + b"\n")
    monkeypatch.setattr("sys.stdin", io.StringIO("d\nn\n"))
    monkeypatch.setenv("PAGER", "cat")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not offer(repo, patch, "", lambda name: None).apply
    told = capfd.readouterr().err
    assert "  n<U+202E>l  +1 -0\n" in told
    assert "\n+ok <U+202E><U+2066> <U+200B><U+2028>^L+forged\n" in told
    assert "\n+^[[2J caf\u00e9<E9>\n" in told
    assert "\n-1\n+1^M\n" in told
