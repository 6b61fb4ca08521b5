"""The server as a Twisted service, for ``twistd`` and for any application."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

from twisted.application.service import Service
from twisted.cred.portal import Portal
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IReactorTCP, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_rsh.core.errors import Error
from twisted_rsh.log_level import leveled_log
from twisted_rsh.server.control import ControlFactory, ControlPort
from twisted_rsh.server.exposure import show_address, warnings_about
from twisted_rsh.server.factory import RemoteShellFactory
from twisted_rsh.server.invitations import Invitations
from twisted_rsh.server.key_watch import KeyFileWatch, KeyLineCheck
from twisted_rsh.server.listening import default_interfaces, listen_on_all, stop_listening, tcp_port_of
from twisted_rsh.server.options import AUTO, ServiceOptions
from twisted_rsh.server.sockets import SocketServerEndpoint
from twisted_rsh.server_events import LogsRotated, ServerEvent, ServerStarted, ServerStopped
from twisted_rsh.trust.cred import AuthorizedKeysChecker, IVerifiedPeer
from twisted_rsh.trust.files import FileProblem, ensure_private_folder
from twisted_rsh.trust.fingerprint import format_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import ServerRecord, remove_record, write_record
from twisted_rsh.trust.rotation import next_server_key
from twisted_rsh.trust.server_key import load_or_create_server_key

__all__ = ["RemoteShellService"]

INSTANCE_ID_BYTES = 16
"""Random bytes in the name of one run of a server: enough that no two runs have the same."""


class RemoteShellService(Service):
    """A server that serves remote shells while it runs.

    The first start makes the server's key.  For each TCP port the server leaves a record in the user's folder, by which
    the same user's clients on this machine know the server without a question.

    :param reactor: the reactor.
    :param portal: decides which keys may log in, and what they may run: :func:`twisted_rsh.server.local_portal`, or an
        application's own, with a checker for :class:`twisted_rsh.trust.cred.IVerifiedKey` and a realm that gives
        :class:`twisted_rsh.interfaces.IShellUser`.
    :param config: the folders of the server's key and records; ``None`` for the user's XDG folders.
    :param options: the operator's choices; ``None`` for the defaults.
    :raises twisted_rsh.trust.files.FileProblem: the server's key or the folder of its records cannot be used, and why.
    :raises twisted_rsh.trust.home.HomeUnknown: `config` is ``None``, and the environment names no folder.
    :ivar instance_id: names this run of the server.
    :ivar fingerprint: the fingerprint of the server's key, as ``--fingerprint`` of the client takes it.
    """

    log: ClassVar[Logger] = Logger(observer=leveled_log)

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
        self._key = load_or_create_server_key(self._config)
        # Checked now, while the program that starts this can still report a refusal, and not when everything listens.
        ensure_private_folder(os.path.dirname(self._config.record_path(0)))
        self.instance_id = secrets.token_hex(INSTANCE_ID_BYTES)
        clock = cast("IReactorTime", reactor)
        # An invitation adds a key to a file, which means something only where a checker reads that file.
        checkers = (checker for checker in portal.checkers.values() if isinstance(checker, AuthorizedKeysChecker))
        self._key_files: AuthorizedKeysChecker | None = next(checkers, None)
        self._invitations = None if self._key_files is None else Invitations(clock, self._config)
        self._factory = RemoteShellFactory(clock, portal, self._key, self.instance_id, self._options, self._invitations)
        self._key_watch = KeyFileWatch(
            clock,
            () if self._key_files is None else self._key_files.paths,
            self._keys_changed,
            self._factory.sessions.any_expired,
        )
        rotating = (self._config.next_server_key_path, self._config.server_key_path)
        self._rotation_watch = KeyFileWatch(clock, rotating, self._find_next_key)
        self._line_check: KeyLineCheck | None = None
        self._admits_peers = IVerifiedPeer in portal.checkers
        self._ports: list[IListeningPort] = []
        self._controls: list[IListeningPort] = []
        self._listening: Deferred[list[IListeningPort]] | None = None
        self._failure: Failure | None = None
        self._has_served = False  # since the observers last heard of a stop

    @property
    def fingerprint(self) -> str:
        return format_fingerprint(self._key.spki_sha256)

    @property
    def tcp_port(self) -> int:
        """The first TCP port that the server listens on.

        :raises LookupError: it listens on none.
        """
        for port in self._ports:
            number = tcp_port_of(port)
            if number is not None:
                return number
        raise LookupError("the server listens on no TCP port")

    @property
    def addresses(self) -> list[str]:
        """Where the server listens, for people; empty while it does not."""
        return [show_address(port.getHost()) for port in self._ports]

    def when_listening(self) -> Deferred[list[IListeningPort]]:
        """Wait until the service, which has been started, listens everywhere.

        :returns: fires with all listening ports; fails with :class:`twisted.internet.error.CannotListenError` when one
            address is taken, and then no port listens, or with :class:`~twisted_rsh.trust.files.FileProblem` when the
            record cannot be written.
        """
        assert self._listening is not None, "start the service first"
        if self._failure is not None:
            return fail(self._failure)
        waiting: Deferred[list[IListeningPort]] = Deferred()

        def pass_on(ports: list[IListeningPort]) -> list[IListeningPort]:
            waiting.callback(ports if self._failure is None else self._failure)
            return ports

        self._listening.addCallback(pass_on)
        return waiting

    def recheck_keys(self) -> Deferred[int]:
        """Ask the portal again about the key of every session, with a connection or without.

        A session whose key may not log in any more, or may do less than before, ends, with its jobs, and its client
        learns why.  A session stays if the portal breaks when it is asked about its key.  Call this when you have taken
        the right to log in away from a key; ``twistd rsh`` does so at SIGHUP.  With the portal of
        :func:`twisted_rsh.server.local_portal` the service does so itself when the files of keys have changed.

        :returns: fires with the number of sessions that were ended, and never fails.
        """

        def log_count(count: int) -> int:
            self.log.info("the keys of all sessions were checked; {count} sessions were ended", count=count)
            return count

        return self._factory.sessions.recheck_keys(self._factory.portal).addCallback(log_count)

    def change_options(self, options: ServiceOptions) -> None:
        """Take other choices of the operator while the service runs, without touching what there is.

        They hold for connections, sessions and jobs that come.  Where the service listens, its windows and their
        growth stay as they are until the next start.

        :param options: the choices.
        """
        self._factory.change_options(options)

    def logs_rotated(self) -> None:
        """Tell the observers that the files of logs have been renamed, so that they open them again.

        ``twistd rsh`` does so at SIGHUP.
        """
        self._report(LogsRotated())

    def cannot_serve(self, error: BaseException) -> None:
        """Learn why the service will not serve, in the moment in which that is known.

        The service calls this before it stops the ports that listen already.  A program that is a server and nothing
        else ends then; here, the log gets one line, or a traceback if nobody could expect the error.

        :param error: what :meth:`when_listening` fails with.
        """
        if isinstance(error, CannotListenError | Error | OSError):
            self.log.error("rsh does not listen: {reason}", reason=str(error))
        elif not isinstance(error, CancelledError | GeneratorExit):  # with these it was stopped while it started
            self.log.failure("rsh does not listen", Failure(error))

    def warn(self, warning: str) -> None:
        """Tell the operator of something that is allowed, but perhaps not meant: here, in the log.

        :param warning: one line.
        """
        self.log.warn("{warning}", warning=warning)

    def startService(self) -> None:
        Service.startService(self)
        self._failure = None
        # An application need not ask how it went: cannot_serve() has logged it.
        self._listening = Deferred.fromCoroutine(self._listen()).addErrback(self._keep_failure)

    def stopService(self) -> Deferred[None]:
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop())

    def _keep_failure(self, failure: Failure) -> list[IListeningPort]:
        self._failure = failure
        return []

    async def _listen(self) -> list[IListeningPort]:
        options = self._options
        interfaces = options.interfaces
        if interfaces is None:
            interfaces = () if options.endpoints else default_interfaces()
        ports: list[IListeningPort] = []
        try:
            await listen_on_all(self._factory, interfaces, options.port, options.endpoints, self._reactor, ports)
            self._ports = ports
            await self._listen_on_socket(ports)
            socket = _socket_of(ports) if self._admits_peers else None
            served = self._addresses()
            for number, addresses in served.items():
                record = ServerRecord(self._key.spki_sha256, self.instance_id, os.getpid(), tuple(addresses), socket)
                write_record(self._config, number, record)
                self._control(number)
            if not served:
                self._control(0)
        except BaseException as error:
            self._remove_records()
            self._ports = []
            controls, self._controls = self._controls, []
            self.cannot_serve(error)
            await stop_listening([*ports, *controls])
            raise
        self._key_watch.start()
        self._rotation_watch.start()
        self._find_next_key()
        self._check_key_lines()
        self.log.info(
            "rsh listens on {addresses}; its key is {fingerprint}",
            addresses=", ".join(self.addresses),
            fingerprint=self.fingerprint,
        )
        for warning in warnings_about(ports):
            self.warn(warning)
        self._has_served = True
        self._report(
            ServerStarted(
                instance=self.instance_id,
                fingerprint=self.fingerprint,
                addresses=tuple(show_address(port.getHost()) for port in ports),
                bounds=self._factory.bounds,
            )
        )
        return ports

    async def _listen_on_socket(self, ports: list[IListeningPort]) -> None:
        """Listen on the Unix socket, if there is to be one.  One that was not asked for by its path may be missing."""
        path, number = self._options.socket, next(iter(self._addresses()), None)
        if path == AUTO:
            if number is None or not self._admits_peers:
                return
            path = self._config.socket_path(number, os.environ)
            try:
                ensure_private_folder(os.path.dirname(path))
                ports.append(await SocketServerEndpoint(self._reactor, path).listen(self._factory))
            except (CannotListenError, FileProblem, OSError) as error:
                reason = error.socketError if isinstance(error, CannotListenError) else error
                self.log.warn(
                    "no Unix socket, clients on this machine use TCP: {path!a}: {reason}; choose one with --socket",
                    path=path,
                    reason=str(reason),
                )
        elif path is not None:
            ports.append(await SocketServerEndpoint(self._reactor, path).listen(self._factory))

    async def _stop(self) -> None:
        self._key_watch.stop()
        self._rotation_watch.stop()
        if self._line_check is not None:
            self._line_check.stop()
        if self._listening is not None:
            self._listening.cancel()
        # First, and at once: a server that is not given the time for more leaves no record.
        self._remove_records()
        ports, self._ports = self._ports, []
        controls, self._controls = self._controls, []
        await stop_listening([*ports, *controls])
        await self._factory.go_away("the server is stopping")
        if self._has_served:
            self._has_served = False
            self._report(ServerStopped())

    def _report(self, event: ServerEvent) -> None:
        if self._factory.observers is not None:
            self._factory.observers.report(event)

    def _find_next_key(self) -> None:
        """Announce the key that the server will have from its next start on, if that is another."""
        before = self._factory.next_key
        try:
            following = next_server_key(self._config, self._key)
        except (FileProblem, OSError) as error:
            following = None
            self.log.warn("the server's next key is not announced: {error}", error=str(error))
        self._factory.next_key = following
        if following is not None and (before is None or before.spki_sha256 != following.spki_sha256):
            self.log.info("clients that log in learn the next key, {fingerprint}", fingerprint=following.fingerprint)

    def _keys_changed(self) -> None:
        self.recheck_keys()
        self._check_key_lines()

    def _check_key_lines(self) -> None:
        if self._line_check is not None:
            self._line_check.stop()
        if self._key_files is not None:
            clock = cast("IReactorTime", self._reactor)
            self._line_check = KeyLineCheck(clock, self._factory.sessions.turns, self._key_files.problems())
            self._line_check.start()

    def _remove_records(self) -> None:
        for number in self._addresses():
            self._remove_record(number)

    def _remove_record(self, number: int) -> None:
        try:
            remove_record(self._config, number, self.instance_id)
        except OSError as error:
            # The sessions and jobs have to end all the same.
            path = self._config.record_path(number)
            self.log.warn("{path!a} stays: {reason}; remove it", path=path, reason=error.strerror)

    def _control(self, number: int) -> None:
        path = self._config.control_path(number)
        port = ControlPort(path, ControlFactory(self._factory), self._reactor)
        try:
            port.startListening()
        except CannotListenError as error:
            # Such as a path too long for a socket.  Clients can still be served.
            self.log.warn("`twisted-rsh` will not find this server: {path!a}: {error}", path=path, error=error)
        else:
            self._controls.append(port)

    def _addresses(self) -> Mapping[int, list[str]]:
        addresses: dict[int, list[str]] = {}
        for port in self._ports:
            number = tcp_port_of(port)
            if number is not None:
                addresses.setdefault(number, []).append(str(getattr(port.getHost(), "host", "")))
        return addresses


def _socket_of(ports: Sequence[IListeningPort]) -> str | None:
    """Return the path of the first Unix socket among some ports."""
    for port in ports:
        address = port.getHost()
        if isinstance(address, UNIXAddress) and address.name and not address.name.startswith(b"\0"):
            return os.path.abspath(os.fsdecode(address.name))
    return None
