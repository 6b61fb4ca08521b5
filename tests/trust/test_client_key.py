"""Tests of the client's key."""

from __future__ import annotations

import base64
import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.trust.keys import EXPORTER, SPKI, PrivateKey, blob_of, granted_keys, private_key
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.files import BadKeyFile, UntrustedFile, create_private_file, ensure_private_folder
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.ssh_keys import BadSignature
from twisted_rsh.trust.sshsig import verify_login


def put_key_file(config: ConfigFolders, data: bytes) -> None:
    """Put something in the place of the client's key."""
    ensure_private_folder(config.config)
    create_private_file(config.client_key_path, data)


def openssh(key: PrivateKey) -> bytes:
    """Write a private key as ssh-keygen does."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def test_key_is_made_once(config: ConfigFolders) -> None:
    """A-20: the first use makes an Ed25519 key that every later use has, in files of 0600 and a folder of 0700."""
    first = load_or_create_client_key(config)
    assert load_or_create_client_key(config) == first
    assert first.algorithm == "ssh-ed25519"
    assert first.fingerprint == first.public_key.fingerprint
    assert sorted(os.listdir(config.config)) == ["id_ed25519", "id_ed25519.pub"]
    assert Path(config.client_public_key_path).read_text() == first.public_line + "\n"
    for path, mode in (
        (config.config, 0o700),
        (config.client_key_path, 0o600),
        (config.client_public_key_path, 0o600),
    ):
        assert stat.S_IMODE(os.stat(path).st_mode) == mode


def test_new_key_may_log_in_here(config: ConfigFolders) -> None:
    """A-20: the key that the client makes is one that the same user's server accepts."""
    key = load_or_create_client_key(config)
    assert granted_keys(config) == (frozenset({key.blob}), [])


@pytest.mark.parametrize(
    ("key_type", "algorithm"),
    [
        ("ssh-ed25519", "ssh-ed25519"),
        ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
        ("ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"),
        ("ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"),
        ("ssh-rsa", "rsa-sha2-512"),
    ],
)
def test_login_with_every_type(config: ConfigFolders, key_type: str, algorithm: str) -> None:
    """A-16: a key of each accepted type signs a login that verifies, RSA with SHA-512, and for that login alone."""
    private = private_key(key_type)
    put_key_file(config, openssh(private))
    key = load_or_create_client_key(config)
    assert (key.algorithm, key.blob) == (algorithm, blob_of(private.public_key()))
    signature = key.sign_login(EXPORTER, SPKI, "alice")
    verify_login(key.blob, key.algorithm, signature, exporter=EXPORTER, server_spki_sha256=SPKI, user="alice")
    with pytest.raises(BadSignature):
        verify_login(key.blob, key.algorithm, signature, exporter=SPKI, server_spki_sha256=SPKI, user="alice")


def test_login_that_cannot_be_signed(config: ConfigFolders) -> None:
    """A-08: a login that would not be bound to its connection is not signed."""
    key = load_or_create_client_key(config)
    with pytest.raises(ValueError, match="not of its size"):
        key.sign_login(b"", SPKI, "alice")
    with pytest.raises(UnicodeError):
        key.sign_login(EXPORTER, SPKI, "\ud800")


def test_secret_is_not_shown(config: ConfigFolders) -> None:
    """The private key does not appear where the value is printed."""
    assert "private" not in repr(load_or_create_client_key(config)).lower()


def test_concurrent_first_use(config: ConfigFolders) -> None:
    """O-03: twenty clients that start at once have one key, and its public half is beside it."""
    barrier = threading.Barrier(20)

    def start(_: int) -> bytes:
        barrier.wait()
        return load_or_create_client_key(config).blob

    with ThreadPoolExecutor(20) as pool:
        blobs = set(pool.map(start, range(20)))
    assert len(blobs) == 1
    assert granted_keys(config) == (frozenset(blobs), [])
    assert sorted(os.listdir(config.config)) == ["id_ed25519", "id_ed25519.pub"]


def test_missing_public_key_is_written_again(config: ConfigFolders) -> None:
    """A client that was killed between its two files completes them the next time."""
    key = load_or_create_client_key(config)
    os.unlink(config.client_public_key_path)
    assert load_or_create_client_key(config) == key
    assert granted_keys(config) == (frozenset({key.blob}), [])


def test_public_key_of_another_private_key(config: ConfigFolders) -> None:
    """A public key that would let another key log in is named in one line with the way out."""
    load_or_create_client_key(config)
    os.unlink(config.client_key_path)
    with pytest.raises(
        BadKeyFile, match=f"is not of the private key beside it; run: rm {config.client_public_key_path}$"
    ):
        load_or_create_client_key(config)


def compressed() -> bytes:
    """Write a key of an elliptic curve as ssh-keygen never does, with half of its point."""
    head, *lines, tail = openssh(ec.generate_private_key(ec.SECP256R1())).split(b"\n")[:-1]
    body = base64.b64decode(b"".join(lines))
    assert body.count(b"\0\0\0\x41\x04") == 2
    return b"\n".join((head, base64.b64encode(body.replace(b"\0\0\0\x41\x04", b"\0\0\0\x41\x02")), tail, b""))


def unusable_keys() -> list[bytes]:
    """Files that hold no key that can log in."""
    return [
        b"",
        b"garbage\n",
        b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
        Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
        ),
        compressed(),
    ]


@pytest.mark.parametrize(
    "data", unusable_keys(), ids=["empty", "garbage", "broken", "pkcs8", "traditional", "compressed"]
)
def test_unusable_key_file(config: ConfigFolders, data: bytes) -> None:
    """A file without a usable key is kept, and named in one line with the way out."""
    put_key_file(config, data)
    with pytest.raises(BadKeyFile, match=r"id_ed25519 holds no private key .* ssh-keygen -p") as caught:
        load_or_create_client_key(config)
    assert "\n" not in str(caught.value)
    assert Path(config.client_key_path).read_bytes() == data


def test_weak_key(config: ConfigFolders) -> None:
    """A-06: a key that no server of ours accepts is refused by the client already."""
    put_key_file(config, openssh(rsa.generate_private_key(65537, 1024)))  # noqa: S505 (made in order to be refused)
    with pytest.raises(BadKeyFile, match="an RSA key of 1024 bits"):
        load_or_create_client_key(config)


def test_readable_key_is_refused(config: ConfigFolders) -> None:
    """O-01: a key that others may have read is refused with the exact chmod."""
    load_or_create_client_key(config)
    os.chmod(config.client_key_path, 0o644)
    with pytest.raises(UntrustedFile, match=f"run: chmod 600 {config.client_key_path}"):
        load_or_create_client_key(config)
