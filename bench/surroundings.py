"""The temporary folder of a run: the keys of every server and client, and the environment of every process.

Each key is of the fastest kind that its protocol knows, and used by this run alone.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import load_or_create_server_key

__all__ = [
    "AES_GCM",
    "ROOT",
    "authorized_keys_path",
    "certificate_path",
    "clean_up_when_ended",
    "client_key_path",
    "environment",
    "host_key_path",
    "known_hosts_path",
    "login_shell",
    "prepare",
    "running_proxy",
    "server_fingerprint",
    "user_name",
]

ROOT = str(Path(__file__).parent.parent)
"""The source tree that is measured."""

PROXY_END_SECONDS = 10.0
"""Seconds that the process of a proxy has to end."""

AES_GCM = "aes128-gcm@openssh.com"
"""The fastest cipher of OpenSSH where the processor has AES instructions (RFC 5647)."""


def prepare(folder: str) -> None:
    """Make every key that a run needs, and the files that name them.

    :param folder: an empty folder of this run's own.
    """
    host_line = _make_ssh_key(host_key_path(folder))
    client_line = _make_ssh_key(client_key_path(folder))
    _write(authorized_keys_path(folder), client_line)
    # One key for all servers: a pattern instead of the ports, which are not known yet.
    _write(known_hosts_path(folder), b"* " + host_line)
    server_key = load_or_create_server_key(ConfigFolders.at(folder))
    pem = server_key.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write(certificate_path(folder), pem + server_key.certificate.public_bytes(Encoding.PEM))


def host_key_path(folder: str) -> str:
    """Name the private key of the SSH servers."""
    return os.path.join(folder, "ssh_host")


def client_key_path(folder: str) -> str:
    """Name the private key of the SSH clients; the public one is beside it, with ``.pub``."""
    return os.path.join(folder, "ssh_client")


def authorized_keys_path(folder: str) -> str:
    """Name the file of the keys that SSH servers let in."""
    return os.path.join(folder, "ssh_authorized_keys")


def known_hosts_path(folder: str) -> str:
    """Name the file of the servers' keys that SSH clients expect."""
    return os.path.join(folder, "ssh_known_hosts")


def certificate_path(folder: str) -> str:
    """Name the private key and certificate of bare TLS, one file: those of our own server."""
    return os.path.join(folder, "tls.pem")


def server_fingerprint(folder: str) -> str:
    """Return the fingerprint of our own servers' key.

    A client that gives it comes over TCP.  Without it a client of the same user takes the server's Unix socket.
    """
    return load_or_create_server_key(ConfigFolders.at(folder)).fingerprint


def environment(folder: str) -> dict[str, str]:
    """Make the environment of every process of a run: nobody's settings count, and the source tree is what is run.

    :param folder: what they have as their home folder.
    """
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": folder, "PYTHONPATH": ROOT, "PYTHONWARNINGS": "ignore"}


def clean_up_when_ended() -> None:
    """Let SIGTERM and SIGHUP end this process as an exception does, so that servers and folders do not outlive it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))


def user_name() -> str:
    """Name the user who runs this, as whom everybody logs in."""
    return pwd.getpwuid(os.geteuid()).pw_name


def login_shell() -> str:
    """Name the shell that an SSH server of the system's runs commands with: that of the user database."""
    return pwd.getpwuid(os.geteuid()).pw_shell or "/bin/sh"


def _make_ssh_key(path: str) -> bytes:
    key = Ed25519PrivateKey.generate()
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n"
    _write(path, key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
    _write(f"{path}.pub", public)
    return public


def _write(path: str, content: bytes) -> None:
    with open(path, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
        file.write(content)


@contextlib.contextmanager
def running_proxy(command: Sequence[str], folder: str) -> Iterator[int]:
    """Run a proxy in a process of its own for as long as the context lasts.

    :param command: its command line.  The program prints its port, and runs until its stdin ends.
    :param folder: the home of its user.
    :returns: its TCP port.
    :raises RuntimeError: it did not start.
    """
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, env=environment(folder), stdin=pipe, stdout=pipe) as process:
        try:
            assert process.stdin is not None
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise RuntimeError("the proxy did not start")
            yield int(line)
            process.stdin.close()
            process.wait(PROXY_END_SECONDS)
        finally:
            process.kill()
