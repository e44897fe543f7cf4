"""Repair a repository whose tests fail: a sub-agent for each suspected fault, and the tests as the gate.

python -m examples.repair                                           # a small repository, made for it; needs no model
python -m examples.repair --repo . --test "python -m pytest -q"     # a repository of yours
python -m examples.repair --repo . --test "npm test" --model NAME --base-url URL

Your checkout stays as it is: what comes out is a patch. Without a model a program stands in for one that searches for
small edits of Python code until the tests pass. It is no language model. `make demo` does the same with a real package
and counts what was found.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from examples.flags import flags_of, guarded, parser, say, swarm_run, tell
from swarm.errors import UsageError
from swarm.evals.packages import make_repository

TASK = "Make the failing tests pass. The fault is in the code, not in the tests."
TEST = "python -m pytest -q --tb=short -p no:cacheprovider"

SHOP = {
    "shop/__init__.py": "",
    "shop/prices.py": '''\
"""Prices in cents."""


def total(prices, discount=0):
    """The sum of all prices, less a discount."""
    result = 0
    for price in prices:
        result -= price
    return result - discount
''',
    "shop/stock.py": '''\
"""What is there."""


def missing(wanted, there):
    """What is wanted and not there, in order."""
    return [article for article in wanted if article in there]


def lowest(counts):
    """The article of which there is least."""
    return max(counts, key=counts.get)
''',
    "tests/test_prices.py": """\
from shop.prices import total


def test_total():
    assert total([100, 250]) == 350


def test_discount():
    assert total([1000], discount=300) == 700
""",
    "tests/test_stock.py": """\
from shop.stock import lowest, missing


def test_missing():
    assert missing(["tea", "salt"], {"salt"}) == ["tea"]
    assert missing([], {"salt"}) == []


def test_lowest():
    assert lowest({"tea": 3, "salt": 1}) == "salt"
    assert lowest({"tea": 1, "salt": 2, "rice": 3}) == "tea"
""",
    "conftest.py": "",
}
"""A package with three faults, and tests that show them."""


def main(arguments: list[str] | None = None) -> int:
    """Run the example; 0 where the tests pass in the end."""
    made = parser("repair", "repair a repository whose tests fail")
    made.add_argument("--repo", type=Path, metavar="PATH", help="a repository of yours, which stays as it is")
    made.add_argument("--test", metavar="CMD", help=f"the command that has to pass ({TEST})")
    made.add_argument("--task", default=TASK, help="what is to be done, in your words")
    given = made.parse_args(arguments)
    return guarded("repair", lambda: _main(given))


def _main(given: argparse.Namespace) -> int:
    flags = flags_of(given)
    repo = given.repo or make_shop(flags.out / "shop")
    if not repo.is_dir():
        raise UsageError(f"--repo {repo}: no such folder")
    patch = flags.out / "repair.patch"
    patch.unlink(missing_ok=True)
    test = given.test or TEST
    result = swarm_run(flags, given.task, "--repo", str(repo), "--test", test, "--patch", str(patch))
    tell(flags, result, patch)
    if flags.embedded:
        say("What stood in for a model is a program that searches for repairs of Python code. It is no language model.")
    return result.exit_code


def make_shop(folder: Path) -> Path:
    """The small repository, made anew."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in SHOP.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    make_repository(folder, "A shop with faults")
    say(f"made {folder}: {TEST} fails there")
    return folder


if __name__ == "__main__":
    sys.exit(main())
