"""The file of the audit log: private, whole lines, renamed in time, and safe from other users."""

from __future__ import annotations

import errno
import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.logger import LogEvent, formatEvent

from tests.link.wire import collecting_log
from twisted_rsh.trust.files import FileProblem
from twisted_rsh.watching.audit_file import AuditFile

LINE = b'{"event":"x"}\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file."""
    return tmp_path / "audit.log"


@pytest.fixture
def logged() -> Iterator[list[LogEvent]]:
    """The events that are logged during the test."""
    with collecting_log() as events:
        yield events


@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_a_new_file(path: Path, umask: int) -> None:
    """O-02: the file is private whatever the umask is, and a line is in it when the call returns."""
    before = os.umask(umask)
    try:
        file = AuditFile(str(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    file.write({}, LINE)
    assert path.read_bytes() == LINE
    file.close()


def test_an_old_file(path: Path) -> None:
    """O-02: a file that is there is appended to, and others can read it no more."""
    path.write_bytes(LINE)
    path.chmod(0o644)
    file = AuditFile(str(path))
    file.write({}, LINE)
    assert path.read_bytes() == LINE * 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    file.close()


def test_a_torn_line(path: Path) -> None:
    """What a killed server left of a line stays alone on its line."""
    path.write_bytes(b'{"eve')
    file = AuditFile(str(path))
    file.write({}, LINE)
    file.write({}, LINE)
    assert path.read_bytes() == b'{"eve\n' + LINE * 2
    file.close()


def test_unsafe_files(path: Path, tmp_path: Path) -> None:
    """O-01: a link, a folder, a FIFO, a file or folder that others can write, and another server's log are refused."""
    path.symlink_to(tmp_path / "elsewhere")
    refused(path, "not a regular file")
    assert not (tmp_path / "elsewhere").exists()
    path.unlink()
    path.mkdir()
    refused(path, "not a regular file")
    path.rmdir()
    os.mkfifo(path)
    refused(path, "not a regular file")
    path.unlink()
    path.write_bytes(b"")
    path.chmod(0o620)
    refused(path, "chmod go-w")
    path.unlink()
    file = AuditFile(str(path))
    refused(path, "another program's log")
    file.close()
    open_folder = tmp_path / "open"
    open_folder.mkdir()
    open_folder.chmod(0o777)
    refused(open_folder / "audit.log", "writable by group or others")
    assert not (open_folder / "audit.log").exists()
    with pytest.raises(OSError, match="No such file") as raised:
        AuditFile(str(tmp_path / "no" / "audit.log"))
    assert raised.value.filename is not None


def refused(path: Path, reason: str) -> None:
    """Check that a file is refused, with one line."""
    with pytest.raises(FileProblem, match=reason) as raised:
        AuditFile(str(path))
    assert str(raised.value).isprintable()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_another_users_file(path: Path) -> None:
    """O-01: a file of another user is refused."""
    path.write_bytes(b"")
    os.chown(path, 12345, -1)
    refused(path, "belongs to uid 12345")


def test_renaming(path: Path) -> None:
    """A file is renamed before the line that would make it too large; the bounded number of old ones moves up."""
    file = AuditFile(str(path), max_bytes=2 * len(LINE), kept=2)
    for number in range(9):
        file.write({}, LINE.replace(b"x", b"%d" % number))
    names = sorted(os.listdir(path.parent))
    assert names == ["audit.log", "audit.log.1", "audit.log.2"]
    assert [b"".join(each.read_bytes().split(b'"')[3::4]) for each in map(path.with_name, names)] == [
        b"8",
        b"67",
        b"45",
    ]
    assert {stat.S_IMODE((path.parent / name).stat().st_mode) for name in names} == {0o600}
    file.close()


def test_no_renaming(path: Path) -> None:
    """With a size of 0 the file is left to others."""
    file = AuditFile(str(path), max_bytes=0)
    for _ in range(100):
        file.write({}, LINE)
    assert os.listdir(path.parent) == ["audit.log"]
    file.close()


def test_a_folder_in_the_way(path: Path, logged: list[LogEvent]) -> None:
    """What keeps the file from being renamed is one line of the log until it has doubled, and no entry is lost."""
    (path.parent / "audit.log.1" / "x").mkdir(parents=True)
    file = AuditFile(str(path), max_bytes=3 * len(LINE), kept=1)
    for _ in range(6):
        file.write({}, LINE)
    assert path.read_bytes() == LINE * 6
    assert ["stays in its old file" in formatEvent(event) for event in logged] == [True]
    file.write({}, LINE)
    assert len(logged) == 2
    file.close()


def test_opening_again(path: Path, logged: list[LogEvent]) -> None:
    """A renamed file is left; where no file can be opened, the old one goes on; the same file stays open."""
    file = AuditFile(str(path))
    file.reopen()
    old = path.with_name("old")
    path.rename(old)
    file.write({}, LINE)
    path.symlink_to(old)
    file.reopen()
    file.write({}, LINE)
    assert len(logged) == 1
    path.unlink()
    file.reopen()
    file.write({}, LINE)
    assert (old.read_bytes(), path.read_bytes()) == (LINE * 2, LINE)
    file.close()
    with pytest.raises(OSError, match="closed"):
        file.write({}, LINE)
    file.reopen()
    file.write({}, LINE)
    assert path.read_bytes() == LINE * 2
    file.close()


def test_a_full_disk(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a line that does not fit nothing is left, so the next one is whole."""
    file = AuditFile(str(path))
    file.write({}, LINE)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
    with pytest.raises(OSError, match="No space") as raised:
        file.write({}, LINE)
    assert raised.value.errno == errno.ENOSPC
    monkeypatch.undo()
    file.write({}, LINE)
    assert path.read_bytes() == LINE * 2
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
    monkeypatch.setattr(os, "ftruncate", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, "no")))
    with pytest.raises(OSError, match="No space"):
        file.write({}, LINE)
    monkeypatch.undo()
    file.write({}, LINE)
    assert path.read_bytes() == LINE * 2 + LINE[:5] + b"\n" + LINE
    file.close()


def test_a_full_disk_behind_a_file_that_was_emptied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another program has emptied the file, what does not fit is taken back, and the file does not grow again."""
    file = AuditFile(str(path), max_bytes=0)
    file.write({}, LINE * 10)
    os.truncate(path, 0)
    file.write({}, LINE)
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, data[:5]))
    with pytest.raises(OSError, match="No space"):
        file.write({}, LINE)
    monkeypatch.undo()
    file.write({}, LINE)
    assert path.read_bytes() == LINE * 2
    file.close()


def test_a_limit_of_the_system(path: Path) -> None:
    """A line that the system takes in part is taken out again: here for a limit of the size of files."""
    file = AuditFile(str(path))
    size = 1 << 20
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    file.write({}, b"x" * (size - 6) + b"\n")
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))  # Python ignores SIGXFSZ
    try:
        for _ in range(2):
            with pytest.raises(OSError, match="No space"):
                file.write({}, LINE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    file.write({}, LINE)
    assert path.read_bytes()[size - 6 :] == b"\n" + LINE
    file.close()


def test_a_job_inherits_nothing(path: Path) -> None:
    """O-02: no process that the server starts has the file."""
    file = AuditFile(str(path))
    assert not os.get_inheritable(file._descriptor)
    file.close()
