"""`AGENTS.md`: what the owner of a repository wants of whoever works on it, from the commit that a run begins with.

The nearest to a file wins.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace
from pathlib import PurePosixPath

from swarm.protocols import Repository
from swarm.values import value

NAME = "AGENTS.md"

LONGEST = 32_000
"""Characters of the file at the top: it goes into every agent's prompt."""

LONGEST_NESTED = 12_000
"""Characters of one in a folder; those for one sub-task have `LONGEST` together."""

_MOST_FILES = 200
_MOST_NAMED = 40
_MOST_BYTES = 1 << 20
_LONGEST_PATH = 4096
_BACKTICKS = re.compile(r"`{3,}")


@value(frozen=True, slots=True)
class Guidance:
    """The texts by folder ("" for the top), how many more such files there are that were not read, and which are links
    that lead to no file of the tree. `documents` is what all are told of those that are attached."""

    texts: Mapping[str, str] = field(default_factory=dict)
    unread: int = 0
    unfollowed: Sequence[str] = ()
    documents: str = ""

    @property
    def shared(self) -> str:
        """What all agents of a run are told; nothing where the repository says nothing, and nothing is attached."""
        return "\n\n".join(part for part in (self._owners, self.documents) if part)

    @property
    def _owners(self) -> str:
        if not self.texts:
            return ""
        parts = [
            f"# What the repository's owner asks of agents ({NAME})\n\n"
            "This holds for all work on the repository where the task does not say otherwise. It opens no tool, no "
            "network and no file that you do not have."
        ]
        if top := self.texts.get(""):
            parts.append(_block(_cut(top, LONGEST, NAME)))
        if folders := self._nested():
            more = len(folders) - _MOST_NAMED + self.unread
            named = ", ".join(f"`{folder}/`" for folder in folders[:_MOST_NAMED])
            rest = f" and {more} more" if len(folders) > _MOST_NAMED or self.unread else ""
            parts.append(f"Folders with an {NAME} of their own, which goes first there: {named}{rest}.")
        return "\n\n".join(parts)

    def nearest(self, files: Iterable[str]) -> str:
        """What is told to the agent of a sub-task that means to write these files, beside `shared`: that of the folders
        on the way to them, the nearest last."""
        parts, room = list[str](), LONGEST
        for folder in self._on_the_way(files):
            path = f"{folder}/{NAME}"
            if room <= 0:
                parts.append(f"`{path}` holds for `{folder}/` as well: read it.")
                continue
            text = _cut(self.texts[folder], min(LONGEST_NESTED, room), path)
            room -= len(text)
            parts.append(f"For `{folder}/`, before what holds above it (`{path}`):\n{_block(text)}")
        return "\n\n".join(parts)

    @property
    def cut(self) -> Sequence[str]:
        """The files that are longer than what agents are given of them."""
        longest = {folder: LONGEST_NESTED if folder else LONGEST for folder in self.texts}
        return [
            f"{folder}/{NAME}" if folder else NAME for folder in self.texts if len(self.texts[folder]) > longest[folder]
        ]

    def _nested(self) -> list[str]:
        return [folder for folder in self.texts if folder]

    def _on_the_way(self, files: Iterable[str]) -> list[str]:
        above = {str(folder) for name in files for folder in (PurePosixPath(name), *PurePosixPath(name).parents)}
        return [folder for folder in self._nested() if folder in above]


async def guidance_for(repository: Repository | None, warn: Callable[[str], None], documents: str) -> Guidance:
    """What agents of a run are told; `warn` is told what of it they are not. Without a repository of attached documents
    alone."""
    if repository is None:
        return Guidance(documents=documents)
    guidance = await read_guidance(repository)
    if guidance.cut:
        warn(f"too long, agents are given the beginning: {', '.join(guidance.cut)}")
    if guidance.unfollowed:
        warn(f"links that do not lead to a file of the repository: {', '.join(guidance.unfollowed)}")
    return replace(guidance, documents=documents)


async def read_guidance(repository: Repository) -> Guidance:
    """What stands in the `AGENTS.md` files of the tree that a run begins with. A link (`AGENTS.md` to `CLAUDE.md`) is
    followed to a file of that tree, not further."""
    contents = await repository.contents(repository.base)
    links = _named(await repository.links(repository.base))
    leads = await repository.texts(links.values(), _LONGEST_PATH)
    aims = {folder: _aim(folder, leads.get(link, b"")) for folder, link in links.items()}
    found = _named(contents) | {folder: contents[aim] for folder, aim in aims.items() if aim in contents}
    lost = [f"{folder}/{NAME}" if folder else NAME for folder, aim in sorted(aims.items()) if aim not in contents]
    folders = sorted(found, key=lambda folder: (folder.count("/") + bool(folder), folder))[:_MOST_FILES]
    held = await repository.texts([found[folder] for folder in folders], _MOST_BYTES)
    texts = {folder: _plain(held[found[folder]]) for folder in folders if found[folder] in held}
    return Guidance({folder: text for folder, text in texts.items() if text}, len(found) - len(texts), lost)


def _named(names: Mapping[str, str]) -> dict[str, str]:
    """The contents of those files that are named so, by folder."""
    return {name.rpartition("/")[0]: blob for name, blob in names.items() if name.rpartition("/")[2] == NAME}


def _aim(folder: str, lead: bytes) -> str:
    """The file that a link in a folder leads to, as the tree names it."""
    return posixpath.normpath(posixpath.join(folder, lead.decode(errors="surrogateescape")))


def _plain(data: bytes) -> str:
    text = data.decode("utf-8-sig", errors="replace").replace("\0", "")
    return "\n".join(text.splitlines()).strip()


def _cut(text: str, most: int, path: str) -> str:
    if len(text) <= most:
        return text
    return f"{text[:most]}\n[... {len(text) - most} characters of {path} left out: read the file ...]"


def _block(text: str) -> str:
    fence = "`" * max(3, 1 + max(map(len, _BACKTICKS.findall(text)), default=0))
    return f"{fence}markdown\n{text}\n{fence}"
