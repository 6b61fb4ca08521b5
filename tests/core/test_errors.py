"""Breaches as the log shows them."""

from __future__ import annotations

import pickle

import pytest

from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, ProtocolError, RemoteProtocolError


@pytest.mark.parametrize("kind", [LocalProtocolError, RemoteProtocolError])
def test_an_error_is_one_line(kind: type[ProtocolError]) -> None:
    """An error names the kind of breach and what happened in one line, and survives copying."""
    error = kind(ErrorCode.FLOW_CONTROL, "3 bytes too many")
    assert str(error) == "flow-control: 3 bytes too many"
    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (type(copied), copied.code, str(copied)) == (kind, ErrorCode.FLOW_CONTROL, str(error))


def test_the_two_sides_are_told_apart() -> None:
    """Our own mistake is never taken for the peer's."""
    assert not issubclass(LocalProtocolError, RemoteProtocolError)
    assert not issubclass(RemoteProtocolError, LocalProtocolError)
