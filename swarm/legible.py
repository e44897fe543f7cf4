"""Text that came from models, files and tools, made fit to be read: in what is told, without what controls a terminal
or hides the order of characters; in what is reviewed, with all of that to be seen."""

from __future__ import annotations

import re

_ORDER = "\u202a-\u202e\u2066-\u2069"
_HOSTILE = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, clearing
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)?"  # OSC, DCS and kin: titles, links, the clipboard
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
    f"|[\u2028\u2029{_ORDER}\ufeff\ud800-\udfff]"  # breaks lines, hides order, cannot be encoded
)
_UNSEEN = re.compile(
    r"[\x00-\x08\x0a-\x1f\x7f-\x9f"
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"  # soft hyphen, joiners, fillers, Mongolian selectors
    f"\u200b-\u200f\u2028\u2029{_ORDER}\u2060-\u2065\u206a-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff\ud800-\udfff]"  # the last but one: tags, selectors
)

_IN_JSON = re.compile(f"[\x7f-\x9f\u2028\u2029{_ORDER}\ufeff]")  # what JSON lets stand as it is
_UNCLEAN = re.compile(f"[\x7f-\x9f\u2028\u2029{_ORDER}\ufeff\ud800-\udfff]")
_ESCAPED = ("\\u", "\\b", "\\f", "\\r")  # what it writes otherwise, but for quotes, tabs and ends of lines


def clean(text: str) -> str:
    """Without terminal controls; lines and tabs are kept."""
    if text.isascii() and text.isprintable():  # most are: names, words, one line
        return text
    return _HOSTILE.sub("", text.replace("\r\n", "\n").replace("\r", "\n"))


def is_clean_json(line: str) -> bool:
    """Whether `clean` takes nothing from the texts of a JSON value, written as a line with all but ASCII as it is."""
    plain = line.replace("\\\\", "")  # a backslash that stands for itself escapes nothing
    if any(escaped in plain for escaped in _ESCAPED):
        return False
    return "\x7f" not in line if line.isascii() else _UNCLEAN.search(line) is None


def json_line(text: str) -> str:
    """A line of JSON that says the same, and neither steers a terminal that shows it nor breaks into several lines for
    readers that take more than a line feed for the end of one."""
    if text.isascii() and "\x7f" not in text:
        return text
    return _IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def visible(line: str) -> str:
    """A line of a patch, or the name of a file, with what cannot be seen in it written out: `^M`, `<U+202E>`, and
    `<E9>` for a byte that is no UTF-8 (decoded with `surrogateescape`). Tabs are kept."""
    if line.isascii() and line.isprintable():
        return line
    return _UNSEEN.sub(_written_out, line)


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20 or code == 0x7F:
        return f"^{chr(code ^ 0x40)}"
    return f"<{code - 0xDC00:02X}>" if 0xDC80 <= code <= 0xDCFF else f"<U+{code:04X}>"
