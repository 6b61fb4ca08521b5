"""Certificates of an authority: read strictly, and counted for what they say."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.authenticator import SK_TYPES, Authenticator
from tests.trust.authority import AUTHORITY, CERTIFICATE_TYPES, SERVER, USER, certify, option
from tests.trust.keys import EXPORTER, SPKI, key_blob, login_bytes, mpint, signature, string
from tests.trust.test_ssh_keygen import ssh_keygen
from twisted_rsh.trust.authorized_keys import AuthorizedKey, parse_authorized_keys
from twisted_rsh.trust.certificates import (
    MAX_CERTIFICATE_BYTES,
    MAX_PRINCIPALS,
    CertificateKind,
    Grant,
    NotGranted,
    grant_server,
    grant_user,
    is_certificate,
    parse_certificate,
)
from twisted_rsh.trust.key_options import KeyOptions
from twisted_rsh.trust.ssh_keys import BadKey, BadSignature, parse_public_key, public_line
from twisted_rsh.trust.sshsig import parse_login_key, verify_login

BLOB = key_blob("ssh-ed25519")
CA_BLOB = key_blob("ssh-ed25519", AUTHORITY)
NOW = 1_800_000_000.0


def blob_for(key_type: str) -> bytes:
    """A key of a type."""
    return Authenticator(key_type).blob if key_type in SK_TYPES else key_blob(key_type)


@pytest.mark.parametrize("key_type", CERTIFICATE_TYPES)
def test_every_type(key_type: str) -> None:
    """A certificate of each type of key is read; the key and all that the authority says are in it."""
    blob = blob_for(key_type)
    certificate = parse_certificate(certify(blob, principals=[b"alice", b"ops"], after=5, before=9))
    assert (certificate.key.blob, certificate.authority.blob) == (blob, CA_BLOB)
    assert (certificate.serial, certificate.kind, certificate.key_id) == (7, CertificateKind.USER, "alice at work")
    assert (certificate.principals, certificate.valid_after, certificate.valid_before) == (("alice", "ops"), 5, 9)
    assert (certificate.critical_options, certificate.extensions) == ((), ("permit-pty",))
    assert is_certificate(certificate.blob)
    assert not is_certificate(blob)


@pytest.mark.parametrize("algorithm", ["ssh-ed25519", "ecdsa-sha2-nistp384", "rsa-sha2-512", "rsa-sha2-256"])
def test_every_kind_of_authority(algorithm: str) -> None:
    """An authority signs with each algorithm that is accepted."""
    assert parse_certificate(certify(BLOB, algorithm=algorithm)).authority.blob == key_blob(algorithm, AUTHORITY)


def test_a_sha1_authority() -> None:
    """A-06: the signature of an RSA authority with SHA-1 is none, whatever it calls itself."""
    rsa = key_blob("rsa-sha2-512", AUTHORITY)
    with pytest.raises(BadSignature):
        parse_certificate(certify(BLOB, algorithm="ssh-rsa", authority=rsa))


def test_another_signer() -> None:
    """A-07: a certificate that another key has signed, or that was signed with other words in it, is none."""
    good = certify(BLOB)
    for bad in (
        certify(BLOB, authority=BLOB),
        certify(BLOB, signed=b"other"),
        good.replace(b"alice at work", b"alice at home"),
        good.replace(string(b"alice"), string(b"root!")),
    ):
        with pytest.raises(BadSignature):
            parse_certificate(bad)


def test_an_authority_that_is_no_key() -> None:
    """A certificate cannot be signed by the holder of another certificate, nor by a weak key."""
    weak = string(b"ssh-rsa") + mpint(65537) + mpint(2**1023 + 1)
    for authority in (certify(CA_BLOB), weak, b"", b"junk"):
        with pytest.raises(BadKey):
            parse_certificate(certify(BLOB, authority=authority))


@pytest.mark.parametrize("key_type", ["ssh-ed25519", SK_TYPES[1]])
def test_every_cut(key_type: str) -> None:
    """A-05: a certificate that is cut at any byte, or has more behind it, is none."""
    whole = certify(blob_for(key_type))
    for bad in [*(whole[:size] for size in range(len(whole))), whole + b"\0", whole + string(b"")]:
        with pytest.raises((BadKey, BadSignature)):
            parse_login_key(bad)


def test_every_changed_byte() -> None:
    """A-05: a certificate with any one byte changed is none, huge lengths included."""
    whole = certify(BLOB)
    for position in range(len(whole)):
        for byte in (0xFF, whole[position] ^ 1):
            changed = whole[:position] + bytes([byte]) + whole[position + 1 :]
            if changed != whole:
                with pytest.raises((BadKey, BadSignature)):
                    parse_certificate(changed)


@pytest.mark.exhaustive
@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.binary(max_size=200), st.integers(0, 400), st.integers(0, 40))
def test_hostile_certificates(junk: bytes, position: int, dropped: int) -> None:
    """A-05: junk anywhere in a certificate gives nothing but BadKey or BadSignature."""
    whole = certify(BLOB)
    changed = whole[:position] + junk + whole[position + dropped :]
    if changed != whole:
        with pytest.raises((BadKey, BadSignature)):
            parse_certificate(changed)


def test_malformed_parts() -> None:
    """A-05: another kind of certificate, an option twice or without a value, and junk among the names are refused."""
    twice = ((b"force-command", option(b"a")),) * 2
    for bad in (
        certify(BLOB, kind=0),
        certify(BLOB, kind=3),
        certify(BLOB, critical=twice),
        certify(BLOB, extensions=((b"permit-pty", b""), (b"permit-pty", b""))),
        certify(BLOB).replace(b"ssh-ed25519-cert-v01", b"ssh-ed25519-cert-v00"),
        certify(BLOB).replace(b"ssh-ed25519-cert-v01@openssh.com", b"ssh-ed25519-cert-v01@openssl.com"),
    ):
        with pytest.raises(BadKey):
            parse_certificate(bad)


def test_bounds() -> None:
    """A certificate of the greatest size and for the most names is read, and one beyond either is refused."""
    size = MAX_CERTIFICATE_BYTES - len(certify(BLOB, reserved=b""))
    assert parse_certificate(certify(BLOB, reserved=b"r" * size)).serial == 7
    with pytest.raises(BadKey, match=f"more than {MAX_CERTIFICATE_BYTES} bytes"):
        parse_certificate(certify(BLOB, reserved=b"r" * (size + 1)))
    names = [b"n"] * MAX_PRINCIPALS
    assert len(parse_certificate(certify(BLOB, principals=names)).principals) == MAX_PRINCIPALS
    with pytest.raises(BadKey, match=f"more than {MAX_PRINCIPALS} names"):
        parse_certificate(certify(BLOB, principals=[*names, b"n"]))


def test_a_granted_user() -> None:
    """A certificate lets in who has one of its names, from its first second to the one before its last."""
    certificate = parse_certificate(certify(BLOB, principals=[b"alice", b"ops"], after=100, before=200))
    for names in ({"alice"}, {"ops", "other"}):
        for now in (100.0, 199.99):
            assert grant_user(certificate, names, now) == Grant(None, None, True)
    for now, said in ((99.99, "not valid yet"), (200.0, "has expired")):
        with pytest.raises(NotGranted, match=said):
            grant_user(certificate, {"alice"}, now)
    for others in ({"root"}, {"Alice"}, {"alic"}, {"alice,ops"}, {""}, set()):
        with pytest.raises(NotGranted, match="it is for 'alice', 'ops', and none of"):
            grant_user(certificate, others, 150)


def test_a_certificate_for_nobody() -> None:
    """A certificate without names, which OpenSSH takes for one of everybody, lets nobody in."""
    for kind in (USER, SERVER):
        certificate = parse_certificate(certify(BLOB, principals=[], kind=kind))
        with pytest.raises(NotGranted, match="it has no name of a user or a host"):
            grant_user(certificate, {"alice"}, NOW) if kind == USER else grant_server(certificate, "host", NOW)


def test_a_certificate_for_something_else() -> None:
    """A server's certificate logs nobody in, and a user's is none of a server."""
    with pytest.raises(NotGranted, match="it is one of a server"):
        grant_user(parse_certificate(certify(BLOB, kind=SERVER)), {"alice"}, NOW)
    with pytest.raises(NotGranted, match="it is one of a user"):
        grant_server(parse_certificate(certify(BLOB)), "alice", NOW)


def test_options() -> None:
    """The restrictions that are known are in the grant; one that is not known, or malformed, refuses."""
    critical = ((b"force-command", option(b"ls -l")), (b"source-address", option(b"10.0.0.0/8")))
    certificate = parse_certificate(certify(BLOB, critical=critical, extensions=()))
    assert grant_user(certificate, {"alice"}, NOW) == Grant("ls -l", "10.0.0.0/8", False)
    for name, value in (
        (b"verify-required", b""),
        (b"Force-Command", option(b"ls")),
        (b"force-command", b"ls"),
        (b"force-command", b""),
        (b"source-address", option(b"::1") + b"\0"),
        (b"force-command@example.org", option(b"ls")),
    ):
        with pytest.raises(NotGranted, match="option"):
            grant_user(parse_certificate(certify(BLOB, critical=((name, value),))), {"alice"}, NOW)
    unknown = parse_certificate(certify(BLOB, extensions=((b"permit-pty", b""), (b"new@example.org", b"x"))))
    assert grant_user(unknown, {"alice"}, NOW).terminal


def test_a_granted_server() -> None:
    """A server's certificate is for hosts, which may have wildcards; one with a restriction does not count."""
    certificate = parse_certificate(
        certify(BLOB, kind=SERVER, principals=[b"build.example.org", b"*.lab", b"10.0.0.?"])
    )
    for host in ("build.example.org", "BUILD.example.org", "a.lab", "a.b.lab", "10.0.0.7"):
        grant_server(certificate, host, NOW)
    for host in ("example.org", "xbuild.example.org", "buildxexample.org", "lab", "10.0.0.77", "build.example.org\n"):
        with pytest.raises(NotGranted, match="and not for"):
            grant_server(certificate, host, NOW)
    restricted = certify(BLOB, kind=SERVER, critical=((b"force-command", option(b"ls")),))
    with pytest.raises(NotGranted, match="critical option 'force-command' is not known"):
        grant_server(parse_certificate(restricted), "alice", NOW)


def test_a_pattern_with_many_wildcards() -> None:
    """A name with wildcards that fit in very many ways is compared at once."""
    certificate = parse_certificate(certify(BLOB, kind=SERVER, principals=[b"*a" * 30 + b"*b"]))
    with pytest.raises(NotGranted, match="and not for"):
        grant_server(certificate, "a" * 250, NOW)


def test_a_login_with_a_certificate() -> None:
    """A login signs the certificate with its key; the key that is proven has the certificate with it."""
    blob = certify(BLOB)
    signed = signature("ssh-ed25519", login_bytes("ssh-ed25519", blob=blob))
    good: dict[str, Any] = {"exporter": EXPORTER, "server_spki_sha256": SPKI, "user": "alice"}
    key = verify_login(blob, "ssh-ed25519", signed, **good)
    assert key.blob == BLOB
    assert key.certificate == parse_certificate(blob)
    plain = signature("ssh-ed25519", login_bytes("ssh-ed25519"))
    other = signature("ssh-ed25519", login_bytes("ssh-ed25519", blob=blob), which=1)
    for bad in (plain, other):
        with pytest.raises(BadSignature):
            verify_login(blob, "ssh-ed25519", bad, **good)


def authorities(text: str, *, plain: bool = False) -> list[KeyOptions]:
    """Return the options of the lines of a file that make the authority's key one."""
    lines = parse_authorized_keys(text.encode(), plain=plain).find(CA_BLOB)
    return [line.options for line in lines if isinstance(line, AuthorizedKey) and line.options.is_authority]


def test_lines_of_authorities() -> None:
    """A line with ``cert-authority`` is an authority, with the names that count, and grants its own key nothing."""
    key = public_line(CA_BLOB)
    text = f'cert-authority {key} a\ncert-authority,principals="ops,dev" {key}\n{public_line(BLOB)} own\n'
    assert parse_authorized_keys(text.encode()).blobs == {BLOB}
    assert [options.principals for options in authorities(text)] == [None, ("ops", "dev")]
    assert authorities(text, plain=True) == []
    for bad in (
        f"cert-authority,no-such-option {key}",
        f'principals="ops" {key}',
        f'cert-authority,principals="" {key}',
        f"cert-authority,principals=ops {key}",
        f"cert-authorityx {key}",
        "cert-authority",
        f"cert-authority {key[:-4]}",
        f"cert-authority ssh-rsa {key.split()[1]}",
        f"cert-authority ssh-ed25519-cert-v01@openssh.com {base64.b64encode(certify(BLOB)).decode()}",
    ):
        assert authorities(bad) == [], bad


KINDS = [("ed25519", ()), ("ecdsa", ("-b", "256")), ("ecdsa", ("-b", "521")), ("rsa", ("-b", "2048"))]


@pytest.mark.real
@pytest.mark.parametrize(("kind", "size"), KINDS, ids=["ed25519", "p256", "p521", "rsa"])
def test_certificates_of_openssh(tmp_path: Path, kind: str, size: tuple[str, ...]) -> None:
    """A-17: what ssh-keygen certifies is read here, with the same words, for each kind of key and authority."""
    authority, user = str(tmp_path / "ca"), str(tmp_path / "user")
    for path in (authority, user):
        ssh_keygen("-q", "-t", kind, *size, "-N", "", "-f", path)
    sets = [
        (("-n", "alice,ops", "-z", "42", "-V", "+5m"), CertificateKind.USER, True),
        (("-n", "alice", "-O", "clear", "-O", "force-command=ls -l"), CertificateKind.USER, False),
        (("-n", "alice", "-O", "source-address=10.0.0.0/8"), CertificateKind.USER, True),
        (("-h", "-n", "build.example.org", "-V", "always:forever"), CertificateKind.SERVER, False),
    ]
    for options, of_kind, terminal in sets:
        ssh_keygen("-q", "-s", authority, "-I", "the id", *options, f"{user}.pub")
        blob = base64.b64decode(Path(f"{user}-cert.pub").read_text().split()[1])
        certificate = parse_certificate(blob)
        assert (certificate.kind, certificate.key_id) == (of_kind, "the id")
        peer: Any = asyncssh.import_certificate(Path(f"{user}-cert.pub").read_bytes())
        assert tuple(peer.principals) == certificate.principals
        assert (peer._serial, peer._valid_after, peer._valid_before) == (
            certificate.serial,
            certificate.valid_after,
            certificate.valid_before,
        )
        if of_kind is CertificateKind.USER:
            grant = grant_user(certificate, {"alice"}, time.time())
            assert grant.terminal is terminal
            assert grant.force_command == ("ls -l" if "clear" in options else None)
        else:
            grant_server(certificate, "build.example.org", time.time())


@pytest.mark.real
def test_certificates_of_asyncssh() -> None:
    """A-17: what asyncssh has certified is read here with the same words, and refused with one bit changed."""
    authority = asyncssh.generate_private_key("ssh-ed25519")
    users = [asyncssh.generate_private_key(name) for name in ("ssh-ed25519", "ecdsa-sha2-nistp384")]
    for number, user in enumerate(users * 20):
        made = authority.generate_user_certificate(
            user,
            f"user {number}",
            serial=number,
            principals=[f"p{number}", "alice"],
            valid_after=number,
            valid_before=2**40,
        )
        blob = made.public_data
        certificate = parse_certificate(blob)
        assert (certificate.serial, certificate.key_id) == (number, f"user {number}")
        assert certificate.key.blob == user.public_data
        grant_user(certificate, {f"p{number}"}, number)
        position = (number * 37) % len(blob)
        broken = blob[:position] + bytes([blob[position] ^ 0x10]) + blob[position + 1 :]
        with pytest.raises((BadKey, BadSignature)):
            parse_certificate(broken)


@pytest.mark.real
def test_our_certificates_for_openssh(tmp_path: Path) -> None:
    """A-17: ssh-keygen reads the certificates that the tests make, authenticators' keys included."""
    for key_type, certificate_type in CERTIFICATE_TYPES.items():
        path = tmp_path / "cert.pub"
        path.write_text(f"{certificate_type} {base64.b64encode(certify(blob_for(key_type))).decode()}\n")
        shown = ssh_keygen("-L", "-f", str(path)).decode()
        assert 'Key ID: "alice at work"' in shown
        assert f"Public key: {parse_public_key(blob_for(key_type)).fingerprint}".split()[-1] in shown
