"""What an endpoint does wrong: when, and what is sent in the place of the right answer."""

from __future__ import annotations

import json
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Strike:
    """A fault of the endpoint: what, and at which requests, counted from 1; `last` is None where it goes on until it is
    taken back. `every`: only each n-th of these."""

    what: str
    first: int
    last: int | None = None
    every: int = 1
    seconds: float = 0.3

    def hits(self, position: int) -> bool:
        within = self.first <= position and (self.last is None or position <= self.last)
        return within and (position - self.first) % self.every == 0


REFUSALS: dict[str, tuple[int, dict[str, str], bytes]] = {
    "429": (429, {"retry-after": "0.2"}, b'{"error":{"message":"slow down","type":"requests"}}'),
    "429-bare": (429, {}, b'{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}'),
    "429-ms": (429, {"retry-after-ms": "150"}, b'{"error":{"message":"Rate limit reached"}}'),
    "429-junk": (429, {"retry-after": "soon"}, b"<html>Too Many Requests</html>"),
    "500": (500, {}, b'{"error":{"message":"The server had an error","type":"server_error"}}'),
    "502": (502, {}, b"<html><body>Bad Gateway</body></html>"),
    "503": (503, {"retry-after": "0.2"}, b'{"error":{"message":"overloaded","type":"server_error"}}'),
    "529": (529, {}, b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'),
    "quota": (429, {}, b'{"error":{"message":"You exceeded your current quota","type":"insufficient_quota"}}'),
    "key": (401, {}, b'{"error":{"message":"Incorrect API key provided","code":"invalid_api_key"}}'),
}
BODIES: dict[str, bytes] = {
    "empty": b"",
    "html": b"<html><body>Please sign in</body></html>",
    "no-json": b"[1, 2",
    "no-choices": b'{"id":"x","object":"chat.completion","choices":[]}',
    "null": b"null",
}
BROKEN = ("cut-before", "cut-within", "stalled", "no-first-token", "garbled", "error-within", "no-end")
"""The answer is lost in part or as a whole; it may have been paid."""

SPOILT = ("bad-arguments", "bad-tool")
"""The model, not the wire: calls that cannot be used."""

HARMLESS = ("late", "repeated", "no-usage", "odd-chunks")
"""The whole answer comes, only not as usual."""


def spoil(body: bytes, what: str, *, streamed: bool) -> list[bytes]:
    """The pieces that are sent."""
    if not streamed:
        match what:
            case "cut-within" | "stalled" | "garbled" | "no-end":
                return [body[: len(body) // 2]]
            case "error-within":
                return [b'{"error":{"message":"The server had an error","type":"server_error"}}']
            case "no-usage":
                told = json.loads(body)
                told.pop("usage", None)
                return [json.dumps(told).encode()]
            case _:
                return [body]
    events = [event + b"\n\n" for event in body.split(b"\n\n") if event]
    half = max(1, len(events) // 2)
    match what:
        case "cut-within" | "stalled" | "no-end":
            return events[:half]
        case "garbled":
            return [*events[:half], b'data: {"id": "chatcmpl-\n\n', *events[half:]]
        case "error-within":
            return [*events[:half], b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n']
        case "repeated":  # what tells nothing new: the end, the usage, the done
            return [*events, *(event for event in events[-3:])]
        case "no-usage":
            return [event for event in events if b'"usage":{' not in event]
        case "odd-chunks":  # heartbeats, comments, and cuts in the middle of a line
            whole = b": hello\n\n" + b"".join(b": keep-alive\r\n\r\n" + event for event in events)
            return [whole[at : at + 37] for at in range(0, len(whole), 37)]
        case _:
            return events
