"""The script around a command of an agent, in the shells of this machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from swarm.tools.session import script


@pytest.fixture(params=["bash", "sh"])
def programs(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with no program but the shell, and what takes its input where it is no bash."""
    folder = tmp_path / "programs"
    folder.mkdir()
    for name in ("bash",) if request.param == "bash" else ("sh", "cat"):
        found = shutil.which(name)
        if found is None:
            pytest.skip(f"no {name} here")
        (folder / name).symlink_to(found)
    return folder


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / ".swarm").mkdir()
    return tmp_path / ".swarm"


def run(command: str, programs: Path, state: Path) -> tuple[int, str]:
    shell = next(str(programs / name) for name in ("bash", "sh") if (programs / name).exists())
    env = {"PATH": str(programs), "TMPDIR": str(state.parent)}
    done = subprocess.run([shell, "-c", script(keep=True)], input=command, env=env, capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_command_that_needs_no_program_starts_none(programs: Path, state: Path) -> None:
    """There is nothing to be started: neither to read what was left off, nor to keep it."""
    for number in range(5):
        assert run(f"export SEEN={number}; cd {state.parent}", programs, state) == (0, "")
        assert run('echo "$SEEN $PWD"; exit 3', programs, state) == (3, f"{number} {state.parent}\n")


def test_a_shell_that_is_bash_starts_no_other(tmp_path: Path, state: Path) -> None:
    """None could be found; and nothing of ours is left in it for the command to see."""
    bash = shutil.which("bash") or pytest.skip("no bash here")
    env = {"PATH": str(tmp_path), "TMPDIR": str(state.parent)}
    for command, said in (
        ("export KEPT=1; words=(one two); echo $0 $# ${words[1]}", "bash 0 two\n"),
        ("echo $KEPT ${words-gone}; compgen -v __swarm_d; compgen -v REPLY", "1 gone\n"),
        ("echo\necho $LINENO", "\n2\n"),
    ):
        words = [bash, "-c", 'REPLY=x; eval "$1"', "bash", script(keep=True)]
        done = subprocess.run(words, input=command, env=env, capture_output=True, text=True)
        assert (done.stdout, done.stderr) == (said, "")


def test_what_was_kept_before_stays_whole(programs: Path, state: Path) -> None:
    assert run("export KEPT=1", programs, state) == (0, "")
    at_once, as_it_is_kept = "kill -9 $$", "command() { kill -9 $$; }"  # the latter between the state and `now`
    for killed in (at_once, as_it_is_kept):
        assert run(f"export KEPT=2; {killed}", programs, state)[0] != 0
        assert run("echo $KEPT", programs, state) == (0, "1\n")


def test_whoever_is_killed_as_it_says_which_counts_leaves_both_whole(programs: Path, state: Path) -> None:
    for number in range(2):
        assert run(f"export KEPT={number}", programs, state) == (0, "")
        (state / "now").write_text("")
        code, said = run("echo $KEPT", programs, state)
        assert (code, said.strip() in {str(each) for each in range(number + 1)}) == (0, True)


@pytest.mark.parametrize("setting", ["set -C", "set -eC", "echo() { printf 'log: %s\\n' \"$@\"; }"])
def test_what_a_command_sets_for_itself_does_not_keep_its_state_from_being_kept(
    setting: str, programs: Path, state: Path
) -> None:
    for number in range(4):
        assert run(f"{setting}; export KEPT={number}", programs, state) == (0, "")
        assert run("echo $KEPT", programs, state) == (0, f"{number}\n")


def test_a_state_that_is_gone_is_begun_anew(programs: Path, state: Path) -> None:
    assert run("export KEPT=1", programs, state) == (0, "")
    for kept in state.glob("env.*"):
        kept.unlink()
    assert run("echo ${KEPT-gone}; export KEPT=2", programs, state) == (0, "gone\n")
    assert run("echo $KEPT", programs, state) == (0, "2\n")


def test_which_state_counts_is_never_left_empty(programs: Path, state: Path) -> None:
    """It is written over and not emptied first: what stands behind its line is still there."""
    assert run("export KEPT=0", programs, state) == (0, "")
    told = (state / "now").read_text()
    held = f"{told}what is after the first line stays\n"
    (state / "now").write_text(held)
    assert run("export KEPT=1", programs, state) == (0, "")
    assert (state / "now").read_text()[len(told) :] == held[len(told) :]
    assert run("echo $KEPT", programs, state) == (0, "1\n")
