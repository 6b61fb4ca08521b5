"""The messages of the login, each at its bounds and one past them."""

from __future__ import annotations

from typing import Any

import pytest

from twisted_rsh.core.codec import encode
from twisted_rsh.core.fields import FieldError
from twisted_rsh.core.limits import (
    MAX_CHANNELS,
    MAX_DETACH_SECONDS,
    MAX_LOGIN_FRAME_BYTES,
    MAX_USER_BYTES,
    MAX_WINDOW,
    MIN_WINDOW,
    SESSION_ID_BYTES,
)
from twisted_rsh.core.messages import Auth, AuthFail, AuthOk


def auth(**fields: Any) -> Auth:
    """Return an AUTH with some fields changed."""
    return Auth(**{"user": "alice", "algorithm": "ssh-ed25519", "key": b"k", "signature": b"s", **fields})


def auth_ok(**fields: Any) -> AuthOk:
    """Return an AUTH_OK with some fields changed."""
    facts = {"session": bytes(SESSION_ID_BYTES), "instance": "i", "window": MIN_WINDOW, "max_channels": 1}
    return AuthOk(**{**facts, **fields})


@pytest.mark.parametrize(
    "message",
    [
        auth(user="x" * MAX_USER_BYTES),
        auth(algorithm="x" * 64),
        auth(key=bytes(MAX_LOGIN_FRAME_BYTES)),
        auth(signature=bytes(MAX_LOGIN_FRAME_BYTES)),
        auth_ok(),
        auth_ok(window=MAX_WINDOW, max_channels=MAX_CHANNELS, detach_seconds=MAX_DETACH_SECONDS, instance="x" * 64),
        AuthFail(),
    ],
)
def test_at_the_bound(message: Auth | AuthOk | AuthFail) -> None:
    """What is just allowed travels."""
    assert type(message).parse(message.body()) == message


@pytest.mark.parametrize(
    "message",
    [
        auth(user="x" * (MAX_USER_BYTES + 1)),
        auth(user="\udcff"),
        auth(algorithm="x" * 65),
        auth(key=bytes(MAX_LOGIN_FRAME_BYTES + 1)),
        auth(signature=bytes(MAX_LOGIN_FRAME_BYTES + 1)),
        auth_ok(session=bytes(SESSION_ID_BYTES - 1)),
        auth_ok(session=bytes(SESSION_ID_BYTES + 1)),
        auth_ok(instance="x" * 65),
        auth_ok(window=MIN_WINDOW - 1),
        auth_ok(window=MAX_WINDOW + 1),
        auth_ok(max_channels=0),
        auth_ok(detach_seconds=-1),
        auth_ok(detach_seconds=MAX_DETACH_SECONDS + 1),
        auth_ok(max_channels=MAX_CHANNELS + 1),
    ],
)
def test_one_past_the_bound(message: Auth | AuthOk) -> None:
    """What is just not allowed cannot be sent."""
    with pytest.raises(FieldError):
        message.body()


def test_a_refusal_has_no_body() -> None:
    """A-09: every refusal is the same single byte, so it tells nobody anything."""
    assert encode(AuthFail()) == b"\x03"
    with pytest.raises(FieldError):
        AuthFail.parse(b"\0")


def test_the_largest_key_that_is_accepted_fits() -> None:
    """RSA of 8192 bits: a key blob of 1,049 bytes, a signature of 1,044, and any ordinary user name."""
    longest = auth(user="x" * MAX_USER_BYTES, algorithm="rsa-sha2-512", key=bytes(1049), signature=bytes(1044))
    assert len(encode(longest)) <= MAX_LOGIN_FRAME_BYTES


def test_the_answer_always_fits() -> None:
    """F-13: no AUTH_OK is longer than a login frame may be."""
    longest = auth_ok(window=MAX_WINDOW, max_channels=MAX_CHANNELS, instance="\0" * 64)
    assert len(encode(longest)) <= MAX_LOGIN_FRAME_BYTES
