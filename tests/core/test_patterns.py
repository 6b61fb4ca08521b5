"""Patterns of names, as a configuration file, a certificate and known_servers have them."""

from __future__ import annotations

import pytest

from twisted_rsh.core.patterns import matches_any


@pytest.mark.parametrize(
    ("patterns", "name", "is_match"),
    [
        ("*", "", True),
        ("a*c", "abc", True),
        ("a?c", "ac", False),
        ("a?c", "abc", True),
        ("a.c", "abc", False),
        ("!a *", "a", False),
        ("* !a", "a", False),
        ("!a", "b", False),
        ("[ab]", "a", False),
        ("", "a", False),
        ("a", "", False),
        ("a**", "a", True),
        ("*a*b", "xaxbxb", True),
        ("*a*b", "xaxbx", False),
        ("*.*.*", "a.b", False),
        ("?*", "a", True),
        ("?", "", False),
        ("\\*", "\\x", True),
        ("*a*a*a*a*a*a*a*a*b", "a" * 2000, False),
    ],
)
def test_patterns(patterns: str, name: str, is_match: bool) -> None:
    """A name matches a list if one pattern matches, and none that ``!`` begins."""
    assert matches_any(patterns.split(), name) == is_match
