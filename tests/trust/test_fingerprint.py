"""Tests of fingerprints."""

from __future__ import annotations

import base64
import contextlib
import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.keys import key_blob
from twisted_rsh.trust.fingerprint import (
    DIGEST_BYTES,
    BadFingerprint,
    certificate_spki_sha256,
    format_fingerprint,
    parse_fingerprint,
    spki_sha256,
    ssh_fingerprint,
)
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import load_or_create_server_key

GOOD = "SHA256:" + "A" * 43


def test_spki_digest() -> None:
    """The digest is that of the SubjectPublicKeyInfo, here written by hand from RFC 8410."""
    key = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    point = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert spki_sha256(key) == hashlib.sha256(bytes.fromhex("302a300506032b6570032100") + point).digest()


def test_certificate_digest(config: ConfigFolders) -> None:
    """A certificate's digest is that of its key."""
    key = load_or_create_server_key(config)
    der = key.certificate.public_bytes(Encoding.DER)
    assert certificate_spki_sha256(der) == key.spki_sha256
    for broken in (b"", b"\0", der[:-1], der + b"\0"):
        with pytest.raises(BadFingerprint, match="holds no key"):
            certificate_spki_sha256(broken)


def test_unknown_key_in_certificate_fails_closed(config: ConfigFolders) -> None:
    """L-05: a certificate whose key is of no known type, or no point of its curve, or of no known version: none."""
    der = load_or_create_server_key(config).certificate.public_bytes(Encoding.DER)
    ec_public_key = bytes.fromhex("06072a8648ce3d0201")
    assert der.count(ec_public_key) == 1
    point = der.index(bytes.fromhex("03420004")) + 4
    unknown_type = der.replace(ec_public_key, ec_public_key[:-1] + b"\x7f")
    off_the_curve = der[:point] + bytes([der[point] ^ 1]) + der[point + 1 :]
    version = bytes.fromhex("a003020102")
    assert der.count(version) == 1
    unknown_version = der.replace(version, version[:-1] + b"\x5b")
    for broken in (unknown_type, off_the_curve, unknown_version):
        with pytest.raises(BadFingerprint):
            certificate_spki_sha256(broken)


# cryptography warns about some certificates that it reads, such as those with a negative serial number.
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_hostile_certificates(config: ConfigFolders) -> None:
    """L-05: any bytes give a digest or BadFingerprint."""
    der = load_or_create_server_key(config).certificate.public_bytes(Encoding.DER)

    @settings(derandomize=True, deadline=None, max_examples=300)
    @given(st.integers(0, len(der) - 1), st.binary(max_size=4))
    def check(position: int, junk: bytes) -> None:
        try:
            digest = certificate_spki_sha256(der[:position] + junk + der[position + len(junk) :])
        except BadFingerprint:
            return
        assert len(digest) == DIGEST_BYTES

    check()


@settings(derandomize=True, deadline=None)
@given(st.binary(min_size=DIGEST_BYTES, max_size=DIGEST_BYTES))
def test_written_fingerprints_are_read(digest: bytes) -> None:
    """Every digest survives being written and read, also with white space around it."""
    text = format_fingerprint(digest)
    assert len(text) == len(GOOD)
    assert parse_fingerprint(text) == digest
    assert parse_fingerprint(f" {text}\n") == digest


@pytest.mark.parametrize(
    "text",
    [
        "",
        "SHA256:",
        GOOD[:-1],
        GOOD + "A",
        GOOD + "=",
        GOOD[:-1] + "B",
        GOOD.removeprefix("SHA256:"),
        GOOD.lower(),
        "MD5:" + "00:" * 15 + "00",
        GOOD[:-2] + "é\n",
        "SHA256:" + base64.urlsafe_b64encode(b"\xff" * 32).decode().rstrip("="),
        "x" * 1000,
    ],
)
def test_wrong_fingerprints(text: str) -> None:
    """Anything else is refused with one short line that says what to do."""
    with pytest.raises(BadFingerprint, match="copy the one that the server printed") as caught:
        parse_fingerprint(text)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@settings(derandomize=True, deadline=None)
@given(st.text())
def test_any_text(text: str) -> None:
    """Any text at all is read or refused, never anything else."""
    with contextlib.suppress(BadFingerprint):
        assert len(parse_fingerprint(text)) == DIGEST_BYTES


def test_ssh_fingerprint() -> None:
    """A user's key is named by the digest of its blob; ssh-keygen agrees, see test_ssh_keygen."""
    blob = key_blob("ssh-ed25519")
    assert ssh_fingerprint(blob) == format_fingerprint(hashlib.sha256(blob).digest())
