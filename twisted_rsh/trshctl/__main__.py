"""The entry point of ``trshctl``."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.task import react

from twisted_rsh.cli.arguments import parse_arguments
from twisted_rsh.cli.destination import UsageError
from twisted_rsh.cli.options import ClientOptions, parse_options
from twisted_rsh.cli.reaching import describe_problem
from twisted_rsh.client.status import printable
from twisted_rsh.clock import use_steady_clock
from twisted_rsh.core.errors import Error
from twisted_rsh.printing import print_text
from twisted_rsh.trshctl.answer import Answer
from twisted_rsh.trshctl.enrolling import enroll, enroll_by_invitation, enroll_over_ssh, reaching_words, show_key
from twisted_rsh.trshctl.known import check_known, forget_known, list_known
from twisted_rsh.trust.invitation import Invitation
from twisted_rsh.trust.private_memory import hide_memory
from twisted_rsh.trust.socket_path import socket_path

__all__ = ["FAILURE_STATUS", "USAGE_STATUS", "USAGE_TEXT", "main", "parse_command"]

FAILURE_STATUS = 1
"""The exit status when the program cannot do what it is asked, or a server is not as it should be."""

USAGE_STATUS = 2
"""The exit status after a mistake in the command line."""

MAX_LINE_CHARACTERS = 1024
"""Characters of an invitation on stdin at most; its line has some 150."""

USAGE_TEXT = """\
Usage: trshctl enroll LINE
       trshctl enroll --fingerprint SHA256:... [user@]host[:port]
       trshctl enroll --ssh [user@]host [--program PATH] [[user@]host[:port]]
       trshctl enroll [user@]host[:port]
       trshctl key
       trshctl known list [--json]
       trshctl known check [--json] [host[:port] ...]
       trshctl known forget host[:port] ...

Make a server known to this client, and this client's key to the server.

  enroll LINE            use the line that `twisted-rsh invite` printed on the
                         server; - reads it from stdin
  enroll --fingerprint   name the fingerprint that the server's log shows; other
                         keys of that server are forgotten
  enroll --ssh           use an SSH login: the second host is the one to dial
  enroll                 show the server's fingerprint, and ask
  key                    print the line of this client's public key
  known list             list the servers that are known
  known check            dial them, or the named ones, and compare their keys
  known forget           forget all keys of a server

  --program PATH         the program `twisted-rsh` on the server, for --ssh
  --json                 print JSON
  --config-dir FOLDER    folder of the keys and the configuration
  -h, --help             show this help
  --version              show the version

The other options of trsh say how to reach the server, such as -p, -i and -o.

The exit status is 0; 1 if something could not be done or a server has another
key; 2 after a mistake in the command line.
"""
"""The help."""

_WAY_OUT = "try 'trshctl --help'"

Work = Callable[[Any], Coroutine[Any, Any, Answer]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    :param arguments: the words of its command line; ``None`` for this process's own.
    :returns: the exit status.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own handler prints a traceback
    try:
        answer = _answer(words)
        work = None if answer is not None else parse_command(words)
    except UsageError as error:
        _complain(str(error))
        return USAGE_STATUS
    except (Error, OSError) as error:
        _complain(describe_problem(error))
        return FAILURE_STATUS
    if work is None:
        return _print(answer or "")
    hide_memory()
    return _run(work)


def _answer(words: list[str]) -> str | None:
    if not words or words[0] in {"-h", "--help"} or (words[-1] in {"-h", "--help"} and "--" not in words):
        return USAGE_TEXT
    if words == ["--version"]:
        from twisted_rsh import __version__

        return f"twisted-rsh {__version__}\n"
    return None


def parse_command(words: list[str]) -> Work:
    """Read the command line.

    :param words: its words, without the program's name; they are changed.
    :returns: what to do on a reactor.
    :raises UsageError: it is wrong.
    :raises Error: the configuration is.
    """
    match words:
        case ["enroll", *rest]:
            return _enroll(rest)
        case ["key", *rest]:
            options = parse_options(rest)
            if _split_hosts(rest)[1]:
                raise UsageError(f"key takes no host: {_WAY_OUT}")
            return lambda reactor: show_key(reactor, options)
        case ["known", "list", *rest]:
            as_json = _take_flag(rest, "--json")
            options = parse_options(rest)
            if _split_hosts(rest)[1]:
                raise UsageError(f"known list takes no host: {_WAY_OUT}")
            return lambda _reactor: list_known(options.config_folders(), as_json=as_json)
        case ["known", "check", *rest]:
            as_json = _take_flag(rest, "--json")
            hosts = _servers(rest)
            everything = None if hosts else parse_options(rest)
            return lambda reactor: check_known(reactor, hosts, everything, as_json=as_json)
        case ["known", "forget", *rest]:
            hosts = _servers(rest)
            if not hosts:
                raise UsageError(f"known forget needs a host: {_WAY_OUT}")
            return lambda _reactor: forget_known(hosts)
        case ["known", *_]:
            raise UsageError(f"known needs list, check or forget: {_WAY_OUT}")
    raise UsageError(f"no such command: {words[0]!r}: {_WAY_OUT}")


def _enroll(words: list[str]) -> Work:
    target = _take_value(words, "--ssh")
    program = _take_value(words, "--program")
    if target is not None:
        if not target or target.startswith("-"):
            raise UsageError(f"--ssh needs a host, not {target!r}: {_WAY_OUT}")
        # Without a host of its own to dial, the server is where the SSH login leads.
        options = _one_server(words if _split_hosts(words)[1] else [*words, target])
        return lambda reactor: enroll_over_ssh(reactor, options, target, program or "twisted-rsh")
    if program is not None:
        raise UsageError(f"--program is for --ssh: {_WAY_OUT}")
    if words and words[-1] == "-":
        words[-1] = sys.stdin.readline(MAX_LINE_CHARACTERS).strip()
        if not Invitation.is_line(words[-1]):
            raise UsageError("there is no invitation on stdin: give it the line that `twisted-rsh invite` printed")
    if words and Invitation.is_line(words[-1]):
        invitation = Invitation.parse(words.pop())
        options = _one_server([*words, *reaching_words(invitation)])
        return lambda reactor: enroll_by_invitation(reactor, options, invitation)
    options = _one_server(words)
    return lambda reactor: enroll(reactor, options)


def _take_flag(words: list[str], flag: str) -> bool:
    if flag not in words:
        return False
    words.remove(flag)
    return True


def _take_value(words: list[str], name: str) -> str | None:
    """Take an option of this program's own out of the words."""
    for index, word in enumerate(words):
        flag, equals, value = word.partition("=")
        if flag == name:
            if not equals and index + 1 == len(words):
                raise UsageError(f"{name} needs a value: {_WAY_OUT}")
            taken = value if equals else words[index + 1]
            del words[index : index + (1 if equals else 2)]
            return taken
    return None


def _split_hosts(words: list[str]) -> tuple[list[str], list[str]]:
    """Split words into the options and the hosts after them.

    :raises UsageError: an option is wrong, or stands after a host.
    """
    found = parse_arguments(words)
    if found.destination is None:
        return words, []
    count = len(found.command) + 1
    options, hosts = words[:-count], words[-count:]
    try:
        is_behind = parse_arguments(options).destination is not None
    except UsageError:  # the words are right, so that the cut is not: it is within an option
        is_behind = True
    if is_behind:
        raise UsageError(f"options stand before the host: {_WAY_OUT}")
    return options, hosts


def _servers(words: list[str]) -> list[ClientOptions]:
    """Read the options, and the hosts that follow them, as ``trsh`` reads one host."""
    options, hosts = _split_hosts(words)
    servers = [parse_options([*options, host]) for host in hosts]
    for server in servers:
        if socket_path(server.host) is not None:
            raise UsageError(f"{server.host} is a Unix socket, whose server is known by its user: {_WAY_OUT}")
    return servers


def _one_server(words: list[str]) -> ClientOptions:
    servers = _servers(words)
    if len(servers) != 1:
        raise UsageError(f"enroll needs one server, not {len(servers)}: {_WAY_OUT}")
    return servers[0]


def _run(work: Work) -> int:
    status = FAILURE_STATUS

    async def run(reactor: Any) -> None:
        nonlocal status
        use_steady_clock(reactor)
        try:
            answer = await work(reactor)
        except (Error, OSError) as error:
            _complain(describe_problem(error))
        else:
            status = _print(answer.text) or answer.status

    with contextlib.suppress(SystemExit):
        react(run)
    return status


def _print(text: str) -> int:
    fault = print_text(text)
    if fault is None:
        return 0
    _complain(fault)
    return FAILURE_STATUS


def _complain(text: str) -> None:
    print(f"trshctl: {printable(text)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
