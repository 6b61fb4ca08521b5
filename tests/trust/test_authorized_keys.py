"""Tests of which keys may log in."""

from __future__ import annotations

import base64
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trust.keys import ALGORITHMS, granted_keys, key_blob, mpint, string
from twisted_rsh.trust import authorized_keys
from twisted_rsh.trust.authorized_keys import (
    MAX_AUTHORIZED_KEYS_BYTES,
    MAX_AUTHORIZED_KEYS_LINES,
    KeyFiles,
    parse_authorized_keys,
)
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.files import SETTLED_NANOSECONDS, create_private_file, ensure_private_folder
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.ssh_keys import parse_public_key

BLOB = key_blob("ssh-ed25519")
OTHER = key_blob("ssh-ed25519", which=1)


def line_of(blob: bytes, key_type: bytes | None = None) -> bytes:
    """Write a key as a line of the file, without its end."""
    return (key_type or blob[4 : 4 + blob[3]]) + b" " + base64.b64encode(blob)


GOOD = line_of(BLOB)


@pytest.fixture
def keys_path(config: ConfigFolders) -> Path:
    """The path of the file of keys, in a folder that exists."""
    ensure_private_folder(config.config)
    return Path(config.authorized_keys_path)


def test_no_file(config: ConfigFolders) -> None:
    """Without any file no key may log in, and there is no warning."""
    assert granted_keys(config) == (frozenset(), [])


def test_both_files_count(config: ConfigFolders, keys_path: Path) -> None:
    """The file of keys and the user's own public key both grant."""
    own = load_or_create_client_key(config).blob
    create_private_file(str(keys_path), GOOD + b" me@host\n" + line_of(OTHER))
    assert granted_keys(config) == (frozenset({own, BLOB, OTHER}), [])


def rewrite(path: Path) -> None:
    """Put another key of the same size in the file, at the same times as far as a user can choose them."""
    before = path.stat()
    path.write_bytes(line_of(OTHER))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def replace(path: Path) -> None:
    """Put another file in the place of the file, as an editor does."""
    other = path.with_name("new")
    create_private_file(str(other), line_of(OTHER))
    other.replace(path)


def lengthen(path: Path) -> None:
    """Turn the key's line into one with options, and add another."""
    path.write_bytes(b"restrict " + GOOD + b"\n" + line_of(OTHER) + b"\n")


@pytest.mark.parametrize("is_settled", [False, True])
@pytest.mark.parametrize("change", [rewrite, replace, lengthen])
def test_changed_file(
    config: ConfigFolders,
    keys_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    is_settled: bool,
) -> None:
    """A-12: a key that was deleted no longer grants at the next login, and one that was added does."""
    create_private_file(str(keys_path), GOOD)
    if is_settled:
        later(monkeypatch)
        tick(keys_path)
    files = KeyFiles(config)
    files.look()
    assert (files.grant(BLOB), files.grant(OTHER)) == (True, False)
    change(keys_path)
    files.look()
    assert (files.grant(BLOB), files.grant(OTHER)) == (False, True)
    keys_path.unlink()
    assert files.look() == []
    assert (files.grant(BLOB), files.grant(OTHER)) == (False, False)


def tick(path: Path) -> None:
    """Wait until a change gets another time than the last one of a file."""
    probe = path.with_name("probe")
    until = time.monotonic() + 10
    while True:
        probe.touch()
        if probe.stat().st_ctime_ns != path.stat().st_ctime_ns:
            return
        assert time.monotonic() < until


def later(monkeypatch: pytest.MonkeyPatch, nanoseconds: int = SETTLED_NANOSECONDS) -> None:
    """Let time pass: everything that was written is old."""
    now = time.time_ns
    monkeypatch.setattr(time, "time_ns", lambda: now() + nanoseconds + 1)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The sizes of all reads."""
    sizes: list[int] = []
    read = os.read

    def counting(fd: int, size: int) -> bytes:
        data = read(fd, size)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(os, "read", counting)
    return sizes


def test_unchanged_file(
    config: ConfigFolders, keys_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[int]
) -> None:
    """A file is read once, however often it is looked at; one that has just changed is read again."""
    create_private_file(str(keys_path), GOOD + b"\ngarbage")
    files = KeyFiles(config)
    assert len(files.look()) == 1
    reads.clear()
    assert files.look() == []
    assert reads, "another change might have had the same time"
    later(monkeypatch)
    files.look()
    reads.clear()
    for _ in range(10):
        assert files.look() == []
        assert files.grant(BLOB)
        assert not files.grant(OTHER)
    assert reads == []


@pytest.mark.parametrize("offset", [0, 1])
def test_how_long_a_time_is_coarse(
    config: ConfigFolders, keys_path: Path, monkeypatch: pytest.MonkeyPatch, reads: list[int], offset: int
) -> None:
    """A file is believed to be settled when its last change is further away than the coarsest clock can tell."""
    create_private_file(str(keys_path), GOOD)
    os.utime(keys_path, ns=(0, 0))  # which no user can do to the other time
    changed = keys_path.stat().st_ctime_ns
    monkeypatch.setattr(time, "time_ns", lambda: changed + SETTLED_NANOSECONDS + offset)
    files = KeyFiles(config)
    files.look()
    reads.clear()
    files.look()
    assert bool(reads) == (offset == 0)


def test_warning_is_given_once(config: ConfigFolders, keys_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of a file is reported when it is new, and again after it was mended."""
    create_private_file(str(keys_path), GOOD)
    later(monkeypatch)
    files = KeyFiles(config)
    for _ in range(2):
        keys_path.chmod(0o666)
        assert len(files.look()) == 1
        assert files.look() == []
        assert not files.grant(BLOB)
        keys_path.chmod(0o600)
        assert files.look() == []
        assert files.grant(BLOB)


def test_folder_that_is_opened(config: ConfigFolders, keys_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-13: a file that has not changed grants nothing from the moment when others can write its folder."""
    create_private_file(str(keys_path), GOOD)
    later(monkeypatch)
    files = KeyFiles(config)
    files.look()
    keys_path.parent.chmod(0o770)
    assert len(files.look()) == 2
    assert not files.grant(BLOB)


def test_descriptors_that_come_back(config: ConfigFolders, keys_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R-06: after a look that the system had no descriptors for, the next one finds the keys again."""
    create_private_file(str(keys_path), GOOD)
    later(monkeypatch)
    files = KeyFiles(config)
    files.look()
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(OSError(errno.EMFILE, "Too many open files")))
        with pytest.raises(OSError, match="Too many"):
            files.look()
    assert files.look() == []
    assert files.grant(BLOB)


def test_lines_that_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the lines that are new are looked at when a file has changed."""
    before = parse_authorized_keys(GOOD + b"\nrestrict x\n# comment\n")
    seen: list[bytes] = []
    parse = authorized_keys._parse_line

    def watched(line: bytes) -> object:
        seen.append(line)
        return parse(line)

    monkeypatch.setattr(authorized_keys, "_parse_line", watched)
    keys = parse_authorized_keys(b"\nrestrict x\n" + line_of(OTHER) + b"\n" + GOOD, before)
    assert seen == [line_of(OTHER)]
    assert (keys.blobs, keys.ignored) == (frozenset({BLOB, OTHER}), (2,))


def test_every_type() -> None:
    """Keys of every accepted type grant."""
    blobs = {key_blob(name) for name in ALGORITHMS}
    assert parse_authorized_keys(b"\n".join(map(line_of, blobs))).blobs == blobs


@pytest.mark.parametrize("text", [b"", b"\n", b" \t\n", b"# comment\n", b"  # " + GOOD, b"\r\n#\r\n"])
def test_blank_lines_and_comments(text: bytes) -> None:
    """Blank lines and comments neither grant nor count as ignored."""
    keys = parse_authorized_keys(text)
    assert (keys.blobs, keys.ignored) == (frozenset(), ())


@pytest.mark.parametrize(
    "text", [GOOD, GOOD + b"\r\n", b" \t" + GOOD + b" \t a comment \n", GOOD.replace(b" ", b"\t \t")]
)
def test_forms_of_a_good_line(text: bytes) -> None:
    """White space around and between the parts, a comment and a DOS line end do no harm."""
    keys = parse_authorized_keys(text)
    assert (keys.blobs, keys.ignored) == (frozenset({BLOB}), ())


@pytest.mark.parametrize(
    "options",
    [
        b'command="/bin/false" ',
        b"restrict ",
        b'from="10.0.0.0/8" ',
        b"cert-authority,no-pty ",
        b'command="echo ssh-ed25519 " ',
        b"no-pty,restrict\t",
        b'command="a\rb" ',
        b'environment="A=\r\x0b\x0c\x1c\x85" ',
        b"restrict\r",
        b"restrict\0",
    ],
)
def test_lines_with_options(options: bytes) -> None:
    """A-14: a key that sshd would restrict grants nothing, whatever is in the options."""
    keys = parse_authorized_keys(b"\n" + options + GOOD + b"\n")
    assert (keys.blobs, keys.ignored) == (frozenset(), (2,))


@pytest.mark.parametrize(
    "line",
    [
        b"ssh-ed25519",
        b"ssh-ed25519 ",
        b"ssh-ed25519 !!!!",
        b"ssh-ed25519 AAAA",
        GOOD[:-3],
        GOOD.removeprefix(b"ssh-ed25519 "),
        GOOD + b" comment\0",
        b"\xff\xfe" + GOOD,
        line_of(BLOB, b"ssh-rsa"),
        line_of(BLOB, b"ssh-ed25519-cert-v01@openssh.com"),
        line_of(BLOB, b"SSH-ED25519"),
        line_of(BLOB + b"\0"),
        line_of(string(b"ssh-rsa") + mpint(65537) + mpint(2**1023 + 1)),
        line_of(string(b"ssh-dss") + mpint(7) * 4),
        line_of(string(b"ssh-ed25519-cert-v01@openssh.com") + string(b"x")),
    ],
)
def test_lines_that_are_no_key(line: bytes) -> None:
    """A-06: certificates, weak, unknown and broken keys grant nothing; the lines around them do."""
    keys = parse_authorized_keys(line + b"\n" + line_of(OTHER) + b"\n" + line)
    assert (keys.blobs, keys.ignored) == (frozenset({OTHER}), (1, 3))


def test_one_warning_for_many_lines(config: ConfigFolders, keys_path: Path) -> None:
    """A-14: the ignored lines of a file are counted in one warning."""
    create_private_file(str(keys_path), GOOD + b"\n" + b"restrict " + line_of(OTHER) + b"\ngarbage\n")
    granted, warnings = granted_keys(config)
    assert granted == {BLOB}
    (warning,) = warnings
    assert warning.startswith(f"{keys_path}: 2 lines ignored, the first is line 2: ")
    assert warning.isprintable()


def group_writable(path: Path) -> None:
    """Let others write the file."""
    path.chmod(0o620)


def parent_writable(path: Path) -> None:
    """Let others write the folder."""
    path.parent.chmod(0o770)


def symbolic_link(path: Path) -> None:
    """Put a link in the file's place."""
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def fifo(path: Path) -> None:
    """Put a FIFO without a writer in the file's place."""
    path.unlink()
    os.mkfifo(path, 0o600)


def folder(path: Path) -> None:
    """Put a folder in the file's place."""
    path.unlink()
    path.mkdir(mode=0o700)


def gigabyte(path: Path) -> None:
    """Make the file huge."""
    os.truncate(path, 2**30)


def nul_bytes(path: Path) -> None:
    """Put NUL bytes in the file's line."""
    path.write_bytes(b"\0" + GOOD + b"\0")


@pytest.mark.parametrize("spoil", [group_writable, parent_writable, symbolic_link, fifo, folder, gigabyte, nul_bytes])
def test_unsafe_file(config: ConfigFolders, keys_path: Path, spoil: Callable[[Path], None]) -> None:
    """A-13: a file that is not safe grants nothing, with one warning and without waiting."""
    create_private_file(str(keys_path), GOOD)
    spoil(keys_path)
    granted, warnings = granted_keys(config)
    assert granted == frozenset()
    assert all("\n" not in warning for warning in warnings)
    # A folder that others can write spoils both files in it.
    assert len(warnings) == (2 if spoil is parent_writable else 1)


def test_foreign_file(config: ConfigFolders, keys_path: Path, give_away: Callable[[Path], None]) -> None:
    """A-13: a file of another owner grants nothing."""
    create_private_file(str(keys_path), GOOD)
    give_away(keys_path)
    granted, warnings = granted_keys(config)
    assert granted == frozenset()
    assert "belongs to uid" in warnings[0]


def test_unsafe_file_leaves_the_other(config: ConfigFolders, keys_path: Path) -> None:
    """A-13: a file of keys that is not safe does not lock the user's own client out."""
    own = load_or_create_client_key(config).blob
    create_private_file(str(keys_path), GOOD)
    keys_path.chmod(0o666)
    granted, warnings = granted_keys(config)
    assert granted == {own}
    assert len(warnings) == 1


def test_unreadable_file(config: ConfigFolders, keys_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An error of the operating system is a warning, not the end of the login."""
    create_private_file(str(keys_path), GOOD)

    def refuse(path: str, *_: object) -> int:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "open", refuse)
    granted, warnings = granted_keys(config)
    assert granted == frozenset()
    assert "Permission denied" in warnings[0]


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_nothing_left_to_read_it_with(
    config: ConfigFolders, keys_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """R-06: without descriptors or memory the authorized keys are unknown, which is not that there are none."""
    create_private_file(str(keys_path), GOOD)

    def refuse(path: str, *_: object) -> int:
        raise OSError(number, os.strerror(number), path)

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        granted_keys(config)


def test_size_bound(config: ConfigFolders, keys_path: Path) -> None:
    """A file at the bound is read; one byte more and it is ignored."""
    create_private_file(str(keys_path), (GOOD + b"\n#").ljust(MAX_AUTHORIZED_KEYS_BYTES - 1, b"x") + b"\n")
    granted, warnings = granted_keys(config)
    assert granted == {BLOB}
    keys_path.write_bytes(keys_path.read_bytes() + b"\n")
    granted, warnings = granted_keys(config)
    assert granted == frozenset()
    assert "has more than" in warnings[0]


def test_line_bound(config: ConfigFolders, keys_path: Path) -> None:
    """A file with as many lines as it may have is read; with one more it is ignored, in one line with the way out."""
    create_private_file(str(keys_path), (GOOD + b"\n").ljust(len(GOOD) + MAX_AUTHORIZED_KEYS_LINES, b"\n"))
    assert granted_keys(config) == (frozenset({BLOB}), [])
    keys_path.write_bytes(keys_path.read_bytes() + b"\n")
    granted, [warning] = granted_keys(config)
    assert granted == frozenset()
    assert f"has more than {MAX_AUTHORIZED_KEYS_LINES} lines; " in warning


def test_room_for_2500_keys() -> None:
    """The bounds have room for 2,500 keys with comments."""
    line = GOOD + b" somebody@some-host\n"
    assert len(line) * 2500 <= MAX_AUTHORIZED_KEYS_BYTES
    assert MAX_AUTHORIZED_KEYS_LINES >= 2500


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from([GOOD, b"\n", b" ", b"\t", b"restrict", b"#"]))))
def test_any_text(pieces: list[bytes]) -> None:
    """Any bytes at all give keys and line numbers, and only whole keys."""
    text = b"".join(pieces)
    keys = parse_authorized_keys(text)
    for blob in keys.blobs:
        assert parse_public_key(blob).blob == blob
    assert len(keys.ignored) <= text.count(b"\n") + 1
