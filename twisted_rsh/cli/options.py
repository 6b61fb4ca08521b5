"""The client's command line: ``trsh [options] [[user@]host[:port]] [command ...]``, read as ``ssh`` reads its own.

Options may stand before and after the host, but not behind the first word of the command, which belongs to the other
side with everything after it.  ``--`` ends the options, before the host or behind it.  Of an option that is given
twice, the first counts, as with ``ssh``; so does the first port, whether from ``-p`` or behind the host.  ``-l``
always wins over ``user@``.  Of ``-t`` and ``-T`` the last counts, also as with ``ssh``.
"""

from __future__ import annotations

import enum
import math
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from twisted_rsh.client.text import text_codec
from twisted_rsh.core.errors import Error
from twisted_rsh.core.limits import MAX_OFFSET
from twisted_rsh.core.requests import Disconnection, parse_disconnection
from twisted_rsh.core.roles import DEFAULT_PORT

__all__ = ["ClientOptions", "TerminalWish", "UsageError", "parse_options", "usage_text"]

DEFAULT_HOST = "127.0.0.1"
"""The host that the program dials when the command line names none."""

MAX_PORT = 65535
"""The highest TCP port."""

_BYTE_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3}
"""What a letter behind a number of bytes multiplies it with."""

_SHELL_CHARACTERS = frozenset("'\"`$\\;&<>|(){}[]*?!#~^")
"""What a shell gives a meaning to.  No host and no user is named so, and names end up in other people's scripts
(CVE-2023-51385)."""


class UsageError(Error):
    """The command line cannot be understood; ``str()`` of it is one line that names the word and the way out."""


class TerminalWish(enum.Enum):
    """Whether the job on the server is to have a terminal."""

    UNSAID = "unsaid"
    """The console's shell, when the console is on one; a command, not."""

    ASKED = "-t"
    """If the client's stdin is one."""

    ALWAYS = "-tt"
    """Whatever the client's stdin is."""

    NEVER = "-T"
    """Not in any case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientOptions:
    """What the command line asks for.

    :ivar host: the server's name or address; an IPv6 address is without its brackets.
    :ivar port: the server's TCP port.
    :ivar user: whom to be on the server, or ``None`` if not said.
    :ivar command: the words of the command as given, not joined; empty for a shell.
    :ivar stdin_is_empty: whether stdin counts as being at its end, and is not read.
    :ivar terminal: whether the job is to have a terminal.
    :ivar quiet: whether to say nothing but fatal errors.
    :ivar verbosity: how many times ``-v`` was given.
    :ivar show_version: whether to print the version and nothing else.
    :ivar show_help: whether to print :func:`usage_text` and nothing else.
    :ivar timeout: seconds that the job may take, or ``None`` for as long as it takes.
    :ivar max_output: bytes that the job may write, or ``None`` for as many as it writes.
    :ivar max_cpu: seconds of processor time that the job may take, or ``None`` for as many as it takes.
    :ivar max_memory: bytes of memory that the job may take, or ``None`` for as many as it takes.
    :ivar encoding: the code page, named as Python prefers, or ``None`` for the one that the server names.
    :ivar no_resume: whether the session ends with its connection.
    :ivar on_disconnect: what becomes of what runs while there is no connection, or ``None`` for what is usual.
    :ivar argv: whether the command's words are a program and its arguments, to be run without a shell.
    :ivar fingerprint: the pin of the server's key as it was given, or ``None`` for the known servers'.
    :ivar config_dir: the folder of the client's keys and known servers, or ``None`` for the usual one.
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
    argv: bool = False
    fingerprint: str | None = None
    config_dir: str | None = None


def _number(text: str, maximum: int) -> int:
    """Read a number from 1 to a maximum; 0 is what cannot be read."""
    # int() would take signs, spaces, underscores and the digits of other scripts.
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


def _refuse_unsafe(kind: str, name: str) -> None:
    # Categories "C": control characters, format characters such as bidirectional overrides, lone surrogates.
    unsafe = [c for c in name if c in _SHELL_CHARACTERS or c.isspace() or unicodedata.category(c).startswith("C")]
    if not name or unsafe or name.startswith("-"):
        raise UsageError(
            f"not a {kind}: {name!r}: it is empty, begins with '-', or holds a space or a character special to shells"
        )


def _user(text: str) -> str:
    _refuse_unsafe("user", text)
    return text


@dataclass(frozen=True, slots=True)
class _Option:
    """One option: what people write for it, and what it does to one field of :class:`ClientOptions`."""

    flags: tuple[str, ...]
    field: str
    help: str
    metavar: str = ""
    parse: Callable[[str], Any] | None = None
    """For an option with a value: from the value as text; raises `UsageError`."""


_OPTIONS = (
    _Option(("-p",), "port", f"the server's port (default: {DEFAULT_PORT})", "PORT", _port),
    _Option(("-l",), "user", "whom to be on the server", "USER", _user),
    _Option(("-t",), "terminal", "give it a terminal, if stdin is one; -tt: always"),
    _Option(("-T",), "terminal", "give it none; the console neither"),
    _Option(("-n",), "stdin_is_empty", "do not read stdin: the command finds it at its end"),
    _Option(("-q",), "quiet", "say nothing but fatal errors"),
    _Option(("-v",), "verbosity", "say more about what happens; -vv for still more"),
    _Option(("--timeout",), "timeout", "end the command after so long", "SECONDS", _seconds),
    _Option(("--max-output",), "max_output", "end the command when it has written more", "BYTES", _bytes),
    _Option(("--max-cpu",), "max_cpu", "... when it took more processor time", "SECONDS", _seconds),
    _Option(("--max-memory",), "max_memory", "... when it has more memory", "BYTES", _bytes),
    _Option(("--encoding",), "encoding", "the code page of the command's text", "NAME", _encoding),
    _Option(("--no-resume",), "no_resume", "end everything with the connection"),
    _Option(
        ("--on-disconnect",), "on_disconnect", "jobs in an outage: kill, keep, grace:SECONDS", "POLICY", _disconnection
    ),
    _Option(("--argv",), "argv", "run the words as they are, without a shell"),
    _Option(("--fingerprint",), "fingerprint", "the key that the server must have", "SHA256:...", str),
    _Option(("--config-dir",), "config_dir", "where the keys and the known servers are kept", "FOLDER", str),
    _Option(("-V", "--version"), "show_version", "show the version"),
    _Option(("-h", "--help"), "show_help", "show this help"),
)
"""Every option there is; the scanner and the help are both driven by this table."""

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
            # As in ssh: behind a "--" before the host, everything after the host is the command.
            if not self._ended:
                self._take_options()
        self._values.setdefault("user", self._host_user)
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
        user, at, address = word.rpartition("@")
        if at:
            self._host_user = _user(user)
        host, port = _split_address(address)
        self._values["host"] = host
        if port is not None:
            self._values.setdefault("port", _port(port))


def _split_address(text: str) -> tuple[str, str | None]:
    """Take ``host``, ``host:port``, ``::1``, ``[::1]`` or ``[::1]:port`` apart."""
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or not _is_ipv6(host) or (rest and not rest.startswith(":")):
            raise UsageError(f"not an address: {text!r}: write an IPv6 address and its port as [::1]:{DEFAULT_PORT}")
        return host, rest[1:] if rest else None
    if text.count(":") > 1:
        if not _is_ipv6(text):
            raise UsageError(f"not an address: {text!r}: write host:port, or [::1]:{DEFAULT_PORT}")
        return text, None
    host, colon, port = text.partition(":")
    _refuse_unsafe("host", host)
    return host, port if colon else None


def _is_ipv6(text: str) -> bool:
    import socket  # not needed for any other kind of host, and the client's start is timed

    address, percent, scope = text.partition("%")
    if percent:
        _refuse_unsafe("host", scope)
    try:
        socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):  # ValueError: a NUL character, or one that is not ASCII
        return False
    return True


def parse_options(arguments: Sequence[str]) -> ClientOptions:
    """Understand a command line.

    :param arguments: its words, without the program's name: ``sys.argv[1:]``.
    :returns: what it asks for.
    :raises UsageError: it cannot be understood: say so on stderr and end with 255.
    """
    return _Scan(arguments).run()


def usage_text() -> str:
    """Write the help.

    :returns: lines of at most 79 columns, with a newline at the end.
    """
    rows = [(", ".join(option.flags) + (f" {option.metavar}" if option.metavar else ""), option) for option in _OPTIONS]
    width = max(len(label) for label, _ in rows)
    return "\n".join(
        [
            "Usage: trsh [options] [[user@]host[:port]] [command ...]",
            "",
            "Run a command on another machine, or a shell there if no command is given.",
            f"The server is {DEFAULT_HOST}:{DEFAULT_PORT} unless you name another.",
            "",
            "Options, before the host or between the host and the command:",
            *(f"  {label:<{width}}  {option.help}" for label, option in rows),
            "",
            "BYTES are a number, or one with K, M or G behind it, which are 1024s.",
            "",
            "The exit status is the command's own; 128+n if signal n ended it, 124 if its",
            "time was up, 125 if it reached a limit, 255 if the client failed.",
            "",
        ]
    )
