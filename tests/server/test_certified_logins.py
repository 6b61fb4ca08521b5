"""Logins by what an authority certifies and a list revokes, with a real server and a real client on loopback."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, formatEvent

from tests.server.waiting import until
from tests.serving import Serving, asynchronous, cut, reactor
from tests.trust.authority import AUTHORITY, certify, option
from tests.trust.keys import key_blob
from tests.trust.test_revocation import certificates, krl, u64
from twisted_rsh import ClientKey, Connection, LoginRefused, LossReason, RefusalReason, Refused, Terminal, connect
from twisted_rsh.execution.account import Account
from twisted_rsh.server import key_watch, local_portal
from twisted_rsh.trust.certificates import parse_certificate
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.ssh_keys import public_line

pytestmark = pytest.mark.uncut("sessions end while they are looked at")

CA_LINE = f"cert-authority {public_line(key_blob('ssh-ed25519', AUTHORITY))}\n"
USER = Account.current(os.environ).name.encode()


class Certified:
    """A server, and a client whose key only an authority knows.

    :ivar key: the client's key.
    :ivar revoked: the server's list.
    """

    def __init__(self, config: ConfigFolders, folder: Path, ssh: bool = False) -> None:
        self.config = config
        self.revoked = folder / "revoked"
        self.write(self.revoked, b"")
        self.ssh = folder / "ssh_authorized_keys"
        account = Account.current(os.environ, "/bin/sh", "utf-8")
        portal = local_portal(
            reactor,
            config,
            account,
            ssh_authorized_keys=str(self.ssh) if ssh else None,
            revoked_keys=str(self.revoked),
        )
        self.serving = Serving(config, portal)
        self.other = ConfigFolders.at(str(folder / "other"))
        self.key = load_or_create_client_key(self.other)
        self.connections: list[Connection] = []

    @staticmethod
    def write(path: Path, data: bytes) -> None:
        """Write a file that only its owner can write."""
        path.parent.mkdir(exist_ok=True)
        path.touch(0o600)
        path.write_bytes(data)

    def authorize(self, text: str) -> None:
        """Write ``authorized_keys``."""
        self.write(Path(self.config.authorized_keys_path), text.encode())

    def certified(self, **words: Any) -> ClientKey:
        """The client's key with a certificate; by default one for the account."""
        words.setdefault("principals", [USER])
        return replace(self.key, certificate=parse_certificate(certify(self.key.blob, **words)))

    async def log_in(self, key: ClientKey) -> Connection:
        """Log in."""
        fingerprint = self.serving.service.fingerprint
        connection = await connect(
            reactor, "127.0.0.1", self.serving.port, config=self.other, fingerprint=fingerprint, key=key
        )
        self.connections.append(connection)
        return connection

    async def is_refused(self, key: ClientKey) -> None:
        """Check that a login is refused."""
        with pytest.raises(LoginRefused):
            await self.log_in(key)


@asynccontextmanager
async def certified_server(config: ConfigFolders, folder: Path, ssh: bool = False) -> AsyncIterator[Certified]:
    """Run such a server."""
    one = Certified(config, folder, ssh)
    await one.serving.start()
    try:
        yield one
    finally:
        for connection in one.connections:
            await connection.close()
        await one.serving.stop()


def reasons(logged: list[LogEvent]) -> list[str]:
    """Why logins were refused, in their order."""
    return [text for event in logged if "refused" in (text := formatEvent(event))]


@asynchronous
async def test_who_is_let_in(config: ConfigFolders, tmp_path: Path, logged: list[LogEvent]) -> None:
    """A certificate of an authority in authorized_keys lets in whom it names; each refusal is in the log with why."""
    now = int(time.time())
    async with certified_server(config, tmp_path) as one:
        await one.is_refused(one.certified())
        assert "is in no line with cert-authority" in reasons(logged)[-1]
        one.authorize(CA_LINE)
        assert (await (await one.log_in(one.certified())).run("echo here")).text == "here\n"
        assert any("certificate 'alice at work' serial 7 of authority SHA256:" in formatEvent(e) for e in logged)
        await one.is_refused(one.key)
        for words, said in (
            ({"principals": [b"nobody-of-this-name"]}, "and none of"),
            ({"before": now - 1}, "has expired"),
            ({"after": now + 600}, "is not valid yet"),
            ({"kind": 2}, "is one of a server"),
            ({"critical": ((b"new", b""),)}, "is not known here"),
            ({"critical": ((b"source-address", option(b"::1")),)}, "source-address does not allow 127.0.0.1"),
            ({"critical": ((b"source-address", option(b"example.org")),)}, "its source-address: "),
        ):
            await one.is_refused(one.certified(**words))
            assert said in reasons(logged)[-1], said
        one.authorize(CA_LINE.replace("cert-authority", 'cert-authority,principals="ops,dev"'))
        await one.is_refused(one.certified())
        await one.log_in(one.certified(principals=[b"dev"]))


@asynchronous
async def test_what_a_certificate_forbids(config: ConfigFolders, tmp_path: Path, logged: list[LogEvent]) -> None:
    """The holder of a certificate may do what both it and the line of its authority allow."""
    forced = one_option(b"force-command", b"echo forced, not $SSH_ORIGINAL_COMMAND")
    async with certified_server(config, tmp_path) as one:
        one.authorize(CA_LINE)
        connection = await one.log_in(one.certified(critical=forced))
        assert (await connection.run("x")).text == "forced, not x\n"
        near = await one.log_in(one.certified(critical=one_option(b"source-address", b"127.0.0.0/8")))
        assert (await near.run("echo here")).text == "here\n"
        plain = await one.log_in(one.certified(extensions=()))
        ending = (await plain.run("x", terminal=Terminal())).ending
        assert isinstance(ending, Refused)
        assert ending.reason is RefusalReason.NO_TERMINAL
        one.authorize(CA_LINE.replace("cert-authority", 'cert-authority,command="echo line"'))
        assert (await (await one.log_in(one.certified())).run("x")).text == "line\n"
        await one.is_refused(one.certified(critical=forced))
        assert "is against command=" in reasons(logged)[-1]
        one.authorize(CA_LINE.replace("cert-authority", 'cert-authority,from="192.0.2.1"'))
        await one.is_refused(one.certified())
        assert "from= does not allow 127.0.0.1" in reasons(logged)[-1]


def one_option(name: bytes, value: bytes) -> tuple[tuple[bytes, bytes], ...]:
    """Return the critical options of a certificate that has one."""
    return ((name, option(value)),)


@asynchronous
async def test_a_certificate_that_expires_later(
    config: ConfigFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session goes on, over another link too, when its certificate has expired; no other session begins."""
    async with certified_server(config, tmp_path) as one:
        one.authorize(CA_LINE)
        key = one.certified(before=2_000_000_000)
        monkeypatch.setattr("twisted_rsh.server.link.time.time", lambda: 1_999_999_999.0)
        connection = await one.log_in(key)
        monkeypatch.setattr("twisted_rsh.server.link.time.time", lambda: 2_000_000_000.0)
        await one.is_refused(key)
        cut(connection)
        assert (await connection.run("echo here")).text == "here\n"
        assert await one.serving.service.recheck_keys() == 0
        one.authorize("# none\n")
        assert await one.serving.service.recheck_keys() == 1


@asynchronous
async def test_a_revoked_certificate_ends_its_sessions(
    config: ConfigFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A-12: a certificate that comes into the list loses its session within the watch's time, and another stays."""
    monkeypatch.setattr(key_watch, "LOOK_SECONDS", 0.05)
    async with certified_server(config, tmp_path) as one:
        one.authorize(CA_LINE)
        revoked, kept = await one.log_in(one.certified(serial=7)), await one.log_in(one.certified(serial=8))
        lost: Deferred[str] = revoked.when_lost()
        one.write(one.revoked, krl(certificates((0x20, u64(7)))))
        await until(lambda: lost.called)
        assert revoked.loss is LossReason.CLOSED
        assert (await kept.run("echo here")).text == "here\n"
        await one.is_refused(one.certified(serial=7))


@asynchronous
async def test_a_list_that_cannot_be_read(config: ConfigFolders, tmp_path: Path, logged: list[LogEvent]) -> None:
    """While the list is broken or gone nobody begins a session, and those that there are stay."""
    async with certified_server(config, tmp_path) as one:
        one.authorize(CA_LINE)
        connection = await one.log_in(one.certified())
        for is_there in (True, False):
            if is_there:
                one.write(one.revoked, krl()[:-1])
            else:
                one.revoked.unlink()
            await one.is_refused(one.certified())
            await one.is_refused(load_or_create_client_key(config))
            assert await one.serving.service.recheck_keys() == 0
        assert (await connection.run("echo here")).text == "here\n"
        assert any(
            "nobody may log in: " in formatEvent(event) and "no whole list" in formatEvent(event) for event in logged
        )
        one.write(one.revoked, public_line(one.key.public_key.blob).encode())
        assert await one.serving.service.recheck_keys() == 1


@asynchronous
async def test_the_keys_of_sshd(config: ConfigFolders, tmp_path: Path) -> None:
    """A-14: a key without options in sshd's file is let in if that is asked for; one with options, or of an authority
    there, is not, and a file that others can write lets nobody in."""
    async with certified_server(config, tmp_path, ssh=True) as one:
        await one.is_refused(one.key)
        line = one.key.public_line
        for options in ('command="ls" ', "restrict ", 'from="127.0.0.1" ', "cert-authority ", "no-pty "):
            one.write(one.ssh, f"{options}{line}\n".encode())
            await one.is_refused(one.key)
        one.write(one.ssh, CA_LINE.encode())
        await one.is_refused(one.certified())
        one.write(one.ssh, f"{CA_LINE}{line} a comment\n".encode())
        await one.log_in(one.key)
        one.ssh.chmod(0o664)
        await one.is_refused(one.key)
