"""What the body of an error says, in the forms of many servers, and what kind of fault that is."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from pydantic_core import from_json

from swarm.errors import EndpointFault

_BY_CODE = {
    "context_length_exceeded": EndpointFault.CONTEXT_TOO_LONG,
    "exceed_context_size_error": EndpointFault.CONTEXT_TOO_LONG,
    "context_window_exceeded": EndpointFault.CONTEXT_TOO_LONG,
    "string_above_max_length": EndpointFault.CONTEXT_TOO_LONG,
    "content_filter": EndpointFault.REFUSED,
    "content_policy_violation": EndpointFault.REFUSED,
    "data_inspection_failed": EndpointFault.REFUSED,
    "insufficient_quota": EndpointFault.QUOTA_EXHAUSTED,
    "insufficient_balance": EndpointFault.QUOTA_EXHAUSTED,
    "billing_hard_limit_reached": EndpointFault.QUOTA_EXHAUSTED,
    "billing_not_active": EndpointFault.QUOTA_EXHAUSTED,
    "exceeded_current_quota_error": EndpointFault.QUOTA_EXHAUSTED,
    "budget_exceeded": EndpointFault.QUOTA_EXHAUSTED,
    "model_not_found": EndpointFault.UNKNOWN_MODEL,
    "invalid_api_key": EndpointFault.WRONG_KEY,
    "no_db_connection": EndpointFault.WRONG_KEY,  # LiteLLM, which looks for any other key in a database
    "engine_overloaded_error": EndpointFault.OVERLOADED,
    "overloaded_error": EndpointFault.OVERLOADED,
    "rate_limit_exceeded": EndpointFault.RATE_LIMITED,
    "rate_limit_reached_error": EndpointFault.RATE_LIMITED,
}
"""What the code or type of an error says, whatever the status."""

_BY_TEXT = (
    (
        frozenset({400, 413, 422, 500}),
        EndpointFault.CONTEXT_TOO_LONG,
        r"maximum (context|model) length|context (window|size|length)|(prompt|input) (is )?too long|max_model_len",
    ),
    (frozenset({400, 403}), EndpointFault.WRONG_KEY, r"(incorrect|invalid) (proxy server token|api[ _-]?key)"),
    (frozenset({400}), EndpointFault.WRONG_KEY, r"api[ _-]?key not valid|authentication error"),
    (frozenset({400, 403}), EndpointFault.REFUSED, r"content (management )?polic|moderation|flagged"),
    (
        frozenset({400, 403, 429}),
        EndpointFault.QUOTA_EXHAUSTED,
        r"(insufficient|no) (account )?(balance|credits?|funds)|out of credits|balance is (too low|insufficient)",
    ),
    (
        frozenset({400}),
        EndpointFault.UNKNOWN_MODEL,
        r"invalid model name|not a valid model|server is pinned to|model .{0,80}(does )?not (exist|found)",
    ),
    (frozenset({404}), EndpointFault.UNKNOWN_MODEL, r"model|no endpoints found"),
    # llama.cpp, of an answer that it cannot read: another try may bring another answer
    (frozenset({500}), EndpointFault.MALFORMED, r"output (that |which )?does not match the expected"),
)
"""What the words of an error say, where its code says nothing and its status too little."""

_BY_STATUS = {
    401: EndpointFault.WRONG_KEY,
    402: EndpointFault.QUOTA_EXHAUSTED,
    403: EndpointFault.WRONG_KEY,
    404: EndpointFault.MALFORMED,
    405: EndpointFault.MALFORMED,
    408: EndpointFault.TIMED_OUT,
    409: EndpointFault.OVERLOADED,
    413: EndpointFault.CONTEXT_TOO_LONG,
    425: EndpointFault.OVERLOADED,
    429: EndpointFault.RATE_LIMITED,
}


_LONGEST = 1 << 16
"""Characters of what an error says that are looked at. Far more than are shown: see `faults.shown`."""

_LIMIT = re.compile(r"\blimit:? (\d[\d,]{0,14})\b.{0,80}\brequested:? (\d[\d,]{0,14})\b", re.IGNORECASE)


class Said(NamedTuple):
    """What an error's body says: its code ("" where none), all words that may be codes, and its message. `told`: it is
    JSON, so that its words are those of the endpoint; `page`: it is one for people, from something between."""

    code: str
    codes: tuple[str, ...]
    text: str
    told: bool = True
    page: bool = False


def said_by(body: Any) -> Said:
    """Servers differ: `error` may be nested or not, its code a string or a number, or there is only `detail`, a list of
    them, or plain text. `body` is JSON as bytes, or what it holds."""
    if isinstance(body, bytes):
        try:
            body = from_json(body)
        except ValueError:
            text = body.decode("utf-8", "replace").lstrip("\ufeff \t\r\n")
            if text.startswith("<"):
                return Said("", (), "a page in place of an answer", told=False, page=True)
            return Said("", (), _line(text), told=False)
    if isinstance(body, list) and body:  # Google sends its error in a list
        body = body[0]
    if not isinstance(body, dict):
        return Said("", (), _line(str(body or "")))
    inner: dict[str, Any] = body["error"] if isinstance(body.get("error"), dict) else body
    words = next((inner[key] for key in ("message", "detail", "error", "msg") if inner.get(key)), "")
    if isinstance(words, list):  # pydantic's own form: [{"loc": [...], "msg": "..."}]
        words = "; ".join(str(each.get("msg", each)) if isinstance(each, dict) else str(each) for each in words)
    elif isinstance(words, dict):
        words = words.get("message") or words.get("msg") or words
    codes = tuple(str(inner[key]) for key in ("code", "type", "status") if inner.get(key))
    return Said(next(iter(codes), ""), codes, _line(str(words)))


def _line(text: str) -> str:
    return " ".join(text[:_LONGEST].split())


def status_said(body: object, default: int) -> int:
    """The status that an error inside an answer names as its code, as OpenRouter and vLLM do; else `default`."""
    code = said_by(body).code
    return int(code) if re.fullmatch("[45][0-9]{2}", code) else default


def kind_said(said: Said, status: int) -> EndpointFault:
    """What kind of fault an error with this status is."""
    if not said.told:
        shut_out = said.page and status == 403
        return EndpointFault.UNREACHABLE if shut_out else _BY_STATUS.get(status, _of_class(status))
    if _never_fits(said.text):
        return EndpointFault.CONTEXT_TOO_LONG
    for code in said.codes:
        if code in _BY_CODE:
            return _BY_CODE[code]
    for statuses, kind, pattern in _BY_TEXT:
        if status in statuses and re.search(pattern, said.text, re.IGNORECASE):
            return kind
    return _BY_STATUS.get(status, _of_class(status))


def _never_fits(text: str) -> bool:
    """Whether an error is said to be a limit of the rate, but the request is larger than the whole of the limit."""
    numbers = _LIMIT.search(text)
    if numbers is None:
        return text.lower().startswith("request too large")
    limit, requested = (int(number.replace(",", "")) for number in numbers.groups())
    return requested > limit


def _of_class(status: int) -> EndpointFault:
    if 300 <= status < 400:
        return EndpointFault.UNREACHABLE
    return EndpointFault.OVERLOADED if status >= 500 else EndpointFault.BAD_REQUEST
