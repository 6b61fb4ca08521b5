"""The checker of clients at a Unix socket: the server's own user, by its own name."""

from __future__ import annotations

import os

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred

from twisted_rsh.trust.cred import IVerifiedPeer, OwnUserChecker, VerifiedPeer


def answer(user: str, uid: int) -> object:
    """Return the checker's answer to a client."""
    answers: list[object] = []
    asked: Deferred[bytes | tuple[()]] = OwnUserChecker("alice").requestAvatarId(VerifiedPeer(user, uid, "a process"))
    asked.addBoth(answers.append)
    return answers[0]


def test_the_own_user() -> None:
    """The server's own user is let in, under the name that it has."""
    assert IVerifiedPeer.providedBy(VerifiedPeer("alice", 1000, "a process"))
    assert answer("alice", os.geteuid()) == b"alice"


@pytest.mark.parametrize(
    ("user", "beyond"), [("alice", 1), ("bob", 0), ("", 0), ("alice\0", 0), ("ALICE", 0)], ids=ascii
)
def test_any_other(user: str, beyond: int) -> None:
    """A-19: another user's process, and any other name, are refused."""
    failure: object = answer(user, os.geteuid() + beyond)
    assert getattr(failure, "check", lambda _: None)(UnauthorizedLogin) is not None


def test_root_is_another_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """A-21: root has no way in at the socket of another user's server."""
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert answer("alice", 1000) == b"alice"
    assert answer("alice", 0) != b"alice"
