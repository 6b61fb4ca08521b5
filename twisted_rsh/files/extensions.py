"""The extensions of OpenSSH; its file ``PROTOCOL`` describes them, except ``copy-data`` and ``home-directory``.

Those two are from draft-ietf-secsh-filexfer-extensions-00.
"""

from __future__ import annotations

import grp
import os
import pwd
import struct
from collections.abc import Callable, Iterable

from twisted_rsh.files.handles import MAX_HANDLES, Handles
from twisted_rsh.files.requests import MAX_DATA_BYTES, MAX_OFFSET, check_offset, resolve, set_attributes
from twisted_rsh.files.wire import Attributes, Refusal, Reply, ReplyType, Status, name_reply, text

__all__ = ["MAX_PACKET_BYTES", "Extensions"]

MAX_PACKET_BYTES = 256 * 1024
"""Bytes of a packet after its length, as OpenSSH has it."""

_COPY_BYTES = 256 * 1024
"""Bytes that ``copy-data`` has in memory at once."""


class Extensions:
    """Does what a client asks for with EXTENDED; the parameters of a method are the fields after the name.

    The methods return and raise what those of :class:`twisted_rsh.files.requests.Requests` do.

    :param handles: what the client has open.
    """

    def __init__(self, handles: Handles) -> None:
        self._handles = handles

    def posix_rename(self, old: bytes, new: bytes) -> None:
        """Rename, over a file that is there too."""
        os.rename(old, new)

    def hardlink(self, old: bytes, new: bytes) -> None:
        """Give a file a second name."""
        os.link(old, new, follow_symlinks=False)

    def statvfs(self, path: bytes) -> Reply:
        """Tell how large and how full the file system at a path is."""
        return _file_system_reply(os.statvfs(path))

    def fstatvfs(self, handle: bytes) -> Reply:
        """Tell how large and how full the file system of an open file or folder is."""
        return _file_system_reply(os.fstatvfs(self._handles.find(handle).fd))

    def fsync(self, handle: bytes) -> None:
        """Return when the data of a file is on its disk."""
        os.fsync(self._handles.file(handle).fd)

    def lsetstat(self, path: bytes, attributes: Attributes) -> None:
        """Set attributes, the last link not followed."""
        if attributes.size is not None:
            raise Refusal(Status.BAD_MESSAGE, "a link has no size to set")
        set_attributes(path, attributes, follow=False)

    def limits(self) -> Reply:
        """Tell the bounds of this server."""
        bounds = (MAX_PACKET_BYTES, MAX_DATA_BYTES, MAX_DATA_BYTES, MAX_HANDLES)
        return Reply(ReplyType.EXTENDED_REPLY, struct.pack("!4Q", *bounds))

    def expand_path(self, path: bytes) -> Reply:
        """Make a path absolute; it may begin with ``~`` or ``~user``."""
        if path.startswith(b"~"):
            user, _, rest = path[1:].partition(b"/")
            path = os.path.join(_home(user), rest)
        return name_reply([(resolved := resolve(path), resolved, bytes(4))])

    def home_directory(self, user: bytes) -> Reply:
        """Tell the home folder of a user; of this one if the name is empty."""
        return name_reply([(home := resolve(_home(user)), home, bytes(4))])

    def users_groups_by_id(self, users: tuple[int, ...], groups: tuple[int, ...]) -> Reply:
        """Tell the names of users and groups; the name of one without is empty."""
        names = (
            _names(users, lambda number: pwd.getpwuid(number).pw_name),
            _names(groups, lambda number: grp.getgrgid(number).gr_name),
        )
        if sum(map(len, names)) > MAX_DATA_BYTES:
            raise Refusal(Status.FAILURE, "the names are too long for one packet; ask for fewer")
        return Reply(ReplyType.EXTENDED_REPLY, b"".join(map(text, names)))

    def copy_data(self, source: bytes, offset: int, size: int, target: bytes, target_offset: int) -> None:
        """Copy a part of an open file to another, or what there is of it; all that is left of it if the size is 0."""
        reader, writer = self._handles.file(source), self._handles.file(target)
        if os.path.samestat(os.fstat(reader.fd), os.fstat(writer.fd)):
            raise Refusal(Status.FAILURE, "a file cannot be copied into itself")
        end = check_offset(offset + size) if size else MAX_OFFSET
        while offset < end:
            data = os.pread(reader.fd, min(end - offset, _COPY_BYTES), offset)
            if not data:
                return
            writer.write(memoryview(data), check_offset(target_offset))
            offset += len(data)
            target_offset += len(data)


def _file_system_reply(found: os.statvfs_result) -> Reply:
    # Of the flags only "read-only" and "no setuid" have a number in the protocol, and it is the system's.
    fields = (
        *(found.f_bsize, found.f_frsize, found.f_blocks, found.f_bfree, found.f_bavail),
        *(found.f_files, found.f_ffree, found.f_favail, found.f_fsid % 2**64),
        *(found.f_flag & (os.ST_RDONLY | os.ST_NOSUID), found.f_namemax),
    )
    return Reply(ReplyType.EXTENDED_REPLY, struct.pack("!11Q", *fields))


def _home(user: bytes) -> bytes:
    if not user:
        return os.path.expanduser(b"~")
    try:  # not expanduser(), which takes the names of users for ASCII
        return os.fsencode(pwd.getpwnam(os.fsdecode(user)).pw_dir)
    except (KeyError, ValueError):  # ValueError: a NUL character
        raise Refusal(Status.NO_SUCH_FILE, "no such user") from None


def _names(numbers: Iterable[int], name_of: Callable[[int], str]) -> bytes:
    known: dict[int, bytes] = {}
    for number in numbers:
        if number not in known:
            try:
                known[number] = text(os.fsencode(name_of(number)))
            except (KeyError, OverflowError):
                known[number] = text(b"")
    return b"".join(known[number] for number in numbers)
