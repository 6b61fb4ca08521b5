"""Keys of FIDO authenticators: their signatures count if a person was there, for their application alone."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.trust.authenticator import PRESENT, SK_ECDSA, SK_ED25519, SK_TYPES, VERIFIED, Authenticator
from tests.trust.keys import EXPORTER, SPKI, envelope, key_blob, login_bytes, string
from tests.trust.test_ssh_keygen import ssh_keygen
from twisted_rsh.trust.authorized_keys import parse_authorized_keys
from twisted_rsh.trust.ssh_keys import BadKey, BadSignature, check_public_key, parse_public_key, public_line
from twisted_rsh.trust.sshsig import verify_login

DATA = b"some data"

by_type = pytest.mark.parametrize("key_type", SK_TYPES)


@by_type
@pytest.mark.parametrize("flags", [PRESENT, PRESENT | VERIFIED, 0xFF])
@pytest.mark.parametrize("counter", [0, 1, 2**32 - 1])
def test_a_signature_with_a_person(key_type: str, flags: int, counter: int) -> None:
    """A signature counts whatever the counter and the other flags are, if a person has touched the authenticator."""
    one = Authenticator(key_type)
    key = parse_public_key(one.blob)
    assert (key.key_type, key.algorithms) == (key_type, (key_type,))
    key.verify(key_type, one.sign(DATA, flags, counter), DATA)
    with pytest.raises(BadSignature):
        key.verify(key_type, one.sign(DATA, flags, counter), DATA + b".")


@by_type
@pytest.mark.parametrize("flags", [0, VERIFIED, 0xFE])
def test_a_signature_without_a_person(key_type: str, flags: int) -> None:
    """A-06: a signature that says that no person was there counts for nothing, although it is a good one."""
    one = Authenticator(key_type)
    with pytest.raises(BadSignature, match="touched"):
        parse_public_key(one.blob).verify(key_type, one.sign(DATA, flags), DATA)


@by_type
def test_what_the_authenticator_says_is_signed(key_type: str) -> None:
    """A-05: flags, counter and application cannot be changed behind the authenticator."""
    one = Authenticator(key_type)
    key = parse_public_key(one.blob)
    for bad in (
        one.sign(DATA, 0, 1, claimed=b"\1\0\0\0\1"),
        one.sign(DATA, PRESENT, 1, claimed=b"\1\0\0\0\2"),
        one.sign(DATA, PRESENT, 1, claimed=b"\5\0\0\0\1"),
        Authenticator(key_type, b"ssh:other").sign(DATA),
    ):
        with pytest.raises(BadSignature):
            key.verify(key_type, bad, DATA)


@by_type
def test_every_cut_of_a_signature(key_type: str) -> None:
    """A-05: a signature that is cut anywhere, or has a byte more anywhere near its end, is none."""
    one = Authenticator(key_type)
    key = parse_public_key(one.blob)
    good = one.sign(DATA)
    for bad in [*(good[:size] for size in range(len(good))), good + b"\0", good[:-5] + b"\0" + good[-5:], good + good]:
        with pytest.raises(BadSignature):
            key.verify(key_type, bad, DATA)


@by_type
def test_every_cut_of_a_key(key_type: str) -> None:
    """A-05: a key that is cut anywhere, or has more behind it, is none."""
    blob = Authenticator(key_type).blob
    for bad in [*(blob[:size] for size in range(len(blob))), blob + b"\0", blob + string(b"")]:
        for read in (parse_public_key, check_public_key):
            with pytest.raises(BadKey):
                read(bad)


@pytest.mark.parametrize(
    "blob",
    [
        Authenticator(SK_ED25519, b"").blob,
        Authenticator(SK_ECDSA, b"").blob,
        string(SK_ED25519.encode()) + string(b"\1" * 31) + string(b"ssh:"),
        string(SK_ECDSA.encode()) + string(b"nistp384") + string(b"\4" + b"\1" * 96) + string(b"ssh:"),
        string(SK_ECDSA.encode()) + string(b"nistp256") + string(b"\2" + b"\1" * 32) + string(b"ssh:"),
        string(SK_ECDSA.encode()) + string(b"nistp256") + string(b"\4" + b"\1" * 64) + string(b"ssh:"),
        string(b"sk-ecdsa-sha2-nistp384@openssh.com") + string(b"nistp384") + string(b"\4" + b"\1" * 96) + string(b"x"),
    ],
)
def test_keys_that_no_authenticator_has(blob: bytes) -> None:
    """A-06: another curve, a compressed point, one that is on no curve, and a key for no application are refused."""
    with pytest.raises(BadKey):
        parse_public_key(blob)


@by_type
def test_a_key_of_another_kind(key_type: str) -> None:
    """A-07: an authenticator's signature is none of a plain key, nor the other way round."""
    one = Authenticator(key_type)
    plain = parse_public_key(key_blob("ssh-ed25519"))
    with pytest.raises(BadSignature):
        plain.verify("ssh-ed25519", one.sign(DATA), DATA)
    with pytest.raises(BadSignature):
        plain.verify(key_type, one.sign(DATA), DATA)


@by_type
def test_a_line_and_a_login(key_type: str) -> None:
    """A line with such a key lets it in, and a login with it is checked as any other."""
    one = Authenticator(key_type)
    assert parse_authorized_keys(f"{public_line(one.blob)} a token\n".encode()).blobs == {one.blob}
    signature = one.sign(login_bytes(key_type, blob=one.blob))
    key = verify_login(one.blob, key_type, signature, exporter=EXPORTER, server_spki_sha256=SPKI, user="alice")
    assert key.blob == one.blob


@pytest.mark.real
@by_type
def test_openssh_verifies_what_we_verify(tmp_path: Path, key_type: str) -> None:
    """A-17: ssh-keygen calls the same signatures of an authenticator good."""
    one = Authenticator(key_type)
    signature = one.sign(envelope(DATA, b"file"))
    fields = b"".join(map(string, (one.blob, b"file", b"", b"sha512", signature)))
    text = base64.encodebytes(b"SSHSIG\0\0\0\1" + fields).decode()
    (tmp_path / "signature").write_text(f"-----BEGIN SSH SIGNATURE-----\n{text}-----END SSH SIGNATURE-----\n")
    (tmp_path / "signers").write_text(f"alice {public_line(one.blob)}\n")
    ssh_keygen(
        *("-Y", "verify", "-n", "file", "-I", "alice"),
        *("-f", str(tmp_path / "signers"), "-s", str(tmp_path / "signature")),
        data=DATA,
    )
