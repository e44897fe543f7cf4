"""The licences of the locked packages, by their own metadata, and whether they may be in here."""

from __future__ import annotations

import re
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

ALLOWED = frozenset(
    {
        *("0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "CNRI-Python", "ISC", "MIT", "MIT-0"),
        *("MPL-2.0", "PSF-2.0", "Unlicense", "Zlib"),
    }
)
"""Licences that lay nothing on what uses a package unchanged (MPL-2.0: on changes of its own files alone)."""

_CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "ISC License (ISCL)": "ISC",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
}
"""Those that name one licence; "BSD License" does not."""


def told(file: Path) -> dict[str, str]:
    """What we say of packages whose metadata does not, or that other systems alone want: `requirements/licences.toml`.

    Raises:
        ValueError: it is no table of SPDX expressions.
    """
    found = tomllib.loads(file.read_text(encoding="utf-8"))
    return {name: canonicalize_license_expression(str(expression)) for name, expression in found.items()}


def licence_of(name: str, say: dict[str, str]) -> str | None:
    """The SPDX expression of an installed package, or the one that we say; None where nobody says one."""
    try:
        about = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return say.get(name)
    for field in ("License-Expression", "License"):
        try:
            return canonicalize_license_expression(str((about.get_all(field) or [""])[0]))
        except InvalidLicenseExpression:
            continue
    if name in say:
        return say[name]
    named = {each.rpartition(" :: ")[2] for each in about.get_all("Classifier") or [] if each.startswith("License")}
    known = sorted(_CLASSIFIERS[each] for each in named if each in _CLASSIFIERS)
    return " AND ".join(known) if known and len(known) == len(named) else None


def is_allowed(expression: str) -> bool:
    """Whether an SPDX expression can be met with allowed licences alone."""
    tokens = re.findall(r"[()]|[^\s()]+", expression)

    def either() -> bool:
        found = both()
        while tokens and tokens[0] == "OR":
            tokens.pop(0)
            found = both() or found
        return found

    def both() -> bool:
        found = one()
        while tokens and tokens[0] == "AND":
            tokens.pop(0)
            found = one() and found
        return found

    def one() -> bool:
        token = tokens.pop(0)
        if token == "(":
            found = either()
            tokens.pop(0)
            return found
        if tokens and tokens[0] == "WITH":  # an exception is one more thing to look at
            del tokens[:2]
            return False
        return token in ALLOWED

    return either()
