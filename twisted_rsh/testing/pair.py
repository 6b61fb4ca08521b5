"""A real client and a real server joined in memory: no sockets, no processes and no files.

Links, TLS, login, sessions and resume are the real ones; :mod:`twisted_rsh.testing.memory` carries their bytes.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable
from typing import Any, TypeVar, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IProtocol, IReactorTime
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock, deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_rsh.client.connecting import connect_to_endpoint
from twisted_rsh.client.connection import Connection
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.interfaces import IShellUser
from twisted_rsh.server.factory import RemoteShellFactory
from twisted_rsh.server.options import ServiceOptions
from twisted_rsh.server.portal import SingleUserRealm
from twisted_rsh.testing.memory import MemoryEndpoint
from twisted_rsh.testing.schedules import NO_FAULTS, Schedule
from twisted_rsh.testing.scripted import USER_NAME
from twisted_rsh.trust.client_key import ClientKey
from twisted_rsh.trust.cred import IVerifiedKey
from twisted_rsh.trust.server_key import ServerKey

__all__ = ["WAIT_SECONDS", "MemoryPair"]

WAIT_SECONDS = 3600.0
"""Seconds on the clock after which :meth:`MemoryPair.run_until_complete` gives up: as long as a server keeps a session
whose client is away, by default."""

Outcome = TypeVar("Outcome")


class MemoryPair:
    """A server and its clients, joined by connections in memory that fail as planned.

    On a reactor a test awaits what it does, as with pytest-twisted.  On a :class:`~twisted.internet.task.Clock` time
    passes only when the test says so, with :meth:`run_until_complete` or ``clock.advance``; only the search for another
    connection during an outage ends by the real time.

    Use it as an async context manager, or call :meth:`close`.

    :param reactor: a reactor, or a :class:`~twisted.internet.task.Clock`.
    :param user: the user object that every login gives: a :class:`~twisted_rsh.testing.scripted.ScriptedUser`, or any
        other :class:`~twisted_rsh.interfaces.IShellUser`.  Or an application's own portal, to test its checkers.
    :param schedule: the plans of the connections.
    :param options: the server's options; ``None`` for the defaults without penalties, since failed logins of a test are
        planned.  Interfaces, port and endpoints are not used.
    :param server_key: the server's key, for tests that make many pairs; ``None`` for a new one, which is in no file.
    :param client_key: likewise the key that clients log in with.
    :ivar user: as above.
    :ivar endpoint: where the server is: for :func:`~twisted_rsh.client.connecting.connect_to_endpoint`, and to see the
        connections that were made.
    :ivar server: the protocol factory of the server; each run of the server has its own.
    :ivar server_key: as above; its `spki_sha256` is the pin that clients expect.
    :ivar client_key: as above.
    """

    def __init__(
        self,
        reactor: Any,
        user: IShellUser | Portal,
        *,
        schedule: Schedule = NO_FAULTS,
        options: ServiceOptions | None = None,
        server_key: ServerKey | None = None,
        client_key: ClientKey | None = None,
    ) -> None:
        self.user = user
        self.server_key = server_key or ServerKey.generate()
        self.client_key = client_key or ClientKey.generate()
        self._reactor = reactor
        self._clock = cast("IReactorTime", reactor)
        self._portal = user if isinstance(user, Portal) else Portal(SingleUserRealm(user), [_OneKey(self.client_key)])
        self._options = ServiceOptions(penalties=False) if options is None else options
        self._connections: list[Connection] = []
        self._logins: list[Deferred[Connection]] = []
        self._is_open = True
        self.server = self._new_server()
        self.endpoint = MemoryEndpoint(self._clock, _CurrentServer(self), schedule)

    def connect(
        self,
        user: str | None = None,
        *,
        key: ClientKey | None = None,
        limits: SessionLimits | None = None,
        resume: bool = True,
    ) -> Deferred[Connection]:
        """Connect a client and log in.

        :param user: the name to log in as; ``None`` for the name of the pair's user, or ``"tester"`` where the pair has
            a portal.
        :param key: the key to log in with; ``None`` for the pair's.
        :param limits: as for :func:`twisted_rsh.client.connecting.connect`.
        :param resume: likewise.
        :returns: fires with the connection, and fails as that of
            :func:`~twisted_rsh.client.connecting.connect_to_endpoint`.  :meth:`close` closes it.
        """
        name = user or (USER_NAME if isinstance(self.user, Portal) else self.user.name)

        async def log_in() -> Connection:
            connection = await connect_to_endpoint(
                self._reactor,
                self.endpoint,
                self.server_key.spki_sha256,
                key or self.client_key,
                name,
                limits,
                resume=resume,
            )
            self._connections.append(connection)
            return connection

        def forget(result: Connection | Failure) -> Connection | Failure:
            self._logins.remove(login)
            return result

        login = Deferred.fromCoroutine(log_in())
        self._logins.append(login)
        login.addBoth(forget)
        return login

    def cut(self) -> None:
        """Cut every connection now.  Sessions go on over the next connection, unless they were begun without resume."""
        self.endpoint.cut_all()

    def restart_server(self) -> None:
        """Let the server crash and start again: connections break, every job ends, and no session can be resumed.

        A client whose session began before loses it with
        :attr:`LossReason.RESTARTED <twisted_rsh.client.errors.LossReason>`.
        """
        self.cut()
        self.server.go_away("the server restarts")
        self.server = self._new_server()

    def run_until_complete(self, awaitable: Awaitable[Outcome], seconds: float = WAIT_SECONDS) -> Outcome:
        """Advance the clock from one call to the next until something is done.

        :param awaitable: a coroutine or a Deferred.
        :param seconds: how far the clock may advance.
        :returns: its result; what it raises is raised.
        :raises TimeoutError: it was not done by then, or nothing is left on the clock that could do it.
        :raises TypeError: the pair is on a reactor: await there instead.
        """
        clock = self._reactor
        if not isinstance(clock, Clock):
            raise TypeError("only a task.Clock can be advanced; on a reactor, await instead")
        outcomes: list[Outcome | Failure] = []

        async def run() -> Outcome:
            return await awaitable

        running = Deferred.fromCoroutine(run())
        running.addBoth(outcomes.append)
        latest = clock.seconds() + seconds
        while not outcomes:
            due = min((call.getTime() for call in clock.getDelayedCalls()), default=None)
            if due is None or due > latest:
                running.cancel()
                raise TimeoutError(
                    f"not done, and nothing happens within {seconds:g} s; does a job wait for its input?"
                )
            clock.advance(max(due - clock.seconds(), 0))
        [outcome] = outcomes
        if isinstance(outcome, Failure):
            outcome.raiseException()
        return outcome

    def close(self) -> Deferred[None]:
        """Close every connection and stop the server.  Logins that have not succeeded are cancelled.

        :returns: fires when nothing of either is left on the reactor, and never fails.  May be called more than once.
        """

        async def leave() -> None:
            if self._logins:
                for login in list(self._logins):
                    login.cancel()
                await deferLater(self._clock, 0)  # in which the server learns that they are gone
            connections, self._connections = self._connections, []
            for connection in connections:
                await connection.close()
            self._is_open = False
            await self.server.go_away("the server is stopping")

        return Deferred.fromCoroutine(leave())

    async def __aenter__(self) -> MemoryPair:  # noqa: PYI034 - typing.Self is new in Python 3.11
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.close()

    def accept(self, address: IAddress | None) -> IProtocol | None:
        """Return the server's protocol of a connection that was dialled, or ``None`` once the pair is closed."""
        return self.server.buildProtocol(address) if self._is_open else None

    def _new_server(self) -> RemoteShellFactory:
        return RemoteShellFactory(self._clock, self._portal, self.server_key, secrets.token_hex(), self._options)


class _CurrentServer(Factory):
    """Sends each dial to the run of the server that there is now."""

    noisy = False

    def __init__(self, pair: MemoryPair) -> None:
        self._pair = pair

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._pair.accept(addr)


@implementer(ICredentialsChecker)
class _OneKey:
    """Lets one key in, under any name."""

    credentialInterfaces = (IVerifiedKey,)

    def __init__(self, key: ClientKey) -> None:
        self._blob = key.blob

    def requestAvatarId(self, credentials: IVerifiedKey) -> Deferred[bytes | tuple[()]]:
        if credentials.key_blob != self._blob:
            return fail(UnauthorizedLogin("this pair knows another key"))
        return succeed(credentials.user.encode("utf-8", "surrogateescape"))
