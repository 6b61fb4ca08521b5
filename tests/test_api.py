"""The library as an application uses it: the names it imports, and what an afternoon with them looks like."""

from __future__ import annotations

import subprocess
import sys

import pytest
from twisted.internet.defer import gatherResults

import twisted_rsh
from tests.serving import Serving, asynchronous, reactor
from twisted_rsh import CommandFailed, Connection, Exited, SessionLost, Signalled, connect


@asynchronous
async def test_run(connection: Connection) -> None:
    """A command's outputs arrive apart, with its status."""
    result = await connection.run("echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.ending) == (b"out\n", b"err\n", Exited(3))


@asynchronous
async def test_check_raises_for_anything_but_success(connection: Connection) -> None:
    """``check()`` is for those who want an exception."""
    assert (await connection.run(["echo", "汉字"])).check().text == "汉字\n"
    with pytest.raises(CommandFailed, match="exited with status 3") as caught:
        (await connection.run("echo why >&2; exit 3")).check()
    assert caught.value.result.error_text == "why\n"


@asynchronous
async def test_many_at_once(connection: Connection) -> None:
    """Commands run side by side on one connection."""
    results = await gatherResults([connection.run("cat", stdin=str(number).encode()) for number in range(20)])
    assert [result.text for result in results] == [str(number) for number in range(20)]


@asynchronous
async def test_conversation_with_a_job(connection: Connection) -> None:
    """A job is written to and read from while it runs, and ended by a signal."""
    job = connection.start(["cat"])
    await job.stdin.write(b"ping\n")
    assert await job.stdout.read() == b"ping\n"
    job.send_signal("TERM")
    assert (await job.wait()).ending == Signalled("TERM")
    assert [piece async for piece in job.stderr] == []


@asynchronous
async def test_end_of_the_day(serving: Serving) -> None:
    """A closed shell starts nothing more, and says why; a new one does."""
    connection = await connect(reactor, "127.0.0.1", serving.port, config=serving.config)
    await connection.close()
    with pytest.raises(SessionLost, match="the connection was closed"):
        await connection.run("true")
    again = await serving.connect()
    assert (await again.run("true")).status == 0


def test_every_name_is_there() -> None:
    """Each public name can be imported from the package; another cannot."""
    for name in twisted_rsh.__all__:
        assert getattr(twisted_rsh, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = twisted_rsh.nonsense


def test_import_chooses_no_reactor() -> None:
    """An application that imports everything can still install the reactor it wants."""
    program = "import sys; from twisted_rsh import *; sys.exit('twisted.internet.reactor' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
