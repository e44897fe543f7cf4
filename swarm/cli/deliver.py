"""What becomes of a run's patch: asked for on a terminal, applied, put on a branch, or written to a file."""

from __future__ import annotations

import argparse
import re
import shlex
from functools import partial
from pathlib import Path

from swarm.cli.ask import attended
from swarm.cli.offer import offer
from swarm.cli.stdio import complain, one_line, write_out
from swarm.cli.targets import STDOUT, check_branch
from swarm.errors import MachineError, SwarmError, UsageError
from swarm.legible import clean, visible
from swarm.result import UNMERGED, RunResult
from swarm.types import RunStatus
from swarm.whole_file import write_whole

_LFS = b"version https://git-lfs.github.com/spec/v1\n"
_POINTER = re.compile(rb"^\+oid sha256:[0-9a-f]{64}$", re.MULTILINE)


def will_ask(args: argparse.Namespace, result: RunResult, repo: Path | None) -> bool:
    """Whether `deliver` asks the person at the terminal what to do."""
    if repo is None or result.patch_path is None or _told_where(args) or args.json:
        return False
    return attended() and result.status is not RunStatus.CANCELLED


def _told_where(args: argparse.Namespace) -> bool:
    return args.apply or args.branch is not None or args.patch is not None


def deliver(
    args: argparse.Namespace, result: RunResult, repo: Path | None, *, gated: bool
) -> tuple[RunResult, list[str]]:
    """Do with the patch what was asked for, and say in a few lines what became of it.

    A patch that could not be delivered still lies in the run's folder; the envelope given back is then that of a
    run which did not do all it was asked for. `gated` says that the run has a gate, whether or not it was reached.
    """
    try:
        return result, [*_deliver(args, result, repo, gated), *_beside(result)]
    except (SwarmError, OSError) as error:
        status = RunStatus.PARTIAL if result.status is RunStatus.COMPLETED else result.status
        failed = result.model_copy(update={"status": status, "exit_code": result.exit_code or 1})
        return failed, [f"patch: {result.patch_path}", f"swarm: {one_line(str(error))}", *_beside(result)]


def keep(result: RunResult) -> None:
    """Let `result.json` say what the envelope does: `runs` and `show` tell the same then."""
    path = Path(result.run_dir) / "result.json"
    try:
        if not path.is_file() or RunResult.model_validate_json(path.read_bytes()) == result:
            return
        write_whole(path, result.model_dump_json(indent=2).encode())
    except (OSError, ValueError) as error:
        complain(f"swarm: {path} does not tell it: {one_line(str(error))}")


def _deliver(args: argparse.Namespace, result: RunResult, repo: Path | None, gated: bool) -> list[str]:
    if repo is None:
        return []
    if result.patch_path is None:
        return ["no patch: nothing was changed"] if result.exit_code != MachineError.exit_code else []
    patch = Path(result.patch_path)
    if args.patch is not None:
        return _to_file(args.patch, patch, result)
    if args.branch is not None:
        return [_branch(args.branch, result, repo)]
    if args.apply:
        reason = _unfit(result, gated)
        if reason:
            by_hand = f"apply it all the same: {_by_hand(repo, patch)}"
            return [f"not applied: {reason}", f"patch: {patch}", by_hand, *_large(patch, result)]
        return [_apply(repo, result, gated)]
    if will_ask(args, result, repo):
        wanted = offer(repo, patch, _unfit(result, gated), partial(check_branch, repo))
        if wanted.branch:
            return [_branch(wanted.branch, result, repo)]
        if wanted.apply:
            return [_apply(repo, result, gated)]
        by_hand = f"apply it: {_by_hand(repo, patch)}, or swarm resume {result.run_id} --apply"
        return [f"not applied; patch: {patch}", by_hand, *_large(patch, result)]
    doubt = [f"not applied: {reason}"] if gated and result.gate is None and (reason := _unfit(result, gated)) else []
    return [*doubt, f"patch: {patch}", f"apply it: {_by_hand(repo, patch)}", *_large(patch, result)]


def _to_file(name: str, patch: Path, result: RunResult) -> list[str]:
    try:
        data = patch.read_bytes()
        if name == STDOUT:
            write_out(data)
        else:
            write_whole(Path(name), data)
    except OSError as error:
        raise UsageError(f"--patch {name}: {error.strerror}", remedy=f"take {patch}") from None
    return [*([f"patch: {name}"] if name != STDOUT else []), *_large(patch, result)]


def _large(patch: Path, result: RunResult) -> list[str]:
    """What is to be said of a patch with contents that git does not hold."""
    if not _has_pointers(patch):
        return []
    return [
        "its large files (LFS) are pointers, whose contents git apply does not bring: "
        f"take swarm resume {result.run_id} --apply"
    ]


def _has_pointers(patch: Path) -> bool:
    data = patch.read_bytes()
    return _LFS in data and _POINTER.search(data) is not None


def _beside(result: RunResult) -> list[str]:
    """Where that is which could not be merged."""
    folder = Path(result.run_dir) / UNMERGED
    paths = [path for path in folder.glob("*.diff") if path.is_file()]
    if not paths:
        return []
    lines = [f"not merged: {len(paths)} {'patch' if len(paths) == 1 else 'patches'} in {folder}, each with the reason"]
    if any(map(_has_pointers, paths)):
        lines.append(f"large files (LFS) are pointers in them; the contents are in {folder.parent / 'repo.git/lfs'}")
    return lines


def _unfit(result: RunResult, gated: bool) -> str:
    """Why the patch should not be applied without a person's word, or nothing."""
    if gated and result.gate is None:
        return "the gate was not run on it"
    if result.gate is not None and not result.gate.passed:
        return f"the gate `{clean(result.gate.command)}` failed"
    if result.status not in (RunStatus.COMPLETED, RunStatus.PARTIAL):
        return f"the run ended {result.status.value}"
    return ""


def _apply(repo: Path, result: RunResult, gated: bool) -> str:
    from swarm.sandboxes.git.applying import apply_answer

    done = apply_answer(repo, Path(result.run_dir) / "repo.git")
    if done.there:
        return f"{repo} has all of it already: nothing was changed"
    if not done.merged:
        return f"applied to {repo}"
    tested = "; the gate ran on it without these changes" if gated else ""
    names = ", ".join(visible(name) for name in done.both[:5]) + (", ..." if len(done.both) > 5 else "")
    return f"applied to {repo}, merged with what was changed there meanwhile{': ' + names if names else ''}{tested}"


def _branch(name: str, result: RunResult, repo: Path) -> str:
    from swarm.sandboxes.git.branch import create_branch

    made = create_branch(repo, name, Path(result.run_dir) / "repo.git", run=result.run_id)
    inside = ", ".join(visible(str(folder.relative_to(repo))) for folder in made[1:])
    return f"branch: {name}{', also in ' + inside if inside else ''}"


def _by_hand(repo: Path, patch: Path) -> str:
    return f"git -C {shlex.quote(str(repo))} apply {shlex.quote(str(patch))}"
