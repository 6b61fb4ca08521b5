"""The next key of a server: a client that trusts the server learns it over its login, and nothing less will do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.python.failure import Failure

from tests.link.wire import ALICE, Identity, client_key, identity
from tests.server.rig import EXCHANGES, Rig
from twisted_rsh import Connection, connect
from twisted_rsh.client.errors import LossReason, SessionLost, WrongServer
from twisted_rsh.core.login import NextKey
from twisted_rsh.server.factory import RemoteShellFactory
from twisted_rsh.testing import MemoryEndpoint
from twisted_rsh.trust.fingerprint import format_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.known_servers import KnownServers
from twisted_rsh.trust.rotation import announce
from twisted_rsh.trust.server_key import ServerKey

HOST, PORT = "192.0.2.7", 8082


def key_of(who: Identity) -> ServerKey:
    """Return the key of a server of the tests."""
    return ServerKey(who.private_key, who.certificate, who.pin)


def server_of(who: Identity) -> Rig:
    """Return a server with another key."""
    rig = Rig()
    rig.factory = RemoteShellFactory(rig.clock, rig.factory.portal, key_of(who), "another run")
    return rig


class Client:
    """A client with a file of known servers, and a server that will have another key.

    :ivar rig: the server.
    :ivar known: the file.
    """

    def __init__(self, folder: Path) -> None:
        self.config = ConfigFolders.at(str(folder))
        self.known = KnownServers(self.config)
        self.rig = Rig()
        self.following = identity(1)
        self.rig.factory.next_key = key_of(self.following)

    @property
    def pins(self) -> tuple[bytes, ...]:
        """The keys that the server may have."""
        return self.known.pins(HOST, PORT)

    def connect(self, rig: Rig | None = None, **how: Any) -> Connection:
        """Connect, or raise what the client gets instead."""
        rig = rig or self.rig
        results: list[Connection | Failure] = []
        endpoint = MemoryEndpoint(rig.clock, rig.factory)
        how = {"key": client_key(), "user": ALICE, "config": self.config, "endpoint": endpoint, **how}
        connect(rig.clock, HOST, PORT, **how).addBoth(results.append)
        for _ in range(EXCHANGES):
            rig.clock.advance(0.01)
        (result,) = results
        if isinstance(result, Failure):
            result.raiseException()
        assert isinstance(result, Connection)
        return result


@pytest.fixture
def client(tmp_path: Path) -> Client:
    """The client, which knows the server."""
    made = Client(tmp_path / "client")
    made.known.add(HOST, PORT, made.rig.pin, "added")
    return made


def test_learning(client: Client) -> None:
    """The file has both keys from then on, in order; the user reads of it once; the server may have either."""
    connection = client.connect()
    assert client.pins == (client.rig.pin, client.following.pin)
    assert connection.announcement == (
        f"the server {HOST}:{PORT} will have another key, {format_fingerprint(client.following.pin)}; "
        "known_servers has it from now on"
    )
    assert " next key, announced 20" in Path(client.known.path).read_text()
    assert client.connect().announcement == ""
    assert client.connect(server_of(client.following)).pin == client.following.pin


def test_a_changed_key_stops(client: Client) -> None:
    """C-01: a client that has not learnt the next key stops at it, and learns nothing from it."""
    changed = server_of(client.following)
    changed.factory.next_key = key_of(identity(2))
    with pytest.raises(WrongServer, match="has changed"):
        client.connect(changed)
    assert client.pins == (client.rig.pin,)


@pytest.mark.parametrize("member", ["key", "proof", "signature"])
@pytest.mark.parametrize("value", [b"", b"x", None])
def test_announcement_that_does_not_hold(
    client: Client, monkeypatch: pytest.MonkeyPatch, member: str, value: bytes | None
) -> None:
    """An announcement without both signatures is a breach: the login fails, and the file stays as it is."""

    def wrong(*words: Any) -> NextKey:
        good = announce(*words)
        other = announce(words[0], key_of(identity(2)), words[2])
        changed: dict[str, Any] = {member: getattr(other, member) if value == b"" else value}
        return replace(good, **changed)

    monkeypatch.setattr("twisted_rsh.server.link.announce", wrong)
    with pytest.raises(SessionLost, match="announced") as lost:
        client.connect()
    assert lost.value.reason is LossReason.PROTOCOL
    assert client.pins == (client.rig.pin,)


def test_a_server_that_is_named(client: Client) -> None:
    """Where the user has named the key, and no file has it, the user is told to name the next one."""
    client.known.forget(HOST, PORT)
    connection = client.connect(fingerprint=format_fingerprint(client.rig.pin))
    assert connection.announcement.endswith(
        f"; name it in place of {format_fingerprint(client.rig.pin)} when the server shows it"
    )
    assert client.pins == ()


def test_a_file_that_cannot_be_written(client: Client) -> None:
    """The session goes on, and the line says why the key is not remembered."""
    fingerprint = format_fingerprint(client.rig.pin)
    Path(client.known.path).chmod(0o666)
    connection = client.connect(fingerprint=fingerprint)
    assert "which is not remembered: " in connection.announcement
    assert connection.connected


def test_no_announcement(client: Client) -> None:
    """A server that keeps its key announces nothing."""
    client.rig.factory.next_key = None
    connection = client.connect()
    assert (connection.next_pin, connection.announcement, connection.pin) == (None, "", client.rig.pin)
    assert client.pins == (client.rig.pin,)
