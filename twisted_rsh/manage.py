"""``twisted-rsh``: what the account of a server does with it beside running it.

``sessions`` lists the sessions of this account's servers on this machine, and ends them; ``invite`` and ``enroll-key``
let further clients in (:mod:`twisted_rsh.inviting`); ``rotate`` changes the key of the server
(:mod:`twisted_rsh.rotating`).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from twisted.internet.error import ConnectionClosed
from twisted.internet.task import react
from twisted.protocols.amp import AMP

from twisted_rsh.clock import use_steady_clock
from twisted_rsh.core.errors import Error
from twisted_rsh.inviting import InviteOptions, KeyOptions, enroll_key, invite, parse_duration, parse_place
from twisted_rsh.rotating import RotateOptions, rotate
from twisted_rsh.server.control import EndSession, NextSession
from twisted_rsh.server.control_client import Problem, answer_of, config_folders, connect_to_control, control_ports
from twisted_rsh.server.invitations import DEFAULT_INVITATION_SECONDS
from twisted_rsh.server.session import SHOWN_ID_DIGITS

__all__ = ["SessionOptions", "main", "manage_sessions", "parse_arguments"]

FAILURE_STATUS = 1
"""The exit status when the program cannot do what it is asked."""

USAGE_STATUS = 2
"""The exit status after a mistake in the command line."""

SHOWN_KEY = 15
"""Characters of a key's fingerprint in the table: ``SHA256:`` and enough to tell keys apart."""


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


def parse_arguments(words: Sequence[str]) -> SessionOptions | InviteOptions | KeyOptions | RotateOptions:
    """Read the command line.

    :param words: its words, without the program's name.
    :raises SystemExit: the command line has a mistake, with status 2 and one line on stderr; or it asks for help, with
        status 0 and the help on stdout.
    """
    parser = _Parser(prog="twisted-rsh", description="Manage the servers of this account on this machine.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    sessions = commands.add_parser("sessions", help="list the sessions, or end some of them")
    sessions.add_argument(
        "--end",
        metavar="ID",
        action="append",
        default=[],
        help="end the session whose identifier begins with ID; may be repeated",
    )
    sessions.add_argument("--json", action="store_true", help="list the sessions as JSON")
    inviting = commands.add_parser("invite", help="print a line that lets one client in, once")
    inviting.add_argument(
        "--ttl",
        metavar="TIME",
        type=_typed(parse_duration),
        default=DEFAULT_INVITATION_SECONDS,
        help="how long the line can be used: 90s, 10m (the default), 2h",
    )
    inviting.add_argument("--port", type=int, help="port of the server, where this account has several")
    inviting.add_argument(
        "--host",
        metavar="HOST[:PORT]",
        type=_typed(parse_place),
        help="name or address, and port, by which the client reaches the server",
    )
    enrolling = commands.add_parser("enroll-key", help="let a key in whose public line is on stdin; for trshctl")
    rotating = commands.add_parser("rotate", help="give the server another key, which its clients learn in time")
    rotating.add_argument("--finish", action="store_true", help="let the server have that key from its next start on")
    for command in (sessions, inviting, enrolling, rotating):
        command.add_argument(
            "--config-dir", metavar="FOLDER", help="folder of the keys and records, as given to the server"
        )
    options = parser.parse_args(list(words))
    if options.command == "invite":
        host, port = options.host or (None, None)
        return InviteOptions(
            config_dir=options.config_dir, seconds=options.ttl, port=options.port, host=host, shown_port=port
        )
    if options.command == "rotate":
        return RotateOptions(config_dir=options.config_dir, finish=options.finish)
    if options.command == "enroll-key":
        return KeyOptions(config_dir=options.config_dir)
    return SessionOptions(config_dir=options.config_dir, end=tuple(options.end), as_json=options.json)


def _typed(parse: Callable[[str], Any]) -> Callable[[str], Any]:
    """Let argparse show the line of an error; it shows no other kind of exception."""

    def read(text: str) -> Any:
        try:
            return parse(text)
        except Problem as problem:
            raise argparse.ArgumentTypeError(str(problem)) from None

    return read


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the program.

    :param arguments: the words of its command line; ``None`` for this process's own.
    :raises SystemExit: always, with the exit status.
    """
    options = parse_arguments(sys.argv[1:] if arguments is None else arguments)

    async def run(reactor: Any) -> None:
        use_steady_clock(reactor)
        try:
            if isinstance(options, SessionOptions):
                text = await manage_sessions(reactor, options)
            elif isinstance(options, InviteOptions):
                text = await invite(reactor, options)
            elif isinstance(options, RotateOptions):
                text = rotate(options)
            else:
                text = enroll_key(options, sys.stdin.buffer)
        except Error as problem:
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
    config = config_folders(options.config_dir)
    servers = {
        port: server
        for port in control_ports(config)
        if (server := await connect_to_control(reactor, config, port)) is not None
    }
    try:
        found = [(port, session) for port, server in servers.items() for session in await _sessions(reactor, server)]
        for beginning in options.end:
            port, session = _only(beginning, found)
            await answer_of(reactor, servers[port].callRemote(EndSession, session=session["id"]))
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


async def _sessions(reactor: Any, server: AMP) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while True:
        after = found[-1]["id"] if found else ""
        answer = await answer_of(reactor, server.callRemote(NextSession, after=after))
        if not answer["found"]:
            return found
        found.append(json.loads(answer["session"]))


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
