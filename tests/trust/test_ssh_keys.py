"""Tests of public keys and signatures, from hostile input."""

from __future__ import annotations

import functools
import re

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.keys import ALGORITHMS, blob_of, key_blob, mpint, private_key, raw_signature, signature, string
from twisted_rsh.trust.fingerprint import ssh_fingerprint
from twisted_rsh.trust.ssh_keys import (
    MAX_KEY_BLOB_BYTES,
    MAX_RSA_BITS,
    MAX_RSA_EXPONENT,
    MAX_SIGNATURE_BYTES,
    MIN_RSA_BITS,
    MIN_RSA_EXPONENT,
    BadKey,
    BadSignature,
    check_public_key,
    parse_public_key,
)

DATA = b"what was signed"


def rsa_blob(exponent: int, modulus: int) -> bytes:
    """Encode an RSA key, which need not have a private half."""
    return string(b"ssh-rsa") + mpint(exponent) + mpint(modulus)


@functools.cache
def rsa_modulus() -> int:
    """A real modulus of 2048 bits."""
    key = private_key("rsa-sha2-512").public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    return key.public_numbers().n


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_good_signatures(algorithm: str) -> None:
    """Each algorithm of the allow-list verifies what its key signed, and the key is named."""
    blob = key_blob(algorithm)
    key = parse_public_key(blob)
    key.verify(algorithm, signature(algorithm, DATA), DATA)
    assert algorithm in key.algorithms
    assert key.blob == blob
    assert string(key.key_type.encode()) == blob[: len(key.key_type) + 4]
    assert key.fingerprint == ssh_fingerprint(blob)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_trailing_bytes(algorithm: str) -> None:
    """A-05: bytes behind the key, the signature or the signature's inner part are refused."""
    blob = key_blob(algorithm)
    for longer in (blob + b"\0", blob + string(b""), string(blob)):
        with pytest.raises(BadKey):
            parse_public_key(longer)
    key = parse_public_key(blob)
    good = signature(algorithm, DATA)
    raw = raw_signature(algorithm, DATA)
    for bad in (
        good + b"\0",
        good + string(b""),
        string(algorithm.encode()) + string(raw + b"\0"),
        string(algorithm.encode()) + string(b"\0" + raw),
        string(algorithm.encode()),
        good[:-1],
        b"",
    ):
        with pytest.raises(BadSignature):
            key.verify(algorithm, bad, DATA)


@pytest.mark.parametrize("algorithm", [name for name in ALGORITHMS if name.startswith("ecdsa")])
def test_ecdsa_numbers(algorithm: str) -> None:
    """A-05: the two numbers of an ECDSA signature are minimal, positive, and two."""
    key = parse_public_key(key_blob(algorithm))
    raw = raw_signature(algorithm, DATA)
    size = int.from_bytes(raw[:4], "big")
    r, s = raw[4 : 4 + size], raw[8 + size :]
    for bad in (
        string(b"\0" + r) + string(s),
        string(r) + string(b"\0" + s),
        string(r) + string(b""),
        string(b"\xff") + string(s),
        string(r),
        string(r) + string(s) + string(b""),
        string(s) + string(r),
        mpint(int.from_bytes(r, "big") + 2**600) + string(s),
    ):
        with pytest.raises(BadSignature):
            key.verify(algorithm, string(algorithm.encode()) + string(bad), DATA)


def test_signature_size_bound() -> None:
    """A signature beyond the bound is refused without being read; at the bound it is read, and wrong."""
    key = parse_public_key(key_blob("ssh-ed25519"))
    head = string(b"ssh-ed25519")
    for size, text in ((MAX_SIGNATURE_BYTES, "not by this key"), (MAX_SIGNATURE_BYTES + 1, "too long")):
        with pytest.raises(BadSignature, match=text):
            key.verify("ssh-ed25519", head + string(b"\0" * (size - len(head) - 4)), DATA)


def test_key_size_bound() -> None:
    """A key beyond the bound is refused without being read; at the bound it is read, and wrong."""
    head = string(b"ssh-ed25519")
    for size, text in ((MAX_KEY_BLOB_BYTES, "malformed"), (MAX_KEY_BLOB_BYTES + 1, "more than 2048 bytes")):
        with pytest.raises(BadKey, match=text):
            parse_public_key(head + string(b"\0" * (size - len(head) - 4)))


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        string(b""),
        string(b"none") + string(b""),
        string(b"ssh-dss") + mpint(7) * 4,
        string(b"ssh-ed448") + string(b"\1" * 57),
        string(b"rsa-sha2-512") + mpint(65537) + mpint(2**2047 + 1),
        string(b"ssh-ed25519-cert-v01@openssh.com") + string(b"\1" * 32),
        string(b"ecdsa-sha2-nistp224") + string(b"nistp224") + string(b"\4" + b"\1" * 56),
    ],
)
def test_types_that_are_not_accepted(blob: bytes) -> None:
    """A-06: DSA, certificates and everything unknown are refused by their name."""
    with pytest.raises(BadKey, match="are not accepted"):
        parse_public_key(blob)


@pytest.mark.parametrize("bits", [1024, MIN_RSA_BITS - 1, MAX_RSA_BITS + 1, 16128])
def test_rsa_sizes_that_are_not_accepted(bits: int) -> None:
    """A-06: an RSA key that is weak, or so large that it takes time, is refused by its size."""
    with pytest.raises(BadKey, match=f"an RSA key of {bits} bits"):
        parse_public_key(rsa_blob(65537, 2**bits - 1))


def test_rsa_16384() -> None:
    """A-06: an RSA key of 16384 bits does not even fit the size bound."""
    with pytest.raises(BadKey, match="more than 2048 bytes"):
        parse_public_key(rsa_blob(65537, 2**16384 - 1))


@pytest.mark.parametrize("bits", [MIN_RSA_BITS, MAX_RSA_BITS])
def test_rsa_sizes_at_the_bounds(bits: int) -> None:
    """RSA keys of both extreme sizes are accepted."""
    assert parse_public_key(rsa_blob(65537, 2**bits - 1)).algorithms == ("rsa-sha2-512", "rsa-sha2-256")


@pytest.mark.parametrize("exponent", [MIN_RSA_EXPONENT, 35, 65537, MAX_RSA_EXPONENT])
def test_rsa_exponents_at_the_bounds(exponent: int) -> None:
    """RSA keys of the extreme and the customary exponents are accepted."""
    assert parse_public_key(rsa_blob(exponent, rsa_modulus())).key_type == "ssh-rsa"


@pytest.mark.parametrize("exponent", [0, 1, 2, 4, 65536, MAX_RSA_EXPONENT - 1, MAX_RSA_EXPONENT + 2])
def test_rsa_exponents_that_are_not_accepted(exponent: int) -> None:
    """A-06: an exponent of one, which would make every signature good, an even or a huge one is refused."""
    with pytest.raises(BadKey):
        parse_public_key(rsa_blob(exponent, rsa_modulus()))


def test_even_rsa_modulus() -> None:
    """A-06: an even modulus is no RSA key."""
    with pytest.raises(BadKey, match="exponent or modulus"):
        parse_public_key(rsa_blob(65537, rsa_modulus() - 1))


def test_key_numbers_are_minimal_and_positive() -> None:
    """A-05: an RSA key with a needless zero or a negative number is refused."""
    modulus = rsa_modulus().to_bytes(257, "big")
    exponent = b"\1\0\1"
    parse_public_key(string(b"ssh-rsa") + string(exponent) + string(modulus))
    for bad_exponent, bad_modulus in (
        (b"\0" + exponent, modulus),
        (exponent, b"\0" + modulus),
        (exponent, modulus[1:]),
        (b"\xff", modulus),
    ):
        with pytest.raises(BadKey, match="malformed"):
            parse_public_key(string(b"ssh-rsa") + string(bad_exponent) + string(bad_modulus))


def test_points() -> None:
    """A-05: a point that is compressed, off its curve, of another curve or none is refused."""
    key = private_key("ecdsa-sha2-nistp256").public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    compressed = key.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)
    point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    head = string(b"ecdsa-sha2-nistp256")
    assert parse_public_key(head + string(b"nistp256") + string(point)).blob == blob_of(key)
    with pytest.raises(BadKey, match="canonical"):
        parse_public_key(head + string(b"nistp256") + string(compressed))
    for curve, bad in (
        (b"nistp256", point[:-1] + bytes([point[-1] ^ 1])),
        (b"nistp256", b"\0"),
        (b"nistp256", b""),
        (b"nistp384", point),
        (b"", point),
    ):
        with pytest.raises(BadKey, match="malformed"):
            parse_public_key(head + string(curve) + string(bad))
        if len(bad) != len(point) or curve != b"nistp256":
            with pytest.raises(BadKey, match="malformed"):
                check_public_key(head + string(curve) + string(bad))


@pytest.mark.parametrize("size", [0, 31, 33])
def test_ed25519_sizes(size: int) -> None:
    """An Ed25519 key has 32 bytes."""
    with pytest.raises(BadKey, match="malformed"):
        parse_public_key(string(b"ssh-ed25519") + string(b"\1" * size))


def test_sha1_signature() -> None:
    """A-06: a signature by ssh-rsa, which means SHA-1, is refused however it is named."""
    key = parse_public_key(key_blob("rsa-sha2-512"))
    sha1 = signature("ssh-rsa", DATA)
    renamed = string(b"rsa-sha2-512") + string(raw_signature("ssh-rsa", DATA))
    for algorithm, bad in (("ssh-rsa", sha1), ("rsa-sha2-512", sha1), ("rsa-sha2-512", renamed)):
        with pytest.raises(BadSignature):
            key.verify(algorithm, bad, DATA)


@pytest.mark.parametrize(
    "algorithm", ["", "none", "ssh-rsa", "rsa-sha2-256", "ecdsa-sha2-nistp256", "\ud800", "SSH-ED25519"]
)
def test_algorithm_that_does_not_fit(algorithm: str) -> None:
    """A-03: only an algorithm of the key's own type is tried."""
    key = parse_public_key(key_blob("ssh-ed25519"))
    with pytest.raises(BadSignature, match="does not fit"):
        key.verify(algorithm, signature("ssh-ed25519", DATA), DATA)


def test_rsa_algorithm_named_twice() -> None:
    """A-03: the signature names the same algorithm as the login does."""
    key = parse_public_key(key_blob("rsa-sha2-512"))
    with pytest.raises(BadSignature, match="by another algorithm"):
        key.verify("rsa-sha2-512", signature("rsa-sha2-256", DATA), DATA)


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp256"])
def test_signature_of_another_key(algorithm: str) -> None:
    """A-07: a good signature by another key is refused."""
    with pytest.raises(BadSignature):
        parse_public_key(key_blob(algorithm)).verify(algorithm, signature(algorithm, DATA, which=1), DATA)


def check_key(blob: bytes) -> None:
    """Read a key: it is either refused or the one encoding of itself, and the check without cryptography agrees."""
    try:
        key = parse_public_key(blob)
    except BadKey as error:
        assert str(error).isprintable()
        if not blob.startswith(string(b"ecdsa-sha2-nistp256")[:9]):  # only cryptography knows the points of a curve
            with pytest.raises(BadKey, match=re.escape(str(error))):
                check_public_key(blob)
    else:
        assert key.blob == blob
        assert check_public_key(blob) == key.key_type


@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.binary(max_size=100), st.sampled_from(ALGORITHMS), st.integers(0, 300), st.binary(max_size=6))
def test_hostile_keys(junk: bytes, algorithm: str, position: int, patch: bytes) -> None:
    """A-05: any bytes, random or a good key that was changed, give a key or BadKey."""
    blob = key_blob(algorithm)
    check_key(junk)
    check_key(blob[: position % len(blob)])
    check_key(blob[:position] + patch + blob[position + len(patch) :])
    check_key(blob[:position] + patch + blob[position:])
    check_key(string(blob[4 : 4 + blob[3]]) + junk)


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(st.binary(max_size=70), max_size=4), st.sampled_from(ALGORITHMS))
def test_hostile_key_parts(parts: list[bytes], algorithm: str) -> None:
    """A-05: well-formed strings that are no key give BadKey."""
    blob = key_blob(algorithm)
    check_key(blob[: 4 + blob[3]] + b"".join(map(string, parts)))


@pytest.mark.exhaustive
@settings(derandomize=True, deadline=None, max_examples=500)
@given(st.binary(max_size=100), st.sampled_from(ALGORITHMS), st.integers(0, 300), st.binary(min_size=1, max_size=6))
def test_hostile_signatures(junk: bytes, algorithm: str, position: int, patch: bytes) -> None:
    """A-05: any bytes but the signature itself give BadSignature, random or a good one that was changed."""
    key = parse_public_key(key_blob(algorithm))
    good = signature(algorithm, DATA)
    head = string(algorithm.encode())
    for bad in (
        junk,
        head + string(junk),
        good[: position % len(good)],
        good[:position] + patch + good[position + len(patch) :],
        good[:position] + patch + good[position:],
    ):
        if bad != good:
            with pytest.raises(BadSignature):
                key.verify(algorithm, bad, DATA)
