"""Values: dataclasses that the type checker alone holds frozen, and of which nothing but `__init__` is compiled.

A frozen dataclass sets each of its fields by a call of its own when it is made; the values of one model call have 60.
And `dataclasses` writes up to six methods for each class and compiles them when the module is loaded: of all that a
start does it was a tenth. What users of the package are given stays frozen for them, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["value"]

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:
    from dataclasses import dataclass, fields
    from operator import attrgetter
    from reprlib import recursive_repr

    def value(*, frozen, slots):
        """`dataclasses.dataclass`, with equality and hash by value; whoever changes one is told so by mypy alone."""

        def made(cls):
            cls.__doc__ = cls.__doc__ or cls.__name__  # else its signature is looked up for that
            cls = dataclass(slots=slots, eq=False, repr=False)(cls)
            own = cls.__dict__
            compared = [each.name for each in fields(cls) if each.compare]
            # Twice the first, so that it is a tuple, of one field too.
            cls._compared = attrgetter(*compared, compared[0]) if compared else type
            if "__repr__" not in own:
                cls.__repr__ = _repr
            if "__eq__" not in own:
                cls.__eq__ = _equal
            if own.get("__hash__") is None:
                cls.__hash__ = _hash if frozen else None
            return cls

        return made

    @recursive_repr()
    def _repr(self):
        told = ", ".join(f"{each.name}={getattr(self, each.name)!r}" for each in fields(self) if each.repr)
        return f"{self.__class__.__qualname__}({told})"

    def _equal(self, other):
        if other.__class__ is not self.__class__:
            return NotImplemented
        return self is other or self._compared(self) == self._compared(other)

    def _hash(self):
        return hash(self._compared(self))
