"""What `make audit` asks: licences, reproducible packages, and known vulnerabilities of all that is locked.

    python -m tests.supply.audit PIP_AUDIT...

`PIP_AUDIT...`: the command that starts pip-audit. Exit code 0: all is well; 1: something was found; 3: nothing was
found, but not all of it was looked at: `not checked: ...` says why. pip-audit alone says "no known vulnerabilities" too
where its source knows none of the packages. So it is first asked about a version that is known to be vulnerable, and is
trusted only where it says so.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tests.supply.licences import is_allowed, licence_of, told
from tests.supply.locked import FILES, read_lock

ROOT = Path(__file__).resolve().parents[2]
FOUND, NOT_CHECKED = 1, 3
VULNERABLE = ("idna", "3.6")
"""A version with a vulnerability that every source has known since 2024."""

_TIMEOUT_S = 600
_SERVICES = ("pypi", "osv")

Known = dict[str, list[str]]
"""The vulnerabilities of each package, `NAME VERSION`, that a source knows of; of one that it does not know nothing."""

Ask = Callable[[str, str], Known]
"""Asks a source, by its name, about the lines of a requirements file. Raises OSError where it gives no answer."""


class Verdict(NamedTuple):
    """`found`: lines about what is wrong. `unchecked`: why not everything could be looked at."""

    found: list[str]
    unchecked: list[str]

    @property
    def exit_code(self) -> int:
        return FOUND if self.found else NOT_CHECKED if self.unchecked else 0


def vulnerabilities(ask: Ask, packages: Iterable[tuple[str, str]], services: Sequence[str] = _SERVICES) -> Verdict:
    """Ask the first source that knows what everyone knows."""
    reasons: list[str] = []
    wanted = sorted(set(packages))
    for service in services:
        try:
            if not ask(service, _line(*VULNERABLE)).get(" ".join(VULNERABLE)):
                reasons.append(f"{service} does not know that {' '.join(VULNERABLE)} is vulnerable")
                continue
            known = ask(service, "\n".join(_line(name, version) for name, version in wanted))
        except OSError as error:
            reasons.append(f"{service}: {error}")
            continue
        found = [f"{package}: {', '.join(ids)} ({service})" for package, ids in known.items() if ids]
        unknown = [f"{name} {version}" for name, version in wanted if f"{name} {version}" not in known]
        return Verdict(found, [f"{service} knows nothing of {', '.join(unknown)}"] if unknown else [])
    return Verdict([], [f"vulnerabilities: {'; '.join(reasons)}"])


def _line(name: str, version: str) -> str:
    return f"{name}=={version}"


def by_pip_audit(command: Sequence[str]) -> Ask:
    """A source that is asked by pip-audit."""

    def ask(service: str, lines: str) -> Known:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(lines + "\n")
            file.flush()
            words = ["-r", file.name, "--no-deps", "--disable-pip", "-s", service, "-f", "json"]
            quiet = ["--progress-spinner", "off", "--timeout", "10"]
            try:
                done = subprocess.run([*command, *words, *quiet], capture_output=True, text=True, timeout=_TIMEOUT_S)
                told = json.loads(done.stdout)["dependencies"]
            except (ValueError, KeyError):
                last = (done.stderr.strip().splitlines() or ["it says nothing"])[-1]
                raise OSError(last[:200]) from None
            except subprocess.TimeoutExpired:
                raise OSError(f"no answer within {_TIMEOUT_S} s") from None
        return {
            f"{each['name']} {each['version']}": [vulnerability["id"] for vulnerability in each["vulns"]]
            for each in told
            if "skip_reason" not in each
        }

    return ask


def licences(root: Path) -> list[str]:
    """Locked packages whose licence is not known or not allowed, a line each."""
    say = told(root / "requirements/licences.toml")
    found: list[str] = []
    for name in sorted({each.name for file in FILES[:3] for each in read_lock(root / f"requirements/{file}.txt")}):
        licence = licence_of(name, say)
        if licence is None:
            found.append(f"{name}: its metadata names no licence: look, and say so in requirements/licences.toml")
        elif not is_allowed(licence):
            found.append(f"{name}: {licence} is not among the allowed licences")
    return found


def reproducible(root: Path) -> list[str]:
    """Packages that differ from one build to the next, or from those built from the unpacked source, a line each."""
    found: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        sdist = _built(root, "sdist", place / "1")
        subprocess.run(["tar", "-xzf", sdist, "-C", folder], check=True)
        [unpacked] = (each for each in islice(place.iterdir(), 10) if each.name.startswith("swarm-"))
        for kind in ("sdist", "wheel"):
            first = _built(root, kind, place / f"{kind}-first").read_bytes()
            if _built(unpacked, kind, place / f"{kind}-again").read_bytes() != first:
                found.append(f"{kind}: the one that is built from its own source differs")
    return found


def _built(source: Path, kind: str, into: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(into)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    [made] = into.iterdir()
    return made


def main(command: Sequence[str]) -> int:
    packages = {(each.name, each.version) for file in FILES for each in read_lock(ROOT / f"requirements/{file}.txt")}
    known = vulnerabilities(by_pip_audit(command), packages)
    verdict = Verdict([*licences(ROOT), *reproducible(ROOT), *known.found], known.unchecked)
    for line in verdict.found:
        sys.stdout.write(f"audit: {line}\n")
    for line in verdict.unchecked:
        sys.stdout.write(f"audit: not checked: {line}\n")
    if not verdict.exit_code:
        sys.stdout.write(
            f"audit: {len(packages)} locked packages: hashes, licences, vulnerabilities, builds are fine\n"
        )
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
