"""Make the proof: train every recipe with every seed, one after the other, each in a process of its own.

python -m examples.parl --seeds 3 --out DIR              # all of it; goes on where it was stopped
python -m examples.parl --out DIR --only full:0          # one training, in this process
python -m examples.parl.picture DIR --to docs/images/parl.svg
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import anyio
import torch

from examples.parl.policy import Policy
from examples.parl.pretraining import Pretraining, pretrained
from examples.parl.recipes import RECIPES
from examples.parl.training import Plan, train
from swarm.removal import remove_tree


def main(arguments: list[str] | None = None) -> int:
    """Run as the arguments say; 0 where every training came to its end."""
    parser = argparse.ArgumentParser(prog="python -m examples.parl", description="train an orchestrator from logs")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results, and for the work")
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N-1 of each recipe")
    parser.add_argument("--recipes", default=",".join(RECIPES), metavar="A,B", help=f"of {', '.join(RECIPES)}")
    parser.add_argument("--only", metavar="RECIPE:SEED", help="this one training alone")
    given = parser.parse_args(arguments)
    if wrong := [name for name in given.recipes.split(",") if name not in RECIPES]:
        parser.error(f"no recipe {wrong[0]!r}: there are {', '.join(RECIPES)}")
    given.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    begin_with = given.out / "base.pt"
    if not begin_with.exists():
        _make_base(begin_with)
    if given.only:
        name, _, seed = given.only.partition(":")
        return _one(given.out, name, int(seed), begin_with)
    failed = 0
    for seed in range(given.seeds):
        for name in given.recipes.split(","):
            if _is_done(result_of(given.out, name, seed)):
                continue
            began = time.monotonic()
            command = [sys.executable, "-m", "examples.parl", "--out", str(given.out), "--only", f"{name}:{seed}"]
            done = subprocess.run(command, check=False)
            failed += done.returncode != 0
            print(f"{name}, seed {seed}: {time.monotonic() - began:.0f} s, exit {done.returncode}", flush=True)
    return int(failed > 0)


def result_of(out: Path, name: str, seed: int) -> Path:
    """The lines of one training."""
    return out / f"{name}-{seed}.jsonl"


def _make_base(path: Path) -> None:
    began = time.monotonic()
    policy = pretrained(Pretraining())
    part = path.with_suffix(".part")
    torch.save(policy.state_dict(), part)
    part.replace(path)
    count = sum(each.numel() for each in policy.parameters())
    print(f"made the policy that all begin with: {count} parameters, {time.monotonic() - began:.0f} s", flush=True)


def _one(out: Path, name: str, seed: int, base: Path) -> int:
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
