"""How a client finds its server, knows that it is the right one, and logs in."""

from __future__ import annotations

import ipaddress
import os
import pwd
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint

from twisted_rsh.client.connection import Connection
from twisted_rsh.client.errors import Error, NoServer, UnknownServer
from twisted_rsh.client.link import dial
from twisted_rsh.client.login import ClientLink
from twisted_rsh.client.reconnecting import Reconnector
from twisted_rsh.client.resuming import ResumeLink, Resumption
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.roles import DEFAULT_PORT
from twisted_rsh.link.tls import PinnedClientTLS
from twisted_rsh.trust.client_key import ClientKey, load_or_create_client_key
from twisted_rsh.trust.fingerprint import parse_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import read_record

__all__ = ["DEFAULT_HOST", "connect", "connect_to_endpoint", "find_pin"]

DEFAULT_HOST = "127.0.0.1"
"""The host that a client dials unless told otherwise."""


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
) -> Deferred[Connection]:
    """Connect to a server and log in.

    :param reactor: the reactor.
    :param host: a host name or address.
    :param port: its TCP port.
    :param user: whom to log in as; ``None`` for the user who runs this.
    :param fingerprint: of the server's key, ``"SHA256:..."``, as the server's log shows it; ``None`` for a server of
        this user's on this machine, which has left a record.
    :param config: where the client's key and the records are; ``None`` for the user's XDG folders.  A missing key is
        made.
    :param limits: how often to ask the server for a sign of life; the server announces the rest.
    :param resume: whether the session outlives its connection: when that is lost, the server is dialled again, and
        everything goes on, with nothing lost and nothing repeated; see
        :meth:`twisted_rsh.client.connection.Connection.watch_link`.  Otherwise it ends with its connection, and its
        jobs are ended at once unless they are started with another `on_disconnect`.
    :returns: fires with the shell; fails with a :class:`~twisted_rsh.core.errors.Error`, with
        :class:`~twisted_rsh.trust.files.FileProblem` when the key or the record cannot be trusted, with
        :class:`ValueError` when the fingerprint is none, and with :class:`OSError`.  Cancelling it hangs up.
    """

    async def find_and_dial() -> Connection:
        folders = ConfigFolders.default(os.environ) if config is None else config
        pin = find_pin(folders, host, port, fingerprint)
        key = load_or_create_client_key(folders)
        name = user or _own_name()
        endpoint = _endpoint(reactor, host, port)
        try:
            return await connect_to_endpoint(reactor, endpoint, pin, key, name, limits, resume=resume)
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
    """Connect to a server wherever it is, when everything about it is known.

    :param endpoint: where it listens; TLS is added to it.  It is asked again for each further connection.
    :param pin: SHA-256 of its public key, 32 bytes.
    :param key: what to log in with.
    :param user: whom to log in as.
    :param resume: as for :func:`connect`.
    :returns: as that of :func:`connect`.
    """
    clock = cast("IReactorTime", reactor)

    def make_reconnector(connection: Connection, parts: Resumption) -> Reconnector:
        def make_link(tls: PinnedClientTLS, resumed: Deferred[None]) -> ResumeLink:
            return ResumeLink(clock, tls, pin, parts, connection.link_owner, resumed)

        return Reconnector(clock, lambda: dial(reactor, endpoint, pin, make_link), connection)

    def make_link(tls: PinnedClientTLS, ready: Deferred[Connection]) -> ClientLink:
        reconnecting = make_reconnector if resume else None
        return ClientLink(clock, tls, pin, key, user, limits or SessionLimits(), ready, reconnecting)

    return dial(reactor, endpoint, pin, make_link)


def find_pin(config: ConfigFolders, host: str, port: int, fingerprint: str | None) -> bytes:
    """Find out which key the server must have.

    :param fingerprint: what the user says, or ``None``; then only a server of this user's on this machine is known,
        by the record that it left in the user's own folder.
    :returns: SHA-256 of its public key, 32 bytes.
    :raises twisted_rsh.client.errors.UnknownServer: nothing says so.
    :raises twisted_rsh.trust.files.FileProblem: the record cannot be trusted.
    :raises ValueError: the fingerprint is none.
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
        version = ipaddress.ip_address(host).version
    except ValueError:
        return HostnameEndpoint(reactor, host, port)
    if version == 4:
        return TCP4ClientEndpoint(reactor, host, port)
    return TCP6ClientEndpoint(reactor, host, port)


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # as in a container that was given a bare number
        raise Error(f"your uid {os.geteuid()} has no name here; say whom to log in as, with -l USER") from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
