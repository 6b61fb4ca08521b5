"""Asking the servers of this account on this machine, over their control sockets."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from twisted.internet import defer
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.protocols.amp import AMP

from twisted_rsh.core.errors import Error
from twisted_rsh.server.control import NextSessions, is_our_own_peer
from twisted_rsh.trust.home import ConfigFolders, HomeUnknown

__all__ = [
    "ANSWER_SECONDS",
    "IncompleteAnswer",
    "Problem",
    "answer_of",
    "ask_server",
    "ask_servers",
    "config_folders",
    "connect_to_control",
    "control_ports",
    "sessions_of",
]

ANSWER_SECONDS = 10.0
"""Seconds that a server has to answer: more than enough for one on this machine."""


_T = TypeVar("_T")


class Problem(Error):
    """The program cannot do what it is asked; ``str()`` gives one line that names the problem and the way out."""


class IncompleteAnswer(Problem):
    """Some servers did not answer; ``str()`` gives a line for each.

    :ivar text: the text to print, which shows the servers that answered.
    """

    def __init__(self, text: str, problems: Sequence[object]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.text = text


def config_folders(config_dir: str | None) -> ConfigFolders:
    """Return the folders of the keys and records.

    :param config_dir: the value of ``--config-dir``; ``None`` without the option.
    :raises Problem: the user has no home folder.
    """
    try:
        return ConfigFolders.chosen(config_dir, os.environ)
    except HomeUnknown as error:
        raise Problem(str(error)) from None


def control_ports(config: ConfigFolders) -> list[int]:
    """Return the ports of the servers that have a control socket, some of which may be gone.

    A server that listens on a Unix socket alone has the number 0.

    :param config: the account's folders.
    :raises Problem: the folder cannot be read.
    """
    folder = os.path.dirname(config.control_path(0))
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Problem(f"cannot read {folder}: {error.strerror}; choose another folder with --config-dir") from None
    stems = (name.removesuffix(".sock") for name in names if name.endswith(".sock"))
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdecimal())


async def connect_to_control(reactor: Any, config: ConfigFolders, port: int) -> AMP | None:
    """Connect to the control socket of a server.

    :param reactor: the reactor.
    :param config: the account's folders.
    :param port: the server's number, as :func:`control_ports` returns it.
    :returns: the connection, or ``None`` if no server answers there.
    :raises Problem: the socket is another user's.
    """
    path = config.control_path(port)
    endpoint = UNIXClientEndpoint(reactor, path, timeout=ANSWER_SECONDS)
    try:
        server: AMP = await connectProtocol(endpoint, AMP())
    except ConnectError:
        return None  # a server that was killed has left its socket behind
    transport: Any = server.transport
    if not is_our_own_peer(transport):
        transport.abortConnection()
        raise Problem(f"{path} is served by another user; remove it with: rm {shlex.quote(path)}")
    return server


async def ask_servers(
    reactor: Any, config: ConfigFolders, ask: Callable[[int, AMP], Coroutine[Any, Any, _T]]
) -> tuple[list[_T], list[Problem]]:
    """Ask all servers of the account at the same time, so that one that hangs delays the others' answers only once.

    :param reactor: the reactor.
    :param config: the account's folders.
    :param ask: asks one: is called with its number, as :func:`control_ports` returns it, and a connection.
    :returns: the answers of the servers that answered, in the order of the numbers; and the problems with the others.
    :raises Problem: as for :func:`control_ports`.
    """

    async def answer_or_problem(port: int) -> _T | Problem | None:
        try:
            return await ask_server(reactor, config, port, ask)
        except Problem as problem:
            return problem

    outcomes = await gatherResults([ensureDeferred(answer_or_problem(port)) for port in control_ports(config)])
    problems = [outcome for outcome in outcomes if isinstance(outcome, Problem)]
    return [outcome for outcome in outcomes if not (outcome is None or isinstance(outcome, Problem))], problems


async def ask_server(
    reactor: Any, config: ConfigFolders, port: int, ask: Callable[[int, AMP], Coroutine[Any, Any, _T]]
) -> _T | None:
    """Ask one server, over a connection for that.

    :param reactor: the reactor.
    :param config: the account's folders.
    :param port: the server's number, as :func:`control_ports` returns it.
    :param ask: is called with the number and the connection; what it returns must not be ``None``.
    :returns: the answer, or ``None`` if no server answers there.
    :raises Problem: as for :func:`connect_to_control`, and what `ask` raises.
    """
    server = await connect_to_control(reactor, config, port)
    if server is None:
        return None
    transport: Any = server.transport
    try:
        return await ask(port, server)
    finally:
        transport.loseConnection()


async def sessions_of(reactor: Any, server: AMP) -> list[dict[str, Any]]:
    """Ask a server for all of its sessions, page by page.

    :param reactor: the reactor.
    :param server: the connection.
    :returns: what :meth:`twisted_rsh.server.session.DurableSession.describe` tells of each, in the order of the logins.
    :raises Problem: as for :func:`answer_of`.
    """
    found: list[dict[str, Any]] = []
    more, last = True, 0
    while more:
        answer = await answer_of(reactor, server, server.callRemote(NextSessions, after=last))
        found += json.loads(answer["sessions"])
        more, last = answer["more"], answer["last"]
    return found


async def answer_of(reactor: Any, server: AMP, waiting: Deferred[dict[str, Any]]) -> dict[str, Any]:
    """Wait for a server's answer to a command.

    :param reactor: the reactor.
    :param server: the connection.
    :param waiting: the answer.
    :raises Problem: the server closed the connection, or does not answer within :data:`ANSWER_SECONDS`.
    """
    transport: Any = server.transport
    name = f"the server at {os.fsdecode(transport.getPeer().name)!a}"
    try:
        return await waiting.addTimeout(ANSWER_SECONDS, reactor)
    except defer.TimeoutError:
        raise Problem(f"{name} does not answer within {ANSWER_SECONDS:g} s; restart it if it hangs") from None
    except ConnectionClosed as error:
        raise Problem(f"{name} closed the connection: {error}; try again") from None
