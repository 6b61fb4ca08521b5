"""Servers that an SSH authority vouches for: with certificates of one's own, and against ssh-keygen."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests.serving import Serving, asynchronous, cut, reactor
from tests.trust.authority import AUTHORITY, SERVER, certify, option
from tests.trust.keys import blob_of, key_blob
from tests.trust.test_ssh_keygen import ssh_keygen
from twisted_rsh import UnknownServer, WrongServer, connect
from twisted_rsh.client.connecting import find_authorities, find_pins
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.files import BadKeyFile, create_private_file, ensure_private_folder
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.known_servers import BadKnownServers, KnownServers
from twisted_rsh.trust.rotation import begin_rotation, finish_rotation
from twisted_rsh.trust.server_authorities import SSH_CERTIFICATE, ServerAuthorities, wrap_certificate
from twisted_rsh.trust.server_key import ServerKey, _make_certificate, load_or_create_server_key
from twisted_rsh.trust.ssh_keys import public_line

CA_BLOB = key_blob("ssh-ed25519", AUTHORITY)
CA_LINE = public_line(CA_BLOB)
HOST = "127.0.0.1"


def certified(key: ServerKey, **words: object) -> bytes:
    """A server's certificate for :data:`HOST`."""
    given: dict[str, Any] = {"kind": SERVER, "principals": [HOST.encode()], **words}
    return certify(blob_of(key.private_key.public_key()), **given)


def tls_certificate(key: ServerKey, extension: x509.UnrecognizedExtension | None) -> bytes:
    """The certificate of TLS, in DER."""
    return _make_certificate(key.private_key, extension).public_bytes(Encoding.DER)


def put(path: str, text: str) -> None:
    """Write a file of the user's, in place of an earlier one."""
    ensure_private_folder(str(Path(path).parent))
    Path(path).unlink(missing_ok=True)
    create_private_file(path, text.encode())


def put_certificate(config: ConfigFolders, blob: bytes) -> None:
    """Put a certificate beside the server's key."""
    encoded = base64.b64encode(blob).decode()
    put(config.server_certificate_path, f"ecdsa-sha2-nistp256-cert-v01@openssh.com {encoded} a comment\n")


KEY = ServerKey.generate()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({}, ""),
        ({"principals": [b"127.*", b"other"]}, ""),
        ({"principals": [b"build"]}, "it is for 'build', and not for '127.0.0.1'"),
        ({"principals": []}, "it has no name of a user or a host"),
        ({"kind": 1}, "it is one of a user, and not of a server"),
        ({"after": 2_000}, "it is not valid yet"),
        ({"before": 1_000}, "it has expired"),
        ({"critical": ((b"new", option(b"")),)}, "is not known here"),
        ({"algorithm": "ecdsa-sha2-nistp256"}, "is not one of known_servers"),
        ({"signed": b"other"}, "the signature is not by this key"),
        ({"behind": b"\0"}, "the certificate is malformed"),
    ],
)
def test_what_an_authority_vouches_for(words: dict[str, object], said: str) -> None:
    """A server is the right one if its certificate is for the host, valid at that second, and of a known authority."""
    authorities = ServerAuthorities([CA_BLOB], HOST, lambda: 1_500.0)
    why = authorities.why_not(tls_certificate(KEY, wrap_certificate(certified(KEY, **words))))
    assert (said in why) if said else why == ""


def test_certificates_that_vouch_for_nothing() -> None:
    """No certificate, one of another key, junk, and another encoding make no server the right one."""
    authorities = ServerAuthorities([CA_BLOB], HOST)
    assert authorities.why_not(tls_certificate(KEY, None)) == "it shows none"
    other = ServerKey.generate()
    assert authorities.why_not(tls_certificate(other, wrap_certificate(certified(KEY)))) == "it is of another key"
    whole = wrap_certificate(certified(KEY)).value
    for value in (b"", b"\4", whole[:-1], whole + b"\0", b"\3" + whole[1:], b"\4\x83\0" + whole[2:]):
        bad = x509.UnrecognizedExtension(SSH_CERTIFICATE, value)
        assert "malformed" in authorities.why_not(tls_certificate(KEY, bad))
    whole_certificate = tls_certificate(KEY, wrap_certificate(certified(KEY)))
    assert authorities.why_not(whole_certificate) == ""
    for size in range(0, len(whole_certificate), 11):
        assert authorities.why_not(whole_certificate[:size])
    assert ServerAuthorities([], HOST).why_not(whole_certificate)


def test_revoked_keys(config: ConfigFolders) -> None:
    """``@revoked`` takes a key from the hosts of its patterns: as a known one, a certified one, and an authority's."""
    blob = blob_of(KEY.private_key.public_key())
    certificate = tls_certificate(KEY, wrap_certificate(certified(KEY)))
    lines = f"@cert-authority * {CA_LINE}\n{HOST}:8082 {KEY.fingerprint}\n"
    known = KnownServers(config)

    def why_not(line: str) -> str | None:
        put(config.known_servers_path, f"{lines}{line}\n")
        authorities = find_authorities(config, HOST, 8082, None)
        return None if authorities is None else authorities.why_not(certificate)

    assert why_not(f"@revoked other,!{HOST} {public_line(blob)}") == ""
    assert known.pins(HOST, 8082) == (KEY.spki_sha256,)
    assert why_not(f"@revoked {HOST} {public_line(blob)} stolen") == "known_servers has its key as a revoked one"
    assert known.pins(HOST, 8082) == ()
    assert why_not(f"@revoked * {CA_LINE}") is None
    assert known.pins(HOST, 8082) == (KEY.spki_sha256,)


def test_lines_of_known_servers(config: ConfigFolders) -> None:
    """``@cert-authority`` counts for the hosts of its patterns; other lines and programs leave it as it is."""
    put(
        config.known_servers_path,
        f"@cert-authority *.example.org,!bad.example.org {CA_LINE} the company's\n"
        f"  @cert-authority [::1]:9000,10.0.0.?:8082 {CA_LINE}\n",
    )
    known = KnownServers(config)
    assert list(known) == []
    for host, port in (("a.example.org", 1), ("A.B.Example.ORG", 8082), ("::1", 9000), ("10.0.0.7", 8082)):
        assert known.authorities(host, port) == (CA_BLOB,)
        assert find_pins(config, host, port, None) == ()
        assert find_authorities(config, host, port, "SHA256:" + "A" * 43) is None
    for host, port in (("example.org", 1), ("bad.example.org", 1), ("::1", 9001), ("10.0.0.7", 8083)):
        assert known.authorities(host, port) == ()
    with pytest.raises(UnknownServer):
        find_pins(config, "bad.example.org", 8082, None)
    known.add("a.example.org", 1, b"k" * 32)
    known.forget("a.example.org", 1)
    assert known.authorities("a.example.org", 1) == (CA_BLOB,)


@pytest.mark.parametrize(
    "line",
    [
        "@cert-authority",
        "@cert-authority *",
        "@cert-authority * ssh-ed25519",
        "@cert-authority * ssh-ed25519 !!!!",
        f"@cert-authority * ssh-rsa {CA_LINE.split()[1]}",
        f"@cert-authority * {CA_LINE[:-4]}",
        f"@cert-authorityx * {CA_LINE}",
        "@revoked *",
        f"@revoked * ssh-rsa {CA_LINE.split()[1]}",
        f"@other * {CA_LINE}",
        f"@cert-authority {CA_LINE}",
    ],
)
def test_wrong_lines(config: ConfigFolders, line: str) -> None:
    """A line that is wrong refuses the file, so that no server becomes unknown by a typing error."""
    put(config.known_servers_path, f"@cert-authority * {CA_LINE}\n{line}\n")
    for read in (lambda: list(KnownServers(config)), lambda: [*KnownServers(config).authorities("host", 1)]):
        with pytest.raises(BadKnownServers, match="line 2 is wrong"):
            read()


def test_the_file_of_the_server(config: ConfigFolders) -> None:
    """The server shows the certificate beside its key; a wrong one is a line with a way out."""
    key = load_or_create_server_key(config)
    put_certificate(config, certified(key))
    again = load_or_create_server_key(config)
    assert again.spki_sha256 == key.spki_sha256
    assert ServerAuthorities([CA_BLOB], HOST).why_not(again.certificate.public_bytes(Encoding.DER)) == ""
    for bad in (certified(ServerKey.generate()), certified(key, kind=1), certified(key)[:-1], b"junk"):
        put_certificate(config, bad)
        with pytest.raises(BadKeyFile, match=r"key-cert\.pub .*; "):
            load_or_create_server_key(config)


def test_a_rotation(config: ConfigFolders) -> None:
    """A rotation does not end while the file has the certificate of the old key, with which no server would start."""
    current, following = begin_rotation(config)
    put_certificate(config, certified(current))
    with pytest.raises(BadKeyFile, match=re.escape(f"of the key {following.fingerprint}; ")):
        finish_rotation(config)
    assert load_or_create_server_key(config).spki_sha256 == current.spki_sha256
    put_certificate(config, certified(following))
    finish_rotation(config)
    assert load_or_create_server_key(config).spki_sha256 == following.spki_sha256


@pytest.mark.parametrize("is_vouched_for", [True, False])
@asynchronous
async def test_a_login(config: ConfigFolders, tmp_path: Path, is_vouched_for: bool) -> None:
    """A client logs in to a server that its authority vouches for, without a fingerprint, and stays with that key;
    one whose certificate does not count is sent nothing, and the line says why."""
    put_certificate(
        config, certified(load_or_create_server_key(config), principals=[b"127.*" if is_vouched_for else b"x"])
    )
    other = ConfigFolders.at(str(tmp_path / "other"))
    put(config.authorized_keys_path, f"{load_or_create_client_key(other).public_line}\n")
    put(other.known_servers_path, f"@cert-authority {HOST} {CA_LINE}\n")
    serving = Serving(config)
    await serving.start()
    connecting = connect(reactor, HOST, serving.port, config=other)
    if is_vouched_for:
        connection = await connecting
        cut(connection)
        assert (await connection.run("echo here")).text == "here\n"
        await connection.close()
        assert list(KnownServers(other)) == []
    else:
        with pytest.raises(WrongServer, match=r"certificate does not count: it is for 'x', and not for '127.0.0.1'"):
            await connecting
    await serving.stop()


@pytest.mark.real
def test_certificates_of_openssh(config: ConfigFolders, tmp_path: Path) -> None:
    """A-17: the documented commands of ssh-keygen certify a server's key."""
    load_or_create_server_key(config)
    authority = str(tmp_path / "ca")
    ssh_keygen("-q", "-t", "ed25519", "-N", "", "-f", authority)
    public = Path(config.server_key_path).with_name("key.pub")
    public.write_bytes(ssh_keygen("-y", "-f", config.server_key_path))
    ssh_keygen("-q", "-s", authority, "-h", "-I", "build", "-n", "build.example.org", "-V", "+52w", str(public))
    der = load_or_create_server_key(config).certificate.public_bytes(Encoding.DER)
    blob = base64.b64decode(Path(f"{authority}.pub").read_text().split()[1])
    assert ServerAuthorities([blob], "build.example.org").why_not(der) == ""
    assert "has expired" in ServerAuthorities([blob], "build.example.org", lambda: time.time() + 370 * 86400).why_not(
        der
    )
