"""What a pytest run printed, as values: the failing tests by node id, and where each broke."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from itertools import islice

_SUMMARY = re.compile(r"^(FAILED|ERROR) (\S.*)$")
_PART = re.compile(r"^SUBFAILED(?: ?[\[(].*[\])])? (?=\S+\.py::)")
_RED = (" FAILED", " ERROR")
_PERCENT = re.compile(r"(?<! ) ++\[ *+\d++%\]$")
_STARTS_WITH_FILE = re.compile(r"\S+?\.py(?:::|$)")
_HEADER = re.compile(r"^_{3,} (.+?) _{3,}$")
_MOST_CUTS = 50
_SECTION = re.compile(r"^={3,} (.+?) ={3,}$")
_LOCATION = re.compile(r"^(\S[^:]*\.py):(\d{1,9}): ?(.*)$")
_NATIVE = re.compile(r'^\s*(?:E\s+)?File "([^"]+\.py)", line (\d{1,9})(?:, in (.+))?$')
_DEF = re.compile(r"^>?\s+(?:async )?def (\w+)\(")
_ERRORED = re.compile(r"^ERROR (?:at \w+ of|collecting) (.+)$")


@dataclass(frozen=True, slots=True)
class Frame:
    """One line of a traceback; `function` is empty where pytest does not print it. `code` is the failing line."""

    path: str
    line: int
    function: str = ""
    code: str = ""


@dataclass(slots=True)
class Failure:
    """One failing test, or a file that could not be collected (`nodeid` without `::`). Outermost frame first."""

    nodeid: str
    message: str = ""
    error: bool = False
    frames: list[Frame] = field(default_factory=list)

    @property
    def path(self) -> str:
        return self.nodeid.partition("::")[0]

    @property
    def function(self) -> str:
        """The node id without parameters."""
        return self.nodeid.partition("[")[0]


def parse(output: str) -> list[Failure]:
    """All failures that the output tells of, in its order; empty where it holds none of pytest's."""
    lines = [_plain(line) for line in output.splitlines()]
    sections = _tracebacks(lines)
    verbose = {name for name in map(_verbose, lines) if name}
    names = set(sections) | {_header_name(v) for v in verbose}
    found: dict[str, Failure] = {}
    start = max((n for n, line in enumerate(lines) if "short test summary info" in line), default=0)
    for line in lines[start:]:
        m = _SUMMARY.match(_PART.sub("FAILED ", line))
        if m and re.match(r"[^:]+\.py::|[^\s:]+\.py(?: - |$)", m.group(2)):
            nodeid, message = _split(m.group(2), names)
            found.setdefault(nodeid, Failure(nodeid, message, m.group(1) == "ERROR"))
    for nodeid in sorted(verbose):
        found.setdefault(nodeid, Failure(nodeid))
    for failure in found.values():
        name = _header_name(failure.nodeid)
        failure.frames = sections.get(name) or sections.get(failure.nodeid) or []
    _one_line_each(lines, list(found.values()))
    return list(found.values())


def headed(output: str) -> list[str]:
    """Failing tests by the headings of their tracebacks, for an output without names: in the file of the outermost
    frame that is the project's own."""
    found = _tracebacks([_plain(line) for line in output.splitlines()])
    own = {name: [frame.path for frame in frames if not frame.path.startswith("/")] for name, frames in found.items()}
    named = ((paths[0], name.split("[", 1)) for name, paths in own.items() if paths)
    return ["::".join((path, "[".join((head[0].replace(".", "::"), *head[1:])))) for path, head in named]


def _verbose(line: str) -> str:
    """The test that a line of a verbose run tells to be red."""
    text = _PERCENT.sub("", line) if line.endswith("%]") else line
    if not text.endswith(_RED):
        return ""
    name = text.rpartition(" ")[0]
    return name if _STARTS_WITH_FILE.match(name) else ""


def _plain(line: str) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", line.rstrip("\r"))


def _header_name(nodeid: str) -> str:
    """`path::Class::test[a]` as the header of its traceback shows it: `Class.test[a]`."""
    path, _, rest = nodeid.partition("::")
    head, bracket, parameters = rest.partition("[")
    return head.replace("::", ".") + bracket + parameters if rest else path


def _split(text: str, names: set[str]) -> tuple[str, str]:
    """Node id and message of `ID - MESSAGE`, where either may hold ` - ` itself."""
    cuts = [m.start() for m in islice(re.finditer(" - ", text), _MOST_CUTS)] + [len(text)]
    parts = [(text[:c], text[c + 3 :]) for c in cuts]
    for nodeid, message in reversed(parts):
        if _header_name(nodeid) in names and "::" in nodeid:
            return nodeid, message
    # Without a traceback to compare with: parameters end with a bracket.
    if "[" in parts[0][0].partition("::")[2]:
        for nodeid, message in parts:
            if nodeid.endswith("]") and nodeid.count("[") <= nodeid.count("]"):
                return nodeid, message
        for nodeid, message in parts:
            if nodeid.endswith("]"):
                return nodeid, message
    return parts[0]


def _tracebacks(lines: list[str]) -> dict[str, list[Frame]]:
    """Frames by header name, in any of pytest's styles that print headers."""
    found: dict[str, list[Frame]] = {}
    name, body = "", list[str]()
    for line in [*lines, "=== end ==="]:
        header, section = _HEADER.match(line), _SECTION.match(line)
        if header or section:
            if name and name not in found:
                found[name] = _frames(body)
            name, body = "", []
            if header:
                errored = _ERRORED.match(header.group(1))
                name = errored.group(1) if errored else header.group(1)
        elif name:
            body.append(line)
    return found


def _frames(body: list[str]) -> list[Frame]:
    frames: list[Frame] = []
    function, code = "", ""
    for n, line in enumerate(body):
        if line.startswith("----") and " Captured " in line:
            break
        native, location, start = _NATIVE.match(line), _LOCATION.match(line), _DEF.match(line)
        following = body[n + 1].strip() if n + 1 < len(body) else ""
        if native:
            frames.append(Frame(native.group(1), int(native.group(2)), native.group(3) or "", following))
        elif location:
            rest = location.group(3)
            if rest.startswith("in "):
                frames.append(Frame(location.group(1), int(location.group(2)), rest[3:], following))
            else:
                frames.append(Frame(location.group(1), int(location.group(2)), function, code))
            function, code = "", ""
        elif line.startswith(">"):
            code = line[1:].strip()
        if start and not function:
            function = start.group(1)
    return frames


def _one_line_each(lines: list[str], failures: list[Failure]) -> None:
    """--tb=line: a location a failure, in the order of the summary."""
    inside, places = False, list[Frame]()
    for line in lines:
        section, location = _SECTION.match(line), _LOCATION.match(line)
        if section:
            inside = section.group(1) == "FAILURES"
        elif inside and _HEADER.match(line):
            return
        elif inside and location:
            places.append(Frame(location.group(1), int(location.group(2))))
    failed = [f for f in failures if not f.error]
    if len(places) == len(failed):
        for failure, place in zip(failed, places, strict=True):
            failure.frames = failure.frames or [place]
