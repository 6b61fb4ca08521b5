"""What every server of the subsystem ``sftp`` does: the package's own, and OpenSSH's where it is installed."""

from __future__ import annotations

import os
import pwd
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.files.packets import OWN_SERVER, Client, attributes, system_server, text, u32, u64

READ, WRITE, APPEND, CREATE, TRUNCATE, EXCLUSIVE = 1, 2, 4, 8, 16, 32
OK, EOF, NO_SUCH_FILE, DENIED, FAILURE, BAD_MESSAGE, UNSUPPORTED = 0, 1, 2, 3, 4, 5, 8


@pytest.fixture(params=["own", "system"])
def client(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Client]:
    """A client of each server, in a folder of its own; at the end of its input the server exits with 0."""
    client = Client(OWN_SERVER if request.param == "own" else system_server(), tmp_path)
    yield client
    assert client.finish() == (0, b"")


def test_files(client: Client, tmp_path: Path) -> None:
    """What is written is there, and is read back, in parts, to the end."""
    data = os.urandom(100_000)
    handle = client.open(b"file \xff\n", READ | WRITE | CREATE | TRUNCATE, attributes(mode=0o640))
    assert client.ask(6, handle, u64(0), text(data[:60_000])).status == OK
    assert client.ask(6, handle, u64(60_000), text(data[60_000:])).status == OK
    assert client.ask(5, handle, u64(99_000), u32(32_768)).texts == [data[99_000:]]
    assert client.ask(5, handle, u64(100_000), u32(1)).status == EOF
    assert client.ask(4, handle).status == OK
    path = os.path.join(os.fsencode(tmp_path), b"file \xff\n")
    assert Path(os.fsdecode(path)).read_bytes() == data
    assert os.stat(path).st_mode & 0o777 == 0o640 & ~_umask()


def test_ways_to_open(client: Client, tmp_path: Path) -> None:
    """A file is appended to, made anew, or not made where it is already."""
    (tmp_path / "a").write_text("abc")
    handle = client.open("a", WRITE | APPEND)
    assert client.ask(6, handle, u64(0), text("def")).status == OK
    assert (tmp_path / "a").read_text() == "abcdef"
    assert client.ask(3, text("a"), u32(WRITE | CREATE | EXCLUSIVE), u32(0)).status == FAILURE
    assert client.ask(3, text("b"), u32(READ), u32(0)).status == NO_SUCH_FILE
    assert client.ask(3, text("a/b"), u32(READ), u32(0)).status == NO_SUCH_FILE
    client.open("a", WRITE | CREATE | TRUNCATE)
    assert (tmp_path / "a").read_text() == ""


def test_closed_handles(client: Client, tmp_path: Path) -> None:
    """A handle that was closed, that never was, or that is a folder's is no file."""
    (tmp_path / "a").write_text("abc")
    handle = client.open("a")
    folder = client.ask(11, text(".")).body
    assert client.ask(4, handle).status == OK
    for wrong in (handle, text(b""), text(b"\0\0\0\x63"), text(b"x" * 300), folder):
        assert client.ask(5, wrong, u64(0), u32(1)).status in (FAILURE, NO_SUCH_FILE)
        assert client.ask(6, wrong, u64(0), text("x")).status in (FAILURE, NO_SUCH_FILE)
    assert client.ask(4, handle).status in (FAILURE, NO_SUCH_FILE)
    assert client.ask(12, client.open("a")).status in (FAILURE, NO_SUCH_FILE)


def test_attributes(client: Client, tmp_path: Path) -> None:
    """Attributes are told and set, by path, by handle, and with links followed or not."""
    (tmp_path / "a").write_text("abc")
    (tmp_path / "link").symlink_to("a")
    assert client.ask(9, text("link"), attributes(mode=0o604, times=(1_000_000_000, 1_100_000_000))).status == OK
    size, user, group, mode, access, change = client.ask(17, text("link")).numbers
    assert (size, user, group, mode) == (3, os.getuid(), (tmp_path / "a").stat().st_gid, 0o100604)
    assert (access, change) == (1_000_000_000, 1_100_000_000)
    assert client.ask(7, text("link")).numbers[3] & 0o170000 == 0o120000
    handle = client.open("a", READ | WRITE)
    assert client.ask(10, handle, attributes(size=2, mode=0o600, times=(1, 2))).status == OK
    assert client.ask(8, handle).numbers == (2, user, group, 0o100600, 1, 2)
    assert client.ask(10, handle, attributes(owner=(os.getuid(), os.getgid()))).status == OK
    assert client.ask(17, text("nothing")).status == NO_SUCH_FILE
    assert client.extended("lsetstat@openssh.com", text("link"), attributes(times=(5, 6))).status == OK
    assert ((tmp_path / "link").lstat().st_mtime, (tmp_path / "a").stat().st_mtime) == (6, 2)
    assert client.extended("lsetstat@openssh.com", text("a"), attributes(mode=0o640)).status == OK
    assert (tmp_path / "a").stat().st_mode == 0o100640


def test_folders(client: Client, tmp_path: Path) -> None:
    """A folder of many entries, odd names among them, is read to its end; folders are made and removed."""
    wanted = {b"%d" % number for number in range(300)} | {b"\xff\xfe", b"a\nb", b" "}
    for name in wanted:
        os.close(os.open(os.path.join(os.fsencode(tmp_path), name), os.O_CREAT))
    handle = client.ask(11, text(".")).body
    found: dict[bytes, tuple[bytes, bytes]] = {}
    while (reply := client.ask(12, handle)).kind == 104:
        found |= reply.names
    assert reply.status == EOF
    assert set(found) == wanted | {b".", b".."}
    line, attrs = found[b"299"]
    assert line.split()[:4] == [b"-rwxr-xr-x", b"1", pwd.getpwuid(os.getuid()).pw_name.encode(), line.split()[3]]
    assert line.endswith(b" 299")
    assert struct.unpack("!IQIIIII", attrs)[4] == 0o100755
    assert client.ask(4, handle).status == OK
    assert client.ask(14, text("new"), attributes(mode=0o711)).status == OK
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o711 & ~_umask()
    assert client.ask(14, text("new"), u32(0)).status == FAILURE
    (tmp_path / "new" / "file").touch()
    assert client.ask(15, text("new")).status == FAILURE
    assert client.ask(13, text("new/file")).status == OK
    assert client.ask(15, text("new")).status == OK
    assert client.ask(11, text("new")).status == NO_SUCH_FILE


def test_renaming(client: Client, tmp_path: Path) -> None:
    """Renaming never replaces what is there; the extension does."""
    for name in ("a", "b"):
        (tmp_path / name).write_text(name)
    (tmp_path / "folder").mkdir()
    assert client.ask(18, text("a"), text("b")).status == FAILURE
    assert client.ask(18, text("folder"), text("b")).status == FAILURE
    assert client.ask(18, text("a"), text("nothing/c")).status in (FAILURE, NO_SUCH_FILE)
    assert (tmp_path / "b").read_text() == "b"
    assert client.ask(18, text("folder"), text("moved")).status == OK
    assert client.ask(18, text("a"), text("moved/c")).status == OK
    assert client.ask(18, text("a"), text("d")).status == NO_SUCH_FILE
    assert client.extended("posix-rename@openssh.com", text("moved/c"), text("b")).status == OK
    assert sorted(os.listdir(tmp_path)) == ["b", "moved"]
    assert (tmp_path / "b").read_text() == "a"


def test_links(client: Client, tmp_path: Path) -> None:
    """Links of both kinds are made, followed and told; a relative one stays as it was written."""
    (tmp_path / "a").write_text("abc")
    assert client.ask(20, text("a"), text("soft")).status == OK
    assert client.extended("hardlink@openssh.com", text("a"), text("hard")).status == OK
    assert os.readlink(tmp_path / "soft") == "a"
    assert (tmp_path / "hard").samefile(tmp_path / "a")
    assert list(client.ask(19, text("soft")).names) == [b"a"]
    assert client.ask(19, text("a")).status in (FAILURE, BAD_MESSAGE)
    assert client.ask(20, text(""), text("to nothing")).status == NO_SUCH_FILE
    assert client.ask(13, text("soft")).status == OK
    assert (tmp_path / "a").exists()


def test_absolute_paths(client: Client, tmp_path: Path) -> None:
    """A path becomes absolute; its last part need not exist, the others must."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    home = os.fsencode(tmp_path.resolve())
    for path, wanted in ((b"", home), (b".", home), (b"link/../new", home + b"/new"), (b"link/x", home + b"/folder/x")):
        assert list(client.ask(16, text(path)).names) == [wanted]
    assert client.ask(16, text("nothing/x")).status == NO_SUCH_FILE
    for name, target in ("one", "two"), ("two", "one"), ("self", "self"):
        (tmp_path / name).symlink_to(target)
    for loop in "one", "one/x", "self", "self/x":
        assert client.ask(16, text(loop)).status == NO_SUCH_FILE
    assert list(client.extended("expand-path@openssh.com", text("~/x")).names) == [home + b"/x"]
    assert client.extended("expand-path@openssh.com", text("~no such user/x")).status == NO_SUCH_FILE


def test_file_systems(client: Client, tmp_path: Path) -> None:
    """How large a file system is, by path and by handle."""
    (tmp_path / "a").touch()
    known = os.statvfs(tmp_path)
    for reply in (
        client.extended("statvfs@openssh.com", text(".")),
        client.extended("fstatvfs@openssh.com", client.open("a")),
    ):
        assert reply.kind == 201
        numbers = struct.unpack("!11Q", reply.body)
        assert numbers[:3] == (known.f_bsize, known.f_frsize, known.f_blocks)
        assert numbers[10] == known.f_namemax
    assert client.extended("fsync@openssh.com", client.open("a", WRITE)).status == OK


def test_copies_on_the_server(client: Client, tmp_path: Path) -> None:
    """Data is copied between open files: a part, or what there is of it, or all; never into itself."""
    if b"copy-data" not in client.extensions:
        pytest.skip("this sftp-server has no copy-data")
    data = os.urandom(600_000)
    (tmp_path / "a").write_bytes(data)
    source, target = client.open("a"), client.open("b", WRITE | CREATE)
    assert client.extended("copy-data", source, u64(100), u64(0), target, u64(0)).status == OK
    assert (tmp_path / "b").read_bytes() == data[100:]
    assert client.extended("copy-data", source, u64(0), u64(10), target, u64(5)).status == OK
    assert (tmp_path / "b").read_bytes() == data[100:105] + data[:10] + data[115:]
    assert client.extended("copy-data", source, u64(0), u64(0), source, u64(0)).status == FAILURE
    assert client.extended("copy-data", source, u64(599_990), u64(11), target, u64(0)).status == OK


def test_limits_and_names(client: Client) -> None:
    """The bounds are those that OpenSSH has; names are told by number, none for a number without one."""
    reply = client.extended("limits@openssh.com")
    assert struct.unpack("!4Q", reply.body)[:3] == (256 * 1024, 255 * 1024, 255 * 1024)
    if b"users-groups-by-id@openssh.com" in client.extensions:
        ids = (text(u32(os.getuid()) + u32(4_000_000_000)), text(b""))
        users, groups = client.extended("users-groups-by-id@openssh.com", *ids).texts
        assert (users, groups) == (text(pwd.getpwuid(os.getuid()).pw_name) + text(""), b"")
    if b"home-directory" in client.extensions:
        user = pwd.getpwuid(os.getuid())
        home = os.fsencode(os.path.realpath(user.pw_dir))
        assert list(client.extended("home-directory", text(user.pw_name)).names) == [home]
        assert client.extended("home-directory", text("no such user")).status in (FAILURE, NO_SUCH_FILE)


def test_unknown_requests(client: Client) -> None:
    """An unknown extension is answered, and the conversation goes on."""
    assert client.extended("unknown@example.com", text("?")).status == UNSUPPORTED
    assert list(client.ask(16, text("/")).names) == [b"/"]


def test_many_requests_at_once(client: Client, tmp_path: Path) -> None:
    """Requests that arrive together are answered in their order."""
    (tmp_path / "a").write_bytes(bytes(range(256)) * 1000)
    handle = client.open("a")
    reads = [(number, 1000 * number) for number in range(200)]
    client.send(b"".join(_read_request(number, handle, offset, 500) for number, offset in reads))
    for number, offset in reads:
        reply = client.receive()
        assert (reply.id, reply.texts) == (number, [(bytes(range(256)) * 1000)[offset : offset + 500]])


def _read_request(number: int, handle: bytes, offset: int, size: int) -> bytes:
    body = b"\x05" + u32(number) + handle + u64(offset) + u32(size)
    return u32(len(body)) + body


def _umask() -> int:
    umask = os.umask(0o22)
    os.umask(umask)
    return umask
