"""The page of a run of so many agents: python -m benchmarks.workers.page swarm|json JOURNAL

`json` only parses the journal: what any reader of it must spend. With Chromium here, ours tells also how soon the page
has drawn its first part, and one agent's conversation after the click.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chromium import Browser, chromium

_FRAME = "new Promise((done) => requestAnimationFrame(() => setTimeout(done)))"


def clicked(browser: Browser, script: str, ready: str = "true") -> float:
    """Milliseconds until what a click asked for is there and drawn."""
    wait = f"(async () => {{ while (!({ready})) await {_FRAME}; await {_FRAME}; }})()"
    took = browser.do(
        f"(async () => {{ const t = performance.now(); {script}; await {wait}; return performance.now() - t; }})()"
    )
    return float(took)


def opened(file: Path, folder: Path) -> dict[str, float]:
    """What a browser says."""
    with chromium("chromium", folder / "profile", "--window-size=1400,900") as browser:
        browser.open(file.as_uri())
        found = {"open_ms": float(browser.do("document.documentElement.dataset.ready"))}
        clicked(browser, "document.getElementById('tab-agents').click()")
        found["agent_ms"] = clicked(
            browser, "document.querySelector('[data-agent=s1]').click()", "document.querySelector('.talk[data-ready]')"
        )
    return found


def page(run: Path) -> dict[str, float]:
    """Ours."""
    from swarm.report.build import RunFolder, report

    began = time.perf_counter()
    text = report([RunFolder(run, "partial")])
    found = {"made_s": time.perf_counter() - began, "page_mb": len(text.encode()) / 1e6}
    if shutil.which("chromium"):
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "page.html"
            file.write_text(text, encoding="utf-8")
            found |= opened(file, Path(folder))
    return found


def parsed(run: Path) -> dict[str, float]:
    """The floor."""
    began = time.perf_counter()
    with (run / "events.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            json.loads(line)
    return {"made_s": time.perf_counter() - began}


if __name__ == "__main__":
    print(json.dumps({"swarm": page, "json": parsed}[sys.argv[1]](Path(sys.argv[2]))))
