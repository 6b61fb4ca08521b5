"""SFTP's packets, written and read apart from the server: a small client, and a run of the server in memory."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from twisted_rsh.execution.sftp import SYSTEM_SERVERS
from twisted_rsh.files.conversation import BrokenConversation, Conversation

__all__ = [
    "INIT",
    "OWN_SERVER",
    "Client",
    "Packet",
    "answers",
    "attributes",
    "packet",
    "read_packets",
    "system_server",
    "text",
    "u32",
    "u64",
]

SECONDS = 30
"""Seconds that a server has to answer."""

OWN_SERVER = (sys.executable, "-m", "twisted_rsh.files")
"""The command line of the package's own server."""


def system_server() -> tuple[str, ...]:
    """The command line of OpenSSH's server; skip the test without one, or fail it where ``CI`` is set."""
    found = [path for path in SYSTEM_SERVERS if Path(path).exists()]
    if not found and os.environ.get("CI"):
        pytest.fail("sftp-server is not installed, and with CI set no test may be skipped")
    if not found:
        pytest.skip("sftp-server is not installed")
    return (found[0],)


def u32(number: int) -> bytes:
    """A number of four bytes."""
    return struct.pack("!I", number)


def u64(number: int) -> bytes:
    """A number of eight bytes."""
    return struct.pack("!Q", number)


def text(data: bytes | str | Path) -> bytes:
    """A string."""
    data = os.fsencode(data)
    return u32(len(data)) + data


def attributes(
    size: int | None = None,
    owner: tuple[int, int] | None = None,
    mode: int | None = None,
    times: tuple[int, int] | None = None,
) -> bytes:
    """A field of attributes."""
    flags = (size is not None) | (owner is not None) << 1 | (mode is not None) << 2 | (times is not None) << 3
    parts = [u32(flags), b"" if size is None else u64(size), *map(u32, owner or ())]
    return b"".join([*parts, b"" if mode is None else u32(mode), *map(u32, times or ())])


def packet(kind: int, *fields: bytes) -> bytes:
    """A packet; its id, where it has one, is among the fields."""
    body = bytes([kind]) + b"".join(fields)
    return u32(len(body)) + body


INIT = packet(1, u32(3))


class Packet(NamedTuple):
    """A reply: its number, the id, and the fields behind it."""

    kind: int
    id: int
    body: bytes

    @property
    def status(self) -> int:
        """The code of a STATUS; -1 for another reply."""
        return struct.unpack_from("!I", self.body)[0] if self.kind == 101 else -1

    @property
    def texts(self) -> list[bytes]:
        """The strings that the fields are, as those of a HANDLE or of a DATA."""
        found, at = [], 0
        while at < len(self.body):
            size = struct.unpack_from("!I", self.body, at)[0]
            found.append(self.body[at + 4 : at + 4 + size])
            at += 4 + size
        return found

    @property
    def names(self) -> dict[bytes, tuple[bytes, bytes]]:
        """The lines and the attributes of a NAME, by the name; attributes are none, or those that a file has."""
        assert self.kind == 104, self
        found, at = {}, 4
        for _ in range(struct.unpack_from("!I", self.body)[0]):
            both = []
            for _ in range(2):
                size = struct.unpack_from("!I", self.body, at)[0]
                both.append(self.body[at + 4 : at + 4 + size])
                at += 4 + size
            end = at + (32 if self.body[at : at + 4] == u32(15) else 4)
            found[both[0]] = (both[1], self.body[at:end])
            at = end
        assert at == len(self.body)
        return found

    @property
    def numbers(self) -> tuple[int, ...]:
        """Size, user, group, mode and both times of an ATTRS."""
        assert self.kind == 105, self
        flags, *rest = struct.unpack("!IQIIIII", self.body)
        assert flags == 15
        return tuple(rest)


def read_packets(output: bytes) -> list[Packet]:
    """The packets of an output, which must end with one."""
    found, at = [], 0
    while at < len(output):
        size, kind = struct.unpack_from("!IB", output, at)
        assert size <= 256 * 1024
        assert at + 4 + size <= len(output)
        found.append(Packet(kind, struct.unpack_from("!I", output, at + 5)[0], output[at + 9 : at + 4 + size]))
        at += 4 + size
    return found


def answers(data: bytes) -> tuple[list[Packet], str]:
    """What the package's own server makes of an input, in this process: the replies, and why it gave up, if it did."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as target:
        source.write(data)
        source.seek(0)
        problem = ""
        conversation = Conversation(source.fileno(), target.fileno())
        try:
            conversation.run()
        except BrokenConversation as error:
            problem = str(error)
        target.seek(0)
        return read_packets(target.read()), problem


class Client:
    """A client that waits for the reply to each request.

    :param command: the command line of the server.
    :param folder: where relative paths begin, and the home folder.
    :ivar extensions: what the server says it can.
    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        arguments = [*command, str(folder)] if command == OWN_SERVER else list(command)
        self.process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=folder,
            env=os.environ | {"HOME": str(folder)},
        )
        self._count = 0
        self.send(INIT)
        version = self.receive()
        assert (version.kind, version.id) == (2, 3)
        words = version.texts
        self.extensions = dict(zip(words[::2], words[1::2], strict=True))

    def send(self, data: bytes) -> None:
        """Send bytes."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)

    def receive(self) -> Packet:
        """Wait for a reply."""
        size = struct.unpack("!I", self._read(4))[0]
        (found,) = read_packets(u32(size) + self._read(size))
        return found

    def _read(self, size: int) -> bytes:
        assert self.process.stdout is not None
        data = b""
        while len(data) < size:
            piece = self.process.stdout.read(size - len(data))
            assert piece, "the server has ended"
            data += piece
        return data

    def ask(self, kind: int, *fields: bytes) -> Packet:
        """Send a request, and return its reply."""
        self._count += 1
        self.send(packet(kind, u32(self._count), *fields))
        reply = self.receive()
        assert reply.id == self._count
        return reply

    def extended(self, name: str, *fields: bytes) -> Packet:
        """Send a request of an extension, and return its reply."""
        return self.ask(200, text(name), *fields)

    def open(self, path: str | bytes, flags: int = 1, attrs: bytes = u32(0)) -> bytes:
        """Open a file, and return its handle as a field."""
        reply = self.ask(3, text(path), u32(flags), attrs)
        assert reply.kind == 102, reply
        return reply.body

    def finish(self) -> tuple[int, bytes]:
        """End the input; return the exit status and stderr."""
        _, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, errors
