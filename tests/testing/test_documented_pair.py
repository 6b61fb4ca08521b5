"""Tests of a function that runs commands, over a MemoryPair: on the reactor, on a clock, through an outage."""

from __future__ import annotations

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import Clock

from twisted_rsh import CommandFailed, Connection, Exited
from twisted_rsh.testing import Answer, MemoryPair, ScriptedUser


async def deploy(connection: Connection, package: bytes) -> str:
    """The code under test: installs a package, and returns the version that then runs."""
    (await connection.run("dpkg -i /dev/stdin", stdin=package)).check()
    return (await connection.run("app --version")).check().text.strip()


@pytest_twisted.ensureDeferred  # type: ignore[untyped-decorator]  # pytest-twisted is not annotated
async def test_deploy() -> None:
    """On the reactor, with pytest-twisted: the package is installed, and the version read."""
    user = ScriptedUser({"dpkg -i /dev/stdin": Answer(), "app --version": Answer(b"2.0\n")})
    async with MemoryPair(reactor, user) as pair:
        connection = await pair.connect()
        assert await deploy(connection, b"a package") == "2.0"
    assert user.commands == ["dpkg -i /dev/stdin", "app --version"]
    assert user.jobs[0].input == b"a package"


def test_deploy_fails() -> None:
    """On a clock, without a running reactor: a package that cannot be installed is an error, and nothing follows."""
    user = ScriptedUser({"dpkg -i /dev/stdin": Answer(stderr=b"no space left\n", ending=Exited(1))})
    pair = MemoryPair(Clock(), user)
    connection = pair.run_until_complete(pair.connect())
    with pytest.raises(CommandFailed) as caught:
        pair.run_until_complete(deploy(connection, b"a package"))
    assert caught.value.result.error_text == "no space left\n"
    assert user.commands == ["dpkg -i /dev/stdin"]
    pair.run_until_complete(pair.close())


def test_deploy_through_an_outage() -> None:
    """The connection breaks while the package is installed, which the caller never notices."""
    user = ScriptedUser({"dpkg -i /dev/stdin": None, "app --version": Answer(b"2.0\n")})
    clock = Clock()
    pair = MemoryPair(clock, user)
    connection = pair.run_until_complete(pair.connect())

    async def deploy_meanwhile() -> str:
        deploying = deploy(connection, b"a package")
        clock.callLater(1, pair.cut)
        clock.callLater(2, finish_installing)
        return await deploying

    def finish_installing() -> None:
        user.jobs[0].end()

    assert pair.run_until_complete(deploy_meanwhile()) == "2.0"
    assert pair.endpoint.dials == 2
    pair.run_until_complete(pair.close())
