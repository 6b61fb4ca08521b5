"""``twisted-rsh sessions``: list the sessions of this account's servers on this machine, and end them."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from twisted.internet import defer
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint, connectProtocol
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.task import react
from twisted.protocols.amp import AMP

from twisted_rsh.clock import use_steady_clock
from twisted_rsh.core.errors import Error
from twisted_rsh.server.control import EndSession, NextSession, is_our_own_peer
from twisted_rsh.server.session import SHOWN_ID_DIGITS
from twisted_rsh.trust.home import ConfigFolders, HomeUnknown

__all__ = ["Problem", "SessionOptions", "main", "manage_sessions", "parse_arguments"]

ANSWER_SECONDS = 10.0
"""Seconds that a server has to answer: more than enough for one on this machine."""

FAILURE_STATUS = 1
"""The exit status when the program cannot do what it is asked."""

USAGE_STATUS = 2
"""The exit status after a mistake in the command line."""

SHOWN_KEY = 15
"""Characters of a key's fingerprint in the table: ``SHA256:`` and enough to tell keys apart."""


class Problem(Error):
    """The program cannot do what it is asked; ``str()`` gives one line that names the problem and the way out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions:
    """The options of ``twisted-rsh sessions``.

    :ivar config_dir: the folder of the keys and records, or ``None`` for the XDG folders.
    :ivar end: the beginnings of the identifiers of the sessions to end; empty to list the sessions.
    :ivar as_json: whether to list them as JSON.
    """

    config_dir: str | None = None
    end: tuple[str, ...] = ()
    as_json: bool = False


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        _complain(message)
        raise SystemExit(USAGE_STATUS)


def parse_arguments(words: Sequence[str]) -> SessionOptions:
    """Read the command line.

    :param words: its words, without the program's name.
    :raises SystemExit: the command line has a mistake, with status 2 and one line on stderr; or it asks for help, with
        status 0 and the help on stdout.
    """
    parser = _Parser(prog="twisted-rsh", description="Manage the servers of this account on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="sessions")
    sessions = commands.add_parser("sessions", help="list the sessions, or end some of them")
    sessions.add_argument(
        "--end",
        metavar="ID",
        action="append",
        default=[],
        help="end the session whose identifier begins with ID; may be repeated",
    )
    sessions.add_argument("--json", action="store_true", help="list the sessions as JSON")
    sessions.add_argument(
        "--config-dir", metavar="FOLDER", help="folder of the keys and records, as given to the server"
    )
    options = parser.parse_args(list(words))
    return SessionOptions(config_dir=options.config_dir, end=tuple(options.end), as_json=options.json)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program.

    :param arguments: the words of its command line; ``None`` for this process's own.
    :raises SystemExit: always, with the exit status.
    """
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)

    async def run(reactor: Any) -> None:
        use_steady_clock(reactor)
        try:
            text = await manage_sessions(reactor, options)
        except Problem as problem:
            _complain(str(problem))
            raise SystemExit(FAILURE_STATUS) from None
        with contextlib.suppress(BrokenPipeError):
            sys.stdout.write(text)
            sys.stdout.flush()

    react(run)


async def manage_sessions(reactor: Any, options: SessionOptions) -> str:
    """List the sessions, or end some of them.

    :param reactor: the reactor.
    :param options: the options.
    :returns: the text to print: the list, or nothing.
    :raises Problem: the folder cannot be read, a server does not answer, or no single session fits an identifier.
    """
    try:
        config = (
            ConfigFolders.default(os.environ) if options.config_dir is None else ConfigFolders.at(options.config_dir)
        )
    except HomeUnknown as error:
        raise Problem(str(error)) from None
    servers = {port: server for port in _ports(config) if (server := await _connect(reactor, config, port)) is not None}
    try:
        found = [(port, session) for port, server in servers.items() for session in await _sessions(reactor, server)]
        for beginning in options.end:
            port, session = _only(beginning, found)
            await _answer(reactor, servers[port].callRemote(EndSession, session=session["id"]))
        if options.end:
            return ""
        if options.as_json:
            return json.dumps([{"port": port, **session} for port, session in found], indent=1) + "\n"
        return _table(found)
    except ConnectionClosed as error:
        raise Problem(f"a server closed the connection: {error}; try again") from None
    finally:
        for server in servers.values():
            transport: Any = server.transport
            transport.loseConnection()


def _ports(config: ConfigFolders) -> list[int]:
    folder = os.path.dirname(config.control_path(0))
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise Problem(f"cannot read {folder}: {error.strerror}; choose another folder with --config-dir") from None
    stems = (name.removesuffix(".sock") for name in names if name.endswith(".sock"))
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdecimal())


async def _connect(reactor: Any, config: ConfigFolders, port: int) -> AMP | None:
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


async def _sessions(reactor: Any, server: AMP) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        after = found[-1]["id"] if found else ""
        answer = await _answer(reactor, server.callRemote(NextSession, after=after))
        if not answer["found"]:
            return found
        found.append(json.loads(answer["session"]))


async def _answer(reactor: Any, waiting: Deferred[dict[str, Any]]) -> dict[str, Any]:
    try:
        return await waiting.addTimeout(ANSWER_SECONDS, reactor)
    except defer.TimeoutError:
        raise Problem(f"a server does not answer within {ANSWER_SECONDS:g} s; restart it if it hangs") from None


def _only(beginning: str, found: list[tuple[int, dict[str, Any]]]) -> tuple[int, dict[str, Any]]:
    matching = [(port, session) for port, session in found if session["id"].startswith(beginning.lower())]
    if not beginning or not matching:
        raise Problem(f"there is no session {beginning!a}; `twisted-rsh sessions` lists the sessions")
    if len(matching) > 1:
        raise Problem(f"{len(matching)} sessions begin with {beginning!a}; give more digits to --end")
    return matching[0]


def _table(found: list[tuple[int, dict[str, Any]]]) -> str:
    lines = []
    for port, session in found:
        state = "attached" if session["attached"] else "detached"
        lines.append(
            f"{session['id'][:SHOWN_ID_DIGITS]}  {ascii(session['user'])[1:-1]}  {session['key'][:SHOWN_KEY]}  "
            f"port {port}  {state} {_duration(session['seconds'])}  {ascii(session['peer'])[1:-1]}"
        )
        for job in session["jobs"]:
            pid = "" if job["pid"] is None else f"  pid {job['pid']}"
            lines.append(
                f"  {job['kind']}{pid}  {job['on_disconnect']}  {_duration(job['seconds'])}  "
                f"in {job['stdin']}  out {job['stdout']}  err {job['stderr']}"
            )
    return "".join(f"{line}\n" for line in lines)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"


def _complain(text: str) -> None:
    print(f"twisted-rsh: {text}", file=sys.stderr)


if __name__ == "__main__":
    main()
