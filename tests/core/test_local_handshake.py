"""The handshake of a link over a Unix socket, by its vectors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.vectors import load
from twisted_rsh.core.codec import Decoder, encode
from twisted_rsh.core.errors import RemoteProtocolError
from twisted_rsh.core.local_handshake import PEER_CREDENTIALS, ClientHello, LocalSecrets, ServerHello
from twisted_rsh.core.messages import Auth
from twisted_rsh.core.roles import Phase, Role

VECTORS: dict[str, Any] = load("local")

CLIENT = ClientHello(bytes.fromhex(VECTORS["client_random"]))
SERVER = ServerHello(bytes.fromhex(VECTORS["server_random"]), bytes.fromhex(VECTORS["pin"]))


def framed(payload: bytes) -> str:
    """Return a frame as the vectors write it."""
    return (len(payload).to_bytes(4, "big") + payload).hex()


def test_the_frames() -> None:
    """Each end writes its frame as the vectors have it, and reads the other's."""
    assert framed(CLIENT.pack()) == VECTORS["client"]
    assert framed(SERVER.pack()) == VECTORS["server"]
    assert ClientHello.parse(CLIENT.pack()) == CLIENT
    assert ServerHello.parse(SERVER.pack()) == SERVER


@pytest.mark.parametrize("vector", VECTORS["exported"], ids=lambda vector: vector["label"])
def test_what_is_exported(vector: dict[str, str]) -> None:
    """Both ends derive the values of the vectors: another one for each label, context and link."""
    label, context = vector["label"].encode(), bytes.fromhex(vector["context"])
    value = LocalSecrets(CLIENT, SERVER).export_keying_material(label, 32, context)
    assert value.hex() == vector["value"]
    others = [
        LocalSecrets(CLIENT, SERVER).export_keying_material(label + context[:1], 32, context[1:] + b"x"),
        LocalSecrets(ClientHello(bytes(32)), SERVER).export_keying_material(label, 32, context),
        LocalSecrets(CLIENT, ServerHello(bytes(32), SERVER.pin)).export_keying_material(label, 32, context),
    ]
    assert value not in others


def test_the_login() -> None:
    """AUTH has no key and no signature."""
    claim = Auth(user="alice", algorithm=PEER_CREDENTIALS, key=b"", signature=b"")
    assert encode(claim).hex() == VECTORS["auth"]
    assert Decoder(Role.SERVER, Phase.LOGIN).decode(bytes.fromhex(VECTORS["auth"])) == (None, claim)


@pytest.mark.parametrize("size", [0, 13, 45, 47, 77, 79])
def test_frames_of_another_size(size: int) -> None:
    """A frame that is too short or too long is none."""
    payload = (SERVER.pack() + b"x")[:size]
    for hello in (ClientHello, ServerHello):
        with pytest.raises(RemoteProtocolError, match="no greeting"):
            hello.parse(payload)


def test_another_version() -> None:
    """A frame of another version of the protocol is none."""
    for hello, payload in ((ClientHello, CLIENT.pack()), (ServerHello, SERVER.pack())):
        with pytest.raises(RemoteProtocolError, match="no greeting"):
            hello.parse(payload.replace(b"rsh/1", b"rsh/2"))
