"""Test code that uses a connection, without a server, a socket or a process.

    python examples/in_memory.py

``restart()`` stands for code of yours.  It gets a connection, and that is all it needs.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

import twisted_rsh
from twisted_rsh.testing import Answer, MemoryPair, ScriptedUser


async def restart(connection: twisted_rsh.Connection, service: str) -> str:
    """The code under test: restart a service, and say how it went."""
    try:
        await connection.run(["systemctl", "restart", service], check=True)
    except twisted_rsh.CommandFailed as failure:
        return f"{service}: {failure.result.error_text.strip()}"
    result = await connection.run(f"systemctl is-active {service}")
    return f"{service}: {result.text.strip()}"


async def check(reactor: Any) -> None:
    """Try both ways that it can go."""
    user = ScriptedUser(
        {
            "systemctl restart web": Answer(),
            "systemctl is-active web": Answer(stdout=b"active\n"),
            "systemctl restart mail": Answer(
                stderr=b"Access denied\n", ending=twisted_rsh.Exited(4)
            ),
        }
    )
    pair = MemoryPair(reactor, user)
    async with await pair.connect() as connection:
        assert await restart(connection, "web") == "web: active"
        assert await restart(connection, "mail") == "mail: Access denied"
        # What has no answer is not found, as on a machine without it.
        assert (await connection.run("uptime")).ending == twisted_rsh.Exited(127)
    print("as expected")


def main(reactor: Any) -> Deferred[None]:
    """Do it."""
    return Deferred.fromCoroutine(check(reactor))


if __name__ == "__main__":
    react(main)
