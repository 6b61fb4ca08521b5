"""The public keys that may log in, read from the user's files at each login.

A line is ``type base64 comment``, as in sshd's ``authorized_keys`` but without options.  A line with options grants
nothing, because a key that sshd would restrict must not become an unrestricted key here.
"""

from __future__ import annotations

import base64
import errno
import re
from dataclasses import dataclass

from twisted_rsh.trust.files import UntrustedFile, read_trusted_file
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.ssh_keys import BadKey, parse_public_key

__all__ = ["MAX_AUTHORIZED_KEYS_BYTES", "AuthorizedKeys", "parse_authorized_keys", "read_authorized_keys"]

MAX_AUTHORIZED_KEYS_BYTES = 256 * 1024
"""Bytes of a file of keys at most: more than 2,500 Ed25519 keys.  A file of that size takes about 60 ms of each
login."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors that pass by themselves.  They must not refuse a login or a resume: a refused resume ends the session for
good."""

_BLANK = re.compile(rb"[ \t]+")


@dataclass(frozen=True, slots=True)
class AuthorizedKeys:
    """The content of one file of keys.

    :ivar blobs: the keys, in SSH's wire format.
    :ivar ignored: the numbers, from 1, of the lines that are neither a key without options nor blank nor a comment.
    """

    blobs: frozenset[bytes]
    ignored: tuple[int, ...]


def parse_authorized_keys(data: bytes) -> AuthorizedKeys:
    """Parse the text of a file of keys.

    :param data: the text, any bytes at all.
    :returns: its keys, and the lines that grant nothing.
    """
    blobs = set()
    ignored = []
    # Only LF ends a line, as in sshd: a CR must not turn the rest of a line with options into a line of its own.
    for number, ended_line in enumerate(data.split(b"\n"), start=1):
        line = ended_line.removesuffix(b"\r").strip(b" \t")
        if not line or line.startswith(b"#"):
            continue
        blob = _parse_line(line)
        if blob is None:
            ignored.append(number)
        else:
            blobs.add(blob)
    return AuthorizedKeys(frozenset(blobs), tuple(ignored))


def read_authorized_keys(config: ConfigFolders) -> tuple[frozenset[bytes], list[str]]:
    """Read the keys that may log in now: the keys in ``authorized_keys``, and the user's own client key.

    A file that another user could have written grants nothing.  Reading never waits, whatever the paths name.

    :param config: the user's folders.
    :returns: the keys in SSH's wire format, empty if none may log in; and one line for each file that was ignored,
        wholly or in part.  A missing file gives no line.  A line may hold any path: escape it in a log.
    :raises OSError: the system has no descriptors or no memory left, so the content of the files is unknown.
    """
    blobs: frozenset[bytes] = frozenset()
    warnings: list[str] = []
    for path in (config.authorized_keys_path, config.client_public_key_path):
        blobs |= _read_blobs(path, warnings)
    return blobs, warnings


def _parse_line(line: bytes) -> bytes | None:
    if b"\0" in line:
        return None
    key_type, encoded, *_ = [*_BLANK.split(line, maxsplit=2), b""]
    try:
        key = parse_public_key(base64.b64decode(encoded, validate=True))
    except (ValueError, BadKey):
        return None
    return key.blob if key.key_type.encode("ascii") == key_type else None


def _read_blobs(path: str, warnings: list[str]) -> frozenset[bytes]:
    try:
        data = read_trusted_file(path, MAX_AUTHORIZED_KEYS_BYTES)
    except FileNotFoundError:
        return frozenset()
    except (UntrustedFile, OSError) as problem:
        if getattr(problem, "errno", None) in _EXHAUSTED:
            raise
        warnings.append(f"no key of this file may log in: {problem}")
        return frozenset()
    keys = parse_authorized_keys(data)
    if keys.ignored:
        warnings.append(
            f"{path}: {len(keys.ignored)} lines ignored, the first is line {keys.ignored[0]}: "
            "a line is a key's type, the key and a comment, without options"
        )
    return keys.blobs
