"""`swarm report`: the page, opened in a real browser that clicks through it and must complain of nothing."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from swarm.evals.compare.build import Wanted, compare
from swarm.evals.compare.render import page as render_comparison
from swarm.events import StageStarted
from swarm.types import Plan, SubTask
from tests.big_run import big_run, write_run
from tests.chromium import Browser, chromium
from tests.evaluations import Made, arm, ids, write
from tests.integration.conftest import Cli, Files, Script, plan, submit, subtask, use

HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='hacked = 1'> \u2028 \x1b[31mred\x1b[0m"
TABS = ("overview", "plan", "timeline", "agents", "patch", "gate", "record")
READY = "document.querySelector('.talk[data-ready]')"
# The least contrast of a text with what stands behind it, and where that is.
CONTRAST = """(() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const linear = (v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = (rgb) => [0.2126, 0.7152, 0.0722].reduce((sum, part, n) => sum + part * linear(rgb[n] / 255), 0);
  const behind = (e) => {
    const own = e ? parts(getComputedStyle(e).backgroundColor) : [255, 255, 255];
    return own.length < 4 || own[3] === 1 ? own : behind(e.parentElement);
  };
  let least = [99, ""];
  for (const e of document.querySelectorAll("body *")) {
    const text = [...e.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!text || e.closest("svg") || !e.checkVisibility()) continue;
    const [a, b] = [light(parts(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least[0]) least = [ratio, `${e.tagName} ${e.className} ${e.textContent.slice(0, 40)}`];
  }
  return least;
})()"""


@pytest.fixture(scope="module")
def one_browser(tmp_path_factory: pytest.TempPathFactory, require: Callable[[object, str], None]) -> Iterator[Browser]:
    command = shutil.which("chromium")
    require(command, "chromium is not installed")
    with chromium(str(command), tmp_path_factory.mktemp("profile"), "--window-size=1280,900") as browser:
        yield browser


@pytest.fixture
def browser(one_browser: Browser) -> Iterator[Browser]:
    """It must not have asked for anything but the page, nor complained of it."""
    one_browser.complaints.clear()
    one_browser.requests.clear()
    yield one_browser
    assert one_browser.complaints == []
    assert all(url.startswith("file:///") and url.split("#")[0].endswith(".html") for url in one_browser.requests)
    assert one_browser.do("window.hacked") is None


def tab(browser: Browser, name: str) -> str:
    """Choose a part of the page with the mouse; its text."""
    browser.click(f"#tab-{name}")
    assert browser.do(f"document.querySelector('#tab-{name}').getAttribute('aria-selected')") == "true"
    return str(browser.do("document.querySelector('.panel:not([hidden])').innerText"))


def drawer(browser: Browser) -> str:
    """What the panel at the side says, with its conversation."""
    browser.until(READY)
    return str(browser.do("document.querySelector('#drawer').innerText"))


def test_a_run_is_told_whole_in_one_page(
    cli: Cli, script: Script, make_repo: Callable[[Files], Path], browser: Browser, tmp_path: Path
) -> None:
    repo = make_repo({"a.txt": "".join(f"line {n}\n" for n in range(30)), "old.txt": "old\n"})
    script.planner(
        plan(subtask("one"), subtask("two"), subtask("rival", instructions=f"work on rival {HOSTILE}")),
        {"json": {"rationale": "enough", "subtasks": []}},
    )
    edit = "sed -i 's/line 3$/first/' a.txt; printf '\\033[31mred\\033[0m'"
    other = "sed -i 's/line 25/second/' a.txt; rm old.txt; printf 'a\\0b' > blob.bin"
    script.agent("one", {**use("bash", command=edit), "content": HOSTILE}, submit("wrote the first line"))
    script.agent("two", use("bash", command=other), submit("wrote the second"))
    script.agent(
        "rival", use("bash", command="seq 9 > more; sed -i 's/line 3$/rival/' a.txt"), submit(f"rivalled {HOSTILE}")
    )
    done = cli.run(
        f"Change two lines {HOSTILE}", repo, "--model", script.model, "--test", "grep -q second a.txt", "--repairs", "0"
    )
    assert done.code == 1, done.err
    page = tmp_path / "page.html"
    report = cli("report", "last", "--html", str(page))
    assert report.code == 0, report.err
    text = page.read_text(encoding="utf-8")
    assert "\x1b" not in text
    assert HOSTILE[:20] not in text
    assert not re.search(r"(src|href)=.(?!#)", text.split('id="data"')[0])
    assert "default-src 'none'" in text

    browser.open(page.as_uri())
    result = json.loads((cli.runs[0] / "result.json").read_text())
    overview = tab(browser, "overview")
    assert "Change two lines </script><script>window.hacked = 1</script>" in overview
    assert f"{result['coverage']['useful']} of {result['coverage']['asked']}" in overview
    assert f"{result['critical_steps']} of {result['total_steps']}" in overview
    assert "rival" in overview

    tab(browser, "plan")
    browser.click("g.node[data-subtask=one]")
    said = drawer(browser)
    assert "wrote the first line" in said
    assert "<img src=x onerror=" in said
    browser.click("#drawer .item.call summary")
    browser.until("document.querySelector('#drawer .item.call .folded pre')")
    given_back = browser.do("document.querySelector('#drawer .item.call .folded pre:last-child').textContent")
    assert "red" in given_back
    assert "[31m" not in given_back
    browser.press("Escape")
    assert browser.do("document.querySelector('#drawer').hidden")

    tab(browser, "patch")
    browser.click(".panel:not([hidden]) .tools button")
    browser.until("document.querySelector('[data-file=\"a.txt\"][data-ready]')")
    rows = browser.do(
        '[...document.querySelectorAll(\'[data-file="a.txt"] tr.plus, [data-file="a.txt"] tr.minus\')]'
        ".map((row) => [row.querySelector('.who').dataset.author, row.querySelector('.code').textContent])"
    )
    assert rows == [["one", "-line 3"], ["one", "+first"], ["two", "-line 25"], ["two", "+second"]]
    patch = tab(browser, "patch")
    assert "blob.bin" in patch
    assert "binary" in patch
    assert "removed" in patch
    assert "Not merged: 1" in patch
    assert "on the base" in tab(browser, "gate")
    assert "rival" in tab(browser, "record")


def test_sixty_agents_are_read_by_keyboard_and_mouse_in_light_and_dark(
    cli: Cli, browser: Browser, tmp_path: Path
) -> None:
    folder = write_run(cli.home / "runs/big", big_run(60, 3))
    page = tmp_path / "big.html"
    assert cli("report", "big", "--html", str(page)).code == 0
    browser.open(page.as_uri())
    pictures = set()
    for scheme in ("light", "dark"):
        browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        for name in TABS:
            tab(browser, name)
            ratio, where = browser.do(CONTRAST)
            assert ratio >= 4.5, f"{scheme}, {name}: {where}"
        tab(browser, "timeline")
        pictures.add(browser.screenshot(tmp_path / f"{scheme}.png"))
    browser.click("#theme")
    assert browser.do("document.documentElement.dataset.theme") == "light"
    tab(browser, "timeline")
    pictures.add(browser.screenshot(tmp_path / "chosen.png"))
    assert len(pictures) >= 2

    tab(browser, "plan")
    assert browser.do("document.querySelectorAll('g.node').length") == 60
    browser.do("document.querySelector('g.node[tabindex=\"0\"]').focus()")
    browser.press("ArrowRight")
    browser.press("Enter")
    chosen = browser.do("document.querySelector('g.node[tabindex=\"0\"]').dataset.subtask")
    assert chosen != "s0"
    assert chosen in drawer(browser)
    browser.press("Escape")

    tab(browser, "timeline")
    browser.do("document.querySelector('.timeline canvas').focus()")
    browser.press("ArrowDown")
    browser.press("ArrowDown")
    browser.press("Enter")
    assert "sed -n 3,43p" in drawer(browser)
    browser.press("Escape")

    tab(browser, "agents")
    browser.do(
        "(() => { const e = document.querySelector('.panel:not([hidden]) input'); e.value = 's4';"
        "e.dispatchEvent(new Event('input')); })()"
    )
    assert browser.do("document.querySelectorAll('.agents tbody tr').length") == 11
    browser.click(".agents th:nth-child(7) button")
    assert browser.do("document.querySelector('.agents th[aria-sort=descending]').innerText").startswith("Tokens")

    ended = json.loads((folder / "events.jsonl").read_text().splitlines()[-1])
    assert ended["type"] == "run_end"


def test_two_runs_stand_side_by_side(cli: Cli, browser: Browser, tmp_path: Path) -> None:
    for seed, name in ((1, "first"), (2, "second")):
        folder = write_run(cli.home / "runs" / name, big_run(12, 4, seed))
        (folder / "patch.diff").write_text(
            "diff --git a/same b/same\n--- a/same\n+++ b/same\n@@ -1 +1 @@\n-a\n+b\n"
            f"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+{name}\n"
        )
    page = tmp_path / "two.html"
    assert cli("report", "first", "second", "--html", str(page)).code == 0
    browser.open(page.as_uri())
    said = tab(browser, "compare")
    assert "1 the same in both, 1 differs" in said
    assert "Both timelines on one scale" in said
    browser.click(".file[data-file=x] summary")
    browser.until("document.querySelector('.diff.beside tr.changed')")
    assert browser.do("[...document.querySelectorAll('.beside tr.changed td')].map((cell) => cell.innerText)") == [
        "+first",
        "+second",
    ]
    browser.click(".runs button:nth-child(2)")
    assert browser.do("document.querySelector('h1').innerText") == "swarm second"
    assert "Status" in tab(browser, "overview")
    assert len(browser.call("Page.printToPDF")["data"]) > 10_000


def test_words_of_the_plan_stay_in_their_boxes(cli: Cli, browser: Browser, tmp_path: Path) -> None:
    name = "07-debugutils-wrap-method-of-modules"
    plan = Plan(rationale="one", subtasks=(SubTask(id=name, title=name.replace("-", " "), instructions="Do it."),))
    write_run(cli.home / "runs/words", [next(big_run(2, 1)), StageStarted(stage=1, plan=plan, trajectory_id="o")])
    page = tmp_path / "words.html"
    assert cli("report", "words", "--html", str(page)).code == 0
    browser.open(page.as_uri())
    tab(browser, "plan")
    spilt = (
        "(() => { const right = (e) => e.getBoundingClientRect().right; const node = document.querySelector('.node');"
        "return [...node.querySelectorAll('text')].map((text) => right(text) - right(node.querySelector('rect'))); })()"
    )
    assert [by for by in browser.do(spilt) if by > 0] == []


def test_arms_of_evaluations_stand_beside_each_other(browser: Browser, tmp_path: Path) -> None:
    hostile = f"x{HOSTILE[:60]}"
    arms = [
        arm("single", 0.3),
        arm("plan-4", 0.6, cost=0.2),
        arm("parl-4", 0.5, lost=0.1),
        arm(f"plan-9{HOSTILE}", 0.5),
    ]
    folder = write(tmp_path / "made" / "an evaluation", Made(arms, [*ids(30), hostile], epochs=2))
    page = tmp_path / "page.html"
    page.write_text(render_comparison(compare([folder], Wanted()), tmp_path), encoding="utf-8")
    browser.open(page.as_uri())
    assert browser.do("document.documentElement.dataset.ready") is not None
    texts = "[...document.querySelectorAll('%s')].map((each) => each.textContent)"
    assert len(browser.do(texts % "#pareto svg .point")) == 3 * 4
    assert "parl-4: " in browser.do("document.querySelector('.notes').innerText")
    assert browser.do("document.querySelectorAll('#pareto .frontier').length") == 3
    for pick, value in (("metric", "cost_usd"), ("kind", "won"), ("search", "project-101")):
        browser.do(
            f"(() => {{ const box = document.getElementById('{pick}'); box.value = '{value}'; "
            "for (const kind of ['input', 'change']) box.dispatchEvent(new Event(kind)); })()"
        )
    assert any(each.startswith("+$0.1") for each in browser.do(texts % "#differences td .estimate"))
    names = browser.do(texts % "#instances .instances td:first-child")
    assert 0 < len(names) <= 10
    assert all("project-101" in name for name in names)
    link = browser.do("document.querySelector('a.mark').getAttribute('href')")
    assert link.startswith("./made/an%20evaluation/instances/project__project-101")
    for theme in ("light", "dark"):
        browser.do(f"document.documentElement.dataset.theme = '{theme}'")
        ratio, where = browser.do(CONTRAST)
        assert ratio >= 4.5, (theme, where)
    browser.call("Emulation.setDeviceMetricsOverride", width=380, height=800, deviceScaleFactor=1, mobile=False)
    browser.open(page.as_uri())
    assert browser.do("document.documentElement.scrollWidth") <= 380
    browser.call("Emulation.clearDeviceMetricsOverride")
    assert HOSTILE[:20] not in page.read_text(encoding="utf-8")


def test_a_run_that_has_not_ended_is_told_as_far_as_it_went(cli: Cli, browser: Browser, tmp_path: Path) -> None:
    events = list(big_run(12, 4))
    half = sorted(events, key=lambda event: event.mono)[: len(events) // 2]
    journal = write_run(cli.home / "runs/half", half) / "events.jsonl"
    with journal.open("a") as file:
        file.write('{"v":1,"seq":')  # torn
    page = tmp_path / "half.html"
    assert cli("report", "half", "--html", str(page)).code == 0
    browser.open(page.as_uri())
    assert "Its process ended before the run did" in tab(browser, "overview")
    assert "cut off" in tab(browser, "agents")

    hold = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, 2); print('open', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(journal)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        assert writer.stdout.readline() == "open\n"
        live = cli("report", "half", "--html", "-")
        writer.stdin.close()
    page.write_text(live.out, encoding="utf-8")
    browser.open(page.as_uri())
    assert "The run is at work" in tab(browser, "overview")
    assert "working" in tab(browser, "plan")


def test_what_cannot_be_reported_is_refused_and_nothing_is_lost(cli: Cli, tmp_path: Path) -> None:
    folder = write_run(cli.home / "runs/run", big_run(2, 1))
    page = tmp_path / "page.html"
    page.write_text("what was here")
    without = cli("report", "run")
    assert (without.code, "--html" in without.err) == (2, True)
    assert cli("report", "run", "run", "run", "--html", str(page)).code == 2
    assert cli("report", "nothing", "--html", str(page)).code == 2
    assert cli("report", "run", "--html", str(tmp_path / "no/such/page.html")).code == 2
    full = cli("report", "run", "--html", "/dev/full")
    assert (full.code, "/dev/full cannot be written: No space left" in full.err) == (3, True)
    assert "names no file" in cli("report", "run", "--html", "").err
    lines = (folder / "events.jsonl").read_text().splitlines()
    (folder / "events.jsonl").write_text("\n".join([*lines[:3], '{"type": "call"}', *lines[3:]]) + "\n")
    damaged = cli("report", "run", "--html", str(page))
    assert damaged.code == 3
    assert "events.jsonl, line 4" in damaged.err
    assert page.read_text() == "what was here"
    assert not list(tmp_path.glob(".page*"))
