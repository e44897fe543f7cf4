"""`swarm image`: base images for `--sandbox docker`, built where no registry can be reached."""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

from swarm.cli.stdio import complain, tell

if TYPE_CHECKING:
    from docker.models.images import Image

    from swarm.sandboxes.images.recipe import Recipe, Wish

_CALL_S = 900.0
"""Seconds that the engine may take to unpack an image."""


def add_parser(commands: argparse._SubParsersAction[Any]) -> None:
    """Declare the command and its actions."""
    text = "build images for sandboxes, list and remove them"
    about = "Build images for sandboxes, list and remove them."
    image = commands.add_parser("image", help=text, description=about, allow_abbrev=False)
    actions = image.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser(
        "build",
        help="build an image from packages of this machine's distribution",
        description="Build an image with Python, git, make and ripgrep by debootstrap, from the mirror that apt uses "
        "here. Where it is there already, made of the same, nothing is done.",
        epilog="Then: swarm run --sandbox docker --image NAME ...",
        allow_abbrev=False,
    )
    build.add_argument("name", metavar="NAME", nargs="?", default="", help="default: swarm-base:SUITE[-pyX.Y]")
    build.add_argument(
        "--python",
        metavar="X.Y",
        default="",
        help="the suite's own, else a copy of one on this machine (pyenv, uv, PATH) with the packages in it",
    )
    build.add_argument("--package", metavar="P", action="append", default=[], help="a further package; may be repeated")
    build.add_argument("--suite", metavar="S", default="", help="such as bookworm (default: this machine's)")
    build.add_argument("--mirror", metavar="URL", default="", help="where packages come from (default: as apt)")
    text, about = "list the images that were built here", "List the images that were built here."
    listing = actions.add_parser("list", help=text, description=about, allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="one JSON object a line")
    text, about = "remove an image that was built here", "Remove an image that was built here."
    remove = actions.add_parser("remove", help=text, description=about, allow_abbrev=False)
    remove.add_argument("name", metavar="NAME", help="as `swarm image list` tells it")


def run(args: argparse.Namespace) -> int:
    """Do one of the actions.

    Raises:
        UsageError: what was asked for cannot be had.
        SwarmError: no engine answers, or the image cannot be built.
    """
    import anyio

    if args.action == "build":
        from swarm.sandboxes.images.recipe import Wish

        wish = Wish(args.name, args.python, tuple(args.package), args.suite, args.mirror)
        tell(anyio.run(_build, wish))
    elif args.action == "list":
        anyio.run(_list, args.json)
    else:
        anyio.run(_remove, args.name)
    return 0


async def _build(wish: Wish) -> str:
    """The image's name, once it is there."""
    import secrets
    import time
    from functools import partial

    import anyio.to_thread

    from swarm.config import home
    from swarm.sandboxes.docker.engine import connect
    from swarm.sandboxes.images.build import build_image, is_current
    from swarm.sandboxes.images.recipe import plan_image
    from swarm.sandboxes.leases.lease import open_lease

    recipe = await anyio.to_thread.run_sync(plan_image, wish, os.environ)
    async with connect(timeout=_CALL_S) as engine:
        if await engine.call(partial(is_current, engine, recipe)):
            complain(f"{recipe.name} is there already, made of the same")
            return recipe.name
        complain(_intent(recipe))
        started = time.monotonic()
        async with open_lease(home(os.environ), f"image-{secrets.token_hex(4)}") as lease:
            await build_image(engine, recipe, lease.folder, lambda line: complain(f"  {line}"))
        complain(f"{recipe.name} is ready after {time.monotonic() - started:.0f} s")
    return recipe.name


def _intent(recipe: Recipe) -> str:
    python = f", Python {recipe.python}" if recipe.python else ""
    return f"building {recipe.name}: {recipe.suite}{python}, {len(recipe.packages)} packages and what they need"


async def _list(json: bool) -> None:
    import json as codec

    from swarm.cli.text import line
    from swarm.sandboxes.docker.engine import connect
    from swarm.sandboxes.docker.images import built_images

    async with connect() as engine:
        images = await engine.call(lambda: built_images(engine.client))
    rows = [row for image in images for row in _rows(image)]
    if json:
        for row in rows:
            tell(codec.dumps(row))
    elif not rows:
        complain("no images; `swarm image build` makes one")
    width = max((len(row["name"]) for row in rows), default=0)
    for row in () if json else rows:
        tell(
            f"{line(row['name']):<{width}}  {row['created'][:16].replace('T', ' ')}  {row['bytes'] / 1e6:>6.0f} MB  "
            f"{line(row['suite']):<10}  Python {line(row['python']):<8}  {line(row['packages'])}"
        )


def _rows(image: Image) -> list[dict[str, Any]]:
    labels = {key.removeprefix("swarm.image."): value for key, value in image.labels.items()}
    about = {key: labels.get(key, "") for key in ("suite", "python", "packages", "mirror")}
    created, size = str(image.attrs.get("Created", "")), int(image.attrs.get("Size", 0))
    names = image.tags or [image.short_id]
    return [{"name": name, "id": image.id, "created": created, "bytes": size, **about} for name in names]


async def _remove(name: str) -> None:
    from functools import partial

    from swarm.sandboxes.docker.engine import connect
    from swarm.sandboxes.docker.images import remove_built

    async with connect() as engine:
        await engine.call(partial(remove_built, engine.client, name))
    complain(f"{name} is removed")
