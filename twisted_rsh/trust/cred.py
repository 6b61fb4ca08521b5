"""The credential of a login and the stand-alone server's checker, for ``twisted.cred``.

A portal decides about a key only after :func:`twisted_rsh.trust.sshsig.verify_login` has proven that the client holds
it.  So no checker of an embedding application can leave out that proof.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import Attribute, implementer

from twisted_rsh.limited_log import RateLimitedLog
from twisted_rsh.trust.authorized_keys import KeyFiles
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.policy import UNRESTRICTED, KeyPolicy
from twisted_rsh.trust.sshsig import encode_user

__all__ = ["AuthorizedKeysChecker", "IVerifiedKey", "VerifiedKey"]


class IVerifiedKey(ICredentials):
    """A credential: a client asks to log in as a user, and has proven on its connection that it holds a key."""

    user: str = Attribute("The user name to log in as.")

    key_blob: bytes = Attribute("The public key in SSH's wire format, in its one canonical encoding.")

    fingerprint: str = Attribute("The key's name for the log, as ssh-keygen -l prints it.")

    peer: str = Attribute("The client's address and port, for the log.")

    address: str = Attribute("The client's IP address; empty where it has none, as on a Unix socket.")

    policy: KeyPolicy = Attribute(
        "What the key may do: everything, until :meth:`restrict` is called.  The server keeps it to the end of the "
        "session.  A realm finds it in its ``mind``, which is this credential."
    )

    def restrict(policy: KeyPolicy) -> None:  # noqa: N805 - an interface's
        """Say what the key may do, in place of what was said before.  A checker calls it before it agrees.

        :param policy: the policy.  The server refuses the login if the policy does not let the key in from this address
            or at this time.
        """


@implementer(IVerifiedKey)
@dataclass(slots=True)
class VerifiedKey:
    """The credential of a login.  Make it only of a key that :func:`twisted_rsh.trust.sshsig.verify_login` returned.

    :ivar user: the user name to log in as.
    :ivar key_blob: the public key in SSH's wire format.
    :ivar fingerprint: the key's name for the log.
    :ivar peer: the client's address and port, for the log.
    :ivar address: the client's IP address, or empty.
    :ivar policy: what the key may do.
    """

    user: str
    key_blob: bytes
    fingerprint: str
    peer: str
    address: str = ""
    policy: KeyPolicy = UNRESTRICTED

    def restrict(self, policy: KeyPolicy) -> None:
        """See :meth:`IVerifiedKey.restrict`."""
        self.policy = policy

    def unrestricted(self, peer: str | None = None, address: str | None = None) -> VerifiedKey:
        """Return the same key, to ask a portal about it again.

        :param peer: the client's address and port by now; ``None`` for the same, and so is the other.
        :param address: its IP address by now.
        """
        return replace(
            self,
            peer=self.peer if peer is None else peer,
            address=self.address if address is None else address,
            policy=UNRESTRICTED,
        )


@implementer(ICredentialsChecker)
class AuthorizedKeysChecker:
    """A checker that lets one user log in with the keys that the user's files authorize at that moment.

    It looks at the files for each login, reads one only when it has changed, and then logs one line if it ignores the
    file, wholly or in part, and no more of them than :data:`twisted_rsh.limited_log.LINES_A_MINUTE`, because any client
    that tries to log in causes them.  A login takes the same time however many keys there are.

    :param config: the folders of the user that the server runs as.
    :param user: the name of that user, the only one who can log in.
    """

    log: ClassVar[Logger] = Logger()
    credentialInterfaces = (IVerifiedKey,)

    def __init__(self, config: ConfigFolders, user: str) -> None:
        self._files = KeyFiles(config)
        self._user = user
        self._limited_log = RateLimitedLog(self.log)

    def problems(self) -> Iterator[str | None]:
        """Read the files if they have changed, and look through all their lines, one in each step.

        :returns: as that of :meth:`twisted_rsh.trust.authorized_keys.KeyFiles.problems`, what is wrong with a whole
            file included.
        :raises OSError: the system has no descriptors or no memory left to read the files.
        """
        yield from self._files.look()
        yield from self._files.problems()

    def requestAvatarId(self, credentials: IVerifiedKey) -> Deferred[bytes | tuple[()]]:
        """Decide about a login.  An unknown user costs the same work as an unknown key.

        :param credentials: the user name and the key.
        :returns: fires with the user's name, encoded by :func:`twisted_rsh.trust.sshsig.encode_user`, or fails with
            ``UnauthorizedLogin``.  The credential then has the policy of the key's line.
        :raises OSError: the system has no descriptors or no memory left to read the files.
        """
        same_user = hmac.compare_digest(_comparable(credentials.user), _comparable(self._user))
        for warning in self._files.look():
            self._limited_log.warn("{warning}", warning=warning)
        key, address = credentials.key_blob, credentials.address
        policy = self._files.grant(key, address)
        if policy is None:
            for reason in self._files.reasons(key, address):
                self._limited_log.info("{key}: {reason}", key=credentials.fingerprint, reason=reason)
        elif same_user:
            credentials.restrict(policy)
            return succeed(encode_user(self._user))
        return fail(UnauthorizedLogin("this user cannot log in with this key"))


def _comparable(text: str) -> bytes:
    """Encode any text as bytes: different texts as different bytes."""
    return text.encode("utf-8", "surrogatepass")
