"""Patterns of names: ``*``, ``?``, and ``!`` before one that must not match, as in ssh_config(5)."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["matches", "matches_any"]


def matches(pattern: str, name: str) -> bool:
    """Tell whether a name matches one pattern.  Capitals count.

    :param pattern: ``*`` stands for any characters, ``?`` for one.
    :param name: the name.
    """
    parts = re.split(r"([*?])", re.sub(r"\*+", "*", pattern))
    expression = "".join({"*": ".*", "?": "."}.get(part) or re.escape(part) for part in parts)
    return re.fullmatch(expression, name, re.DOTALL) is not None


def matches_any(patterns: Iterable[str], name: str) -> bool:
    """Tell whether a name matches at least one pattern of a list, and none of those that ``!`` begins.

    :param patterns: the list.
    :param name: the name.
    """
    is_match = False
    for pattern in patterns:
        if pattern.startswith("!"):
            if matches(pattern[1:], name):
                return False
        elif matches(pattern, name):
            is_match = True
    return is_match
