"""Secrets in texts: found, and replaced by `[redacted:NAME]`.

Two nets: the *values* of environment variables whose names sound secret (and of the configured key), also as JSON,
URLs, base64 and hexadecimal write them and by larger pieces, and the shapes of well-known keys. Each has an anchor, a
piece of plain text without which it cannot match, and a probe, which holds of whatever it matches; most texts hold no
probe, and cost one search for all of them. Every pattern is bounded: time is linear in the text, whatever it holds.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from dataclasses import replace

from pydantic_core import SchemaValidator, core_schema

from swarm.values import value

VERSION = 1
LATER = 64
"""Values that become known while it is at work, of which so many are looked for: the last ones."""


_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE", re.IGNORECASE)
_MIN_LENGTH = 8
_LONG = 24
"""Characters of a key that is known by pieces, too."""

_RANDOM = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[\w.+/=~-]+", re.ASCII)
_PROBED = 64
"""Characters of a value that are enough to search for."""

_WORD = re.compile(r"[\w.:/-]{1,23}", re.ASCII)
_ARMOR = "[A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----"


def _begins(prefix: str) -> str:
    """The prefix at the start of a word, also after `\\n` in JSON. It stands first, for re's fast literal search."""
    before = (rf"(?<![A-Za-z0-9]{prefix})", rf"(?<=\\[nrtbf]{prefix})", rf"(?<=\\u[0-9a-fA-F]{{4}}{prefix})")
    return f"{prefix}(?:{'|'.join(before)})"


# label, anchors, probe, pattern
_SHAPES = (
    # without its end it is taken for a key up to 8 kB; with it up to 16 kB, the largest RSA keys
    (
        "private-key",
        ["-----BEGIN "],
        "-----BEGIN ",
        rf"-----BEGIN {_ARMOR}(?:(?s:.){{0,16384}}?-----END {_ARMOR}|(?s:.){{0,8192}})",
    ),
    ("openai-key", ["sk-"], "sk-[A-Za-z0-9_-]{20}", _begins("sk-") + r"[A-Za-z0-9_-]{20,}"),
    (
        "github-token",
        [f"gh{kind}_" for kind in "pousr"],
        "gh[pousr]_[A-Za-z0-9]{30}",
        _begins("gh[pousr]_") + r"[A-Za-z0-9]{30,}",
    ),
    ("github-token", ["github_pat_"], "github_pat_", _begins("github_pat_") + r"[A-Za-z0-9_]{30,}"),
    ("aws-key", ["AKIA", "ASIA"], "A[KS]IA[0-9A-Z]{16}", _begins("A[KS]IA") + r"[0-9A-Z]{16}(?![A-Za-z0-9])"),
    ("slack-token", ["xox"], "xox[abprs]-", _begins("xox[abprs]-") + r"[A-Za-z0-9-]{10,}"),
    ("hf-token", ["hf_"], "hf_[A-Za-z0-9]{30}", _begins("hf_") + r"[A-Za-z0-9]{30,}"),
    ("url-password", ["://"], '://[^/@"]+@', r"://(?P<secret>[^/\s:@\"]{1,256}:[^/\s:@\"]{1,256})@"),
)


@value(frozen=True, slots=True)
class Finder:
    """Finds one kind of secret. A `wordlike` one is a known value that might as well be an identifier. What it finds in
    a text holds its `probe`, also where that text stands in JSON; that is an expression of Rust's kind."""

    label: str
    anchors: tuple[str, ...]
    probe: str
    pattern: re.Pattern[str]
    wordlike: bool = False

    def spans(self, text: str) -> Iterator[tuple[int, int, str]]:
        if any(anchor in text for anchor in self.anchors):
            group = self.pattern.groups  # the whole match, or the one group
            for match in self.pattern.finditer(text):
                yield *match.span(group), self.label


class _Net:
    """Finders that are asked together. All probes in one pass of Rust's expressions, some 50 times as fast as a search
    for each anchor."""

    def __init__(self, finders: Sequence[Finder]) -> None:
        self.finders = finders
        self._anchors = [(anchor.encode(), finder) for finder in finders for anchor in finder.anchors]
        probes = "|".join(finder.probe for finder in finders)
        self._probe = SchemaValidator(core_schema.str_schema(pattern=probes, regex_engine="rust-regex"))

    def suspects(self, line: bytes) -> Sequence[Finder]:
        if not self._probe.isinstance_python(line):
            return ()
        return [finder for anchor, finder in self._anchors if anchor in line]


class Redactor:
    """Takes secrets out of texts. Built once a run; the values it knows are never shown."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        named = {value.strip(): name for name, value in secrets.items() if len(value.strip()) >= _MIN_LENGTH}
        values = [finder for value, name in named.items() for finder in _finders_of(value, name)]
        shapes = [
            Finder(label, tuple(anchors), probe, re.compile(pattern)) for label, anchors, probe, pattern in _SHAPES
        ]
        self._named = {name: value for value, name in named.items()}
        self._first = _Net((*values, *shapes))
        self._later: dict[str, _Net] = {}
        self._told = len(self._named)

    def __repr__(self) -> str:
        return f"<Redactor {len(self._named) + len(self._later)} known values>"

    def also(self, name: str, value: str) -> Redactor:
        """One that knows a further value too: the last `LATER` of them that were named. It costs what that value costs,
        however many are known."""
        value = value.strip()
        if len(value) < _MIN_LENGTH or value in self._named.values() or value == next(reversed(self._later), None):
            return self
        further = copy(self)  # what is compiled is shared
        later = dict(self._later)
        known = later.pop(value, None)
        if known is None:
            further._told += 1
            known = _Net(tuple(_finders_of(value, f"{name}-{further._told}")))
        later[value] = known
        if len(later) > LATER:
            del later[next(iter(later))]
        further._later = later
        return further

    @property
    def finders(self) -> Sequence[Finder]:
        """All of them."""
        return [finder for net in self._nets() for finder in net.finders]

    def redact(self, text: str) -> tuple[str, int]:
        """The text without secrets, and how many were found."""
        return redact_with(self.finders, text)

    def suspects(self, line: bytes) -> Sequence[Finder]:
        """Those that may find something in the strings of a line of JSON; all others cannot. The line is UTF-8."""
        found = self._first.suspects(line)
        if self._later:
            found = [*found, *(finder for net in self._later.values() for finder in net.suspects(line))]
        return found if len(found) < 2 else list({id(finder): finder for finder in found}.values())

    def _nets(self) -> Sequence[_Net]:
        return (self._first, *self._later.values())


def redact_with(finders: Iterable[Finder], text: str) -> tuple[str, int]:
    """The text without what the finders find, and how many places that were; what overlaps is one place."""
    spans = sorted((span for finder in finders for span in finder.spans(text)), key=lambda span: (span[0], -span[1]))
    if not spans:
        return text, 0
    pieces: list[str] = []
    found = end = 0
    for start, stop, label in spans:
        if start >= end:
            pieces += (text[end:start], f"[redacted:{label}]")
            found += 1
        end = max(end, stop)
    return "".join((*pieces, text[end:])), found


def _finders_of(value: str, name: str) -> Iterator[Finder]:
    """Those of a value, as it is and in other clothes."""
    yield _value_finder(value, name)
    data = value.encode("utf-8", "surrogatepass")
    for form in (*_in_base64(data), data.hex(), data.hex().upper()):
        pattern = "".join(_BASE64.get(char, char) for char in form)
        anchor = max(re.findall(r"[A-Za-z0-9]+", form), key=len, default="")
        yield Finder(name, (anchor,), anchor[:_PROBED], re.compile(pattern))
    for piece in _pieces(value):
        yield replace(_value_finder(piece, name), wordlike=False)


_BASE64 = {"+": "[+-]", "/": r"(?:\\{0,15}/|_)"}
"""What is written in another way where base64 stands in a URL, or in JSON."""


def _in_base64(data: bytes) -> Iterator[str]:
    """What of the data shows in base64, whatever stands around it: at each of three places in a group of bytes."""
    for before in range(3):
        text = base64.b64encode(bytes(before) + data).decode()
        yield text[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]


def _pieces(value: str) -> Iterator[str]:
    """Four parts of a key: of any piece of it that is longer than half, one is there whole. A value that is no random
    word, or a part of it that might be one of many keys (`sk-proj-`), has none."""
    if len(value) < _LONG or not _RANDOM.fullmatch(value):
        return
    size = max(_MIN_LENGTH, len(value) // 4)
    for at in range(0, len(value) - size + 1, size):
        piece = value[at : at + size]
        kinds = sum(any(test(char) for char in piece) for test in (str.isdigit, str.islower, str.isupper))
        if kinds > 1 and len(set(piece)) > 4:
            yield piece


def _value_finder(value: str, name: str) -> Finder:
    """Finds a value as it is, and escaped as JSON up to four times over (JSON in arguments in JSON ...)."""
    # what no encoder of JSON escapes; a value without any has the empty anchor, which stands in every text
    anchor = max(re.findall(r"[A-Za-z0-9_.]+", value), key=len, default="")
    parts = re.findall(r"[\w.-]+|\\+|.", value, re.DOTALL | re.ASCII)
    pattern = re.compile("".join(map(_escapable, parts)))
    return Finder(name, (anchor,), anchor[:_PROBED].replace(".", r"\."), pattern, bool(_WORD.fullmatch(value)))


def _escapable(part: str) -> str:
    if part[0] == "\\":
        return rf"\\{{{len(part)},{16 * len(part)}}}"
    if part[0].isascii() and (part[0].isalnum() or part[0] in "_.-"):
        return re.escape(part)
    units = part.encode("utf-16-be", "surrogatepass")
    code = "".join(rf"\\{{1,16}}u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))
    code += "|" + "".join(f"%{byte:02x}" for byte in part.encode("utf-8", "surrogatepass"))  # as in a URL
    short = {"\n": "n", "\r": "r", "\t": "t", "\b": "b", "\f": "f"}.get(part)
    shortly = rf"|\\{{1,16}}{short}" if short else ""
    return rf"(?:\\{{0,15}}{re.escape(part)}|(?i:{code}){shortly})"


def secrets_of(env: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment whose names sound secret; paths are not secrets."""
    named = {name: env[name] for name in env if _SECRET_NAME.search(name)}  # few: a value of the system's is decoded
    return {name: value for name, value in named.items() if not value.startswith("/")}
