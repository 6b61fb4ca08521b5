"""The user's ssh-agent: it has private keys, and signs with them.

The protocol is that of ``draft-ietf-sshm-ssh-agent``: a request, and one answer.  Each request has a connection of its
own, so an answer that comes late, twice or unasked is never taken for that of another request.  The agent is not
trusted: each answer is bounded in size and time, and a signature counts only if it is one.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IConnector
from twisted.internet.protocol import ClientFactory, Protocol, connectionDone
from twisted.python.failure import Failure

from twisted_rsh.core.errors import Error
from twisted_rsh.core.values import dataclass
from twisted_rsh.trust.certificates import Certificate
from twisted_rsh.trust.socket_path import check_length
from twisted_rsh.trust.ssh_keys import BadKey, BadSignature, PublicKey
from twisted_rsh.trust.ssh_wire import BadWire, WireReader, encode_string
from twisted_rsh.trust.sshsig import LOGIN_NAMESPACE, login_message, parse_login_key, signed_bytes

__all__ = [
    "AGENT_SECONDS",
    "MAX_AGENT_KEYS",
    "MAX_ANSWER_BYTES",
    "SIGN_SECONDS",
    "AgentFailure",
    "AgentKey",
    "KeyAgent",
]

MAX_ANSWER_BYTES = 256 * 1024
"""Bytes of an answer at most, as OpenSSH's own client allows."""

MAX_AGENT_KEYS = 2048
"""Keys that an agent may say it has, as OpenSSH's own client allows."""

AGENT_SECONDS = 10.0
"""Seconds that an agent has to say which keys it has, for which it asks no person."""

SIGN_SECONDS = 50.0
"""Seconds that an agent has to sign: a person may have to say yes, or to touch a token.  It is less than the login has
(:data:`twisted_rsh.link.framed_link.LOGIN_SECONDS`), so that the line names the agent."""

_REQUEST_IDENTITIES, _IDENTITIES_ANSWER, _SIGN_REQUEST, _SIGN_RESPONSE, _FAILURE = 11, 12, 13, 14, 5

_SHA2_512 = 4
"""The flag that asks for ``rsa-sha2-512``; without it an agent signs with SHA-1."""


class AgentFailure(Error):
    """The agent cannot be asked, refuses, or does not keep to its protocol.  ``str()`` is one line that names it."""


@dataclass(frozen=True, slots=True)
class AgentKey:
    """A key that an agent has, with which a client logs in.

    :ivar public_key: its public half.
    :ivar known_as: what the agent knows it by, in SSH's wire format: the key, or a certificate of it.
    :ivar agent: the agent.
    :ivar certificate: the certificate to show for it; ``None`` for none.
    """

    public_key: PublicKey
    known_as: bytes
    agent: KeyAgent
    certificate: Certificate | None = None

    @property
    def blob(self) -> bytes:
        """The public key in SSH's wire format, or the certificate of it, for a login."""
        return self.public_key.blob if self.certificate is None else self.certificate.blob

    @property
    def algorithm(self) -> str:
        """The signature algorithm that a login names."""
        return self.public_key.algorithms[0]

    @property
    def fingerprint(self) -> str:
        """The key's name for people, as ``ssh-keygen -l`` prints it."""
        return self.public_key.fingerprint

    def sign_login(self, exporter: bytes, server_spki_sha256: bytes, user: str) -> Awaitable[bytes]:
        """Let the agent sign a login; the parameters are those of
        :meth:`twisted_rsh.trust.client_key.ClientKey.sign_login`.

        :returns: the signature, once the agent has made it; raises :class:`AgentFailure`.
        """
        message = login_message(exporter, server_spki_sha256, user, self.algorithm, self.blob)
        return self.agent.sign(self, signed_bytes(message, LOGIN_NAMESPACE))


class KeyAgent:
    """An agent at a Unix socket.

    :param reactor: the reactor.
    :param path: the socket, usually the value of ``SSH_AUTH_SOCK``.
    :ivar path: as above.
    """

    def __init__(self, reactor: Any, path: str) -> None:
        self.path = path
        self._reactor = reactor

    async def keys(self) -> list[AgentKey]:
        """Ask which keys the agent has.

        :returns: those that a login can use, in the agent's order.
        :raises AgentFailure: it does not say.
        """
        answer = await self._ask(bytes([_REQUEST_IDENTITIES]), _IDENTITIES_ANSWER, AGENT_SECONDS)
        try:
            count = answer.uint32()
            if count > MAX_AGENT_KEYS:
                raise self._failure(f"says that it has {count} keys")
            blobs = []
            for _ in range(count):
                blobs.append(answer.string())
                answer.string()  # a comment
            answer.end()
        except BadWire:
            raise self._broken() from None
        return [key for blob in blobs if (key := self._usable(blob)) is not None]

    async def sign(self, key: AgentKey, data: bytes) -> bytes:
        """Let the agent sign.

        :param key: one of :meth:`keys`.
        :param data: what to sign.
        :returns: ``string(algorithm) string(signature)``, which has been verified.
        :raises AgentFailure: the agent does not sign, or its answer is no signature by that key.
        """
        flags = _SHA2_512 if key.algorithm == "rsa-sha2-512" else 0
        request = bytes([_SIGN_REQUEST]) + encode_string(key.known_as) + encode_string(data) + flags.to_bytes(4, "big")
        answer = await self._ask(request, _SIGN_RESPONSE, SIGN_SECONDS)
        try:
            signature = answer.string()
            answer.end()
            key.public_key.verify(key.algorithm, signature, data)
        except BadWire:
            raise self._broken() from None
        except BadSignature as error:
            raise self._failure(f"gave a wrong signature for the key {key.fingerprint}: {error}") from None
        return signature

    def _usable(self, blob: bytes) -> AgentKey | None:
        try:
            key = parse_login_key(blob)
            return AgentKey(key, blob, self, key.certificate)
        except (BadKey, BadSignature):
            return None  # of a kind that no login takes

    async def _ask(self, request: bytes, expected: int, seconds: float) -> WireReader:
        """Send a request; return the reader of the answer, after its type."""
        try:
            check_length(self.path)  # of which Twisted's client would say nothing
        except ValueError as error:
            raise self._failure(f"cannot be reached: {error}") from None
        exchange = _Exchange(request, self._failure)
        exchange.answer.addTimeout(seconds, self._reactor, self._timed_out)
        connector = self._reactor.connectUNIX(self.path, exchange, timeout=seconds)
        try:
            answer = WireReader(await exchange.answer)
        finally:
            connector.disconnect()
        kind = answer.byte()
        if kind == _FAILURE:
            raise self._failure("refused to sign" if expected == _SIGN_RESPONSE else "refused to say which keys it has")
        if kind != expected:
            raise self._broken()
        return answer

    def _failure(self, problem: str) -> AgentFailure:
        return AgentFailure(f"the agent at {self.path} {problem}; look at it with: ssh-add -l")

    def _broken(self) -> AgentFailure:
        return self._failure("gave an answer that is none of an agent's")

    def _timed_out(self, _result: object, seconds: float) -> Failure:
        return Failure(self._failure(f"has not answered for {seconds:g} s"))


class _Exchange(ClientFactory):
    """One request and its answer.

    :ivar answer: fires with the answer without its length, which is never empty, or fails with an `AgentFailure`.
    """

    noisy = False

    def __init__(self, request: bytes, failure: Any) -> None:
        self.answer: Deferred[bytes] = Deferred()
        self.failure = failure
        self.request = request

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        return _AgentConnection(self)

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        error = getattr(reason.value, "osError", None)
        said = error if isinstance(error, str) else reason.getErrorMessage().rstrip(".")
        self.fail(f"cannot be reached: {said}")

    def fail(self, problem: str) -> None:
        """Give up, unless there is an answer."""
        if not self.answer.called:
            self.answer.errback(self.failure(problem))


class _AgentConnection(Protocol):
    """The connection of one exchange."""

    def __init__(self, exchange: _Exchange) -> None:
        self._exchange = exchange
        self._received = b""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(encode_string(self._exchange.request))

    def dataReceived(self, data: bytes) -> None:
        """Take a part of the answer; one that is too long is given up at its length, before it is kept."""
        if self._exchange.answer.called:
            return
        self._received += data
        size = int.from_bytes(self._received[:4], "big")
        if len(self._received) < 4:
            return
        if not 1 <= size <= MAX_ANSWER_BYTES:
            self._exchange.fail(f"gave an answer of {size} bytes")
        elif len(self._received) > 4 + size:
            self._exchange.fail("gave more than one answer")
        elif len(self._received) == 4 + size:
            self._exchange.answer.callback(self._received[4:])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._exchange.fail("ended the connection without an answer")
