"""The watch over the files of keys, and the end of the sessions of a key that was taken out of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogEvent, formatEvent

from tests.server.waiting import until
from tests.serving import Serving, asynchronous, reactor
from twisted_rsh import LossReason, connect
from twisted_rsh.server import key_watch
from twisted_rsh.server.key_watch import LOOK_SECONDS, KeyFileWatch
from twisted_rsh.server.sessions import KEY_REVOKED
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.home import ConfigFolders


class Watched:
    """Files that are watched on a clock."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.file = folder / "authorized_keys"
        self.changes = 0
        self.watch = KeyFileWatch(self.clock, [str(self.file), str(folder / "none")], self._changed)

    def _changed(self) -> None:
        self.changes += 1

    def look(self, count: int = 1) -> int:
        """Look so many times; return the number of changes so far."""
        for _ in range(count):
            self.clock.advance(LOOK_SECONDS)
        return self.changes


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """Files that are watched, of which one exists."""
    watched = Watched(tmp_path)
    watched.file.write_text("one\n")
    watched.watch.start()
    return watched


def test_a_change_counts_once(watched: Watched) -> None:
    """A change counts at the second look that sees it, and once."""
    assert watched.look(3) == 0
    watched.file.write_text("another\n")
    assert watched.look() == 0
    assert watched.look() == 1
    assert watched.look(3) == 1


def test_a_file_on_its_way_is_no_change(watched: Watched) -> None:
    """A file that is emptied and then written counts as what it becomes, and one that comes back as no change of it."""
    os.truncate(watched.file, 0)
    assert watched.look() == 0
    watched.file.write_text("one\ntwo\n")
    assert watched.look() == 0
    assert watched.look() == 1


@pytest.mark.parametrize("change", ["unlink", "chmod", "replace"])
def test_every_kind_of_change(watched: Watched, change: str) -> None:
    """A file that goes, gets another mode, or is replaced by one of the same size has changed."""
    if change == "unlink":
        watched.file.unlink()
    elif change == "chmod":
        watched.file.chmod(0o666)
    else:
        other = watched.file.with_name("other")
        other.write_text("two\n")
        other.replace(watched.file)
    assert watched.look(2) == 1


def test_a_key_that_expires(watched: Watched) -> None:
    """A look without a change counts while it is due, as when the time of a key is over."""
    due = [False, True, True, False]
    watch = KeyFileWatch(watched.clock, [], watched._changed, lambda: due.pop(0))
    watched.watch.stop()
    watch.start()
    assert [watched.look() for _ in range(4)] == [0, 1, 2, 2]


def test_a_stopped_watch(watched: Watched) -> None:
    """A watch that was stopped leaves nothing on the clock."""
    watched.watch.stop()
    watched.watch.stop()
    assert watched.clock.getDelayedCalls() == []


@pytest.mark.uncut("the session ends while it is looked at")
@asynchronous
async def test_a_removed_key_ends_its_sessions(
    config: ConfigFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A-12: the sessions of a key end when its line is removed from the file, and those of other keys stay."""
    monkeypatch.setattr(key_watch, "LOOK_SECONDS", 0.05)
    serving = Serving(config)
    await serving.start()
    other = ConfigFolders.at(str(tmp_path / "other"))
    path = Path(config.authorized_keys_path)
    path.write_text(f"{load_or_create_client_key(other).public_line}\n")
    path.chmod(0o600)
    fingerprint = serving.service.fingerprint
    removed = await connect(reactor, "127.0.0.1", serving.port, config=other, fingerprint=fingerprint)
    kept = await serving.connect()
    lost: Deferred[str] = removed.when_lost()
    path.write_text("# none\n")
    await until(lambda: lost.called)
    assert removed.loss is LossReason.CLOSED
    assert (await kept.run("echo here")).text == "here\n"
    await serving.stop()


@pytest.mark.uncut("the session ends while it is looked at")
@asynchronous
async def test_an_expired_key_loses_its_sessions(
    config: ConfigFolders, monkeypatch: pytest.MonkeyPatch, logged: list[LogEvent]
) -> None:
    """A-12: a session ends when the time of its key is over, with no change of a file; the log names wrong lines."""
    monkeypatch.setattr(key_watch, "LOOK_SECONDS", 0.05)
    serving = Serving(config)
    own = load_or_create_client_key(config).public_line
    until_then = time.strftime("%Y%m%d%H%M%SZ", time.gmtime(time.time() + 3))
    path = Path(config.authorized_keys_path)
    path.write_text(f'no-such-option {own}\nexpiry-time="{until_then}" {own}\n')
    path.chmod(0o600)
    await serving.start()
    wrong = f"{path}: line 1 grants nothing: the option 'no-such-option' is not known"
    assert wrong in [formatEvent(event) for event in logged]
    connection = await serving.connect()
    lost: Deferred[str] = connection.when_lost()
    await until(lambda: lost.called)
    assert connection.loss is LossReason.CLOSED
    assert connection.lost == KEY_REVOKED
    await serving.stop()
