"""Train a small orchestrator from logs: see docs/parl.md. All that is made lies in `--out` (demo-out/parl).

python -m examples.parl rollouts             # a training by hand: runs of the real runtime, kept and exported as rows
python -m examples.parl train                #   one update of the policy, from nothing but the rows
python -m examples.parl evaluate             #   held-out tasks
python -m examples.parl                      # a whole training, 80 times these, and its table
python -m examples.parl --seeds 3 --recipes all
                                             # the study of docs/parl.md: every recipe; goes on where it was stopped
python -m examples.parl.picture DIR --to docs/images/parl.svg
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import anyio

from examples.flags import guarded
from examples.parl.picture import read, table
from examples.parl.recipes import BEFORE, RECIPES
from swarm.errors import UsageError
from swarm.removal import remove_tree

USUAL = f"{BEFORE},full"
_SHOWN = ("perf", "wide_perf", "chain_perf", "wide_delegated", "chain_delegated", "finish_rate", "critical_steps")


def main(arguments: list[str] | None = None) -> int:
    """Run as the arguments say; 0 where every training came to its end."""
    parser = argparse.ArgumentParser(prog="python -m examples.parl", description="train an orchestrator from logs")
    parser.add_argument("step", nargs="?", choices=("rollouts", "train", "evaluate"), help="one part of a training")
    parser.add_argument("--out", type=Path, default=Path("demo-out/parl"), help="folder for all of it (demo-out/parl)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="seeds 0 to N-1 of each recipe (1)")
    parser.add_argument("--recipes", default=USUAL, metavar="A,B", help=f"all, or of {', '.join(RECIPES)} ({USUAL})")
    parser.add_argument("--only", metavar="RECIPE:SEED", help="this one training alone, in this process")
    given = parser.parse_args(arguments)
    return guarded("parl", lambda: _main(given))


def _main(given: argparse.Namespace) -> int:
    if importlib.util.find_spec("torch") is None:
        raise UsageError("torch is not installed", remedy="pip install -r examples/parl/requirements.txt")
    names = list(RECIPES) if given.recipes == "all" else given.recipes.split(",")
    only, _, seed = (given.only or "").partition(":")
    for name in [*names, *([only] if only else [])]:
        if name not in RECIPES:
            raise UsageError(f"no recipe {name!r}: there are {', '.join(RECIPES)}")
    if only and not seed.isdecimal():
        raise UsageError(f"--only {given.only}: it has the form RECIPE:SEED, such as full:0")
    given.out.mkdir(parents=True, exist_ok=True)
    base = given.out / "base.pt"
    if not base.exists():
        _make_base(base)
    if given.step:
        return _step(given.step, given.out, base)
    if only:
        return _one(given.out, only, int(seed), base)
    failed = 0
    for number in range(given.seeds):
        for name in names:
            if _is_done(result_of(given.out, name, number)):
                continue
            began = time.monotonic()
            command = [sys.executable, "-m", "examples.parl", "--out", str(given.out), "--only", f"{name}:{number}"]
            done = subprocess.run(command, check=False)
            failed += done.returncode != 0
            print(f"{name}, seed {number}: {time.monotonic() - began:.0f} s, exit {done.returncode}", flush=True)
    print(table({name: read(given.out, name) for name in names}))
    return int(failed > 0)


def result_of(out: Path, name: str, seed: int) -> Path:
    """The lines of one training."""
    return out / f"{name}-{seed}.jsonl"


def _step(step: str, out: Path, base: Path) -> int:
    """One part of a training by hand."""
    import torch

    from examples.parl.recipes import FULL
    from examples.parl.steps import Workshop

    torch.set_num_threads(1)
    shop = Workshop(out, base, FULL)
    if step == "train":
        learned = shop.train()
        print(f"version {shop.policy()[0].version}: {_told(learned, learned)}")
        return 0
    version = shop.policy()[0].version
    found = anyio.run(shop.roll if step == "rollouts" else shop.evaluate)
    print(f"version {version}, {found['runs']:.0f} {'runs' if step == 'rollouts' else 'held-out runs'}: ", end="")
    print(_told(found, _SHOWN))
    if step == "rollouts":
        print(f"rows: {shop.rows}\nlogs: SWARM_HOME={shop.home.resolve()} swarm runs (show, validate, report, export)")
    return 0


def _told(figures: dict[str, float], names: tuple[str, ...] | dict[str, float]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {figures[name]:.3g}" for name in names)


def _make_base(path: Path) -> None:
    import torch

    from examples.parl.pretraining import Pretraining, pretrained

    torch.set_num_threads(1)
    print("making the policy that all begin with, by imitation (a minute)", flush=True)
    began = time.monotonic()
    policy = pretrained(Pretraining())
    part = path.with_suffix(".part")
    torch.save(policy.state_dict(), part)
    part.replace(path)
    count = sum(each.numel() for each in policy.parameters())
    print(f"made it: {count} parameters, {time.monotonic() - began:.0f} s", flush=True)


def _one(out: Path, name: str, seed: int, base: Path) -> int:
    import torch

    from examples.parl.policy import Policy
    from examples.parl.training import Plan, train

    torch.set_num_threads(1)
    policy = Policy()
    policy.load_state_dict(torch.load(base, weights_only=True))
    work = out / "work" / f"{name}-{seed}"
    if work.exists():
        remove_tree(work)
    work.mkdir(parents=True)
    learned = anyio.run(train, Plan(name, RECIPES[name], seed, result_of(out, name, seed), work), policy)
    torch.save(learned.state_dict(), out / f"{name}-{seed}.pt")
    remove_tree(work)
    return 0


def _is_done(path: Path) -> bool:
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return bool(lines) and json.loads(lines[-1]).get("last") is True


if __name__ == "__main__":
    sys.exit(main())
