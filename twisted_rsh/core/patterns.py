"""Patterns of names: ``*``, ``?``, and ``!`` before one that must not match, as in ssh_config(5)."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["matches", "matches_any"]


def matches(pattern: str, name: str) -> bool:
    """Tell whether a name matches one pattern.  Capitals count.

    :param pattern: ``*`` stands for any characters, ``?`` for one.
    :param name: the name.
    """
    # Only the last star is ever extended, so that the time is that of the two lengths multiplied.
    at, star, extended = 0, -1, 0
    position = 0
    while position < len(name):
        character = pattern[at] if at < len(pattern) else ""
        if character == "*":
            star, extended = at, position
            at += 1
        elif character and character in {"?", name[position]}:
            at += 1
            position += 1
        elif star >= 0:
            extended += 1
            at, position = star + 1, extended
        else:
            return False
    return not pattern[at:].strip("*")


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
