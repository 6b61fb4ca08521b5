"""Roles, phases and streams."""

from __future__ import annotations

from twisted_rsh.core.roles import OUTPUTS, Role, Stream


def test_peers() -> None:
    """Each role's peer is the other one."""
    assert Role.CLIENT.peer is Role.SERVER
    assert Role.SERVER.peer is Role.CLIENT


def test_streams_are_numbered_like_descriptors() -> None:
    """The streams have the numbers 0, 1 and 2; the client sends the first, the server the others."""
    assert [int(stream) for stream in Stream] == [0, 1, 2]
    assert [stream.sender for stream in Stream] == [Role.CLIENT, Role.SERVER, Role.SERVER]
    assert [stream for stream in Stream if stream.sender is Role.SERVER] == list(OUTPUTS)
