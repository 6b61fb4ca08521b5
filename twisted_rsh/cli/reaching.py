"""The way to the server, as the options describe it: keys of both sides, addresses, a proxy, patience."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_rsh.cli.first_use import FirstUse
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.cli.proxy_command import ProxyCommandEndpoint
from twisted_rsh.cli.terminal_settings import TerminalSettings
from twisted_rsh.client.connecting import connect, fetch_pin, find_pins, is_loopback, own_socket, tcp_endpoint
from twisted_rsh.client.connection import Connection
from twisted_rsh.client.errors import Error, LoginRefused, NoServer, ServerUnavailable, UnknownServer
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.trust.client_key import LockedKey, load_client_key, load_or_create_client_key, read_public_key
from twisted_rsh.trust.files import FileProblem, today
from twisted_rsh.trust.fingerprint import format_fingerprint, parse_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.known_servers import KnownServers, format_address
from twisted_rsh.trust.socket_path import socket_path
from twisted_rsh.trust.ssh_keys import public_line

if TYPE_CHECKING:
    from twisted_rsh.client.agent import AgentKey, KeyAgent
    from twisted_rsh.client.login import LoginKey
    from twisted_rsh.trust.invitation import Invitation

__all__ = ["Reach", "added_today", "describe_problem"]

Outcome = TypeVar("Outcome")

log = Logger()


def added_today() -> str:
    """Return the comment of a line that is added to the known servers."""
    return f"added {today()}"


def describe_problem(error: Error | OSError) -> str:
    """Describe an error in a line that names the file, where it is one of a file."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{os.fsdecode(error.filename)}: {error.strerror}"
    return str(error)


class Reach:
    """Connects to the server of the options.

    :param reactor: the reactor.
    :param options: the options.
    :param config: the folders of the client's own key, of the known servers and of the records of servers.
    :param first_use: asks the user about a server that is not known; ``None`` to refuse it.
    :param terminal: the settings of the client's terminal, to ask the user for the passphrase of a key; ``None`` to
        refuse a key that is locked, and not in the agent.
    :ivar warning: a line for the user once the client is connected, or empty.
    """

    def __init__(
        self,
        reactor: Any,
        options: ClientOptions,
        config: ConfigFolders,
        first_use: FirstUse | None = None,
        terminal: TerminalSettings | None = None,
    ) -> None:
        self._reactor = reactor
        self._options = options
        self._config = config
        self._first_use = first_use
        self._terminal = terminal
        self._key: LoginKey | None = None
        self.warning = ""
        self._proxy = None if options.proxy_command is None else ProxyCommandEndpoint(reactor, options.proxy_command)

    async def connect(self, invitation: Invitation | None = None) -> Connection:
        """Connect and log in.  A server whose fingerprint the options or the user name is known from then on.

        :param invitation: one to the server, which makes the client's key one that may log in; ``None`` for a key that
            may already.
        :raises twisted_rsh.core.errors.Error: that failed, or took longer than the options allow.
        :raises OSError: a file cannot be read or written.
        """
        fingerprint = self._options.fingerprint
        if fingerprint is not None:
            connection = await self._log_in(fingerprint, invitation)
            self._remember(fingerprint)
        else:
            try:
                connection = await self._log_in(None)
            except UnknownServer as unknown:
                if self._first_use is None:
                    raise
                connection = await self._use_first(self._first_use, unknown)
        self._learn_next_key(connection, is_named=fingerprint is not None)
        self._tell("logged in; the server's key is {key}", key=format_fingerprint(connection.pin))
        return connection

    def _tell(self, text: str, **values: object) -> None:
        """Write a line of the log, if the user has asked for one.  Without a reader an event costs time, too."""
        if self._options.verbosity > 0:
            log.info(text, **values)

    def _learn_next_key(self, connection: Connection, *, is_named: bool) -> None:
        """Remember the next key that the server has announced, also if the server has become known just now."""
        if connection.next_pin is not None:
            from twisted_rsh.client.next_key import learn_next_key  # only here: few servers announce one

            options = self._options
            learnt = learn_next_key(self._config, options.host, options.port, connection, is_named=is_named)
            self.warning = self.warning or learnt or connection.announcement

    async def _use_first(self, first_use: FirstUse, unknown: UnknownServer) -> Connection:
        """Ask the user about the key that a server shows, and log in if it is the right one.

        :param unknown: what to raise where no server answers on this machine.
        """
        options = self._options
        try:
            pin = await self.fetch_pin()
        except NoServer as error:
            if is_loopback(options.host):
                raise unknown from None
            raise NoServer(f"cannot connect to {options.address}: {error}") from error
        fingerprint = format_fingerprint(pin)
        await first_use.confirm(self._name(), fingerprint)
        known = KnownServers(self._config)
        try:
            connection = await self._log_in(fingerprint)
        except (LoginRefused, ServerUnavailable):
            # It is a server with the key that the user has accepted, whatever it thinks of the user.
            known.add(options.host, options.port, pin, added_today())
            raise
        known.add(options.host, options.port, pin, added_today())
        return connection

    def _name(self) -> str:
        """Name the server for people: as the user typed it, and where that leads."""
        options = self._options
        return options.address if options.typed_host == options.host else f"{options.typed_host} ({options.address})"

    def _remember(self, fingerprint: str) -> None:
        """Make a server known that has proven the fingerprint of the options, unless it is known.

        The command has what it needs, so that no fault of the file is one of the command's.
        """
        options = self._options
        try:
            if socket_path(options.host) is None and not self._is_known():
                KnownServers(self._config).add(
                    options.host, options.port, parse_fingerprint(fingerprint), added_today()
                )
        except (FileProblem, OSError) as error:
            self.warning = f"the server is not remembered: {describe_problem(error)}"

    def _is_known(self) -> bool:
        try:
            find_pins(self._config, self._options.host, self._options.port, None)
        except UnknownServer:
            return False
        return True

    async def _log_in(self, fingerprint: str | None, invitation: Invitation | None = None) -> Connection:
        options = self._options
        path = self._find_socket(fingerprint, invitation)
        if path is not None:
            self._tell("connecting to {path}", path=path)
            try:
                return await self._in_time(
                    connect(
                        self._reactor,
                        path,
                        user=options.user,
                        fingerprint=fingerprint,
                        config=self._config,
                        limits=self._limits(),
                        resume=not options.no_resume,
                    )
                )
            except NoServer as error:
                if path == options.host:
                    raise  # otherwise a server that was killed has left it, and another may listen on the port
                self._tell("{error}", error=error)
        if self._key is None:
            # A server that is not known is not dialled, and nobody is asked for the passphrase of a key.
            find_pins(self._config, options.host, options.port, fingerprint, self.destination)
            self._key = self._certified(await self._find_key())
        key = self._key
        way = "" if options.proxy_command is None else f" through the ProxyCommand {options.proxy_command!r}"
        text = "connecting to {address}{way}, with the key {key}"
        self._tell(text, address=options.address, way=way, key=key.public_key.fingerprint)
        connecting = connect(
            self._reactor,
            options.host,
            options.port,
            user=options.user,
            fingerprint=fingerprint,
            config=self._config,
            limits=self._limits(),
            resume=not options.no_resume,
            key=key,
            endpoint=self._endpoint(),
            destination=self.destination,
            invitation=invitation,
            other_keys=lambda: self._other_keys(key),
        )
        return await self._in_time(connecting)

    def _find_socket(self, fingerprint: str | None, invitation: Invitation | None) -> str | None:
        """Find the Unix socket to try, as ``unix:/path``, at which no key is needed.

        It is the one that the user names, or that of the user's own server on this machine, unless the user asks for a
        key or a way that only TLS has.
        """
        options = self._options
        if self._endpoint() is not None:
            return None
        if socket_path(options.host) is not None:
            return options.host
        if fingerprint is not None or invitation is not None or options.identities or options.certificates:
            return None
        path = own_socket(self._config, options.host, options.port)
        return None if path is None else f"unix:{path}"

    async def _in_time(self, connecting: Deferred[Outcome], seconds: float | None = None) -> Outcome:
        options = self._options
        seconds = options.connect_timeout or seconds
        if seconds is not None:
            connecting.addTimeout(seconds, self._reactor, self._timed_out)
        try:
            return await connecting
        except socket.gaierror as error:
            raise NoServer(f"cannot connect to {options.address}: {error.strerror}") from None

    async def fetch_pin(self, seconds: float | None = None) -> bytes:
        """Ask the server for its key; see :func:`twisted_rsh.client.connecting.fetch_pin`.

        :param seconds: how long that may take where the options do not say it; ``None`` for the system's own limits.
        """
        options = self._options
        way = self._endpoint() or tcp_endpoint(self._reactor, options.host, options.port)
        return await self._in_time(Deferred.fromCoroutine(fetch_pin(self._reactor, way)), seconds)

    def public_line(self) -> str:
        """Return the line of the key to log in with, as ``authorized_keys`` has it.  The client's own is made.

        :raises twisted_rsh.core.errors.Error: there is no such key.
        :raises OSError: a file cannot be read or written.
        """
        path = self._given_path()
        try:
            key = read_public_key(path) if path is not None else load_or_create_client_key(self._config).public_key
        except LockedKey as locked:
            key = locked.public_key
        return public_line(key.blob)

    @property
    def destination(self) -> str:
        """The user's own words for the server, by which another command finds it: ``alice@build:8082``."""
        options = self._options
        user = "" if options.user is None else f"{options.user}@"
        if socket_path(options.typed_host) is not None:
            return user + options.typed_host
        return user + format_address(options.typed_host, options.port)

    def stop(self) -> None:
        """End what the way needed.  May be called more than once."""
        if self._proxy is not None:
            self._proxy.stop()

    def _limits(self) -> SessionLimits:
        return SessionLimits().with_signs_of_life(self._options.alive_interval, self._options.alive_count)

    def _given_path(self) -> str | None:
        """Find the first file of the options that exists; ``None`` where they name none."""
        paths = self._options.identities
        if not paths:
            return None
        found = next(filter(os.path.exists, paths), None)
        if found is None:
            raise Error(f"there is no key to log in with: {paths[0]!r} does not exist")
        return found

    async def _find_key(self) -> LoginKey:
        """Read the key to log in with; one that is locked is the agent's to sign with, or the user's to unlock."""
        path = self._given_path()
        try:
            return load_or_create_client_key(self._config) if path is None else load_client_key(path)
        except LockedKey as locked:
            key = await self._key_of_agent(locked)
            if key is not None:
                return key
            if not self._may_ask_about(locked):
                raise
            from twisted_rsh.cli.passphrase import PassphrasePrompt  # only here: few keys are locked

            prompt = PassphrasePrompt(self._reactor, self._terminal if os.isatty(0) else None)
            return await prompt.unlock(path or self._config.client_key_path, locked)

    def _certified(self, key: LoginKey) -> LoginKey:
        """Add the certificate of a key, if there is one.

        :raises Error: a file that the options name, or the one beside the key, holds none.
        """
        beside = f"{(self._given_path() or self._config.client_key_path).removesuffix('.pub')}-cert.pub"
        for path in (*self._options.certificates, *([beside] if os.path.exists(beside) else [])):
            from twisted_rsh.trust.certificates import read_certificate  # only here: few keys have one

            certificate = read_certificate(path)
            if certificate.key.blob == key.public_key.blob:
                return replace(key, certificate=certificate)
        return key

    async def _other_keys(self, key: LoginKey) -> list[LoginKey]:
        """Return what to try when the server has refused a key: without its certificate, then the agent's keys."""
        plain: list[LoginKey] = [] if key.certificate is None else [replace(key, certificate=None)]
        agent = None if self._options.identities_only else self._agent()
        try:
            return plain if agent is None else [*plain, *(await agent.keys())]
        except Error:
            if not plain:
                raise
            return plain  # it is tried first, and the agent is asked for nothing

    async def _key_of_agent(self, locked: LockedKey) -> AgentKey | None:
        """Find a locked key in the agent; an agent that does not answer is no reason not to ask for the passphrase.

        :raises twisted_rsh.client.agent.AgentFailure: the agent does not answer, and nothing but it can sign.
        """
        agent = self._agent()
        if agent is None:
            return None
        try:
            return next((key for key in await agent.keys() if key.known_as == locked.public_key.blob), None)
        except Error:
            if not self._may_ask_about(locked):
                raise
            return None

    def _may_ask_about(self, locked: LockedKey) -> bool:
        return locked.takes_passphrase and self._terminal is not None and not self._options.batch_mode

    def _agent(self) -> KeyAgent | None:
        if self._options.agent is None:
            return None
        from twisted_rsh.client.agent import KeyAgent  # only here: most logins ask no agent

        return KeyAgent(self._reactor, self._options.agent)

    def _endpoint(self) -> IStreamClientEndpoint | None:
        """Return the way that the options ask for; ``None`` for the one that the host has."""
        options = self._options
        if self._proxy is not None:
            return self._proxy
        if not options.family or socket_path(options.host) is not None:
            return None
        # Only here, as they load much that most runs of the client do not need.
        from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint

        if options.family == 4:
            return TCP4ClientEndpoint(self._reactor, options.host, options.port)
        return TCP6ClientEndpoint(self._reactor, options.host, options.port)

    def _timed_out(self, _result: object, seconds: float) -> Failure:
        options = self._options
        return Failure(NoServer(f"cannot connect to {options.address}: no answer within {seconds:g} s"))
