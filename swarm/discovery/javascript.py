"""JavaScript and TypeScript: npm, pnpm, yarn, bun, deno."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from swarm.discovery.found import Found, Rank, any_below, inside, json_of

_LOCKS = (
    ("pnpm-lock.yaml", "pnpm"),
    ("yarn.lock", "yarn"),
    ("bun.lock", "bun"),
    ("bun.lockb", "bun"),
    ("package-lock.json", "npm"),
    ("npm-shrinkwrap.json", "npm"),
)
_COMMANDS = {"npm": "npm test", "pnpm": "pnpm test", "yarn": "yarn test", "bun": "bun run test"}
_STUB = "no test specified"
"""What `npm init` writes for a script: it fails by design."""


def find(folder: Path) -> Iterator[Found]:
    """The ways in which such a folder is tested, the surest first."""
    package = json_of(folder / "package.json")
    script = inside(package, "scripts", "test")
    if isinstance(script, str) and script.strip() and _STUB not in script:
        tool, why = _manager(folder, package)
        yield Found(_COMMANDS[tool], tool, why, Rank.CONFIGURED)
    elif _manager(folder, package)[0] == "bun" and any_below(folder, "*.test.[jt]s", "*.test.[jt]sx", "*_test.[jt]s"):
        yield Found("bun test", "bun", _manager(folder, package)[1], Rank.BUILT)
    yield from _deno(folder)


def _manager(folder: Path, package: dict[str, object]) -> tuple[str, str]:
    """The program that runs the scripts, and what says so: that of the workspace around it counts as well."""
    named = package.get("packageManager")
    if isinstance(named, str) and named.partition("@")[0] in _COMMANDS:
        return named.partition("@")[0], "package.json: scripts.test"
    for place in (folder, *folder.parents[:3]):
        for name, tool in _LOCKS:
            if (place / name).is_file():
                return tool, f"package.json: scripts.test, {name}"
        if (place / ".git").exists():
            break
    return "npm", "package.json: scripts.test"


def _deno(folder: Path) -> Iterator[Found]:
    for name in ("deno.json", "deno.jsonc"):
        if (folder / name).is_file():
            if inside(json_of(folder / name), "tasks", "test") is not None:
                yield Found("deno task test", "deno", f"{name}: tasks.test", Rank.CONFIGURED)
            else:
                yield Found("deno test", "deno", name, Rank.BUILT)
            return
