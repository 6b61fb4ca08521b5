"""The credentials of logins and the stand-alone server's checkers, for ``twisted.cred``.

A portal decides about a key only after :func:`twisted_rsh.trust.sshsig.verify_login` has proven that the client holds
it.  So no checker of an embedding application can leave out that proof.  A portal decides about the user at the other
end of a Unix socket only if it has a checker for such users.
"""

from __future__ import annotations

import hmac
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import Logger
from zope.interface import Attribute, implementer

from twisted_rsh.core.errors import Error
from twisted_rsh.limited_log import RateLimitedLog
from twisted_rsh.log_level import leveled_log
from twisted_rsh.trust.addresses import parse_addresses
from twisted_rsh.trust.authorized_keys import KeyFiles, passes_by_itself
from twisted_rsh.trust.certificates import Certificate, Grant, NotGranted, grant_user
from twisted_rsh.trust.files import FileProblem
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.policy import UNRESTRICTED, KeyPolicy
from twisted_rsh.trust.revocation import RevokedKeys
from twisted_rsh.trust.sshsig import encode_user

__all__ = [
    "AuthorizedKeysChecker",
    "IVerifiedKey",
    "IVerifiedPeer",
    "OwnUserChecker",
    "RevocationUnknown",
    "VerifiedKey",
    "VerifiedPeer",
]


class RevocationUnknown(Error):
    """The list of revoked keys cannot be read: no key may log in, and the sessions that have begun go on."""


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

    certificate: Certificate | None = Attribute("The certificate that the client has shown for the key, or None.")

    verified_at: float = Attribute("The time of the login, in seconds since 1970: a certificate must be valid then.")


@implementer(IVerifiedKey)
@dataclass(slots=True)
class VerifiedKey:
    """The credential of a login.  Make it only of a key that :func:`twisted_rsh.trust.sshsig.verify_login` returned.

    :ivar user: the user name to log in as.
    :ivar key_blob: the public key in SSH's wire format.
    :ivar fingerprint: the key's name for the log.
    :ivar peer: the client's address and port, for the log.
    :ivar certificate: the certificate that the client has shown for the key; ``None`` without one.
    :ivar verified_at: the time of the login, in seconds since 1970.
    :ivar address: the client's IP address, or empty.
    :ivar policy: what the key may do.
    """

    user: str
    key_blob: bytes
    fingerprint: str
    peer: str
    certificate: Certificate | None = None
    verified_at: float = 0.0
    address: str = ""
    policy: KeyPolicy = UNRESTRICTED

    @property
    def description(self) -> str:
        """The key's name for the log, with that of its certificate."""
        return self.fingerprint if self.certificate is None else f"{self.fingerprint}, {self.certificate.description}"

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


class IVerifiedPeer(ICredentials):
    """A credential: a client asks to log in as a user, over a Unix socket, and the system has named its own user."""

    user: str = Attribute("The user name to log in as.")

    uid: int = Attribute("The user of the client's process, a number.")

    fingerprint: str = Attribute("That user's name for the log, such as ``uid 1000``.")

    peer: str = Attribute("The client's process, for the log.")

    policy: KeyPolicy = Attribute("What the client may do, as with :class:`IVerifiedKey`.")

    def restrict(policy: KeyPolicy) -> None:  # noqa: N805 - an interface's
        """Say what the client may do; see :meth:`IVerifiedKey.restrict`.

        :param policy: the policy.
        """


@implementer(IVerifiedPeer)
@dataclass(slots=True)
class VerifiedPeer:
    """The credential of a login over a Unix socket.  Make it only of what the system has told of that socket.

    :ivar user: the user name to log in as.
    :ivar uid: the user of the client's process.
    :ivar peer: the client's process, for the log.
    :ivar policy: what the client may do.
    """

    user: str
    uid: int
    peer: str
    policy: KeyPolicy = UNRESTRICTED

    @property
    def fingerprint(self) -> str:
        """The client's user for the log, and for the bounds of one key."""
        return f"uid {self.uid}"

    @property
    def description(self) -> str:
        """The same."""
        return self.fingerprint

    @property
    def address(self) -> str:
        """No text: a Unix socket has no IP address."""
        return ""

    def restrict(self, policy: KeyPolicy) -> None:
        """See :meth:`IVerifiedPeer.restrict`."""
        self.policy = policy

    def unrestricted(self, peer: str | None = None, address: str | None = None) -> VerifiedPeer:
        """Return the same client, to ask a portal about it again; see :meth:`VerifiedKey.unrestricted`."""
        return VerifiedPeer(self.user, self.uid, self.peer if peer is None else peer)


@implementer(ICredentialsChecker)
class OwnUserChecker:
    """A checker that lets the server's own user in at a Unix socket, and no other user, not even root.

    :param user: the name of that user, the only one who can log in.
    """

    credentialInterfaces = (IVerifiedPeer,)

    def __init__(self, user: str) -> None:
        self._user = user

    def requestAvatarId(self, credentials: IVerifiedPeer) -> Deferred[bytes | tuple[()]]:
        """Decide about a login.

        :param credentials: the user name, and the user of the client's process.
        :returns: fires with the user's name, encoded by :func:`twisted_rsh.trust.sshsig.encode_user`, or fails with
            ``UnauthorizedLogin``.
        """
        if credentials.uid == os.geteuid() and credentials.user == self._user:
            return succeed(encode_user(self._user))
        return fail(UnauthorizedLogin("only the server's own user can log in here"))


@implementer(ICredentialsChecker)
class AuthorizedKeysChecker:
    """A checker that lets one user log in with the keys that the user's files authorize at that moment.

    It looks at the files for each login, reads one only when it has changed, and then logs one line if it ignores the
    file, wholly or in part, and no more of them than :data:`twisted_rsh.limited_log.LINES_A_MINUTE`, because any client
    that tries to log in causes them.  A login takes the same time however many keys there are.

    :param config: the folders of the user that the server runs as.
    :param user: the name of that user, the only one who can log in.
    :param ssh_authorized_keys: sshd's ``authorized_keys`` of that user, to be read too; ``None`` for none.
    :param revoked_keys: the file of revoked keys and certificates; ``None`` for none.
    :ivar paths: the files that decide, for a watch over them.
    """

    log: ClassVar[Logger] = Logger(observer=leveled_log)
    credentialInterfaces = (IVerifiedKey,)

    def __init__(
        self,
        config: ConfigFolders,
        user: str,
        ssh_authorized_keys: str | None = None,
        revoked_keys: str | None = None,
    ) -> None:
        self._files = KeyFiles(config, ssh_authorized_keys)
        self._revoked = None if revoked_keys is None else RevokedKeys(revoked_keys)
        self.paths = (*self._files.paths, *(() if revoked_keys is None else (revoked_keys,)))
        self._user = user
        self._limited_log = RateLimitedLog(self.log)

    def problems(self) -> Iterator[str | None]:
        """Read the files if they have changed, and look through all their lines, one in each step.

        :returns: as that of :meth:`twisted_rsh.trust.authorized_keys.KeyFiles.problems`, what is wrong with a whole
            file included.
        :raises OSError: the system has no descriptors or no memory left to read the files, or cannot reach them.
        """
        yield from self._files.look()
        yield from self._files.problems()

    def requestAvatarId(self, credentials: IVerifiedKey) -> Deferred[bytes | tuple[()]]:
        """Decide about a login.  An unknown user costs the same work as an unknown key.

        :param credentials: the user name and the key.
        :returns: fires with the user's name, encoded by :func:`twisted_rsh.trust.sshsig.encode_user`, or fails with
            ``UnauthorizedLogin``, or with :class:`RevocationUnknown`.  The credential then has the policy of the key's
            line, narrowed by what its certificate allows.
        :raises OSError: the system has no descriptors or no memory left to read the files, or cannot reach them.
        """
        same_user = hmac.compare_digest(_comparable(credentials.user), _comparable(self._user))
        for warning in self._files.look():
            self._limited_log.warn("{warning}", warning=warning)
        policy, problem = self._decide(credentials)
        if self._revoked is not None:
            try:
                problem = self._revoked.why_revoked(credentials.key_blob, credentials.certificate) or problem
            except (FileProblem, OSError) as error:
                if passes_by_itself(error):
                    raise
                self._limited_log.warn("{warning}", warning=f"nobody may log in: {error}")
                return fail(RevocationUnknown(str(error)))
        if same_user and not problem:
            credentials.restrict(policy)
            return succeed(encode_user(self._user))
        return fail(UnauthorizedLogin(problem or _NOT_LISTED))

    def _decide(self, credentials: IVerifiedKey) -> tuple[KeyPolicy, str]:
        """Return what a key may do, and why it may not log in; nothing if it may."""
        key, address = credentials.key_blob, credentials.address
        if credentials.certificate is not None:
            return self._decide_by_certificate(credentials.certificate, credentials.verified_at, address)
        policy = self._files.grant(key, address)
        if policy is not None:
            return policy, ""
        for reason in self._files.reasons(key, address):
            self._limited_log.info("{key}: {reason}", key=credentials.fingerprint, reason=reason)
        return UNRESTRICTED, _NOT_LISTED

    def _decide_by_certificate(self, certificate: Certificate, at: float, address: str) -> tuple[KeyPolicy, str]:
        problem = "its authority is in no line with cert-authority"
        for line in self._files.authorities(certificate.authority.blob):
            names = line.options.principals
            why_not = line.options.policy.why_not(address, time.time())
            if why_not is not None:
                problem = f"line {line.number}: {why_not}"
                continue
            try:
                grant = grant_user(certificate, {self._user} if names is None else names, at)
                return _narrowed(line.options.policy, grant, address), ""
            except NotGranted as error:
                problem = str(error)
        return UNRESTRICTED, f"the {certificate.description}: {problem}"


_NOT_LISTED = "this user cannot log in with this key"


def _narrowed(policy: KeyPolicy, grant: Grant, address: str) -> KeyPolicy:
    """Return what both the line of an authority and its certificate allow.

    :raises NotGranted: nothing is left.
    """
    if grant.source_address is not None:
        try:
            is_allowed = parse_addresses(grant.source_address).contains(address)
        except ValueError as error:
            raise NotGranted(f"its source-address: {error}") from None
        if not is_allowed:
            raise NotGranted(f"its source-address does not allow {address or 'a client without an IP address'}")
    narrowed = replace(policy, has_terminals=policy.has_terminals and grant.terminal)
    if grant.force_command is None:
        return narrowed
    if policy.is_observer or policy.command not in (None, grant.force_command):
        raise NotGranted("its force-command is against command= or observer of the line of its authority")
    return replace(narrowed, command=grant.force_command, accepted_environment=policy.accepted_environment or ())


def _comparable(text: str) -> bytes:
    """Encode any text as bytes: different texts as different bytes."""
    return text.encode("utf-8", "surrogatepass")
