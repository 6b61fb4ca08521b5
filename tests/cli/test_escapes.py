"""The escapes among the keys that are typed for a command."""

from __future__ import annotations

from functools import partial

import pytest

from twisted_rsh.cli.escapes import EscapeKeys


@pytest.mark.parametrize(
    ("typed", "passed", "actions"),
    [
        (b"ls\r", b"ls\r", []),
        (b"~.", b"", ["leave"]),
        (b"x~.", b"x~.", []),
        (b"x\r~.", b"x\r", ["leave"]),
        (b"x\n~?y", b"x\ny", ["explain"]),
        (b"~?~?~\x1a", b"", ["explain", "explain", "suspend"]),
        (b"~~.", b"~.", []),
        (b"~~~.", b"~~.", []),
        (b"~x~.", b"~x~.", []),
        (b"~\r~.", b"~\r", ["leave"]),
        (b"~", b"", []),
    ],
)
def test_escapes(typed: bytes, passed: bytes, actions: list[str]) -> None:
    """Only at the beginning of a line a tilde begins an escape; the cut between two reads makes no difference."""
    for size in (1, 2, len(typed)):
        done: list[str] = []
        keys = EscapeKeys(*(partial(done.append, name) for name in ("leave", "suspend", "explain")))
        got = b"".join(keys.feed(typed[at : at + size]) for at in range(0, len(typed), size))
        assert (got, done) == (passed, actions)


def test_each_command_begins_a_line() -> None:
    """A tilde that the last command's keys ended with is forgotten, and the next command's keys begin a line."""
    left: list[bool] = []
    keys = EscapeKeys(lambda: left.append(True), lambda: None, lambda: None)
    assert keys.feed(b"x~") == b"x~"
    assert keys.feed(b"\r~") == b"\r"
    keys.begin()
    assert keys.feed(b".") == b"."
    keys.begin()
    assert keys.feed(b"~.") == b""
    assert left == [True]
