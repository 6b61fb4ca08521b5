"""A logged-in client that says whatever an attack wants, over a blocking socket, and reads only when told."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Iterable, Iterator

from OpenSSL import SSL

from bench.surroundings import user_name
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.codec import Decoder, encode, encode_control
from twisted_rsh.core.limits import MAX_UNACKNOWLEDGED, PROOF_BYTES
from twisted_rsh.core.messages import Ack, Auth, AuthOk, Data, Ping, Pong, Positions, Resume, ResumeOk
from twisted_rsh.core.resuming import SECRET_LABEL, ClientProof, LinkBinding, secret_context
from twisted_rsh.core.roles import Phase, Role, Stream
from twisted_rsh.link.tls import ALPN, EXPORTER_BYTES, EXPORTER_LABEL
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import load_or_create_server_key

__all__ = ["RawClient", "Refused", "frame", "memory", "reset_peak"]

ANSWER_SECONDS = 30.0
"""Seconds that a server may take to answer, under an attack on a busy machine."""

READ_BYTES = 128 * 1024
RECORD_BYTES = 16 * 1024


class Refused(Exception):
    """The server has ended the connection."""


def frame(payload: bytes) -> bytes:
    """Put its length in front of a payload."""
    return struct.pack("!I", len(payload)) + payload


class RawClient:
    """One connection, which logs in with the client's key of a folder, or resumes the session of another.

    :param folder: the folder of the keys.
    :param port: the server's TCP port on 127.0.0.1.
    :param lost: the connection whose session to resume; ``None`` to log in.
    :param narrow: let the system hold little of what the server sends, so that the server holds the rest.
    :ivar sequence: the number of the next control message; whoever sends raw payloads counts on.
    :ivar heard: messages that have been read since :meth:`wait_for`, without DATA and PONG.
    """

    def __init__(self, folder: str, port: int, lost: RawClient | None = None, *, narrow: bool = False) -> None:
        self._socket = socket.socket()
        if narrow:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self._socket.settimeout(ANSWER_SECONDS)
        self._socket.connect(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_alpn_protos([ALPN])
        self._tls = SSL.Connection(context, None)
        self._tls.set_connect_state()
        self._buffer = b""
        self._decoder = Decoder(Role.CLIENT, Phase.LOGIN)
        self._controls = 0
        self._acknowledged = 0
        self._received: dict[tuple[int, Stream], int] = {}
        self._pings = 0
        self.sequence = 0
        self.heard: list[Message] = []
        config = ConfigFolders.at(folder)
        self._handshake()
        exporter = self._tls.export_keying_material(EXPORTER_LABEL, EXPORTER_BYTES, b"")
        pin = load_or_create_server_key(config).spki_sha256
        if lost is None:
            self._log_in(config, exporter, pin)
        else:
            self._resume(lost, LinkBinding(exporter, pin))

    def _handshake(self) -> None:
        while True:
            with contextlib.suppress(SSL.WantReadError):
                self._tls.do_handshake()
                self._write_out()
                return
            self._write_out()
            self._read_in()

    def _log_in(self, config: ConfigFolders, exporter: bytes, pin: bytes) -> None:
        key, user = load_or_create_client_key(config), user_name()
        signature = key.sign_login(exporter, pin, user)
        self.send([encode(Auth(user=user, algorithm=key.algorithm, key=key.blob, signature=signature))])
        answer = self._next()
        if not isinstance(answer, AuthOk):
            raise Refused("the login")
        self.session = answer.session
        self._proof = ClientProof(answer.session, self._secret(0))
        self._decoder = Decoder(Role.CLIENT, Phase.SESSION)

    def _resume(self, lost: RawClient, binding: LinkBinding) -> None:
        self.session, self._proof, self.sequence = lost.session, lost._proof, lost.sequence
        self._controls, self._received = lost._controls, lost._received
        channels = sorted({channel for channel, _ in self._received})
        rows = [
            (channel, tuple(self._received.get((channel, stream), 0) for stream in (Stream.STDOUT, Stream.STDERR)))
            for channel in channels
        ]
        claim = self._proof.claim(binding, Positions(self._controls, tuple(rows)))
        assert isinstance(claim, Resume)
        self.send([encode(claim)])
        answer = self._next()
        if not isinstance(answer, ResumeOk):
            raise Refused("the resume")
        self._proof.confirm(claim, answer, binding, self._secret(claim.attempt))
        self._decoder = Decoder(Role.CLIENT, Phase.SESSION)
        self._acknowledged = answer.positions.controls

    def _secret(self, attempt: int) -> bytes:
        return self._tls.export_keying_material(SECRET_LABEL, PROOF_BYTES, secret_context(self.session, attempt))

    # What an attack says.

    def send(self, payloads: Iterable[bytes]) -> None:
        """Send frames in one piece, and read nothing.

        :raises Refused: the server has ended the connection.
        """
        self.send_raw(b"".join(map(frame, payloads)))

    def send_raw(self, data: bytes) -> None:
        """Send bytes in one piece."""
        try:
            for start in range(0, len(data), RECORD_BYTES):
                self._tls.send(data[start : start + RECORD_BYTES])
        except SSL.Error as error:
            raise Refused("the server ended TLS") from error
        self._write_out()

    def say(self, *messages: Message) -> None:
        """Send messages, with the next numbers, and read what the bound on unacknowledged ones makes necessary."""
        for message in messages:
            if not message.declaration.sequenced:
                self.send([encode(message)])
                continue
            for payload in encode_control(message, self.sequence):
                if self.sequence - self._acknowledged > MAX_UNACKNOWLEDGED // 2:
                    self.wait_acknowledged()
                self.send([payload])
                self.sequence += 1

    def send_control(self, message: Message) -> None:
        """Send a control message of one frame, and read nothing."""
        self.send(encode_control(message, self.sequence))
        self.sequence += 1

    def wait_acknowledged(self) -> None:
        """Read until few control messages are under way."""
        while self.sequence - self._acknowledged > MAX_UNACKNOWLEDGED // 4:
            self._next()

    def ping(self) -> float:
        """Ask for a sign of life; return the seconds until it comes."""
        began = time.perf_counter()
        self.send([encode(Ping(self._pings))])
        self._pings += 1
        while not isinstance(self._next(), Pong):
            pass
        return time.perf_counter() - began

    def wait_for(self, kind: type[Message], count: int = 1) -> list[Message]:
        """Read until so many messages of a kind have come since the last call, and return them."""
        while sum(isinstance(message, kind) for message in self.heard) < count:
            self._next()
        found = [message for message in self.heard if isinstance(message, kind)]
        self.heard.clear()
        return found

    def read_available(self, seconds: float) -> None:
        """Read what comes within a time."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and select.select([self._socket], [], [], 0.01)[0]:
            for _ in self._frames():
                pass
            self._read_in()

    def kill(self) -> None:
        """Drop the connection without a word, as a client does that is killed."""
        with contextlib.suppress(OSError):
            # SO_LINGER of 0: the system resets the connection.
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    # Reading.

    def _next(self) -> Message:
        while True:
            for message in self._frames():
                return message
            self._read_in()

    def _frames(self) -> Iterator[Message]:
        try:
            with contextlib.suppress(SSL.WantReadError):
                while True:
                    self._buffer += self._tls.recv(READ_BYTES)
        except SSL.Error as error:
            raise Refused("the server ended TLS") from error
        while len(self._buffer) >= 4:
            (size,) = struct.unpack_from("!I", self._buffer)
            if len(self._buffer) < 4 + size:
                return
            payload, self._buffer = self._buffer[4 : 4 + size], self._buffer[4 + size :]
            yield self._take(payload)

    def _take(self, payload: bytes) -> Message:
        sequence, message = self._decoder.decode(payload)
        if sequence is not None:
            self._controls += 1
            if self._controls % 16 == 0:
                self.send([encode(Ack(self._controls))])
        if not isinstance(message, (Data, Pong)):
            self.heard.append(message)
        if isinstance(message, Ack):
            self._acknowledged = message.count
        elif isinstance(message, Data):
            key = (message.channel, message.stream)
            self._received[key] = message.offset + len(message.data)
        return message

    def _read_in(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except OSError as error:
            raise Refused(str(error)) from error
        if not data:
            raise Refused("the server closed the connection")
        self._tls.bio_write(data)

    def _write_out(self) -> None:
        with contextlib.suppress(SSL.WantReadError):
            while True:
                data = self._tls.bio_read(READ_BYTES)
                try:
                    self._socket.sendall(data)
                except OSError as error:
                    raise Refused(str(error)) from error


def memory(pid: int, field: str) -> float:
    """Return a line of ``/proc/PID/status`` in MiB, such as ``VmRSS`` or ``VmHWM``."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        for line in file:
            if line.startswith(f"{field}:"):
                return int(line.split()[1]) / 1024
    raise LookupError(field)


def reset_peak(pid: int) -> None:
    """Let ``VmHWM`` count from now on."""
    with contextlib.suppress(OSError), open(os.path.join("/proc", str(pid), "clear_refs"), "w") as file:
        file.write("5")
