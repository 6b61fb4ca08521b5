"""Tests against OpenSSH itself: its keys and signatures are ours, and ours are its."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.trust.keys import EXPORTER, SPKI, string
from twisted_rsh.trust.authorized_keys import LineProblem, parse_authorized_keys
from twisted_rsh.trust.client_key import ClientKey, load_or_create_client_key
from twisted_rsh.trust.files import BadKeyFile, ensure_private_folder
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.ssh_keys import BadSignature
from twisted_rsh.trust.ssh_wire import split_strings
from twisted_rsh.trust.sshsig import LOGIN_NAMESPACE, login_message, verify_login

pytestmark = pytest.mark.real

TYPES = [
    (("-t", "ed25519"), "ssh-ed25519"),
    (("-t", "ecdsa", "-b", "256"), "ecdsa-sha2-nistp256"),
    (("-t", "ecdsa", "-b", "384"), "ecdsa-sha2-nistp384"),
    (("-t", "ecdsa", "-b", "521"), "ecdsa-sha2-nistp521"),
    (("-t", "rsa", "-b", "2048"), "rsa-sha2-512"),
]

by_type = pytest.mark.parametrize(("options", "algorithm"), TYPES, ids=[algorithm for _, algorithm in TYPES])


def ssh_keygen(*arguments: str, data: bytes = b"") -> bytes:
    """Run ssh-keygen; return what it printed."""
    done = subprocess.run([require_tool("ssh-keygen"), *arguments], input=data, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_key(config: ConfigFolders, *options: str, passphrase: str = "") -> None:
    """Let ssh-keygen make the client's key."""
    ensure_private_folder(config.config)
    ssh_keygen("-q", *options, "-N", passphrase, "-C", "a comment", "-f", config.client_key_path)


def armor(key: ClientKey, signature: bytes) -> str:
    """Write a login's signature as the file that ssh-keygen reads (PROTOCOL.sshsig)."""
    fields = (key.blob, LOGIN_NAMESPACE.encode(), b"", b"sha512", signature)
    content = b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(map(string, fields))
    text = base64.encodebytes(content).decode()
    return f"-----BEGIN SSH SIGNATURE-----\n{text}-----END SSH SIGNATURE-----\n"


@by_type
def test_our_signature_verifies_with_ssh_keygen(
    config: ConfigFolders, tmp_path: Path, options: tuple[str, ...], algorithm: str
) -> None:
    """A-17: what our client signs with OpenSSH's key is what OpenSSH calls a good signature in our namespace."""
    make_key(config, *options)
    key = load_or_create_client_key(config)
    assert key.algorithm == algorithm
    (tmp_path / "signature").write_text(armor(key, key.sign_login(EXPORTER, SPKI, "alice")))
    (tmp_path / "signers").write_text(f'alice namespaces="{LOGIN_NAMESPACE}" {key.public_line}\n')
    ssh_keygen(
        *("-Y", "verify", "-n", LOGIN_NAMESPACE, "-I", "alice"),
        *("-f", str(tmp_path / "signers"), "-s", str(tmp_path / "signature")),
        data=login_message(EXPORTER, SPKI, "alice", algorithm, key.blob),
    )


@by_type
@pytest.mark.parametrize("namespace", [LOGIN_NAMESPACE, "file"])
def test_signature_of_ssh_keygen_verifies_here(
    config: ConfigFolders, tmp_path: Path, options: tuple[str, ...], algorithm: str, namespace: str
) -> None:
    """A-17: what OpenSSH signs in our namespace is a login, and what it signs in another is not."""
    make_key(config, *options)
    (blob,) = parse_authorized_keys(Path(config.client_public_key_path).read_bytes()).blobs
    message = tmp_path / "message"
    message.write_bytes(login_message(EXPORTER, SPKI, "alice", algorithm, blob))
    ssh_keygen("-Y", "sign", "-n", namespace, "-f", config.client_key_path, str(message))
    lines = Path(f"{message}.sig").read_text().splitlines()
    content = base64.b64decode("".join(lines[1:-1]))
    signature = split_strings(content[10:])[-1]
    if namespace == LOGIN_NAMESPACE:
        key = verify_login(blob, algorithm, signature, exporter=EXPORTER, server_spki_sha256=SPKI, user="alice")
        assert key.blob == blob
    else:
        with pytest.raises(BadSignature):
            verify_login(blob, algorithm, signature, exporter=EXPORTER, server_spki_sha256=SPKI, user="alice")


@by_type
def test_names_of_keys(config: ConfigFolders, options: tuple[str, ...], algorithm: str) -> None:
    """A key has the fingerprint here that ssh-keygen prints."""
    make_key(config, *options)
    printed = ssh_keygen("-l", "-f", config.client_public_key_path).decode().split()
    key = load_or_create_client_key(config)
    assert key.fingerprint == printed[1]
    assert key.algorithm == algorithm


def test_ssh_keygen_reads_our_key(config: ConfigFolders) -> None:
    """The key that the client makes is one that ssh-keygen can use."""
    key = load_or_create_client_key(config)
    assert ssh_keygen("-y", "-f", config.client_key_path).decode().split()[:2] == key.public_line.split()


def test_key_with_a_passphrase(config: ConfigFolders) -> None:
    """A program is told to use an agent for a key that is protected by a passphrase; without one the key works."""
    make_key(config, "-t", "ed25519", passphrase="secret phrase")
    with pytest.raises(BadKeyFile, match=r"passphrase; load it into an agent with: ssh-add \S*/id_ed25519$"):
        load_or_create_client_key(config)
    ssh_keygen("-p", "-P", "secret phrase", "-N", "", "-f", config.client_key_path)
    assert load_or_create_client_key(config).algorithm == "ssh-ed25519"


def test_key_in_another_format(config: ConfigFolders) -> None:
    """A key in the old PEM format is refused with the command that converts it, and that works."""
    make_key(config, "-t", "rsa", "-b", "2048", "-m", "PEM")
    with pytest.raises(BadKeyFile, match="convert it with: ssh-keygen -p -N ''"):
        load_or_create_client_key(config)
    ssh_keygen("-p", "-N", "", "-f", config.client_key_path)
    assert load_or_create_client_key(config).algorithm == "rsa-sha2-512"


def test_certificate_is_no_key(config: ConfigFolders, tmp_path: Path) -> None:
    """A-06: a certificate that OpenSSH made grants nothing."""
    make_key(config, "-t", "ed25519")
    ssh_keygen("-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "authority"))
    ssh_keygen("-q", "-s", str(tmp_path / "authority"), "-I", "id", "-n", "alice", config.client_public_key_path)
    keys = parse_authorized_keys(Path(f"{config.client_key_path}-cert.pub").read_bytes())
    assert [type(line) for line in keys] == [LineProblem]
