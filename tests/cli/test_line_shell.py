"""The one shell of a console or a script, against a shell that the test directs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from tests.cli.pocket import PocketUser, pocket_portal
from tests.cli.screens import Screen, open_pipe
from tests.conftest import async_fixture
from tests.serving import Serving, asynchronous, cut, reactor
from twisted_rsh import Connection
from twisted_rsh.cli.line_shell import LineShell, start_line_shell
from twisted_rsh.cli.options import ClientOptions
from twisted_rsh.client.errors import ShellRefused
from twisted_rsh.core.endings import Ending, Exited, OutcomeUnknown, RefusalReason, Signalled
from twisted_rsh.core.requests import Terminal
from twisted_rsh.core.roles import Stream
from twisted_rsh.interfaces import IJob, IShellJob, IShellUser, JobRefused
from twisted_rsh.trust.home import ConfigFolders


@pytest.fixture
def user() -> PocketUser:
    """The user who is logged in."""
    return PocketUser()


@async_fixture
async def connection(config: ConfigFolders, user: PocketUser) -> AsyncIterator[Connection]:
    """A connection to a server that has only such shells."""
    serving = Serving(config, pocket_portal(user))
    await serving.start()
    yield await serving.connect()
    await serving.stop()


async def end_of(shell: LineShell, line: str) -> Ending:
    """Run a line to its end."""
    return (await shell.start(line).wait()).ending


@asynchronous
async def test_options_reach_the_shell_and_its_lines(connection: Connection, user: PocketUser) -> None:
    """The limits of processor time and memory are the shell's, the others each line's; so is the terminal given."""
    options = ClientOptions(timeout=60, max_output=1000, max_cpu=5, max_memory=1 << 30)
    shell = await start_line_shell(connection, options, Terminal(term="vt100"))
    (pocket,) = user.shells
    assert verifyObject(IShellUser, user)
    assert verifyObject(IShellJob, pocket)
    asked = pocket.request
    assert asked.startup_files, "the shell is as its user knows it"
    assert (asked.shell, asked.terminal, asked.max_cpu, asked.max_memory) == ("", Terminal(term="vt100"), 5, 1 << 30)
    assert await end_of(shell, "cd /x") == Exited(0)
    assert (pocket.requests[0].timeout, pocket.requests[0].max_output) == (60, 1000)
    assert verifyObject(IJob, pocket.commands[0])
    assert shell.ending is None


@asynchronous
async def test_clean(connection: Connection, user: PocketUser) -> None:
    """With ``--clean`` the shell reads no start-up files."""
    await start_line_shell(connection, ClientOptions(clean=True))
    assert not user.shells[-1].request.startup_files


@asynchronous
async def test_refusal(connection: Connection, user: PocketUser) -> None:
    """A server that refuses a shell says why, in one line."""
    user.refusal = JobRefused(RefusalReason.NOT_SUPPORTED, "no shells today")
    with pytest.raises(ShellRefused, match=r"^no shells today$"):
        await start_line_shell(connection, ClientOptions())


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("exit 3", 3, b""),
        ("exit 255", 254, b""),
        ("exec false", 1, b"trsh: the shell has ended with status 1\n"),
    ],
)
@asynchronous
async def test_line_that_ends_the_shell(connection: Connection, line: str, status: int, said: bytes) -> None:
    """The shell ends with or after its last line; the user is told unless the line asked for it."""
    screen = Screen(open_pipe(), open_pipe())
    shell = await start_line_shell(connection, ClientOptions())
    assert await end_of(shell, line) == Exited(min(status, 254) if line != "exit 255" else 255)
    assert shell.ending is not None
    assert shell.tell_end(screen.foreground.outputs, line) == status
    assert await screen.written() == (b"", said)
    await shell.when_ended()
    screen.close()


@pytest.mark.parametrize("line", ["echo exit", "echo exec", "echo logout", "stop"])
@asynchronous
async def test_words_that_end_nothing(connection: Connection, line: str) -> None:
    """Whatever words a line has, the shell counts as ended only when it has ended, and the client knows at once."""
    shell = await start_line_shell(connection, ClientOptions())
    began = reactor.seconds()
    endings = []
    for text in (line, "exit 3"):
        await end_of(shell, text)
        endings.append(shell.ending)
    assert endings == [None, Exited(3)]
    assert reactor.seconds() - began < 0.5


@asynchronous
async def test_shell_that_is_ended(connection: Connection, user: PocketUser) -> None:
    """All waits for the end of the shell fire, and its ending is told; a wait that was cancelled does not count."""
    screen = Screen(open_pipe(), open_pipe())
    shell = await start_line_shell(connection, ClientOptions())
    cancelled, waiting = shell.when_ended(), shell.when_ended()
    cancelled.addErrback(lambda _: None)
    cancelled.cancel()
    reactor.callLater(0, user.shells[0].end, Signalled("KILL"))
    await waiting
    assert shell.ending == Signalled("KILL")
    assert shell.tell_end(screen.foreground.outputs, "exit") == 137
    assert await screen.written() == (b"", b"trsh: the shell has ended: killed by SIGKILL\n")
    screen.close()


@pytest.mark.uncut("the session is told to end with its connection")
@asynchronous
async def test_lost_connection(config: ConfigFolders, user: PocketUser) -> None:
    """A connection that is lost is the end of the shell, too, where the session ends with it."""
    serving = Serving(config, pocket_portal(user))
    await serving.start()
    connection = await serving.connect(resume=False)
    shell = await start_line_shell(connection, ClientOptions())
    cut(connection)
    await shell.when_ended()
    assert shell.ending == OutcomeUnknown("the connection was lost: cut")
    await serving.stop()


@asynchronous
async def test_background_output(connection: Connection, user: PocketUser) -> None:
    """The output of a shell between commands appears on the right descriptor."""
    screen = Screen(open_pipe(), open_pipe())
    shell = await start_line_shell(connection, ClientOptions())
    screen.foreground.outputs.show(shell.shell)
    user.shells[0].say("out\n")
    user.shells[0].say("err\n", Stream.STDERR)
    ending = await Deferred.fromCoroutine(screen.foreground.run(shell.start("echo command"), None))
    assert ending == Exited(0)
    assert await screen.written() == (b"out\ncommand\n", b"err\n")
    screen.close()
