"""The file of known servers: read strictly, edited by hand or by the programs, and never half written."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

import pytest

from twisted_rsh.trust.files import FileProblem, UntrustedFile, update_private_file
from twisted_rsh.trust.fingerprint import format_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.known_servers import (
    MAX_KNOWN_SERVERS_BYTES,
    MAX_KNOWN_SERVERS_LINES,
    BadKnownServers,
    KnownServer,
    KnownServers,
    format_address,
)

A, B = bytes([1]) * 32, bytes([2]) * 32


@pytest.fixture
def known(tmp_path: Path) -> KnownServers:
    """The known servers of a user who has none."""
    return KnownServers(ConfigFolders.at(str(tmp_path / "rsh")))


@pytest.fixture
def file(known: KnownServers) -> Path:
    """The file, in its folder, which is there."""
    path = Path(known.path)
    path.parent.mkdir(mode=0o700)
    return path


def test_no_file(known: KnownServers) -> None:
    """Without a file no server is known, and looking makes none."""
    assert list(known) == []
    assert known.pins("build", 8082) == ()
    assert known.forget("build", 8082) == 0
    assert not os.path.exists(known.path)


def test_a_server_is_added_and_forgotten(known: KnownServers) -> None:
    """O-02: what is added is found by host and port alone, in a file of mode 0600 in a folder of mode 0700."""
    known.add("Build.example.org", 8082, A, "added by hand")
    known.add("build.example.org", 8083, B)
    assert known.pins("build.example.ORG", 8082) == (A,)
    assert known.pins("build.example.org", 8084) == ()
    text = (
        f"build.example.org:8082 {format_fingerprint(A)} added by hand\n"
        f"build.example.org:8083 {format_fingerprint(B)}\n"
    )
    assert Path(known.path).read_text() == text
    assert stat.S_IMODE(os.lstat(known.path).st_mode) == 0o600
    assert stat.S_IMODE(os.lstat(os.path.dirname(known.path)).st_mode) == 0o700
    assert known.forget("BUILD.example.org", 8082) == 1
    assert list(known) == [KnownServer("build.example.org:8083", B)]


def test_several_keys(known: KnownServers) -> None:
    """A server may have any of several keys; a key is listed once, and `replace` leaves the new one alone."""
    for pin in (A, B, A):
        known.add("build", 8082, pin)
    known.add("other", 8082, A)
    assert known.pins("build", 8082) == (A, B)
    known.add("build", 8082, B, replace=True)
    assert known.pins("build", 8082) == (B,)
    assert known.pins("other", 8082) == (A,)
    known.add("build", 8082, A, replace=True)
    assert known.pins("build", 8082) == (A,)


def test_what_a_user_writes_stays(known: KnownServers, file: Path) -> None:
    """Comments, blank lines, tabs, CRLF, bytes that are no text and an unfinished last line stay as they are."""
    lines = [
        b"# my servers",
        b"",
        f"  build:8082\t{format_fingerprint(A)}\t the  fast one \xe4\xb8\xad".encode("latin-1"),
        b"[2001:DB8:0::1]:9000 " + format_fingerprint(B).encode() + b"\r",
    ]
    file.write_bytes(b"\n".join(lines))
    assert list(known) == [
        KnownServer("build:8082", A, "the  fast one \u4e2d"),
        KnownServer("[2001:db8::1]:9000", B),
    ]
    known.add("third", 1, A)
    assert file.read_bytes() == b"\n".join([*lines, b"third:1 " + format_fingerprint(A).encode(), b""])
    assert known.pins("2001:db8:0:0::1", 9000) == (B,)
    known.forget("build", 8082)
    assert file.read_bytes().splitlines()[:2] == lines[:2]


@pytest.mark.parametrize(
    "line",
    [
        "build",
        "build:8082",
        "build SHA256:" + "A" * 43,
        "build:0 SHA256:" + "A" * 43,
        "build:65536 SHA256:" + "A" * 43,
        "build:\u0661 SHA256:" + "A" * 43,
        "::1:8082 SHA256:" + "A" * 43,
        "[::1] SHA256:" + "A" * 43,
        "[build]:8082 SHA256:" + "A" * 43,
        "build:8082 SHA256:" + "A" * 42,
        "build:8082 sha256:" + "A" * 43,
        "build:8082 SHA256:" + "A" * 42 + "B",
        "build:8082 SHA256:" + "A" * 43 + "\0",
        "b" * 300 + ":8082 SHA256:" + "A" * 43,
        "|1|hashed|name ssh-ed25519 AAAA",
        "<<<<<<< HEAD",
    ],
)
def test_one_wrong_line_is_enough(known: KnownServers, file: Path, line: str) -> None:
    """A wrong line refuses the whole file, names itself, and is not lost by a change."""
    text = f"build:8082 {format_fingerprint(A)}\n{line}\n"
    file.write_text(text)
    for call in (lambda: known.pins("build", 8082), lambda: known.add("x", 1, B), lambda: known.forget("build", 8082)):
        with pytest.raises(BadKnownServers, match=r"known_servers line 2 is wrong; write HOST:PORT SHA256:") as caught:
            call()
        assert str(caught.value).isprintable()
    assert file.read_text() == text


def make_group_writable(file: Path) -> None:
    file.write_text("")
    file.chmod(0o660)


def make_link(file: Path) -> None:
    target = file.with_name("elsewhere")
    target.write_text("")
    file.symlink_to(target)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_group_writable, "is writable by group or others; run: chmod go-w"),
        (make_link, "is not a regular file"),
        (Path.mkdir, "is not a regular file"),
        (os.mkfifo, "is not a regular file"),
        (lambda file: file.write_bytes(b"#" * (MAX_KNOWN_SERVERS_BYTES + 1)), "has more than 262144 bytes"),
        (lambda file: file.write_bytes(b"\n" * (MAX_KNOWN_SERVERS_LINES + 1)), "has more than 4096 lines"),
    ],
    ids=["group-writable", "link", "folder", "fifo", "oversize", "too many lines"],
)
def test_unsafe_files(known: KnownServers, file: Path, make: object, words: str) -> None:
    """A-13: a file that another user could have written, and one that is none, is refused in one line, at once."""
    assert callable(make)
    make(file)
    for call in (lambda: known.pins("build", 8082), lambda: known.add("x", 1, B), lambda: known.forget("build", 8082)):
        with pytest.raises(UntrustedFile, match=words) as caught:
            call()
        assert str(caught.value).isprintable()
    assert [path.name for path in file.parent.iterdir() if path.name.startswith(".")] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_foreign_file(known: KnownServers, file: Path) -> None:
    """A-13: a file of another user is refused."""
    file.write_text("")
    os.chown(file, 4711, -1)
    with pytest.raises(UntrustedFile, match="belongs to uid 4711, not to you or root"):
        known.pins("build", 8082)


def test_bounds(known: KnownServers, file: Path) -> None:
    """The file may have its largest size and its most lines; a change that would go beyond leaves it as it was."""
    file.write_bytes(b"#" * (MAX_KNOWN_SERVERS_BYTES - 1) + b"\n")
    assert list(known) == []
    with pytest.raises(FileProblem, match="would have more than 262144 bytes"):
        known.add("build", 8082, A)
    assert file.stat().st_size == MAX_KNOWN_SERVERS_BYTES
    file.write_bytes(b"\n" * (MAX_KNOWN_SERVERS_LINES - 1))
    known.add("build", 8082, A)
    assert known.pins("build", 8082) == (A,)
    with pytest.raises(FileProblem, match="would have more than 4096 lines"):
        known.add("build", 8082, B)
    assert known.pins("build", 8082) == (A,)


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_full_disk(known: KnownServers, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    """A disk that is full at any step leaves the file as it was, nothing beside it, and an error that names it."""
    known.add("build", 8082, A)
    before = Path(known.path).read_bytes()

    def full(*_arguments: object, **_options: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    if call == "write":
        monkeypatch.setattr("twisted_rsh.trust.files.open", lambda fd, _mode: Full(fd), raising=False)
    else:
        monkeypatch.setattr(os, call, full)
    with pytest.raises(OSError, match="No space left") as caught:
        known.add("build", 8082, B)
    assert caught.value.filename == known.path
    monkeypatch.undo()
    assert Path(known.path).read_bytes() == before
    assert os.listdir(os.path.dirname(known.path)) == ["known_servers"]


class Full:
    """A file on a full disk."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def __enter__(self) -> Full:  # noqa: PYI034 - typing.Self is new in Python 3.11
        return self

    def __exit__(self, *_exception: object) -> None:
        os.close(self._fd)

    def write(self, _data: bytes) -> NoReturn:
        """Fail."""
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_changes_at_the_same_time(known: KnownServers) -> None:
    """Of several changes at the same time none is lost."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: known.add(f"host-{number}", 1, A), range(12)))
    assert sorted(server.address for server in known) == sorted(f"host-{number}:1" for number in range(12))


@pytest.fixture
def lock(file: Path) -> Iterator[int]:
    """The lock of the folder, held by another program."""
    descriptor = os.open(file.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield descriptor
    os.close(descriptor)


@pytest.mark.usefixtures("lock")
def test_locked_folder(known: KnownServers) -> None:
    """A program that keeps the lock keeps no other waiting for long: the change fails, and names the file."""
    with pytest.raises(OSError, match="another program is changing it") as caught:
        update_private_file(known.path, 10, lambda data: data + b"x", lock_seconds=0.05)
    assert caught.value.filename == known.path
    assert not os.path.exists(known.path)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("Build", "build:8082"),
        ("127.0.0.1", "127.0.0.1:8082"),
        ("0:0:0:0:0:0:0:1", "[::1]:8082"),
        ("FE80::1%eth0", "[fe80::1%eth0]:8082"),
    ],
)
def test_one_spelling(host: str, address: str) -> None:
    """A server has one spelling of its address."""
    assert format_address(host, 8082) == address
