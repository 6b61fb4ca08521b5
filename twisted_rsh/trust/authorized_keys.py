"""The public keys that may log in, as the user's files have them at each login.

A line is ``type base64 comment``, as in sshd's ``authorized_keys`` but without options; or ``cert-authority`` before
the key of an authority whose certificates count.  A line with other options grants nothing, because a key that sshd
would restrict must not become an unrestricted key here.

A login looks at the files, and reads one only when it has changed (:func:`twisted_rsh.trust.files.read_if_changed`).
Then it looks its key up; no key of the file is loaded for that.
"""

from __future__ import annotations

import base64
import errno
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from twisted_rsh.core.values import dataclass
from twisted_rsh.trust.files import LOCK_SECONDS, TrustedContent, UntrustedFile, read_if_changed, update_private_file
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.ssh_keys import BadKey, check_public_key, encode_string, public_line

if TYPE_CHECKING:
    from twisted_rsh.trust.certificates import Authority

__all__ = [
    "MAX_AUTHORIZED_KEYS_BYTES",
    "MAX_AUTHORIZED_KEYS_LINES",
    "AuthorizedKeys",
    "KeyFiles",
    "add_authorized_key",
    "is_shortage",
    "parse_authorized_keys",
]

MAX_AUTHORIZED_KEYS_BYTES = 256 * 1024
"""Bytes of a file of keys at most: more than 2,500 Ed25519 keys with their comments."""

MAX_AUTHORIZED_KEYS_LINES = 4096
"""Lines of a file of keys at most: more than it has room for keys.  The reactor is held while a new file is read."""

_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""Errors that pass by themselves.  They must not refuse a login or a resume: a refused resume ends the session for
good."""

_BLANK = re.compile(rb"[ \t]+")

_LEAST_CHARACTERS = {
    b"ssh-ed25519": 68,
    b"ecdsa-sha2-nistp256": 140,
    b"ecdsa-sha2-nistp384": 184,
    b"ecdsa-sha2-nistp521": 232,
    b"ssh-rsa": 372,
    b"sk-ssh-ed25519@openssh.com": 96,
    b"sk-ecdsa-sha2-nistp256@openssh.com": 168,
}
"""Characters of Base64 that a key of each type has at least, so that lines without one take next to no time."""


@dataclass(frozen=True, slots=True)
class AuthorizedKeys:
    """The content of one file of keys.

    :ivar lines: for each line its key in SSH's wire format; no bytes for a blank line or a comment, ``None`` for one
        that is ignored.
    :ivar blobs: the keys.  A key that no client can sign with may be among them
        (:func:`twisted_rsh.trust.ssh_keys.check_public_key`).
    :ivar authorities: the authorities, by their keys.
    :ivar ignored: the numbers, from 1, of the lines that are neither a key without options nor blank nor a comment.
    """

    lines: Mapping[bytes, bytes | Authority | None]
    blobs: frozenset[bytes]
    authorities: Mapping[bytes, tuple[Authority, ...]]
    ignored: tuple[int, ...]


NO_KEYS = AuthorizedKeys({}, frozenset(), {}, ())
"""The content of an empty file."""


def parse_authorized_keys(data: bytes, before: AuthorizedKeys = NO_KEYS, *, authorities: bool = True) -> AuthorizedKeys:
    """Parse the text of a file of keys.

    :param data: the text, any bytes at all.
    :param before: what the file had before; lines that it still has cost nothing.
    :param authorities: whether lines with ``cert-authority`` count; otherwise they are ignored, too.
    :returns: its keys, and the lines that grant nothing.
    """
    lines: dict[bytes, bytes | Authority | None] = {}
    ignored = []
    # Only LF ends a line, as in sshd: a CR must not turn the rest of a line with options into a line of its own.
    for number, line in enumerate(data.split(b"\n"), start=1):
        blob = before.lines[line] if line in before.lines else _parse_line(line)
        if not authorities and not isinstance(blob, bytes):
            blob = None
        if blob is None:
            ignored.append(number)
        lines[line] = blob
    blobs = frozenset(blob for blob in lines.values() if blob and isinstance(blob, bytes))
    by_key: dict[bytes, tuple[Authority, ...]] = {}
    for authority in lines.values():
        if authority is not None and not isinstance(authority, bytes):
            by_key[authority.blob] = (*by_key.get(authority.blob, ()), authority)
    return AuthorizedKeys(lines, blobs, by_key, tuple(ignored))


def add_authorized_key(config: ConfigFolders, blob: bytes, comment: str, *, lock_seconds: float = LOCK_SECONDS) -> None:
    """Add a key to the file of those that may log in.  Nothing happens if a line without options has it already.

    :param config: the user's folders.
    :param blob: the key in SSH's wire format, which has been checked.
    :param comment: a few words; characters that cannot be printed are replaced.
    :param lock_seconds: seconds to wait for another program that changes a file of the folder.
    :raises UntrustedFile: another user can write the file, or it is full.
    :raises OSError: the system does not allow it; the file is unchanged.
    """
    path = config.authorized_keys_path
    words = "".join(c if c.isprintable() else "?" for c in comment)

    def change(data: bytes) -> bytes:
        if blob in parse_authorized_keys(data).blobs:
            return data
        start = data if data.endswith(b"\n") or not data else data + b"\n"
        after = start + f"{public_line(blob)} {words}\n".encode("utf-8", "replace")
        if after.count(b"\n") > MAX_AUTHORIZED_KEYS_LINES:
            raise UntrustedFile(
                path, f"would have more than {MAX_AUTHORIZED_KEYS_LINES} lines", "remove lines that are not needed"
            )
        return after

    update_private_file(path, MAX_AUTHORIZED_KEYS_BYTES, change, lock_seconds=lock_seconds)


class KeyFiles:
    """The keys that may log in: those in ``authorized_keys``, and the user's own client key.

    :param config: the user's folders.
    :param ssh_path: sshd's ``authorized_keys`` of the user, of which lines without options count; ``None`` for none.
    :ivar paths: the files.
    """

    def __init__(self, config: ConfigFolders, ssh_path: str | None = None) -> None:
        self._files = [_KeyFile(path) for path in (config.authorized_keys_path, config.client_public_key_path)]
        if ssh_path is not None:
            self._files.append(_KeyFile(ssh_path, authorities=False))
        self.paths = tuple(file.path for file in self._files)

    def look(self) -> list[str]:
        """Read what has changed.  Call this before each question.

        A file that another user could have written grants nothing.  Reading never waits, whatever the paths name.

        :returns: one line for each file that is ignored, wholly or in part, if that is new.  A missing file gives no
            line.  A line may hold any path: escape it in a log.
        :raises OSError: the system has no descriptors or no memory left, so the content of the files is unknown.
        """
        return [warning for file in self._files if (warning := file.look())]

    def grant(self, blob: bytes) -> bool:
        """Tell whether a key may log in.

        :param blob: the key in SSH's wire format, which the client has proven to hold.
        """
        return any(blob in file.keys.blobs for file in self._files)

    def authorities(self, blob: bytes) -> list[Authority]:
        """Return what the files say of an authority: nothing if its certificates do not count.

        :param blob: its key in SSH's wire format.
        """
        return [authority for file in self._files for authority in file.keys.authorities.get(blob, ())]


def is_shortage(error: Exception) -> bool:
    """Tell whether an error passes by itself: the system has no descriptors or no memory left."""
    return getattr(error, "errno", None) in _EXHAUSTED


class _KeyFile:
    """One file.

    :param authorities: whether its lines with ``cert-authority`` count.
    :ivar keys: what it has.
    :ivar path: where it is.
    """

    def __init__(self, path: str, *, authorities: bool = True) -> None:
        self.keys = NO_KEYS
        self.path = path
        self._authorities = authorities
        self._content: TrustedContent | None = None
        self._warning = ""

    def look(self) -> str:
        """Read the file if it has changed, and return a warning if that is new."""
        before, self._warning = self._warning, self._read()
        return "" if self._warning == before else self._warning

    def _read(self) -> str:
        """Read the file if it has changed, and return the warning that it deserves."""
        known, self._content = self._content, None
        keys, self.keys = self.keys, NO_KEYS  # until the file has proven to be safe
        try:
            content = read_if_changed(self.path, MAX_AUTHORIZED_KEYS_BYTES, known)
            if content.data.count(b"\n") > MAX_AUTHORIZED_KEYS_LINES:
                raise UntrustedFile(self.path, f"has more than {MAX_AUTHORIZED_KEYS_LINES} lines", "make it shorter")
        except FileNotFoundError:
            return ""
        except (UntrustedFile, OSError) as problem:
            if is_shortage(problem):
                raise
            return f"no key of this file may log in: {problem}"
        if known is None or content.data != known.data:
            keys = parse_authorized_keys(content.data, keys, authorities=self._authorities)
        self._content, self.keys = content, keys
        if not keys.ignored:
            return ""
        return (
            f"{self.path}: {len(keys.ignored)} lines ignored, the first is line {keys.ignored[0]}: "
            f"a line is a key's type, the key and a comment, without options{' but cert-authority' * self._authorities}"
        )


def _parse_line(line: bytes) -> bytes | Authority | None:
    """Return the key or the authority of a line; nothing for a blank line or a comment, ``None`` for any other."""
    text = line.removesuffix(b"\r").strip(b" \t")
    if not text or text.startswith(b"#"):
        return b""
    if b"\0" in text:
        return None
    if text.startswith(b"cert-authority"):
        from twisted_rsh.trust.certificates import parse_authority  # only here: few files have such lines

        return parse_authority(text)
    key_type, encoded, *_ = [*_BLANK.split(text, maxsplit=2), b""]
    if len(encoded) < _LEAST_CHARACTERS.get(key_type, MAX_AUTHORIZED_KEYS_BYTES):
        return None
    try:
        blob = base64.b64decode(encoded, validate=True)
        is_key = blob.startswith(encode_string(key_type)) and check_public_key(blob).encode("ascii") == key_type
    except (ValueError, BadKey):
        return None
    return blob if is_key else None
