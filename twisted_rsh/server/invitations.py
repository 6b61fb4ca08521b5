"""The invitations of a running server: each lets one key in, once, for a short time.

They are in the server's memory alone, so none outlives it.
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass

from twisted.internet.interfaces import IReactorTime

from twisted_rsh.core.errors import Error
from twisted_rsh.core.limits import MAX_INVITATION_FAILURES
from twisted_rsh.trust.authorized_keys import add_authorized_key
from twisted_rsh.trust.files import today
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.invitation import SECRET_BYTES, invitation_name, invitation_proof

__all__ = [
    "DEFAULT_INVITATION_SECONDS",
    "MAX_INVITATIONS",
    "MAX_INVITATION_SECONDS",
    "Invitations",
    "TooManyInvitations",
]

MAX_INVITATIONS = 4
"""Invitations that there may be at once: a person invites one machine after the other."""

DEFAULT_INVITATION_SECONDS = 600
"""Seconds that an invitation lasts by default: enough to carry a line from one terminal to another."""

MAX_INVITATION_SECONDS = 24 * 3600
"""Seconds that an invitation may last at most, a day: its line may be read by others later."""


class TooManyInvitations(Error):
    """There are as many invitations as there may be."""


@dataclass(slots=True)
class _Live:
    """An invitation that can be used.

    :ivar secret: its secret.
    :ivar until: its end, in seconds of the clock.
    :ivar failures: the wrong proofs under its name.
    """

    secret: bytes
    until: float
    failures: int = 0


class Invitations:
    """Makes invitations and takes them.

    :param clock: tells the time, usually the reactor.
    :param config: the folders of the account, to whose ``authorized_keys`` the keys are added.
    """

    def __init__(self, clock: IReactorTime, config: ConfigFolders) -> None:
        self._clock = clock
        self._config = config
        self._live: dict[bytes, _Live] = {}

    def make(self, seconds: float) -> bytes:
        """Make an invitation.

        :param seconds: how long it lasts, at most :data:`MAX_INVITATION_SECONDS`.
        :returns: its secret.
        :raises TooManyInvitations: there are :data:`MAX_INVITATIONS` already.
        """
        self._forget_old()
        if len(self._live) >= MAX_INVITATIONS:
            raise TooManyInvitations(
                f"the server has {MAX_INVITATIONS} invitations that are not used; wait until one is over, or restart it"
            )
        secret = secrets.token_bytes(SECRET_BYTES)
        self._live[invitation_name(secret)] = _Live(secret, self._clock.seconds() + seconds)
        return secret

    def take(
        self, name: bytes, proof: bytes, *, exporter: bytes, server_spki_sha256: bytes, user: str, key_blob: bytes
    ) -> bool:
        """Use an invitation up, if a client proves that it has one.  Then call :meth:`admit`.

        :param name: the name that the client gives, any bytes at all.
        :param proof: its proof, any bytes at all.
        :param exporter: as for :func:`~twisted_rsh.trust.invitation.invitation_proof`, and so are the others.
        :returns: whether the proof holds.  The invitation is gone then, whatever happens next.
        """
        self._forget_old()
        live = self._live.get(name)
        if live is None:
            return False
        expected = invitation_proof(
            live.secret, exporter=exporter, server_spki_sha256=server_spki_sha256, user=user, key_blob=key_blob
        )
        if hmac.compare_digest(expected, proof):
            del self._live[name]
            return True
        live.failures += 1
        if live.failures >= MAX_INVITATION_FAILURES:
            del self._live[name]
        return False

    def admit(self, key_blob: bytes, peer: str) -> None:
        """Let a key log in from now on.

        :param key_blob: the key, in SSH's wire format.
        :param peer: the address of the client that was invited.
        :raises twisted_rsh.trust.files.FileProblem: another user can write the file of keys, or it is full.
        :raises OSError: the system does not allow it; the file is unchanged.
        """
        comment = f"invited {today()} from {peer}"
        add_authorized_key(self._config, key_blob, comment, lock_seconds=0)  # nothing may hold the reactor

    def _forget_old(self) -> None:
        now = self._clock.seconds()
        self._live = {name: live for name, live in self._live.items() if live.until > now}
