"""Run a soak: `python -m tests.soak --minutes 120 --out FOLDER`. Exit code 1 where something does not stay flat."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from pathlib import Path

import anyio

from tests.soak.drive import Load, Tally, soak
from tests.soak.place import Missing, open_place
from tests.soak.verdict import leaks, read_samples, settled, trends


def main() -> int:
    """The whole: FOLDER/samples.jsonl grows meanwhile, FOLDER/verdict.json comes last. A signal ends it early."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=120.0)
    parser.add_argument("--lap", type=float, default=50.0, help="seconds of new runs before each sample")
    parser.add_argument("--at-once", type=int, default=3, help="runs at once")
    parser.add_argument("--faults", type=float, default=0.06, help="share of the endpoint's answers that are a fault")
    parser.add_argument("--sandboxes", default="process=4,bubblewrap=3,docker=1", help="which, and how often each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER")
    args = parser.parse_args()
    shares = {name: float(share) for name, _, share in (each.partition("=") for each in args.sandboxes.split(","))}
    args.out.mkdir(parents=True, exist_ok=True)
    samples = args.out / "samples.jsonl"
    samples.unlink(missing_ok=True)
    load = Load(60 * args.minutes, args.lap, shares, at_once=args.at_once, seed=args.seed)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: load.over.set())
    began = time.monotonic()
    try:
        with open_place(args.out / "place", args.faults, args.seed, with_engine="docker" in shares) as place:
            tally = anyio.run(soak, place, load, samples)
    except Missing as missing:
        sys.stderr.write(f"soak: {missing}; leave it out of --sandboxes\n")
        return 3
    return _tell(tally, samples, args.out, (time.monotonic() - began) / 60)


def _tell(tally: Tally, samples: Path, out: Path, minutes: float) -> int:
    seen = read_samples(samples)
    found = leaks(seen)
    went = {name: each for name, each in trends(seen).items() if not name.startswith("type:")}
    told = {
        "minutes": round(minutes, 1),
        "samples": len(seen),
        "warm_up": settled(len(seen)),
        "runs": tally.runs,
        "kinds": tally.kinds,
        "statuses": tally.statuses,
        "made_of_runs": tally.made_of_runs,
        "trends": {name: each._asdict() for name, each in went.items()},
        "leaks": found,
        "wrong": tally.wrong,
    }
    (out / "verdict.json").write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    _say(f"{tally.runs} runs in {minutes:.1f} min: {dict(tally.statuses)}")
    for name, each in went.items():
        _say(f"  {name:22} {each.first:12.1f} → {each.last:12.1f}   line {each.rise:+9.1f}")
    for line in [*found, *tally.wrong]:
        _say(f"soak: {line}")
    _say("soak: flat" if not found and not tally.wrong else "soak: NOT flat")
    return 1 if found or tally.wrong else 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
