"""sftp, and scp in its own mode of today, over ``trsh -s host sftp``, with both servers of files."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from tests.files.packets import OWN_SERVER, system_server
from tests.tools import require_tool
from tests.tools.box import Box, running_box

pytestmark = pytest.mark.real


@pytest.fixture
def sftp(file_box: Box) -> Box:
    """The server, if there are sftp and scp."""
    require_tool("sftp")
    require_tool("scp")
    return file_box


def batch(box: Box, tmp_path: Path, *lines: str, status: int | None = 0, host: str = "box") -> tuple[str, str]:
    """Run commands of sftp; return its stdout and stderr."""
    script = tmp_path / "batch"
    script.write_text("".join(f"{line}\n" for line in lines))
    done = box.run("sftp", "-S", box.trsh, "-q", "-b", script, host, status=status)
    return done.stdout, done.stderr


def test_files_and_trees(sftp: Box, tmp_path: Path) -> None:
    """Files and trees go there and come back as they were: contents, permissions, times, odd names."""
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "large").write_bytes(os.urandom(3_000_000))
    (source / "odd 'name' \u4e2d").write_text("odd")
    (source / "deep" / "large").chmod(0o640)
    os.utime(source / "deep" / "large", (1_000_000_000, 1_100_000_000))
    batch(sftp, tmp_path, f"put -pR {source} {tmp_path}/there", f"get -pR {tmp_path}/there {tmp_path}/back")
    for name in ("deep/large", "odd 'name' \u4e2d"):
        for copy in ("there", "back"):
            assert (tmp_path / copy / name).read_bytes() == (source / name).read_bytes()
    status = (tmp_path / "back" / "deep" / "large").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o640, 1_100_000_000)


def test_commands(sftp: Box, tmp_path: Path) -> None:
    """What sftp does at the server besides: list, link, rename, copy, resume, ask for room."""
    (tmp_path / "a").write_text("abc")
    out, _ = batch(
        sftp,
        tmp_path,
        f"cd {tmp_path}",
        "ls -la",
        "ln a hard",
        "ln -s a soft",
        "rename a b",
        "cp b c",
        "chmod 600 c",
        "mkdir d",
        "rename c d/e",
        "df -h .",
        "pwd",
    )
    assert "Remote working directory: " + str(tmp_path) in out
    assert "%" in out
    assert (tmp_path / "hard").samefile(tmp_path / "b")
    assert os.readlink(tmp_path / "soft") == "a"
    assert (tmp_path / "d" / "e").read_text() == "abc"
    assert stat.S_IMODE((tmp_path / "d" / "e").stat().st_mode) == 0o600
    data = os.urandom(500_000)
    (tmp_path / "half").write_bytes(data[:200_000])
    (tmp_path / "whole").write_bytes(data)
    batch(sftp, tmp_path, f"reget {tmp_path}/whole {tmp_path}/half")
    assert (tmp_path / "half").read_bytes() == data


def test_relative_paths(sftp: Box, tmp_path: Path) -> None:
    """A relative path begins at the account's home folder."""
    out, _ = batch(sftp, tmp_path, "pwd")
    home = sftp.run(sftp.trsh, "box", "cd; pwd -P").stdout.strip()
    assert f"Remote working directory: {home}\n" in out


def test_scp(sftp: Box, tmp_path: Path) -> None:
    """scp uses the subsystem: trees both ways, and between two hosts."""
    words = ("scp", "-q", "-S", sftp.trsh)
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "deep" / "large").write_bytes(os.urandom(2_000_000))
    sftp.run(*words, "-pr", source, f"box:{tmp_path}/there")
    sftp.run(*words, "-r", f"box:{tmp_path}/there", tmp_path / "back")
    sftp.run(*words, "-3", f"box1:{source}/deep/large", f"box2:{tmp_path}/third")
    for copy in ("there/deep/large", "back/deep/large", "third"):
        assert (tmp_path / copy).read_bytes() == (source / "deep" / "large").read_bytes()


def test_errors(sftp: Box, tmp_path: Path) -> None:
    """A file that is not there, one that may not be written, and a server that is not, are told."""
    _, errors = batch(sftp, tmp_path, f"get {tmp_path}/nothing {tmp_path}/x", status=1)
    assert "not found" in errors
    (tmp_path / "a").touch()
    _, errors = batch(sftp, tmp_path, f"put {tmp_path}/a /proc/nothing/x", status=1)
    assert "No such file" in errors
    _, errors = batch(sftp, tmp_path, "pwd", status=None, host="closed")
    assert "trsh" not in errors  # sftp passes its -q on, and tells of the end itself
    done = sftp.run("sftp", "-S", sftp.trsh, "-b", tmp_path / "batch", "closed", status=None)
    assert "trsh: no server of yours is known on port" in done.stderr
    done = sftp.run("scp", "-S", sftp.trsh, f"box:{tmp_path}/nothing", tmp_path, status=1)
    assert "No such file" in done.stderr


@pytest.mark.parametrize("kind", ["system", "own"])
def test_interrupted(kind: str, tmp_path: Path) -> None:
    """Ctrl-C in the middle of a file ends the server of files."""
    require_tool("sftp")
    command = system_server() if kind == "system" else OWN_SERVER
    fifo, server, script, endless = (tmp_path / name for name in ("fifo", "server", "batch", "endless"))
    server.write_text(f"#!/bin/sh\necho $$ > {fifo}\nexec {' '.join(command)}\n")
    server.chmod(0o755)
    endless.touch()
    os.truncate(endless, 2**40)
    script.write_text(f"get {endless} /dev/null\n")
    folder = tmp_path / "box"
    folder.mkdir(mode=0o700)
    with running_box(folder, "--sftp", str(server)) as box:
        assert box.interrupt(fifo, "sftp", "-S", box.trsh, "-q", "-b", script, "box") != 0


def test_off(tmp_path: Path) -> None:
    """A server without the subsystem refuses it in one line."""
    folder = tmp_path / "box"
    folder.mkdir(mode=0o700)
    with running_box(folder, "--sftp", "off") as box:
        done = box.run(box.trsh, "-s", "box", "sftp", status=None)
        assert done.stderr == "trsh: this server has no subsystem sftp\n"
