"""Connecting to a server: find its address and its key, dial it, log in."""

from __future__ import annotations

import ipaddress
import os
import pwd
import random
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import deferLater

from twisted_rsh.client.address import AddressEndpoint
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.errors import Error, NoServer, ServerBusy, UnknownServer
from twisted_rsh.client.link import ClientLink, dial
from twisted_rsh.client.login import log_in
from twisted_rsh.client.reconnecting import Reconnector, retry_delay
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.roles import DEFAULT_PORT
from twisted_rsh.trust.client_key import ClientKey, load_or_create_client_key
from twisted_rsh.trust.fingerprint import parse_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import read_record

__all__ = ["BUSY_RETRY_SECONDS", "BUSY_SECONDS", "DEFAULT_HOST", "connect", "connect_to_endpoint", "find_pin"]

DEFAULT_HOST = "127.0.0.1"
"""The host to dial by default."""

BUSY_SECONDS = 30.0
"""Seconds that a client spends between dials while the server says that it is too busy: as long as Twisted waits for a
TCP connection, and longer than the server lets silent connections wait for their handshake."""

BUSY_RETRY_SECONDS = 1.0
"""Seconds between these dials at most: the server has taken up to a few hundred connections by then, and refused each
in less than a millisecond."""


def connect(
    reactor: Any,
    host: str = DEFAULT_HOST,
    port: int = DEFAULT_PORT,
    *,
    user: str | None = None,
    fingerprint: str | None = None,
    config: ConfigFolders | None = None,
    limits: SessionLimits | None = None,
    resume: bool = True,
    key: ClientKey | None = None,
    endpoint: IStreamClientEndpoint | None = None,
) -> Deferred[Connection]:
    """Connect to a server and log in.

    :param reactor: the reactor.
    :param host: a host name or address.
    :param port: the TCP port.
    :param user: the name of the user to log in as; ``None`` for the user who runs this program.
    :param fingerprint: that of the server's key, ``"SHA256:..."``, as the server's log shows it; ``None`` for a server
        of the same user on this machine, which has left a record.
    :param config: the folders of the client's key and of the records; ``None`` for the user's XDG folders.  A missing
        key is made.
    :param limits: how often to ask the server for a sign of life; the server announces the other limits.
    :param resume: whether the session outlives its link: when the link is lost, the client dials the server again, and
        everything goes on, with nothing lost and nothing repeated; see :meth:`twisted_rsh.Connection.watch_link`.
        Otherwise the session ends with its link, and its jobs are ended at once unless they are started with another
        `on_disconnect`.
    :param key: the key to log in with; ``None`` for the client's own.
    :param endpoint: the way to the server that `host` and `port` name; ``None`` for TCP.
    :returns: fires with the connection; fails with a subclass of :class:`~twisted_rsh.core.errors.Error`, such as
        :class:`~twisted_rsh.client.errors.NoServer`, :class:`~twisted_rsh.client.errors.LoginRefused`,
        :class:`~twisted_rsh.client.errors.ServerBusy` when the server has no room for 30 s,
        :class:`~twisted_rsh.client.errors.ServerUnavailable`,
        :class:`~twisted_rsh.trust.files.FileProblem` when the key or the record cannot be trusted, and
        :class:`~twisted_rsh.trust.fingerprint.BadFingerprint`, also a :class:`ValueError`, when `fingerprint` is none;
        and with :class:`OSError`.  Cancelling it hangs up.
    """

    async def find_and_dial() -> Connection:
        folders = ConfigFolders.default(os.environ) if config is None else config
        pin = find_pin(folders, host, port, fingerprint)
        own = load_or_create_client_key(folders) if key is None else key
        name = user or _own_name()
        way = _endpoint(reactor, host, port) if endpoint is None else endpoint
        try:
            return await connect_to_endpoint(reactor, way, pin, own, name, limits, resume=resume)
        except NoServer as error:
            raise NoServer(f"cannot connect to {host} port {port}: {error}") from error

    return Deferred.fromCoroutine(find_and_dial())


def connect_to_endpoint(
    reactor: Any,
    endpoint: IStreamClientEndpoint,
    pin: bytes,
    key: ClientKey,
    user: str,
    limits: SessionLimits | None = None,
    *,
    resume: bool = True,
) -> Deferred[Connection]:
    """Connect to a server of which everything is known, over any endpoint, and log in.

    :param reactor: the reactor.
    :param endpoint: the server's address; TLS is added to it.  Each further link connects to it again.
    :param pin: SHA-256 of the server's public key, 32 bytes; see :func:`twisted_rsh.parse_fingerprint`.
    :param key: the key to log in with; see :func:`twisted_rsh.load_or_create_client_key`.
    :param user: the name of the user to log in as.
    :param limits: as for :func:`connect`.
    :param resume: as for :func:`connect`.
    :returns: as that of :func:`connect`.
    """

    async def dial_and_log_in() -> Connection:
        link = await _dial_patiently(reactor, endpoint, pin)
        welcome = await log_in(link, key, user, limits or SessionLimits())
        return Connection(link, welcome, Reconnector(reactor, endpoint, pin, welcome) if resume else None)

    return Deferred.fromCoroutine(dial_and_log_in())


async def _dial_patiently(reactor: Any, endpoint: IStreamClientEndpoint, pin: bytes) -> ClientLink:
    """Dial, and dial again while the server says that it is too busy, with pauses of :data:`BUSY_SECONDS` in all."""
    failures = 0
    waited = 0.0
    while True:
        try:
            return await dial(reactor, endpoint, pin)
        except ServerBusy:
            if waited >= BUSY_SECONDS:
                raise
        failures += 1
        jitter = random.random()  # noqa: S311 - it keeps clients apart, and is no secret
        delay = min(retry_delay(failures, jitter), BUSY_RETRY_SECONDS)
        waited += delay
        await deferLater(reactor, delay)


def find_pin(config: ConfigFolders, host: str, port: int, fingerprint: str | None) -> bytes:
    """Find out which key the server must have.

    :param config: the folder of the records.
    :param host: the server's host name or address.
    :param port: the server's TCP port.
    :param fingerprint: what the user says, or ``None``; then only a server of the same user on this machine is known,
        by the record that it left in the user's own folder.
    :returns: SHA-256 of the server's public key, 32 bytes.
    :raises twisted_rsh.client.errors.UnknownServer: the key is not known.
    :raises twisted_rsh.trust.files.FileProblem: the record cannot be trusted.
    :raises twisted_rsh.trust.fingerprint.BadFingerprint: the fingerprint is none.
    """
    if fingerprint is not None:
        return parse_fingerprint(fingerprint)
    if not _is_loopback(host):
        raise UnknownServer(
            f"the key of {host} port {port} is not known; give --fingerprint SHA256:..., which its server's log shows"
        )
    record = read_record(config, port)
    if record is None:
        raise UnknownServer(
            f"no server of yours is known on port {port} of this machine; start one with: twistd rsh --port {port}"
        )
    return record.spki_sha256


def _endpoint(reactor: Any, host: str, port: int) -> IStreamClientEndpoint:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        from twisted.internet.endpoints import HostnameEndpoint  # see twisted_rsh.client.address

        return HostnameEndpoint(reactor, host, port)
    return AddressEndpoint(reactor, host, port)


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # as in a container that runs as a bare number
        raise Error(
            f"your uid {os.geteuid()} has no name here; name the user to log in as, with -l USER or user="
        ) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
