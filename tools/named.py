"""Objects by dotted path, for tools and providers of anyone's."""

from __future__ import annotations

from importlib import import_module

from swarm.errors import UsageError


def load_object(path: str, remedy: str) -> object:
    """What `package.module:name` names. Raises: UsageError where there is no such thing."""
    module, colon, name = path.partition(":")
    if not colon:
        raise UsageError(f"there is nothing by the name {path!r}", remedy=remedy)
    try:
        found: object = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UsageError(f"{path}: {error}", remedy=remedy) from None
    return found
