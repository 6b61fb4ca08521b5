"""Tests of the client's key."""

from __future__ import annotations

import base64
import os
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.trust.authenticator import SK_TYPES, Authenticator
from tests.trust.keys import EXPORTER, SPKI, PrivateKey, blob_of, granted_keys, key_blob, locked, private_key, string
from twisted_rsh.trust.client_key import (
    LockedKey,
    WrongPassphrase,
    load_client_key,
    load_or_create_client_key,
    read_public_key,
)
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


def test_a_passphrase(config: ConfigFolders) -> None:
    """A protected key is read with its passphrase alone; its public half is known without."""
    put_key_file(config, locked(private_key("ssh-ed25519"), b"secret"))
    path = config.client_key_path
    assert load_client_key(path, b"secret").blob == key_blob("ssh-ed25519")
    assert read_public_key(path).blob == key_blob("ssh-ed25519")
    with pytest.raises(WrongPassphrase, match="has another passphrase"):
        load_client_key(path, b"Secret")
    for own in (False, True):
        with pytest.raises(LockedKey, match=rf"is protected by a passphrase; load .*: ssh-add {path}$") as caught:
            load_or_create_client_key(config) if own else load_client_key(path)
        assert caught.value.public_key.blob == key_blob("ssh-ed25519")
        assert caught.value.takes_passphrase


def test_without_bcrypt(config: ConfigFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the package is missing that passphrases need, the line says so before a passphrase is asked for."""
    put_key_file(config, locked(private_key("ssh-ed25519"), b"secret"))
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    with pytest.raises(LockedKey, match=r"needed \(pip install .*\); load it into an agent") as caught:
        load_client_key(config.client_key_path)
    assert not caught.value.takes_passphrase


def test_a_passphrase_for_nothing(config: ConfigFolders) -> None:
    """A key without protection is read, whatever passphrase is given for it."""
    key = load_or_create_client_key(config)
    assert load_client_key(config.client_key_path, b"secret") == key


def test_a_public_key_alone(config: ConfigFolders) -> None:
    """The file of a public key names one that an agent has to sign with."""
    key = load_or_create_client_key(config)
    assert read_public_key(config.client_public_key_path) == key.public_key
    with pytest.raises(LockedKey, match=r"is a public key alone; .*: ssh-add .*/id_ed25519$") as caught:
        load_client_key(config.client_public_key_path)
    assert not caught.value.takes_passphrase


def test_every_cut_of_a_locked_file(config: ConfigFolders) -> None:
    """A file that is cut anywhere is a line about the file."""
    data = locked(private_key("ssh-ed25519"), b"secret")
    ensure_private_folder(config.config)
    path = Path(config.client_key_path)
    path.touch(0o600)
    for size in range(0, len(data) - 1, 7):
        path.write_bytes(data[:size])
        with pytest.raises(BadKeyFile):
            load_client_key(str(path), b"secret")
        with pytest.raises(BadKeyFile):
            read_public_key(str(path))


@pytest.mark.parametrize("key_type", SK_TYPES)
def test_the_handle_of_an_authenticator(config: ConfigFolders, key_type: str) -> None:
    """The file that ssh-keygen makes for a FIDO key names a key that an agent has to sign with."""
    one = Authenticator(key_type)
    inner = b"\1\2\3\4" * 2 + one.blob + b"\1" + string(b"handle") + string(b"") + string(b"comment")
    inner += bytes(range(1, 9))[: -len(inner) % 8]
    fields = string(b"none") * 2 + string(b"") + b"\0\0\0\1" + string(one.blob) + string(inner)
    text = base64.encodebytes(b"openssh-key-v1\0" + fields)
    put_key_file(config, b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + text + b"-----END OPENSSH PRIVATE KEY-----\n")
    with pytest.raises(LockedKey, match="is of an authenticator") as caught:
        load_client_key(config.client_key_path)
    assert caught.value.public_key.blob == one.blob
