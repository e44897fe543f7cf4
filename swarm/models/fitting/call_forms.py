"""The forms in which models write tool calls, each read by a function of its own.

`hermes` is also our own form; Qwen's coder and GLM use its tags for forms of theirs. Whatever cannot be read for sure
raises ValueError.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from swarm.types import JsonObject
from swarm.values import value

Parameters = Mapping[str, JsonObject]
"""The tools of a request: the JSON schema of the arguments, by name."""

_BAR, _SPACE = "\uff5c", "\u2581"  # as DeepSeek writes its tokens


def _token(*words: str) -> str:
    return f"<{_BAR}{_SPACE.join(words)}{_BAR}>"


MARKS = (
    ("hermes", "<tool_call>", "</tool_call>"),
    ("kimi", "<|tool_call_begin|>", "<|tool_call_end|>"),
    ("deepseek", _token("tool", "call", "begin"), _token("tool", "call", "end")),
    ("mistral", "[TOOL_CALLS]", "</s>"),
    ("llama", "<|python_tag|>", "<|eom_id|>"),
    ("granite", "<|tool_call|>", "<|/tool_call|>"),
    ("function", "<function=", "</function>"),
    ("invoke", "<invoke name=", "</invoke>"),
    ("dsml", f"<{_BAR}DSML{_BAR}invoke name=", f"</{_BAR}DSML{_BAR}invoke>"),
    ("harmony", " to=functions.", "<|call|>"),
)
"""Name, opening and closing mark of each form."""

OPEN_ENDED = ("mistral", "llama", "granite", "harmony")
"""Forms that need no closing mark: their end is that of the answer."""

SPECIAL = re.compile(
    r"<\|(?:tool_calls_section_(?:begin|end)|im_end|eot_id|eom_id|end|message)\|>|</?tool_calls>|</s>|"
    rf"</?(?:minimax:tool_call|(?:{_BAR}DSML{_BAR})?function_calls)>|<\|start\|>assistant|<\|channel\|>\w++|"
    + "|".join(
        map(
            re.escape,
            (_token("tool", "calls", "begin"), _token("tool", "calls", "end"), _token("end", "of", "sentence")),
        )
    )
)
"""Marks around calls that say nothing themselves."""

_LITERAL_LIMIT = 20_000
_MENDING_LIMIT = 1_000_000


@value(frozen=True, slots=True)
class TextCall:
    """A call as it was written; `arguments` is JSON, or the raw text where it cannot be read."""

    name: str
    arguments: str
    readable: bool = True


def read_section(form: str, inner: str, tools: Parameters) -> list[TextCall]:
    """The calls of one marked section; none where it cannot be read."""
    try:
        return _READERS[form](inner, tools)
    except (ValueError, RecursionError):
        return []


def parse_lenient(text: str) -> Any:
    """JSON as models write it: line ends inside strings, a comma too many, single quotes where no other reading is
    possible.

    Raises:
        ValueError: it is none, or could be read in two ways.
    """
    text = text.strip()
    for mend in (str, _without_trailing_commas):
        try:
            return json.loads(mend(text), strict=False, parse_constant=_refuse)
        except (ValueError, RecursionError):
            continue
    if "\\" in text or '"' in text or not text.startswith(("{", "[")) or len(text) > _LITERAL_LIMIT:
        raise ValueError("not JSON")  # a backslash or a mix of quotes means one thing in Python, another in JSON
    try:
        value = ast.literal_eval(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        raise ValueError("not JSON") from None
    return value


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _without_trailing_commas(text: str) -> str:
    """Commas before a closing bracket left out, those inside strings kept."""
    if len(text) > _MENDING_LIMIT:
        raise ValueError("too long to be mended")
    out: list[str] = []
    inside = escaped = False
    for char in text:
        if inside:
            inside = escaped or char != '"'
            escaped = char == "\\" and not escaped
        elif char == '"':
            inside = True
        elif char in "}]":
            end = len(out)
            while end and out[end - 1].isspace():
                end -= 1
            if end and out[end - 1] == ",":
                del out[end - 1]
        out.append(char)
    return "".join(out)


def unfenced(text: str) -> str:
    """The inside of a code fence around all of a text."""
    body = text.strip()
    return untagged(body[3:].removesuffix("```")) if body.startswith("```") else text


def untagged(text: str) -> str:
    """A fenced block without the word for its language."""
    first, line_end, rest = text.partition("\n")
    return rest if line_end and re.fullmatch(r"\s*+[\w+-]*+\s*", first) else text


def json_values(text: str) -> list[Any]:
    """One JSON value, a list of them, or several in a row (also with `;` between)."""
    try:
        value = parse_lenient(text)
        return value if isinstance(value, list) else [value]
    except ValueError:
        pass
    values, decoder = [], json.JSONDecoder(strict=False, parse_constant=_refuse)
    position = 0
    while position < len(text):
        value, position = decoder.raw_decode(text, position)
        values.append(value)
        while position < len(text) and (text[position].isspace() or text[position] in ";,"):
            position += 1
    return values


def call_of(value: Any) -> TextCall:
    """A call of a JSON object.

    Raises:
        ValueError: it has not the form of one.
    """
    if not isinstance(value, dict):
        raise ValueError("no object")
    inner = value.get("function")
    if isinstance(inner, dict):
        value = inner
    name = value.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError("no name")
    arguments = value.get("arguments", value.get("parameters"))
    if arguments is None:
        if set(value) - {"name", "id", "type", "arguments", "parameters"}:
            raise ValueError("no arguments")
        arguments = {}
    return _checked(name, arguments)


def _checked(name: str, arguments: Any) -> TextCall:
    if isinstance(arguments, str):  # encoded twice, as the API itself does
        arguments = parse_lenient(arguments or "{}")
    if not name or not isinstance(arguments, dict):
        raise ValueError("not a call")
    return TextCall(name, json.dumps(arguments, ensure_ascii=False))


def _hermes(inner: str, tools: Parameters) -> list[TextCall]:
    text = inner.strip()
    if text.startswith("<function="):
        return _function(text.removeprefix("<function=").removesuffix("</function>"), tools)
    if "<arg_key>" in text and not text.startswith("{"):  # else a word inside a string
        return [_glm(text, tools)]
    return [call_of(each) for each in json_values(SPECIAL.sub("", unfenced(text)))]


def _kimi(inner: str, tools: Parameters) -> list[TextCall]:
    name, mark, arguments = inner.partition("<|tool_call_argument_begin|>")
    if not mark:
        raise ValueError("no arguments")
    name = re.sub(r":\d+$", "", name.strip()).removeprefix("functions.")
    return [_checked(name, parse_lenient(arguments))]


def _deepseek(inner: str, tools: Parameters) -> list[TextCall]:
    name, mark, arguments = inner.partition(_token("tool", "sep"))
    if not mark:
        raise ValueError("no arguments")
    if name.strip() == "function":  # the older form: name in a line of its own, then a fence
        name, _, arguments = arguments.partition("\n")
    return [_checked(name.strip(), parse_lenient(unfenced(arguments)))]


def _mistral(inner: str, tools: Parameters) -> list[TextCall]:
    text = inner.strip()
    if text.startswith("["):
        return [call_of(each) for each in json_values(text)]
    name = re.match(r"([\w.-]{1,64})\s*+(?:\[CALL_ID\][\w-]*+)?(?:\[ARGS\])?\s*+(?=\{)", text)
    if name is None:
        raise ValueError("no name")
    return [_checked(name[1], parse_lenient(text[name.end() :]))]


def _llama(inner: str, tools: Parameters) -> list[TextCall]:
    return [call_of(each) for each in json_values(SPECIAL.sub("", inner).strip())]


def _function(inner: str, tools: Parameters) -> list[TextCall]:
    """`NAME>{...}` of Llama, or `NAME><parameter=KEY>VALUE</parameter>...` of Qwen's coder."""
    name, mark, body = inner.partition(">")
    name, body = name.strip(), body.strip().removesuffix("</function>").strip()
    if not mark or not re.fullmatch(r"[\w.-]{1,64}", name):
        raise ValueError("no name")
    if "<parameter=" not in body:
        return [_checked(name, parse_lenient(body) if body else {})]
    arguments: JsonObject = {}
    for part in body.split("<parameter=")[1:]:
        key, _, value = part.partition(">")
        value = value.rpartition("</parameter>")[0] if "</parameter>" in value else value
        arguments[key.strip()] = _typed(value.removeprefix("\n").removesuffix("\n"), key.strip(), tools.get(name))
    return [_checked(name, arguments)]


def _invoke(inner: str, tools: Parameters) -> list[TextCall]:
    """`"NAME"><parameter name="KEY">VALUE</parameter>...` of MiniMax."""
    name, mark, body = inner.partition(">")
    name = name.strip().strip("\"'")
    if not mark or not re.fullmatch(r"[\w.-]{1,64}", name):
        raise ValueError("no name")
    arguments: JsonObject = {}
    for part in body.split("<parameter name=")[1:]:
        head, mark, value = part.partition(">")
        value, end, _ = value.rpartition("</parameter>")
        key = re.match(r"\s*+[\"']([^\"'>]++)[\"']", head)
        if not mark or not end or key is None:
            raise ValueError("no value")
        arguments[key[1]] = _typed(value, key[1], tools.get(name))
    return [_checked(name, arguments)]


def _dsml(inner: str, tools: Parameters) -> list[TextCall]:
    """The same with a mark of DeepSeek's in every tag."""
    return _invoke(inner.replace(f"<{_BAR}DSML{_BAR}", "<").replace(f"</{_BAR}DSML{_BAR}", "</"), tools)


def _harmony(inner: str, tools: Parameters) -> list[TextCall]:
    """`NAME <|constrain|>json<|message|>{...}` of gpt-oss."""
    head, mark, arguments = inner.partition("<|message|>")
    name = re.match(r"[\w.-]{1,64}", head)
    if not mark or name is None:
        raise ValueError("no arguments")
    return [_checked(name[0], parse_lenient(SPECIAL.sub("", arguments)))]


def _glm(text: str, tools: Parameters) -> TextCall:
    name, *pairs = text.split("<arg_key>")
    arguments: JsonObject = {}
    for pair in pairs:
        key, mark, value = pair.partition("</arg_key>")
        if not mark:
            raise ValueError("no value")
        value = value.partition("<arg_value>")[2].rpartition("</arg_value>")[0]
        arguments[key.strip()] = _typed(value, key.strip(), tools.get(name.strip()))
    return _checked(name.strip(), arguments)


_READERS: Mapping[str, Callable[[str, Parameters], list[TextCall]]] = {
    "hermes": _hermes,
    "kimi": _kimi,
    "deepseek": _deepseek,
    "mistral": _mistral,
    "llama": _llama,
    "granite": _llama,
    "function": _function,
    "invoke": _invoke,
    "dsml": _dsml,
    "harmony": _harmony,
}


def _typed(value: str, key: str, schema: JsonObject | None) -> Any:
    """A value of a form that has no types: text where the tool wants text, else JSON if it is any."""
    wanted = ((schema or {}).get("properties") or {}).get(key)
    if isinstance(wanted, dict) and wanted.get("type") == "string":
        return value
    try:
        return parse_lenient(value)
    except ValueError:
        return value
