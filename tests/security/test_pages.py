"""The pages that are made of runs and evaluations, in a real browser: nothing in them is run, nothing is asked for."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarm.evals.compare.build import Wanted, compare
from swarm.evals.compare.render import page as comparison
from swarm.report.build import RunFolder, report
from tests.chromium import Browser, chromium
from tests.evaluations import Made, arm, ids, write
from tests.security.foreign import Store, write_events
from tests.unit.test_redaction import events

RUN = "window.hacked=1"
HOSTILE = (
    f"</script><script>{RUN}</script><!--<script>--><img src=x onerror={RUN}><svg/onload={RUN}>"
    f"<a href='javascript:{RUN}' id=link>x</a>\"'><iframe srcdoc='<script>parent.{RUN}</script>'></iframe>"
    f"<style>*{{background:url(http://127.0.0.1:9/css)}}</style><base href='http://127.0.0.1:9/'>"
    "<meta http-equiv=refresh content='0;url=http://127.0.0.1:9/meta'><link rel=stylesheet href='//127.0.0.1:9/l'>"
    f"]]>--!>{{{{constructor.constructor('{RUN}')()}}}}`${{{RUN}}}` __proto__ &lt;script&gt; \u2028\u2029\\u003cscript>"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory, require: Callable[[object, str], None]) -> Iterator[Browser]:
    command = shutil.which("chromium")
    require(command, "chromium is not installed")
    with chromium(str(command), tmp_path_factory.mktemp("profile"), "--window-size=1280,900") as browser:
        yield browser


def opened(browser: Browser, page: Path) -> None:
    """It is shown; every part of it is looked at, and every folded one opened."""
    browser.requests.clear()
    browser.complaints.clear()
    browser.open(page.as_uri())
    for tab in browser.do("[...document.querySelectorAll('[role=tab]')].map((each) => each.id)"):
        browser.click(f"#{tab}")
        browser.do("document.querySelectorAll('.panel:not([hidden]) summary').forEach((each) => each.click())")
        browser.do(
            "document.querySelectorAll('.panel:not([hidden]) tr, g.node').forEach((each) => "
            "each.dispatchEvent(new MouseEvent('click', {bubbles: true})))"
        )
        browser.do("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    assert browser.do("window.hacked") is None
    foreign = (
        "iframe, object, embed, base, link, img, [onerror], [onload], a[href^=javascript], meta[http-equiv=refresh]"
    )
    assert browser.do(f"document.querySelectorAll({foreign!r}).length") == 0
    assert browser.requests == [page.as_uri()]
    assert browser.complaints == []


def test_a_run_in_which_everything_is_hostile(browser: Browser, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    store = Store(folder / "repo.git")
    told = list(events(HOSTILE))
    told[0] = told[0].model_copy(update={"base_commit": store.base, "models": {"planner": HOSTILE, HOSTILE: HOSTILE}})
    write_events(folder, told, f"</title>{HOSTILE}")
    name = HOSTILE.replace("\n", "").replace("/", "_")
    patch = f"diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -1 +1 @@ {HOSTILE}\n-{HOSTILE}\n+{HOSTILE}\n"
    (folder / "patch.diff").write_text(patch)
    (folder / "unmerged").mkdir()
    (folder / "unmerged/a.diff").write_text(patch)
    page = tmp_path / "page.html"
    for runs in ([RunFolder(folder, HOSTILE)], [RunFolder(folder, "completed"), RunFolder(folder, "crashed")]):
        page.write_text(report(runs))
        opened(browser, page)
        assert "onerror=window.hacked=1" in browser.do("document.body.innerText"), "it is there, as text"


def test_a_comparison_in_which_everything_is_hostile(browser: Browser, tmp_path: Path) -> None:
    named = HOSTILE.replace("/", "_")[:200]
    made = write(tmp_path / "e", Made([arm(named, 0.4), arm(f"b{named}", 0.6)], [*ids(3), f"x{HOSTILE}"]))
    page = tmp_path / "page.html"
    page.write_text(comparison(compare([made], Wanted()), tmp_path))
    opened(browser, page)
