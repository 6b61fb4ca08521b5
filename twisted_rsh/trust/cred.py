"""The credential of a login and the stand-alone server's checker, for ``twisted.cred``.

A portal decides about a key only after :func:`twisted_rsh.trust.sshsig.verify_login` has proven that the client holds
it.  So no checker of an embedding application can leave out that proof.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
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
from twisted_rsh.trust.authorized_keys import KeyFiles, is_shortage
from twisted_rsh.trust.certificates import Certificate, Grant, NotGranted, grant_user
from twisted_rsh.trust.files import FileProblem
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.revocation import RevokedKeys
from twisted_rsh.trust.sshsig import encode_user

__all__ = ["AuthorizedKeysChecker", "IVerifiedKey", "RevocationUnknown", "VerifiedKey"]


class RevocationUnknown(Error):
    """The list of revoked keys cannot be read, so that nothing is known about any key: no key may log in, and the
    sessions that there are stay."""


class IVerifiedKey(ICredentials):
    """A credential: a client asks to log in as a user, and has proven on its connection that it holds a key."""

    user: str = Attribute("The user name to log in as.")

    key_blob: bytes = Attribute("The public key in SSH's wire format, in its one canonical encoding.")

    fingerprint: str = Attribute("The key's name for the log, as ssh-keygen -l prints it.")

    peer: str = Attribute("The client's address, for the log.")

    certificate: Certificate | None = Attribute("The certificate that the client has shown for the key, or None.")

    verified_at: float = Attribute("The time of the login, in seconds since 1970: a certificate must be valid then.")


@implementer(IVerifiedKey)
@dataclass(frozen=True, slots=True)
class VerifiedKey:
    """The credential of a login.  Make it only of a key that :func:`twisted_rsh.trust.sshsig.verify_login` returned.

    :ivar user: the user name to log in as.
    :ivar key_blob: the public key in SSH's wire format.
    :ivar fingerprint: the key's name for the log.
    :ivar peer: the client's address, for the log.
    :ivar certificate: the certificate that the client has shown for the key; ``None`` without one.
    :ivar verified_at: the time of the login, in seconds since 1970.
    """

    user: str
    key_blob: bytes
    fingerprint: str
    peer: str
    certificate: Certificate | None = None
    verified_at: float = 0.0

    @property
    def description(self) -> str:
        """The key's name for the log, with that of its certificate."""
        return self.fingerprint if self.certificate is None else f"{self.fingerprint}, {self.certificate.description}"


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

    def requestAvatarId(self, credentials: IVerifiedKey) -> Deferred[bytes | tuple[()]]:
        """Decide about a login.  An unknown user costs the same work as an unknown key.

        :param credentials: the user name and the key.
        :returns: fires with the user's name, encoded by :func:`twisted_rsh.trust.sshsig.encode_user`, or fails with
            ``UnauthorizedLogin``, or with :class:`RevocationUnknown`.
        :raises OSError: the system has no descriptors or no memory left to read the files.
        """
        same_user = hmac.compare_digest(_comparable(credentials.user), _comparable(self._user))
        for warning in self._files.look():
            self._limited_log.warn("{warning}", warning=warning)
        if credentials.certificate is not None:
            problem = self._problem_of(credentials.certificate, credentials.verified_at)
        else:
            problem = "" if self._files.grant(credentials.key_blob) else _NOT_LISTED
        if self._revoked is not None:
            try:
                problem = self._revoked.why_revoked(credentials.key_blob, credentials.certificate) or problem
            except (FileProblem, OSError) as error:
                if is_shortage(error):
                    raise
                self._limited_log.warn("{warning}", warning=f"nobody may log in: {error}")
                return fail(RevocationUnknown(str(error)))
        if same_user and not problem:
            return succeed(encode_user(self._user))
        return fail(UnauthorizedLogin(problem or _NOT_LISTED))

    def _problem_of(self, certificate: Certificate, at: float) -> str:
        """Say why a certificate does not let its holder in; nothing if it does."""
        authorities = self._files.authorities(certificate.authority.blob)
        problem = "its authority is in no line with cert-authority"
        for authority in authorities:
            names = {self._user} if authority.principals is None else authority.principals
            try:
                grant = grant_user(certificate, names, at)
            except NotGranted as error:
                problem = str(error)
                continue
            if grant == Grant(force_command=None, source_address=None, terminal=True):
                return ""
            problem = "it has restrictions that this server does not keep: force-command, source-address or no-pty"
        return f"the {certificate.description}: {problem}"


_NOT_LISTED = "this user cannot log in with this key"


def _comparable(text: str) -> bytes:
    """Encode any text as bytes: different texts as different bytes."""
    return text.encode("utf-8", "surrogatepass")
