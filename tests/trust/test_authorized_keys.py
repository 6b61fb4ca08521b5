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
    MAX_LINE_BYTES,
    MAX_LINES_OF_KEY,
    AuthorizedKeys,
    KeyFiles,
    LineProblem,
    add_authorized_key,
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


def grants(files: KeyFiles, blob: bytes) -> bool:
    """Tell whether a key may log in."""
    return files.grant(blob) is not None


def wrong_lines(keys: AuthorizedKeys) -> tuple[int, ...]:
    """Return the numbers of the lines that grant nothing."""
    return tuple(sorted([*keys.ignored, *(line.number for line in keys if isinstance(line, LineProblem))]))


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
    """Turn the key's line into one with an unknown option, and add another."""
    path.write_bytes(b"no-such-option " + GOOD + b"\n" + line_of(OTHER) + b"\n")


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
    assert (grants(files, BLOB), grants(files, OTHER)) == (True, False)
    change(keys_path)
    files.look()
    assert (grants(files, BLOB), grants(files, OTHER)) == (False, True)
    keys_path.unlink()
    assert files.look() == []
    assert (grants(files, BLOB), grants(files, OTHER)) == (False, False)


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
        assert grants(files, BLOB)
        assert not grants(files, OTHER)
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
        assert not grants(files, BLOB)
        keys_path.chmod(0o600)
        assert files.look() == []
        assert grants(files, BLOB)


def test_folder_that_is_opened(config: ConfigFolders, keys_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-13: a file that has not changed grants nothing from the moment when others can write its folder."""
    create_private_file(str(keys_path), GOOD)
    later(monkeypatch)
    files = KeyFiles(config)
    files.look()
    keys_path.parent.chmod(0o770)
    assert len(files.look()) == 2
    assert not grants(files, BLOB)


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
    assert grants(files, BLOB)


def test_no_line_but_the_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """A login parses the lines that have its own key, once, and no other line."""
    seen: list[int] = []
    parse = authorized_keys._parse_line

    def watched(number: int, line: bytes) -> authorized_keys.Line:
        seen.append(number)
        return parse(number, line)

    monkeypatch.setattr(authorized_keys, "_parse_line", watched)
    keys = parse_authorized_keys(b"\n".join([line_of(OTHER), b"no-pty " + GOOD, b"#" + GOOD, b"x", GOOD]))
    assert seen == []
    for _ in range(2):
        assert [line.number for line in keys.find(BLOB)] == [2, 5]
    assert seen == [2, 5]


def test_every_type() -> None:
    """Keys of every accepted type grant."""
    blobs = {key_blob(name) for name in ALGORITHMS}
    assert parse_authorized_keys(b"\n".join(map(line_of, blobs))).blobs == blobs


@pytest.mark.parametrize("text", [b"", b"\n", b" \t\n", b"# comment\n", b"  # " + GOOD, b"\r\n#\r\n"])
def test_blank_lines_and_comments(text: bytes) -> None:
    """Blank lines and comments neither grant nor count as ignored."""
    keys = parse_authorized_keys(text)
    assert (keys.blobs, wrong_lines(keys)) == (frozenset(), ())


@pytest.mark.parametrize(
    "text", [GOOD, GOOD + b"\r\n", b" \t" + GOOD + b" \t a comment \n", GOOD.replace(b" ", b"\t \t")]
)
def test_forms_of_a_good_line(text: bytes) -> None:
    """White space around and between the parts, a comment and a DOS line end do no harm."""
    keys = parse_authorized_keys(text)
    assert (keys.blobs, wrong_lines(keys)) == (frozenset({BLOB}), ())


@pytest.mark.parametrize(
    "options",
    [
        b"no-such-option ",
        b"restrict,no-such-option ",
        b'command="echo ssh-ed25519 ',
        b"no-pty,no-pty\t",
        b"no-pty, ",
        b",",
        b'permitopen="x:1" ',
        b"restrict\r",
        b"restrict\0",
        b"restrict\0 ",
        b"no-pty " + b" restrict ",
        b'command="' + b"x" * MAX_LINE_BYTES + b'" ',
    ],
)
def test_lines_with_options(options: bytes) -> None:
    """A-14: a line with options that are not understood grants nothing, whatever is in them."""
    keys = parse_authorized_keys(b"\n" + options + GOOD + b"\n")
    assert (keys.blobs, wrong_lines(keys)) == (frozenset(), (2,))


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
    assert (keys.blobs, wrong_lines(keys)) == (frozenset({OTHER}), (1, 3))


def test_one_warning_for_many_lines(config: ConfigFolders, keys_path: Path) -> None:
    """A-14: the lines of a file that have nothing like a key are counted in one warning."""
    create_private_file(str(keys_path), GOOD + b"\n" + b"restrict\n" + b"\ngarbage\n")
    granted, warnings = granted_keys(config)
    assert granted == {BLOB}
    (warning,) = warnings
    assert warning.startswith(f"{keys_path}: 2 lines ignored, the first is line 2: ")
    assert warning.isprintable()


def test_the_line_that_decides(config: ConfigFolders, keys_path: Path) -> None:
    """Of the lines of a key the first decides that lets it in; a wrong one is told with its number."""
    lines = [
        b"no-such-option",
        b'from="192.0.2.0/24",no-pty',
        b'expiry-time="20000101Z"',
        b"restrict",
        b"cert-authority",
    ]
    create_private_file(str(keys_path), b"".join(options + b" " + GOOD + b"\n" for options in lines))
    files = KeyFiles(config)
    assert files.look() == []
    near, far = files.grant(BLOB, "192.0.2.9"), files.grant(BLOB, "192.0.3.9")
    assert near is not None and far is not None
    assert (near.has_terminals, near.accepted_environment) == (False, None)
    assert (far.has_terminals, far.accepted_environment) == (False, ())
    first, second, third, fourth = files.reasons(BLOB, "\x1b")
    assert first == f"{keys_path}: line 1 grants nothing: the option 'no-such-option' is not known"
    assert second.startswith(f"{keys_path}: line 2: from= does not allow ")
    assert "line 3: its expiry-time is over" in third
    assert "line 5 is that of a cert-authority" in fourth
    assert list(files.problems()) == [first, None, None, None, None]


def test_authorities(config: ConfigFolders, keys_path: Path) -> None:
    """A line of a certificate authority lets its key in nowhere, and has the policy of what it certifies."""
    lines = [
        b'cert-authority,principals="a,b",no-pty ' + GOOD,
        b"restrict " + GOOD,
        b"cert-authority " + line_of(OTHER),
    ]
    create_private_file(str(keys_path), b"\n".join(lines))
    files = KeyFiles(config)
    files.look()
    (authority,) = files.authorities(BLOB)
    assert (authority.number, authority.options.principals) == (1, ("a", "b"))
    assert not authority.options.policy.has_terminals
    policy = files.grant(BLOB)
    assert policy is not None
    assert policy.accepted_environment == ()
    assert not grants(files, OTHER)


def test_other_spelling_of_a_key() -> None:
    """A key whose Base64 has stray bits behind its last byte grants nothing: each key has one spelling."""
    blob = key_blob("ecdsa-sha2-nistp256")
    text = line_of(blob)
    assert text.endswith(b"=")
    other = text[:-2] + bytes([text[-2] + 1]) + b"="
    assert base64.b64decode(other.split(b" ")[1]) == blob
    assert parse_authorized_keys(text).blobs == {blob}
    assert wrong_lines(parse_authorized_keys(other)) == (1,)


def test_own_key_with_a_line(config: ConfigFolders, keys_path: Path) -> None:
    """A line for the user's own client key decides, also where it grants nothing; a comment does not."""
    own = load_or_create_client_key(config).blob
    for text, expected in [
        (b"#" + line_of(own), True),
        (b"restrict " + line_of(own), True),
        (b"no-such-option " + line_of(own), False),
        (b'expiry-time="20000101Z" ' + line_of(own), False),
    ]:
        keys_path.write_bytes(text)
        keys_path.chmod(0o600)
        files = KeyFiles(config)
        files.look()
        policy = files.grant(own)
        assert (policy is not None) is expected, text
        assert policy is None or policy.has_terminals is text.startswith(b"#")


@pytest.mark.parametrize(("count", "decides"), [(MAX_LINES_OF_KEY, True), (MAX_LINES_OF_KEY + 1, False)])
def test_lines_of_one_key(config: ConfigFolders, keys_path: Path, count: int, decides: bool) -> None:
    """Of the lines of one key as many count as may, and no further one."""
    lines = [b'from="192.0.2.1" ' + GOOD] * (count - 1) + [GOOD]
    create_private_file(str(keys_path), b"\n".join(lines))
    files = KeyFiles(config)
    files.look()
    assert grants(files, BLOB) is decides
    problems = [problem for problem in files.problems() if problem is not None]
    assert len(problems) == (not decides)
    assert decides or f"line {count} grants nothing: it has the same key" in problems[0]


@pytest.mark.parametrize(("spare", "is_right"), [(0, True), (1, False)])
def test_line_size(spare: int, is_right: bool) -> None:
    """A line at its bound is read; one byte more and it grants nothing."""
    options = b'command="' + b"x" * (MAX_LINE_BYTES + spare - len(b'command="" ') - len(GOOD)) + b'" '
    assert (parse_authorized_keys(options + GOOD).blobs == {BLOB}) is is_right


def test_text_of_a_key_in_options() -> None:
    """A key within quotes, or in a comment, is not the key of its line."""
    keys = parse_authorized_keys(b'command="cat ' + GOOD + b'" ' + line_of(OTHER) + b" " + GOOD)
    assert keys.find(BLOB) == []
    assert keys.blobs == {OTHER}


@pytest.mark.parametrize(
    ("before", "is_added"),
    [
        (b"", True),
        (b"restrict " + GOOD, False),
        (GOOD, False),
        (b"#" + GOOD, True),
        (b"no-such-option " + GOOD, True),
        (b'expiry-time="20000101Z" ' + GOOD, True),
        (b"cert-authority " + GOOD, True),
    ],
)
def test_added_key(config: ConfigFolders, keys_path: Path, before: bytes, is_added: bool) -> None:
    """A key is added unless a line lets it in already: a restricted key does not become an unrestricted one."""
    create_private_file(str(keys_path), before)
    add_authorized_key(config, BLOB, "x")
    after = keys_path.read_bytes()
    assert (after != before) is is_added
    assert after.startswith(before)


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


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE])
def test_nothing_left_to_read_it_with(
    config: ConfigFolders, keys_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """R-06: without descriptors, memory or a disk the keys are unknown, which is not that there are none."""
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
    """The bounds have room for 2,500 keys with comments and 100 characters of options."""
    line = b"x" * 100 + b" " + GOOD + b" somebody@some-host\n"
    assert len(line) * 2500 <= MAX_AUTHORIZED_KEYS_BYTES
    assert MAX_AUTHORIZED_KEYS_LINES >= 2500


PIECES = [GOOD, b"\n", b" ", b"\t", b"restrict", b"#", b",", b'"', b"\\", b'command="', b"AAAA", b"\0"]


@settings(derandomize=True, deadline=None, max_examples=300)
@given(st.lists(st.one_of(st.binary(max_size=60), st.sampled_from(PIECES))))
def test_any_text(pieces: list[bytes]) -> None:
    """Any bytes at all give keys and line numbers, and only whole keys."""
    text = b"".join(pieces)
    keys = parse_authorized_keys(text)
    for blob in keys.blobs:
        assert parse_public_key(blob).blob == blob
    assert len(keys.ignored) <= text.count(b"\n") + 1
    assert all(str(line).isprintable() for line in keys if isinstance(line, LineProblem))
