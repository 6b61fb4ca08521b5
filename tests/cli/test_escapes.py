"""The escapes among the keys that are typed for a command."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest

from twisted_rsh.cli.console import console_help
from twisted_rsh.cli.escapes import EscapeKeys, escape_help


def actions_of(done: list[str]) -> tuple[Callable[[], None], Callable[[], None], Callable[[], None]]:
    """Return the actions of the escapes, which note their names."""
    return partial(done.append, "leave"), partial(done.append, "suspend"), partial(done.append, "explain")


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
        keys = EscapeKeys(*actions_of(done))
        got = b"".join(keys.feed(typed[at : at + size]) for at in range(0, len(typed), size))
        assert (got, done) == (passed, actions)


@pytest.mark.parametrize("escape", ["%", "\x1d", "."])
def test_another_character(escape: str) -> None:
    """Any character may begin the escapes; a tilde is then a key like any other."""
    done: list[str] = []
    keys = EscapeKeys(*actions_of(done), escape)
    typed = f"~.\r{escape}?{escape}{escape}x\r{escape}\x1a".encode()
    if escape != ".":
        assert keys.feed(typed) == f"~.\r{escape}x\r".encode()
        assert done == ["explain", "suspend"]
    keys.begin()
    assert keys.feed(f"{escape}.".encode()) == b""
    assert done[-1] == "leave"


def test_no_character() -> None:
    """Without an escape character all keys are the command's."""
    done: list[str] = []
    typed = b"~.\r~?~~\x1d.\0."
    assert EscapeKeys(*actions_of(done), None).feed(typed) == typed
    assert done == []


def test_help_names_the_character() -> None:
    """The help shows the keys that the user has to press."""
    assert escape_help("~")[1:] == (
        "  ~.      leave: what runs is ended",
        "  ~?      show this",
        "  ~^Z     suspend trsh itself (Ctrl-Z after ~)",
        "  ~~      type one ~",
    )
    assert escape_help("\x1d")[1] == "  ^].     leave: what runs is ended"
    assert escape_help(None) == ("There is no escape character.",)
    assert console_help("%")[-4:] == escape_help("%")[-4:]


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
