"""Certificates of an SSH certification authority, for users and for servers (OpenSSH's ``PROTOCOL.certkeys``).

A certificate says of a key, in the name of an authority: who its holder is, from when to when, and with which
restrictions.  The reader is strict: each length is in range, nothing is left over, and no option comes twice.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Collection

from twisted_rsh.core.errors import Error
from twisted_rsh.core.patterns import matches
from twisted_rsh.core.values import dataclass
from twisted_rsh.trust.files import BadKeyFile, read_trusted_file
from twisted_rsh.trust.ssh_keys import CERTIFICATE_SUFFIX, KEY_PARTS, BadKey, BadSignature, PublicKey, parse_public_key
from twisted_rsh.trust.ssh_wire import BadWire, WireReader, encode_string, split_strings

__all__ = [
    "MAX_CERTIFICATE_BYTES",
    "MAX_PRINCIPALS",
    "Certificate",
    "CertificateKind",
    "Grant",
    "NotGranted",
    "grant_server",
    "grant_user",
    "is_certificate",
    "parse_certificate",
    "read_certificate",
]

MAX_CERTIFICATE_BYTES = 4 * 1024
"""Bytes of a certificate at most.  An RSA key of 8192 bits and the signature of such an authority take 3.3 KiB."""

MAX_PRINCIPALS = 256
"""Names that a certificate may be for, as in OpenSSH."""

_KEY_TYPES = {key_type.removesuffix(b"@openssh.com") + CERTIFICATE_SUFFIX: key_type for key_type in KEY_PARTS}
"""The type of the key in each type of certificate."""


class NotGranted(Error):
    """A certificate does not let its holder in.  ``str()`` says why, for the log."""


class CertificateKind(enum.Enum):
    """What a certificate is for; the value is its number on the wire."""

    USER = 1
    """For logging in."""

    SERVER = 2
    """For being logged in to."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that its authority has signed; :func:`parse_certificate` makes it.

    :ivar blob: the certificate in SSH's wire format.
    :ivar key: the key that it is about.
    :ivar serial: its number; 0 where the authority does not number them.
    :ivar kind: what it is for.
    :ivar key_id: the authority's words for the holder; bytes that are not UTF-8 are surrogate escapes.
    :ivar principals: the names that it is for.  OpenSSH takes none at all for any name; here it is refused.
    :ivar valid_after: the first second at which it is valid, since 1970.
    :ivar valid_before: the first second at which it is not valid any more.
    :ivar critical_options: names and values of the restrictions.  A reader that does not know one refuses.
    :ivar extensions: names of what is permitted besides.
    :ivar authority: the key that has signed it.
    """

    blob: bytes
    key: PublicKey
    serial: int
    kind: CertificateKind
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical_options: tuple[tuple[str, bytes], ...]
    extensions: tuple[str, ...]
    authority: PublicKey

    @property
    def description(self) -> str:
        """Its name for the log, in one line."""
        return f"certificate {self.key_id!a} serial {self.serial} of authority {self.authority.fingerprint}"


@dataclass(frozen=True, slots=True)
class Grant:
    """What a user's certificate allows.

    :ivar force_command: the command that runs in place of each that is asked for; ``None`` for any command.
    :ivar source_address: addresses and networks that its holder may come from, separated by commas; ``None`` for any.
    :ivar terminal: whether a job may have a terminal.
    """

    force_command: str | None
    source_address: str | None
    terminal: bool


def is_certificate(blob: bytes) -> bool:
    """Tell whether bytes claim to be a certificate, and no plain key.

    :param blob: any bytes at all.
    """
    try:
        return WireReader(blob[:MAX_CERTIFICATE_BYTES]).string() in _KEY_TYPES
    except BadWire:
        return False


def parse_certificate(blob: bytes) -> Certificate:
    """Read a certificate from untrusted bytes, and check that the authority that it names has signed it.

    Ask next whether that authority counts, and then :func:`grant_user` or :func:`grant_server`.

    :param blob: the certificate in SSH's wire format, any bytes at all.
    :returns: the certificate.
    :raises BadKey: it is malformed or too long, or its key or the authority's is not accepted.
    :raises BadSignature: the authority has not signed it.
    """
    if len(blob) > MAX_CERTIFICATE_BYTES:
        raise BadKey(f"the certificate has more than {MAX_CERTIFICATE_BYTES} bytes")
    try:
        return _parse(blob)
    except ValueError as error:
        raise BadKey("the certificate is malformed") from error


def _parse(blob: bytes) -> Certificate:
    reader = WireReader(blob)
    certificate_type = reader.string()
    if certificate_type not in _KEY_TYPES:
        raise BadKey(f"certificates of type {certificate_type[:64]!r} are not accepted")
    key_type = _KEY_TYPES[certificate_type]
    reader.string()  # random bytes, against collisions of the hash
    parts = [reader.string() for _ in range(KEY_PARTS[key_type])]
    serial, kind, key_id = reader.uint64(), CertificateKind(reader.uint32()), reader.string()
    principals = split_strings(reader.string())
    valid_after, valid_before = reader.uint64(), reader.uint64()
    critical, extensions = _parse_options(reader.string()), _parse_options(reader.string())
    reader.string()  # reserved
    authority = reader.string()
    signed = blob[: reader.position]
    signature = reader.string()
    reader.end()
    if len(principals) > MAX_PRINCIPALS:
        raise BadKey(f"the certificate is for more than {MAX_PRINCIPALS} names")
    certificate = Certificate(
        blob=blob,
        key=parse_public_key(b"".join(map(encode_string, [key_type, *parts]))),
        serial=serial,
        kind=kind,
        key_id=_text(key_id),
        principals=tuple(map(_text, principals)),
        valid_after=valid_after,
        valid_before=valid_before,
        critical_options=critical,
        extensions=tuple(name for name, _ in extensions),
        authority=parse_public_key(authority),
    )
    _verify(certificate.authority, signature, signed)
    return certificate


def _verify(authority: PublicKey, signature: bytes, signed: bytes) -> None:
    algorithm = WireReader(signature).string()
    # The name comes from the signature, and the key has only algorithms that are accepted: none with SHA-1.
    authority.verify(algorithm.decode("ascii"), signature, signed)


def _parse_options(data: bytes) -> tuple[tuple[str, bytes], ...]:
    """Read names and values; no name may come twice."""
    words = split_strings(data)
    if len(words) % 2:
        raise BadWire("an option without a value")
    options = tuple(zip(map(_text, words[::2]), words[1::2], strict=True))
    if len({name for name, _ in options}) < len(options):
        raise BadWire("an option that comes twice")
    return options


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def read_certificate(path: str) -> Certificate:
    """Read the certificate of a user's own key.

    :param path: its file, such as ``ssh-keygen -s`` writes it.
    :raises BadKeyFile: it holds no certificate of a kind that is accepted.
    :raises twisted_rsh.trust.files.UntrustedFile: another user could have written it.
    :raises OSError: there is no such file, or the operating system did not allow it.
    """
    words = read_trusted_file(path, 2 * MAX_CERTIFICATE_BYTES).split()
    try:
        return parse_certificate(base64.b64decode(words[1], validate=True))
    except (IndexError, ValueError, BadKey, BadSignature):
        raise BadKeyFile(path, "holds no certificate that can be used", "ask for another one, or remove it") from None


def grant_user(certificate: Certificate, names: Collection[str], now: float) -> Grant:
    """Decide whether a certificate, whose authority counts, lets its holder in.

    :param certificate: the certificate, whose holder has proven to have the key.
    :param names: the names of which it must be for one.
    :param now: the time in seconds since 1970.
    :returns: what it allows.
    :raises NotGranted: it does not let the holder in.
    """
    _check(certificate, CertificateKind.USER, now)
    if not set(names) & set(certificate.principals):
        raise NotGranted(f"it is for {_names(certificate)}, and none of {', '.join(map(ascii, sorted(names)))}")
    options = dict(certificate.critical_options)
    command, source = (_option(options, name) for name in ("force-command", "source-address"))
    _refuse_unknown(options)
    return Grant(command, source, "permit-pty" in certificate.extensions)


def grant_server(certificate: Certificate, host: str, now: float) -> None:
    """Decide whether a certificate, whose authority counts, is that of a server.

    :param certificate: the certificate, whose holder has proven to have the key.
    :param host: the name or address that the server was looked for under.  A name in the certificate may have the
        wildcards ``*`` and ``?``, as with OpenSSH; capitals do not count.
    :param now: the time in seconds since 1970.
    :raises NotGranted: it is not.
    """
    _check(certificate, CertificateKind.SERVER, now)
    name = host.lower()
    if not any(matches(pattern.lower(), name) for pattern in certificate.principals):
        raise NotGranted(f"it is for {_names(certificate)}, and not for {host!a}")
    _refuse_unknown(dict(certificate.critical_options))


def _check(certificate: Certificate, kind: CertificateKind, now: float) -> None:
    if certificate.kind is not kind:
        raise NotGranted(f"it is one of a {certificate.kind.name.lower()}, and not of a {kind.name.lower()}")
    if not certificate.principals:
        raise NotGranted("it has no name of a user or a host: make one with ssh-keygen -n")
    if now < certificate.valid_after:
        raise NotGranted("it is not valid yet")
    if now >= certificate.valid_before:
        raise NotGranted("it has expired")


def _names(certificate: Certificate) -> str:
    return ", ".join(map(ascii, certificate.principals))


def _option(options: dict[str, bytes], name: str) -> str | None:
    """Take an option out of those of a certificate; its value is one string within the value."""
    value = options.pop(name, None)
    if value is None:
        return None
    try:
        (text,) = split_strings(value)
    except ValueError:
        raise NotGranted(f"its option {name} is malformed") from None
    return _text(text)


def _refuse_unknown(options: dict[str, bytes]) -> None:
    if options:
        raise NotGranted(f"its critical option {min(options)!a} is not known here")
