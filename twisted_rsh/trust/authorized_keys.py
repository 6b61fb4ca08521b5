"""The public keys that may log in, and what each may do, as the user's files have them at each login.

A line is ``options type base64 comment``, as in sshd's ``authorized_keys``; it may have no options, and
:mod:`twisted_rsh.trust.key_options` reads them.  A line with options that are not understood grants nothing.

A login looks at the files, and reads one only when it has changed (:func:`twisted_rsh.trust.files.read_if_changed`).
A file that was read is only indexed: a login parses the lines that have its own key, once, and no other line.
"""

from __future__ import annotations

import base64
import errno
import re
import time
from collections.abc import Iterable, Iterator

from twisted_rsh.core.values import dataclass
from twisted_rsh.trust.files import LOCK_SECONDS, TrustedContent, UntrustedFile, read_if_changed, update_private_file
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.key_options import BadOptions, KeyOptions, end_of_options, parse_options
from twisted_rsh.trust.policy import KeyPolicy
from twisted_rsh.trust.ssh_keys import is_key_type, parse_public_line, public_line

__all__ = [
    "MAX_AUTHORIZED_KEYS_BYTES",
    "MAX_AUTHORIZED_KEYS_LINES",
    "MAX_LINES_OF_KEY",
    "MAX_LINE_BYTES",
    "AuthorizedKey",
    "AuthorizedKeys",
    "KeyFiles",
    "LineProblem",
    "add_authorized_key",
    "parse_authorized_keys",
    "passes_by_itself",
]

MAX_AUTHORIZED_KEYS_BYTES = 512 * 1024
"""Bytes of a file of keys at most: more than 2,500 Ed25519 keys with their comments and 100 characters of options."""

MAX_AUTHORIZED_KEYS_LINES = 4096
"""Lines of a file of keys at most: more than it has room for keys.  The reactor is held while a new file is read."""

MAX_LINE_BYTES = 8 * 1024
"""Bytes of a line with a key at most: the longest key takes 1.4 KiB, and the rest is enough for any options."""

MAX_LINES_OF_KEY = 8
"""Lines of one file that may have the same key, each with other options.  A login of the key looks at all of them."""

_PASSING = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE, errno.ETIMEDOUT})
"""Errors that say nothing about a file, and pass by themselves: the system has no descriptors or no memory left, or a
disk or the server of a network file system does not answer.  They must not refuse a resume, nor end a session whose key
is checked again: both would end its jobs for good."""

_BLANK = re.compile(rb"[ \t]+")

_KEY_TEXT = re.compile(rb"AAAA[0-9A-Za-z+/]{60,}={0,2}")
"""The Base64 of a key: its type's length, of four bytes, begins with three zeros."""


@dataclass(frozen=True, slots=True)
class AuthorizedKey:
    """A line with a key.

    :ivar number: its number in the file, from 1.
    :ivar blob: the key in SSH's wire format.  A key that no client can sign with may be among them
        (:func:`twisted_rsh.trust.ssh_keys.check_public_key`).
    :ivar options: what is written before the key.
    """

    number: int
    blob: bytes
    options: KeyOptions


@dataclass(frozen=True, slots=True)
class LineProblem:
    """A line that grants nothing.

    :ivar number: its number in the file, from 1.
    :ivar reason: what is wrong with it, as a phrase that can be printed.
    """

    number: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.number} grants nothing: {self.reason}"


Line = AuthorizedKey | LineProblem


class AuthorizedKeys:
    """The content of one file of keys; :func:`parse_authorized_keys` makes it.

    :param lines: its lines, without their ends.
    :param candidates: the numbers, from 1, of the lines that have something like a key.
    :param numbers: for the text of each key the numbers of the first :data:`MAX_LINES_OF_KEY` lines that have
        it.
    :param ignored: the numbers of the lines without anything like a key, or with a NUL, that are neither blank nor a
        comment.
    :param plain: whether a line with options grants nothing.
    :ivar ignored: as above.
    """

    def __init__(
        self,
        lines: list[bytes],
        candidates: list[int],
        numbers: dict[bytes, tuple[int, ...]],
        ignored: tuple[int, ...],
        *,
        plain: bool = False,
    ) -> None:
        self.ignored = ignored
        self._candidates = candidates
        self._lines = lines
        self._plain = plain
        self._numbers = numbers
        self._parsed: dict[int, Line] = {}

    @property
    def blobs(self) -> frozenset[bytes]:
        """The keys that may log in by themselves.  This parses all lines, which holds the caller for a while."""
        return frozenset(key.blob for key in _keys(self))

    def find(self, blob: bytes) -> list[Line]:
        """Return the lines in which the text of a key stands, in their order: those with the key, and wrong ones.

        :param blob: the key in SSH's wire format.
        :returns: at most :data:`MAX_LINES_OF_KEY`; a line beyond them grants nothing.
        """
        lines = [self._line(number) for number in self._numbers.get(base64.b64encode(blob), ())]
        return [line for line in lines if isinstance(line, LineProblem) or line.blob == blob]

    def __iter__(self) -> Iterator[Line]:
        """Return each line that has something like a key, parsed when it is its turn."""
        return map(self._line, self._candidates)

    def _line(self, number: int) -> Line:
        line = self._parsed.get(number)
        if line is None:
            line = _parse_line(number, self._lines[number - 1])
            if self._plain and isinstance(line, AuthorizedKey) and line.options != KeyOptions():
                line = LineProblem(number, "it has options, which count in the server's own file alone")
            if isinstance(line, AuthorizedKey) and number not in self._numbers[base64.b64encode(line.blob)]:
                line = LineProblem(number, f"it has the same key as {MAX_LINES_OF_KEY} lines before it")
            self._parsed[number] = line
        return line


def parse_authorized_keys(data: bytes, *, plain: bool = False) -> AuthorizedKeys:
    """Index the text of a file of keys.

    :param data: the text, any bytes at all.
    :param plain: whether a line with options grants nothing.
    """
    # Only LF ends a line, as in sshd: a CR must not turn the rest of a line with options into a line of its own.
    lines = data.split(b"\n")
    numbers: dict[bytes, tuple[int, ...]] = {}
    candidates, ignored = [], []
    for number, line in enumerate(lines, start=1):
        if _is_comment(line):
            continue
        texts = _KEY_TEXT.findall(line)
        if not texts or b"\0" in line:
            ignored.append(number)
            continue
        candidates.append(number)
        for text in texts:
            known = numbers.get(text)
            if known is None:
                numbers[text] = (number,)
            elif known[-1] != number and len(known) < MAX_LINES_OF_KEY:
                numbers[text] = (*known, number)
    return AuthorizedKeys(lines, candidates, numbers, tuple(ignored), plain=plain)


def add_authorized_key(config: ConfigFolders, blob: bytes, comment: str, *, lock_seconds: float = LOCK_SECONDS) -> None:
    """Add a key to the file of those that may log in.

    Nothing happens if a line lets the key log in already, whatever its options allow.

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
        now = time.time()
        if any(not key.options.policy.is_over(now) for key in _keys(parse_authorized_keys(data).find(blob))):
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
            self._files.append(_KeyFile(ssh_path, plain=True))
        self.paths = tuple(file.path for file in self._files)

    def look(self) -> list[str]:
        """Read what has changed.  Call this before each question.

        A file that another user could have written grants nothing.  Reading never waits, whatever the paths name.

        :returns: one line for each file that is ignored, wholly or in part, if that is new.  A missing file gives no
            line.  A line may hold any path: escape it in a log.
        :raises OSError: the content of the files is unknown: the system has no descriptors or no memory left, or cannot
            reach them.
        """
        return [warning for file in self._files if (warning := file.look())]

    def grant(self, blob: bytes, address: str = "") -> KeyPolicy | None:
        """Tell what a key may do.

        The first line that lets the key log in decides, as in sshd.  Where ``authorized_keys`` has a line for the
        user's own client key, that decides as well.

        :param blob: the key in SSH's wire format, which the client has proven to hold.
        :param address: the IP address of the client; empty where it has none.
        :returns: ``None`` if the key may not log in; :meth:`reasons` says why some line does not let it.
        """
        now = time.time()
        lines = next((lines for file in self._files if (lines := file.keys.find(blob))), [])
        for key in _keys(lines):
            if key.options.policy.why_not(address, now) is None:
                return key.options.policy
        return None

    def authorities(self, blob: bytes) -> list[AuthorizedKey]:
        """Return the lines that make a key one of a certificate authority.

        :param blob: the authority's key in SSH's wire format.
        :returns: each with its principals, and the policy of a key that it certifies.
        """
        lines = (line for file in self._files for line in file.keys.find(blob))
        return [line for line in lines if isinstance(line, AuthorizedKey) and line.options.is_authority]

    def reasons(self, blob: bytes, address: str = "") -> list[str]:
        """Tell why the lines of a key grant it nothing, each in a line for the log.

        The parameters are those of :meth:`grant`.
        """
        now = time.time()
        found = []
        for file in self._files:
            for line in file.keys.find(blob):
                if isinstance(line, LineProblem):
                    found.append(f"{file.path}: {line}")
                elif line.options.is_authority:
                    found.append(f"{file.path}: line {line.number} is that of a cert-authority")
                elif (why := line.options.policy.why_not(address, now)) is not None:
                    found.append(f"{file.path}: line {line.number}: {why}")
        return found

    def problems(self) -> Iterator[str | None]:
        """Parse all lines, one in each step, and return one line for the log for each that grants nothing.

        Lines that have nothing like a key are left out: :meth:`look` has told of them.

        :returns: ``None`` for each line that is right.
        """
        for file in self._files:
            for line in file.keys:
                yield f"{file.path}: {line}" if isinstance(line, LineProblem) else None


def passes_by_itself(error: Exception) -> bool:
    """Tell whether an error says nothing about a file: the system is short of something, or cannot reach the file."""
    return getattr(error, "errno", None) in _PASSING


class _KeyFile:
    """One file.

    :param path: its path.
    :param plain: whether a line with options grants nothing.
    :ivar path: its path.
    :ivar keys: what it has.
    """

    def __init__(self, path: str, *, plain: bool = False) -> None:
        self.keys = parse_authorized_keys(b"")
        self.path = path
        self._plain = plain
        self._content: TrustedContent | None = None
        self._warning = ""

    def look(self) -> str:
        """Read the file if it has changed, and return a warning if that is new."""
        before, self._warning = self._warning, self._read()
        return "" if self._warning == before else self._warning

    def _read(self) -> str:
        """Read the file if it has changed, and return the warning that it deserves."""
        known, self._content = self._content, None
        keys, self.keys = self.keys, parse_authorized_keys(b"")  # until the file has proven to be safe
        try:
            content = read_if_changed(self.path, MAX_AUTHORIZED_KEYS_BYTES, known)
            if content.data.count(b"\n") > MAX_AUTHORIZED_KEYS_LINES:
                raise UntrustedFile(self.path, f"has more than {MAX_AUTHORIZED_KEYS_LINES} lines", "make it shorter")
        except FileNotFoundError:
            return ""
        except (UntrustedFile, OSError) as problem:
            if passes_by_itself(problem):
                raise
            return f"no key of this file may log in: {problem}"
        if known is None or content.data != known.data:
            keys = parse_authorized_keys(content.data, plain=self._plain)
        self._content, self.keys = content, keys
        if not keys.ignored:
            return ""
        return (
            f"{self.path}: {len(keys.ignored)} lines ignored, the first is line {keys.ignored[0]}: "
            "a line has options, a key's type, the key and a comment"
        )


def _keys(lines: Iterable[Line]) -> Iterator[AuthorizedKey]:
    """Return the lines whose keys log in by themselves."""
    return (line for line in lines if isinstance(line, AuthorizedKey) and not line.options.is_authority)


def _is_comment(line: bytes) -> bool:
    """Tell whether a line is a comment or blank."""
    start = line.lstrip(b" \t")[:1]
    return start in b"#" or (start == b"\r" and line.strip(b" \t") == b"\r")


def _parse_line(number: int, line: bytes) -> Line:
    """Parse a line that is neither blank nor a comment."""
    text = line.removesuffix(b"\r").strip(b" \t")
    if len(text) > MAX_LINE_BYTES:
        return LineProblem(number, f"it has more than {MAX_LINE_BYTES} bytes")
    options = KeyOptions()
    if not is_key_type(_BLANK.split(text, maxsplit=1)[0]):
        end = end_of_options(text)
        try:
            options = parse_options(text[:end].decode("utf-8", "surrogateescape"))
        except BadOptions as problem:
            return LineProblem(number, str(problem))
        text = text[end:].lstrip(b" \t")
    blob = parse_public_line(text)
    return (
        LineProblem(number, "it has no key that is accepted") if blob is None else AuthorizedKey(number, blob, options)
    )
