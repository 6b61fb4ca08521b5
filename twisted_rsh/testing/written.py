"""Values whose text makes them again, and says nothing that goes without saying."""

from __future__ import annotations

import enum
from dataclasses import fields
from typing import Any

__all__ = ["Written"]


class Written:
    """A dataclass that is printed as the call that makes it, without the arguments that have their defaults.

    What a failed test prints can be copied into the next one.  Declare the dataclass with ``repr=False``.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        """Write it down."""
        itself: Any = self
        texts = []
        for field in fields(itself):
            value = getattr(self, field.name)
            if value != field.default:
                texts.append(f"{field.name}={_text(value)}")
        return f"{type(self).__name__}({', '.join(texts)})"


def _text(value: object) -> str:
    if isinstance(value, enum.Enum):
        return str(value)
    return value.__qualname__ if isinstance(value, type) else repr(value)
