"""What this machine does with no remote shell in between."""

from __future__ import annotations

import os
import socket
import ssl
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from twisted_rsh.trust.home import Home
from twisted_rsh.trust.server_key import load_or_create_server_key

__all__ = ["parallel_commands", "sequential_commands", "tls_copy"]

COPY_BYTES = 64 * 1024
"""Bytes of one write of the TLS copy."""


def _run_true() -> None:
    ours: list[int] = []
    theirs: list[int] = []
    for stream in range(3):
        read, write = os.pipe()
        ours.append(write if stream == 0 else read)
        theirs.append(read if stream == 0 else write)
    actions = [(os.POSIX_SPAWN_DUP2, descriptor, stream) for stream, descriptor in enumerate(theirs)]
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "true"], os.environ, file_actions=actions)
    for descriptor in theirs:
        os.close(descriptor)
    for descriptor in ours[1:]:
        while os.read(descriptor, COPY_BYTES):
            pass
    os.waitpid(pid, 0)
    for descriptor in ours:
        os.close(descriptor)


def sequential_commands(count: int) -> float:
    """Run ``sh -c true`` so many times, one after another.

    :returns: commands per second.
    """
    start = time.perf_counter()
    for _ in range(count):
        _run_true()
    return count / (time.perf_counter() - start)


def parallel_commands(count: int, at_once: int) -> float:
    """Run ``sh -c true`` so many times, several at once.

    :returns: commands per second.
    """
    start = time.perf_counter()
    with ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(_run_true) for _ in range(count)]:
            done.result()
    return count / (time.perf_counter() - start)


def tls_copy(total: int, home: Home) -> float:
    """Copy bytes from another Python process over TLS 1.3 on loopback.

    :param total: bytes.
    :param home: a folder for the certificate.
    :returns: MB (10^6 bytes) per second.
    """
    key = load_or_create_server_key(home)
    pem = os.path.join(home.state, "copy.pem")
    with open(pem, "wb", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
        file.write(key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        file.write(key.certificate.public_bytes(Encoding.PEM))
    listener = socket.create_server(("127.0.0.1", 0))
    sender = subprocess.Popen(
        [sys.executable, "-m", "bench.tls_sender", str(listener.getsockname()[1]), str(total), str(COPY_BYTES)]
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(pem)
    with listener, listener.accept()[0] as accepted, context.wrap_socket(accepted, server_side=True) as connection:
        buffer = bytearray(COPY_BYTES)
        connection.sendall(b"g")
        start = time.perf_counter()
        received = 0
        while received < total:
            received += connection.recv_into(buffer)
        seconds = time.perf_counter() - start
    sender.wait()
    return total / seconds / 1e6
