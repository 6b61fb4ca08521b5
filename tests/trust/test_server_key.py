"""Tests of the server's identity."""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from twisted_rsh.trust.files import BadKeyFile, UntrustedFile, create_private_file, ensure_private_folder
from twisted_rsh.trust.fingerprint import certificate_spki_sha256, format_fingerprint, spki_sha256
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import MAX_KEY_FILE_BYTES, load_or_create_server_key


def put_key_file(config: ConfigFolders, data: bytes) -> None:
    """Put something in the place of the server's key."""
    ensure_private_folder(os.path.dirname(config.server_key_path))
    create_private_file(config.server_key_path, data)


def test_key_is_made_once(config: ConfigFolders) -> None:
    """The second start has the same identity as the first, and another certificate."""
    first = load_or_create_server_key(config)
    second = load_or_create_server_key(config)
    assert first.spki_sha256 == second.spki_sha256 == spki_sha256(second.private_key.public_key())
    assert first.certificate.serial_number != second.certificate.serial_number
    assert first.fingerprint == format_fingerprint(first.spki_sha256)
    assert isinstance(first.private_key.curve, ec.SECP256R1)


def test_modes(config: ConfigFolders) -> None:
    """A-20: the key is 0600 in folders of 0700, and nothing else is left there."""
    load_or_create_server_key(config)
    folder = Path(config.server_key_path).parent
    assert os.listdir(folder) == ["key.pem"]
    assert stat.S_IMODE(os.stat(config.server_key_path).st_mode) == 0o600
    assert {stat.S_IMODE(path.stat().st_mode) for path in (folder, folder.parent)} == {0o700}


def test_certificate(config: ConfigFolders) -> None:
    """L-05: the certificate is of version 3 with a name and no end, signed by the key that it holds."""
    key = load_or_create_server_key(config)
    certificate = key.certificate
    assert certificate.version is x509.Version.v3
    assert certificate.subject.rfc4514_string() == certificate.issuer.rfc4514_string() == "CN=twisted-rsh"
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["twisted-rsh"]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.not_valid_after_utc.year == 9999
    assert certificate.not_valid_before_utc.year == 2000
    certificate.verify_directly_issued_by(certificate)
    assert certificate_spki_sha256(certificate.public_bytes(Encoding.DER)) == key.spki_sha256


def test_secret_is_not_shown(config: ConfigFolders) -> None:
    """The private key does not appear where the value is printed."""
    assert "private_key" not in repr(load_or_create_server_key(config))


def test_concurrent_first_start(config: ConfigFolders) -> None:
    """O-03: twenty servers that start at once have one identity."""
    barrier = threading.Barrier(20)

    def start(_: int) -> bytes:
        barrier.wait()
        return load_or_create_server_key(config).spki_sha256

    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(start, range(20)))) == 1
    assert os.listdir(os.path.dirname(config.server_key_path)) == ["key.pem"]


def unusable_keys() -> list[bytes]:
    """Files that hold anything but an unprotected P-256 key."""
    p256, pkcs8 = ec.generate_private_key(ec.SECP256R1()), PrivateFormat.PKCS8
    return [
        b"",
        b"garbage\n",
        b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
        p256.private_bytes(Encoding.PEM, pkcs8, BestAvailableEncryption(b"x")),
        ec.generate_private_key(ec.SECP384R1()).private_bytes(Encoding.PEM, pkcs8, NoEncryption()),
        Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, pkcs8, NoEncryption()),
    ]


@pytest.mark.parametrize("data", unusable_keys(), ids=["empty", "garbage", "broken", "encrypted", "p384", "ed25519"])
def test_unusable_key_file(config: ConfigFolders, data: bytes) -> None:
    """A file without a usable key is kept, and named in one line with the way out."""
    put_key_file(config, data)
    with pytest.raises(BadKeyFile, match=r"holds no P-256 private key; .* with: mv \S+key.pem \S+key.pem.bad$"):
        load_or_create_server_key(config)
    assert Path(config.server_key_path).read_bytes() == data


def test_size_bound(config: ConfigFolders) -> None:
    """A file beyond the bound is refused, at the bound it is read: white space around a key does no harm."""
    load_or_create_server_key(config)
    path = Path(config.server_key_path)
    path.write_bytes(path.read_bytes().ljust(MAX_KEY_FILE_BYTES, b"\n"))
    load_or_create_server_key(config)
    path.write_bytes(path.read_bytes() + b"\n")
    with pytest.raises(UntrustedFile, match="has more than"):
        load_or_create_server_key(config)


def test_readable_key_is_refused(config: ConfigFolders) -> None:
    """O-01: a key that others may have read is refused with the exact chmod."""
    load_or_create_server_key(config)
    os.chmod(config.server_key_path, 0o640)
    with pytest.raises(UntrustedFile, match=f"run: chmod 600 {config.server_key_path}"):
        load_or_create_server_key(config)


def test_open_folder_is_refused(config: ConfigFolders) -> None:
    """O-01: a folder of keys that others can enter is refused with the exact chmod."""
    folder = os.path.dirname(config.server_key_path)
    os.makedirs(folder)
    Path(folder).chmod(0o755)
    with pytest.raises(UntrustedFile, match=f"run: chmod 700 {folder}"):
        load_or_create_server_key(config)
    assert os.listdir(folder) == []
