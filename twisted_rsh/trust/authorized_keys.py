"""The public keys that may log in, as the user's files have them at this moment.

A line is ``type base64 comment``, as in sshd's ``authorized_keys`` but without options: a key that sshd would restrict
must never become an unrestricted one here, so a line with options grants nothing.
"""

from __future__ import annotations

import base64
import errno
import re
from collections.abc import Callable
from dataclasses import dataclass

from twisted_rsh.trust.files import UntrustedFile, read_trusted_file
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.ssh_keys import BadKey, parse_public_key

__all__ = ["MAX_AUTHORIZED_KEYS_BYTES", "AuthorizedKeys", "authorized_key_blobs", "parse_authorized_keys"]

MAX_AUTHORIZED_KEYS_BYTES = 256 * 1024
"""Bytes of a file of keys: more than 2,500 Ed25519 keys.  A full one takes about 60 ms of each login."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What passes by itself: who is refused for it once, as at a resume, has lost more than this one try."""

_BLANK = re.compile(rb"[ \t]+")


@dataclass(frozen=True, slots=True)
class AuthorizedKeys:
    """What a file of keys says.

    :ivar blobs: the keys, in SSH's wire format.
    :ivar ignored: the numbers, from 1, of the lines that are neither a key without options nor blank nor a comment.
    """

    blobs: frozenset[bytes]
    ignored: tuple[int, ...]


def parse_authorized_keys(data: bytes) -> AuthorizedKeys:
    """Read the text of a file of keys.

    :param data: the text, any bytes at all.
    :returns: its keys, and the lines that were ignored.
    """
    blobs = set()
    ignored = []
    # Only LF ends a line, as for sshd: a CR must not turn the rest of a restricted line into a line of its own.
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


def authorized_key_blobs(config: ConfigFolders, warn: Callable[[str], None]) -> frozenset[bytes]:
    """Read which keys may log in now: those in ``authorized_keys``, and the user's own client key.

    Whoever can write these files is the user already.  A file that another user could have written grants nothing.
    Never waits, whatever the paths name.

    :param config: the user's folders.
    :param warn: called with one line for each file that was ignored, wholly or in part; it may hold any path, so log
        it escaped.  A missing file is no reason to warn.
    :returns: the keys in SSH's wire format; empty if nobody may log in.
    :raises OSError: the system has no descriptors or no memory left, so that nothing is known about the files.
    """
    blobs: frozenset[bytes] = frozenset()
    for path in (config.authorized_keys_path, config.client_public_key_path):
        blobs |= _read_blobs(path, warn)
    return blobs


def _parse_line(line: bytes) -> bytes | None:
    if b"\0" in line:
        return None
    key_type, encoded, *_ = [*_BLANK.split(line, maxsplit=2), b""]
    try:
        key = parse_public_key(base64.b64decode(encoded, validate=True))
    except (ValueError, BadKey):
        return None
    return key.blob if key.key_type.encode("ascii") == key_type else None


def _read_blobs(path: str, warn: Callable[[str], None]) -> frozenset[bytes]:
    try:
        data = read_trusted_file(path, MAX_AUTHORIZED_KEYS_BYTES)
    except FileNotFoundError:
        return frozenset()
    except (UntrustedFile, OSError) as problem:
        if getattr(problem, "errno", None) in _EXHAUSTED:
            raise
        warn(f"no key of this file may log in: {problem}")
        return frozenset()
    keys = parse_authorized_keys(data)
    if keys.ignored:
        warn(
            f"{path}: {len(keys.ignored)} lines ignored, the first is line {keys.ignored[0]}: "
            "a line is a key's type, the key and a comment, without options"
        )
    return keys.blobs
