"""The forms of SFTP's packets: numbers, the fields of requests, read strictly, and the bodies of replies."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "Attributes",
    "Fields",
    "MalformedPacket",
    "OpenFlag",
    "Refusal",
    "Reply",
    "ReplyType",
    "RequestType",
    "Status",
    "attributes_of",
    "name_reply",
    "refusal_of",
    "text",
]

_U32 = struct.Struct("!I")
_U64 = struct.Struct("!Q")
_ATTRIBUTES = struct.Struct("!IQIIIII")
_SIZE, _OWNER, _MODE, _TIMES, _EXTENDED = 1, 2, 4, 8, 0x80000000
_KNOWN_ATTRIBUTES = _SIZE | _OWNER | _MODE | _TIMES | _EXTENDED


class RequestType(IntEnum):
    """The numbers of a client's packets."""

    INIT = 1
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    FSTAT = 8
    SETSTAT = 9
    FSETSTAT = 10
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    REALPATH = 16
    STAT = 17
    RENAME = 18
    READLINK = 19
    SYMLINK = 20
    EXTENDED = 200


class ReplyType(IntEnum):
    """The numbers of the server's packets."""

    VERSION = 2
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED_REPLY = 201


class Status(IntEnum):
    """The codes of a STATUS."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    BAD_MESSAGE = 5
    OP_UNSUPPORTED = 8


class OpenFlag(IntEnum):
    """The bits of OPEN that say how to open a file."""

    READ = 1
    WRITE = 2
    APPEND = 4
    CREATE = 8
    TRUNCATE = 16
    EXCLUSIVE = 32


class MalformedPacket(Exception):
    """A packet whose fields do not fill it exactly, or have no meaning."""


class Refusal(Exception):
    """A request that was not done; the client gets the status.

    :param status: the code.
    :param text: one line for people.
    """

    def __init__(self, status: Status, text: str) -> None:
        super().__init__(text)
        self.status = status


_STATUS_BY_ERRNO = {
    errno.ENOENT: Status.NO_SUCH_FILE,
    errno.ENOTDIR: Status.NO_SUCH_FILE,
    errno.ELOOP: Status.NO_SUCH_FILE,
    errno.EACCES: Status.PERMISSION_DENIED,
    errno.EPERM: Status.PERMISSION_DENIED,
    errno.EINVAL: Status.BAD_MESSAGE,
    errno.ENAMETOOLONG: Status.BAD_MESSAGE,
    errno.ENOSYS: Status.OP_UNSUPPORTED,
}


def refusal_of(error: OSError) -> Refusal:
    """Return what the client is told of an error of the system."""
    status = _STATUS_BY_ERRNO.get(error.errno or 0, Status.FAILURE)
    return Refusal(status, os.strerror(error.errno) if error.errno else str(error))


class Reply(NamedTuple):
    """The answer to a request: a packet without its length and without the request's id.

    :ivar type: what it is.
    :ivar body: all fields after the id.
    """

    type: ReplyType
    body: bytes


@dataclass(frozen=True, slots=True)
class Attributes:
    """The attributes that a client sets; ``None`` for one that it leaves alone.

    :ivar size: bytes of the file.
    :ivar owner: the numbers of its user and its group.
    :ivar mode: its permission bits.
    :ivar times: seconds of its last access and its last change.
    """

    size: int | None = None
    owner: tuple[int, int] | None = None
    mode: int | None = None
    times: tuple[int, int] | None = None


class Fields:
    """Reads the fields of one packet, one after another.

    :param packet: the packet's bytes after its length; what is read from it stays valid as long as they do.
    """

    __slots__ = ("_at", "_packet")

    def __init__(self, packet: memoryview) -> None:
        self._packet = packet
        self._at = 0

    def data(self, size: int | None = None) -> memoryview:
        """Read bytes.

        :param size: how many; ``None`` if their number stands before them.
        :raises MalformedPacket: the packet is shorter.
        """
        if size is None:
            size = self.u32()
        start, end = self._at, self._at + size
        if end > len(self._packet):
            raise MalformedPacket("a field is longer than its packet")
        self._at = end
        return self._packet[start:end]

    def u8(self) -> int:
        """Read one byte as a number.

        :raises MalformedPacket: the packet is shorter.
        """
        return self.data(1)[0]

    def u32(self) -> int:
        """Read a number of four bytes.

        :raises MalformedPacket: the packet is shorter.
        """
        return int.from_bytes(self.data(4), "big")

    def u64(self) -> int:
        """Read a number of eight bytes.

        :raises MalformedPacket: the packet is shorter.
        """
        return int.from_bytes(self.data(8), "big")

    def text(self) -> bytes:
        """Read a string of bytes.

        :raises MalformedPacket: the packet is shorter.
        """
        return bytes(self.data())

    def path(self) -> bytes:
        """Read a path; an empty one is the current folder.

        :raises MalformedPacket: the packet is shorter, or the path has a NUL, which no path can have.
        """
        return self.target() or b"."

    def target(self) -> bytes:
        """Read what a symbolic link leads to, which the system refuses if it is empty.

        :raises MalformedPacket: as for `path`.
        """
        path = self.text()
        if b"\0" in path:
            raise MalformedPacket("a path has a NUL")
        return path

    def attributes(self) -> Attributes:
        """Read attributes; extended ones, of which none is known, are skipped.

        :raises MalformedPacket: the packet is shorter, or a bit is set whose field has no known length.
        """
        flags = self.u32()
        if flags & ~_KNOWN_ATTRIBUTES:
            raise MalformedPacket("unknown attributes")
        found = Attributes(
            size=self.u64() if flags & _SIZE else None,
            owner=(self.u32(), self.u32()) if flags & _OWNER else None,
            mode=self.u32() & 0o7777 if flags & _MODE else None,
            times=(self.u32(), self.u32()) if flags & _TIMES else None,
        )
        if flags & _EXTENDED:
            for _ in range(2 * self.u32()):  # each takes four bytes, so the packet bounds the loop
                self.data()
        return found

    def numbers(self) -> tuple[int, ...]:
        """Read a string that holds numbers of four bytes.

        :raises MalformedPacket: the packet is shorter, or the string has a part of a number.
        """
        data = self.data()
        if len(data) % _U32.size:
            raise MalformedPacket("a list of numbers has a part of one")
        return struct.unpack(f"!{len(data) // _U32.size}I", data)

    @property
    def is_finished(self) -> bool:
        """Whether all bytes of the packet were read."""
        return self._at == len(self._packet)


def text(data: bytes) -> bytes:
    """Return a string as a field: its length and its bytes."""
    return _U32.pack(len(data)) + data


def attributes_of(status: os.stat_result) -> bytes:
    """Return what the system knows of a file as a field of attributes; the times are cut to 32 bits."""
    return _ATTRIBUTES.pack(
        _SIZE | _OWNER | _MODE | _TIMES,
        status.st_size,
        status.st_uid,
        status.st_gid,
        status.st_mode,
        int(status.st_atime) & 0xFFFFFFFF,
        int(status.st_mtime) & 0xFFFFFFFF,
    )


def name_reply(names: Sequence[tuple[bytes, bytes, bytes]]) -> Reply:
    """Return a NAME.

    :param names: a name, its line for people and its field of attributes, each.
    """
    fields = [text(name) + text(line) + attributes for name, line, attributes in names]
    return Reply(ReplyType.NAME, _U32.pack(len(names)) + b"".join(fields))
