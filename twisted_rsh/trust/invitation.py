"""Invitations: a line from a server that names its address and its key, and lets one client's key in.

The line has a secret of 128 random bits.  A client proves that it has the secret, and never sends it: the proof covers
the channel binding of its connection (:rfc:`9266`) and its own key, so it is of no use on another connection or for
another key.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import urllib.parse
from dataclasses import dataclass, field

from twisted_rsh.core.errors import Error
from twisted_rsh.core.limits import INVITATION_NAME_BYTES
from twisted_rsh.core.roles import MAX_PORT
from twisted_rsh.trust.fingerprint import DIGEST_BYTES
from twisted_rsh.trust.ssh_wire import encode_string
from twisted_rsh.trust.sshsig import encode_user

__all__ = ["SECRET_BYTES", "BadInvitation", "Invitation", "invitation_name", "invitation_proof"]

SECRET_BYTES = 16
"""Bytes of an invitation's secret, which is random: so many that nothing but the line itself helps to find it."""

_PREFIX = "rsh1:"
"""What a line begins with: the kind of the line, and its version."""

_NAME_CONTEXT = b"twisted-rsh/1 invitation"
_PROOF_CONTEXT = b"twisted-rsh/1 invited"

_SAFE = "-._~"

_LINE = re.compile(
    r"rsh1:(?P<user>[A-Za-z0-9%._~-]+)@(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^@:\[\]\s]+)):(?P<port>[0-9]{1,5})"
    r":(?P<pin>[a-z2-7]+):(?P<secret>[a-z2-7]+)"
)


class BadInvitation(Error, ValueError):
    """A text is not an invitation.  ``str()`` is one line, and does not repeat the text, which may hold a secret."""


@dataclass(frozen=True, slots=True)
class Invitation:
    """An invitation, as its line has it.

    :ivar user: the account to log in to.
    :ivar host: the server's name or address.
    :ivar port: its TCP port.
    :ivar pin: SHA-256 of its public key, 32 bytes.
    :ivar secret: the secret, :data:`SECRET_BYTES` bytes.
    """

    user: str
    host: str
    port: int
    pin: bytes
    secret: bytes = field(repr=False)

    @classmethod
    def parse(cls, line: str) -> Invitation:
        """Read the line.

        :param line: what ``twisted-rsh invite`` printed; white space around it is ignored.
        :raises BadInvitation: it is anything else.
        """
        match = _LINE.fullmatch(line.strip())
        try:
            if match is None:
                raise ValueError
            invitation = cls(
                urllib.parse.unquote(match["user"], errors="strict"),
                match["v6"] or match["host"],
                int(match["port"]),
                _unpack(match["pin"], DIGEST_BYTES),
                _unpack(match["secret"], SECRET_BYTES),
            )
        except ValueError:
            raise BadInvitation(
                "this is not a whole invitation: copy the line that `twisted-rsh invite` printed"
            ) from None
        if not 1 <= invitation.port <= MAX_PORT:
            raise BadInvitation(f"the invitation names port {invitation.port}, and there is none")
        return invitation

    @staticmethod
    def is_line(text: str) -> bool:
        """Tell whether a text is meant as an invitation, whole or not."""
        return text.strip().startswith(_PREFIX)

    @property
    def line(self) -> str:
        """The line, in which no character is special to shells, for :meth:`parse`."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = urllib.parse.quote(self.user, safe=_SAFE)
        return f"{_PREFIX}{user}@{host}:{self.port}:{_pack(self.pin)}:{_pack(self.secret)}"


def invitation_name(secret: bytes) -> bytes:
    """Return the name by which a client tells the server which invitation it has; it is no secret."""
    return hashlib.sha256(_NAME_CONTEXT + secret).digest()[:INVITATION_NAME_BYTES]


def invitation_proof(secret: bytes, *, exporter: bytes, server_spki_sha256: bytes, user: str, key_blob: bytes) -> bytes:
    """Make the proof that one end has the secret.  Each end makes it from the values that it sees itself.

    :param secret: the secret.
    :param exporter: the end's own exporter value of this connection.
    :param server_spki_sha256: the SHA-256 of the server's public key.
    :param user: the user name of the login.
    :param key_blob: the public key of the login, in SSH's wire format.
    :returns: 32 bytes.
    :raises UnicodeError: the wire has no encoding of the user name.
    """
    fields = (_PROOF_CONTEXT, exporter, server_spki_sha256, encode_user(user), key_blob)
    return hmac.digest(secret, b"".join(map(encode_string, fields)), "sha256")


def _pack(data: bytes) -> str:
    return base64.b32encode(data).decode("ascii").rstrip("=").lower()


def _unpack(text: str, size: int) -> bytes:
    data = base64.b32decode(text.upper() + "=" * (-len(text) % 8))
    if len(data) != size or _pack(data) != text:
        raise ValueError("of another size, or with stray bits")
    return data
