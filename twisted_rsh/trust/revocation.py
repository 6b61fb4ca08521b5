"""Lists of revoked keys and certificates: those of ``ssh-keygen -k`` (OpenSSH's ``PROTOCOL.krl``), and plain keys.

A list that cannot be read, or of which a part is not understood, revokes everything: what it says is not known.
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from twisted_rsh.core.values import dataclass
from twisted_rsh.trust.certificates import Certificate, is_certificate, parse_certificate
from twisted_rsh.trust.files import FileProblem, TrustedContent, read_if_changed
from twisted_rsh.trust.ssh_keys import BadKey, BadSignature
from twisted_rsh.trust.ssh_wire import BadWire, WireReader, decode_mpint, encode_string, split_strings

__all__ = [
    "MAX_PARTS",
    "MAX_REVOKED_KEYS_BYTES",
    "BadRevocationList",
    "RevocationList",
    "RevokedKeys",
    "parse_revocation_list",
]

MAX_REVOKED_KEYS_BYTES = 256 * 1024
"""Bytes of a list at most: 7,000 hashes of keys, or two million serial numbers in a bitmap.  The server
serves nothing while it reads a new list: 8 ms were measured for 7,000 hashes, and 250 ms for a plain list full of
certificates, because it checks their signatures."""

MAX_PARTS = 4096
"""Ranges, bitmaps and other parts of a list at most: a login that shows a certificate looks through the bitmaps."""

_MAGIC: Final = b"SSHKRL\n\0"
_FORMAT_VERSION = 1

_CERTIFICATES, _KEYS, _SHA1, _SHA256, _EXTENSION = 1, 2, 3, 5, 255
_SERIALS, _RANGE, _BITMAP, _KEY_IDS, _CERTIFICATES_EXTENSION = 0x20, 0x21, 0x22, 0x23, 0x39

_ENTRY_BYTES = {_KEYS: range(1, MAX_REVOKED_KEYS_BYTES), _SHA1: (20,), _SHA256: (32,)}
"""Bytes that each entry of a section may have."""

_MAX_SERIAL = 2**64 - 1


class BadRevocationList(FileProblem):
    """A file of the right owner and mode is not a list of revoked keys."""


@dataclass(frozen=True, slots=True)
class _RevokedCertificates:
    """Certificates of one authority, or of any.

    :ivar serials: single serial numbers.
    :ivar lows: the first numbers of ranges, in order.
    :ivar highs: their last numbers, each the greatest up to there.
    :ivar bitmaps: the first number, and a bit for each from there on, the last bit of the last byte first.
    :ivar key_ids: the authority's words for the holders.
    """

    serials: frozenset[int]
    lows: Sequence[int]
    highs: Sequence[int]
    bitmaps: Sequence[tuple[int, bytes]]
    key_ids: frozenset[bytes]

    def have(self, certificate: Certificate) -> bool:
        """Tell whether a certificate is one of these.  Serial 0 stands for none, as with OpenSSH."""
        if certificate.key_id.encode("utf-8", "surrogateescape") in self.key_ids:
            return True
        serial = certificate.serial
        if not serial:
            return False
        before = bisect.bisect_right(self.lows, serial)
        in_range = before > 0 and serial <= self.highs[before - 1]
        return serial in self.serials or in_range or any(_has_bit(bits, serial - first) for first, bits in self.bitmaps)


def _has_bit(bits: bytes, number: int) -> bool:
    return 0 <= number < 8 * len(bits) and bool(bits[-1 - number // 8] >> number % 8 & 1)


@dataclass(frozen=True, slots=True)
class RevocationList:
    """What a list revokes.

    :ivar keys: keys in SSH's wire format.
    :ivar sha1: SHA-1 of keys.
    :ivar sha256: SHA-256 of keys.
    """

    keys: frozenset[bytes]
    sha1: frozenset[bytes]
    sha256: frozenset[bytes]
    _certificates: Mapping[bytes, Sequence[_RevokedCertificates]]

    def why_revoked(self, key_blob: bytes, certificate: Certificate | None = None) -> str:
        """Say why a key may not be used.

        :param key_blob: the key in SSH's wire format.
        :param certificate: the certificate that is shown for it; ``None`` without one.
        :returns: the rest of a sentence; nothing for a key that is not revoked.
        """
        if self._has_key(key_blob):
            return "the key is revoked"
        if certificate is None:
            return ""
        authority = certificate.authority.blob
        if self._has_key(authority):
            return "the authority of its certificate is revoked"
        sections = (*self._certificates.get(authority, ()), *self._certificates.get(b"", ()))
        return "its certificate is revoked" if any(section.have(certificate) for section in sections) else ""

    def _has_key(self, blob: bytes) -> bool:
        return (
            blob in self.keys
            or (bool(self.sha256) and hashlib.sha256(blob).digest() in self.sha256)
            or (bool(self.sha1) and hashlib.sha1(blob, usedforsecurity=False).digest() in self.sha1)
        )


def parse_revocation_list(data: bytes) -> RevocationList:
    """Read a list of either form.

    :param data: the content of the file, any bytes at all; the caller bounds their number.
    :returns: what it revokes.
    :raises ValueError: the data is malformed; the text says where.
    """
    if not data.startswith(_MAGIC):
        return RevocationList(frozenset(_parse_lines(data)), frozenset(), frozenset(), {})
    try:
        return _parse_sections(WireReader(data[len(_MAGIC) :]))
    except (BadWire, struct.error):
        raise ValueError("is no whole list of ssh-keygen -k") from None


def _parse_lines(data: bytes) -> Iterator[bytes]:
    """Return the keys of a plain list; those of a kind that is accepted nowhere do no harm in it."""
    for number, line in enumerate(data.split(b"\n"), start=1):
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        try:
            blob = base64.b64decode(words[1], validate=True)
            if not blob.startswith(encode_string(words[0])):
                raise BadWire("another type")
            yield parse_certificate(blob).key.blob if is_certificate(blob) else blob
        except (ValueError, IndexError, BadKey, BadSignature):
            raise ValueError(f"line {number} is no public key") from None


def _parse_sections(reader: WireReader) -> RevocationList:
    if reader.uint32() != _FORMAT_VERSION:
        raise ValueError("is a list of another version")
    for _ in ("its version", "its date", "its flags"):
        reader.uint64()
    for _ in ("reserved", "a comment"):
        reader.string()
    entries: dict[int, list[bytes]] = {kind: [] for kind in _ENTRY_BYTES}
    certificates: dict[bytes, list[_RevokedCertificates]] = {}
    for kind, body in _parts(reader):
        if kind in entries:
            entries[kind] += split_strings(body)
        elif kind == _CERTIFICATES:
            authority, section = _parse_certificates(WireReader(body))
            certificates.setdefault(authority, []).append(section)
        elif kind == _EXTENSION:
            _skip_extension(body)
        else:
            raise ValueError(f"has a section of type {kind}, which is not known")
    for kind, sizes in _ENTRY_BYTES.items():
        if not all(len(entry) in sizes for entry in entries[kind]):
            raise BadWire("a key or a hash of another size")
    keys, sha1, sha256 = (frozenset(entries[kind]) for kind in (_KEYS, _SHA1, _SHA256))
    return RevocationList(keys, sha1, sha256, certificates)


def _parts(reader: WireReader) -> Iterator[tuple[int, bytes]]:
    """Return the types and the contents of what stands in a list or in a section."""
    for _ in range(MAX_PARTS):
        if not reader.rest:
            return
        yield reader.byte(), reader.string()
    if reader.rest:
        raise ValueError(f"has more than {MAX_PARTS} parts")


def _parse_certificates(reader: WireReader) -> tuple[bytes, _RevokedCertificates]:
    authority = reader.string()
    reader.string()  # reserved
    serials: list[int] = []
    ranges: list[tuple[int, int]] = []
    bitmaps: list[tuple[int, bytes]] = []
    key_ids: list[bytes] = []
    for kind, body in _parts(reader):
        if kind == _SERIALS:
            serials += [number for (number,) in struct.iter_unpack(">Q", body)]
        elif kind == _RANGE:
            low, high = struct.unpack(">QQ", body)
            if low > high:
                raise BadWire("a range that ends before it begins")
            ranges.append((low, high))
        elif kind == _BITMAP:
            bitmaps.append(_parse_bitmap(WireReader(body)))
        elif kind == _KEY_IDS:
            key_ids += split_strings(body)
        elif kind == _CERTIFICATES_EXTENSION:
            _skip_extension(body)
        else:
            raise ValueError(f"has certificates listed in a way {kind:#x}, which is not known")
    lows, highs = _in_order(ranges)
    return authority, _RevokedCertificates(frozenset(serials), lows, highs, bitmaps, frozenset(key_ids))


def _parse_bitmap(reader: WireReader) -> tuple[int, bytes]:
    first, bits = reader.uint64(), reader.string()
    reader.end()
    decode_mpint(bits)
    if first + 8 * len(bits.lstrip(b"\0")) > _MAX_SERIAL + 8:
        raise BadWire("a bitmap beyond the last number")
    return first, bits


def _in_order(ranges: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Sort ranges, so that one search finds the only range that may have a number."""
    lows: list[int] = []
    highs: list[int] = []
    for low, high in sorted(ranges):
        lows.append(low)
        highs.append(max(high, highs[-1]) if highs else high)
    return lows, highs


def _skip_extension(body: bytes) -> None:
    reader = WireReader(body)
    name, critical = reader.string(), reader.boolean()
    reader.string()
    reader.end()
    if critical:
        raise ValueError(f"has the extension {name[:64]!r}, which is not known")


class RevokedKeys:
    """The list in a file, which is read again when it has changed.

    :param path: the file.
    :ivar path: as above.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._content: TrustedContent | None = None
        self._list: RevocationList | None = None
        self._problem = ""

    def why_revoked(self, key_blob: bytes, certificate: Certificate | None = None) -> str:
        """Say why a key may not be used; see :meth:`RevocationList.why_revoked`.

        :raises FileProblem: the file cannot be trusted, or is no list; nothing is known about any key.
        :raises OSError: it cannot be read; likewise.
        """
        known, self._content = self._content, None
        content = read_if_changed(self.path, MAX_REVOKED_KEYS_BYTES, known)
        if known is None or content.data != known.data:
            self._list, self._problem = None, ""
            try:
                self._list = parse_revocation_list(content.data)
            except ValueError as error:
                self._problem = str(error)
        self._content = content
        if self._list is None:  # the content is known all the same: each stranger that tries to log in asks
            raise BadRevocationList(
                self.path, self._problem, "make the list again with ssh-keygen -k, or write a public key a line"
            )
        return self._list.why_revoked(key_blob, certificate)
