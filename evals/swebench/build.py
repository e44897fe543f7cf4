"""Images of instances made here, where no registry can be reached: a base with the right Python, the packages that
swebench's resources pin, and the repository at its commit, in the places where official images have them."""

from __future__ import annotations

import os
import shlex
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio.to_thread

from swarm.errors import SandboxError
from swarm.evals.swebench.base import TESTBED
from swarm.evals.swebench.checkout import check_out, find_mirror
from swarm.evals.swebench.container import Wanted, digest_of, open_container
from swarm.evals.swebench.environment import Environment
from swarm.evals.swebench.rows import Row
from swarm.sandboxes.docker.engine import Engine
from swarm.sandboxes.docker.images import BUILT, LABEL_KIND
from swarm.sandboxes.images.build import build_image, is_current
from swarm.sandboxes.images.recipe import Wish, plan_image
from swarm.sandboxes.leases.lease import open_lease
from swarm.sandboxes.leases.leftover import LABEL

BASE = "swarm-swebench"
PACKAGES = ("build-essential", "locales", "tzdata")
_SOURCE, _BUILD = "/swarm-source", "/swarm-build"
_BUILD_S = 3600.0
_ENV = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
"""The eval script installs the repository again: with what is in the image, as there may be no network."""

_PASSED_ON = ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
_CERT = "/swarm-certificates.pem"

_ACTIVATE = """# In conda's place: its environments are virtual environments here.
conda() {
  if [ "${1:-}" = activate ]; then
    export CONDA_DEFAULT_ENV="${2:-base}" CONDA_PREFIX="/opt/miniconda3/envs/${2:-base}"
    case ":$PATH:" in *":$CONDA_PREFIX/bin:"*) ;; *) export PATH="$CONDA_PREFIX/bin:$PATH" ;; esac
  fi
}
"""

_SCRIPT = r"""set -eu
mkdir -p /opt/miniconda3/bin /opt/miniconda3/envs
cp {build}/activate /opt/miniconda3/bin/activate
python -m venv /opt/miniconda3/envs/testbed
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore PIP_NO_CACHE_DIR=1
cp -a {source} {testbed}
chown -R 0:0 {testbed}
. /opt/miniconda3/bin/activate
conda activate testbed
while read -r pin; do
  [ -n "$pin" ] || continue
  # On an error one after the other: what cannot be had is told, and the rest is there.
  python -m pip install -q --no-deps "$pin" 2>{build_log} || echo "not to be had: $pin"
done <{build}/few
if [ -s {build}/pins ] && ! python -m pip install -q --no-deps -r {build}/pins; then
  while read -r pin; do
    python -m pip install -q --no-deps "$pin" || echo "not to be had: $pin"
  done <{build}/pins
fi
if [ -s {build}/requires ]; then python -m pip install -q -r {build}/requires; fi
cd {testbed}
export PIP_NO_BUILD_ISOLATION=0
set +e
. {build}/install
python --version
"""

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Means:
    """Where it comes from: `mirrors` holds the repositories. `network`: the engine's, for the build; packages come by
    pip, as it is configured by the environment."""

    mirrors: Path
    home: Path
    network: str = "host"


async def build_instance(
    engine: Engine, row: Row, name: str, environment: Environment, means: Means, tell: Tell
) -> str:
    """Make the image of an instance under its name; gives its digest.

    Raises:
        UsageError: the repository, the commit or the Python cannot be had.
        SandboxError: the base, the packages or the repository cannot be installed.
        MachineError: this machine cannot build images.
    """
    mirror = find_mirror(means.mirrors, row.repo)
    base = await _base(engine, environment.python, means.home, tell)
    async with open_lease(means.home, f"swebench-{os.urandom(4).hex()}") as lease:
        source, build = lease.folder / "testbed", lease.folder / "build"
        await anyio.to_thread.run_sync(check_out, mirror, row.base_commit, source)
        await anyio.to_thread.run_sync(_instructions, build, source, row, environment)
        env, shown = _network_settings(os.environ)
        wanted = Wanted(base, means.network, {_SOURCE: source, _BUILD: build, **shown})
        scm = _scm(source, row.version)
        async with open_container(engine, lease.folder, wanted) as container:
            tell(f"installing {len(environment.pins)} packages and {row.repo} at {row.base_commit[:8]}")
            told = _Lines(tell)
            ended = await container.run(
                ["/bin/bash", f"{_BUILD}/script"], told.add, env={**env, **scm}, timeout=_BUILD_S
            )
            if ended.code != 0:
                raise SandboxError(f"the environment of {row.instance_id} cannot be installed: {told.last}")
            await container.commit(name, _changes({**_ENV, **scm}, row))
    return await digest_of(engine, name)


async def _base(engine: Engine, python: str, home: Path, tell: Tell) -> str:
    """The image that instances with the same Python stand on, made once."""
    wish = Wish(f"{BASE}:py{python}", python, PACKAGES)
    recipe = await anyio.to_thread.run_sync(plan_image, wish, os.environ)
    if not await engine.call(lambda: is_current(engine, recipe)):
        tell(f"building {recipe.name}")
        async with open_lease(home, f"image-{os.urandom(4).hex()}") as lease:
            await build_image(engine, recipe, lease.folder, tell)
    return recipe.name


def _instructions(build: Path, source: Path, row: Row, environment: Environment) -> None:
    """The folder of files that the build reads."""
    build.mkdir()
    first = ("pip==", "setuptools==", "wheel==")
    few = [pin for pin in environment.pins if pin.startswith(first)]
    pins = [pin for pin in environment.pins if not pin.startswith(first)]
    requires = _build_requires(source)
    script = _SCRIPT.format(build=_BUILD, source=_SOURCE, testbed=TESTBED, build_log="/dev/null")
    files = {
        "activate": _ACTIVATE,
        "few": _lines(few),
        "pins": _lines(pins),
        "requires": _lines(requires),
        "install": _lines(install_commands(row.eval_script, row.base_commit)),
        "script": script,
    }
    for name, text in files.items():
        (build / name).write_text(text)


def install_commands(eval_script: str, commit: str) -> list[str]:
    """The lines by which an eval script installs the repository: from the last `conda activate` to where the tests are
    put in their place. Without a script: as most are installed."""
    lines = eval_script.splitlines()
    end = next((n for n, line in enumerate(lines) if line.startswith(f"git checkout {commit}")), None)
    if end is None:
        return ["python -m pip install -e ."]
    begin = max((n for n in range(end) if lines[n].startswith("conda activate")), default=-1)
    return lines[begin + 1 : end]


def _build_requires(source: Path) -> list[str]:
    try:
        read = tomllib.loads((source / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    wanted = read.get("build-system", {}).get("requires", [])
    return [str(each) for each in wanted] if isinstance(wanted, list) else []


def _scm(source: Path, version: str) -> dict[str, str]:
    """A version for setuptools_scm, which would read it from tags that came before."""
    for name in ("pyproject.toml", "setup.cfg", "setup.py"):
        path = source / name
        if path.is_file() and "setuptools_scm" in path.read_text(errors="replace").replace("-", "_"):
            return {"SETUPTOOLS_SCM_PRETEND_VERSION": f"{version}.0" if version.count(".") < 2 else version}
    return {}


def _network_settings(env: Mapping[str, str]) -> tuple[dict[str, str], dict[str, Path]]:
    """How pip reaches its index: variables of the build alone, and the certificates that it trusts."""
    given = {key: env[name] for key in _PASSED_ON for name in (key, key.lower()) if env.get(name)}
    for name in _CERTIFICATES:
        path = Path(env.get(name) or "")
        if env.get(name) and path.is_file():
            return {**given, "PIP_CERT": _CERT}, {_CERT: path.resolve()}
    return given, {}


def _changes(env: Mapping[str, str], row: Row) -> Sequence[str]:
    labels = {LABEL_KIND: BUILT, "swarm.image.instance": row.instance_id, "swarm.image.commit": row.base_commit}
    labels[LABEL] = ""  # else it would go with the lease, as the container does
    return [
        *(f"ENV {key}={shlex.quote(value)}" for key, value in env.items()),
        *(f"LABEL {key}={shlex.quote(value)}" for key, value in labels.items()),
        f"WORKDIR {TESTBED}",
        "ENTRYPOINT []",
        'CMD ["/bin/bash"]',
    ]


def _lines(texts: Sequence[str]) -> str:
    return "".join(f"{text}\n" for text in texts)


class _Lines:
    """Tells output line by line."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._rest = b""
        self.last = ""

    def add(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self.last = line.decode(errors="replace").strip() or self.last
            self._tell(f"  {line.decode(errors='replace')}")
