"""sshfs over ``trsh``: a folder of the server as one of this machine, where the system has FUSE."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tools import require_tool
from tests.tools.box import Box, running_box

pytestmark = pytest.mark.real


def require_fuse() -> None:
    """End the test where there is no sshfs, or no FUSE."""
    require_tool("sshfs")
    try:  # a container may have the file and not the device
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as error:
        pytest.skip(f"this system has no FUSE: {error}")


@pytest.fixture
def mounted(file_box: Box, tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    """A folder, and where it is mounted."""
    require_fuse()
    fusermount = require_tool("fusermount3")
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


def test_errors(file_box: Box, tmp_path: Path) -> None:
    """A server that does not answer is sshfs's error, with our line beside it, and nothing is mounted."""
    require_fuse()
    # In the background it throws the client's lines away.
    done = file_box.run("sshfs", "-f", "-o", f"ssh_command={file_box.trsh}", f"closed:{tmp_path}", tmp_path, status=1)
    assert "no server of yours is known on port" in done.stderr
    assert not os.path.ismount(tmp_path)


def test_interrupted(tmp_path: Path) -> None:
    """Ctrl-C while it mounts ends what runs on the server, and nothing is mounted."""
    require_fuse()
    fifo, server, folder, here = (tmp_path / name for name in ("fifo", "server", "box", "here"))
    server.write_text(f"#!/bin/sh\necho $$ > {fifo}\nexec cat > /dev/null\n")
    server.chmod(0o755)
    folder.mkdir(mode=0o700)
    here.mkdir()
    with running_box(folder, "--sftp", str(server)) as box:
        assert box.interrupt(fifo, "sshfs", "-f", "-o", f"ssh_command={box.trsh}", f"box:{tmp_path}", here) != 0
    assert not os.path.ismount(here)
