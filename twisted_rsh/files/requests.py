"""What a client may ask for, apart from the extensions: files, folders, names and attributes."""

from __future__ import annotations

import errno
import functools
import grp
import os
import pwd
import stat
import time

from twisted_rsh.files.handles import Handles, OpenFile, OpenFolder
from twisted_rsh.files.wire import (
    Attributes,
    MalformedPacket,
    OpenFlag,
    Refusal,
    Reply,
    ReplyType,
    Status,
    attributes_of,
    name_reply,
    text,
)

__all__ = ["MAX_DATA_BYTES", "MAX_OFFSET", "Requests", "check_offset", "resolve", "set_attributes"]

MAX_DATA_BYTES = 255 * 1024
"""Bytes that one READ returns at most, and one WRITE carries: with its other fields each fits into a packet."""

MAX_ENTRIES = 100
"""Entries of a folder in one NAME: with names of 255 bytes, each twice, a quarter of a packet."""

MAX_OFFSET = 2**63 - 1
"""The largest offset in a file that the system knows."""

_ACCESS = {
    OpenFlag.READ: os.O_RDONLY,
    OpenFlag.WRITE: os.O_WRONLY,
    OpenFlag.READ | OpenFlag.WRITE: os.O_RDWR,
}
_MODIFIERS = {
    OpenFlag.APPEND: os.O_APPEND,
    OpenFlag.CREATE: os.O_CREAT,
    OpenFlag.TRUNCATE: os.O_TRUNC,
    OpenFlag.EXCLUSIVE: os.O_EXCL,
}
_KNOWN_FLAGS = sum(OpenFlag)

_RECENT_SECONDS = 365 * 86400 // 2
"""Half a year: the line of an older file, and of one from the future, has the year in place of the time."""


class Requests:
    """Does what a client asks for.  The parameters of a method are the fields of its request, in their order.

    Each method returns the reply, or ``None`` for a STATUS that all went well, and raises `Refusal`, `OSError` or, for
    a field without a meaning, `MalformedPacket`.

    :param handles: what the client has open.
    """

    def __init__(self, handles: Handles) -> None:
        self._handles = handles

    # Files

    def open(self, path: bytes, flags: int, attributes: Attributes) -> Reply:
        """Open a file; a new one gets the permissions of the attributes, less the umask."""
        if flags & ~_KNOWN_FLAGS:
            raise MalformedPacket("unknown flags")
        self._handles.check_room()
        access = _ACCESS.get(flags & (OpenFlag.READ | OpenFlag.WRITE), os.O_RDONLY)
        for flag, modifier in _MODIFIERS.items():
            access |= modifier if flags & flag else 0
        fd = os.open(path, access | os.O_CLOEXEC | os.O_NOCTTY, _mode(attributes, 0o666))
        opened = OpenFile(fd, appends=bool(flags & OpenFlag.APPEND))
        return Reply(ReplyType.HANDLE, text(self._handles.add(opened)))

    def close(self, handle: bytes) -> None:
        """Close a file or a folder."""
        self._handles.close(handle)

    def read(self, handle: bytes, offset: int, size: int) -> Reply:
        """Read a part of a file: at most :data:`MAX_DATA_BYTES`."""
        file = self._handles.file(handle)
        data = os.pread(file.fd, min(size, MAX_DATA_BYTES), check_offset(offset))
        if size and not data:
            raise Refusal(Status.EOF, "end of file")
        return Reply(ReplyType.DATA, text(data))

    def write(self, handle: bytes, offset: int, data: memoryview) -> None:
        """Write a part of a file."""
        self._handles.file(handle).write(data, check_offset(offset))

    # Attributes

    def stat(self, path: bytes) -> Reply:
        """Tell what a path is, links followed."""
        return _attributes_reply(os.stat(path))

    def lstat(self, path: bytes) -> Reply:
        """Tell what a path is, the last link not followed."""
        return _attributes_reply(os.lstat(path))

    def fstat(self, handle: bytes) -> Reply:
        """Tell what an open file or folder is."""
        return _attributes_reply(os.fstat(self._handles.find(handle).fd))

    def setstat(self, path: bytes, attributes: Attributes) -> None:
        """Set attributes, links followed."""
        set_attributes(path, attributes)

    def fsetstat(self, handle: bytes, attributes: Attributes) -> None:
        """Set attributes of an open file or folder."""
        set_attributes(self._handles.find(handle).fd, attributes)

    # Folders

    def opendir(self, path: bytes) -> Reply:
        """Open a folder."""
        self._handles.check_room()
        return Reply(ReplyType.HANDLE, text(self._handles.add(OpenFolder(path))))

    def readdir(self, handle: bytes) -> Reply:
        """Read on in a folder."""
        entries = self._handles.folder(handle).read(MAX_ENTRIES)
        if not entries:
            raise Refusal(Status.EOF, "end of folder")
        return name_reply([(name, _line(name, status), attributes_of(status)) for name, status in entries])

    def mkdir(self, path: bytes, attributes: Attributes) -> None:
        """Make a folder, with the permissions of the attributes, less the umask."""
        os.mkdir(path, _mode(attributes, 0o777))

    def rmdir(self, path: bytes) -> None:
        """Remove an empty folder."""
        os.rmdir(path)

    # Names

    def remove(self, path: bytes) -> None:
        """Remove a file."""
        os.unlink(path)

    def rename(self, old: bytes, new: bytes) -> None:
        """Rename, never over something that is there.

        A link to the new name fails where that is taken, so between a look and the renaming no file can come to be
        replaced.  A folder, and a file system without links, has only the look.
        """
        if stat.S_ISREG(os.lstat(old).st_mode):
            try:
                os.link(old, new)
            except (FileExistsError, FileNotFoundError):
                raise
            except OSError:
                pass  # no links here; if the rename is not allowed either, that is the client's error
            else:
                _remove_old_name(old, new)
                return
        if os.path.lexists(new):
            raise Refusal(Status.FAILURE, "there is something of that name")
        os.rename(old, new)

    def realpath(self, path: bytes) -> Reply:
        """Make a path absolute and free of links."""
        return name_reply([(resolved := resolve(path), resolved, bytes(4))])

    def readlink(self, path: bytes) -> Reply:
        """Tell what a symbolic link leads to."""
        return name_reply([(target := os.readlink(path), target, bytes(4))])

    def symlink(self, target: bytes, path: bytes) -> None:
        """Make a symbolic link.  The draft has the fields the other way round; all programs have OpenSSH's order."""
        os.symlink(target, path)


def set_attributes(target: bytes | int, attributes: Attributes, *, follow: bool = True) -> None:
    """Set attributes: the size, the owner, which clears bits of the mode, the mode, and then the times.

    :param target: a path, or a descriptor.
    :param attributes: what to set.
    :param follow: whether to follow a symbolic link; ``False`` only for a path.
    :raises OSError: the system refused one of them; those before it are set.
    :raises Refusal: it is a symbolic link, which has no permissions, and they are to be set.
    """
    if attributes.size is not None:
        os.truncate(target, check_offset(attributes.size))
    if attributes.owner is not None:
        os.chown(target, *attributes.owner, follow_symlinks=follow)
    if attributes.mode is not None:
        if not follow and isinstance(target, bytes) and stat.S_ISLNK(os.lstat(target).st_mode):
            raise Refusal(Status.OP_UNSUPPORTED, "a link has no permissions")
        os.chmod(target, attributes.mode)
    if attributes.times is not None:
        os.utime(target, attributes.times, follow_symlinks=follow)


def check_offset(offset: int) -> int:
    """Return an offset or a size that the system can have.

    :raises MalformedPacket: it cannot.
    """
    if offset > MAX_OFFSET:
        raise MalformedPacket("an offset of more than 63 bits")
    return offset


def resolve(path: bytes) -> bytes:
    """Make a path absolute and free of links; its last part need not exist.

    :raises OSError: one of its other parts does not, or is no folder, or a link leads back to itself.
    """
    resolved = os.path.realpath(path)
    if os.path.islink(resolved):
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
    os.stat(os.path.join(os.path.dirname(resolved), b""))  # with a slash at the end it must be a folder
    return resolved


def _remove_old_name(old: bytes, new: bytes) -> None:
    try:
        os.unlink(old)
    except OSError:  # as in a folder like /tmp, if the file is another user's: then nothing is renamed
        os.unlink(new)
        raise


def _mode(attributes: Attributes, default: int) -> int:
    return default if attributes.mode is None else attributes.mode


def _attributes_reply(status: os.stat_result) -> Reply:
    return Reply(ReplyType.ATTRS, attributes_of(status))


def _line(name: bytes, status: os.stat_result) -> bytes:
    """Return the line for people, as ``ls -l`` has it."""
    form = "%b %e %H:%M" if 0 <= time.time() - status.st_mtime < _RECENT_SECONDS else "%b %e  %Y"
    try:
        when = time.strftime(form, time.localtime(status.st_mtime))
    except (OverflowError, ValueError, OSError):  # a year that the system cannot write
        when = "?"
    mode, user, group = stat.filemode(status.st_mode), _user_name(status.st_uid), _group_name(status.st_gid)
    return f"{mode} {status.st_nlink:4} {user:8} {group:8} {status.st_size:8} {when} ".encode() + name


@functools.lru_cache(maxsize=1024)
def _user_name(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


@functools.lru_cache(maxsize=1024)
def _group_name(number: int) -> str:
    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return str(number)
