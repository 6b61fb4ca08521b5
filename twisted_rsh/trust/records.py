"""The records of running servers, from which the same user's clients know a server's key without asking."""

from __future__ import annotations

import json
import os

from twisted_rsh.core.values import dataclass
from twisted_rsh.trust.files import FileProblem, ensure_private_folder, read_trusted_file, replace_private_file
from twisted_rsh.trust.fingerprint import format_fingerprint, parse_fingerprint
from twisted_rsh.trust.home import ConfigFolders

__all__ = ["MAX_RECORD_BYTES", "BadRecord", "ServerRecord", "read_record", "remove_record", "write_record"]

MAX_RECORD_BYTES = 16 * 1024
"""Bytes of a record at most: enough for some hundred addresses."""


class BadRecord(FileProblem):
    """A file of the right owner and mode is not a record."""


@dataclass(frozen=True, slots=True)
class ServerRecord:
    """The record of one running server.

    :ivar spki_sha256: the SHA-256 of its public key, for a client to pin.
    :ivar instance_id: names this run of the server; no other run has the same name.
    :ivar pid: its process number.
    :ivar addresses: the addresses that it listens on, for people.
    :ivar socket: the path of the Unix socket at which it lets its own user in; ``None`` without one.
    """

    spki_sha256: bytes
    instance_id: str
    pid: int
    addresses: tuple[str, ...]
    socket: str | None = None


def write_record(config: ConfigFolders, port: int, record: ServerRecord) -> None:
    """Write the record of the server on a port, in place of an earlier one.

    :param config: the user's folders; missing folders are made.
    :param port: the TCP port.  The caller has bound it, so there is one writer at a time.
    :param record: the record; remove it with :func:`remove_record`.
    :raises UntrustedFile: a folder is not safe from other users.
    :raises OSError: the operating system did not allow it.
    """
    path = config.record_path(port)
    ensure_private_folder(os.path.dirname(path))
    document: dict[str, object] = {
        "spki_sha256": format_fingerprint(record.spki_sha256),
        "instance_id": record.instance_id,
        "pid": record.pid,
        "addresses": record.addresses,
    }
    if record.socket is not None:
        document["socket"] = record.socket
    replace_private_file(path, json.dumps(document, indent=1).encode("ascii") + b"\n")


def read_record(config: ConfigFolders, port: int) -> ServerRecord | None:
    """Read the record of the server on a port of this machine.

    :param config: the user's folders.
    :param port: the TCP port.
    :returns: the record, which a killed server may have left; ``None`` if this user has no server on the port.
    :raises UntrustedFile: another user could have written the record.
    :raises BadRecord: the file is not a record.
    :raises OSError: the operating system did not allow it.
    """
    path = config.record_path(port)
    try:
        data = read_trusted_file(path, MAX_RECORD_BYTES)
    except FileNotFoundError:
        return None
    try:
        return _parse(json.loads(data))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise BadRecord(path, "is not the record of a server", "start the server again") from error


def remove_record(config: ConfigFolders, port: int, instance_id: str) -> None:
    """Remove the record that :func:`write_record` wrote, unless another server has replaced it.

    :param config: the user's folders.
    :param port: the TCP port.
    :param instance_id: the run of the server whose record it is.
    :raises OSError: the operating system did not allow it.
    """
    try:
        record = read_record(config, port)
    except FileProblem:
        # Another program wrote this file.
        return
    if record is not None and record.instance_id == instance_id:
        os.unlink(config.record_path(port))


def _parse(document: dict[str, object]) -> ServerRecord:
    spki, instance_id, pid, addresses = (document[key] for key in ("spki_sha256", "instance_id", "pid", "addresses"))
    if not isinstance(spki, str) or not isinstance(instance_id, str) or type(pid) is not int or pid <= 0:
        raise TypeError("a field of another type")
    if not isinstance(addresses, list) or not all(isinstance(address, str) for address in addresses):
        raise TypeError("addresses that are no list of texts")
    socket = document.get("socket")
    if socket is not None and (not isinstance(socket, str) or not os.path.isabs(socket)):
        raise TypeError("a socket that is no absolute path")
    return ServerRecord(parse_fingerprint(spki), instance_id, pid, tuple(addresses), socket)
