"""What becomes of a run's patch: asked for on a terminal, applied, put on a branch, or written to a file."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from swarm.cli.stdio import complain, one_line
from swarm.cli.text import clean
from swarm.errors import SwarmError, UsageError
from swarm.result import RunResult
from swarm.types import RunStatus


def check_targets(args: argparse.Namespace, repo: Path | None) -> None:
    """Refuse before the run what could not be delivered after it.

    Raises:
        UsageError: there is no repository to apply to, the branch exists or cannot be, the file has no folder.
    """
    wanted = "--apply" if args.apply else "--branch" if args.branch else "--patch" if args.patch else ""
    if wanted and repo is None:
        raise UsageError(f"{wanted} needs a repository", remedy="leave out --no-repo or the option")
    if args.branch and repo is not None:
        if _git(repo, "check-ref-format", "--branch", args.branch).returncode:
            raise UsageError(f"--branch {args.branch}: not a name for a branch", remedy="choose another name")
        if not _git(repo, "show-ref", "--verify", "--quiet", f"refs/heads/{args.branch}").returncode:
            raise UsageError(f"the branch {args.branch} exists already", remedy="choose another name")
    if args.patch:
        target = Path(args.patch)
        if target.is_dir() or not os.access(target.parent, os.W_OK):
            raise UsageError(f"--patch {target}: cannot be written", remedy="name a file in a folder that exists")


def will_ask(args: argparse.Namespace, result: RunResult, repo: Path | None) -> bool:
    """Whether `deliver` asks the person at the terminal what to do."""
    if repo is None or result.patch_path is None or args.patch or args.branch or args.apply or args.json:
        return False
    return sys.stdin.isatty() and sys.stdout.isatty() and result.status is not RunStatus.CANCELLED


def deliver(
    args: argparse.Namespace, result: RunResult, repo: Path | None, *, gated: bool
) -> tuple[RunResult, list[str]]:
    """Do with the patch what was asked for, and say in a few lines what became of it.

    A patch that could not be delivered still lies in the run's folder; the envelope given back is then that of a
    run which did not do all it was asked for. `gated` says that the run has a gate, whether or not it was reached.
    """
    try:
        return result, _deliver(args, result, repo, gated)
    except (SwarmError, OSError) as error:
        status = RunStatus.PARTIAL if result.status is RunStatus.COMPLETED else result.status
        failed = result.model_copy(update={"status": status, "exit_code": result.exit_code or 1})
        return failed, [f"patch: {result.patch_path}", f"swarm: {one_line(str(error))}"]


def keep(result: RunResult) -> None:
    """Let `result.json` say what the envelope does: `runs` and `show` tell the same then."""
    path = Path(result.run_dir) / "result.json"
    try:
        if not path.is_file() or RunResult.model_validate_json(path.read_bytes()) == result:
            return
        partly = path.with_suffix(".tmp")
        partly.write_text(result.model_dump_json(indent=2))
        partly.replace(path)
    except (OSError, ValueError) as error:
        complain(f"swarm: {path} does not tell it: {one_line(str(error))}")


def _deliver(args: argparse.Namespace, result: RunResult, repo: Path | None, gated: bool) -> list[str]:
    if repo is None:
        return []
    if result.patch_path is None:
        return ["no patch: nothing was changed"]
    patch = Path(result.patch_path)
    if args.patch:
        try:
            Path(args.patch).write_bytes(patch.read_bytes())
        except OSError as error:
            raise UsageError(f"--patch {args.patch}: {error.strerror}", remedy=f"take {patch}") from None
        return [f"patch: {args.patch}"]
    if args.branch:
        return [_branch(args.branch, result, repo)]
    if args.apply:
        reason = _unfit(result, gated)
        if reason:
            return [f"not applied: {reason}", f"patch: {patch}", f"apply it all the same: {_by_hand(repo, patch)}"]
        return [_apply(repo, patch)]
    if will_ask(args, result, repo):
        return [_apply(repo, patch)] if _ask(repo, patch, _unfit(result, gated)) else [f"not applied; patch: {patch}"]
    return [f"patch: {patch}", f"apply it: {_by_hand(repo, patch)}"]


def _unfit(result: RunResult, gated: bool) -> str:
    """Why the patch should not be applied without a person's word, or nothing."""
    if gated and result.gate is None:
        return "the gate was not run on it"
    if result.gate is not None and not result.gate.passed:
        return f"the gate `{clean(result.gate.command)}` failed"
    if result.status not in (RunStatus.COMPLETED, RunStatus.PARTIAL):
        return f"the run ended {result.status.value}"
    return ""


def _ask(repo: Path, patch: Path, doubt: str) -> bool:
    stat = _git(repo, "apply", "--numstat", str(patch)).stdout.decode(errors="replace").splitlines()
    for row in stat[:20]:
        added, removed, path = [*row.split("\t", 2), "", ""][:3]
        complain(f"  {clean(path)}  +{added} -{removed}")
    if len(stat) > 20:
        complain(f"  and {len(stat) - 20} more files")
    warning = f"{doubt}. " if doubt else ""
    print(f"{warning}Apply the patch to {repo}? [y/N] ", end="", file=sys.stderr, flush=True)
    try:
        return input().strip().lower() in ("y", "yes")
    except (EOFError, KeyboardInterrupt):
        print(file=sys.stderr)
        return False


def _apply(repo: Path, patch: Path) -> str:
    from swarm.sandboxes.git.workspace import apply_to

    apply_to(repo, patch.read_bytes())
    return f"applied to {repo}"


def _branch(name: str, result: RunResult, repo: Path) -> str:
    from swarm.sandboxes.git.workspace import create_branch

    create_branch(repo, name, Path(result.run_dir) / "repo.git")
    return f"branch: {name}"


def _by_hand(repo: Path, patch: Path) -> str:
    return f"git -C {repo} apply {patch}"


def _git(repo: Path, *args: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(repo), *args], capture_output=True, check=False)
