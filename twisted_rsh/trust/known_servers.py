"""The servers that a client knows: a file of their keys, which the user may read and edit.

A line is ``address fingerprint comment``, such as ``build.example.org:8082 SHA256:... added 2026-01-31``.  An IPv6
address has brackets.  A server with several keys has several lines, and may have any of them.

A line ``@cert-authority patterns type base64 comment``, as in ssh's ``known_hosts``, is an SSH authority that vouches
for the keys of servers.  The patterns, with commas between them, are those of hosts, or of addresses with a port; one
after ``!`` takes hosts out.  A line ``@revoked patterns type base64 comment`` has a key that is no longer good for
these hosts: neither as a server's own, though another line has its fingerprint or an authority vouches for it, nor as
an authority's.

Blank lines, and those that ``#`` begins, mean nothing.  A file with any other line is refused as a whole: a typing
error must not make a server unknown, because the user would then be asked to trust whatever answers.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

from twisted_rsh.core.patterns import matches
from twisted_rsh.core.roles import MAX_PORT
from twisted_rsh.trust.files import FileProblem, UntrustedFile, read_trusted_file, update_private_file
from twisted_rsh.trust.fingerprint import BadFingerprint, format_fingerprint, parse_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.ssh_keys import BadKey, parse_public_key

__all__ = [
    "MAX_KNOWN_SERVERS_BYTES",
    "MAX_KNOWN_SERVERS_LINES",
    "BadKnownServers",
    "KnownServer",
    "KnownServers",
    "format_address",
]

MAX_KNOWN_SERVERS_BYTES = 256 * 1024
"""Bytes of the file at most: some 2,500 servers with comments."""

MAX_KNOWN_SERVERS_LINES = 4096
"""Lines of the file at most: more than it has room for servers.  A program reads all of them before each login."""

MAX_ADDRESS_CHARACTERS = 300
"""Characters of an address at most: the longest name of a host has 253."""

_AUTHORITY, _REVOKED = b"@cert-authority", b"@revoked"

_LINE = re.compile(r"[ \t]*(?P<address>[^ \t#][^ \t]*)[ \t]+(?P<fingerprint>[^ \t]+)(?:[ \t]+(?P<comment>.*))?")
_ADDRESS = re.compile(r"(?:\[(?P<v6>[^\[\]]+)\]|(?P<host>[^\[\]:]+)):(?P<port>[0-9]{1,5})", re.ASCII)


class BadKnownServers(FileProblem):
    """A line of a file of the right owner and mode is not that of a server."""


@dataclass(frozen=True, slots=True)
class KnownServer:
    """One line: a server, and a key that it may have.

    :ivar address: its host and port, as :func:`format_address` writes them.
    :ivar pin: the SHA-256 of the server's public key, 32 bytes.
    :ivar comment: the user's words, or empty.
    """

    address: str
    pin: bytes
    comment: str = ""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the key, as ``--fingerprint`` takes it."""
        return format_fingerprint(self.pin)


class KnownServers:
    """The servers that a client knows.  Each method reads the file anew; the last two change it, all of it or nothing.

    Every method raises :class:`~twisted_rsh.trust.files.FileProblem` if another user could have written the file, if it
    is too large, or if a line of it is wrong; and `OSError` if the system does not allow it.

    :param config: the user's folders.
    :ivar path: the file.
    """

    def __init__(self, config: ConfigFolders) -> None:
        self.path = config.known_servers_path

    def __iter__(self) -> Iterator[KnownServer]:
        """Return all servers, in the order of the file."""
        return iter([server for _, server in self._parse(self._read()) if server is not None])

    def pins(self, host: str, port: int) -> tuple[bytes, ...]:
        """Return the keys that a server may have, without repetition.

        :param host: its name or address; capitals do not count.
        :param port: its TCP port.
        :returns: SHA-256 of each public key, 32 bytes; nothing for a server that is not known.
        """
        address, data = format_address(host, port), self._read()
        servers = [server for _, server in self._parse(data) if server is not None]
        revoked = {parse_public_key(key).pin for key in _keys(data, _REVOKED, host, port)}
        found = dict.fromkeys(server.pin for server in servers if server.address == address)
        return tuple(pin for pin in found if pin not in revoked)

    def authorities(self, host: str, port: int) -> tuple[bytes, ...]:
        """Return the authorities that vouch for a server's key.

        :param host: its name or address; capitals do not count.
        :param port: its TCP port.
        :returns: their keys in SSH's wire format; mostly none.
        """
        data = self._read()
        if _AUTHORITY not in data:
            return ()
        self._parse(data)  # a file with a wrong line is refused as a whole
        revoked = _keys(data, _REVOKED, host, port)
        return tuple(key for key in _keys(data, _AUTHORITY, host, port) if key not in revoked)

    def revoked(self, host: str, port: int) -> tuple[bytes, ...]:
        """Return the keys that neither a server nor its authority may have.

        :param host: its name or address; capitals do not count.
        :param port: its TCP port.
        :returns: the keys in SSH's wire format; mostly none.
        """
        data = self._read()
        self._parse(data)
        return _keys(data, _REVOKED, host, port)

    def _read(self) -> bytes:
        try:
            return read_trusted_file(self.path, MAX_KNOWN_SERVERS_BYTES)
        except FileNotFoundError:
            return b""

    def add(self, host: str, port: int, pin: bytes, comment: str = "", *, replace: bool = False) -> None:
        """Learn a key of a server.  Nothing happens if it is known already.

        :param host: its name or address.
        :param port: its TCP port.
        :param pin: SHA-256 of its public key, 32 bytes.
        :param comment: a few words in one line; characters that cannot be printed are replaced.
        :param replace: whether to forget the server's other keys.
        """
        address = format_address(host, port)
        words = "".join(c if c.isprintable() else "?" for c in comment)
        line = " ".join([address, format_fingerprint(pin), *([words] if words else [])])

        def change(data: bytes) -> bytes:
            parsed = self._parse(data)
            kept = [
                text
                for text, server in parsed
                if not (replace and server is not None and server.address == address and server.pin != pin)
            ]
            if not any(server is not None and (server.address, server.pin) == (address, pin) for _, server in parsed):
                kept.append(line.encode("utf-8", "surrogateescape"))
            return _join(kept)

        self._update(change)

    def forget(self, host: str, port: int) -> int:
        """Forget all keys of a server.

        :param host: its name or address.
        :param port: its TCP port.
        :returns: the number of lines that were removed.
        """
        address = format_address(host, port)
        removed = 0

        def change(data: bytes) -> bytes:
            nonlocal removed
            parsed = self._parse(data)
            kept = [text for text, server in parsed if server is None or server.address != address]
            removed = len(parsed) - len(kept)
            return _join(kept) if removed else data

        self._update(change)
        return removed

    def _update(self, change: Callable[[bytes], bytes]) -> None:
        def checked(data: bytes) -> bytes:
            after = change(data)
            if after.count(b"\n") > MAX_KNOWN_SERVERS_LINES:
                raise self._too_long("would have")
            return after

        update_private_file(self.path, MAX_KNOWN_SERVERS_BYTES, checked)

    def _too_long(self, has: str) -> UntrustedFile:
        return UntrustedFile(
            self.path, f"{has} more than {MAX_KNOWN_SERVERS_LINES} lines", "remove lines that are not needed"
        )

    def _parse(self, data: bytes) -> list[tuple[bytes, KnownServer | None]]:
        """Return each line with the server that it names; none for a blank line or a comment."""
        lines = data.split(b"\n")
        if lines[-1] == b"":
            del lines[-1]
        if len(lines) > MAX_KNOWN_SERVERS_LINES:
            raise self._too_long("has")
        return [(line, self._parse_line(number, line)) for number, line in enumerate(lines, start=1)]

    def _parse_line(self, number: int, line: bytes) -> KnownServer | None:
        text = line.decode("utf-8", "surrogateescape").rstrip("\r")
        if not text.strip(" \t") or text.lstrip(" \t").startswith("#"):
            return None
        try:
            if _marker_of(line) is not None:
                _key_for(line, ())
                return None
            match = _LINE.fullmatch(text)
            if match is None or "\0" in text:
                raise ValueError("not an address and a fingerprint")
            address = _read_address(match["address"])
            return KnownServer(address, parse_fingerprint(match["fingerprint"]), (match["comment"] or "").rstrip())
        except (ValueError, BadFingerprint):
            raise BadKnownServers(
                self.path,
                f"line {number} is wrong",
                "write HOST:PORT SHA256:... and any words, @cert-authority or @revoked HOSTS TYPE KEY, or remove it",
            ) from None


def _marker_of(line: bytes) -> bytes | None:
    """Return the first word of a line if it begins with ``@``."""
    word = line.split(maxsplit=1)[:1]
    return word[0] if word and word[0].startswith(b"@") else None


def _keys(data: bytes, marker: bytes, host: str, port: int) -> tuple[bytes, ...]:
    """Return the key of each line that has the marker and a pattern for the server.  No line is wrong."""
    if marker not in data:
        return ()
    names = (host, format_address(host, port))
    lines = [line for line in data.split(b"\n") if _marker_of(line) == marker]
    return tuple(key for line in lines if (key := _key_for(line, names)) is not None)


def _key_for(line: bytes, names: Collection[str]) -> bytes | None:
    """Return the key of a line with a marker, if its patterns match one of some names.

    :raises ValueError: the line is wrong.
    """
    try:
        marker, patterns, key_type, encoded, *_ = line.split()
        blob = base64.b64decode(encoded, validate=True)
        if marker not in {_AUTHORITY, _REVOKED} or parse_public_key(blob).key_type.encode("ascii") != key_type:
            raise ValueError("another marker or type")
    except BadKey:
        raise ValueError("no key") from None
    listed = patterns.decode("utf-8", "surrogateescape").lower().split(",")
    matching = [one for one in listed if any(matches(one.removeprefix("!"), name.lower()) for name in names)]
    return None if not matching or any(one.startswith("!") for one in matching) else blob


def format_address(host: str, port: int) -> str:
    """Write the host and the port of a server in the one way in which the file has them.

    :param host: a name or an address, without brackets.
    :param port: a TCP port.
    :returns: a name in small letters, an address in its shortest form; an IPv6 address has brackets.
    """
    try:
        host = str(ipaddress.ip_address(host))
    except ValueError:
        host = host.lower()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _read_address(text: str) -> str:
    """Read an address as a user may write it.

    :raises ValueError: the text is not an address.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or len(text) > MAX_ADDRESS_CHARACTERS or not 1 <= int(match["port"]) <= MAX_PORT:
        raise ValueError("not a host and a port")
    if match["v6"] is not None:
        ipaddress.IPv6Address(match["v6"])
    return format_address(match["v6"] or match["host"], int(match["port"]))


def _join(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)
