"""Tests of the notes that servers leave for their own user's clients."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from twisted_rsh.trust.files import UntrustedFile
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.records import (
    MAX_RECORD_BYTES,
    BadRecord,
    ServerRecord,
    read_record,
    remove_record,
    write_record,
)

RECORD = ServerRecord(bytes(range(32)), "instance-1", 4242, ("127.0.0.1:8082", "[::1]:8082"))


def path_of(config: ConfigFolders) -> Path:
    """The record's path."""
    return Path(config.record_path(8082))


def test_written_records_are_read(config: ConfigFolders) -> None:
    """A-20: a record is read as it was written, from a file of 0600 in folders of 0700."""
    write_record(config, 8082, RECORD)
    assert read_record(config, 8082) == RECORD
    assert stat.S_IMODE(path_of(config).stat().st_mode) == 0o600
    assert {stat.S_IMODE(os.stat(folder).st_mode) for folder in (path_of(config).parent, config.state)} == {0o700}
    assert os.listdir(path_of(config).parent) == ["8082.json"]


def test_no_record(config: ConfigFolders) -> None:
    """Without a server on the port there is no record, before and after there was one on another."""
    assert read_record(config, 8082) is None
    write_record(config, 8083, RECORD)
    assert read_record(config, 8082) is None


def test_record_is_replaced(config: ConfigFolders) -> None:
    """The next server on the port replaces what a killed one left."""
    write_record(config, 8082, ServerRecord(bytes(32), "old", 1, ()))
    write_record(config, 8082, RECORD)
    assert read_record(config, 8082) == RECORD


def test_remove(config: ConfigFolders) -> None:
    """A server takes back its own record only."""
    write_record(config, 8082, RECORD)
    remove_record(config, 8082, "instance-2")
    assert read_record(config, 8082) == RECORD
    remove_record(config, 8082, "instance-1")
    assert read_record(config, 8082) is None
    remove_record(config, 8082, "instance-1")


def test_remove_leaves_what_is_not_a_record(config: ConfigFolders) -> None:
    """A server that stops leaves alone what it cannot have written."""
    write_record(config, 8082, RECORD)
    path_of(config).write_bytes(b"garbage")
    remove_record(config, 8082, "instance-1")
    assert path_of(config).read_bytes() == b"garbage"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"garbage",
        b"\xff\xff\xff",
        b"null",
        b"[]",
        b"1",
        b'"text"',
        b"{}",
        b"[" * MAX_RECORD_BYTES,
        b"9" * MAX_RECORD_BYTES,
    ],
    ids=lambda data: ascii(data[:8]),
)
def test_garbage(config: ConfigFolders, data: bytes) -> None:
    """A file that is no record is named in one line."""
    write_record(config, 8082, RECORD)
    path_of(config).write_bytes(data)
    with pytest.raises(BadRecord, match=r"8082\.json is not the record of a server; start the server again"):
        read_record(config, 8082)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spki_sha256", None),
        ("spki_sha256", "SHA256:short"),
        ("spki_sha256", ["SHA256:"]),
        ("instance_id", 1),
        ("pid", "1"),
        ("pid", True),
        ("pid", 0),
        ("pid", -1),
        ("pid", 1.0),
        ("addresses", "127.0.0.1"),
        ("addresses", [1]),
        ("addresses", None),
    ],
)
def test_wrong_fields(config: ConfigFolders, key: str, value: object) -> None:
    """A field that is missing, of another type or out of range makes the whole record bad."""
    write_record(config, 8082, RECORD)
    good = json.loads(path_of(config).read_bytes())
    path_of(config).write_text(json.dumps(good | {key: value}))
    with pytest.raises(BadRecord):
        read_record(config, 8082)
    del good[key]
    path_of(config).write_text(json.dumps(good))
    with pytest.raises(BadRecord):
        read_record(config, 8082)


@pytest.mark.parametrize("value", ["not/absolute", "", 1, ["/x"]])
def test_wrong_sockets(config: ConfigFolders, value: object) -> None:
    """A socket is an absolute path, or there is none."""
    write_record(config, 8082, replace(RECORD, socket="/run/x.sock"))
    assert read_record(config, 8082) == replace(RECORD, socket="/run/x.sock")
    good = json.loads(path_of(config).read_bytes())
    path_of(config).write_text(json.dumps(good | {"socket": value}))
    with pytest.raises(BadRecord):
        read_record(config, 8082)


def test_unknown_fields(config: ConfigFolders) -> None:
    """A later version may say more."""
    write_record(config, 8082, RECORD)
    good = json.loads(path_of(config).read_bytes())
    path_of(config).write_text(json.dumps(good | {"later": 1}))
    assert read_record(config, 8082) == RECORD


def test_unsafe_records(config: ConfigFolders, give_away: Callable[[Path], None]) -> None:
    """A-21: a record that another user could have written is refused, and so is one that is too large."""
    write_record(config, 8082, RECORD)
    path = path_of(config)
    path.chmod(0o606)
    with pytest.raises(UntrustedFile, match="chmod go-w"):
        read_record(config, 8082)
    path.chmod(0o600)
    path.write_bytes(b" " * (MAX_RECORD_BYTES + 1))
    with pytest.raises(UntrustedFile, match="has more than"):
        read_record(config, 8082)
    give_away(path)
    with pytest.raises(UntrustedFile, match="belongs to uid"):
        read_record(config, 8082)


def test_any_json(config: ConfigFolders) -> None:
    """Any JSON at all is a record or BadRecord."""
    write_record(config, 8082, RECORD)
    names = st.sampled_from(["spki_sha256", "instance_id", "pid", "addresses"])
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    values = scalars | st.lists(scalars, max_size=2)

    @settings(derandomize=True, deadline=None, max_examples=100)
    @given(values | st.dictionaries(names, values))
    def check(document: object) -> None:
        path_of(config).write_text(json.dumps(document))
        with pytest.raises(BadRecord):
            read_record(config, 8082)

    check()
