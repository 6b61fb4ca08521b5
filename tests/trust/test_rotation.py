"""The change of a server's key with an overlap: its files, and what both keys sign."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from tests.core.vectors import load
from tests.trust.keys import EXPORTER, private_key
from twisted_rsh.core.login import NextKey
from twisted_rsh.trust.files import BadKeyFile, FileProblem
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.rotation import (
    BadAnnouncement,
    NoRotation,
    announce,
    begin_rotation,
    finish_rotation,
    next_server_key,
    verify_announcement,
)
from twisted_rsh.trust.server_key import ServerKey, load_or_create_server_key

VECTORS = load("next_key")


def der_of(key: Any) -> bytes:
    """Write a public key as a SubjectPublicKeyInfo."""
    return bytes(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


def test_announced_key() -> None:
    """What a server announces tells a client the pin of the next key."""
    current, following = ServerKey.generate(), ServerKey.generate()
    announced = announce(current, following, EXPORTER)
    assert verify_announcement(announced, current.private_key.public_key(), EXPORTER) == following.spki_sha256


@pytest.mark.parametrize("vector", [*VECTORS["announced"], *VECTORS["refused"]], ids=lambda vector: vector["name"])
def test_vectors(vector: dict[str, str]) -> None:
    """The announcements of the vectors are taken, and refused, as they say."""
    announced = NextKey(*(bytes.fromhex(vector[name]) for name in ("next_key", "next_key_proof", "next_key_signature")))
    current: Any = load_der_public_key(bytes.fromhex(VECTORS["key"]))
    exporter = bytes.fromhex(VECTORS["exporter"])
    if "next_pin" in vector:
        assert verify_announcement(announced, current, exporter).hex() == vector["next_pin"]
    else:
        with pytest.raises(BadAnnouncement):
            verify_announcement(announced, current, exporter)


def test_every_part_counts() -> None:
    """An announcement holds for its own connection, its own two keys, and with both signatures, each whole."""
    current, following, other = (ServerKey.generate() for _ in range(3))
    public_key = current.private_key.public_key()
    good = announce(current, following, EXPORTER)
    swapped = NextKey(good.key, proof=good.signature, signature=good.proof)
    mallory = announce(other, following, EXPORTER)
    wrong = [
        (good, other.private_key.public_key(), EXPORTER),
        (good, public_key, EXPORTER[::-1]),
        (swapped, public_key, EXPORTER),
        (mallory, public_key, EXPORTER),
        (replace(good, key=der_of(other.private_key.public_key())), public_key, EXPORTER),
        (replace(good, proof=good.signature), public_key, EXPORTER),
        (replace(good, signature=good.proof), public_key, EXPORTER),
        # A key that somebody else holds: the server could not name it as its own.
        (
            NextKey(good.key, proof=announce(current, other, EXPORTER).proof, signature=good.signature),
            public_key,
            EXPORTER,
        ),
    ]
    for announced, key, exporter in wrong:
        with pytest.raises(BadAnnouncement):
            verify_announcement(announced, key, exporter)
    for field in ("key", "proof", "signature"):
        whole = getattr(good, field)
        for part in [whole[:size] for size in range(len(whole))] + [whole + b"\0", bytes(len(whole))]:
            with pytest.raises(BadAnnouncement):
                verify_announcement(replace(good, **{field: part}), public_key, EXPORTER)


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP384R1()), private_key("rsa-sha2-512")])
def test_other_kinds_of_keys(key: Any) -> None:
    """Only a key on P-256 can be a server's next one."""
    current = ServerKey.generate()
    good = announce(current, current, EXPORTER)
    with pytest.raises(BadAnnouncement):
        verify_announcement(replace(good, key=der_of(key.public_key())), current.private_key.public_key(), EXPORTER)


def test_a_rotation(config: ConfigFolders) -> None:
    """The next key is made once, private; the end makes it the server's, and leaves no old one."""
    current, following = begin_rotation(config)
    assert begin_rotation(config)[1].spki_sha256 == following.spki_sha256 != current.spki_sha256
    path = Path(config.next_server_key_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create_server_key(config).spki_sha256 == current.spki_sha256
    announced = next_server_key(config, current)
    assert announced is not None
    assert announced.spki_sha256 == following.spki_sha256
    assert finish_rotation(config).spki_sha256 == following.spki_sha256
    assert os.listdir(path.parent) == ["key.pem"]
    # A server that has not been restarted goes on to announce what it will be.
    announced = next_server_key(config, current)
    assert announced is not None
    assert announced.spki_sha256 == following.spki_sha256
    assert next_server_key(config, following) is None
    assert load_or_create_server_key(config).spki_sha256 == following.spki_sha256
    with pytest.raises(NoRotation, match="twisted-rsh rotate"):
        finish_rotation(config)


def test_an_end_that_was_interrupted(config: ConfigFolders) -> None:
    """The end can be repeated when the machine failed between its two steps, and another rotation begins anew."""
    for repeat in (True, False):
        _, following = begin_rotation(config)
        data = Path(config.next_server_key_path).read_bytes()
        Path(config.server_key_path).write_bytes(data)
        assert next_server_key(config, following) is None
        if repeat:
            assert finish_rotation(config).spki_sha256 == following.spki_sha256
            assert not Path(config.next_server_key_path).exists()
        else:
            current, third = begin_rotation(config)
            assert current.spki_sha256 == following.spki_sha256 != third.spki_sha256


def test_unusable_next_key(config: ConfigFolders) -> None:
    """A next key that others can read, or that is none, is refused, and the server keeps its own."""
    current, _ = begin_rotation(config)
    path = Path(config.next_server_key_path)
    path.chmod(0o644)
    for act in (begin_rotation, finish_rotation, lambda folders: next_server_key(folders, current)):
        with pytest.raises(FileProblem, match="may read"):
            act(config)
    path.chmod(0o600)
    path.write_bytes(b"no key")
    with pytest.raises(BadKeyFile):
        finish_rotation(config)
    assert load_or_create_server_key(config).spki_sha256 == current.spki_sha256


@pytest.mark.parametrize("step", ["write", "rename", "link"])
def test_full_disk(config: ConfigFolders, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """R-12: a disk that is full at any write leaves the server's key, and no half-written file."""
    current = load_or_create_server_key(config)
    if step != "link":
        begin_rotation(config)

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync" if step == "write" else step, fail)
        with pytest.raises(OSError, match="No space") as caught:
            (begin_rotation if step == "link" else finish_rotation)(config)
    assert caught.value.filename in (config.server_key_path, config.next_server_key_path)
    assert load_or_create_server_key(config).spki_sha256 == current.spki_sha256
    assert sorted(os.listdir(os.path.dirname(config.server_key_path))) == ["key.pem"] + (
        [] if step == "link" else ["next_key.pem"]
    )
