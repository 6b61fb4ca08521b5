"""Tests of reading and writing files whose owner and mode matter."""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from twisted_rsh.trust.files import (
    MAX_LINKS,
    UntrustedFile,
    create_private_file,
    ensure_private_folder,
    read_or_create_secret_file,
    read_secret_file,
    read_trusted_file,
    replace_private_file,
)

SetUmask = Callable[[int], int]
GiveAway = Callable[[Path], None]


def mode_of(path: Path) -> int:
    """The permission bits of a path."""
    return stat.S_IMODE(path.lstat().st_mode)


def make_file(path: Path, data: bytes = b"data", mode: int = 0o600) -> Path:
    """Write a file with exactly this mode."""
    path.write_bytes(data)
    path.chmod(mode)
    return path


def test_problem_is_one_line(tmp_path: Path) -> None:
    """The error names the file, the problem and the command that helps, in one line whatever the name holds."""
    path = make_file(tmp_path / "a\nb\x1b", mode=0o620)
    with pytest.raises(UntrustedFile) as caught:
        read_trusted_file(str(path), 10)
    shown = str(tmp_path) + "/a\\nb\\x1b"
    assert str(caught.value) == f"{shown} is writable by group or others; run: chmod go-w '{shown}'"
    assert caught.value.path == str(path)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o377])
def test_new_folders_are_private(tmp_path: Path, umask: int, set_umask: SetUmask) -> None:
    """O-02: every folder that is made has mode 0700, whatever the umask."""
    set_umask(umask)
    ensure_private_folder(str(tmp_path / "a/b/c"))
    assert [mode_of(tmp_path / name) for name in ("a", "a/b", "a/b/c")] == [0o700] * 3


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("write", [create_private_file, replace_private_file])
def test_new_files_are_private_from_the_start(
    tmp_path: Path,
    umask: int,
    write: Callable[[str, bytes], object],
    set_umask: SetUmask,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """O-02: a file has mode 0600 at the end and nothing beyond that at any moment, whatever the umask."""
    modes = []
    real_open = os.open

    def watched_open(path: str, flags: int, mode: int = 0o777) -> int:
        descriptor = real_open(path, flags, mode)
        if flags & os.O_CREAT:
            modes.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
        return descriptor

    monkeypatch.setattr(os, "open", watched_open)
    set_umask(umask)
    path = tmp_path / "secret"
    write(str(path), b"data")
    assert modes
    assert all(mode & ~0o600 == 0 for mode in modes)
    assert mode_of(path) == 0o600
    assert read_secret_file(str(path), 4) == b"data"
    assert os.listdir(tmp_path) == ["secret"]


def test_existing_private_folder_is_accepted(tmp_path: Path) -> None:
    """A folder of this user with mode 0700 needs nothing."""
    ensure_private_folder(str(tmp_path))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mode", [0o710, 0o701, 0o750, 0o777])
def test_open_folder_is_refused(tmp_path: Path, mode: int) -> None:
    """O-01: a folder for secrets that others can enter is refused with the command that closes it."""
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(UntrustedFile, match=r"run: chmod (700|go-w) .*/open$"):
        ensure_private_folder(str(folder))
    assert mode_of(folder) == mode


@pytest.mark.parametrize("mode", [0o770, 0o707])
def test_writable_ancestor_is_refused(tmp_path: Path, mode: int) -> None:
    """O-01: a folder above that others can write is refused with the exact chmod, and nothing is made below it."""
    (tmp_path / "up").mkdir()
    (tmp_path / "up").chmod(mode)
    with pytest.raises(UntrustedFile, match=f"run: chmod go-w {tmp_path}/up$"):
        ensure_private_folder(str(tmp_path / "up" / "below"))
    assert os.listdir(tmp_path / "up") == []


def test_readable_ancestor_is_accepted(tmp_path: Path) -> None:
    """Others may look into the folders above, as into any home folder."""
    (tmp_path / "up").mkdir()
    (tmp_path / "up").chmod(0o755)
    ensure_private_folder(str(tmp_path / "up" / "below"))


def test_sticky_ancestor_is_accepted(tmp_path: Path) -> None:
    """A sticky folder such as /tmp is accepted: other users cannot rename this user's entries in it."""
    (tmp_path / "sticky").mkdir()
    (tmp_path / "sticky").chmod(0o1777)
    ensure_private_folder(str(tmp_path / "sticky" / "below"))
    make_file(tmp_path / "sticky" / "below" / "file")
    assert read_trusted_file(str(tmp_path / "sticky" / "below" / "file"), 10) == b"data"


def test_foreign_folder_is_refused(tmp_path: Path, give_away: GiveAway) -> None:
    """O-01: a folder of another user on the way is refused."""
    (tmp_path / "theirs").mkdir()
    give_away(tmp_path / "theirs")
    with pytest.raises(UntrustedFile, match=r"belongs to uid .* use a folder of your own"):
        ensure_private_folder(str(tmp_path / "theirs" / "below"))


def test_folder_of_root_is_no_private_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's folders may be above, but the private folder itself is the user's own."""
    monkeypatch.setattr(os, "geteuid", lambda: os.stat("/").st_uid + 1)
    with pytest.raises(UntrustedFile, match=r"/ belongs to uid 0, not to you;"):
        ensure_private_folder("/")


def test_file_is_no_folder(tmp_path: Path) -> None:
    """A file where a folder should be is named."""
    make_file(tmp_path / "file")
    with pytest.raises(UntrustedFile, match="/file is not a folder; move it away"):
        ensure_private_folder(str(tmp_path / "file" / "below"))


def test_folder_made_by_another_process_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """O-03: a process that loses the race for a folder uses the winner's."""
    real_mkdir = os.mkdir

    def late_mkdir(path: str, mode: int) -> None:
        real_mkdir(path, mode)
        real_mkdir(path, mode)

    monkeypatch.setattr(os, "mkdir", late_mkdir)
    ensure_private_folder(str(tmp_path / "a"))
    assert mode_of(tmp_path / "a") == 0o700


def test_links_among_the_folders_are_followed(tmp_path: Path) -> None:
    """O-01: links that this user laid, absolute, relative, upwards and in chains, lead to the folder."""
    (tmp_path / "real" / "deep").mkdir(parents=True)
    make_file(tmp_path / "real" / "deep" / "file")
    (tmp_path / "absolute").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "up").symlink_to("../absolute/./deep")
    assert read_trusted_file(str(tmp_path / "absolute" / "up" / "file"), 4) == b"data"
    assert read_trusted_file(str(tmp_path / "absolute" / "deep" / ".." / "deep" / "file"), 4) == b"data"


def test_what_a_link_leads_through_is_checked(tmp_path: Path) -> None:
    """O-01: a link into a folder that others can write is as bad as that folder."""
    (tmp_path / "bad" / "deep").mkdir(parents=True)
    (tmp_path / "bad").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path / "bad" / "deep")
    with pytest.raises(UntrustedFile, match=f"run: chmod go-w {tmp_path}/bad$"):
        ensure_private_folder(str(tmp_path / "link"))


def test_foreign_link_is_refused(tmp_path: Path, give_away: GiveAway) -> None:
    """O-01: a link of another user, as is possible in /tmp, is not followed."""
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("real")
    give_away(tmp_path / "link")
    with pytest.raises(UntrustedFile, match="belongs to uid"):
        ensure_private_folder(str(tmp_path / "link"))


def test_links_are_counted(tmp_path: Path) -> None:
    """As many links as the bound are followed; one more is a loop."""
    (tmp_path / "0").mkdir(mode=0o700)
    for number in range(MAX_LINKS + 1):
        (tmp_path / str(number + 1)).symlink_to(str(number))
    ensure_private_folder(str(tmp_path / str(MAX_LINKS)))
    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        ensure_private_folder(str(tmp_path / str(MAX_LINKS + 1)))


def test_relative_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path is taken from the working folder."""
    make_file(tmp_path / "file")
    monkeypatch.chdir(tmp_path)
    assert read_trusted_file("file", 4) == b"data"


def test_absolute_path_needs_no_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working folder that is gone is no obstacle."""
    make_file(tmp_path / "file")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert read_trusted_file(str(tmp_path / "file"), 4) == b"data"


def test_missing_file_and_missing_folder(tmp_path: Path) -> None:
    """A missing file is a FileNotFoundError, and reading makes nothing."""
    for path in (tmp_path / "file", tmp_path / "folder" / "file"):
        with pytest.raises(FileNotFoundError):
            read_trusted_file(str(path), 10)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_writable_file_is_refused(tmp_path: Path, mode: int) -> None:
    """A-13: a file that group or others can write is refused."""
    path = make_file(tmp_path / "file", mode=mode)
    with pytest.raises(UntrustedFile, match="run: chmod go-w"):
        read_trusted_file(str(path), 10)


def test_file_in_writable_folder_is_refused(tmp_path: Path) -> None:
    """A-13: a good file in a folder that others can write is refused."""
    (tmp_path / "up").mkdir()
    make_file(tmp_path / "up" / "file")
    (tmp_path / "up").chmod(0o777)
    with pytest.raises(UntrustedFile, match=f"{tmp_path}/up is writable"):
        read_trusted_file(str(tmp_path / "up" / "file"), 10)


def test_foreign_file_is_refused(tmp_path: Path, give_away: GiveAway) -> None:
    """A-13: a file of another user is refused."""
    path = make_file(tmp_path / "file", mode=0o644)
    give_away(path)
    with pytest.raises(UntrustedFile, match="belongs to uid"):
        read_trusted_file(str(path), 10)


def test_link_fifo_folder_and_socket_are_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-13: what is not a regular file is refused without waiting for a writer."""
    make_file(tmp_path / "file")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    paths = [tmp_path / name for name in ("link", "fifo", "folder")]
    with socket.socket(socket.AF_UNIX) as listener:
        # A relative name, because the whole path may be longer than a socket's may be.
        monkeypatch.chdir(tmp_path)
        listener.bind("s")
        for path in [*paths, tmp_path / "s"]:
            with pytest.raises(UntrustedFile, match=f"{path} is not a regular file"):
                read_trusted_file(str(path), 10)


def test_failure_to_open_is_not_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the operating system itself, such as a full descriptor table, is passed on."""
    path = make_file(tmp_path / "file")

    def no_descriptors(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(os, "open", no_descriptors)
    with pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
        read_trusted_file(str(path), 10)


def test_size_bound(tmp_path: Path) -> None:
    """A-13: a file at the bound is read, one byte more is refused, and so is a gigabyte without being read."""
    path = make_file(tmp_path / "file", b"x" * 100)
    assert read_trusted_file(str(path), 100) == b"x" * 100
    with pytest.raises(UntrustedFile, match="has more than 99 bytes"):
        read_trusted_file(str(path), 99)
    os.truncate(path, 2**30)
    with pytest.raises(UntrustedFile, match="has more than 100 bytes"):
        read_trusted_file(str(path), 100)


def test_file_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that the operating system hands over in pieces is read whole."""
    path = make_file(tmp_path / "file", b"abc")
    real_read = os.read
    monkeypatch.setattr(os, "read", lambda descriptor, size: real_read(descriptor, min(size, 1)))
    assert read_trusted_file(str(path), 3) == b"abc"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o601])
def test_readable_secret_is_refused(tmp_path: Path, mode: int) -> None:
    """A secret that others may read is refused, where an ordinary file would do."""
    path = make_file(tmp_path / "file", mode=mode)
    assert read_trusted_file(str(path), 4) == b"data"
    with pytest.raises(UntrustedFile, match="run: chmod 600"):
        read_secret_file(str(path), 4)


def test_no_descriptor_stays_open(tmp_path: Path) -> None:
    """Every outcome closes what it opened."""
    path = make_file(tmp_path / "file")
    before = os.dup(0)
    os.close(before)
    read_trusted_file(str(path), 4)
    for bound in (3, 0):
        with pytest.raises(UntrustedFile):
            read_trusted_file(str(path), bound)
    create_private_file(str(tmp_path / "new"), b"")
    replace_private_file(str(tmp_path / "new"), b"")
    after = os.dup(0)
    os.close(after)
    assert after == before


def test_create_does_not_replace(tmp_path: Path) -> None:
    """Only the first creation counts, also where the name is a link that leads nowhere."""
    path = tmp_path / "file"
    assert create_private_file(str(path), b"first")
    assert not create_private_file(str(path), b"second")
    assert path.read_bytes() == b"first"
    (tmp_path / "link").symlink_to("nowhere")
    assert not create_private_file(str(tmp_path / "link"), b"third")
    assert sorted(os.listdir(tmp_path)) == ["file", "link"]


def test_replace(tmp_path: Path) -> None:
    """A replaced file has the new content and mode 0600; a link is replaced, not followed."""
    path = make_file(tmp_path / "file", b"old", mode=0o644)
    (tmp_path / "link").symlink_to("file")
    replace_private_file(str(tmp_path / "link"), b"new")
    assert path.read_bytes() == b"old"
    replace_private_file(str(path), b"new")
    assert (path.read_bytes(), mode_of(path)) == (b"new", 0o600)


def test_failed_replace_leaves_nothing(tmp_path: Path) -> None:
    """A replacement that the operating system refuses changes nothing."""
    (tmp_path / "folder").mkdir()
    with pytest.raises(IsADirectoryError):
        replace_private_file(str(tmp_path / "folder"), b"new")
    assert os.listdir(tmp_path) == ["folder"]


def test_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A full disk leaves no half-written secret behind."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for write in (create_private_file, replace_private_file):
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as raised:
            write(str(tmp_path / "file"), b"data")
        assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path / "file"))
        assert os.listdir(tmp_path) == []


def test_errors_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-12: an error names the file that was meant, and not a temporary one beside it."""
    path = str(tmp_path / "file")
    (tmp_path / "file").mkdir()
    with pytest.raises(IsADirectoryError) as replaced:
        replace_private_file(path, b"new")
    assert replaced.value.filename == path
    os.rmdir(path)
    create_private_file(path, b"data")

    def broken(*_: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "read", broken)
    with pytest.raises(OSError, match=os.strerror(errno.EIO)) as read:
        read_secret_file(path, 10)
    assert (read.value.errno, read.value.filename) == (errno.EIO, path)


@pytest.mark.parametrize("write", [create_private_file, replace_private_file])
def test_nothing_is_written_into_an_unsafe_folder(tmp_path: Path, write: Callable[[str, bytes], object]) -> None:
    """O-01: a secret is not even created where others can write."""
    tmp_path.chmod(0o770)
    with pytest.raises(UntrustedFile, match="run: chmod go-w"):
        write(str(tmp_path / "file"), b"data")
    assert os.listdir(tmp_path) == []


def test_secret_made_by_another_process_meanwhile(tmp_path: Path) -> None:
    """O-03: a process that loses the race for a secret reads the winner's."""
    path = str(tmp_path / "folder" / "secret")

    def make_too_late() -> bytes:
        create_private_file(path, b"winner")
        return b"loser"

    assert read_or_create_secret_file(path, 10, make_too_late) == b"winner"
    assert read_or_create_secret_file(path, 10, make_too_late) == b"winner"
