"""``twisted-rsh invite`` and ``twisted-rsh enroll-key``: let a client's key in, and tell the client the server's key.

``invite`` prints a line for ``trshctl enroll``.  ``trshctl enroll --ssh`` runs ``enroll-key`` on the server's machine.
"""

from __future__ import annotations

import ipaddress
import json
import os
import pwd
import re
import socket
from dataclasses import dataclass
from typing import Any, BinaryIO

from twisted_rsh.core.roles import DEFAULT_PORT, MAX_PORT
from twisted_rsh.server.control import Invite, NoInvitations
from twisted_rsh.server.control_client import Problem, answer_of, config_folders, connect_to_control, control_ports
from twisted_rsh.server.invitations import DEFAULT_INVITATION_SECONDS, MAX_INVITATION_SECONDS, TooManyInvitations
from twisted_rsh.trust.authorized_keys import add_authorized_key
from twisted_rsh.trust.files import today
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.invitation import Invitation
from twisted_rsh.trust.records import ServerRecord, read_record
from twisted_rsh.trust.server_key import load_or_create_server_key
from twisted_rsh.trust.ssh_keys import BadKey, parse_public_key, parse_public_line

__all__ = ["InviteOptions", "KeyOptions", "enroll_key", "invite", "parse_duration", "parse_place"]

MAX_LINE_BYTES = 16 * 1024
"""Bytes of a public key's line at most: many times as many as the longest key takes."""

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, slots=True, kw_only=True)
class InviteOptions:
    """The options of ``twisted-rsh invite``.

    :ivar config_dir: the folder of the keys and records, or ``None`` for the XDG folders.
    :ivar seconds: how long the invitation lasts.
    :ivar port: the port of the server; ``None`` where the account has one server only.
    :ivar host: the name or the address that the client dials; ``None`` for that which the server listens on.
    :ivar shown_port: the port that the client dials; ``None`` for the server's own.
    """

    config_dir: str | None = None
    seconds: int = DEFAULT_INVITATION_SECONDS
    port: int | None = None
    host: str | None = None
    shown_port: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyOptions:
    """The options of ``twisted-rsh enroll-key``.

    :ivar config_dir: the folder of the keys and records, or ``None`` for the XDG folders.
    """

    config_dir: str | None = None


def parse_duration(text: str) -> int:
    """Read a duration: ``600``, ``90s``, ``10m``, ``2h``.

    :returns: seconds.
    :raises Problem: the text is not a duration, or an invitation may not last so long.
    """
    match = re.fullmatch(r"([0-9]{1,6})([smh]?)", text, re.ASCII)
    seconds = int(match[1]) * _UNITS[match[2]] if match else 0
    if not 1 <= seconds <= MAX_INVITATION_SECONDS:
        raise Problem(f"{text!a} is no time from 1s to {MAX_INVITATION_SECONDS // 3600}h; write 90s, 10m or 2h")
    return seconds


def parse_place(text: str) -> tuple[str, int | None]:
    """Read where a client reaches the server: ``HOST``, ``HOST:PORT``, ``::1``, ``[::1]:PORT``.

    :returns: the name or the address, and the port, or ``None``.
    :raises Problem: the text is not such a place.
    """
    match = re.fullmatch(
        r"(?:\[([0-9A-Fa-f:.]+)\]|([^:@\[\]\s]+)|([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*))(?::([0-9]{1,5}))?", text
    )
    port = int(match[4]) if match and match[4] else None
    if match is None or (port is not None and not 1 <= port <= MAX_PORT):
        raise Problem(f"{text!a} is no host; write HOST, HOST:PORT or [IPV6]:PORT")
    return match[1] or match[2] or match[3], port


async def invite(reactor: Any, options: InviteOptions) -> str:
    """Have a running server make an invitation.

    :param reactor: the reactor.
    :param options: the options.
    :returns: its line, with a line feed.
    :raises Problem: no server runs, several do, or the server makes no invitation, or does not answer.
    """
    config = config_folders(options.config_dir)
    port, server = await _find_server(reactor, config, options.port)
    try:
        answer = await answer_of(reactor, server, server.callRemote(Invite, seconds=float(options.seconds)))
        record = read_record(config, port)
    except (TooManyInvitations, NoInvitations) as error:
        raise Problem(str(error)) from None
    finally:
        server.transport.loseConnection()
    if record is None:
        raise Problem(f"the server on port {port} has no record; start it again")
    host = options.host or _address_of(record)
    return Invitation(_account(), host, options.shown_port or port, record.spki_sha256, answer["secret"]).line + "\n"


async def _find_server(reactor: Any, config: ConfigFolders, port: int | None) -> tuple[int, Any]:
    found: dict[int, Any] = {}
    for number in filter(None, control_ports(config)):  # an invitation names a port
        if port in (None, number) and (server := await connect_to_control(reactor, config, number)) is not None:
            found[number] = server
    if len(found) == 1:
        return found.popitem()
    for server in found.values():
        server.transport.loseConnection()
    if found:
        raise Problem(f"servers run on the ports {', '.join(map(str, sorted(found)))}; name one with --port")
    where = "" if port is None else f" on port {port}"
    raise Problem(f"no server of this account runs{where}; start one with: twistd rsh --port {port or DEFAULT_PORT}")


def _address_of(record: ServerRecord) -> str:
    """Choose the address that a client on another machine reaches, if there is any."""
    addresses = [ipaddress.ip_address(text.partition("%")[0]) for text in record.addresses if text]
    for address in addresses:
        if not address.is_loopback and not address.is_unspecified:
            return str(address)
    if any(address.is_unspecified for address in addresses):
        return socket.gethostname()
    return str(addresses[0]) if addresses else socket.gethostname()


def _account() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return os.environ.get("USER", "") or str(os.geteuid())


def enroll_key(options: KeyOptions, stdin: BinaryIO) -> str:
    """Let a key log in from now on.

    :param options: the options.
    :param stdin: the public key, a line as OpenSSH writes it.
    :returns: a line for ``trshctl``: JSON with the fingerprint of the server's key, the account, and the ports of its
        servers.
    :raises Problem: there is no such line, or a file cannot be written.
    :raises twisted_rsh.trust.files.FileProblem: a file is not safe from other users.
    """
    config = config_folders(options.config_dir)
    data = stdin.read(MAX_LINE_BYTES + 1)
    # A line with options is refused: without them the key could do more than its line says.
    blobs = {parse_public_line(line) for line in data.split(b"\n") if line.strip()}
    blob = blobs.pop() if len(blobs) == 1 and len(data) <= MAX_LINE_BYTES else None
    if blob is None:
        raise Problem("stdin is not the line of one public key; give it a file such as id_ed25519.pub")
    client = os.environ.get("SSH_CONNECTION", "").partition(" ")[0]
    try:
        parse_public_key(blob)
        fingerprint = load_or_create_server_key(config).fingerprint
        add_authorized_key(config, blob, f"enrolled {today()}{f' from {client}' if client else ''}")
    except BadKey as error:
        raise Problem(f"the public key cannot be used: {error}") from None
    except OSError as error:
        raise Problem(f"{error.filename}: {error.strerror}") from None
    ports = [port for port in control_ports(config) if port]
    return json.dumps({"fingerprint": fingerprint, "user": _account(), "ports": ports}) + "\n"
