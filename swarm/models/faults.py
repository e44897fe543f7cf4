"""The one place where errors of the `openai` package become ours."""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from math import isfinite
from time import time
from typing import Any

import openai

from swarm.errors import EndpointError, EndpointFault

_CONTEXT_CODES = {"context_length_exceeded", "exceed_context_size_error", "context_window_exceeded"}
_REFUSAL_CODES = {"content_filter", "content_policy_violation"}
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "exceeded_current_quota_error"}


def fault_of(error: openai.OpenAIError, model: str, endpoint: str) -> EndpointError:
    """The error of ours for an error of theirs. `endpoint` is the host, for the message."""
    if isinstance(error, openai.APITimeoutError):
        return EndpointError(EndpointFault.TIMED_OUT, f"{endpoint} did not answer in time", remedy="see call_timeout")
    if isinstance(error, openai.APIConnectionError):
        return _connection_fault(error, endpoint)
    if isinstance(error, openai.APIStatusError):
        return _status_fault(error, model, endpoint)
    return EndpointError(EndpointFault.MALFORMED, f"{endpoint} gave an answer that cannot be read: {_short(error)}")


def _connection_fault(error: openai.APIConnectionError, endpoint: str) -> EndpointError:
    cause = error.__cause__
    name = type(cause).__name__
    if name in ("RemoteProtocolError", "ReadError", "DecodingError"):
        return EndpointError(EndpointFault.CUT, f"{endpoint} cut the connection before the answer was whole")
    if name in ("UnsupportedProtocol", "InvalidURL", "LocalProtocolError"):
        return EndpointError(
            EndpointFault.UNREACHABLE, f"{endpoint}: not a usable address: {_short(cause)}", remedy="check --base-url"
        )
    return EndpointError(
        EndpointFault.UNREACHABLE,
        f"no endpoint answers at {endpoint}: {_short(cause or error)}",
        remedy="start it, or name another with --base-url or OPENAI_BASE_URL",
    )


def _status_fault(error: openai.APIStatusError, model: str, endpoint: str) -> EndpointError:
    code, text = _code_and_text(error.body)
    text = text or _short(error)
    status = error.status_code

    def fault(kind: EndpointFault, message: str, remedy: str = "") -> EndpointError:
        wait = _retry_after(error.response.headers)
        return EndpointError(kind, message, remedy=remedy, retry_after=wait, status=status)

    if code in _CONTEXT_CODES or "maximum context length" in text:
        return fault(EndpointFault.CONTEXT_TOO_LONG, f"the prompt does not fit the window of {model}: {text}")
    if code in _REFUSAL_CODES:
        return fault(EndpointFault.REFUSED, f"{endpoint} refused the content: {text}")
    match status:
        case 401 | 403:
            return fault(
                EndpointFault.WRONG_KEY,
                f"{endpoint} does not accept the key (status {status})",
                "set OPENAI_API_KEY to a key of this endpoint",
            )
        case 402:
            return fault(EndpointFault.QUOTA_EXHAUSTED, f"the quota at {endpoint} is used up: {text}", "top it up")
        case 404 if code == "model_not_found" or "model" in text.lower():
            return fault(
                EndpointFault.UNKNOWN_MODEL, f"{endpoint} does not know the model {model!r}", "see `swarm doctor`"
            )
        case 404 | 405:
            return fault(
                EndpointFault.MALFORMED,
                f"{endpoint} has no /chat/completions here (status {status})",
                "check that --base-url names an OpenAI-compatible endpoint (it usually ends in /v1)",
            )
        case 408:
            return fault(EndpointFault.TIMED_OUT, f"{endpoint} timed out: {text}")
        case 429 if code in _QUOTA_CODES:
            return fault(EndpointFault.QUOTA_EXHAUSTED, f"the quota at {endpoint} is used up: {text}", "top it up")
        case 429:
            return fault(EndpointFault.RATE_LIMITED, f"{endpoint} limits the rate: {text}")
        case _ if status >= 500:
            return fault(EndpointFault.OVERLOADED, f"{endpoint} failed with status {status}: {text}")
        case _:
            return fault(EndpointFault.BAD_REQUEST, f"{endpoint} refused the request (status {status}): {text}")


def _code_and_text(body: object) -> tuple[str, str]:
    """Servers differ: `error` may be nested or not, its code a string or a number, or there is only `detail`."""
    if not isinstance(body, dict):
        return "", str(body or "")[:300]
    inner: dict[str, Any] = body["error"] if isinstance(body.get("error"), dict) else body
    words = inner.get("message") or inner.get("detail") or inner.get("error") or ""
    codes = [str(inner.get(key) or "") for key in ("code", "type")]
    known = _CONTEXT_CODES | _REFUSAL_CODES | _QUOTA_CODES
    return next((c for c in codes if c in known), codes[0]), str(words)[:300]


def _retry_after(headers: Any) -> float | None:
    """Seconds, from either form of the header (RFC 9110, 10.2.3)."""
    value = headers.get("retry-after")
    if not value:
        return None
    try:
        seconds = float(value)
        return max(0.0, seconds) if isfinite(seconds) else None
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time())
    except ValueError:
        return None


def _short(error: BaseException | None) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
