"""Small values of which each model call makes several: dataclasses that the type checker holds frozen.

A frozen dataclass sets each of its fields by a call of its own when it is made; the values of one model call have 60.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["value"]

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass

    def value(*, frozen, slots):
        """`dataclasses.dataclass`, with equality and hash by value; whoever changes one is told so by mypy alone."""
        return dataclass(slots=slots, unsafe_hash=frozen)
