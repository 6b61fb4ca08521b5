"""``twisted-rsh``: what the account of a server does with it besides running it.

``sessions`` lists the sessions of this account's servers on this machine, and ends them; ``status`` shows what these
servers do (:mod:`twisted_rsh.manage.status`); ``invite`` and ``enroll-key`` let further clients in
(:mod:`twisted_rsh.manage.inviting`); ``rotate`` changes the key of the server (:mod:`twisted_rsh.manage.rotating`).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any, NoReturn, TextIO

from twisted.internet.task import react
from twisted.protocols.amp import AMP

from twisted_rsh.clock import use_steady_clock
from twisted_rsh.core.errors import Error
from twisted_rsh.manage.inviting import InviteOptions, KeyOptions, enroll_key, invite, parse_duration, parse_place
from twisted_rsh.manage.rotating import RotateOptions, rotate
from twisted_rsh.manage.status import (
    DEFAULT_WATCH_SECONDS,
    MAX_WATCH_SECONDS,
    MIN_WATCH_SECONDS,
    StatusOptions,
    UnwritableOutput,
    show_status,
    watch_status,
)
from twisted_rsh.manage.status_table import SHOWN_KEY, duration, place, safe
from twisted_rsh.printing import drop_stdout, print_text
from twisted_rsh.server.control import EndSession
from twisted_rsh.server.control_client import (
    IncompleteAnswer,
    Problem,
    answer_of,
    ask_server,
    ask_servers,
    config_folders,
    sessions_of,
)
from twisted_rsh.server.invitations import DEFAULT_INVITATION_SECONDS
from twisted_rsh.server.session import SHOWN_ID_DIGITS

__all__ = ["SessionOptions", "main", "manage_sessions", "parse_arguments"]

FAILURE_STATUS = 1
"""The exit status when the program cannot do what it is asked."""

USAGE_STATUS = 2
"""The exit status after a mistake in the command line."""


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


def parse_arguments(
    words: Sequence[str],
) -> SessionOptions | StatusOptions | InviteOptions | KeyOptions | RotateOptions:
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
    status = commands.add_parser("status", help="show the servers' sessions, jobs and bounds")
    status.add_argument("--json", action="store_true", help="show them as one JSON object")
    status.add_argument(
        "--watch",
        metavar="SECONDS",
        nargs="?",
        type=_seconds,
        const=DEFAULT_WATCH_SECONDS,
        help=f"show them again and again, until Ctrl-C: every {DEFAULT_WATCH_SECONDS:g} s unless SECONDS is given",
    )
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
    enrolling = commands.add_parser("enroll-key", help="let in the key whose public line is on stdin; for trshctl")
    rotating = commands.add_parser("rotate", help="change the key of the server, announced to its clients")
    rotating.add_argument("--finish", action="store_true", help="use the next key from the next start of the server on")
    for command in (sessions, status, inviting, enrolling, rotating):
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
    if options.command == "status":
        return StatusOptions(config_dir=options.config_dir, as_json=options.json, watch=options.watch)
    return SessionOptions(config_dir=options.config_dir, end=tuple(options.end), as_json=options.json)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not MIN_WATCH_SECONDS <= seconds <= MAX_WATCH_SECONDS:
        raise argparse.ArgumentTypeError(
            f"{text!a} is no number of seconds from {MIN_WATCH_SECONDS:g} to {MAX_WATCH_SECONDS:g}"
        )
    return seconds


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
            elif isinstance(options, StatusOptions) and options.watch is not None:
                await _watch(reactor, options)
                return
            elif isinstance(options, StatusOptions):
                text = await show_status(reactor, options)
            elif isinstance(options, InviteOptions):
                text = await invite(reactor, options)
            elif isinstance(options, RotateOptions):
                text = rotate(options)
            else:
                text = enroll_key(options, sys.stdin.buffer)
        except IncompleteAnswer as problem:
            _show(problem.text)
            _complain(str(problem))
            raise SystemExit(FAILURE_STATUS) from None
        except Error as problem:
            _complain(str(problem))
            raise SystemExit(FAILURE_STATUS) from None
        _show(text)

    react(run)


def _show(text: str) -> None:
    fault = print_text(text)
    if fault is not None:
        _complain(fault)
        raise SystemExit(FAILURE_STATUS)


async def _watch(reactor: Any, options: StatusOptions) -> None:
    output: TextIO | None = sys.stdout
    if output is None:  # closed: no process will read it
        return
    try:
        await watch_status(reactor, options, output)
    except BrokenPipeError:
        drop_stdout()
    except UnwritableOutput:
        drop_stdout()
        raise


async def manage_sessions(reactor: Any, options: SessionOptions) -> str:
    """List the sessions, or end some of them.

    :param reactor: the reactor.
    :param options: the options.
    :returns: the text to print: the list, or nothing.
    :raises IncompleteAnswer: a server does not answer.
    :raises Problem: the folder cannot be read, or no single session fits an identifier.
    """
    config = config_folders(options.config_dir)

    async def ask(port: int, server: AMP) -> list[tuple[int, dict[str, Any]]]:
        return [(port, session) for session in await sessions_of(reactor, server)]

    answers, problems = await ask_servers(reactor, config, ask)
    found = list(chain.from_iterable(answers))
    text = ""
    if options.end:
        try:
            chosen = [_only(beginning, found) for beginning in options.end]
        except Problem as problem:  # the session may be that of a server that does not answer
            raise IncompleteAnswer("", [*problems, problem]) from None
        for port, session in chosen:
            # Without a server there, it ended just now, with all of its sessions.
            await ask_server(reactor, config, port, partial(_end, reactor, session["id"]))
    elif options.as_json:
        text = json.dumps([{"port": port or None, **session} for port, session in found], indent=1) + "\n"
    else:
        text = _table(found)
    if problems:
        raise IncompleteAnswer(text, problems)
    return text


async def _end(reactor: Any, session: str, _port: int, server: AMP) -> dict[str, Any]:
    return await answer_of(reactor, server, server.callRemote(EndSession, session=session))


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
            f"{session['id'][:SHOWN_ID_DIGITS]}  {safe(session['user'])}  {session['key'][:SHOWN_KEY]}  "
            f"{place(port)}  {state} {duration(session['seconds'])}  {safe(session['peer'])}"
        )
        for job in session["jobs"]:
            pid = "" if job["pid"] is None else f"  pid {job['pid']}"
            lines.append(
                f"  {job['kind']}{pid}  {job['on_disconnect']}  {duration(job['seconds'])}  "
                f"in {job['stdin']}  out {job['stdout']}  err {job['stderr']}"
            )
    return "".join(f"{line}\n" for line in lines)


def _complain(text: str) -> None:
    for line in text.splitlines():
        print(f"twisted-rsh: {line}", file=sys.stderr)


if __name__ == "__main__":
    main()
