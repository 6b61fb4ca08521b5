"""The client's key: made at the first use and kept in a file, or put there by the user.

The file is in OpenSSH's format, so ``ssh-keygen`` can read, change and make it.
"""

from __future__ import annotations

import base64
import shlex
from dataclasses import field
from typing import TYPE_CHECKING

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_ssh_private_key,
)

from twisted_rsh.core.values import dataclass
from twisted_rsh.trust.files import (
    BadKeyFile,
    create_private_file,
    read_or_create_secret_file,
    read_secret_file,
    read_trusted_file,
)
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import MAX_KEY_FILE_BYTES
from twisted_rsh.trust.ssh_keys import (
    HASHES,
    BadKey,
    PublicKey,
    encode_public_key,
    parse_public_key,
    parse_public_line,
    public_line,
)
from twisted_rsh.trust.ssh_wire import WireReader, encode_mpint, encode_string
from twisted_rsh.trust.sshsig import LOGIN_NAMESPACE, login_message, signed_bytes

if TYPE_CHECKING:
    from twisted_rsh.trust.certificates import Certificate

__all__ = [
    "ClientKey",
    "LockedKey",
    "WrongPassphrase",
    "load_client_key",
    "load_or_create_client_key",
    "read_public_key",
]

MAX_PUBLIC_FILE_BYTES = 16 * 1024
"""Bytes of a public key's file at most: many times as many as the longest key takes."""

_PrivateKey = Ed25519PrivateKey | rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class LockedKey(BadKeyFile):
    """A file names a key, but this program cannot sign with it as it is; an agent that has the key can.

    :ivar public_key: the key.
    :ivar takes_passphrase: whether a passphrase unlocks the file; otherwise it holds the public key alone, or that of
        an authenticator.
    """

    def __init__(self, path: str, problem: str, public_key: PublicKey, *, takes_passphrase: bool) -> None:
        super().__init__(path, problem, f"load it into an agent with: ssh-add {shlex.quote(path.removesuffix('.pub'))}")
        self.public_key = public_key
        self.takes_passphrase = takes_passphrase


class WrongPassphrase(BadKeyFile):
    """The passphrase is not that of the file."""


@dataclass(frozen=True, slots=True)
class ClientKey:
    """A private key with which a client logs in.

    :ivar public_key: its public half.
    :ivar certificate: the certificate to show for it; ``None`` for none.
    """

    public_key: PublicKey
    _private_key: _PrivateKey = field(repr=False, compare=False)
    certificate: Certificate | None = None

    @classmethod
    def generate(cls) -> ClientKey:
        """Make a new Ed25519 key that is in no file; :func:`load_or_create_client_key` makes one that is kept."""
        return _client_key(Ed25519PrivateKey.generate())

    @property
    def algorithm(self) -> str:
        """The signature algorithm that a login names."""
        return self.public_key.algorithms[0]

    @property
    def blob(self) -> bytes:
        """The public key in SSH's wire format, or the certificate of it, for a login."""
        return self.public_key.blob if self.certificate is None else self.certificate.blob

    @property
    def fingerprint(self) -> str:
        """The key's name for people, as ``ssh-keygen -l`` prints it."""
        return self.public_key.fingerprint

    @property
    def public_line(self) -> str:
        """The line to add to a server's ``authorized_keys``, without a line end."""
        return public_line(self.public_key.blob)

    def sign_login(self, exporter: bytes, server_spki_sha256: bytes, user: str) -> bytes:
        """Prove on one connection that the client holds this key.  First check that the server's key matches its pin.

        :param exporter: the client's own exporter value of this connection.
        :param server_spki_sha256: the SHA-256 of the public key that the server showed on this connection.
        :param user: the user to log in as.
        :returns: ``string(algorithm) string(signature)``; the server checks it with
            :func:`twisted_rsh.trust.sshsig.verify_login`.
        :raises ValueError: the exporter or the digest is not of its size, or (``UnicodeError``) the wire has no
            encoding of the user name.
        """
        message = login_message(exporter, server_spki_sha256, user, self.algorithm, self.blob)
        signature = self._sign(signed_bytes(message, LOGIN_NAMESPACE))
        return encode_string(self.algorithm.encode("ascii")) + encode_string(signature)

    def _sign(self, data: bytes) -> bytes:
        key = self._private_key
        if isinstance(key, Ed25519PrivateKey):
            return key.sign(data)
        if isinstance(key, rsa.RSAPrivateKey):
            return key.sign(data, padding.PKCS1v15(), HASHES[self.algorithm])
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(HASHES[self.algorithm])))
        return encode_mpint(r) + encode_mpint(s)


def load_or_create_client_key(config: ConfigFolders) -> ClientKey:
    """Read the client's key, or make an Ed25519 key if there is none.  Clients that start at the same time get one key.

    The file may hold a key of any type that :mod:`twisted_rsh.trust.ssh_keys` accepts.  If the public key is missing
    beside it, this function writes it.

    :param config: the user's folders; missing folders are made.
    :returns: the key.
    :raises BadKeyFile: the file holds no usable key, or the public key beside it belongs to another key.
    :raises twisted_rsh.trust.files.UntrustedFile: a file or a folder above it is not safe from other users.
    :raises OSError: the operating system did not allow it.
    """
    path = config.client_key_path
    key = _parse(path, read_or_create_secret_file(path, MAX_KEY_FILE_BYTES, _make_openssh))
    _match_public_file(config.client_public_key_path, key)
    return key


def load_client_key(path: str, passphrase: bytes | None = None) -> ClientKey:
    """Read a private key that the user names.

    :param path: its file, in OpenSSH's format.
    :param passphrase: what the file is protected by, for which the system works some tenths of a second; ``None`` for
        nothing.
    :returns: the key.
    :raises LockedKey: the file is protected and there is no passphrase, or it holds no private key that can be used
        without an agent.
    :raises WrongPassphrase: it is protected by another passphrase.
    :raises BadKeyFile: the file holds no usable key.
    :raises twisted_rsh.trust.files.UntrustedFile: the file or a folder above it is not safe from other users.
    :raises OSError: there is no such file, or the operating system did not allow it.
    """
    if path.endswith(".pub"):
        raise LockedKey(path, "is a public key alone", read_public_key(path), takes_passphrase=False)
    return _parse(path, read_secret_file(path, MAX_KEY_FILE_BYTES), passphrase)


def read_public_key(path: str) -> PublicKey:
    """Read the public half of a key, for which no passphrase is needed.

    :param path: the file of a private key in OpenSSH's format, or one with a public key, whose name ends in ``.pub``.
    :raises BadKeyFile: it holds no key, or one that is not accepted.
    :raises twisted_rsh.trust.files.UntrustedFile: the file or a folder above it is not safe from other users.
    :raises OSError: there is no such file, or the operating system did not allow it.
    """
    if path.endswith(".pub"):
        lines = read_trusted_file(path, MAX_PUBLIC_FILE_BYTES).split(b"\n")
        blobs = {one for one in map(parse_public_line, lines) if one is not None}
        blob = blobs.pop() if len(blobs) == 1 else None
    else:
        blob = _public_half(read_secret_file(path, MAX_KEY_FILE_BYTES))
    try:
        if blob is not None:
            return parse_public_key(blob)
    except BadKey as error:
        raise BadKeyFile(path, f"cannot be used: {error}", "name another key") from None
    raise BadKeyFile(path, "holds no key in OpenSSH's format", "name the file of a key")


_HEAD, _TAIL = b"-----BEGIN OPENSSH PRIVATE KEY-----", b"-----END OPENSSH PRIVATE KEY-----"
_MAGIC = b"openssh-key-v1\0"


def _public_half(data: bytes) -> bytes | None:
    """Return the public key that stands in clear in the file of a private key (OpenSSH's ``PROTOCOL.key``)."""
    text = data.strip()
    if not text.startswith(_HEAD) or not text.endswith(_TAIL):
        return None
    try:
        reader = WireReader(base64.b64decode(text[len(_HEAD) : -len(_TAIL)]))
        if reader.take(len(_MAGIC)) != _MAGIC:
            return None
        for _ in ("cipher", "kdf", "its options"):
            reader.string()
        return reader.string() if reader.uint32() == 1 else None
    except ValueError:
        return None


def _make_openssh() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())


def _parse(path: str, data: bytes, passphrase: bytes | None = None) -> ClientKey:
    quoted = shlex.quote(path)
    try:
        private_key = load_ssh_private_key(data, password=passphrase)
    except TypeError:
        if passphrase is not None:  # of which the file needs none
            return _parse(path, data)
        from importlib.util import find_spec  # only here: few keys are locked

        problem, can_unlock = "is protected by a passphrase", find_spec("bcrypt") is not None
        if not can_unlock:
            problem += ", for which the package bcrypt is needed (pip install 'twisted-rsh[passphrases]')"
        raise LockedKey(path, problem, read_public_key(path), takes_passphrase=can_unlock) from None
    except UnsupportedAlgorithm:
        private_key = None
    except (ValueError, NotImplementedError):
        # NotImplementedError: a point of an elliptic curve in compressed form.
        private_key = None
        if passphrase is not None and _public_half(data) is not None:
            raise WrongPassphrase(path, "has another passphrase", "type it again") from None
    if not isinstance(private_key, _PrivateKey):
        _check_authenticator(path, data)
        raise BadKeyFile(
            path,
            "holds no private key in OpenSSH's format that can be used",
            f"convert it with: ssh-keygen -p -N '' -f {quoted}, or move it away and a new one is made",
        )
    try:
        return _client_key(private_key)
    except BadKey as error:
        raise BadKeyFile(path, f"cannot be used: {error}", "move it away and a new one is made") from None


def _check_authenticator(path: str, data: bytes) -> None:
    """Find out whether a file is the handle of an authenticator's key.

    :raises LockedKey: it is.
    """
    try:
        key = parse_public_key(_public_half(data) or b"")
    except BadKey:
        return
    if key.key_type.startswith("sk-"):
        raise LockedKey(path, "is of an authenticator, which an agent talks to", key, takes_passphrase=False)


def _client_key(private_key: _PrivateKey) -> ClientKey:
    """Add the public half to a private key.

    :raises BadKey: no server accepts such a key, as because it is too short.
    """
    return ClientKey(parse_public_key(encode_public_key(private_key.public_key())), private_key)


def _match_public_file(path: str, key: ClientKey) -> None:
    """Check that the public key's file, which lets the key log in to the same user's server, is of this key."""
    try:
        data = read_trusted_file(path, MAX_PUBLIC_FILE_BYTES)
    except FileNotFoundError:
        create_private_file(path, key.public_line.encode("ascii") + b"\n")
        return
    if key.blob not in map(parse_public_line, data.split(b"\n")):
        raise BadKeyFile(path, "is not of the private key beside it", f"run: rm {shlex.quote(path)}")
