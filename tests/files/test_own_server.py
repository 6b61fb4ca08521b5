"""What the package's own server makes of packets that are wrong, and how much it holds."""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.files.packets import INIT, OWN_SERVER, SECONDS, Client, answers, attributes, packet, text, u32, u64
from twisted_rsh.files.extensions import MAX_PACKET_BYTES
from twisted_rsh.files.handles import MAX_HANDLES
from twisted_rsh.files.requests import MAX_DATA_BYTES

BAD_MESSAGE = 5
MAX_FILE_BYTES = 1024 * 1024
MAX_GROWTH_KIB = 4 * 1024
"""KiB that unread replies may add to the process: its two buffers, and what Python keeps aside."""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, in which no file becomes large."""
    monkeypatch.chdir(tmp_path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_FILE_BYTES, before[1]))
    yield tmp_path
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


VALID: dict[str, tuple[int, tuple[bytes, ...]]] = {
    "OPEN": (3, (text("a"), u32(3), attributes(mode=0o600))),
    "CLOSE": (4, (text("1"),)),
    "READ": (5, (text("1"), u64(0), u32(10))),
    "WRITE": (6, (text("1"), u64(0), text("data"))),
    "LSTAT": (7, (text("a"),)),
    "FSTAT": (8, (text("1"),)),
    "SETSTAT": (9, (text("a"), attributes(times=(1, 2)))),
    "FSETSTAT": (10, (text("1"), attributes(size=3, owner=(os.getuid(), os.getgid()), mode=0o600, times=(1, 2)))),
    "OPENDIR": (11, (text(""),)),
    "READDIR": (12, (text("2"),)),
    "REMOVE": (13, (text("b"),)),
    "MKDIR": (14, (text("c"), attributes(mode=0o700))),
    "RMDIR": (15, (text("c"),)),
    "REALPATH": (16, (text("a"),)),
    "STAT": (17, (text("a"),)),
    "RENAME": (18, (text("d"), text("e"))),
    "READLINK": (19, (text("f"),)),
    "SYMLINK": (20, (text("f"), text("g"))),
    "posix-rename": (200, (text("posix-rename@openssh.com"), text("d"), text("e"))),
    "statvfs": (200, (text("statvfs@openssh.com"), text("a"))),
    "fstatvfs": (200, (text("fstatvfs@openssh.com"), text("1"))),
    "hardlink": (200, (text("hardlink@openssh.com"), text("d"), text("e"))),
    "fsync": (200, (text("fsync@openssh.com"), text("1"))),
    "lsetstat": (200, (text("lsetstat@openssh.com"), text("a"), attributes(times=(1, 2)))),
    "limits": (200, (text("limits@openssh.com"),)),
    "expand-path": (200, (text("expand-path@openssh.com"), text("a"))),
    "copy-data": (200, (text("copy-data"), text("1"), u64(0), u64(0), text("2"), u64(0))),
    "home-directory": (200, (text("home-directory"), text(""))),
    "users-groups": (200, (text("users-groups-by-id@openssh.com"), text(u32(0)), text(u32(0)))),
}
"""Each request, as it should be."""


@pytest.mark.parametrize("name", VALID)
def test_every_length(name: str) -> None:
    """A request that ends too early or too late is answered with BAD_MESSAGE, and nothing is done."""
    kind, fields = VALID[name]
    body = b"".join(fields)
    whole = answers(INIT + packet(kind, u32(7), body))[0][1]
    assert (whole.id, whole.status == BAD_MESSAGE) == (7, False)
    cuts = [packet(kind, u32(7), body[:size]) for size in range(len(body))]
    wrong = [*cuts, packet(kind, u32(7), body, b"\0"), packet(kind, u32(7), body, text("more"))]
    if kind == 200:  # within the name of the extension it is another extension
        wrong = [*cuts[:4], *cuts[len(fields[0]) :], *wrong[len(cuts) :]]
    replies, problem = answers(INIT + b"".join(wrong))
    assert problem == ""
    assert [reply.status for reply in replies[1:]] == [BAD_MESSAGE] * len(wrong)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (3, (text("a\0b"), u32(1), u32(0))),
        (3, (text("a"), u32(64 | 1), u32(0))),
        (3, (text("a"), u32(1), u32(16))),
        (3, (text("a"), u32(1), u32(0x80000000) + u32(2**32 - 1) + text("x"))),
        (5, (text("1"), u64(2**63), u32(1))),
        (6, (text("1"), u64(2**64 - 1), text("x"))),
        (9, (text("a"), attributes(size=2**63))),
        (9, (text("a"), u32(0x40000000))),
        (17, (u32(2**32 - 1) + b"a",)),
        (200, (text("users-groups-by-id@openssh.com"), text(b"123"), text(b""))),
        (200, (text("lsetstat@openssh.com"), text("a"), attributes(size=1))),
        (200, (text("copy-data"), text("1"), u64(2**63), u64(2**63), text("2"), u64(0))),
        (200, (text("copy-data"), text("1"), u64(2**63 - 1), u64(1), text("2"), u64(0))),
    ],
    ids=str,
)
def test_fields_without_a_meaning(kind: int, fields: tuple[bytes, ...], folder: Path) -> None:
    """Numbers, flags and strings that can mean nothing are answered with BAD_MESSAGE; nothing is made or changed."""
    opened = [packet(3, u32(1), text(name), u32(2 | 8), u32(0)) for name in "xy"]
    replies, problem = answers(INIT + b"".join(opened) + packet(kind, u32(9), *fields))
    assert problem == ""
    assert (replies[-1].id, replies[-1].status) == (9, BAD_MESSAGE)
    assert sorted(os.listdir(folder)) == ["x", "y"]


ODD_NAMES = (
    b"\xff\xfe",
    b"a\0b",
    b"~\xff",
    b"~a\0/b",
    b"~no such user",
    b"~/\xff",
    b"a" * 300,
    b"a/" * 2100,
    b"/",
    b"..",
)


@pytest.mark.parametrize("name", [name for name, (_, fields) in VALID.items() if fields])
def test_odd_names(name: str, folder: Path) -> None:
    """Whatever bytes stand in the place of a name or a handle, the request gets one reply, and the server goes on."""
    kind, fields = VALID[name]
    requests = [
        packet(kind, u32(7), *fields[:at], text(odd), *fields[at + 1 :])
        for at in range(1 if kind == 200 else 0, len(fields))
        for odd in ODD_NAMES
        if kind not in {13, 15, 18} or odd not in {b"/", b".."}  # what would remove or rename
    ]
    replies, problem = answers(INIT + b"".join(requests))
    assert problem == ""
    assert [reply.id for reply in replies[1:]] == [7] * len(requests)


@pytest.mark.parametrize("kind", [0, 2, 21, 99, 101, 199, 201, 255])
def test_unknown_requests(kind: int) -> None:
    """What is no request is answered as such, whatever stands in it."""
    replies, problem = answers(INIT + packet(kind, u32(1), b"what is this") + packet(17, u32(2), text("/")))
    assert problem == ""
    assert [(reply.id, reply.status) for reply in replies[1:]] == [(1, 8), (2, -1)]


def test_extended_attributes() -> None:
    """Extended attributes, of which none is known, are read and left."""
    extended = u32(0x80000004) + u32(0o600) + u32(2) + text("a@b") + text("c") + text("") + text("d")
    assert answers(INIT + packet(14, u32(1), text("new"), extended))[0][1].status == 0


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (u32(0), "a packet of 0 bytes"),
        (u32(MAX_PACKET_BYTES + 1), f"a packet of {MAX_PACKET_BYTES + 1} bytes"),
        (u32(2**31), f"a packet of {2**31} bytes; from 1 to {MAX_PACKET_BYTES} are allowed"),
        (packet(17, b"123"), "has no id"),
        (packet(1, u32(3)), "a second INIT"),
        (u32(100) + b"x", "ended within a packet"),
        (b"\0\0", "ended within a packet"),
    ],
)
def test_no_answer(data: bytes, problem: str) -> None:
    """What can have no answer ends the conversation; what came before it is answered, what comes behind it is not."""
    replies, found = answers(INIT + packet(17, u32(1), text("/")) + data)
    assert problem in found
    assert [reply.kind for reply in replies] == [2, 105]


@pytest.mark.parametrize(
    "data", [packet(1, u32(2)), packet(17, u32(1), text("/")), packet(1), packet(1, u32(3), text("x")), u32(5)]
)
def test_no_beginning(data: bytes) -> None:
    """The first packet is an INIT of version 3 or later."""
    replies, problem = answers(data)
    assert replies == []
    assert problem


@pytest.mark.parametrize("version", [3, 4, 6, 2**32 - 1])
def test_beginning(version: int) -> None:
    """The server's version is 3, whatever later one and whatever extensions a client has; and no input is no error."""
    ((kind, number, _),), problem = answers(packet(1, u32(version), text("x@y"), text("1")))
    assert (kind, number, problem) == (2, 3, "")
    assert answers(b"") == ([], "")


def test_largest_packet(folder: Path) -> None:
    """The largest packet is taken, and the largest READ is answered; a larger READ gets as much."""
    data = os.urandom(MAX_DATA_BYTES)
    rest = MAX_PACKET_BYTES - 5 - len(text("missing")) - 4
    requests = [
        packet(3, u32(1), text("a"), u32(1 | 2 | 8), u32(0)),
        packet(6, u32(2), text("1"), u64(0), text(data)),
        packet(5, u32(3), text("1"), u64(0), u32(2**32 - 1)),
        packet(18, u32(4), text("missing"), text(b"x" * rest)),
    ]
    assert struct.unpack_from("!I", requests[3])[0] == MAX_PACKET_BYTES
    replies, problem = answers(INIT + b"".join(requests))
    assert problem == ""
    assert [reply.kind for reply in replies] == [2, 102, 101, 103, 101]
    assert replies[3].texts == [data]


def test_bound_of_handles(folder: Path) -> None:
    """As many files as the bound may be open, and not one more, until one is closed."""
    (folder / "a").touch()
    opening = packet(3, u32(1), text("a"), u32(1), u32(0))
    replies, _ = answers(INIT + opening * (MAX_HANDLES + 1) + packet(4, u32(2), text("1")) + opening)
    assert [reply.kind for reply in replies[1:]] == [102] * MAX_HANDLES + [101, 101, 102]
    assert b"are open; close one first" in replies[MAX_HANDLES + 1].body


def test_disk_full(folder: Path) -> None:
    """A file that cannot grow is told in the system's words, and the server goes on."""
    opening = packet(3, u32(1), text("a"), u32(2 | 8), u32(0))
    beyond = packet(6, u32(2), text("1"), u64(MAX_FILE_BYTES - 1), text("xx"))
    replies, _ = answers(INIT + opening + beyond + packet(17, u32(3), text("a")))
    assert (replies[2].status, b"File too large" in replies[2].body) == (4, True)
    assert replies[3].numbers[0] == MAX_FILE_BYTES


def test_old_name_that_stays(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose old name cannot be removed keeps it, and gets no second one."""
    (folder / "a").touch()
    remove = os.unlink

    def unlink(path: bytes) -> None:
        if path == b"a":
            raise PermissionError(errno.EPERM, "not yours")
        remove(path)

    monkeypatch.setattr(os, "unlink", unlink)
    replies, _ = answers(INIT + packet(18, u32(1), text("a"), text("b")))
    assert replies[1].status == 3
    assert os.listdir(folder) == ["a"]


@settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(sorted(VALID)), max_size=12), st.data())
def test_any_input(folder: Path, names: list[str], data: st.DataObject) -> None:
    """Whatever arrives, each packet that has an id gets one reply, in order, until the conversation ends."""
    whole = bytearray(INIT + b"".join(packet(VALID[n][0], u32(i), *VALID[n][1]) for i, n in enumerate(names)))
    for _ in range(data.draw(st.integers(0, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(len(INIT), len(whole))) :]
    whole += data.draw(st.binary(max_size=20))
    # No name leads out of the folder.
    sent = INIT + bytes(whole[len(INIT) :]).translate(bytes.maketrans(b"./~", b"aaa"))
    replies, _ = answers(sent)
    assert [reply.id for reply in replies[1:]] == expected_ids(sent)


def expected_ids(sent: bytes) -> list[int]:
    """The ids of the packets behind the first, up to one that can have no answer."""
    found, at = [], len(INIT)
    while at + 4 <= len(sent):
        size = struct.unpack_from("!I", sent, at)[0]
        if not 5 <= size <= MAX_PACKET_BYTES or at + 4 + size > len(sent) or sent[at + 4] == 1:
            break
        found.append(struct.unpack_from("!I", sent, at + 5)[0])
        at += 4 + size
    return found


def test_replies_that_are_not_read(folder: Path) -> None:
    """A client that reads no replies is not read either, and its requests take no memory; then all are answered."""
    data = os.urandom(32_768)
    (folder / "a").write_bytes(data)
    client = Client(OWN_SERVER, folder)
    handle = client.open("a")
    before = resident_kib(client.process.pid)
    left = b"".join(packet(5, u32(number), handle, u64(0), u32(32_768)) for number in range(8000))
    assert client.process.stdin is not None
    fd = client.process.stdin.fileno()
    os.set_blocking(fd, False)
    sent = 0
    while select.select([], [fd], [], 1.0)[1] and sent < len(left):
        sent += os.write(fd, left[sent:])
    assert sent < len(left)
    assert resident_kib(client.process.pid) - before < MAX_GROWTH_KIB
    os.set_blocking(fd, True)
    complete = sent // (len(left) // 8000)
    for number in range(complete):
        reply = client.receive()
        assert (reply.id, len(reply.body)) == (number, 4 + len(data))
    client.process.kill()
    client.finish()


def resident_kib(pid: int) -> int:
    """The resident memory of a process."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")]
    return int(line.split()[1])


@pytest.mark.parametrize(("data", "status", "line"), [(u32(0), 1, b"sftp: a packet of 0 bytes"), (b"", 0, b"")])
def test_exit_status(data: bytes, status: int, line: bytes, folder: Path) -> None:
    """The end of the input is success; a breach is one line and status 1."""
    client = Client(OWN_SERVER, folder)
    client.send(data)
    code, errors = client.finish()
    assert code == status
    assert errors.startswith(line)
    assert errors.count(b"\n") == bool(line)


def test_folder_that_is_not_there(folder: Path) -> None:
    """A folder that cannot be entered is one line and status 1."""
    done = subprocess.run([*OWN_SERVER, str(folder / "\n")], input=INIT, capture_output=True, timeout=SECONDS)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"sftp: [Errno 2] No such file")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals(number: signal.Signals, folder: Path) -> None:
    """A signal ends the server without a word."""
    client = Client(OWN_SERVER, folder)
    client.process.send_signal(number)
    assert client.finish() == (-number, b"")


def test_client_that_left(folder: Path) -> None:
    """When nobody reads any more, the server ends without a word."""
    client = Client(OWN_SERVER, folder)
    assert client.process.stdout is not None
    client.process.stdout.close()
    client.send(packet(17, u32(1), text("/")))
    assert client.finish() == (1, b"")
