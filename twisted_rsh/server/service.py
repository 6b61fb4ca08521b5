"""The server as a Twisted service, for ``twistd`` and for any application."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, cast

from twisted.application.service import Service
from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP, IReactorTime, IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.roles import DEFAULT_PORT
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.trees.trees import JobTrees
from twisted_rsh.execution.user import LocalUser
from twisted_rsh.link.framed_link import LOGIN_SECONDS
from twisted_rsh.link.tls import ServerTLS
from twisted_rsh.server.capacity import MAX_BUFFERED_BYTES, MAX_SESSIONS_PER_KEY
from twisted_rsh.server.control import ControlFactory, ControlPort
from twisted_rsh.server.factory import RemoteShellFactory
from twisted_rsh.server.link import ServerSettings
from twisted_rsh.server.listening import default_interfaces, listen_on_all, stop_listening, tcp_port_of
from twisted_rsh.server.portal import SingleUserRealm
from twisted_rsh.server.strangers import MAX_UNAUTHENTICATED, MAX_UNAUTHENTICATED_PER_SOURCE
from twisted_rsh.trust.cred import AuthorizedKeysChecker
from twisted_rsh.trust.files import ensure_private_folder
from twisted_rsh.trust.fingerprint import format_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import ServerRecord, remove_record, write_record
from twisted_rsh.trust.server_key import ServerKey, load_or_create_server_key

__all__ = ["RemoteShellService", "ServiceOptions", "local_portal"]

INSTANCE_ID_BYTES = 16
"""Random bytes in the name of one run of a server."""


def local_portal(reactor: Any, config: ConfigFolders, account: Account, trees: JobTrees | None = None) -> Portal:
    """Make the portal of a stand-alone server.

    It lets one user in, the account, with a key from ``authorized_keys`` in the account's folder or with the account's
    own client key; the files are read anew at each login.

    :param reactor: watches the jobs' processes.
    :param config: the account's folders.
    :param account: whose jobs will run (:meth:`twisted_rsh.execution.account.Account.current`).
    :param trees: knows the processes of all jobs; ``None`` for what changes nothing about this process.
    """
    checker = AuthorizedKeysChecker(config, account.name)
    return Portal(SingleUserRealm(LocalUser(reactor, account, trees=trees)), [checker])


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceOptions:
    """What an operator may choose.

    :ivar interfaces: numeric addresses to listen on; ``None`` for the loopback addresses, unless there are endpoints.
    :ivar port: the TCP port on all of them; 0 for one that the system chooses.
    :ivar endpoints: what else to listen on; TLS is added to each.
    :ivar limits: the bounds of a session.
    :ivar login_seconds: seconds that a client has to log in.
    :ivar max_unauthenticated: connections that may exist at once without a login.
    :ivar max_unauthenticated_per_source: those of one source: an IPv4 address or an IPv6 network of 64 bits.  There is
        no such limit for connections from this machine.
    :ivar penalties: whether a source that misbehaves before it logs in is refused for a while
        (:mod:`twisted_rsh.server.strangers`).
    :ivar max_sessions_per_key: sessions that one key may have at once.
    :ivar max_buffered: bytes of input that all jobs together may leave unread; more jobs are refused.
    :ivar log_commands: whether the log names the commands that are run.
    """

    interfaces: Sequence[str] | None = None
    port: int = DEFAULT_PORT
    endpoints: Sequence[IStreamServerEndpoint] = ()
    limits: SessionLimits = field(default_factory=SessionLimits)
    login_seconds: float = LOGIN_SECONDS
    max_unauthenticated: int = MAX_UNAUTHENTICATED
    max_unauthenticated_per_source: int = MAX_UNAUTHENTICATED_PER_SOURCE
    penalties: bool = True
    max_sessions_per_key: int = MAX_SESSIONS_PER_KEY
    max_buffered: int = MAX_BUFFERED_BYTES
    log_commands: bool = False


class RemoteShellService(Service):
    """Serves remote shells while it runs.

    The server's key is made at the first start.  For each TCP port it leaves a record in the user's folder, by which
    the same user's clients on this machine know the server without asking.

    :param reactor: the reactor.
    :param portal: decides who may log in, and what they may run: :func:`local_portal`, or an application's own, whose
        checkers take :class:`twisted_rsh.trust.cred.IVerifiedKey` and whose realm gives
        :class:`twisted_rsh.interfaces.IShellUser`.
    :param config: where the server's key and records are; ``None`` for the user's XDG folders.
    :param options: what an operator may choose.
    :raises twisted_rsh.trust.files.FileProblem: the server's key or the folder of its records cannot be used, and why.
    :ivar instance_id: names this run of the server.
    :ivar fingerprint: of the server's key, as ``--fingerprint`` of the client takes it.
    """

    log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        reactor: IReactorTCP,
        portal: Portal,
        config: ConfigFolders | None = None,
        options: ServiceOptions | None = None,
    ) -> None:
        self._reactor = reactor
        self._config = ConfigFolders.default(os.environ) if config is None else config
        self._options = ServiceOptions() if options is None else options
        self._key: ServerKey = load_or_create_server_key(self._config)
        # Looked at now, when a refusal still reaches whoever starts this, and not when everything listens already.
        ensure_private_folder(os.path.dirname(self._config.record_path(0)))
        self.instance_id = secrets.token_hex(INSTANCE_ID_BYTES)
        settings = ServerSettings(
            portal=portal,
            spki_sha256=self._key.spki_sha256,
            instance_id=self.instance_id,
            limits=self._options.limits,
            login_seconds=self._options.login_seconds,
            max_unauthenticated=self._options.max_unauthenticated,
            max_unauthenticated_per_source=self._options.max_unauthenticated_per_source,
            penalties=self._options.penalties,
            max_sessions_per_key=self._options.max_sessions_per_key,
            max_buffered=self._options.max_buffered,
            log_commands=self._options.log_commands,
        )
        self._factory = RemoteShellFactory(
            cast("IReactorTime", reactor), settings, ServerTLS(self._key.private_key, self._key.certificate)
        )
        self._portal = portal
        self._ports: list[IListeningPort] = []
        self._controls: list[IListeningPort] = []
        self._listening: Deferred[list[IListeningPort]] | None = None
        self._failure: Failure | None = None

    @property
    def fingerprint(self) -> str:
        return format_fingerprint(self._key.spki_sha256)

    @property
    def tcp_port(self) -> int:
        """The first TCP port that it listens on.

        :raises LookupError: it listens on none.
        """
        for port in self._ports:
            number = tcp_port_of(port)
            if number is not None:
                return number
        raise LookupError("the server listens on no TCP port")

    def when_listening(self) -> Deferred[list[IListeningPort]]:
        """Wait until the service, which has been started, listens everywhere.

        :returns: fires with all that listens; fails with
            :class:`twisted.internet.error.CannotListenError` when one address is taken, and then nothing listens, or
            with :class:`~twisted_rsh.trust.files.FileProblem` when the record cannot be written.
        """
        assert self._listening is not None, "start the service first"
        if self._failure is not None:
            return fail(self._failure)
        waiting: Deferred[list[IListeningPort]] = Deferred()

        def pass_on(result: list[IListeningPort] | Failure) -> list[IListeningPort] | Failure:
            waiting.callback(result)
            if not isinstance(result, Failure):
                return result
            # Whoever waited knows; whoever asks later is told the same.
            self._failure = result
            return []

        self._listening.addBoth(pass_on)
        return waiting

    def recheck_keys(self) -> Deferred[int]:
        """Ask the portal again about the key of every session, with a connection or without.

        A session whose key may not log in any more is ended, and its jobs with it; its client is told.  Call it when
        who may log in has changed; ``twistd rsh`` does so at SIGHUP.  A session whose key the portal cannot judge,
        because it broke, stays.

        :returns: fires with how many sessions were ended.
        """

        def say(count: int) -> int:
            self.log.info("the keys of all sessions were checked; {count} sessions were ended", count=count)
            return count

        return self._factory.sessions.recheck_keys(self._portal).addCallback(say)

    def startService(self) -> None:
        Service.startService(self)
        self._failure = None
        self._listening = Deferred.fromCoroutine(self._listen())

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    async def _listen(self) -> list[IListeningPort]:
        options = self._options
        interfaces = options.interfaces
        if interfaces is None:
            interfaces = () if options.endpoints else default_interfaces()
        ports = await listen_on_all(self._factory, interfaces, options.port, options.endpoints, self._reactor)
        self._ports = ports
        try:
            for number, addresses in self._addresses().items():
                record = ServerRecord(self._key.spki_sha256, self.instance_id, os.getpid(), tuple(addresses))
                write_record(self._config, number, record)
                self._control(number)
        except BaseException:
            self._ports = []
            controls, self._controls = self._controls, []
            await stop_listening([*ports, *controls])
            raise
        self.log.info(
            "rsh listens on {addresses}; its key is {fingerprint}",
            addresses=", ".join(_shown(port.getHost()) for port in ports),
            fingerprint=self.fingerprint,
        )
        return ports

    async def _stop(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            self._listening.addErrback(_trap_cancel)
        addresses = self._addresses()
        ports, self._ports = self._ports, []
        controls, self._controls = self._controls, []
        await stop_listening([*ports, *controls])
        for number in addresses:
            remove_record(self._config, number, self.instance_id)
        await self._factory.go_away("the server is stopping")

    def _control(self, number: int) -> None:
        path = self._config.control_path(number)
        port = ControlPort(path, ControlFactory(self._factory.sessions), self._reactor)
        try:
            port.startListening()
        except (CannotListenError, OSError) as error:
            # Such as a path too long for a socket: no reason to serve nobody.
            self.log.warn("`twisted-rsh sessions` will not find this server: {path!a}: {error}", path=path, error=error)
        else:
            self._controls.append(port)

    def _addresses(self) -> Mapping[int, list[str]]:
        addresses: dict[int, list[str]] = {}
        for port in self._ports:
            number = tcp_port_of(port)
            if number is not None:
                addresses.setdefault(number, []).append(str(getattr(port.getHost(), "host", "")))
        return addresses


def _trap_cancel(failure: Failure) -> list[IListeningPort]:
    failure.trap(CancelledError)
    return []


def _shown(address: IAddress) -> str:
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    return f"{address.host}:{address.port}" if isinstance(address, IPv4Address) else str(address)
