"""The configuration file of the client, in the language of ssh_config(5).

A file is a list of lines ``Keyword value``.  ``Host`` and ``Match`` begin a block, whose lines count if the block
applies to this run.  Of several values the first counts, so exceptions stand before what holds for all hosts.
"""

from __future__ import annotations

import contextlib
import glob
import os
from collections.abc import Iterator

from twisted_rsh.cli.destination import UsageError
from twisted_rsh.cli.keywords import Settings, find_keyword, is_of_ssh, split_line, split_words
from twisted_rsh.cli.tokens import Names, expand, expand_path
from twisted_rsh.core.patterns import matches_any
from twisted_rsh.core.roles import DEFAULT_PORT
from twisted_rsh.core.values import dataclass
from twisted_rsh.trust.files import FileProblem, read_trusted_file

__all__ = [
    "MAX_CONFIG_BYTES",
    "MAX_INCLUDED_FILES",
    "MAX_INCLUDE_DEPTH",
    "AtLine",
    "Configuration",
    "Subject",
    "host_names",
    "read_lines",
]

MAX_CONFIG_BYTES = 1024 * 1024
"""Bytes of one file at most: some ten thousand hosts."""

MAX_INCLUDE_DEPTH = 16
"""Files that may include each other in a row, as many as with OpenSSH: this ends a loop."""

MAX_INCLUDED_FILES = 1000
"""Files that one run reads at most: a file that includes itself twice would be read 65,536 times."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What the blocks of a file are compared with, besides the settings so far.

    :ivar typed: the host as the user typed it.
    :ivar command: the command, joined; empty for none.
    :ivar session_type: ``shell``, ``exec``, ``subsystem`` or ``none``.
    """

    typed: str
    command: str = ""
    session_type: str = "shell"


class Configuration:
    """Reads files into the settings of one run.

    :param settings: those so far; what is there already counts.
    :param subject: what the blocks are compared with.
    :param folder: relative names of included files begin here.
    :param known: the lines of files that were read before, by their paths, and afterwards those that this object has
        read: for many hosts, one after another.  ``None`` for none.
    :ivar wants_final: whether a block asked for another pass, ``Match final``, when the host's name is known.
    """

    def __init__(
        self, settings: Settings, subject: Subject, folder: str, known: dict[str, list[str]] | None = None
    ) -> None:
        self.wants_final = False
        self._settings = settings
        self._subject = subject
        self._folder = folder
        self._known = {} if known is None else known
        self._is_final = False
        self._files = 0

    def read_default(self, path: str) -> None:
        """Read the user's own file, if it exists; only the user and root may be able to write it.

        :param path: the file.
        :raises UsageError: a line is wrong, or the file cannot be trusted or read.
        """
        with contextlib.suppress(FileNotFoundError):
            self._read_twice(path, is_trusted=False)

    def read_given(self, path: str) -> None:
        """Read a file that the command line names.

        :param path: the file; ``-F`` may name any kind of file, such as a pipe.
        :raises UsageError: a line is wrong, or the file is not there or cannot be read.
        """
        try:
            self._read_twice(path, is_trusted=True)
        except FileNotFoundError as error:
            raise UsageError(f"cannot read {path!r}: {error.strerror}") from None

    def _read_twice(self, path: str, *, is_trusted: bool) -> None:
        lines = self._lines_of(path, is_trusted=is_trusted)
        self._read(path, lines, True, 0, is_trusted=is_trusted)
        if self.wants_final:
            self._is_final = True
            self._read(path, lines, True, 0, is_trusted=is_trusted)

    def _read(self, path: str, lines: list[str], applies: bool, depth: int, *, is_trusted: bool) -> None:
        may_apply = applies
        for number, line in enumerate(lines, 1):
            keyword, rest = split_line(line)
            name = keyword.lower()
            where = f"{path if path.isprintable() else repr(path)} line {number}"
            try:
                if name in {"host", "match"}:
                    applies = self._begin_block(name, rest, may_apply)
                elif name == "include":
                    self._include(rest, applies, depth, is_trusted=is_trusted)
                elif keyword and not keyword.startswith("#"):
                    self._take(keyword, rest, applies, where)
                elif not keyword and line.strip():
                    raise UsageError(f"no keyword: {line.strip()!r}")
            except AtLine:
                raise
            except UsageError as error:
                raise AtLine(f"{where}: {error}") from None

    def _take(self, name: str, rest: str, applies: bool, where: str) -> None:
        keyword = find_keyword(name)
        if keyword is not None:
            # A wrong value is told also in a block that does not apply: its user would meet it only later.
            target = self._settings if applies else Settings()
            target.apply(keyword, rest)
        elif is_of_ssh(name) or matches_any(self._settings.get("ignore_unknown", "").lower().split(","), name.lower()):
            if applies:
                self._settings.ignore(name, where)
        else:
            raise UsageError(f"no such keyword: {name!r}")

    def _begin_block(self, kind: str, rest: str, may_apply: bool) -> bool:
        words = split_words(rest)
        if not words:
            raise UsageError(f"{kind.capitalize()} needs {'a pattern' if kind == 'host' else 'a criterion'}")
        if kind == "host":
            return may_apply and matches_any([word.lower() for word in words], self._subject.typed.lower())
        return self._match(words, may_apply)

    def _match(self, words: list[str], may_apply: bool) -> bool:
        """Tell whether all criteria of a ``Match`` hold.  None is looked at after the first that does not."""
        applies = may_apply
        rest = iter(words)
        for word in rest:
            if word in {"all", "!all"} and len(words) > 1 and words[0].lower() not in {"final", "canonical"}:
                raise UsageError("Match all stands alone")
            criterion, equals, value = word.partition("=")
            name = criterion.lower().removeprefix("!")
            if name in {"all", "final", "canonical"}:
                if equals:
                    raise UsageError(f"Match {name} takes no value: {word!r}")
                holds = self._holds_now(name)
            elif name in _CRITERIA:
                if not equals:
                    value = next(rest, "")
                if not value and name not in {"command", "tagged"}:
                    raise UsageError(f"Match {name} needs a value")
                holds = applies and self._holds(name, value)
            else:
                raise UsageError(f"no such criterion of Match: {criterion!r}")
            if holds == criterion.startswith("!"):
                applies = False
        return applies

    def _holds_now(self, name: str) -> bool:
        if name == "final":
            self.wants_final = True
        return name == "all" or self._is_final

    def _holds(self, name: str, value: str) -> bool:
        if name == "exec":
            return _succeeds(expand(value, self.names()))
        names, subject = self.names(), self._subject
        match name:
            case "host":
                text = names.host.lower()
            case "originalhost":
                text = subject.typed.lower()
            case "user":
                text = names.remote_user
            case "localuser":
                text = names.local_user
            case "tagged":
                text = self._settings.get("tag", "")
            case "command":
                text = subject.command
            case _:
                text = subject.session_type
        patterns = value.split(",")
        return matches_any(map(str.lower, patterns) if name in {"host", "originalhost"} else patterns, text)

    def _include(self, rest: str, applies: bool, depth: int, *, is_trusted: bool) -> None:
        words = split_words(rest)
        if not words:
            raise UsageError("Include needs a file")
        if depth >= MAX_INCLUDE_DEPTH:
            raise UsageError(f"more than {MAX_INCLUDE_DEPTH} files include each other")
        for word in words:
            pattern = os.path.join(self._folder, expand_path(word, self.names()))
            for path in sorted(glob.glob(pattern)):
                if path != pattern and os.path.isdir(path):
                    continue  # ssh leaves out a folder among the files, too
                self._files += 1
                if self._files > MAX_INCLUDED_FILES:
                    raise UsageError(f"more than {MAX_INCLUDED_FILES} files are included")
                with contextlib.suppress(FileNotFoundError):
                    self._read(
                        path, self._lines_of(path, is_trusted=is_trusted), applies, depth + 1, is_trusted=is_trusted
                    )

    def _lines_of(self, path: str, *, is_trusted: bool) -> list[str]:
        if path not in self._known:
            self._known[path] = read_lines(path, is_trusted=is_trusted)
        return self._known[path]

    def names(self) -> Names:
        """Return what the tokens of a line stand for, by the settings so far.

        :raises UsageError: the host's name has a token that does not exist.
        """
        settings, typed = self._settings, self._subject.typed
        port, user = settings.get("port", DEFAULT_PORT), settings.get("user", "")
        host = expand(settings.get("host_name", "%h"), Names(typed, typed, port, user))
        return Names(typed, host, port, user)


_CRITERIA = frozenset("host originalhost user localuser exec tagged command sessiontype".split())


class AtLine(UsageError):
    """A line of a file is wrong; the text names its file and line."""


def read_lines(path: str, *, is_trusted: bool) -> list[str]:
    """Read a file of the client's configuration.

    :param path: the file.
    :param is_trusted: whether it may be any file; otherwise only the user and root may be able to write it.
    :raises FileNotFoundError: there is none.
    :raises UsageError: it cannot be read, is too large, or another user can change it.
    """
    try:
        if is_trusted:
            with open(path, "rb") as file:
                data = file.read(MAX_CONFIG_BYTES + 1)
        else:
            data = read_trusted_file(os.path.realpath(path), MAX_CONFIG_BYTES)
    except FileNotFoundError:
        raise
    except FileProblem as error:
        raise UsageError(str(error)) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path!r}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_CONFIG_BYTES:
        raise UsageError(f"{path!r} is too large: at most {MAX_CONFIG_BYTES} bytes")
    # Only these end a line; splitlines() would also take separators that may stand in a value.
    return [line.removesuffix("\r") for line in os.fsdecode(data).split("\n")]


def _succeeds(command: str) -> bool:
    """Run a command of ``Match exec`` with the user's shell; tell whether it exits with 0.

    As with ssh, its stderr is the client's: otherwise a mistyped command would be a "no" without a reason.

    :raises UsageError: the command cannot be run, or a signal ends it before it has answered.
    """
    import subprocess  # its import would slow the start of each client

    shell = os.environ.get("SHELL", "")
    words = [shell if os.path.isabs(shell) else "/bin/sh", "-c", command]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot run {words[0]!r}: {error}") from None
    if done.returncode < 0:
        raise UsageError(f"Match exec: a signal ended the command: {command!r}")
    return done.returncode == 0


def host_names(path: str) -> Iterator[str]:
    """Read the names that the ``Host`` lines of a user's file give to hosts, for completion.

    :param path: the file; those that it includes are read too.
    :returns: the names, without patterns.  What cannot be read is left out.
    """
    folder = os.path.dirname(path)
    waiting = [path]
    seen: set[str] = set()
    while waiting and len(seen) < MAX_INCLUDED_FILES:
        file = waiting.pop()
        if file in seen:
            continue
        seen.add(file)
        with contextlib.suppress(OSError, UsageError):
            for line in read_lines(file, is_trusted=False):
                keyword, rest = split_line(line)
                with contextlib.suppress(UsageError):
                    if keyword.lower() == "host":
                        yield from (word for word in split_words(rest) if not set("*?!") & set(word))
                    elif keyword.lower() == "include":
                        for word in split_words(rest):
                            pattern = os.path.join(folder, expand_path(word, Names("", "", DEFAULT_PORT, "")))
                            waiting += sorted(glob.glob(pattern))
