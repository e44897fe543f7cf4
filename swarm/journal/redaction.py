"""Secrets are taken out of every line before it is written.

Two nets: the *values* of environment variables whose names sound secret (and of the configured key), and the shapes
of well-known keys. What is found becomes `[redacted:NAME]`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

VERSION = 1

_SECRET_NAME = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|PRIVATE", re.IGNORECASE)
_MIN_LENGTH = 8
_SHAPES = {
    "private-key": r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?-----END [A-Z ]*PRIVATE KEY-----",
    "openai-key": r"\bsk-[A-Za-z0-9_-]{20,}",
    "github-token": r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})",
    "aws-key": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "slack-token": r"\bxox[abprs]-[A-Za-z0-9-]{10,}",
    "hf-token": r"\bhf_[A-Za-z0-9]{30,}",
    "url-password": r"(?<=://)[^/\s:@\"]{1,256}:[^/\s:@\"]{1,256}(?=@)",
}


class Redactor:
    """Takes secrets out of texts. Built once a run; the values it knows are never shown."""

    def __init__(self, secrets: Mapping[str, str]) -> None:
        named: dict[str, str] = {}
        for name, value in secrets.items():
            if len(value) >= _MIN_LENGTH:
                named[value] = name
                named[json.dumps(value, ensure_ascii=False)[1:-1]] = name  # as it stands inside JSON
        self._named = named
        values = "|".join(re.escape(value) for value in sorted(named, key=len, reverse=True))
        shapes = "|".join(f"(?P<{name.replace('-', '_')}>{shape})" for name, shape in _SHAPES.items())
        self._pattern = re.compile(f"(?P<value>{values})|{shapes}" if values else shapes, re.DOTALL)

    def __repr__(self) -> str:
        return f"<Redactor {len(set(self._named.values()))} known values>"

    def redact(self, text: str) -> tuple[str, int]:
        """The text without secrets, and how many were found."""
        return self._pattern.subn(self._label, text)

    def _label(self, match: re.Match[str]) -> str:
        kind = match.lastgroup or "secret"
        return f"[redacted:{self._named[match.group()] if kind == 'value' else kind.replace('_', '-')}]"


def secrets_of(env: Mapping[str, str]) -> dict[str, str]:
    """The variables of an environment whose names sound secret; paths are not secrets."""
    return {name: value for name, value in env.items() if _SECRET_NAME.search(name) and not value.startswith("/")}
