"""The words of the client's command line, read as ``ssh`` reads its own.

Options may stand before and after the host.  The first word of the command ends them: it belongs to the command, with
every word after it.  ``--`` ends them too, before the host or after it.  Values may be attached, and letters clustered.
Of two values of one option the first counts, and of two ports and two users too, whether an option gives them or the
host.  Of ``-t`` and ``-T`` the last one counts, and so with ``-q`` and ``-v``.  All of this is as with ``ssh``, and so
are the letters.

``--hosts`` stands for the host, and may be given more than once: then the first word that is no option begins the
command.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from twisted_rsh.cli.destination import Destination, UsageError, parse_destination
from twisted_rsh.cli.keywords import KEYWORDS, Settings, find_keyword, split_line
from twisted_rsh.cli.values import (
    Share,
    TerminalWish,
    parse_descriptor,
    parse_host_count,
    parse_port,
    parse_share,
)
from twisted_rsh.core.roles import DEFAULT_PORT
from twisted_rsh.core.values import dataclass

__all__ = ["CONTROL_WORDS", "OPTIONS", "Arguments", "Option", "parse_arguments"]

CONTROL_WORDS = ("check", "stop", "exit", "forward", "cancel", "proxy")
"""What ``-O`` may ask of a connection that another program keeps."""

_WAY_OUT = "try 'trsh --help'"


@dataclass(frozen=True, slots=True)
class Option:
    """One option of the command line.

    :ivar flags: how to write it.
    :ivar help: what it does, for ``--help``; empty for an option that is accepted and has no effect.
    :ivar metavar: the name of its value; empty if it takes none.
    :ivar keyword: the keyword of the configuration that it stands for, in small letters; empty for none.
    :ivar value: the keyword's value, where the option takes none.
    :ivar field: the attribute of :class:`Arguments` that it sets, where it stands for no keyword.
    :ivar parse: reads the value of that attribute.
    """

    flags: tuple[str, ...]
    help: str = ""
    metavar: str = ""
    keyword: str = ""
    value: str = ""
    field: str = ""
    parse: Callable[[str], Any] = str


def _control(text: str) -> str:
    if text not in CONTROL_WORDS:
        raise UsageError(f"not a control command: {text!r}: give one of {', '.join(CONTROL_WORDS)}")
    return text


def _own(name: str, keyword: str, metavar: str, text: str) -> Option:
    return Option((name,), text, metavar, keyword)


OPTIONS = (
    Option(("-p",), f"TCP port of the server (default: {DEFAULT_PORT})", "PORT", "port"),
    Option(("-l",), "user to log in as", "USER", "user"),
    Option(("-t",), "allocate a terminal if stdin is one; -tt: always", field="terminal"),
    Option(("-T",), "never allocate a terminal", field="terminal"),
    Option(("-n",), "do not read stdin; the command gets no input", keyword="stdinnull", value="yes"),
    Option(("-f",), "go to the background before the command runs", keyword="forkafterauthentication", value="yes"),
    Option(("-N",), "run no command; keep the connection", keyword="sessiontype", value="none"),
    Option(("-s",), "run a subsystem, such as sftp", keyword="sessiontype", value="subsystem"),
    Option(("-q",), "say nothing, also of failures", field="quiet"),
    Option(("-v",), "log to stderr", field="verbosity"),
    Option(("-E",), "log, and report errors, to the end of a file", "FILE", field="log_file"),
    Option(("-4",), "use IPv4 addresses only", keyword="addressfamily", value="inet"),
    Option(("-6",), "use IPv6 addresses only", keyword="addressfamily", value="inet6"),
    Option(("-i",), "file of the key to log in with", "FILE", "identityfile"),
    Option(("-e",), "escape character, or none (default: ~)", "CHAR", "escapechar"),
    Option(("-o",), "a line of the configuration", "KEY=VALUE"),
    Option(("-F",), "configuration file, or none", "FILE", field="settings_file"),
    Option(("-G",), "show the settings for the host, and do nothing", field="shows_settings"),
    Option(("-O",), "ask a kept connection: check, stop, exit", "COMMAND", field="control", parse=_control),
    Option(("-P",), "tag, for Match tagged in the configuration", "TAG", "tag"),
    _own("--timeout", "timeout", "SECONDS", "end the command after this time"),
    _own("--max-output", "maxoutput", "BYTES", "end the command when it has written more"),
    _own("--max-cpu", "maxcpu", "SECONDS", "end the command when it has used more CPU time"),
    _own("--max-memory", "maxmemory", "BYTES", "end the command when it uses more memory"),
    _own("--encoding", "encoding", "NAME", "code page of the command's text"),
    Option(("--no-resume",), "end the session when the connection is lost", keyword="resume", value="no"),
    _own("--on-disconnect", "ondisconnect", "POLICY", "for jobs in an outage: kill, keep, grace:SECONDS"),
    Option(("--clean",), "start the console's shell without start-up files", field="clean"),
    Option(("--argv",), "run a program with its arguments, without a shell", field="argv"),
    Option(("--json",), "print one JSON object: the output and the ending", field="json"),
    Option(("--hosts",), "run it on many hosts: FILE, a,b[1-9], @group", "LIST", field="hosts"),
    Option(("--parallel",), "hosts at once (default: 64)", "N", field="parallel", parse=parse_host_count),
    Option(("--serial",), "hosts of one batch, or a part of all", "N|N%", field="serial", parse=parse_share),
    Option(("--max-fail",), "hosts that may fail before it stops", "N|N%", field="max_fail", parse=parse_share),
    Option(("--fail-fast",), "end everything when one host has failed", field="fail_fast"),
    Option(("--prefix",), "write each line as it comes, after its host", field="prefix"),
    Option(
        ("--status-fd",), "write the ending to a descriptor, as JSON", "N", field="status_fd", parse=parse_descriptor
    ),
    _own("--fingerprint", "fingerprint", "SHA256:...", "fingerprint that the server's key must have"),
    Option(("--config-dir",), "folder of the keys and the configuration", "FOLDER", field="config_dir"),
    Option(("--completion",), "print what bash or zsh needs to complete words", "SHELL", field="completion"),
    Option(("-V", "--version"), "show the version", field="shows_version"),
    Option(("-h", "--help"), "show this help", field="shows_help"),
    # Port forwarding: told, and not done.
    Option(("-L",), metavar="FORWARDING", keyword="localforward"),
    Option(("-R",), metavar="FORWARDING", keyword="remoteforward"),
    Option(("-D",), metavar="FORWARDING", keyword="dynamicforward"),
    Option(("-W",), metavar="HOST:PORT", field="stdio_forward"),
    Option(("-J",), metavar="HOST", keyword="proxyjump"),
    # Without an effect: TLS has no algorithms to choose from, so there are none to list either.
    Option(("-Q",), metavar="NAME", field="query"),
    *(Option((f"-{letter}",), field="ignored") for letter in "12AaCgKkMXxYyZ"),
    *(Option((f"-{letter}",), metavar="VALUE", field="ignored") for letter in "BISbcmw"),
)
"""All options; the scanner, the help and the completion read this table."""

_BY_FLAG = {flag: option for option in OPTIONS for flag in option.flags}

_EXCLUSIVE = frozenset({"sessiontype", "addressfamily"})
"""Keywords of options that contradict each other."""


@dataclasses.dataclass(slots=True)
class Arguments:
    """The words of one command line, taken apart.

    :ivar settings: those that options and the host have made.
    :ivar destination: the host; ``None`` if there is none.
    :ivar command: the words of the command.
    :ivar terminal: what ``-t`` and ``-T`` say; ``None`` without one of them.
    :ivar quiet: whether ``-q`` is there, and no ``-v`` after it.
    :ivar verbosity: how many times ``-v`` is there after the last ``-q``.
    :ivar log_file: the value of ``-E``.
    :ivar settings_file: the value of ``-F``.
    :ivar shows_settings: whether ``-G`` is there.
    :ivar control: the value of ``-O``.
    :ivar stdio_forward: the value of ``-W``.
    :ivar query: the value of ``-Q``.
    :ivar clean: whether ``--clean`` is there.
    :ivar argv: whether ``--argv`` is there.
    :ivar json: whether ``--json`` is.
    :ivar status_fd: the value of ``--status-fd``.
    :ivar hosts: the values of ``--hosts``; ``None`` without it.
    :ivar parallel: the value of ``--parallel``.
    :ivar serial: the value of ``--serial``.
    :ivar max_fail: the value of ``--max-fail``.
    :ivar fail_fast: whether ``--fail-fast`` is there.
    :ivar prefix: whether ``--prefix`` is.
    :ivar config_dir: the value of ``--config-dir``.
    :ivar completion: the value of ``--completion``.
    :ivar shows_version: whether ``-V`` is there.
    :ivar shows_help: whether ``-h`` is.
    """

    settings: Settings = dataclasses.field(default_factory=Settings)
    destination: Destination | None = None
    command: list[str] = dataclasses.field(default_factory=list)
    terminal: TerminalWish | None = None
    quiet: bool = False
    verbosity: int = 0
    log_file: str | None = None
    settings_file: str | None = None
    shows_settings: bool = False
    control: str | None = None
    stdio_forward: str | None = None
    query: str | None = None
    clean: bool = False
    argv: bool = False
    json: bool = False
    status_fd: int | None = None
    hosts: list[str] | None = None
    parallel: int | None = None
    serial: Share | None = None
    max_fail: Share | None = None
    fail_fast: bool = False
    prefix: bool = False
    config_dir: str | None = None
    completion: str | None = None
    shows_version: bool = False
    shows_help: bool = False


class _Scan:
    """One pass over the words of a command line."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self._ended = False
        self._found = Arguments()
        self._exclusive: dict[str, str] = {}
        self._probed = ""  # a keyword without a value, which asks whether there is such a keyword

    def run(self) -> Arguments:
        found = self._found
        self._take_options()
        if found.hosts is not None:
            pass  # every word is the command's
        elif self._words:
            self._take_host(self._words.pop(0))
            # As in ssh: after a "--" before the host, all that follows the host is the command.
            if not self._ended:
                self._take_options()
        elif self._probed:
            raise UsageError(f"-o {self._probed!r} has no value, and there is no host")
        if self._words == [""] and not found.argv:
            self._words.clear()  # for ssh too a command without a character is none
        found.command = self._words
        return found

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
        if not option.metavar and equals:
            raise UsageError(f"{flag} takes no value: {word!r}: {_WAY_OUT}")
        self._apply(option, flag, value if equals else None)

    def _take_cluster(self, word: str) -> None:
        letters = word[1:]
        while letters:
            flag, letters = f"-{letters[0]}", letters[1:]
            option = self._find(flag)
            if option.metavar:
                self._apply(option, flag, letters or None)
                return
            self._apply(option, flag, None)

    def _find(self, flag: str) -> Option:
        if flag not in _BY_FLAG:
            raise UsageError(f"no such option: {flag!r}: {_WAY_OUT}")
        return _BY_FLAG[flag]

    def _apply(self, option: Option, flag: str, attached: str | None) -> None:
        text = option.value
        if option.metavar:
            given = attached if attached is not None else self._words.pop(0) if self._words else None
            # An empty line of the configuration says nothing, such as one that a script makes of an empty variable.
            if given is None or (not given and flag != "-o"):
                raise UsageError(f"{flag} needs a value, {option.metavar}: {_WAY_OUT}")
            text = given
        if option.keyword:
            self._take_keyword(option, flag, text)
        elif flag == "-o":
            self._take_line(text)
        else:
            self._take_field(option, flag, text)

    def _take_keyword(self, option: Option, flag: str, text: str) -> None:
        if option.keyword in _EXCLUSIVE:
            other = self._exclusive.setdefault(option.keyword, flag)
            if other != flag:
                raise UsageError(f"{other} and {flag} contradict each other")
        keyword = KEYWORDS[option.keyword]
        if not option.metavar:
            # A flag says what its user wants now, whatever a line of the configuration before it says.
            self._found.settings.values[keyword.field] = keyword.parse(text)
            return
        try:
            # The value is one word, whatever it holds.
            value = keyword.parse(text)
        except UsageError as error:
            raise UsageError(f"{flag}: {error}") from None
        if keyword.adds:
            self._found.settings.values.setdefault(keyword.field, []).append(value)
        else:
            self._found.settings.values.setdefault(keyword.field, value)

    def _take_line(self, text: str) -> None:
        name, rest = split_line(text)
        if not name and not rest:
            return
        if not name:
            raise UsageError(f"-o needs a value, KEY=VALUE: {text!r}")
        keyword = find_keyword(name)
        if name.lower() in {"host", "match", "include"}:
            raise UsageError(f"-o {name}: stands in a file alone: give -F")
        if keyword is None:
            # Tools pass what some ssh knows, and ask whether it is known: that is never an error.
            self._found.settings.ignore(name, "-o")
            if not rest:
                self._probed = name
            return
        try:
            self._found.settings.apply(keyword, rest)
        except UsageError as error:
            raise UsageError(f"-o {keyword.name}: {error}") from None

    def _take_field(self, option: Option, flag: str, text: str) -> None:
        found = self._found
        if option.field == "ignored":
            found.settings.ignore(flag, "the command line")
        elif option.field in {"quiet", "verbosity"}:
            found.quiet = option.field == "quiet"
            found.verbosity = 0 if found.quiet else found.verbosity + 1
        elif option.field == "terminal":
            found.terminal = _wish(flag, found.terminal)
        elif option.field == "hosts":
            found.hosts = [*(found.hosts or ()), text]  # each of them counts: no host is left out unseen
        elif not option.metavar:
            setattr(found, option.field, True)
        elif getattr(found, option.field) is None:
            setattr(found, option.field, option.parse(text))

    def _take_host(self, word: str) -> None:
        destination = self._found.destination = parse_destination(word)
        values = self._found.settings.values
        if destination.port is not None:
            values.setdefault("port", parse_port(destination.port))
        if destination.user is not None:
            values.setdefault("user", destination.user)


def _wish(flag: str, before: TerminalWish | None) -> TerminalWish:
    if flag == "-T":
        return TerminalWish.NEVER
    return TerminalWish.ALWAYS if before in {TerminalWish.ASKED, TerminalWish.ALWAYS} else TerminalWish.ASKED


def parse_arguments(words: Sequence[str]) -> Arguments:
    """Take a command line apart.

    :param words: its words, without the program's name.
    :returns: what they say.
    :raises UsageError: they are wrong.
    """
    return _Scan(words).run()
