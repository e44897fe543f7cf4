"""The one place where errors of the `openai` package, and of the HTTP library under it, become ours."""

from __future__ import annotations

import re
import ssl
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import httpx2
import openai
from pydantic_core import from_json

from swarm.errors import EndpointError, EndpointFault
from swarm.models.rate_headers import of_rates, rate_limits, retry_after

CHECK_URL = "check that --base-url names an OpenAI-compatible endpoint (it usually ends in /v1)"

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


class Said(NamedTuple):
    """What an error's body says: its code ("" where none), all words that may be codes, and its message."""

    code: str
    codes: tuple[str, ...]
    text: str


def fault_of(error: Exception, model: str, endpoint: str) -> EndpointError:
    """The error of ours for an error of theirs. `endpoint` is the host, for the message."""
    for kind in type(error).__mro__:
        if kind in HANDLERS:
            return HANDLERS[kind](error, model, endpoint)
    return _not_readable(error, model, endpoint)


def fault_said(body: object, status: int, model: str, endpoint: str, headers: Mapping[str, str]) -> EndpointError:
    """The error that a body tells, be it of an answer with an error's `status` or inside one that began well."""
    said = said_by(body)
    text = said.text or f"status {status}"
    kind = _kind(said, status)
    message, remedy = _words(kind, text, status, model, endpoint)
    return EndpointError(
        kind,
        message,
        remedy=remedy,
        status=status,
        retry_after=retry_after(headers),
        limits=rate_limits(headers),
    )


def said_by(body: Any) -> Said:
    """Servers differ: `error` may be nested or not, its code a string or a number, or there is only `detail`, a list of
    them, or plain text. `body` is JSON as bytes, or what it holds."""
    if isinstance(body, bytes):
        try:
            body = from_json(body)
        except ValueError:
            body = body.decode("utf-8", "replace")
    if isinstance(body, list) and body:  # Google sends its error in a list
        body = body[0]
    if not isinstance(body, dict):
        return Said("", (), " ".join(str(body or "").split())[:300])
    inner: dict[str, Any] = body["error"] if isinstance(body.get("error"), dict) else body
    words = next((inner[key] for key in ("message", "detail", "error", "msg") if inner.get(key)), "")
    if isinstance(words, list):  # pydantic's own form: [{"loc": [...], "msg": "..."}]
        words = "; ".join(str(each.get("msg", each)) if isinstance(each, dict) else str(each) for each in words)
    elif isinstance(words, dict):
        words = words.get("message") or words.get("msg") or words
    codes = tuple(str(inner[key]) for key in ("code", "type", "status") if inner.get(key))
    return Said(next(iter(codes), ""), codes, " ".join(str(words).split())[:300])


def status_said(body: object, default: int) -> int:
    """The status that an error inside an answer names as its code, as OpenRouter and vLLM do; else `default`."""
    code = said_by(body).code
    return int(code) if code.isdigit() and 400 <= int(code) < 600 else default


def _kind(said: Said, status: int) -> EndpointFault:
    for code in said.codes:
        if code in _BY_CODE:
            return _BY_CODE[code]
    for statuses, kind, pattern in _BY_TEXT:
        if status in statuses and re.search(pattern, said.text, re.IGNORECASE):
            return kind
    if status in _BY_STATUS:
        return _BY_STATUS[status]
    if 300 <= status < 400:
        return EndpointFault.UNREACHABLE
    return EndpointFault.OVERLOADED if status >= 500 else EndpointFault.BAD_REQUEST


def _words(kind: EndpointFault, text: str, status: int, model: str, endpoint: str) -> tuple[str, str]:
    """Message and remedy."""
    match kind:
        case EndpointFault.WRONG_KEY:  # without their words, which may hold the key
            return (
                f"{endpoint} does not accept the key (status {status})",
                "set OPENAI_API_KEY to a key of this endpoint",
            )
        case EndpointFault.QUOTA_EXHAUSTED:
            return f"the quota at {endpoint} is used up: {text}", "top it up"
        case EndpointFault.UNKNOWN_MODEL:
            return f"{endpoint} does not know the model {model!r}", "see `swarm doctor`"
        case EndpointFault.MALFORMED:
            return f"{endpoint} has no /chat/completions here (status {status})", CHECK_URL
        case EndpointFault.UNREACHABLE:
            return f"{endpoint} sends us elsewhere (status {status})", "give --base-url as it is after the redirection"
        case EndpointFault.CONTEXT_TOO_LONG:
            return f"the prompt does not fit the window of {model}: {text}", ""
        case EndpointFault.REFUSED:
            return f"{endpoint} refused the content: {text}", ""
        case EndpointFault.RATE_LIMITED:
            return f"{endpoint} limits the rate: {text}", ""
        case EndpointFault.TIMED_OUT:
            return f"{endpoint} timed out: {text}", ""
        case EndpointFault.OVERLOADED:
            return f"{endpoint} failed with status {status}: {text}", ""
        case _:
            return f"{endpoint} refused the request (status {status}): {text}", ""


def _status(error: Exception, model: str, endpoint: str) -> EndpointError:
    assert isinstance(error, openai.APIStatusError)
    headers = of_rates(error.response.headers.raw)
    body = error.response.content if error.response.is_closed else error.body
    return fault_said(body, error.status_code, model, endpoint, headers)


def _connection(error: Exception, model: str, endpoint: str) -> EndpointError:
    cause = error.__cause__
    if isinstance(cause, Exception) and not isinstance(cause, openai.OpenAIError):
        return fault_of(cause, model, endpoint)
    return _unreachable(error, model, endpoint)


def _timeout(error: Exception, model: str, endpoint: str) -> EndpointError:
    if isinstance(error.__cause__, httpx2.TransportError):
        return fault_of(error.__cause__, model, endpoint)
    return EndpointError(EndpointFault.TIMED_OUT, f"{endpoint} did not answer in time", remedy="see call_timeout")


def _connect_timeout(error: Exception, model: str, endpoint: str) -> EndpointError:
    return EndpointError(
        EndpointFault.CONNECT_TIMED_OUT,
        f"{endpoint} takes no connection: {_short(error)}",
        remedy="check that it runs, and that nothing stands between",
    )


def _unreachable(error: Exception, model: str, endpoint: str) -> EndpointError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            reason = getattr(cause, "verify_message", "") or _short(cause)
            return EndpointError(
                EndpointFault.UNTRUSTED,
                f"the certificate of {endpoint} is not to be trusted: {reason}",
                remedy="check the address; a private authority's certificate can be named with SSL_CERT_FILE",
            )
        cause = cause.__cause__ or cause.__context__
    return EndpointError(
        EndpointFault.UNREACHABLE,
        f"no endpoint answers at {endpoint}: {_short(error)}",
        remedy="start it, or name another with --base-url or OPENAI_BASE_URL",
    )


def _address(error: Exception, model: str, endpoint: str) -> EndpointError:
    return EndpointError(
        EndpointFault.UNREACHABLE, f"{endpoint}: not a usable address: {_short(error)}", remedy="check --base-url"
    )


def _local(error: Exception, model: str, endpoint: str) -> EndpointError:
    """What we were about to send is not HTTP: a key with a line break, say. Its words may hold it."""
    return EndpointError(
        EndpointFault.BAD_REQUEST,
        f"the request to {endpoint} cannot be sent: {type(error).__name__}",
        remedy="check --base-url, and the key for characters that do not belong there",
    )


def _cut(error: Exception, model: str, endpoint: str) -> EndpointError:
    return EndpointError(
        EndpointFault.CUT, f"{endpoint} cut the connection before the answer was whole: {_short(error)}"
    )


def _not_readable(error: Exception, model: str, endpoint: str) -> EndpointError:
    return EndpointError(EndpointFault.MALFORMED, f"{endpoint} gave an answer that cannot be read: {_short(error)}")


def _filtered(error: Exception, model: str, endpoint: str) -> EndpointError:
    return EndpointError(EndpointFault.REFUSED, f"{endpoint} refused the content: {_short(error)}")


_Handler = Callable[[Exception, str, str], EndpointError]

HANDLERS: dict[type[Exception], _Handler] = {
    openai.OpenAIError: _local,
    openai.APIError: _not_readable,
    openai.APIResponseValidationError: _not_readable,
    openai.APIConnectionError: _connection,
    openai.APITimeoutError: _timeout,
    openai.APIStatusError: _status,
    openai.BadRequestError: _status,
    openai.AuthenticationError: _status,
    openai.OAuthError: _status,
    openai.PermissionDeniedError: _status,
    openai.NotFoundError: _status,
    openai.ConflictError: _status,
    openai.UnprocessableEntityError: _status,
    openai.RateLimitError: _status,
    openai.InternalServerError: _status,
    openai.LengthFinishReasonError: _not_readable,
    openai.ContentFilterFinishReasonError: _filtered,
    httpx2.HTTPError: _not_readable,
    httpx2.HTTPStatusError: _not_readable,
    httpx2.RequestError: _unreachable,
    httpx2.TransportError: _unreachable,
    httpx2.TimeoutException: _timeout,
    httpx2.ConnectTimeout: _connect_timeout,
    httpx2.PoolTimeout: _connect_timeout,
    httpx2.ReadTimeout: _timeout,
    httpx2.WriteTimeout: _timeout,
    httpx2.NetworkError: _cut,
    httpx2.ConnectError: _unreachable,
    httpx2.ReadError: _cut,
    httpx2.WriteError: _cut,
    httpx2.CloseError: _cut,
    httpx2.ProtocolError: _cut,
    httpx2.RemoteProtocolError: _cut,
    httpx2.LocalProtocolError: _local,
    httpx2.ProxyError: _unreachable,
    httpx2.UnsupportedProtocol: _address,
    httpx2.InvalidURL: _address,
    httpx2.DecodingError: _not_readable,
    httpx2.TooManyRedirects: _unreachable,
    httpx2.SSEError: _not_readable,
    ssl.SSLError: _unreachable,
}
"""For each class of theirs that a chat call can meet, what becomes of it; a test keeps it complete."""


def _short(error: BaseException | None) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
