"""Finds tool calls that a model wrote as text: in our own form, or in that of its training, which a server let through.

A call is only what stands in the marks of such a form, or (where the model was told to write calls as text) a fenced
or lone JSON object that has the form of a call and names a tool that there is. Prose never becomes a call. All scans
are linear: a 5 MB answer is no attack.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from swarm.models.fitting.call_forms import (
    MARKS,
    OPEN_ENDED,
    SPECIAL,
    Parameters,
    TextCall,
    call_of,
    json_values,
    read_section,
    untagged,
)
from swarm.values import value

MAX_CALLS = 128
"""Calls of one answer that are read; what follows them is a model that runs away."""

RESULT_MARK = "<tool_result"
"""What the runtime's own words begin with. A model that writes it invents a result: nothing after it counts."""

UNREADABLE = "unreadable_call"
"""The name of a call that was marked as one and cannot be read; the model is told so as for any unknown tool."""

_THINK_END = "</think>"
_DECODER = json.JSONDecoder(strict=False)


@value(frozen=True, slots=True)
class Found:
    """The calls of one answer, the name of their form, and what the answer says beside them. `end` is where the text
    ends that counts, None: all of it does."""

    calls: tuple[TextCall, ...] = ()
    form: str = ""
    rest: str = ""
    end: int | None = None


@value(frozen=True, slots=True)
class _Section:
    """A marked part of an answer. `closed` is whether its closing mark was there, where its form needs one."""

    form: str
    start: int
    inner: str
    end: int
    closed: bool


def find_calls(text: str, tools: Parameters, *, cut: bool = False) -> Found:
    """The calls of an answer to a request that asked for calls as text. `cut`: the answer met the limit of tokens, so
    that what is open at its end is no call."""
    begin = _after_thoughts(text)
    found, _ = _marked(text, begin, tools, cut=cut)
    return found if found.calls else _unmarked(text, begin, tools)


def find_leaked(text: str, tools: Parameters) -> Found:
    """The calls that a server should have read out of an answer but left in it as text.

    Taken only where the answer ends with them, outside code fences, and each can be read and names a tool: an answer
    that speaks *about* calls is none.
    """
    nothing = Found(rest=text)
    if not any(opening in text for _, opening, _ in MARKS):
        return nothing
    begin = _after_thoughts(text)
    found, (first, last) = _marked(text, begin, tools, cut=True)
    fenced = sum(line.lstrip().startswith("```") for line in text[begin:first].splitlines()) % 2
    if not found.calls or fenced or SPECIAL.sub("", text[last:]).strip():
        return nothing
    return found if all(call.readable and call.name in tools for call in found.calls) else nothing


def _after_thoughts(text: str) -> int:
    """Where the answer begins, after what the model only thought."""
    end = text.find(_THINK_END)
    thinks = text.lstrip().startswith("<think>")
    if end < 0:
        return len(text) if thinks else 0  # cut off while it thought
    if not thinks and any(text.find(opening, 0, end) >= 0 for _, opening, _ in MARKS):
        return 0  # a word inside of a call
    return end + len(_THINK_END)


def _marked(text: str, begin: int, tools: Parameters, *, cut: bool) -> tuple[Found, tuple[int, int]]:
    """Calls in marks, and where the first begins and the last ends."""
    calls: list[TextCall] = []
    rest: list[str] = []
    form, first, last, invented = "", begin, begin, False
    for section in _sections(text, begin):
        invented = RESULT_MARK in text[last : section.start]
        read = read_section(section.form, section.inner, tools)
        if invented or len(calls) >= MAX_CALLS or (not read and cut and not section.closed):
            break
        if not calls:
            form, first = section.form, section.start
        rest.append(text[last : section.start])
        calls += read or [TextCall(_named_in(section.inner, tools), section.inner.strip(), readable=False)]
        last = section.end
    after = text[last:]
    invented = invented or RESULT_MARK in after
    rest.append(after.partition(RESULT_MARK)[0])
    beside = SPECIAL.sub("", "".join(rest)).strip()
    return Found(tuple(calls[:MAX_CALLS]), form, beside, last if invented else None), (first, last)


def _sections(text: str, begin: int) -> Iterator[_Section]:
    """The marked sections, in order. Each mark is looked for once over the whole text."""
    opening_at = {form: text.find(opening, begin) for form, opening, _ in MARKS}
    closing_at = dict.fromkeys(opening_at, begin - 1)
    position = begin
    while True:
        for form, opening, _ in MARKS:
            if 0 <= opening_at[form] < position:
                opening_at[form] = text.find(opening, position)
        ahead = [
            (opening_at[form], form, opening, closing) for form, opening, closing in MARKS if opening_at[form] >= 0
        ]
        if not ahead:
            return
        start, form, opening, closing = min(ahead)
        inside = start + len(opening)
        if whole := _json_section(text, form, start, inside, closing):
            position = whole.end
            yield whole
            continue
        if closing_at[form] < inside:
            found = text.find(closing, inside)
            closing_at[form] = found if found >= 0 else len(text) + 1  # never again
        end, again = closing_at[form], text.find(opening, inside)
        if 0 <= again < end:  # not closed before the next one begins
            section = _Section(form, start, text[inside:again], again, True)
        elif end > len(text):
            section = _Section(form, start, text[inside:], len(text), form in OPEN_ENDED)
        else:
            section = _Section(form, start, text[inside:end], end + len(closing), True)
        position = section.end
        yield section


def _json_section(text: str, form: str, start: int, inside: int, closing: str) -> _Section | None:
    """A section of our own form whose inside is one JSON object: marks inside its strings are words like any other."""
    begin = inside
    while begin < len(text) and text[begin].isspace():
        begin += 1
    if form != "hermes" or not text.startswith("{", begin):
        return None
    try:
        _, end = _DECODER.raw_decode(text, begin)
    except (ValueError, RecursionError):
        return None
    after = end
    while after < len(text) and text[after].isspace():
        after += 1
    if not text.startswith(closing, after):
        return None
    return _Section(form, start, text[begin:end], after + len(closing), True)


def _unmarked(text: str, begin: int, tools: Parameters) -> Found:
    """Calls without marks: the whole answer, or whole fenced blocks."""
    body = text[begin:].partition(RESULT_MARK)[0]
    if calls := _whole(body, tools):
        return Found(tuple(calls), "json")
    rest = list[str]()
    for index, part in enumerate(body.split("```")):  # odd parts are inside
        found = _whole(untagged(part), tools) if index % 2 else []
        calls += found
        if not found:
            rest.append(f"```{part}```" if index % 2 else part)
    if not calls:
        return Found(rest=text)
    return Found(tuple(calls[:MAX_CALLS]), "fenced", "".join(rest).strip())


def _whole(text: str, tools: Parameters) -> list[TextCall]:
    """The calls that a text consists of; none unless all of it is calls of tools that there are, arguments and all."""
    if not text.strip().startswith(("{", "[")):
        return []
    try:
        values = json_values(text.strip())
        calls = [call_of(each) for each in values]
    except (ValueError, RecursionError):
        return []
    allowed = {"name", "arguments", "parameters", "id", "type", "function"}
    whole = all(set(each) <= allowed and set(each) & {"arguments", "parameters", "function"} for each in values)
    return calls if whole and all(call.name in tools for call in calls) else []


def _named_in(inner: str, tools: Parameters) -> str:
    """The tool that an unreadable call seems to name."""
    named = re.search(r"""["']?name["']?\s*:\s*["']([\w.-]{1,64})["']""", inner[:2_000])
    return named[1] if named and named[1] in tools else UNREADABLE
