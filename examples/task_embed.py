"""Embed a server: the application decides who may log in, and what a command is.

    python examples/task_embed.py --port 8082 --allow SHA256:...

``--allow`` is the fingerprint of a client's key: ``ssh-keygen -lf id_ed25519.pub``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import react
from zope.interface import Interface, implementer

import twisted_rsh
from twisted_rsh.server import (
    ConfigFolders,
    Exited,
    IJob,
    IJobOwner,
    IShellUser,
    IVerifiedKey,
    JobEnd,
    JobRefused,
    JobRequest,
    RefusalReason,
    RemoteShellService,
    ServiceOptions,
    Stream,
)


@implementer(ICredentialsChecker)
class KeyList:
    """Lets keys on a list log in.  The signature has been verified before."""

    credentialInterfaces = (IVerifiedKey,)

    def __init__(self, fingerprints: Collection[str]) -> None:
        self._fingerprints = fingerprints

    def requestAvatarId(self, credentials: IVerifiedKey) -> Deferred[bytes | tuple[()]]:
        """Decide about a login; twisted.cred calls this.  It may take its time."""
        if credentials.fingerprint not in self._fingerprints:
            return fail(UnauthorizedLogin("this key is not on the list"))
        return succeed(credentials.user.encode())


@implementer(IJob)
class Answer:
    """A job that is no process: it writes a text, and ends."""

    def __init__(self, owner: IJobOwner, text: bytes) -> None:
        self._owner = owner
        self._left = text
        self._over = False
        self._write()

    def resume_output(self, stream: Stream) -> None:
        """Go on writing: there is room again."""
        self._write()

    def write_input(self, data: bytes) -> None:
        """Drop the input: this job needs none."""
        self._owner.input_consumed(len(data))

    def close_output(self, stream: Stream) -> None:
        """Write no more: the reader is gone."""
        if stream is Stream.STDOUT:
            self._left = b""
            self._write()

    def terminate(self) -> None:
        """End at once."""
        self._left = b""
        self._write()

    def end_input(self) -> None:
        """Do nothing: the end of the input changes nothing."""

    def send_signal(self, name: str) -> None:
        """Do nothing: a text has no signals."""

    def resize(self, columns: int, rows: int) -> None:
        """Do nothing: there is no terminal."""

    def _write(self) -> None:
        room = self._owner.output_room(Stream.STDOUT)
        piece, self._left = self._left[:room], self._left[room:]
        if piece:
            self._owner.output_received(Stream.STDOUT, piece)
        if not self._left and not self._over:
            self._over = True
            self._owner.output_ended(Stream.STDOUT)
            self._owner.output_ended(Stream.STDERR)
            self._owner.job_ended(JobEnd(Exited(0)))


@implementer(IShellUser)
class Colleague:
    """A user who has logged in, with two commands."""

    encoding = "utf-8"

    def __init__(self, name: str) -> None:
        self.name = name

    def start_job(self, request: JobRequest, owner: IJobOwner) -> IJob:
        """Answer a command."""
        match request.command:
            case "whoami":
                return Answer(owner, f"{self.name}\n".encode())
            case "count":
                return Answer(
                    owner, b"".join(b"%d\n" % number for number in range(1000))
                )
            case _:
                raise JobRefused(
                    RefusalReason.NOT_PERMITTED, "there is whoami, and there is count"
                )


@implementer(IRealm)
class Colleagues:
    """Makes the user of each login."""

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], Colleague, Callable[[], None]]:
        """Make the user; twisted.cred calls this."""
        if IShellUser not in interfaces:
            raise NotImplementedError("colleagues have commands, and nothing else")
        return IShellUser, Colleague(bytes(avatarId).decode()), lambda: None


async def serve(reactor: Any, options: argparse.Namespace) -> None:
    """Serve until the program is interrupted."""
    config = None
    if options.config_dir is not None:
        config = ConfigFolders.at(options.config_dir)
    portal = Portal(Colleagues(), [KeyList(options.allow)])
    settings = ServiceOptions(interfaces=[options.host], port=options.port)
    service = RemoteShellService(reactor, portal, config, settings)
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    await service.when_listening()
    print("port", service.tcp_port, "key", service.fingerprint, flush=True)
    await Deferred()


def main(reactor: Any) -> Deferred[None]:
    """Read the command line, and serve."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--host", default="127.0.0.1", help="numeric address to listen on"
    )
    parser.add_argument("--port", type=int, default=8082, help="0 for a free one")
    parser.add_argument("--config-dir", help="folder of keys (default: the user's own)")
    parser.add_argument("--allow", action="append", default=[], help="a client's key")
    options = parser.parse_args()

    async def program() -> None:
        try:
            await serve(reactor, options)
        except twisted_rsh.Error as error:  # each of the package's own, in one line
            raise SystemExit(f"{parser.prog}: {error}") from None

    return Deferred.fromCoroutine(program())


if __name__ == "__main__":
    react(main)
