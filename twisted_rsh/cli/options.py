"""The client's command line: ``trsh [options] [destination] [command ...]``, read as ``ssh`` reads its own.

Options may stand before and after the host.  The first word of the command ends them: it belongs to the command, with
every word after it.  ``--`` ends them too, before the host or after it.  Of two values of one option the first counts,
as with ``ssh``, and of two ports the first too, whether ``-p`` gives it or the host.  The user of ``-l`` always counts,
and not that of ``user@``.  Of ``-t`` and ``-T`` the last one counts, as with ``ssh``.
"""

from __future__ import annotations

import enum
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted_rsh.cli.destination import UsageError, parse_destination, parse_user
from twisted_rsh.client.text import text_codec
from twisted_rsh.core.limits import MAX_OFFSET
from twisted_rsh.core.requests import Disconnection, parse_disconnection
from twisted_rsh.core.roles import DEFAULT_PORT
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["ClientOptions", "TerminalWish", "parse_options", "usage_text"]

DEFAULT_HOST = "127.0.0.1"
"""The host that the program dials when the command line names none."""

MAX_PORT = 65535
"""The highest TCP port."""

_BYTE_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3}
"""The factors of the letters that may follow a number of bytes."""


class TerminalWish(enum.Enum):
    """Whether the user wants the server to allocate a terminal."""

    UNSAID = "unsaid"
    """A terminal for the console, if the client's stdout is one, and none for a command."""

    ASKED = "-t"
    """A terminal if the client's stdin is one."""

    ALWAYS = "-tt"
    """A terminal, whatever the client's stdin is."""

    NEVER = "-T"
    """No terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """The values of the command line.

    :ivar host: the server's name or address; an IPv6 address is without its brackets.
    :ivar port: the server's TCP port.
    :ivar user: the user to log in as; ``None`` for the one that the server takes by default.
    :ivar command: the words of the command as given, not joined; empty for the console or a script.
    :ivar stdin_is_empty: whether to read nothing from stdin, and give the command no input.
    :ivar terminal: whether the job is to have a terminal.
    :ivar quiet: whether to tell nothing but fatal errors.
    :ivar verbosity: how many times ``-v`` was given.
    :ivar show_version: whether to print the version and do nothing else.
    :ivar show_help: whether to print :func:`usage_text` and do nothing else.
    :ivar timeout: seconds after which the server ends the command; ``None`` for no limit.
    :ivar max_output: bytes of output after which the server ends the command; ``None`` for no limit.
    :ivar max_cpu: seconds of processor time after which the server ends the command; ``None`` for no limit.
    :ivar max_memory: bytes of memory above which the server ends the command; ``None`` for no limit.
    :ivar encoding: the code page of the command's text, as Python names it; ``None`` for the one that the server names.
    :ivar no_resume: whether the session ends with its connection.
    :ivar on_disconnect: the policy for jobs while there is no connection; ``None`` for the default.
    :ivar clean: whether the console's shell reads no start-up files.
    :ivar argv: whether the command's words are a program and its arguments, to be run without a shell.
    :ivar fingerprint: the fingerprint of the server's key as it was given; ``None`` to look among the known servers.
    :ivar config_dir: the folder of the client's keys and known servers; ``None`` for the default.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    user: str | None = None
    command: tuple[str, ...] = ()
    stdin_is_empty: bool = False
    terminal: TerminalWish = TerminalWish.UNSAID
    quiet: bool = False
    verbosity: int = 0
    show_version: bool = False
    show_help: bool = False
    timeout: float | None = None
    max_output: int | None = None
    max_cpu: float | None = None
    max_memory: int | None = None
    encoding: str | None = None
    no_resume: bool = False
    on_disconnect: Disconnection | None = None
    clean: bool = False
    argv: bool = False
    fingerprint: str | None = None
    config_dir: str | None = None

    def config_folders(self) -> ConfigFolders:
        """Name the folders of the keys, the known servers and the history.

        :raises twisted_rsh.trust.home.HomeUnknown: ``config_dir`` is ``None``, and the user has no home folder.
        """
        return ConfigFolders.default(os.environ) if self.config_dir is None else ConfigFolders.at(self.config_dir)


def _number(text: str, maximum: int) -> int:
    """Read a number from 1 to a maximum; return 0 for any other text."""
    # int() alone would take signs, spaces, underscores and the digits of other scripts.
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(maximum)) else 0
    return number if number <= maximum else 0


def _port(text: str) -> int:
    port = _number(text, MAX_PORT)
    if not port:
        raise UsageError(f"not a port: {text!r}: give a number from 1 to {MAX_PORT}")
    return port


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not (0 < seconds < math.inf):
        raise UsageError(f"not a time: {text!r}: give seconds, more than 0, such as 2.5")
    return seconds


def _bytes(text: str) -> int:
    unit = _BYTE_UNITS.get(text[-1:].upper(), 1)
    size = unit * _number(text if unit == 1 else text[:-1], MAX_OFFSET)
    if not 0 < size <= MAX_OFFSET:
        raise UsageError(f"not a size: {text!r}: give bytes, more than 0, such as 4096, 64K, 10M or 2G")
    return size


def _encoding(text: str) -> str:
    try:
        return text_codec(text)
    except LookupError:
        raise UsageError(f"no such code page: {text!r}: give one that Python knows, such as utf-8 or gbk") from None


def _disconnection(text: str) -> Disconnection:
    try:
        return parse_disconnection(text)
    except ValueError:
        raise UsageError(f"not a policy: {text!r}: give kill, keep, or grace: and seconds, such as grace:600") from None


@dataclass(frozen=True, slots=True)
class _Option:
    """One option: the flags to write for it, and the field of :class:`ClientOptions` that it sets."""

    flags: tuple[str, ...]
    field: str
    help: str
    metavar: str = ""
    parse: Callable[[str], Any] | None = None
    """Reads the value from text, or raises `UsageError`; ``None`` for an option without a value."""


_OPTIONS = (
    _Option(("-p",), "port", f"TCP port of the server (default: {DEFAULT_PORT})", "PORT", _port),
    _Option(("-l",), "user", "user to log in as", "USER", parse_user),
    _Option(("-t",), "terminal", "allocate a terminal if stdin is one; -tt: always"),
    _Option(("-T",), "terminal", "never allocate a terminal"),
    _Option(("-n",), "stdin_is_empty", "do not read stdin; the command gets no input"),
    _Option(("-q",), "quiet", "report fatal errors only"),
    _Option(("-v",), "verbosity", "log to stderr"),
    _Option(("--timeout",), "timeout", "end the command after this time", "SECONDS", _seconds),
    _Option(("--max-output",), "max_output", "end the command when it has written more", "BYTES", _bytes),
    _Option(("--max-cpu",), "max_cpu", "end the command when it has used more CPU time", "SECONDS", _seconds),
    _Option(("--max-memory",), "max_memory", "end the command when it uses more memory", "BYTES", _bytes),
    _Option(("--encoding",), "encoding", "code page of the command's text", "NAME", _encoding),
    _Option(("--no-resume",), "no_resume", "end the session when the connection is lost"),
    _Option(
        ("--on-disconnect",),
        "on_disconnect",
        "for jobs in an outage: kill, keep, grace:SECONDS",
        "POLICY",
        _disconnection,
    ),
    _Option(("--clean",), "clean", "start the console's shell without start-up files"),
    _Option(("--argv",), "argv", "run a program with its arguments, without a shell"),
    _Option(("--fingerprint",), "fingerprint", "fingerprint that the server's key must have", "SHA256:...", str),
    _Option(("--config-dir",), "config_dir", "folder of the keys and the known servers", "FOLDER", str),
    _Option(("-V", "--version"), "show_version", "show the version"),
    _Option(("-h", "--help"), "show_help", "show this help"),
)
"""All options; the scanner and the help both read this table."""

_BY_FLAG = {flag: option for option in _OPTIONS for flag in option.flags}

_WAY_OUT = "try 'trsh --help'"


class _Scan:
    """One pass over the words of a command line."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self._ended = False
        self._values: dict[str, Any] = {}
        self._host_user: str | None = None

    def run(self) -> ClientOptions:
        self._take_options()
        if self._words:
            self._take_host(self._words.pop(0))
            # As in ssh: after a "--" before the host, all that follows the host is the command.
            if not self._ended:
                self._take_options()
        self._values.setdefault("user", self._host_user)
        if self._words == [""] and "argv" not in self._values:
            self._words.clear()  # for ssh too a command without a character is none
        return ClientOptions(command=tuple(self._words), **self._values)

    def _take_options(self) -> None:
        while self._words and self._words[0].startswith("-") and self._words[0] != "-":
            word = self._words.pop(0)
            if word == "--":
                self._ended = True
                return
            if word.startswith("--"):
                self._take_long(word)
            else:
                self._take_cluster(word)

    def _take_long(self, word: str) -> None:
        flag, equals, value = word.partition("=")
        option = self._find(flag)
        if option.parse is None and equals:
            raise UsageError(f"{flag} takes no value: {word!r}: {_WAY_OUT}")
        self._apply(option, flag, value if equals else None)

    def _take_cluster(self, word: str) -> None:
        letters = word[1:]
        while letters:
            flag, letters = f"-{letters[0]}", letters[1:]
            option = self._find(flag)
            if option.parse is not None:
                self._apply(option, flag, letters or None)
                return
            self._apply(option, flag, None)

    def _find(self, flag: str) -> _Option:
        if flag not in _BY_FLAG:
            raise UsageError(f"no such option: {flag!r}: {_WAY_OUT}")
        return _BY_FLAG[flag]

    def _apply(self, option: _Option, flag: str, attached: str | None) -> None:
        if option.field == "verbosity":
            self._values["verbosity"] = self._values.get("verbosity", 0) + 1
        elif option.field == "terminal":
            self._values["terminal"] = self._wish(flag)
        elif option.parse is None:
            self._values[option.field] = True
        else:
            text = attached if attached is not None else self._words.pop(0) if self._words else ""
            if not text:
                raise UsageError(f"{flag} needs a value, {option.metavar}: {_WAY_OUT}")
            self._values.setdefault(option.field, option.parse(text))

    def _wish(self, flag: str) -> TerminalWish:
        if flag == "-T":
            return TerminalWish.NEVER
        asked = self._values.get("terminal") in {TerminalWish.ASKED, TerminalWish.ALWAYS}
        return TerminalWish.ALWAYS if asked else TerminalWish.ASKED

    def _take_host(self, word: str) -> None:
        destination = parse_destination(word)
        self._host_user = destination.user
        self._values["host"] = destination.host
        if destination.port is not None:
            self._values.setdefault("port", _port(destination.port))


def parse_options(arguments: Sequence[str]) -> ClientOptions:
    """Parse a command line.

    :param arguments: its words, without the program's name: ``sys.argv[1:]``.
    :returns: its values.
    :raises UsageError: it is wrong: print the exception on stderr and exit with 255.
    """
    return _Scan(arguments).run()


def usage_text() -> str:
    """Return the help.

    :returns: lines of at most 79 columns, with a newline at the end.
    """
    rows = [(", ".join(option.flags) + (f" {option.metavar}" if option.metavar else ""), option) for option in _OPTIONS]
    width = max(len(label) for label, _ in rows)
    return "\n".join(
        [
            "Usage: trsh [options] [[user@]host[:port]] [command ...]",
            "       trsh [options] ssh://[user@]host[:port] [command ...]",
            "",
            "Run a command on another machine.  Without a command, prompt for commands, or",
            "run the lines of stdin if that is no terminal.",
            f"The default server is {DEFAULT_HOST}:{DEFAULT_PORT}.",
            "",
            "Options, before the host or between the host and the command:",
            *(f"  {label:<{width}}  {option.help}" for label, option in rows),
            "",
            "BYTES is a number, optionally followed by K, M or G (powers of 1024).",
            "",
            "The exit status is that of the command; 128+n if signal n ended it, 124 after",
            "a time-out, 125 if it reached another limit, 255 if the client failed.",
            "",
        ]
    )
