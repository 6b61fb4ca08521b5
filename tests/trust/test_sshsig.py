"""Tests of what a login signs and how it is checked."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.keys import ALGORITHMS, EXPORTER, SPKI, envelope, key_blob, login_bytes, signature, string
from twisted_rsh.trust.ssh_keys import BadKey, BadSignature, PublicKey
from twisted_rsh.trust.sshsig import (
    LOGIN_NAMESPACE,
    encode_user,
    login_message,
    signed_bytes,
    verify_login,
)


def log_in(
    algorithm: str,
    signed: bytes,
    *,
    exporter: bytes = EXPORTER,
    spki: bytes = SPKI,
    user: str = "alice",
    blob: bytes | None = None,
) -> PublicKey:
    """Check a login whose sender signed these bytes."""
    return verify_login(
        key_blob(algorithm) if blob is None else blob,
        algorithm,
        signature(algorithm, signed),
        exporter=exporter,
        server_spki_sha256=spki,
        user=user,
    )


def test_message_is_as_documented() -> None:
    """The bytes to sign are those of the written rule, built here independently."""
    blob = key_blob("ssh-ed25519")
    message = login_message(EXPORTER, SPKI, "alice", "ssh-ed25519", blob)
    assert signed_bytes(message, LOGIN_NAMESPACE) == login_bytes("ssh-ed25519")


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_good_login(algorithm: str) -> None:
    """A login signed as documented is accepted with every algorithm."""
    assert log_in(algorithm, login_bytes(algorithm)).blob == key_blob(algorithm)


def test_replay_on_a_new_connection() -> None:
    """A-01: the same login on a connection with another exporter is refused."""
    with pytest.raises(BadSignature):
        log_in("ssh-ed25519", login_bytes("ssh-ed25519"), exporter=SPKI)


def test_relay() -> None:
    """A-02: a login made for another server, on a connection to that one, is refused here."""
    with pytest.raises(BadSignature):
        log_in("ssh-ed25519", login_bytes("ssh-ed25519", exporter=bytes(32), spki=bytes(32)))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_field_changed(algorithm: str) -> None:
    """A-03: a signature over another exporter, server, user, algorithm or key is refused."""
    flipped = bytes([EXPORTER[0] ^ 1]) + EXPORTER[1:]
    other = "rsa-sha2-256" if algorithm == "rsa-sha2-512" else "rsa-sha2-512"
    for signed in (
        login_bytes(algorithm, exporter=flipped),
        login_bytes(algorithm, exporter=EXPORTER[:-1]),
        login_bytes(algorithm, spki=flipped),
        login_bytes(algorithm, user="alicf"),
        login_bytes(algorithm, user=""),
        login_bytes(algorithm, user="Alice"),
        login_bytes(algorithm, named=other),
        login_bytes(algorithm, blob=key_blob(algorithm) + b"\0"),
    ):
        with pytest.raises(BadSignature):
            log_in(algorithm, signed)


def test_other_user_in_the_frame() -> None:
    """A-03: a good signature does not log in another user than the one that was signed."""
    with pytest.raises(BadSignature):
        log_in("ssh-ed25519", login_bytes("ssh-ed25519"), user="root")


@pytest.mark.parametrize("namespace", [b"", b"file", b"git", b"twisted-rsh-auth-v2", b"twisted-rsh-auth-v1\0"])
def test_wrong_namespace(namespace: bytes) -> None:
    """A-04: a signature made for another purpose is refused."""
    with pytest.raises(BadSignature):
        log_in("ssh-ed25519", login_bytes("ssh-ed25519", namespace=namespace))


def test_signature_that_is_no_sshsig() -> None:
    """A-04: a signature over the message itself, or an SSH login's (RFC 4252, section 7), is refused."""
    blob = key_blob("ssh-ed25519")
    message = login_message(EXPORTER, SPKI, "alice", "ssh-ed25519", blob)
    request = [b"alice", b"ssh-connection", b"publickey"]
    userauth = (
        string(EXPORTER) + b"\x32" + b"".join(map(string, request)) + b"\1" + string(b"ssh-ed25519") + string(blob)
    )
    for signed in (message, userauth, string(message), envelope(userauth, LOGIN_NAMESPACE.encode())):
        with pytest.raises(BadSignature):
            log_in("ssh-ed25519", signed)


def test_key_with_trailing_bytes() -> None:
    """A-05: a longer form of the key is refused even if that form was signed."""
    longer = key_blob("ssh-ed25519") + b"\0"
    with pytest.raises(BadKey):
        log_in("ssh-ed25519", login_bytes("ssh-ed25519", blob=longer), blob=longer)


def test_signature_with_the_blob_of_another_key() -> None:
    """A-07: a signature by key A with the blob of key B is refused, whichever blob was signed."""
    other = key_blob("ssh-ed25519", which=1)
    for signed_blob in (None, other):
        with pytest.raises(BadSignature):
            log_in("ssh-ed25519", login_bytes("ssh-ed25519", blob=signed_blob), blob=other)


def test_key_without_a_signature() -> None:
    """A-10: a public key alone, authorized or not, is refused before anybody looks it up."""
    for which in (0, 1):
        with pytest.raises(BadSignature, match="not by this key"):
            verify_login(
                key_blob("ssh-ed25519", which),
                "ssh-ed25519",
                string(b"ssh-ed25519") + string(bytes(64)),
                exporter=EXPORTER,
                server_spki_sha256=SPKI,
                user="alice",
            )


@pytest.mark.parametrize(
    ("exporter", "spki"), [(b"", SPKI), (EXPORTER[:-1], SPKI), (EXPORTER, b""), (EXPORTER, SPKI * 2)]
)
def test_login_that_would_bind_nothing(exporter: bytes, spki: bytes) -> None:
    """A-08: an exporter or a digest of the wrong size is our own mistake, and no login."""
    with pytest.raises(ValueError, match="not of its size"):
        log_in("ssh-ed25519", login_bytes("ssh-ed25519", exporter=exporter, spki=spki), exporter=exporter, spki=spki)


def test_user_names() -> None:
    """A name of bytes that are not UTF-8 has one way to be written; anything else is refused."""
    assert encode_user("álice") == b"\xc3\xa1lice"
    assert encode_user("\udce1lice") == b"\xe1lice"
    for bad in ("\udcc3\udca1lice", "\ud800", "\udc00"):
        with pytest.raises(UnicodeError):
            encode_user(bad)
        with pytest.raises(BadSignature, match="cannot be written"):
            log_in("ssh-ed25519", b"", user=bad)


@pytest.mark.exhaustive
@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    st.one_of(st.binary(max_size=80), st.sampled_from([key_blob(name) for name in ALGORITHMS])),
    st.one_of(st.text(), st.sampled_from(ALGORITHMS)),
    st.binary(max_size=120),
    st.text(st.characters(codec=None, categories=None)),
)
def test_hostile_logins(blob: bytes, algorithm: str, signed: bytes, user: str) -> None:
    """A-05: no login that a peer can send gives anything but BadKey or BadSignature."""
    with pytest.raises((BadKey, BadSignature)):
        verify_login(blob, algorithm, signed, exporter=EXPORTER, server_spki_sha256=SPKI, user=user)
