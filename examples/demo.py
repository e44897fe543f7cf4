"""`make demo`: plant faults in a real package, let a swarm repair them, and tell what came of it.

SEED chooses the faults, FAULTS how many (default 12), AGENTS how many sub-agents may work at once (default 8),
SANDBOX one of docker, bubblewrap and process (default: the strongest that the machine has). Needs no key and no model.
"""

from __future__ import annotations

import ctypes
import os
import resource
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import anyio

from swarm.config import RunConfig
from swarm.errors import SwarmError, UsageError
from swarm.evals.fates import Fate, FaultFate, fates, merged_patches
from swarm.evals.faults import Planted
from swarm.evals.packages import BOLTONS, Package
from swarm.evals.repair.damage import TASK, damage
from swarm.evals.repair.origins import pinned
from swarm.evals.repair.retest import applied, failing
from swarm.events import AgentStarted, Event
from swarm.journal.reader import read_events
from swarm.result import RunResult

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "demo-out"
WHOLE = 175.0
"""Seconds for all of the demonstration; `single` gets what the rest leaves of it."""
LEAST, LONGEST = 30.0, 400.0
PR_SET_CHILD_SUBREAPER = 36


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says; `package` is what is damaged."""

    seed: int
    faults: int
    agents: int
    sandbox: str
    package: Package = BOLTONS


@dataclass(frozen=True, slots=True)
class ModeRun:
    """One run of the swarm on the damaged package, as its folder and the package's own tests tell it."""

    mode: str
    result: RunResult
    events: list[Event]
    ends: list[FaultFate]
    failing: frozenset[str] | None
    wall: float
    cpu: float
    limit: float

    @property
    def fixed(self) -> int:
        return sum(end.fate is not Fate.LEFT for end in self.ends)

    @property
    def green(self) -> bool:
        """The gate passed inside, and the package's tests pass in the tree that came out."""
        return self.result.gate is not None and self.result.gate.passed and self.failing == frozenset()


def main() -> int:
    """Run the demonstration; 0 where the plan mode made all tests pass."""
    began = time.monotonic()
    adopt_orphans()
    try:
        settings = read_settings()
        faulty, planted = damaged(settings)
        plan = swarm_run("plan", settings, faulty, planted, LONGEST)
        left = WHOLE - (time.monotonic() - began) - 2 * 5
        single = swarm_run("single", settings, faulty, planted, max(LEAST, left))
    except SwarmError as error:
        print(f"demo: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    tell(settings, planted, plan, single, time.monotonic() - began)
    return 0 if plan.green else 1


def read_settings() -> Settings:
    """Raises: UsageError: a variable is not the number that it should be."""
    numbers = {}
    for name, default, least in (("SEED", 1, 0), ("FAULTS", 12, 1), ("AGENTS", 8, 1)):
        text = os.environ.get(name) or str(default)
        if not text.isdecimal() or int(text) < least:
            raise UsageError(f"{name}={text}: a number of at least {least} is wanted")
        numbers[name] = int(text)
    return Settings(numbers["SEED"], numbers["FAULTS"], numbers["AGENTS"], os.environ.get("SANDBOX") or "auto")


def damaged(settings: Settings) -> tuple[Path, Planted]:
    """Fetch the package, plant the faults, and commit the damaged tree as a repository."""
    package = settings.package
    say(f"fetching {package.name} {package.version} (source distribution, pinned by hash)")
    faulty = OUT / package.name
    shutil.rmtree(faulty, ignore_errors=True)
    say(f"planting {settings.faults} faults, seed {settings.seed}: each alone must turn the package's own tests red")
    began = time.monotonic()
    cache = ROOT / ".cache" / "packages"
    planted = anyio.run(damage, pinned(package.name), cache, faulty, settings.faults, settings.seed)
    files = len({fault.file for fault in planted.faults})
    say(
        f"planted {len(planted.faults)} faults in {files} files in {time.monotonic() - began:.0f} s: "
        f"{len(planted.failing)} of {planted.tests} tests fail"
    )
    return faulty, planted


def swarm_run(mode: str, settings: Settings, faulty: Path, planted: Planted, seconds: float) -> ModeRun:
    """`swarm run` as a user would type it, and afterwards a look at what it left.

    Raises:
        UsageError: it ended without a result.
    """
    home, patch = OUT / "home", OUT / f"{mode}.patch"
    before = set((home / "runs").glob("*"))
    patch.unlink(missing_ok=True)
    command = ["swarm", "run", TASK.format(sources=settings.package.sources), "--repo", str(faulty), "--mode", mode]
    command += ["--model", "embedded", "--seed", str(settings.seed), "--concurrency", str(settings.agents)]
    command += ["--sandbox", settings.sandbox, "--test", settings.package.test, "--patch", str(patch)]
    command += ["--timeout", f"{seconds:.0f}"]
    say(f"swarm run --mode {mode}" + (f" (at most {seconds:.0f} s)" if mode == "single" else ""))
    began, cpu = time.monotonic(), children_cpu()
    subprocess.run(command, env=environment(home), stdin=subprocess.DEVNULL, check=False)
    wall, cpu = time.monotonic() - began, children_cpu() - cpu
    new = [
        folder for folder in (home / "runs").glob("*") if folder not in before and (folder / "result.json").is_file()
    ]
    if not new:
        raise UsageError(f"swarm run --mode {mode} left no result (see above)")
    result = RunResult.model_validate_json((new[0] / "result.json").read_text(encoding="utf-8"))
    events = list(read_events(new[0] / "events.jsonl"))
    final = OUT / f"{mode}-tree"
    red = final_tree(faulty, patch, final, settings)
    ends = fates(planted.faults, faulty, final, red, merged_patches(events, new[0] / "repo.git"))
    return ModeRun(mode, result, events, ends, red, wall, cpu, seconds)


def environment(home: Path) -> dict[str, str]:
    """The user's own, without his settings for swarm, and with this environment's Python first."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SWARM_", "OPENAI_", "PYTHON"))}
    return kept | {"PATH": _path(), "SWARM_HOME": str(home), "XDG_CONFIG_HOME": str(OUT / "config")}


def final_tree(faulty: Path, patch: Path, final: Path, settings: Settings) -> frozenset[str] | None:
    """Apply the patch to a copy of the damaged tree and run the package's tests there: those that fail, or None.

    Raises:
        UsageError: the patch does not apply.
    """
    shutil.rmtree(final, ignore_errors=True)
    if not applied(faulty, patch, final):
        raise UsageError(f"{patch} does not apply to the damaged package")
    sandbox = RunConfig.model_validate({"sandbox": settings.sandbox})
    return anyio.run(failing, final, settings.package.test, sandbox, OUT / "home")


def _path() -> str:
    """With the Python of this environment first, activated or not: it has pytest."""
    own = str(Path(sys.executable).parent)
    path = os.environ.get("PATH", os.defpath)
    return path if path.split(os.pathsep)[0] == own else f"{own}{os.pathsep}{path}"


def adopt_orphans() -> None:
    """Let what a sandbox leaves without a parent become a child of this process: its CPU time counts as well."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children_cpu() -> float:
    """CPU seconds of all processes that were started from here, near or far, and have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass  # there is none left
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def tell(settings: Settings, planted: Planted, plan: ModeRun, single: ModeRun, seconds: float) -> None:
    """The summary, for a person."""
    package = settings.package
    sandboxes = sorted({e.sandbox for e in plan.events if isinstance(e, AgentStarted) and e.sandbox})
    print(f"\n=== {package.name} {package.version}: what was broken, and what became of it (mode plan) ===")
    for number, end in enumerate(plan.ends, 1):
        fault = end.fault
        print(f"\n{number:>2}. {fault.file}:{fault.line} in {fault.function} ({fault.kind})")
        print(f"      was     {fault.old.strip()}\n      broken  {fault.new.strip()}")
        if end.line not in (fault.old, fault.new):
            print(f"      now     {end.line.strip() or '(the line is gone)'}")
        for line in end.instead[:3]:
            print(f"      instead {line.strip()}")
        hands = ", ".join(end.by)
        if end.fate is Fate.LEFT:
            fate = f"{end.fate}: tests that it had broken still fail" + (f" (changed by {hands})" if hands else "")
        else:
            fate = str(end.fate) + (f" by {hands}" if hands else "")
        print(f"      {fate}; it alone broke {count(len(fault.failing), 'test')}")
    print("\n=== plan against single ===\n")
    print(f"{'':<22}{'plan':>12}{'single':>12}")
    for label, *cells in (
        ("faults repaired", f"{plan.fixed} of {len(plan.ends)}", f"{single.fixed} of {len(single.ends)}"),
        ("  as they were", *(str(sum(e.fate is Fate.RESTORED for e in run.ends)) for run in (plan, single))),
        ("tests still failing", *(left_over(run) for run in (plan, single))),
        ("gate", *("passed" if run.green else "failed" for run in (plan, single))),
        ("wall time", f"{plan.wall:.0f} s", f"{single.wall:.0f} s"),
        ("CPU time", f"{plan.cpu:.0f} s", f"{single.cpu:.0f} s"),
        ("critical steps", str(plan.result.critical_steps), str(single.result.critical_steps)),
        ("all steps", str(plan.result.total_steps), str(single.result.total_steps)),
        ("sub-agents", str(plan.result.n_subagents), str(single.result.n_subagents)),
        ("at once", str(plan.result.peak_concurrency), str(single.result.peak_concurrency)),
        ("ended", plan.result.status.value, single.result.status.value),
    ):
        print(f"{label:<22}" + "".join(f"{cell:>12}" for cell in cells))
    if single.wall >= single.limit:
        print(f"(single was stopped after {single.limit:.0f} s: the rest of the demonstration's three minutes)")
    if "docker" in sandboxes:
        print("(CPU time is that of swarm itself: what runs in containers is not in it)")
    left = [end.fault for end in plan.ends if end.fate is Fate.LEFT]
    print(f"\nnot fixed in mode plan: {', '.join(f'{f.file}:{f.line}' for f in left) or 'nothing'}")
    print(f"sandbox: {', '.join(sandboxes) or 'unknown'}; seed {settings.seed}; {seconds:.0f} s in all")
    print(f"trajectory: {plan.result.run_dir}/events.jsonl (SWARM_HOME={OUT / 'home'} swarm show {plan.result.run_id})")
    print(f"patch: {OUT / 'plan.patch'}; the damaged package: {OUT / package.name}")
    print(
        "The embedded policy that stood in for a model is a program that searches for repairs. It is no language model."
    )


def left_over(run: ModeRun) -> str:
    """How many tests fail in the final tree."""
    return "no end" if run.failing is None else str(len(run.failing))


def count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def say(text: str) -> None:
    """One line on what happens now."""
    print(f"demo: {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
