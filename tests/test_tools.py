"""Tests of the rule for tests that need a program of others."""

from __future__ import annotations

import pytest

from tests.tools import require_tool

ABSENT = "no-such-program-anywhere"


def test_present_tool_is_found() -> None:
    """A program that is installed is named by its path."""
    assert require_tool("sh").endswith("/sh")


def test_absent_tool_skips(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a developer's machine a missing program skips the test."""
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match=ABSENT):
        require_tool(ABSENT)


def test_absent_tool_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where CI is set a missing program fails the test."""
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match=ABSENT):
        require_tool(ABSENT)
