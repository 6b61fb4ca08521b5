"""The file of the console's history; `test_console_terminal` tests the keys."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.screens import Screen, open_pipe
from tests.server_process import needs_full
from tests.serving import asynchronous
from twisted_rsh.cli.history import MAX_HISTORY_BYTES, ConsoleHistory
from twisted_rsh.trust.home import ConfigFolders


@pytest.fixture
def screen() -> Iterator[Screen]:
    """A foreground on two pipes."""
    screen = Screen(open_pipe(), open_pipe())
    yield screen
    screen.close()


def history_of(config: ConfigFolders, screen: Screen) -> ConsoleHistory:
    """Open the history as a console does."""
    return ConsoleHistory(config, screen.foreground.outputs)


@asynchronous
async def test_history_is_private(config: ConfigFolders, screen: Screen) -> None:
    """O-02: the history is a file of mode 0600 in a folder of mode 0700, also when it is made anew."""
    history = history_of(config, screen)
    assert list(history.load_history_strings()) == []
    path = Path(config.history_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    path.unlink()
    history.store_string("ls -l")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert await screen.written() == (b"", b"")


@pytest.mark.parametrize(
    "lines", [["ls -l", "cd /"], ["for i in 1 2\ndo echo $i\n\ndone", "+x", "#y"], ["\u4e16\u754c"]]
)
@asynchronous
async def test_lines_come_back(config: ConfigFolders, screen: Screen, lines: list[str]) -> None:
    """A later console has the lines of the earlier ones, the last one first, each as it was typed."""
    for line in lines:
        history_of(config, screen).store_string(line)
    assert list(history_of(config, screen).load_history_strings()) == lines[::-1]


@asynchronous
async def test_bytes_that_are_no_text(config: ConfigFolders, screen: Screen) -> None:
    """A line with a byte that its terminal could not decode does no harm to the others."""
    history = history_of(config, screen)
    history.store_string("before")
    history.store_string("caf\udce9")
    history.store_string("after")
    assert list(history_of(config, screen).load_history_strings()) == ["after", "caf?", "before"]


@asynchronous
async def test_history_is_bounded(config: ConfigFolders, screen: Screen) -> None:
    """A file of the greatest size stays; of a larger one the newer half stays, in whole commands, and private."""
    history = history_of(config, screen)
    history.store_string("\n\nfirst")
    path = Path(config.history_path)
    entry = b"\n+two\n+lines\n"
    count = (MAX_HISTORY_BYTES - path.stat().st_size) // len(entry)
    with path.open("ab") as file:
        file.write(entry * count)
        file.write(b"\n" * (MAX_HISTORY_BYTES - file.tell()))
    before = path.read_bytes()
    assert len(list(history_of(config, screen).load_history_strings())) == count + 1
    assert path.read_bytes() == before
    history.store_string("last")
    last, *lines = history_of(config, screen).load_history_strings()
    assert (last, set(lines)) == ("last", {"two\nlines"})
    assert (MAX_HISTORY_BYTES // 2) // len(entry) - len(lines) <= 1
    assert path.stat().st_size <= MAX_HISTORY_BYTES // 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"\n+" + b"x" * MAX_HISTORY_BYTES + b"\n")
    assert list(history_of(config, screen).load_history_strings()) == []
    assert await screen.written() == (b"", b"")


@pytest.mark.parametrize("obstacle", ["folder", "link", "open", "file", "FIFO"])
@asynchronous
async def test_history_that_cannot_be_kept(
    config: ConfigFolders, screen: Screen, tmp_path: Path, obstacle: str
) -> None:
    """O-01: if no history can be kept safely, the console says so once, and has one in memory."""
    path = Path(config.history_path)
    path.parent.mkdir(parents=True, mode=0o700)
    if obstacle == "folder":
        path.mkdir()
    elif obstacle == "link":
        (tmp_path / "elsewhere").write_text("+secret\n")
        path.symlink_to(tmp_path / "elsewhere")
    elif obstacle == "open":
        path.parent.chmod(0o777)
    elif obstacle == "FIFO":
        os.mkfifo(path)
    else:
        path.parent.rmdir()
        path.parent.write_text("a file")
    history = history_of(config, screen)
    assert list(history.load_history_strings()) == []
    history.append_string("one")
    history.append_string("two")
    assert history.get_strings() == ["one", "two"]
    stdout, stderr = await screen.written()
    assert (stdout, stderr.count(b"\n")) == (b"", 1)
    assert stderr.startswith(b"[the history is not kept: ")
    assert os.fsencode(path.parent) in stderr


@asynchronous
async def test_folder_that_goes_away(config: ConfigFolders, screen: Screen) -> None:
    """A folder that is removed while the console runs is made again, as private as before."""
    history = history_of(config, screen)
    history.append_string("one")
    folder = Path(config.history_path).parent
    shutil.rmtree(folder)
    history.append_string("two")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(history_of(config, screen).load_history_strings()) == ["two"]
    assert await screen.written() == (b"", b"")


@needs_full
@asynchronous
async def test_full_disk(config: ConfigFolders, screen: Screen, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full while the console runs is one line, once; the lines stay in memory."""
    history = history_of(config, screen)
    monkeypatch.setattr(history, "_open", lambda flags: os.open("/dev/full", flags))
    for line in ("one", "two", "three"):
        history.append_string(line)
    assert history.get_strings() == ["one", "two", "three"]
    line = f"[the history is not kept: {config.history_path}: No space left on device]\n"
    assert await screen.written() == (b"", line.encode())
