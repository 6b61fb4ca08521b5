"""sshfs over ``trsh``: a folder of the server as one of this machine, where the system has FUSE."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box

pytestmark = pytest.mark.real


@pytest.fixture
def mounted(file_box: Box, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A folder, and where it is mounted."""
    require_tool("sshfs")
    fusermount = require_tool("fusermount3")
    try:  # a container may have the file and not the device
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"this system has no FUSE: {error}")
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    file_box.run("sshfs", "-o", f"ssh_command={file_box.trsh}", f"box:{there}", here)
    try:
        yield there, here
    finally:
        file_box.run(fusermount, "-u", here)


def test_files(mounted: tuple[Path, Path]) -> None:
    """Files are written, read, listed, renamed, linked and removed."""
    there, here = mounted
    data = os.urandom(3_000_000)
    (here / "a").write_bytes(data)
    assert (there / "a").read_bytes() == data
    (there / "b").write_bytes(data)
    assert (here / "b").read_bytes() == data
    (here / "folder").mkdir()
    (here / "a").rename(here / "folder" / "c")
    (here / "folder" / "link").symlink_to("c")
    assert sorted(os.listdir(here / "folder")) == ["c", "link"]
    assert os.readlink(there / "folder" / "link") == "c"
    os.truncate(here / "b", 5)
    assert (there / "b").stat().st_size == 5
    (here / "b").unlink()
    assert os.statvfs(here).f_blocks > 0
    with pytest.raises(FileNotFoundError):
        (here / "nothing").read_bytes()
