"""Files that are safe from other users: reading files that only this user can have written, and writing private ones.

The rules are those of ``StrictModes`` in sshd: the file and every folder above it belong to this user or to root, and
no other user may write there.  This module resolves a path itself, one component at a time from the root, symbolic
links included.  It takes each step in a folder that it has found safe, so no other user can change the path between its
check and its use.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import shlex
import stat
import time
from collections.abc import Callable, Iterator

from twisted_rsh.core.errors import Error, one_line
from twisted_rsh.core.values import dataclass

__all__ = [
    "BadKeyFile",
    "FileProblem",
    "TrustedContent",
    "UntrustedFile",
    "create_private_file",
    "ensure_private_folder",
    "open_private_log",
    "read_if_changed",
    "read_or_create_secret_file",
    "read_secret_file",
    "read_trusted_file",
    "replace_private_file",
    "today",
    "update_private_file",
]

MAX_LINKS = 40
"""Symbolic links to follow in one path at most, as many as Linux follows: this ends a loop."""

SETTLED_NANOSECONDS = 2_500_000_000
"""Nanoseconds between the last change of a file and its reading within which another change may get the same times:
more than the coarsest clock of a file system, the two seconds of FAT."""

LOCK_SECONDS = 5.0
"""Seconds to wait for another program that changes a file in the same folder: it takes some milliseconds, and on a slow
disk a second."""

_FOR_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOR_APPENDING = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_FOR_CREATING = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

_NOT_OPENED = frozenset({errno.ELOOP, errno.EMLINK, errno.ENXIO, errno.EOPNOTSUPP})
"""Errors of ``open`` with these flags for a symbolic link (``EMLINK`` on FreeBSD) and for a socket."""


class FileProblem(Error):
    """A file cannot be used as it is.  ``str()`` is one line that names the file and the way out.

    :ivar path: the file or folder.
    :ivar problem: its fault, as the rest of a sentence that begins with the path.
    :ivar remedy: the way out for the user, such as ``run: chmod go-w /x/y``.
    """

    def __init__(self, path: str, problem: str, remedy: str) -> None:
        super().__init__(path, problem, remedy)
        self.path = path
        self.problem = problem
        self.remedy = remedy

    def __str__(self) -> str:
        return one_line(f"{self.path} {self.problem}; {self.remedy}")


class UntrustedFile(FileProblem):
    """Another user may have written this file or may read it, or it is not a regular file."""


class BadKeyFile(FileProblem):
    """A file of the right owner and mode holds no usable key."""


def ensure_private_folder(path: str) -> None:
    """Check a folder that only this user can enter, or make it and the missing folders above it.

    New folders have mode 0700, whatever the umask is.  Existing folders stay as they are.

    :param path: the folder.
    :raises UntrustedFile: the folder is open to others or not this user's own, or others can write a folder above it.
    :raises OSError: the operating system did not allow it.
    """
    physical = _resolve_folder(path, create=True)
    status = os.lstat(physical)
    if status.st_uid != os.geteuid():
        raise UntrustedFile(physical, f"belongs to uid {status.st_uid}, not to you", _OWN_FOLDER)
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise UntrustedFile(physical, "is open to group or others", _run("chmod 700", physical))


def read_trusted_file(path: str, max_bytes: int) -> bytes:
    """Read a file that only this user and root can have written.  It never waits: it refuses a FIFO.

    :param path: the file itself and not a symbolic link to it; folders above it may be links.
    :param max_bytes: the largest size, in bytes.
    :returns: all of its bytes.
    :raises FileNotFoundError: there is no such file.
    :raises UntrustedFile: others can write the file or a folder above it; it is not a regular file, or too large.
    :raises OSError: the operating system did not allow it.
    """
    return _read_file(path, max_bytes, secret=False)


@dataclass(frozen=True, slots=True)
class TrustedContent:
    """What was read of a file, and what the system said of the file then.

    :ivar data: its bytes.
    :ivar stamp: the device, the number, the size and the times of the file when it was read; ``None`` when it had
        changed just before, so that another change might leave no trace in them.
    """

    data: bytes
    stamp: tuple[int, ...] | None


def read_if_changed(path: str, max_bytes: int, known: TrustedContent | None) -> TrustedContent:
    """Read a file like :func:`read_trusted_file`, unless it is as it was.  All checks are made in any case.

    :param path: the file itself and not a symbolic link to it; folders above it may be links.
    :param max_bytes: the largest size, in bytes.
    :param known: the result of the last call; ``None`` when there is none.
    :returns: `known` itself if the file has not changed since.
    :raises FileNotFoundError: there is no such file.
    :raises UntrustedFile: as for :func:`read_trusted_file`.
    :raises OSError: the operating system did not allow it.
    """
    with _opened(path, secret=False) as (descriptor, status):
        stamp = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        if known is not None and known.stamp == stamp:
            return known
        now = time.time_ns()  # the clock that the times of files are by
        is_settled = all(abs(now - at) > SETTLED_NANOSECONDS for at in (status.st_mtime_ns, status.st_ctime_ns))
        return TrustedContent(_read_all(path, descriptor, max_bytes), stamp if is_settled else None)


def read_secret_file(path: str, max_bytes: int) -> bytes:
    """Read a file like :func:`read_trusted_file` that, in addition, no other user may read.

    :param path: the file itself and not a symbolic link to it; folders above it may be links.
    :param max_bytes: the largest size, in bytes.
    :returns: all of its bytes.
    :raises FileNotFoundError: there is no such file.
    :raises UntrustedFile: as for :func:`read_trusted_file`, or group or others may read or execute the file.
    :raises OSError: the operating system did not allow it.
    """
    return _read_file(path, max_bytes, secret=True)


def create_private_file(path: str, data: bytes) -> bool:
    """Create a file of mode 0600, which is complete and on the disk before it has its name.

    :param path: the file, in a folder that exists; see :func:`ensure_private_folder`.
    :param data: its content.
    :returns: whether this call made the file.  If not, it exists already, perhaps made by another process just now, and
        is unchanged.
    :raises UntrustedFile: others can write a folder above it.
    :raises OSError: the operating system did not allow it; it names the file, and nothing is left behind.
    """
    folder, physical = _resolve(path)
    with _errors_name(path):
        temporary = _write_temporary(physical, data)
        try:
            os.link(temporary, physical)
        except FileExistsError:
            return False
        finally:
            os.unlink(temporary)
        _sync_folder(folder)
    return True


def replace_private_file(path: str, data: bytes) -> None:
    """Replace the content of a file of mode 0600.  A reader sees all of the old content or all of the new.

    :param path: the file, which need not exist, in a folder that exists.
    :param data: its new content.
    :raises UntrustedFile: others can write a folder above it.
    :raises OSError: the operating system did not allow it; it names the file, and the old file is unchanged.
    """
    folder, physical = _resolve(path)
    with _errors_name(path):
        temporary = _write_temporary(physical, data)
        try:
            os.rename(temporary, physical)
        except OSError:
            os.unlink(temporary)
            raise
        _sync_folder(folder)


def update_private_file(
    path: str, max_bytes: int, change: Callable[[bytes], bytes], *, lock_seconds: float = LOCK_SECONDS
) -> None:
    """Change a file as :func:`replace_private_file` does, so that two programs that change it lose neither change.

    :param path: the file; it and its folder are made where they are missing.
    :param max_bytes: the largest size, in bytes, before the change and after it.
    :param change: returns the new content; it gets the old one, empty for a missing file.  The file stays as it is if
        both are the same, or if it raises an exception.
    :raises UntrustedFile: as for :func:`ensure_private_folder` and :func:`read_trusted_file`, or the new content is too
        large.
    :raises OSError: the operating system did not allow it, or another program keeps the folder locked; the file is
        unchanged.
    """
    from twisted_rsh.trust.locks import locked_folder  # only here: most programs change no such file

    folder = os.path.dirname(path)
    ensure_private_folder(folder)
    with contextlib.ExitStack() as stack:
        with _errors_name(path):
            stack.enter_context(locked_folder(folder, lock_seconds))
        try:
            before = read_trusted_file(path, max_bytes)
        except FileNotFoundError:
            before = b""
        after = change(before)
        if len(after) > max_bytes:
            raise UntrustedFile(path, f"would have more than {max_bytes} bytes", "remove lines that are not needed")
        if after != before:
            replace_private_file(path, after)


def today() -> str:
    """Return the date of the wall clock, UTC, such as ``2026-01-31``.

    It is for the person who reads a line that a program has added to a file.  No decision follows from it.
    """
    return time.strftime("%Y-%m-%d", time.gmtime())


def read_or_create_secret_file(path: str, max_bytes: int, make: Callable[[], bytes]) -> bytes:
    """Read a secret that is made at its first use.  Processes that make it at the same time all read the same secret.

    :param path: the file; its folder is made where it is missing.
    :param max_bytes: the largest size, in bytes.
    :param make: makes the secret; called only when there is none.
    :returns: the content of the file.
    :raises UntrustedFile: as for :func:`ensure_private_folder` and :func:`read_secret_file`.
    :raises OSError: the operating system did not allow it.
    """
    ensure_private_folder(os.path.dirname(path))
    try:
        return read_secret_file(path, max_bytes)
    except FileNotFoundError:
        create_private_file(path, make())
    return read_secret_file(path, max_bytes)


def open_private_log(path: str) -> int:
    """Open a file of mode 0600 to append to it, or make it.  It never waits: it refuses a FIFO.

    A file that group and others can read gets mode 0600.

    :param path: the file itself and not a symbolic link to it; folders above it may be links, and exist.
    :returns: a descriptor that no process that is started inherits, and a lock on the file for as long as it is open.
    :raises UntrustedFile: it is not a regular file of this user, others can write it or a folder above it, or another
        process has opened it in this way.
    :raises OSError: the operating system did not allow it; it names the file.
    """
    from twisted_rsh.trust.locks import try_lock  # only here: few programs write such a file

    _, physical = _resolve(path)
    with _errors_name(path):
        try:
            descriptor = os.open(physical, _FOR_APPENDING, 0o600)
        except OSError as error:
            if error.errno in (*_NOT_OPENED, errno.EISDIR):
                raise UntrustedFile(path, "is not a regular file", _OWN_FILE) from None
            raise
        try:
            status = os.fstat(descriptor)
            _check_file(path, status, secret=False)
            if status.st_uid != os.geteuid():
                raise UntrustedFile(path, f"belongs to uid {status.st_uid}, who could read it", _OWN_FILE)
            if not try_lock(descriptor):
                raise UntrustedFile(path, "is another program's log", "name another file")
            os.fchmod(descriptor, 0o600)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


_OWN_FOLDER = "use a folder of your own: see HOME, XDG_CONFIG_HOME and XDG_STATE_HOME"
_OWN_FILE = "put a regular file of your own in its place"


def _run(command: str, path: str) -> str:
    return f"run: {command} {shlex.quote(path)}"


def _resolve(path: str) -> tuple[str, str]:
    """Resolve all components but the last; return the physical paths of the folder and of the file."""
    folder, name = os.path.split(path)
    physical = _resolve_folder(folder, create=False)
    return physical, os.path.join(physical, name)


def _resolve_folder(path: str, *, create: bool) -> str:
    """Walk to a folder and refuse every step that another user could have made; return its path without links."""
    reached = os.sep
    _check_folder(reached, os.lstat(reached))
    # Ask for the working folder only for a relative path: it may be gone.
    absolute = path if os.path.isabs(path) else os.path.join(os.getcwd(), path)
    ahead = absolute.split(os.sep)[::-1]
    links = 0
    while ahead:
        name = ahead.pop()
        if name in ("", os.curdir):
            continue
        if name == os.pardir:
            reached = os.path.dirname(reached)
            continue
        step = f"{reached}{name}" if reached == os.sep else f"{reached}{os.sep}{name}"
        status = _look_at_step(step, create=create)
        if not stat.S_ISLNK(status.st_mode):
            _check_folder(step, status)
            reached = step
            continue
        _check_owner(step, status, _OWN_FOLDER)
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
        target = os.readlink(step)
        if os.path.isabs(target):
            reached = os.sep
        ahead += target.split(os.sep)[::-1]
    return reached


def _look_at_step(step: str, *, create: bool) -> os.stat_result:
    try:
        return os.lstat(step)
    except FileNotFoundError:
        if not create:
            raise
    try:
        os.mkdir(step, 0o700)
        # The umask may have removed bits of the owner.
        os.chmod(step, 0o700)
    except FileExistsError:
        # Another process made it first.  The caller checks it like any other folder.
        pass
    return os.lstat(step)


def _check_owner(path: str, status: os.stat_result, remedy: str) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise UntrustedFile(path, f"belongs to uid {status.st_uid}, not to you or root", remedy)


def _check_folder(path: str, status: os.stat_result) -> None:
    if not stat.S_ISDIR(status.st_mode):
        raise UntrustedFile(path, "is not a folder", "move it away")
    if status.st_uid:  # root's need no look
        _check_owner(path, status, _OWN_FOLDER)
    # In a sticky folder such as /tmp others can add entries, but not rename or remove this user's or root's.
    if status.st_mode & 0o022 and not status.st_mode & stat.S_ISVTX:
        raise UntrustedFile(path, "is writable by group or others", _run("chmod go-w", path))


@contextlib.contextmanager
def _errors_name(path: str) -> Iterator[None]:
    """Let each error of the system name a file: that of a full disk names none, others a temporary file beside it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from error


def _read_file(path: str, max_bytes: int, *, secret: bool) -> bytes:
    with _opened(path, secret=secret) as (descriptor, _), _errors_name(path):
        return _read_all(path, descriptor, max_bytes)


@contextlib.contextmanager
def _opened(path: str, *, secret: bool) -> Iterator[tuple[int, os.stat_result]]:
    """Open a file and check it; give the descriptor, and what the system says of the open file."""
    _, physical = _resolve(path)
    try:
        descriptor = os.open(physical, _FOR_READING)
    except OSError as error:
        if error.errno in _NOT_OPENED:
            raise UntrustedFile(path, "is not a regular file", _OWN_FILE) from None
        raise
    try:
        # Check the open file: its name may belong to another file by now.
        status = os.fstat(descriptor)
        _check_file(path, status, secret=secret)
        yield descriptor, status
    finally:
        os.close(descriptor)


def _check_file(path: str, status: os.stat_result, *, secret: bool) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise UntrustedFile(path, "is not a regular file", _OWN_FILE)
    _check_owner(path, status, _OWN_FILE)
    if status.st_mode & 0o022:
        raise UntrustedFile(path, "is writable by group or others", _run("chmod go-w", path))
    if secret and status.st_mode & 0o077:
        raise UntrustedFile(path, "is a secret that group or others may read", _run("chmod 600", path))


def _read_all(path: str, descriptor: int, max_bytes: int) -> bytes:
    # Count the bytes while reading: the file may grow after any check of its size.
    data = bytearray()
    while len(data) <= max_bytes:
        piece = os.read(descriptor, max_bytes + 1 - len(data))
        if not piece:
            return bytes(data)
        data += piece
    raise UntrustedFile(path, f"has more than {max_bytes} bytes", "put a smaller file in its place")


def _write_temporary(physical: str, data: bytes) -> str:
    """Write data to a new file beside another one and flush it to the disk; return the new file's path."""
    folder, name = os.path.split(physical)
    temporary = os.path.join(folder, f".{name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, _FOR_CREATING, 0o600)
    try:
        with open(descriptor, "wb") as file:
            # The umask may have removed bits of the owner.
            os.fchmod(descriptor, 0o600)
            file.write(data)
            file.flush()
            os.fsync(descriptor)
    except BaseException:
        os.unlink(temporary)
        raise
    return temporary


def _sync_folder(folder: str) -> None:
    """Flush the names in a folder to the disk: a power failure could lose a new name otherwise."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
