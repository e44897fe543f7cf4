"""Upgrade a dependency across a repository: a sub-agent for each program that uses it, and the tests as the gate.

python -m examples.upgrade                                          # real programs, pyparsing 2 to 3, no model needed
python -m examples.upgrade --changed --model NAME --base-url URL    # and one that wants more than new names
python -m examples.upgrade --repo . --test "pytest -q" --task "..." # a repository of yours

Without a model `policy.py` stands in for one: it renames what warnings of deprecation say is called otherwise now, and
can do nothing else. It is no language model.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from anyio.from_thread import start_blocking_portal

from examples.flags import ROOT, flags_of, guarded, parser, say, swarm_run, tell
from examples.upgrade import programs
from examples.upgrade.policy import WHAT_I_AM, UpgradePolicy
from swarm.embedded.server import running_endpoint
from swarm.errors import UsageError

ANY_TASK = """\
A dependency of this repository was upgraded. Bring the code to its new API: nothing that is deprecated may be used, \
and the tests must pass. Do not silence warnings. Each module is upgraded apart from the others."""


def main(arguments: list[str] | None = None) -> int:
    """Run the example; 0 where the gate passed."""
    made = parser("upgrade", "upgrade a dependency across a repository")
    made.add_argument("--programs", type=int, default=12, metavar="N", help=f"of {len(programs.RENAMED)} (12)")
    made.add_argument("--changed", action="store_true", help="and one that wants more than new names: for a model")
    made.add_argument("--repo", type=Path, metavar="PATH", help="a repository of yours in place of them, with --test")
    made.add_argument("--test", metavar="CMD", help="the command that has to pass there, and shows the warnings")
    made.add_argument("--task", default=ANY_TASK, help="what was upgraded there, in your words")
    given = made.parse_args(arguments)
    return guarded("upgrade", lambda: _main(given))


def _main(given: argparse.Namespace) -> int:
    flags = flags_of(given)
    if (given.repo is None) != (given.test is None):
        raise UsageError("--repo and --test belong together: a repository, and the command that has to pass in it")
    repo, task, test = given.repo, given.task, given.test
    if repo is None:
        repo, task, test = flags.out / "programs", programs.TASK, programs.OLD.test
        chosen = programs.choice(given.programs, changed=given.changed)
        say(f"making {repo}: {len(chosen)} programs of pyparsing {programs.OLD.version}, with {programs.NEW_VERSION}")
        shutil.rmtree(repo, ignore_errors=True)
        programs.make(repo, ROOT / ".cache" / "packages", chosen)
    patch = flags.out / "upgrade.patch"
    patch.unlink(missing_ok=True)
    options = ("--repo", str(repo), "--test", test, "--patch", str(patch))
    if flags.embedded:
        with served() as base_url:
            result = swarm_run(flags, task, *options, stand_in=(UpgradePolicy.name, base_url))
    else:
        result = swarm_run(flags, task, *options)
    tell(flags, result, patch)
    if flags.embedded:
        say(f"What stood in for a model says of itself: {WHAT_I_AM}.")
    return result.exit_code


@contextmanager
def served() -> Iterator[str]:
    """The policy behind an endpoint in a thread of this process: its address."""
    policy = UpgradePolicy()
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(running_endpoint({policy.name: policy})) as base_url,
    ):
        yield base_url


if __name__ == "__main__":
    sys.exit(main())
