"""A client's packets from its first to its last: reads requests, has them done, writes the replies."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from typing import Any

from twisted_rsh.files.extensions import MAX_PACKET_BYTES, Extensions
from twisted_rsh.files.handles import Handles
from twisted_rsh.files.requests import Requests
from twisted_rsh.files.wire import (
    Fields,
    MalformedPacket,
    Refusal,
    Reply,
    ReplyType,
    RequestType,
    Status,
    refusal_of,
    text,
)

__all__ = ["VERSION", "BrokenConversation", "Conversation"]

VERSION = 3
"""The version of the protocol."""

_FLUSH_BYTES = 64 * 1024
"""Bytes of replies that wait at most while more requests have arrived already: as much as a pipe takes at once."""

_LENGTH_BYTES = 4
_HEADER = struct.Struct("!IB4s")


class BrokenConversation(Exception):
    """The client sent what can have no answer; ``str()`` is one line that says what."""


class Conversation:
    """Serves one client.

    Memory is bounded: a buffer for one packet, and replies of :data:`_FLUSH_BYTES` and one more.

    :param source: the descriptor to read from; it blocks.
    :param target: the descriptor to write to; it blocks.
    """

    def __init__(self, source: int, target: int) -> None:
        self._target = target
        self._packets = _Packets(source)
        self._replies = bytearray()
        self._handles = Handles()
        self._requests = _request_table(Requests(self._handles))
        self._extensions = _extension_table(Extensions(self._handles))

    def run(self) -> None:
        """Answer requests until the input ends, and close all that is open then.

        :raises BrokenConversation: there is no way to answer; all requests before are answered.
        :raises OSError: the client cannot be read or written.
        """
        try:
            self._converse()
        except BrokenConversation:
            self._flush()
            raise
        finally:
            self._handles.close_all()

    def _converse(self) -> None:
        packet = self._next_packet()
        if packet is None:
            return
        self._begin(packet)
        while (packet := self._next_packet()) is not None:
            self._answer(packet)

    def _next_packet(self) -> memoryview | None:
        """Return the next packet after its length; ``None`` at the end of the input."""
        while (packet := self._packets.take()) is None:
            self._flush()  # before it waits: the client may wait for them
            if not self._packets.fill():
                return None
        if len(self._replies) >= _FLUSH_BYTES:
            self._flush()
        return packet

    def _begin(self, packet: memoryview) -> None:
        fields = Fields(packet)
        try:
            is_known = fields.u8() == RequestType.INIT and fields.u32() >= VERSION
            while is_known and not fields.is_finished:
                fields.data()
                fields.data()
        except MalformedPacket:
            is_known = False
        if not is_known:
            raise BrokenConversation(f"the input does not begin with an INIT of version {VERSION}")
        names = b"".join(text(name) + text(version) for name, (version, _, _) in self._extensions.items())
        body = VERSION.to_bytes(4, "big") + names
        self._replies += struct.pack("!IB", 1 + len(body), ReplyType.VERSION) + body

    def _answer(self, packet: memoryview) -> None:
        fields = Fields(packet)
        try:
            kind, request_id = fields.u8(), bytes(fields.data(4))
        except MalformedPacket:
            raise BrokenConversation("a packet has no id") from None
        if kind == RequestType.INIT:
            raise BrokenConversation("a second INIT")
        try:
            reply = self._do(kind, fields)
        except Refusal as refusal:
            reply = _status_reply(refusal)
        except MalformedPacket as error:
            reply = _status_reply(Refusal(Status.BAD_MESSAGE, str(error)))
        except OSError as error:
            reply = _status_reply(refusal_of(error))
        self._replies += _HEADER.pack(5 + len(reply.body), reply.type, request_id)
        self._replies += reply.body

    def _do(self, kind: int, fields: Fields) -> Reply:
        if kind == RequestType.EXTENDED:
            _, operation, readers = self._extensions.get(fields.text(), _UNKNOWN_EXTENSION)
        else:
            operation, readers = self._requests.get(kind, _UNKNOWN)
        if operation is None:
            raise Refusal(Status.OP_UNSUPPORTED, "unknown request")
        arguments = [read(fields) for read in readers]
        if not fields.is_finished:
            raise MalformedPacket("bytes after the last field")
        return operation(*arguments) or _DONE

    def _flush(self) -> None:
        with memoryview(self._replies) as left:
            written = 0
            while written < len(left):
                written += os.write(self._target, left[written:])
        self._replies.clear()


class _Packets:
    """Cuts the input into packets, in a buffer that holds the largest.

    :param source: the descriptor to read from.
    """

    def __init__(self, source: int) -> None:
        self._source = source
        self._buffer = memoryview(bytearray(_LENGTH_BYTES + MAX_PACKET_BYTES))
        self._start = self._end = 0

    def take(self) -> memoryview | None:
        """Return a packet after its length, valid until `fill`; ``None`` if none is complete.

        :raises BrokenConversation: the packet is empty or longer than :data:`MAX_PACKET_BYTES`.
        """
        start = self._start + _LENGTH_BYTES
        if start > self._end:
            return None
        size = int.from_bytes(self._buffer[self._start : start], "big")
        if not 1 <= size <= MAX_PACKET_BYTES:
            raise BrokenConversation(f"a packet of {size} bytes; from 1 to {MAX_PACKET_BYTES} are allowed")
        if start + size > self._end:
            return None
        self._start = start + size
        return self._buffer[start : self._start]

    def fill(self) -> bool:
        """Wait for more input, when `take` has returned ``None``.

        :returns: whether there is more; ``False`` at the end of the input.
        :raises BrokenConversation: the input ended within a packet.
        """
        left = self._end - self._start
        self._buffer[:left] = self._buffer[self._start : self._end]
        self._start, self._end = 0, left
        count = os.readv(self._source, [self._buffer[left:]])
        self._end += count
        if left and not count:
            raise BrokenConversation("the input ended within a packet")
        return count > 0


_Reader = Callable[[Fields], Any]
_Operation = Callable[..., Reply | None]
_DONE = Reply(ReplyType.STATUS, bytes(4) + text(b"") + text(b""))
_UNKNOWN: tuple[_Operation | None, tuple[_Reader, ...]] = (None, ())
_UNKNOWN_EXTENSION: tuple[bytes, _Operation | None, tuple[_Reader, ...]] = (b"", None, ())


def _status_reply(refusal: Refusal) -> Reply:
    message = str(refusal).encode("utf-8", "replace")
    return Reply(ReplyType.STATUS, refusal.status.to_bytes(4, "big") + text(message) + text(b""))


def _request_table(does: Requests) -> dict[int, tuple[_Operation | None, tuple[_Reader, ...]]]:
    """List the requests: what does each, and how its fields are read."""
    u32, u64, string, path, attributes = Fields.u32, Fields.u64, Fields.text, Fields.path, Fields.attributes
    return {
        RequestType.OPEN: (does.open, (path, u32, attributes)),
        RequestType.CLOSE: (does.close, (string,)),
        RequestType.READ: (does.read, (string, u64, u32)),
        RequestType.WRITE: (does.write, (string, u64, Fields.data)),
        RequestType.LSTAT: (does.lstat, (path,)),
        RequestType.FSTAT: (does.fstat, (string,)),
        RequestType.SETSTAT: (does.setstat, (path, attributes)),
        RequestType.FSETSTAT: (does.fsetstat, (string, attributes)),
        RequestType.OPENDIR: (does.opendir, (path,)),
        RequestType.READDIR: (does.readdir, (string,)),
        RequestType.REMOVE: (does.remove, (path,)),
        RequestType.MKDIR: (does.mkdir, (path, attributes)),
        RequestType.RMDIR: (does.rmdir, (path,)),
        RequestType.REALPATH: (does.realpath, (path,)),
        RequestType.STAT: (does.stat, (path,)),
        RequestType.RENAME: (does.rename, (path, path)),
        RequestType.READLINK: (does.readlink, (path,)),
        RequestType.SYMLINK: (does.symlink, (Fields.target, path)),
    }


def _extension_table(does: Extensions) -> dict[bytes, tuple[bytes, _Operation | None, tuple[_Reader, ...]]]:
    """List the extensions: the version that VERSION names, what does each, and how its fields are read."""
    u64, string, path, attributes = Fields.u64, Fields.text, Fields.path, Fields.attributes
    return {
        b"posix-rename@openssh.com": (b"1", does.posix_rename, (path, path)),
        b"statvfs@openssh.com": (b"2", does.statvfs, (path,)),
        b"fstatvfs@openssh.com": (b"2", does.fstatvfs, (string,)),
        b"hardlink@openssh.com": (b"1", does.hardlink, (path, path)),
        b"fsync@openssh.com": (b"1", does.fsync, (string,)),
        b"lsetstat@openssh.com": (b"1", does.lsetstat, (path, attributes)),
        b"limits@openssh.com": (b"1", does.limits, ()),
        b"expand-path@openssh.com": (b"1", does.expand_path, (path,)),
        b"copy-data": (b"1", does.copy_data, (string, u64, u64, string, u64)),
        b"home-directory": (b"1", does.home_directory, (string,)),
        b"users-groups-by-id@openssh.com": (b"1", does.users_groups_by_id, (Fields.numbers, Fields.numbers)),
    }
