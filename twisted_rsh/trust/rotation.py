"""The change of a server's key with an overlap: the key announces the next one, to clients that trust it.

The next key lies beside the server's own from :func:`begin_rotation` on.  Until :func:`finish_rotation` the server
shows the old key, and tells each client that logs in about the next one.  Both keys sign the announcement, for one
connection: the old one says which key comes next, and the next one that this server holds it.  Without the second
signature a server could name the key of another server, to which its clients would then talk under this one's name.
"""

from __future__ import annotations

import contextlib
import os

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_public_key

from twisted_rsh.core.errors import Error
from twisted_rsh.core.login import NextKey
from twisted_rsh.trust.files import create_private_file, read_secret_file, replace_private_file
from twisted_rsh.trust.fingerprint import DIGEST_BYTES, spki_sha256
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import (
    MAX_KEY_FILE_BYTES,
    ServerKey,
    load_or_create_server_key,
    load_server_key,
    make_key_file,
    read_server_certificate,
)
from twisted_rsh.trust.ssh_wire import encode_string
from twisted_rsh.trust.sshsig import EXPORTER_BYTES

__all__ = [
    "BadAnnouncement",
    "NoRotation",
    "announce",
    "begin_rotation",
    "finish_rotation",
    "next_server_key",
    "verify_announcement",
]

_CONTEXT = b"twisted-rsh/1 next key"


class BadAnnouncement(Error):
    """A server has announced a key without the signatures that this takes."""


class NoRotation(Error):
    """There is no next key to change to."""


def announce(current: ServerKey, following: ServerKey, exporter: bytes) -> NextKey:
    """Announce the next key over a connection.

    :param current: the key that the server shows.
    :param following: the key that it will have.
    :param exporter: the exporter value of the connection.
    """
    message = _message(exporter, current.spki_sha256, following.spki_sha256)
    public_key = following.private_key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    algorithm = ec.ECDSA(SHA256())
    return NextKey(
        public_key,
        proof=following.private_key.sign(message, algorithm),
        signature=current.private_key.sign(message, algorithm),
    )


def verify_announcement(announced: NextKey, current: PublicKeyTypes, exporter: bytes) -> bytes:
    """Check what a server announces.

    :param announced: the announcement, any bytes at all.
    :param current: the key that the server has proven to hold on this connection, and that the client expected.
    :param exporter: the client's own exporter value of the connection.
    :returns: the SHA-256 of the next key, 32 bytes, for the client to pin besides that of the current one.
    :raises BadAnnouncement: one of the two signatures does not hold, or the key is none of a server.
    """
    try:
        following = load_der_public_key(announced.key)
        pin = spki_sha256(following)
        message = _message(exporter, spki_sha256(current), pin)
        for key, signature in ((current, announced.signature), (following, announced.proof)):
            if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
                raise BadAnnouncement("the server has announced a key that is not on the curve P-256")
            key.verify(signature, message, ec.ECDSA(SHA256()))
    except (InvalidSignature, ValueError, UnsupportedAlgorithm) as error:
        raise BadAnnouncement("the server has announced a next key without the signatures of both keys") from error
    return pin


def begin_rotation(config: ConfigFolders) -> tuple[ServerKey, ServerKey]:
    """Make the next key, unless there is one.

    :param config: the account's folders.
    :returns: the server's key, which is made if there is none, and the next one.
    :raises twisted_rsh.trust.files.FileProblem: a file cannot be used as it is.
    :raises OSError: the system does not allow it; nothing has changed.
    """
    current = load_or_create_server_key(config)
    following = next_server_key(config, current)
    if following is None:
        _forget(config)  # what an interrupted end has left
        create_private_file(config.next_server_key_path, make_key_file())
        following = load_server_key(config.next_server_key_path)
    return current, following


def next_server_key(config: ConfigFolders, current: ServerKey) -> ServerKey | None:
    """Return the key that the server will have, if that is another than it has.

    :param config: the account's folders.
    :param current: the key that the server shows, which a rotation that has ended may have replaced in its file.
    :raises twisted_rsh.trust.files.FileProblem: a file cannot be used as it is.
    :raises OSError: the system does not allow it.
    """
    for path in (config.next_server_key_path, config.server_key_path):
        try:
            key = load_server_key(path)
        except FileNotFoundError:
            continue
        if key.spki_sha256 != current.spki_sha256:
            return key
    return None


def finish_rotation(config: ConfigFolders) -> ServerKey:
    """Make the next key the server's own, from its next start on.

    :param config: the account's folders.
    :returns: that key.  The old one is gone.
    :raises NoRotation: there is no next key.
    :raises twisted_rsh.trust.files.FileProblem: a file cannot be used as it is, as the SSH certificate of the old key:
        with it the server would not start.
    :raises OSError: the system does not allow it; the server keeps its key.
    """
    path = config.next_server_key_path
    try:
        following = load_server_key(path)
        data = read_secret_file(path, MAX_KEY_FILE_BYTES)
    except FileNotFoundError:
        raise NoRotation("there is no next key; make one with: twisted-rsh rotate") from None
    read_server_certificate(config, following.private_key)
    replace_private_file(config.server_key_path, data)
    _forget(config)
    return following


def _forget(config: ConfigFolders) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(config.next_server_key_path)


def _message(exporter: bytes, pin: bytes, next_pin: bytes) -> bytes:
    if len(exporter) != EXPORTER_BYTES or len(pin) != DIGEST_BYTES:
        raise ValueError("the exporter value or the pin is not of its size")
    return b"".join(map(encode_string, (_CONTEXT, exporter, pin, next_pin)))
