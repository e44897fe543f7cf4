"""Base images out of a distribution's packages, where no registry can be reached: debootstrap, and a Python put in.

All is made in a lease's folder, by programs in a mount and a process namespace of their own: whatever ends the build,
no process and no mount outlives it, and the engine is given the image only when it is whole and its Python was run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import anyio
import anyio.to_thread

from swarm.errors import MachineError, SandboxError, UsageError
from swarm.removal import remove_tree
from swarm.sandboxes.docker.engine import Engine
from swarm.sandboxes.docker.images import BUILT, LABEL_KIND, built_images, import_image
from swarm.sandboxes.images.python import LOOK, Installation
from swarm.sandboxes.images.recipe import Recipe

Tell = Callable[[str], None]

INPUTS = "swarm.image.inputs"
"""The label that tells what an image was made of, to know it again."""

_TOOLS = {"debootstrap": "debootstrap", "unshare": "util-linux", "setpriv": "util-linux", "tar": "tar"}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_LEFT_OUT = ("./dev/*", "./proc/*", "./sys/*", "./run/*", "./tmp/*")
_EMPTIED = ("var/cache/apt/archives", "var/lib/apt/lists", "var/log", "debootstrap")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy")
_CHUNK = 1 << 20
_USER = "1000:1000"
_STAGES = {
    "Retrieving InRelease": "reading the mirror's index",
    "Retrieving Packages": "reading the mirror's list of packages",
    "Resolving dependencies of required": "choosing packages",
    "Extracting ": "unpacking the core",
    "Installing core": "installing the core",
    "Unpacking the base": "unpacking packages",
    "Configuring the base": "configuring packages",
    "Base system installed": "the packages are in",
}


def is_current(engine: Engine, recipe: Recipe) -> bool:
    """Whether the image is there, made of the same. Blocks.

    Raises:
        UsageError: its name belongs to an image that was not built here.
    """
    import docker.errors

    try:
        labels = engine.client.images.get(recipe.name).labels
    except docker.errors.ImageNotFound:
        return False
    if labels.get(LABEL_KIND) != BUILT:
        raise UsageError(f"image {recipe.name} is there and was not built by swarm", remedy="choose another NAME")
    return bool(labels.get(INPUTS) == recipe.fingerprint)


async def build_image(engine: Engine, recipe: Recipe, folder: Path, tell: Tell) -> None:
    """Make an image in a folder that the caller removes, and give it to the engine under its name.

    Raises:
        MachineError: not root, a program is missing, or the machine does not allow it.
        SandboxError: the packages, the Python or the engine failed.
    """
    _check_means(recipe)
    root = folder / "root"
    await _bootstrap(recipe, root, tell)
    if recipe.copied:
        tell(f"copying Python {recipe.copied.version} from {recipe.copied.prefix}")
        await _copy_python(recipe.copied, root)
    await anyio.to_thread.run_sync(_finish, recipe, root)
    python = await _check_python(recipe, root)
    tell("giving the image to the engine")
    labels = {
        LABEL_KIND: BUILT,
        INPUTS: recipe.fingerprint,
        "swarm.image.suite": recipe.suite,
        "swarm.image.mirror": recipe.shown_mirror,
        "swarm.image.python": python,
        "swarm.image.packages": " ".join(recipe.packages),
    }
    before = {image.id for image in await engine.call(lambda: built_images(engine.client))}
    await _hand_over(engine, recipe.name, root, labels)
    await engine.call(lambda: _forget_untagged(engine, before))


def _check_means(recipe: Recipe) -> None:
    missing = [package for program, package in _TOOLS.items() if shutil.which(program, path=_search()) is None]
    if missing:
        names = " ".join(dict.fromkeys(missing))
        raise MachineError(f"an image cannot be built without {names}", remedy=f"run `sudo apt-get install {names}`")
    if os.geteuid() != 0:
        raise MachineError(
            "only root can build an image: debootstrap unpacks packages as their owners",
            remedy=f"run `sudo swarm image build {recipe.name}`",
        )


def _search() -> str:
    return f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


async def _bootstrap(recipe: Recipe, root: Path, tell: Tell) -> None:
    command = [
        *("debootstrap", "--variant=minbase", f"--include={','.join(recipe.packages)}"),
        *(f"--components={','.join(recipe.components)}", recipe.suite, str(root)),
    ]
    if recipe.mirror:
        command.append(recipe.mirror)
    tell(f"debootstrap of {recipe.suite} from {recipe.shown_mirror or 'its usual mirror'}")
    told: set[str] = set()

    def line(text: str) -> None:
        for start, stage in _STAGES.items():
            if text.startswith(f"I: {start}") and stage not in told:
                told.add(stage)
                tell(stage)

    code, last = await _run(command, line, recipe.proxies)
    if code != 0:
        complaints = [text for text in last if text.startswith(("E:", "W:"))] or last[-1:]
        reason = " ".join(complaints).replace(str(root), "").replace(recipe.mirror or " ", recipe.shown_mirror or " ")
        raise SandboxError(
            f"debootstrap failed: {reason or f'exit code {code}'}",
            remedy="check the names of packages and suite, and that the mirror can be reached",
        )


async def _copy_python(python: Installation, root: Path) -> None:
    """To its own place, as its programs and packages know it."""
    target = root / python.prefix.relative_to("/")
    for parent in reversed(target.relative_to(root).parents):
        place = root / parent
        place.mkdir(exist_ok=True)
        place.chmod(place.stat().st_mode | 0o111)  # to be passed through by everyone, as /root is not
    command = ["cp", "-a", "--no-preserve=ownership", "--reflink=auto", "--", str(python.prefix), str(target)]
    code, last = await _run(command, _ignore)
    if code == 0:
        code, last = await _run(["chmod", "-R", "a+rX", "--", str(target)], _ignore)
    if code != 0:
        raise SandboxError(f"{python.prefix} could not be copied: {' '.join(last[-1:])}")


def _finish(recipe: Recipe, root: Path) -> None:
    """Leave out what only the making needed, and let `python` and `python3` mean the wanted one."""
    for name in _EMPTIED:
        remove_tree(root / name)
        if name.startswith("var/"):
            (root / name).mkdir(parents=True)
    (root / "etc/resolv.conf").unlink(missing_ok=True)
    (root / "etc/hostname").unlink(missing_ok=True)
    links = {"python": "/usr/bin/python3"}
    if recipe.copied:
        own = recipe.copied.prefix / "bin"
        links = {"python": str(own / f"python{recipe.copied.minor}")}
        links |= {"python3": links["python"], f"python{recipe.copied.minor}": links["python"]}
        links |= {name: str(own / "pip3") for name in ("pip", "pip3") if (recipe.copied.prefix / "bin/pip3").exists()}
    elif recipe.python and (root / f"usr/bin/python{recipe.python}").exists():
        links = dict.fromkeys(("python", "python3"), f"/usr/bin/python{recipe.python}")
    for name, target in links.items():
        (root / "usr/local/bin" / name).symlink_to(target)


async def _check_python(recipe: Recipe, root: Path) -> str:
    """Run the Python inside, as the user that sandboxes have; gives its version."""
    answer: list[str] = []
    command = ["chroot", f"--userspec={_USER}", str(root), "/usr/local/bin/python", "-I", "-c", LOOK]
    _, last = await _run(command, answer.append)
    try:
        version, _, modules = json.loads(answer[-1])
    except (IndexError, ValueError):
        raise SandboxError(f"Python does not run in the image: {' '.join(last[-2:]) or 'no answer'}") from None
    if recipe.python and not version.startswith(f"{recipe.python}."):
        raise UsageError(
            f"{recipe.suite} holds Python {version}, not {recipe.python}", remedy="choose another --suite or --python"
        )
    if lost := sorted({*recipe.copied.modules} - {*modules} if recipe.copied else ()):
        raise SandboxError(
            f"Python {version} from this machine does not find its libraries in {recipe.suite}: no {', '.join(lost)}",
            remedy="leave out --suite, or use a Python that brings its own, such as by `uv python install`",
        )
    return str(version)


async def _run(
    command: Sequence[str], line: Callable[[str], None], more: Mapping[str, str] | None = None
) -> tuple[int, list[str]]:
    """Run a program in namespaces that die with it and with us, with `more` in its environment.

    Gives its exit code and its last lines; each line is told as it comes.
    """
    kept: deque[str] = deque(maxlen=8)
    argv = [
        *("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("--", *command),
    ]
    env = {"PATH": _PATH, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive", "HOME": "/root", **(more or {})}
    env |= {key: value for key, value in os.environ.items() if key.lower() in _PROXIES}
    async with await anyio.open_process(argv, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT, env=env) as process:
        assert process.stdout is not None
        rest = b""
        async for chunk in process.stdout:
            *lines, rest = (rest + chunk).split(b"\n")
            for data in lines:
                kept.append(data.decode(errors="replace"))
                line(kept[-1])
        code = await process.wait()
    return code, [text for text in (*kept, rest.decode(errors="replace")) if text]


def _ignore(line: str) -> None:
    pass


async def _hand_over(engine: Engine, name: str, root: Path, labels: dict[str, str]) -> None:
    with _packer(root) as tar:
        try:
            await engine.call(lambda: import_image(engine.client, name, _chunks(tar), labels), abandon=True)
        finally:
            tar.kill()


def _packer(root: Path) -> subprocess.Popen[bytes]:
    leave = [f"--exclude={pattern}" for pattern in _LEFT_OUT]
    argv = ["tar", "--create", "--numeric-owner", "--sort=name", "--wildcards", *leave, "-C", str(root), "."]
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def _chunks(tar: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """What tar writes. Where it fails, or is killed because nobody waits any more, the upload breaks off: no image."""
    assert tar.stdout is not None
    while chunk := tar.stdout.read(_CHUNK):
        yield chunk
    if tar.wait() != 0:
        raise SandboxError("the image could not be packed", remedy="look whether the disk is full")


def _forget_untagged(engine: Engine, before: set[str | None]) -> None:
    """Remove what the new image took the name of, unless a container still uses it."""
    import docker.errors

    for image in built_images(engine.client):
        if image.id and image.id in before and not image.tags:
            try:
                engine.client.images.remove(image.id)
            except docker.errors.APIError as error:
                if error.status_code != 409:
                    raise
