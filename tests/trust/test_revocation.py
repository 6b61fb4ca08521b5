"""Lists of revoked keys and certificates, against ssh-keygen -k, and read strictly."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import os
import random
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tools import require_tool
from tests.trust.authority import AUTHORITY, certify
from tests.trust.keys import key_blob, mpint, string
from tests.trust.test_ssh_keygen import ssh_keygen
from twisted_rsh.trust import revocation
from twisted_rsh.trust.certificates import Certificate, parse_certificate
from twisted_rsh.trust.files import FileProblem
from twisted_rsh.trust.revocation import (
    MAX_PARTS,
    MAX_REVOKED_KEYS_BYTES,
    BadRevocationList,
    RevocationList,
    RevokedKeys,
    parse_revocation_list,
)
from twisted_rsh.trust.ssh_keys import public_line

BLOB = key_blob("ssh-ed25519")
OTHER = key_blob("ecdsa-sha2-nistp256")
CA_BLOB = key_blob("ssh-ed25519", AUTHORITY)


def u64(number: int) -> bytes:
    """Write a number of 8 bytes."""
    return number.to_bytes(8, "big")


def krl(*sections: tuple[int, bytes], version: int = 1) -> bytes:
    """Write a list with sections."""
    head = b"SSHKRL\n\0" + version.to_bytes(4, "big") + u64(3) + u64(4) + u64(0) + string(b"") + string(b"a comment")
    return head + b"".join(bytes([kind]) + string(body) for kind, body in sections)


def certificates(*parts: tuple[int, bytes], authority: bytes = CA_BLOB) -> tuple[int, bytes]:
    """Write a section of certificates."""
    return 1, string(authority) + string(b"") + b"".join(bytes([kind]) + string(body) for kind, body in parts)


def certificate(serial: int = 7, key_id: bytes = b"alice at work") -> Certificate:
    """Make a certificate of the authority of the tests."""
    return parse_certificate(certify(BLOB, serial=serial, key_id=key_id))


def revoked_serials(data: bytes, *serials: int) -> list[int]:
    """Those of some certificates that a list revokes."""
    found = parse_revocation_list(data)
    return [serial for serial in serials if found.why_revoked(BLOB, certificate(serial))]


TOP = 2**64 - 1


@pytest.mark.parametrize(
    ("part", "revoked", "others"),
    [
        ((0x20, u64(5) + u64(TOP)), [5, TOP], [4, 6, TOP - 1]),
        ((0x21, u64(5) + u64(9)), [5, 7, 9], [4, 10]),
        ((0x21, u64(1) + u64(TOP)), [1, TOP], [0]),
        ((0x22, u64(100) + string(b"\5")), [100, 102], [99, 101, 103, 108, TOP]),
        ((0x22, u64(100) + mpint(1 << 15 | 1)), [100, 115], [101, 114, 116]),
        ((0x22, u64(TOP) + string(b"\1")), [TOP], [TOP - 1]),
        ((0x20, u64(0)), [], [0, 1]),
        ((0x21, u64(0) + u64(3)), [1, 3], [0, 4]),
    ],
)
def test_serial_numbers(part: tuple[int, bytes], revoked: list[int], others: list[int]) -> None:
    """Single numbers, ranges and bitmaps revoke the numbers in them at both ends, and never 0, which is no number."""
    for authority in (CA_BLOB, b""):
        data = krl(certificates(part, authority=authority))
        assert revoked_serials(data, *revoked, *others) == revoked
    assert revoked_serials(krl(certificates(part, authority=OTHER)), *revoked, *others) == []


def test_many_ranges() -> None:
    """Ranges that lie in one another, or come in any order, revoke what each alone would."""
    dice = random.Random(15)
    ranges = [(low, low + dice.randrange(40)) for low in (dice.randrange(1, 1000) for _ in range(60))]
    data = krl(certificates(*((0x21, u64(low) + u64(high)) for low, high in ranges)))
    expected = [serial for serial in range(1, 1100) if any(low <= serial <= high for low, high in ranges)]
    found = parse_revocation_list(data)
    (section,) = found._certificates[CA_BLOB]
    made = certificate()
    assert [serial for serial in range(1, 1100) if section.have(replace(made, serial=serial))] == expected


def test_the_bound_of_parts() -> None:
    """A list with as many parts as there may be is read, and with one more it is refused."""
    parts = [(0x22, u64(3 * number + 1) + string(b"\1")) for number in range(MAX_PARTS + 1)]
    assert revoked_serials(krl(certificates(*parts[:-1])), 3 * MAX_PARTS - 2, 3 * MAX_PARTS + 1) == [3 * MAX_PARTS - 2]
    with pytest.raises(ValueError, match=f"more than {MAX_PARTS} parts"):
        parse_revocation_list(krl(certificates(*parts)))


def test_keys_and_names() -> None:
    """Keys, their hashes and the authority's words revoke; a revoked authority revokes all its certificates."""
    for section in (
        (2, string(OTHER) + string(BLOB)),
        (3, string(hashlib.sha1(BLOB).digest())),  # noqa: S324 - what the format has
        (5, string(hashlib.sha256(BLOB).digest())),
    ):
        found = parse_revocation_list(krl(section))
        assert found.why_revoked(BLOB) == "the key is revoked"
        assert found.why_revoked(BLOB, certificate()) == "the key is revoked"
        assert found.why_revoked(CA_BLOB) == ""
    found = parse_revocation_list(krl((2, string(CA_BLOB))))
    assert found.why_revoked(BLOB, certificate()) == "the authority of its certificate is revoked"
    assert found.why_revoked(BLOB) == ""
    found = parse_revocation_list(krl(certificates((0x23, string(b"bob") + string(b"alice at work")))))
    assert found.why_revoked(BLOB, certificate(0)) == "its certificate is revoked"
    assert found.why_revoked(BLOB, certificate(0, b"alice")) == ""
    assert found.why_revoked(BLOB) == ""


def test_an_empty_list() -> None:
    """A list without entries, of either form, revokes nothing."""
    for data in (krl(), b"", b"# none\n\n"):
        assert parse_revocation_list(data).why_revoked(BLOB, certificate()) == ""


def test_extensions() -> None:
    """An extension that may be ignored is, and a critical one refuses the list."""
    extension = string(b"new@example.org") + b"\0" + string(b"x")
    critical = string(b"new@example.org") + b"\1" + string(b"x")
    data = krl((255, extension), certificates((0x39, extension)), (2, string(BLOB)))
    assert parse_revocation_list(data).why_revoked(BLOB)
    for bad in (krl((255, critical)), krl(certificates((0x39, critical)))):
        with pytest.raises(ValueError, match="not known"):
            parse_revocation_list(bad)


WHOLE = krl(
    (2, string(BLOB)),
    (5, string(b"h" * 32)),
    certificates((0x20, u64(5)), (0x21, u64(7) + u64(9)), (0x22, u64(20) + string(b"\5")), (0x23, string(b"id"))),
)


def test_every_cut() -> None:
    """A list that is cut at any byte but between two of its parts is refused; huge lengths are too."""
    first, second = (2, string(BLOB)), (5, string(b"h" * 32))
    edges = {len(krl()), len(krl(first)), len(krl(first, second))}
    for size in range(8, len(WHOLE)):
        if size not in edges:
            with pytest.raises(ValueError, match="no whole list"):
                parse_revocation_list(WHOLE[:size])
    for position in range(44, len(WHOLE) - 4):
        changed = WHOLE[:position] + b"\xff\xff\xff\xff" + WHOLE[position + 4 :]
        with contextlib.suppress(ValueError):
            parse_revocation_list(changed)


@pytest.mark.parametrize(
    "data",
    [
        krl(version=2),
        krl((4, b"")),
        krl((6, b"")),
        krl((2, string(b""))),
        krl((3, string(b"h" * 32))),
        krl((5, string(b"h" * 20))),
        krl(certificates((0x20, b"\0" * 7))),
        krl(certificates((0x21, u64(9) + u64(5)))),
        krl(certificates((0x21, u64(9)))),
        krl(certificates((0x22, u64(9) + string(b"\xff")))),
        krl(certificates((0x22, u64(9) + string(b"\0\5")))),
        krl(certificates((0x22, u64(TOP) + string(b"\1\0\0")))),
        krl(certificates((0x22, u64(9) + string(b"\5") + b"\0"))),
        krl(certificates((0x24, b""))),
        krl((1, b"")),
        b"ssh-ed25519\n",
        b"ssh-ed25519 !!!!\n",
        b"ssh-rsa " + public_line(BLOB).split()[1].encode() + b"\n",
        b"SHA256:abc\n",
    ],
)
def test_lists_that_are_refused(data: bytes) -> None:
    """A list of another version, or with a part that is not understood or malformed, is none."""
    with pytest.raises(ValueError):
        parse_revocation_list(data)


@pytest.mark.exhaustive
@settings(derandomize=True, deadline=None, max_examples=400)
@given(st.binary(max_size=80), st.integers(8, 300), st.integers(0, 30))
def test_hostile_lists(junk: bytes, position: int, dropped: int) -> None:
    """Junk anywhere in a list is refused, or read as a list; nothing else happens."""
    try:
        found = parse_revocation_list(WHOLE[:position] + junk + WHOLE[position + dropped :])
    except ValueError:
        return
    found.why_revoked(BLOB, certificate())


def test_plain_lists() -> None:
    """A public key a line revokes, a certificate there its key, and keys that no login takes do no harm."""
    dsa = base64.b64encode(string(b"ssh-dss") + string(b"\1") * 4)
    lines = [b"# comment", b"", public_line(OTHER).encode() + b" bob@example", b"ssh-dss " + dsa]
    found = parse_revocation_list(b"\n".join(lines))
    assert found.why_revoked(OTHER) == "the key is revoked"
    assert found.why_revoked(BLOB) == ""
    with_certificate = f"ssh-ed25519-cert-v01@openssh.com {base64.b64encode(certificate().blob).decode()}\n"
    assert parse_revocation_list(with_certificate.encode()).why_revoked(BLOB)


def test_the_file(tmp_path: Path) -> None:
    """The file is read again when it has changed; while it cannot be used, nothing is known about any key."""
    path = tmp_path / "revoked"
    path.write_text("")
    path.chmod(0o600)
    revoked = RevokedKeys(str(path))
    assert revoked.why_revoked(BLOB) == ""
    path.write_text(public_line(BLOB))
    assert revoked.why_revoked(BLOB) == "the key is revoked"
    path.write_text("junk")
    for _ in range(2):
        with pytest.raises(BadRevocationList, match=r"line 1 is no public key; make the list again"):
            revoked.why_revoked(BLOB)
    path.write_bytes(krl((2, string(BLOB)))[:-1])
    with pytest.raises(BadRevocationList, match="no whole list"):
        revoked.why_revoked(BLOB)
    path.write_bytes(krl())
    assert revoked.why_revoked(BLOB) == ""
    path.chmod(0o666)
    with pytest.raises(FileProblem, match="writable"):
        revoked.why_revoked(BLOB)
    path.chmod(0o600)
    path.write_bytes(b"#" * MAX_REVOKED_KEYS_BYTES)
    assert revoked.why_revoked(BLOB) == ""
    path.write_bytes(b"#" * (MAX_REVOKED_KEYS_BYTES + 1))
    with pytest.raises(FileProblem, match=f"more than {MAX_REVOKED_KEYS_BYTES} bytes"):
        revoked.why_revoked(BLOB)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        revoked.why_revoked(BLOB)
    os.mkfifo(path)
    with pytest.raises(FileProblem, match="not a regular file"):
        revoked.why_revoked(BLOB)


def test_a_broken_file_is_looked_through_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """F-08: what is no list is not parsed again for each client that tries to log in, only when it has changed."""
    parsed: list[bytes] = []

    def count(data: bytes) -> RevocationList:
        parsed.append(data)
        return parse_revocation_list(data)

    monkeypatch.setattr(revocation, "parse_revocation_list", count)
    path = tmp_path / "revoked"
    path.write_text("junk")
    path.chmod(0o600)
    revoked = RevokedKeys(str(path))
    for _ in range(3):
        with pytest.raises(BadRevocationList):
            revoked.why_revoked(BLOB)
    assert parsed == [b"junk"]
    path.write_text(public_line(BLOB))
    assert revoked.why_revoked(BLOB) == "the key is revoked"


@pytest.mark.real
def test_lists_of_openssh(tmp_path: Path) -> None:
    """A-17: ssh-keygen -k makes lists, and -Q says of each of many certificates and keys what is said here."""
    authority = str(tmp_path / "ca")
    ssh_keygen("-q", "-t", "ed25519", "-N", "", "-f", authority)
    user = str(tmp_path / "user")
    ssh_keygen("-q", "-t", "ed25519", "-N", "", "-f", user)
    dice = random.Random(15)
    serials = [dice.randrange(1, 400) for _ in range(12)] + [2**63, 2**64 - 1]
    made = []
    for number, serial in enumerate(serials):
        path = tmp_path / f"c{number}.pub"
        path.write_text(Path(f"{user}.pub").read_text())
        ssh_keygen("-q", "-s", authority, "-I", f"id {number}", "-n", "alice", "-z", str(serial), str(path))
        made.append(tmp_path / f"c{number}-cert.pub")
    specifications = [
        "serial: 5-100\nserial: 150\n",
        "".join(f"serial: {serial}\n" for serial in range(1, 400, 3)),
        f"serial: {2**63}-{2**64 - 1}\n",
        "id: id 3\nid: id 7\n",
        f"key: {Path(user + '.pub').read_text()}",
        f"sha1: {Path(user + '.pub').read_text()}",
        f"sha256: {Path(user + '.pub').read_text()}",
        "serial: 399\n",
    ]
    for number, text in enumerate(specifications):
        source, path = tmp_path / f"spec{number}", tmp_path / f"krl{number}"
        source.write_text(text)
        ssh_keygen("-q", "-k", "-f", str(path), "-s", f"{authority}.pub", str(source))
        found = parse_revocation_list(path.read_bytes())
        for file in [*made, Path(f"{user}.pub")]:
            asked = subprocess.run(
                [require_tool("ssh-keygen"), "-Q", "-f", str(path), str(file)], capture_output=True, timeout=60
            )
            blob = base64.b64decode(file.read_text().split()[1])
            if file.name.endswith("-cert.pub"):
                one = parse_certificate(blob)
                said = found.why_revoked(one.key.blob, one)
            else:
                said = found.why_revoked(blob)
            assert bool(said) == (asked.returncode != 0), (text, file, asked.stdout)
