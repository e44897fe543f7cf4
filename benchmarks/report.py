"""The page of `swarm report` at 5, 60 and 300 agents: how long it takes to make, how large it is, how fast it opens.

    python benchmarks/report.py [--agents 5 60 300] [--turns 50] [--json FILE]

Made-up journals (tests/big_run.py) of so many turns an agent; Chromium, headless. `interactive`: from the navigation
until the page has drawn its first part; `plan`, `timeline`, `agents`, `agent`: from the click until the next frame
after it is drawn (`agent`: one agent's conversation, unpacked).
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from measure import machine, save

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' parts are in no package

from swarm.report.build import RunFolder, report
from tests.big_run import big_run, write_run
from tests.chromium import Browser, chromium

_FRAME = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"


def clicked(browser: Browser, script: str, ready: str = "true") -> float:
    """Milliseconds until what a click asked for is there and drawn."""
    wait = f"(async () => {{ while (!({ready})) await {_FRAME}; await {_FRAME}; }})()"
    took = browser.do(
        f"(async () => {{ const t = performance.now(); {script}; await {wait}; return performance.now() - t; }})()"
    )
    return float(took)


def measured(folder: Path, agents: int, turns: int) -> dict[str, float]:
    """All figures of one size: seconds, megabytes, milliseconds."""
    run = write_run(folder / f"run-{agents}", big_run(agents, turns))
    began = time.perf_counter()
    page = report([RunFolder(run, "partial")])
    found = {"journal MB": (run / "events.jsonl").stat().st_size / 1e6, "made s": time.perf_counter() - began}
    file = folder / f"{agents}.html"
    file.write_text(page, encoding="utf-8")
    found["page MB"] = file.stat().st_size / 1e6
    with chromium("chromium", folder / f"profile-{agents}", "--window-size=1400,900") as browser:
        browser.open(file.as_uri())
        found["interactive ms"] = float(browser.do("document.documentElement.dataset.ready"))
        for tab in ("plan", "timeline", "agents"):
            found[f"{tab} ms"] = clicked(browser, f"document.getElementById('tab-{tab}').click()")
        found["agent ms"] = clicked(
            browser, "document.querySelector('[data-agent=s1]').click()", "document.querySelector('.talk[data-ready]')"
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, nargs="+", default=[5, 60, 300])
    parser.add_argument("--turns", type=int, default=50)
    parser.add_argument("--json", metavar="FILE")
    options = parser.parse_args()
    if shutil.which("chromium") is None:
        sys.exit("chromium is not installed")
    with tempfile.TemporaryDirectory() as folder:
        rows = {agents: measured(Path(folder), agents, options.turns) for agents in options.agents}
    print(f"{options.turns} turns an agent; {machine()}")
    for name in next(iter(rows.values())):
        print(f"{name:16}" + "".join(f"{row[name]:10.2f}" for row in rows.values()))
    save(options.json, **{str(agents): row for agents, row in rows.items()})


if __name__ == "__main__":
    main()
