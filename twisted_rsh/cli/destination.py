"""The destination on the client's command line: ``[user@]host[:port]``, or the URL ``ssh://[user@]host[:port]``.

Or it is a Unix socket of this machine: ``[user@]unix:/path``.

The URL is that of ``ssh`` (draft-ietf-secsh-scp-sftp-ssh-uri-04): git, editors and file managers write it.  Characters
of its user and its host may be percent-encoded (RFC 3986).
"""

from __future__ import annotations

import string
import unicodedata

from twisted_rsh.core.errors import Error
from twisted_rsh.core.roles import DEFAULT_PORT
from twisted_rsh.core.values import dataclass
from twisted_rsh.trust.socket_path import SCHEME, check_length, socket_path

__all__ = ["Destination", "UsageError", "parse_destination", "parse_host", "parse_user"]

_URL_SCHEME = "ssh://"

_SHELL_CHARACTERS = frozenset("'\"`$\\;&<>|(){}[]*?!#~^")
"""The characters that mean something to a shell.  No host and no user has one in its name, and names end up in scripts
that do not quote them (CVE-2023-51385)."""


class UsageError(Error):
    """The command line is wrong; ``str()`` of the exception is one line that names the word and the way out."""


@dataclass(frozen=True, slots=True)
class Destination:
    """The server to dial, and the user to log in as.

    :ivar user: the user; ``None`` if the word names none.
    :ivar host: a name or an address; an IPv6 address is without its brackets.  Or ``unix:`` and the path of a socket.
    :ivar port: the text of the port, which may be no port; ``None`` if the word names none.
    """

    user: str | None
    host: str
    port: str | None


def parse_destination(word: str) -> Destination:
    """Parse a destination.

    :param word: the word of the command line.
    :raises UsageError: the word is not a destination.
    """
    if word[: len(_URL_SCHEME)].lower() == _URL_SCHEME:
        return _parse_url(word)
    before, scheme, path = word.partition(SCHEME)
    if scheme and (not before or before.endswith("@")):  # the path may have an "@" as well
        user, at, address = before[:-1], before, scheme + path
    else:
        user, at, address = word.rpartition("@")
    return Destination(parse_user(user) if at else None, *_split_address(address))


def parse_user(text: str) -> str:
    """Return the name of a user.

    :raises UsageError: it cannot be one.
    """
    _refuse_unsafe("user", text)
    return text


def parse_host(text: str) -> str:
    """Return the name or the address of a host, without the brackets that an IPv6 address may have; or a Unix socket.

    :raises UsageError: it cannot be one, or a port follows it.
    """
    host, port = _split_address(text)
    if port is not None:
        raise UsageError(f"not a host: {text!r}: write a name or an address, without a port")
    return host


def _parse_url(word: str) -> Destination:
    authority, _slash, path = word[len(_URL_SCHEME) :].partition("/")
    user, at, address = authority.rpartition("@")
    if ":" in user:  # and the word is not repeated, for it may be a password
        raise UsageError(
            "not a destination: a URL with a password, or with ':' in its user: write ssh://user@host:port"
        )
    wrong = UsageError(f"not a destination: {word!r}: write ssh://user@host:port, without a path")
    if path or "@" in user or (address.count(":") > 1 and not address.startswith("[")):
        raise wrong
    try:
        user, address = _decode(user), _decode(address)
    except ValueError:
        raise wrong from None
    # An empty port is no port (RFC 3986, 3.2.3).
    return Destination(parse_user(user) if at else None, *_split_address(address.removesuffix(":")))


def _decode(text: str) -> str:
    """Put characters in place of their percent-encoding.

    :raises ValueError: an encoding is malformed, or the characters are not UTF-8.
    """
    first, *others = text.split("%")
    data = first.encode()
    for other in others:
        code, rest = other[:2], other[2:]
        if len(code) < 2 or not set(code) <= set(string.hexdigits):
            raise ValueError(code)
        data += bytes.fromhex(code) + rest.encode()
    return data.decode()


def _refuse_unsafe(kind: str, name: str) -> None:
    # Categories "C": control characters, format characters such as bidirectional overrides, lone surrogates.
    unsafe = [c for c in name if c in _SHELL_CHARACTERS or c.isspace() or unicodedata.category(c).startswith("C")]
    if not name or unsafe or name.startswith("-"):
        raise UsageError(
            f"not a {kind}: {name!r}: it is empty, begins with '-', or holds a space or a character special to shells"
        )


def _split_address(text: str) -> tuple[str, str | None]:
    """Split ``host``, ``host:port``, ``::1``, ``[::1]`` or ``[::1]:port`` into host and port.

    ``unix:/path`` has no port.
    """
    path = socket_path(text)
    if path is not None and not path.isdecimal():
        _check_socket(text, path)
        return text, None
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


def _check_socket(text: str, path: str) -> None:
    if not path.startswith("/"):
        raise UsageError(f"not a socket: {text!r}: write the absolute path of a Unix socket, as in unix:/run/rsh.sock")
    _refuse_unsafe("socket", path)
    try:
        check_length(path)
    except ValueError as error:
        raise UsageError(f"not a socket: {text!r}: {error}") from None


def _is_ipv6(text: str) -> bool:
    import socket  # no other kind of host needs it, and its import would slow the client's start

    address, percent, scope = text.partition("%")
    if percent:
        _refuse_unsafe("host", scope)
    try:
        socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):  # ValueError: a NUL character, or one that is not ASCII
        return False
    return True
