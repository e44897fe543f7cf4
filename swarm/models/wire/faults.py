"""The one place where errors of the `openai` package, and of the HTTP library under it, become ours."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable, Mapping

import httpx2
import openai

from swarm.errors import EndpointError, EndpointFault
from swarm.journal.redaction import Redactor, secrets_of
from swarm.models.admission.rate_headers import of_rates, rate_limits, retry_after
from swarm.models.wire.said import kind_said, said_by

_SHOWN = 400
"""Characters of a message that are shown."""

CHECK_URL = "check that --base-url names an OpenAI-compatible endpoint (it usually ends in /v1)"


def fault_of(error: Exception, model: str, endpoint: str) -> EndpointError:
    """The error of ours for an error of theirs. `endpoint` is the host, for the message, which may be long and hold
    secrets: see `shown`."""
    for kind in type(error).__mro__:
        if kind in HANDLERS:
            return HANDLERS[kind](error, model, endpoint)
    return _not_readable(error, model, endpoint)


def fault_said(body: object, status: int, model: str, endpoint: str, headers: Mapping[str, str]) -> EndpointError:
    """The error that a body tells, be it of an answer with an error's `status` or inside one that began well."""
    said = said_by(body)
    text = said.text or f"status {status}"
    kind = kind_said(said, status)
    message, remedy = _words(kind, text, status, model, endpoint)
    return EndpointError(
        kind,
        message,
        remedy=remedy,
        status=status,
        retry_after=retry_after(headers),
        limits=rate_limits(headers),
    )


def shown(message: str, key: str) -> str:
    """A message short enough to be shown. What is cut goes without secrets first, as the half of one is not known for
    one any more; the `key` of the endpoint is among them."""
    if len(message) <= _SHOWN:
        return message
    text, _ = Redactor(secrets_of(os.environ) | {"api_key": key}).redact(message)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def _words(kind: EndpointFault, text: str, status: int, model: str, endpoint: str) -> tuple[str, str]:
    """Message and remedy."""
    match kind:
        case EndpointFault.WRONG_KEY:  # without their words, which may hold the key
            return (
                f"{endpoint} does not accept the key (status {status})",
                "set OPENAI_API_KEY, or the variable of its provider, to a key of this endpoint",
            )
        case EndpointFault.QUOTA_EXHAUSTED:
            return f"the quota at {endpoint} is used up: {text}", "top it up"
        case EndpointFault.UNKNOWN_MODEL:
            return f"{endpoint} does not know the model {model!r}", "see `swarm doctor`"
        case EndpointFault.MALFORMED if status >= 500:
            return f"{endpoint} could not read what {model} answered: {text}", ""
        case EndpointFault.MALFORMED:
            return f"{endpoint} has no /chat/completions here (status {status})", CHECK_URL
        case EndpointFault.UNREACHABLE if status == 403:
            return (
                f"{endpoint} does not let us in: {text} (status 403), as a firewall or a proxy sends it",
                "check --base-url, and what stands between",
            )
        case EndpointFault.UNREACHABLE:
            return f"{endpoint} sends us elsewhere (status {status})", "give --base-url as it is after the redirection"
        case EndpointFault.CONTEXT_TOO_LONG:
            return f"the prompt does not fit the window of {model}: {text}", ""
        case EndpointFault.REFUSED:
            return f"{endpoint} refused the content: {text}", ""
        case EndpointFault.RATE_LIMITED:
            return f"{endpoint} limits the rate: {text}", ""
        case EndpointFault.TIMED_OUT:
            return f"{endpoint} timed out: {text}", "see call_timeout"
        case EndpointFault.OVERLOADED:
            return f"{endpoint} failed with status {status}: {text}", "its log may say why; or try again later"
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
    return " ".join(str(error).split()) or type(error).__name__
