"""All fuzz targets: each gives bytes to one decoder and raises nothing for bytes that the decoder handles well.

A target catches the errors that its decoder documents.  Any other exception is a finding.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import functools
import os
import shutil
import struct
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA512
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    SSHCertificateBuilder,
    SSHCertificateType,
)

from fuzz.sessions import (
    CLIENT_SEEDS,
    SERVER_SEEDS,
    client_login,
    client_resume,
    client_session,
    server_login,
    server_session,
)
from twisted_rsh.client.text import Transcoder
from twisted_rsh.core.codec import Decoder, encode_control
from twisted_rsh.core.errors import RemoteProtocolError
from twisted_rsh.core.messages import Open
from twisted_rsh.core.requests import JobRequest, Terminal
from twisted_rsh.core.roles import Phase, Role
from twisted_rsh.execution.account import Account
from twisted_rsh.execution.plan import plan_job
from twisted_rsh.execution.shells.evaluation import ReportReader
from twisted_rsh.execution.shells.reports import GarbledReport
from twisted_rsh.execution.trees import table
from twisted_rsh.interfaces import JobRefused
from twisted_rsh.trust import client_key as client_key_module
from twisted_rsh.trust import server_key as server_key_module
from twisted_rsh.trust.authorized_keys import parse_authorized_keys
from twisted_rsh.trust.certificates import NotGranted, grant_user, parse_certificate
from twisted_rsh.trust.files import BadKeyFile, replace_private_file
from twisted_rsh.trust.fingerprint import (
    BadFingerprint,
    certificate_spki_sha256,
    format_fingerprint,
    parse_fingerprint,
)
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import BadRecord, ServerRecord, read_record, write_record
from twisted_rsh.trust.revocation import parse_revocation_list
from twisted_rsh.trust.ssh_keys import BadKey, BadSignature, check_public_key, parse_public_key
from twisted_rsh.trust.ssh_wire import BadWire, decode_mpint, encode_mpint, encode_string, split_strings
from twisted_rsh.trust.sshsig import verify_login

__all__ = ["TARGETS", "Target"]


@dataclass(frozen=True)
class Target:
    """A fuzz target.

    :ivar run: gives bytes to the decoder.
    :ivar seeds: inputs that the decoder accepts, from which a fuzzer starts.
    """

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]


@functools.cache
def ed25519() -> Ed25519PrivateKey:
    """Return a key."""
    return Ed25519PrivateKey.from_private_bytes(bytes(32))


@functools.cache
def ecdsa() -> ec.EllipticCurvePrivateKey:
    """Return a key."""
    return ec.derive_private_key(777, ec.SECP256R1())


@functools.cache
def rsa_key() -> rsa.RSAPrivateKey:
    """Return a key."""
    return rsa.generate_private_key(65537, 2048)


def public_line(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """Return the line of a key in ``authorized_keys``."""
    return key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)


def blob(key: Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    """Return a key as SSH writes it on the wire."""
    return base64.b64decode(public_line(key).split(b" ")[1])


def decoder(role: Role, phase: Phase) -> Callable[[bytes], None]:
    """Return a function that decodes one payload, as `role` in `phase`."""

    def run(data: bytes) -> None:
        with contextlib.suppress(RemoteProtocolError):
            Decoder(role, phase).decode(data)

    return run


def ssh_wire(data: bytes) -> None:
    """Read strings and numbers, which must be written again as they were read."""
    with contextlib.suppress(BadWire):
        parts = split_strings(data)
        assert b"".join(map(encode_string, parts)) == data
        for part in parts:
            assert encode_mpint(decode_mpint(part)) == encode_string(part)


def public_key(data: bytes) -> None:
    """Read a key, which must be written again as it was read."""
    with contextlib.suppress(BadKey):
        assert parse_public_key(data).blob == data


def signature(data: bytes) -> None:
    """Check a signature with a key of every kind; each must refuse it."""
    for key in (ed25519(), ecdsa(), rsa_key()):
        public = parse_public_key(blob(key))
        for algorithm in public.algorithms:
            with contextlib.suppress(BadSignature):
                public.verify(algorithm, data, b"unsigned text")
                raise AssertionError(data)


def login(data: bytes) -> None:
    """Check a login whose key, algorithm, signature and user are cut out of the bytes."""
    pieces = [*data.split(b"\xff\xff"), b"", b"", b""]
    for key in (pieces[0], blob(ed25519())):
        with contextlib.suppress(BadKey, BadSignature):
            verify_login(
                key,
                pieces[1].decode("utf-8", "replace"),
                pieces[2],
                exporter=bytes(32),
                server_spki_sha256=bytes(32),
                user=pieces[3].decode("utf-8", "replace") if len(pieces) > 6 else "alice",
            )
            raise AssertionError(data)


def authorized_keys(data: bytes) -> None:
    """Read a file of keys; no content is an error."""
    keys = parse_authorized_keys(data)
    for key in keys.blobs:
        check_public_key(key)
    assert all(1 <= number <= data.count(b"\n") + 1 for number in keys.ignored)


@functools.cache
def folder() -> ConfigFolders:
    """Return configuration folders that are removed when the program ends."""
    path = tempfile.mkdtemp(prefix="twisted-rsh-fuzz-")
    atexit.register(shutil.rmtree, path)
    config = ConfigFolders.at(path)
    write_record(config, 1, ServerRecord(bytes(32), "00", 1, ("127.0.0.1",)))
    return config


def record(data: bytes) -> None:
    """Read a server's record."""
    replace_private_file(folder().record_path(1), data)
    with contextlib.suppress(BadRecord):
        read_record(folder(), 1)


@functools.cache
def good_record() -> bytes:
    """Return the text of a record."""
    write_record(folder(), 2, ServerRecord(bytes(32), "00", 1, ("127.0.0.1",)))
    with open(folder().record_path(2), "rb") as file:
        return file.read()


def client_key(data: bytes) -> None:
    """Read a client's key file."""
    with contextlib.suppress(BadKeyFile):
        client_key_module._parse("a file", data)


def server_key(data: bytes) -> None:
    """Read a server's key file."""
    with contextlib.suppress(BadKeyFile):
        server_key_module._parse("a file", data)


def certificate(data: bytes) -> None:
    """Take the key out of a certificate."""
    with contextlib.suppress(BadFingerprint):
        assert len(certificate_spki_sha256(data)) == 32


def ssh_certificate(data: bytes) -> None:
    """Read a certificate of SSH, and ask whom it lets in."""
    with contextlib.suppress(BadKey, BadSignature):
        found = parse_certificate(data)
        with contextlib.suppress(NotGranted):
            grant_user(found, {"alice"}, 0.0)


def revocation_list(data: bytes) -> None:
    """Read a list of revoked keys, and look a key up."""
    with contextlib.suppress(ValueError):
        parse_revocation_list(data).why_revoked(blob(ed25519()))


@functools.cache
def good_ssh_certificate() -> bytes:
    """A certificate that an authority has made."""
    builder = SSHCertificateBuilder().public_key(ed25519().public_key()).serial(7).type(SSHCertificateType.USER)
    builder = builder.key_id(b"alice").valid_principals([b"alice"]).valid_after(0).valid_before(2**40)
    return base64.b64decode(builder.sign(ecdsa()).public_bytes().split()[1])


def fingerprint(data: bytes) -> None:
    """Read a fingerprint as a user types it."""
    with contextlib.suppress(BadFingerprint):
        assert len(parse_fingerprint(data.decode("utf-8", "surrogateescape"))) == 32


def job_request(data: bytes) -> None:
    """Let a server plan the job that an OPEN asks for."""
    with contextlib.suppress(RemoteProtocolError, JobRefused):
        _, message = Decoder(Role.SERVER, Phase.SESSION).decode(b"\x21" + bytes(8) + data)
        assert isinstance(message, Open)
        request = message.request
        if request.shell is None and request.in_shell is None:
            plan_job(request, account(), program_check=lambda _path: None, folder_check=lambda _path: None)


@functools.cache
def account() -> Account:
    """Return the account that runs this program."""
    return Account.current(os.environ, "/bin/sh", "utf-8")


def shell_reports(data: bytes) -> None:
    """Read the reports of a persistent shell, in pieces."""
    reader = ReportReader()
    with contextlib.suppress(GarbledReport):
        for start in range(0, len(data), 100):
            reader.feed(data[start : start + 100])


def process_stat(data: bytes) -> None:
    """Read a line of ``/proc``, whose process may have any name."""
    with contextlib.suppress(ValueError, IndexError):
        table._parse(1, data)


def text(data: bytes) -> None:
    """Convert a program's output for another terminal; no byte is an error."""
    for source, target in (("utf-8", "gbk"), ("gbk", "utf-8"), ("utf-8", "ascii"), ("shift_jis", "utf-8")):
        transcoder = Transcoder(source, target)
        for start in range(0, len(data), 7):
            transcoder.convert(data[start : start + 7])
        transcoder.finish()


_TERMINAL = Terminal(term="xterm", columns=80, rows=24, modes=(("ECHO", 1),))
_OPENS = (
    Open(
        channel=1, request=JobRequest(command="echo hi", cwd="/", environment=(("NAME", "value"),), terminal=_TERMINAL)
    ),
    Open(channel=1, request=JobRequest(argv=("ls", "-l"), timeout=0.005)),
    Open(channel=1, request=JobRequest(command="\udcff\n" * 2049, in_shell=7)),
)


def _seeds(role: Role) -> tuple[bytes, ...]:
    # The two bytes of length before each payload are not the decoder's.
    return tuple(seed[2:] for seed in (SERVER_SEEDS if role is Role.SERVER else CLIENT_SEEDS))


TARGETS: Mapping[str, Target] = {
    **{
        f"decoder-{role.value}-{phase.value}": Target(decoder(role, phase), _seeds(role))
        for role in Role
        for phase in Phase
    },
    "server-login": Target(server_login, SERVER_SEEDS),
    "client-login": Target(client_login, CLIENT_SEEDS),
    "client-resume": Target(client_resume, CLIENT_SEEDS),
    "server-session": Target(server_session, SERVER_SEEDS),
    "client-session": Target(client_session, CLIENT_SEEDS),
    "request": Target(job_request, tuple(encode_control(message, 0)[0][9:] for message in _OPENS)),
    "ssh-wire": Target(ssh_wire, (blob(ecdsa()), struct.pack("!I", 1) + b"\x01")),
    "public-key": Target(public_key, (blob(ed25519()), blob(ecdsa()), blob(rsa_key()))),
    "signature": Target(
        signature,
        (
            encode_string(b"ssh-ed25519") + encode_string(bytes(64)),
            encode_string(b"ecdsa-sha2-nistp256") + encode_string(encode_mpint(1) + encode_mpint(1)),
            encode_string(b"rsa-sha2-512") + encode_string(rsa_key().sign(b"x", padding.PKCS1v15(), SHA512())),
        ),
    ),
    "login": Target(
        login,
        (
            blob(ed25519())
            + b"\xff\xffssh-ed25519\xff\xff"
            + encode_string(b"ssh-ed25519")
            + encode_string(bytes(64))
            + b"\xff\xffalice",
        ),
    ),
    "authorized-keys": Target(
        authorized_keys,
        (public_line(ed25519()) + b" me@here\n# a comment\n\n" + public_line(ecdsa()) + b"\r\n",),
    ),
    "record": Target(record, (good_record(),)),
    "client-key": Target(
        client_key,
        tuple(
            key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
            for key in (ed25519(), ecdsa(), rsa_key())
        ),
    ),
    "server-key": Target(server_key, (ecdsa().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),)),
    "certificate": Target(certificate, (server_key_module._make_certificate(ecdsa()).public_bytes(Encoding.DER),)),
    "ssh-certificate": Target(ssh_certificate, (good_ssh_certificate(),)),
    "revocation-list": Target(
        revocation_list,
        (
            b"SSHKRL\n\0" + b"\0\0\0\1" + bytes(24 + 8) + b"\2" + encode_string(encode_string(blob(ed25519()))),
            public_line(ed25519()),
        ),
    ),
    "fingerprint": Target(fingerprint, (format_fingerprint(bytes(32)).encode(),)),
    "shell-reports": Target(shell_reports, (b"s 5\ne 5 0 himBs\n", b"r 5 255 himBs\n")),
    "process-stat": Target(process_stat, (b"1 (a name) S 0 1 1 0 -1 4194560 " + b"1 " * 40,)),
    "text": Target(text, ("中文 text".encode(), "中文".encode("gbk"))),
}
"""The targets by name."""
