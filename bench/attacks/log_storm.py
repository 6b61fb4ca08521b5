"""``python -m bench.attacks.log_storm [--quick]``: strangers that make a server write to its log.

Attacked: the server's log, on loopback, by every kind of stranger one after another, as fast as one process can: it
says nothing, garbage, half a TLS greeting, or too much; it does the handshake and leaves; it logs in with a wrong key.
The server's file of keys has a line that is none, and then others may write it, so that each login has something to
warn about.  Promised: in all, no more lines than the limit of each kind allows for the time.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import os
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from OpenSSL import SSL

from bench.servers.starting import OURS, Site, running
from bench.surroundings import clean_up_when_ended, prepare, user_name
from twisted_rsh.core.codec import encode
from twisted_rsh.core.limits import MAX_AUTH_ATTEMPTS
from twisted_rsh.core.messages import Auth
from twisted_rsh.limited_log import LINES_A_MINUTE
from twisted_rsh.link.tls import ALPN, EXPORTER_BYTES, EXPORTER_LABEL
from twisted_rsh.trust.client_key import ClientKey
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import load_or_create_server_key
from twisted_rsh.trust.ssh_keys import parse_public_key

__all__ = ["main"]

SECONDS = 10.0
"""Seconds of each kind of stranger, as many as the 5,172 lines took that this limit is about."""

QUICK_SECONDS = 0.5

KINDS_OF_LINES = 5
"""Kinds of lines that these strangers cause: turned away, aborted, login refused, and one for each file of keys."""

REFUSAL_BYTES = 5
"""Bytes of the frame that refuses a login."""

PATIENCE = 5.0
"""Seconds to wait for the server's next byte."""


class _Stranger:
    """One connection that is no client's.

    :param port: the server's.
    """

    def __init__(self, port: int) -> None:
        self.raw = socket.create_connection(("127.0.0.1", port), PATIENCE)
        self.raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def say(self, data: bytes) -> None:
        """Send, if the server still listens."""
        with contextlib.suppress(OSError):
            self.raw.sendall(data)

    def handshake(self, alpn: Sequence[bytes] = (ALPN,)) -> SSL.Connection | None:
        """Do the TLS handshake; ``None`` if the server does not."""
        context = SSL.Context(SSL.TLS_METHOD)
        if alpn:
            context.set_alpn_protos(list(alpn))
        connection = SSL.Connection(context, None)
        connection.set_connect_state()
        while True:
            try:
                connection.do_handshake()
            except SSL.WantReadError:  # noqa: PERF203 - each step may need the server
                self.say(connection.bio_read(65536))
                if not self._hear(connection):
                    return None
            except SSL.Error:
                return None
            else:
                self.say(connection.bio_read(65536))
                return connection

    def log_in(self, pin: bytes, key: ClientKey) -> None:
        """Try to log in as often as one connection may."""
        connection = self.handshake()
        if connection is None:
            return
        binding = connection.export_keying_material(EXPORTER_LABEL, EXPORTER_BYTES, b"")
        user = user_name()
        claim = Auth(user=user, algorithm=key.algorithm, key=key.blob, signature=key.sign_login(binding, pin, user))
        payload = encode(claim)
        for _ in range(MAX_AUTH_ATTEMPTS):
            connection.send(len(payload).to_bytes(4, "big") + payload)
            self.say(connection.bio_read(65536))
            heard = b""
            while len(heard) < REFUSAL_BYTES:
                if not self._hear(connection):
                    return
                with contextlib.suppress(SSL.WantReadError):
                    heard += connection.recv(REFUSAL_BYTES)

    def _hear(self, connection: SSL.Connection) -> bool:
        try:
            data = self.raw.recv(65536)
        except OSError:
            return False
        connection.bio_write(data)
        return bool(data)


def _wrong_key() -> ClientKey:
    private = Ed25519PrivateKey.generate()
    raw = private.public_key().public_bytes_raw()
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (b"ssh-ed25519", raw))
    return ClientKey(parse_public_key(blob), private)


def _lines(folder: str) -> list[str]:
    (log,) = glob.glob(os.path.join(folder, "server-*.log"))
    return Path(log).read_text(encoding="utf-8", errors="replace").splitlines()


def _storm(act: Callable[[_Stranger], object], port: int, seconds: float) -> int:
    """Send strangers one after another; return how many."""
    count = 0
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        stranger = _Stranger(port)
        with stranger.raw, contextlib.suppress(OSError, SSL.Error):
            act(stranger)
        count += 1
    return count


def _attack(folder: str, seconds: float) -> bool:
    """Let every kind come, and tell what the server wrote; return whether the promise was kept."""
    config = ConfigFolders.at(folder)
    pin = load_or_create_server_key(config).spki_sha256
    key = _wrong_key()
    keys = Path(config.authorized_keys_path)
    keys.write_text("restrict ssh-ed25519 AAAA\n", encoding="ascii")
    keys.chmod(0o600)
    kinds: dict[str, Callable[[_Stranger], object]] = {
        "says nothing": lambda _stranger: None,
        "garbage": lambda stranger: stranger.say(b"GET / HTTP/1.1\r\n\r\n"),
        "half a greeting": lambda stranger: stranger.say(bytes.fromhex("16 0301 0100 01")),
        "too much": lambda stranger: stranger.say(bytes.fromhex("16 0301 4000") * 20_000),
        "no ALPN": lambda stranger: stranger.handshake(()),
        "no login": lambda stranger: stranger.handshake(),
        "wrong key, a line that is none": lambda stranger: stranger.log_in(pin, key),
        "wrong key, an unsafe file": lambda stranger: stranger.log_in(pin, key),
    }
    shell = "/bin/sh"
    with running(OURS, Site(folder=folder, shell=shell)) as (_, port):
        began = time.monotonic()
        before = len(_lines(folder))
        for name, act in kinds.items():
            if name.endswith("unsafe file"):
                keys.chmod(0o666)
            written = len(_lines(folder))
            count = _storm(act, port, seconds)
            print(f"{name}: {count} strangers in {seconds:g} s: {len(_lines(folder)) - written} lines")
        minutes = int((time.monotonic() - began) // 60) + 1
        lines = _lines(folder)[before:]
    # Each minute of each kind may also announce and count what it leaves out.
    bound = KINDS_OF_LINES * (LINES_A_MINUTE + 2) * minutes
    print(f"all strangers: {len(lines)} lines, promised at most {bound}")
    print(f"all strangers: {Counter('Traceback' in line for line in lines)[True]} tracebacks, promised 0")
    return len(lines) <= bound and not any("Traceback" in line for line in lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Attack and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :raises SystemExit: with status 1 when the promise was broken.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.attacks.log_storm", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="half a second of each kind")
    seconds = QUICK_SECONDS if parser.parse_args(arguments).quick else SECONDS
    clean_up_when_ended()
    with tempfile.TemporaryDirectory(prefix="rshbench-") as folder:
        prepare(folder)
        if not _attack(folder, seconds):
            raise SystemExit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
