"""The library as an application uses it."""
from tests.serving import asynchronous
from twisted_rsh.client import RemoteShell
from twisted_rsh.core.endings import Exited


@asynchronous
async def test_run(shell: RemoteShell) -> None:
    """A command's outputs arrive apart, with its status."""
    result = await shell.run("echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.ending) == (b"out\n", b"err\n", Exited(3))
