"""Connecting to a server: find its address and the keys that it may have, dial it, log in."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import pwd
import random
import shlex
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.task import deferLater

from twisted_rsh.client.address import AddressEndpoint, NameEndpoint
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.errors import Error, NoServer, ServerBusy, UnknownServer, WrongServer
from twisted_rsh.client.link import ClientLink, dial
from twisted_rsh.client.login import LoginKey, OtherKeys, log_in
from twisted_rsh.client.reconnecting import Reconnector, retry_delay
from twisted_rsh.client.socket_address import SocketEndpoint
from twisted_rsh.client.status import printable
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.roles import DEFAULT_PORT, MAX_PORT
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.fingerprint import format_fingerprint, parse_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.known_servers import KnownServers, format_address
from twisted_rsh.trust.records import read_record
from twisted_rsh.trust.socket_path import socket_path

if TYPE_CHECKING:
    from twisted_rsh.trust.invitation import Invitation
    from twisted_rsh.trust.server_authorities import ServerAuthorities

__all__ = [
    "BUSY_RETRY_SECONDS",
    "BUSY_SECONDS",
    "DEFAULT_HOST",
    "connect",
    "connect_to_endpoint",
    "fetch_pin",
    "find_authorities",
    "find_pins",
    "is_loopback",
    "own_socket",
    "tcp_endpoint",
]

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
    key: LoginKey | None = None,
    endpoint: IStreamClientEndpoint | None = None,
    destination: str | None = None,
    invitation: Invitation | None = None,
    other_keys: OtherKeys | None = None,
) -> Deferred[Connection]:
    """Connect to a server and log in.

    A server of the same user on this machine is reached over its Unix socket, if it has one and nothing below says
    otherwise: a loopback `host`, and neither `fingerprint`, `key`, `endpoint` nor `invitation`.  The system names both
    users there, so that no key is needed.

    Any other server is known by `fingerprint`; or by the file ``known_servers``, which ``trshctl enroll`` and
    :class:`twisted_rsh.KnownServers` write; or by the record that a server of the same user has left on this machine.
    An unknown server is not dialled, and one with another key is sent nothing.  When a server announces the key that it
    will have, and ``known_servers`` has the one that it shows, the file gets the next one as well.

    :param reactor: the reactor.
    :param host: a host name or address; or ``unix:`` and the path of a Unix socket, at which the server must be of this
        user, of the owner of that file, or of root.
    :param port: the TCP port; of no use with a path.
    :param user: the name of the user to log in as; ``None`` for the user who runs this program.
    :param fingerprint: that of the server's key, ``"SHA256:..."``, as the server's log shows it, and no other key will
        do; ``None`` for a server that is known.
    :param config: the folders of the client's key, of the known servers and of the records; ``None`` for the user's XDG
        folders.  A missing key is made.
    :param limits: how often to ask the server for a sign of life; the server announces the other limits.
    :param resume: whether the session outlives its link: when the link is lost, the client dials the server again, and
        everything goes on, with nothing lost and nothing repeated; see :meth:`twisted_rsh.Connection.watch_link`.
        Otherwise the session ends with its link, and its jobs are ended at once unless they are started with another
        `on_disconnect`.
    :param key: the key to log in with, from a file or from an agent; ``None`` for the client's own.
    :param endpoint: the way to the server that `host` and `port` name; ``None`` for TCP.
    :param destination: the user's own word for the server, for the command that an error proposes; ``None`` for the
        host and the port.
    :param invitation: lets a key in that may not log in yet; give its host, port, user and fingerprint as well.
    :param other_keys: returns the keys to try when the server refuses that key, such as
        :meth:`twisted_rsh.KeyAgent.keys`; ``None`` for none.
    :returns: fires with the connection; fails with a subclass of :class:`~twisted_rsh.core.errors.Error`, such as
        :class:`~twisted_rsh.client.errors.NoServer`, :class:`~twisted_rsh.client.errors.LoginRefused`,
        :class:`~twisted_rsh.client.errors.ServerBusy` when the server has no room for 30 s,
        :class:`~twisted_rsh.client.errors.ServerUnavailable`,
        :class:`~twisted_rsh.client.errors.UnknownServer`, :class:`~twisted_rsh.client.errors.WrongServer`,
        :class:`~twisted_rsh.client.errors.ForeignServer`,
        :class:`~twisted_rsh.trust.files.FileProblem` when a file of keys or of servers cannot be trusted, and
        :class:`~twisted_rsh.trust.fingerprint.BadFingerprint`, also a :class:`ValueError`, when `fingerprint` is
        malformed; and with :class:`OSError`.  Cancelling it hangs up.
    """

    async def find_and_dial() -> Connection:
        folders = ConfigFolders.default(os.environ) if config is None else config
        path = socket_path(host)
        if path is not None and endpoint is None:
            named = () if fingerprint is None else (parse_fingerprint(fingerprint),)
            socket = SocketEndpoint(reactor, path, trusts_owner=True)
            try:
                return await _log_in_at(reactor, socket, named, None, user or _own_name(), limits, resume)
            except NoServer as error:
                raise NoServer(f"cannot connect to {printable(host)}: {error}") from error
        if fingerprint is None and key is None and endpoint is None and invitation is None:
            own_path = own_socket(folders, host, port)
            if own_path is not None:
                socket = SocketEndpoint(reactor, own_path, trusts_owner=False)
                with contextlib.suppress(NoServer):  # a server that was killed has left it
                    return await _log_in_at(reactor, socket, (), None, user or _own_name(), limits, resume)
        pins = find_pins(folders, host, port, fingerprint, destination)
        authorities = find_authorities(folders, host, port, fingerprint)
        own = load_or_create_client_key(folders) if key is None else key
        name = user or _own_name()
        way = tcp_endpoint(reactor, host, port) if endpoint is None else endpoint
        try:
            connection = await _log_in_at(
                reactor, way, pins, own, name, limits, resume, invitation, other_keys, authorities
            )
        except WrongServer as error:
            if fingerprint is not None or not KnownServers(folders).pins(host, port):
                raise
            raise WrongServer(
                f"the key of {host} port {port} has changed: it is {format_fingerprint(error.found)}, and not "
                f"{' or '.join(map(format_fingerprint, pins))}; nothing was sent there; if the administrator of the "
                f"server confirms the new key, run: "
                f"{_enrol_command(folders, host, port, destination, format_fingerprint(error.found))}",
                error.found,
            ) from error
        except NoServer as error:
            raise NoServer(f"cannot connect to {printable(host)} port {port}: {error}") from error
        if connection.next_pin is not None:
            from twisted_rsh.client.next_key import learn_next_key  # only here: few servers announce one

            is_named = fingerprint is not None
            connection.announcement = learn_next_key(folders, host, port, connection, is_named=is_named)
        return connection

    return Deferred.fromCoroutine(find_and_dial())


def connect_to_endpoint(
    reactor: Any,
    endpoint: IStreamClientEndpoint,
    pin: bytes,
    key: LoginKey,
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

    return Deferred.fromCoroutine(_log_in_at(reactor, endpoint, (pin,), key, user, limits, resume))


async def fetch_pin(reactor: Any, endpoint: IStreamClientEndpoint) -> bytes:
    """Ask a server for its key, and hang up.  Nothing is sent to it but the beginning of a TLS handshake.

    The answer is no proof of anything: show it to a person who can compare it.

    :param reactor: the reactor.
    :param endpoint: the server's address.
    :returns: SHA-256 of its public key, 32 bytes; :func:`twisted_rsh.trust.fingerprint.format_fingerprint` writes it.
    :raises twisted_rsh.client.errors.Error: no such server answers, or it is too busy.
    """
    try:
        await _dial_patiently(reactor, endpoint, ())
    except WrongServer as error:
        return error.found
    raise AssertionError("a link to a server of which no key is known")


def own_socket(config: ConfigFolders, host: str, port: int) -> str | None:
    """Return the path of the Unix socket of a server of this user on this machine, if its record names one.

    :param config: the folders of the records.
    :param host: the server's host name or address.
    :param port: the server's TCP port.
    :raises twisted_rsh.trust.files.FileProblem: the record cannot be trusted.
    """
    record = read_record(config, port) if is_loopback(host) else None
    return None if record is None else record.socket


async def _log_in_at(
    reactor: Any,
    endpoint: IStreamClientEndpoint,
    pins: Collection[bytes],
    key: LoginKey | None,
    user: str,
    limits: SessionLimits | None,
    resume: bool,
    invitation: Invitation | None = None,
    other_keys: OtherKeys | None = None,
    authorities: ServerAuthorities | None = None,
) -> Connection:
    link = await _dial_patiently(reactor, endpoint, pins, authorities)
    welcome = await log_in(link, key, user, limits or SessionLimits(), invitation, other_keys)
    # The session stays with the key that it began with, also where the server may have others.
    return Connection(link, welcome, Reconnector(reactor, endpoint, link.pin, welcome) if resume else None)


async def _dial_patiently(
    reactor: Any,
    endpoint: IStreamClientEndpoint,
    pins: Collection[bytes],
    authorities: ServerAuthorities | None = None,
) -> ClientLink:
    """Dial, and dial again while the server says that it is too busy, with pauses of :data:`BUSY_SECONDS` in all."""
    failures = 0
    waited = 0.0
    while True:
        try:
            return await dial(reactor, endpoint, pins, authorities=authorities)
        except ServerBusy:
            if waited >= BUSY_SECONDS:
                raise
        failures += 1
        jitter = random.random()  # noqa: S311 - it keeps clients apart, and is no secret
        delay = min(retry_delay(failures, jitter), BUSY_RETRY_SECONDS)
        waited += delay
        await deferLater(reactor, delay)


def find_pins(
    config: ConfigFolders, host: str, port: int, fingerprint: str | None, destination: str | None = None
) -> tuple[bytes, ...]:
    """Find out which keys the server may have.

    :param config: the folders of the known servers and of the records.
    :param host: the server's host name or address.
    :param port: the server's TCP port.
    :param fingerprint: what the user says, or ``None``.  Then the keys are those of the file ``known_servers`` and, on
        this machine, that of the record which a server of the same user has left in the user's own folder.
    :param destination: as for :func:`connect`.
    :returns: SHA-256 of each public key, 32 bytes; at least one, unless :func:`find_authorities` finds any.
    :raises twisted_rsh.client.errors.UnknownServer: no key is known.
    :raises twisted_rsh.trust.files.FileProblem: the file or the record cannot be trusted.
    :raises twisted_rsh.trust.fingerprint.BadFingerprint: the fingerprint is malformed.
    """
    if fingerprint is not None:
        return (parse_fingerprint(fingerprint),)
    pins = KnownServers(config).pins(host, port)
    record = read_record(config, port) if is_loopback(host) else None
    if record is not None and record.spki_sha256 not in pins:
        pins = (*pins, record.spki_sha256)
    if pins or KnownServers(config).authorities(host, port):
        return pins
    if is_loopback(host):
        raise UnknownServer(
            f"no server of yours is known on port {port} of this machine; start one with: twistd rsh --port {port}"
        )
    command = _enrol_command(config, host, port, destination, "SHA256:...")
    raise UnknownServer(
        f"the key of {printable(host)} port {port} is not known; run: {command}, with the fingerprint that its "
        "server's log shows"
    )


def find_authorities(config: ConfigFolders, host: str, port: int, fingerprint: str | None) -> ServerAuthorities | None:
    """Find out which authorities vouch for the server's key.

    :param config: the folders of the known servers.
    :param host: the server's host name or address.
    :param port: the server's TCP port.
    :param fingerprint: what the user says, and then no authority counts; or ``None``.
    :returns: those of the file ``known_servers``; ``None`` for none.
    :raises twisted_rsh.trust.files.FileProblem: the file cannot be trusted.
    """
    known = KnownServers(config)
    keys = known.authorities(host, port) if fingerprint is None else ()
    if not keys:
        return None
    from twisted_rsh.trust.server_authorities import ServerAuthorities  # only here: few clients have any

    return ServerAuthorities(keys, host, revoked=known.revoked(host, port))


def _enrol_command(config: ConfigFolders, host: str, port: int, destination: str | None, fingerprint: str) -> str:
    """Write the command that makes a server known."""
    # The XDG folders are two, and one that was named is both.
    words = ["--config-dir", shlex.quote(config.config)] if config.config == config.state else []
    target = shlex.quote(destination or format_address(host, port))
    return " ".join(["trshctl enroll", *words, "--fingerprint", fingerprint, target])


def tcp_endpoint(reactor: Any, host: str, port: int) -> IStreamClientEndpoint:
    """Return the way to a host over TCP.

    :param host: a name or an address.
    :raises twisted_rsh.client.errors.NoServer: there is no such port.
    """
    if not 0 < port <= MAX_PORT:
        raise NoServer(f"cannot connect to {printable(host)} port {port}: a port is a number from 1 to {MAX_PORT}")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return NameEndpoint(reactor, host, port)
    return AddressEndpoint(reactor, host, port)


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # as in a container that runs as a bare number
        raise Error(
            f"your uid {os.geteuid()} has no name here; name the user to log in as, with -l USER or user="
        ) from None


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine, by its address or as ``localhost``."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
