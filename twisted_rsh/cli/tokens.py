"""The ``%`` tokens of a configuration, and the facts that they stand for."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from twisted_rsh.cli.destination import UsageError

__all__ = ["Names", "expand", "expand_path"]


def _local_name() -> str:
    import socket  # its import would slow the start of each client

    return socket.gethostname()


@dataclass(frozen=True)
class Names:
    """What is known of one run of the client when a line with tokens is used.

    :ivar typed: the host as the user typed it: ``%n``.
    :ivar host: the host to dial: ``%h``.
    :ivar port: the TCP port: ``%p``.
    :ivar user: the user to log in as, ``%r``; an empty text for the user's own name.
    """

    typed: str
    host: str
    port: int
    user: str

    @cached_property
    def local_user(self) -> str:
        """The name of the user who runs the client: ``%u``.

        :raises UsageError: the user has no name here.
        """
        return self._account.pw_name

    @cached_property
    def _account(self) -> pwd.struct_passwd:
        try:
            return pwd.getpwuid(os.geteuid())
        except KeyError:
            raise UsageError(
                f"your uid {os.geteuid()} has no name here, which a line of the configuration uses"
            ) from None

    @property
    def home(self) -> str:
        """The user's home folder: ``%d``."""
        home = os.environ.get("HOME", "")
        return home if os.path.isabs(home) else self._account.pw_dir

    @property
    def remote_user(self) -> str:
        """The name of the user to log in as."""
        return self.user or self.local_user

    @property
    def connection(self) -> str:
        """A short name of the connection, of hexadecimal digits: ``%C``."""
        import hashlib  # its import would slow the start of each client

        text = f"{_local_name()}{self.host}{self.port}{self.remote_user}"
        return hashlib.sha1(os.fsencode(text), usedforsecurity=False).hexdigest()


_TOKENS: dict[str, Callable[[Names], str]] = {
    "%": lambda _names: "%",
    "C": lambda names: names.connection,
    "d": lambda names: names.home,
    "h": lambda names: names.host,
    "i": lambda _names: str(os.geteuid()),
    "k": lambda names: names.typed,
    "L": lambda _names: _local_name().partition(".")[0],
    "l": lambda _names: _local_name(),
    "n": lambda names: names.typed,
    "p": lambda names: str(names.port),
    "r": lambda names: names.remote_user,
    "u": lambda names: names.local_user,
}


def expand(text: str, names: Names) -> str:
    """Put what the tokens of a text stand for in their place.

    :param text: the text.
    :param names: what they stand for.
    :raises UsageError: there is no such token, or what it stands for is not known.
    """

    def replace(match: re.Match[str]) -> str:
        if match[1] not in _TOKENS:
            raise UsageError(f"no such token: {match[0]!r}: write %% for the character %")
        return _TOKENS[match[1]](names)

    return re.sub(r"%(.?)", replace, text, flags=re.DOTALL)


def expand_path(text: str, names: Names) -> str:
    """Expand a path: a ``~`` at its beginning, its tokens, and ``${NAME}`` for a variable of the environment.

    :param text: the path.
    :param names: what the tokens stand for.
    :raises UsageError: as for :func:`expand`, or there is no such variable or no such user.
    """

    def replace(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise UsageError(f"no such variable in the environment: {match[0]!r}")
        return os.environ[match[1]]

    if text == "~" or text.startswith("~/"):
        text = names.home.replace("%", "%%") + text[1:]
    elif text.startswith("~"):
        user, slash, rest = text[1:].partition("/")
        try:
            text = pwd.getpwnam(user).pw_dir.replace("%", "%%") + slash + rest
        except (KeyError, ValueError):
            raise UsageError(f"no such user: {user!r}") from None
    return re.sub(r"\$\{(\w+)\}", replace, expand(text, names))
