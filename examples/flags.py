"""What all examples share: their flags, and the `swarm run` that they make of them.

`--model NAME` and `--base-url URL` are as `swarm run` has them: any endpoint that speaks the OpenAI chat API. Without
them a program stands in for the model, so that every example runs without a key; each says what that program is.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from swarm.errors import MachineError, SwarmError, UsageError
from swarm.legible import clean
from swarm.result import RunResult

EMBEDDED = "embedded"
ROOT = Path(__file__).resolve().parents[1]
DEFAULT_OUT = Path("demo-out")
MARK = ".swarm-example"
"""Stands in a folder whose files an example may replace."""


@dataclass(frozen=True, slots=True)
class Flags:
    """What was asked for on the command line. `out` is the example's folder; it is made, and what it holds replaced."""

    model: str
    base_url: str | None
    agents: int
    out: Path
    sandbox: str

    @property
    def embedded(self) -> bool:
        """Whether a program stands in for the model."""
        return self.model.partition(":")[0] == EMBEDDED and self.base_url is None

    @property
    def home(self) -> Path:
        """Where the example keeps its runs, apart from the user's."""
        return self.out.resolve() / "home"


def parser(name: str, description: str, *, agents: int = 8) -> argparse.ArgumentParser:
    """A parser with the flags of all examples; `python -m examples.NAME` is how it is called."""
    made = argparse.ArgumentParser(prog=f"python -m examples.{name}", description=description)
    made.add_argument("--model", default=EMBEDDED, metavar="NAME", help="the model; without one a program stands in")
    made.add_argument("--base-url", metavar="URL", help="the model's endpoint, such as http://localhost:8000/v1")
    made.add_argument("--agents", type=int, default=agents, metavar="N", help=f"sub-agents at once ({agents})")
    made.add_argument("--sandbox", default="auto", help="docker, bubblewrap or process (the strongest there is)")
    folder = DEFAULT_OUT / name
    made.add_argument(
        "--out", type=Path, default=folder, metavar="DIR", help=f"folder for all that it makes ({folder})"
    )
    return made


def flags_of(given: argparse.Namespace) -> Flags:
    """The common flags of what was parsed.

    Raises:
        UsageError: `--agents` is below 1, a file stands in the place of the folder, or it holds somebody's own files.
    """
    if given.agents < 1:
        raise UsageError(f"--agents {given.agents}: a number of at least 1 is wanted")
    try:
        given.out.mkdir(parents=True, exist_ok=True)
        ours = given.out.parent == DEFAULT_OUT or (given.out / MARK).exists()
        if not ours and any(given.out.iterdir()):  # what an example makes there it makes anew each time
            raise UsageError(
                f"--out {given.out}: it holds what no example made", remedy="name a new or an empty folder"
            )
        (given.out / MARK).touch()
    except OSError as error:
        raise UsageError(f"--out {given.out}: {error.strerror}", remedy="name a folder that can be written") from None
    return Flags(given.model, given.base_url, given.agents, given.out, given.sandbox)


def swarm_run(flags: Flags, task: str, *options: str, stand_in: tuple[str, str] | None = None) -> RunResult:
    """`swarm run` as a user would type it, which is shown; its output goes where ours does.

    `stand_in` are the name and the address of an endpoint that takes the place of the embedded one.

    Raises:
        MachineError, UsageError: it ended without a result; it has said why.
    """
    model, base_url = (stand_in or (flags.model, None)) if flags.embedded else (flags.model, flags.base_url)
    command = ["swarm", "run", task, "--model", model, *(["--base-url", base_url] if base_url else [])]
    command += ["--concurrency", str(flags.agents), "--sandbox", flags.sandbox, *options]
    say(" ".join(shlex.quote(word if len(word) < 100 else f"{word[:60].strip()}...") for word in command))
    before = set((flags.home / "runs").glob("*"))
    done = subprocess.run(
        [sys.executable, "-m", "swarm", *command[1:]], env=_environment(flags), stdin=subprocess.DEVNULL, check=False
    )
    new = [run for run in (flags.home / "runs").glob("*") if run not in before and (run / "result.json").is_file()]
    if not new:
        kind = MachineError if done.returncode == MachineError.exit_code else UsageError
        raise kind(f"swarm run ended with exit code {done.returncode} and without a result (see above)")
    return RunResult.model_validate_json((new[0] / "result.json").read_text(encoding="utf-8"))


def _environment(flags: Flags) -> Mapping[str, str]:
    """The user's own. Where no model is named, his settings of one are left out."""
    left_out = ("SWARM_", "OPENAI_") if flags.embedded else ("SWARM_HOME",)
    kept = {key: value for key, value in os.environ.items() if not key.startswith((*left_out, "PYTHONPATH"))}
    kept["PATH"] = search_path()
    if flags.embedded:
        kept["XDG_CONFIG_HOME"] = str(flags.out.resolve() / "config")
    return kept | {"SWARM_HOME": str(flags.home), "PYTHONPATH": str(ROOT)}


def search_path() -> str:
    """The user's PATH with this environment's Python first, activated or not: it has pytest."""
    own, path = str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)
    return path if path.split(os.pathsep)[0] == own else f"{own}{os.pathsep}{path}"


def tell(flags: Flags, result: RunResult, patch: Path | None = None) -> None:
    """What came of it in files and lines, and where to look at it."""
    if patch is not None and patch.exists():
        counted = subprocess.run(["git", "apply", "--stat", str(patch)], capture_output=True, text=True, check=False)
        print(counted.stdout, end="")
        say(f"patch: {patch}")
    say(f"what happened: SWARM_HOME={flags.home} swarm show {result.run_id}")
    say(f"on one page:   SWARM_HOME={flags.home} swarm report {result.run_id} --html {flags.out / 'report.html'}")


def guarded(name: str, example: Callable[[], int]) -> int:
    """Run an example: its exit code, or that of an error of swarm, which is told in a line."""
    try:
        return example()
    except SwarmError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130


def say(text: str) -> None:
    """One line on what happens, without what a terminal would obey: some of it a model said."""
    print(clean(text), flush=True)
