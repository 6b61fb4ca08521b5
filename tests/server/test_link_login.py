"""The login at a server: it comes first, happens once, belongs to one connection, and has one answer for all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from twisted.logger import LogEvent, formatEvent

from tests.core.samples import SAMPLES
from tests.link.test_tls import Dialling
from tests.link.wire import ALICE, MALLORY, RawClient, client_key, failures, frame, identity, unframe
from tests.server.rig import NO_RESUME, Rig
from tests.trust.keys import EXPORTER, login_bytes, private_key, string
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.codec import Decoder, encode, encode_control
from twisted_rsh.core.limits import MAX_AUTH_ATTEMPTS
from twisted_rsh.core.messages import (
    Auth,
    AuthFail,
    AuthOk,
    Exit,
    Open,
    Ping,
    Resume,
    ResumeFail,
    ResumeOk,
    Unavailable,
)
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Phase, Role
from twisted_rsh.interfaces import IShellUser
from twisted_rsh.limited_log import LINES_A_MINUTE
from twisted_rsh.link.framed_link import CLOSE_SECONDS, LOGIN_SECONDS

FAIL = bytes([AuthFail.declaration.number])


def payload_of(message: Message) -> bytes:
    """Return the payload of any message, the first of its direction."""
    return encode_control(message, 0)[0] if message.declaration.sequenced else encode(message)


def auth_with(key_of: int, signature: bytes, user: str = ALICE, algorithm: str = "ssh-ed25519") -> bytes:
    """Return the payload of an AUTH with any signature."""
    blob = client_key(key_of).blob
    return encode(Auth(user=user, algorithm=algorithm, key=blob, signature=signature))


def signed(data: bytes, which: int = 0) -> bytes:
    """Sign bytes as they are."""
    key: Any = private_key("ssh-ed25519", which)
    return string(b"ssh-ed25519") + string(key.sign(data))


def refused(rig: Rig, payload: Callable[[RawClient], bytes]) -> bytes:
    """Send one AUTH on a new connection; return the plaintext of the answer, which must be no welcome."""
    client = rig.connect()
    client.send(frame(payload(client)))
    assert not client.wire.is_over
    assert rig.user.jobs == []
    return client.received


@pytest.mark.parametrize(
    "message",
    [message for kind, message in SAMPLES.items() if kind not in (Auth, Resume)],
    ids=lambda message: type(message).__name__,
)
def test_any_other_message_first(rig: Rig, message: Message) -> None:
    """S-01, S-02, S-03, S-14: before the login every message but AUTH and RESUME ends the link without an answer."""
    client = rig.connect()
    client.send(frame(payload_of(message)) + frame(client.auth(rig.pin)))
    assert client.wire.aborted()
    assert (client.frames(), rig.checker.asked, rig.user.jobs) == ([], [], [])


@pytest.mark.parametrize(
    "message",
    [message for kind, message in SAMPLES.items() if kind.declaration.senders == frozenset({Role.SERVER})],
    ids=lambda message: type(message).__name__,
)
def test_server_messages_from_a_client(rig: Rig, message: Message) -> None:
    """S-03: a message that only a server sends ends the link of a logged-in client, too."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true")))
    client.send(frame(encode_control(message, 1)[0] if message.declaration.sequenced else encode(message)))
    assert client.wire.aborted()
    assert rig.user.jobs[0].names()[-1] == "terminate"


@pytest.mark.parametrize("outcome", ["success", "failure", "nothing"])
@pytest.mark.parametrize("again", ["AUTH", "OPEN", "PING"])
def test_a_frame_while_the_checker_thinks(rig: Rig, again: str, outcome: str, logged: list[LogEvent]) -> None:
    """S-05, S-07: it ends the link at once; a late answer makes no session, and its avatar is logged out."""
    thinking: Deferred[bytes] = Deferred()
    rig.checker.answer = lambda: thinking
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    assert len(rig.checker.asked) == 1
    behind = {
        "AUTH": client.auth(rig.pin),
        "OPEN": payload_of(Open(channel=1, request=JobRequest(command="true"))),
        "PING": encode(Ping(0)),
    }[again]
    client.send(frame(behind))
    assert client.wire.aborted()
    assert len(rig.checker.asked) == 1
    if outcome == "success":
        thinking.callback(ALICE.encode())
    elif outcome == "failure":
        thinking.errback(UnauthorizedLogin())
    client.exchange()
    assert client.frames() == []
    assert rig.realm.logouts == (outcome == "success")
    assert (rig.user.jobs, rig.links, rig.waiting) == ([], set(), 0)
    assert failures(logged) == []


def test_a_second_auth_after_success(rig: Rig) -> None:
    """S-06: it ends the link and the session; the client does not become another user."""
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true")))
    client.send(frame(client.auth(rig.pin)))
    assert client.wire.aborted()
    assert len(rig.checker.asked) == 1
    assert rig.user.jobs[0].names()[-1] == "terminate"
    assert rig.realm.logouts == 1


ANSWERS: dict[str, Callable[[], Any]] = {
    "raises": lambda: 1 / 0,
    "raises late": lambda: fail(KeyError("no such thing")),
    "refuses": lambda: fail(UnauthorizedLogin()),
}


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_checker_that_breaks(rig: Rig, answer: Callable[[], Any], logged: list[LogEvent]) -> None:
    """S-09: the answer to any exception is AUTH_FAIL, and the client may try again."""
    rig.checker.answer = answer
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    assert client.frames() == [FAIL]
    rig.checker.answer = None
    client.send(frame(client.auth(rig.pin)))
    assert client.frames()[0][0] == AuthOk.declaration.number
    assert failures(logged) == []


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_a_checker_without_descriptors(rig: Rig, logged: list[LogEvent], number: int) -> None:
    """S-09, R-05: a server that has nothing left to look a proven key up with puts the client off, and names the bound;
    a key that is not proven is refused as ever, and the portal is not asked."""
    rig.checker.answer = lambda: fail(OSError(number, os.strerror(number), "/authorized_keys"))
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    (answer,) = client.frames()
    _, message = Decoder(Role.CLIENT, Phase.LOGIN).decode(answer)
    assert isinstance(message, Unavailable)
    assert message.text.startswith(f"{os.strerror(number)} (")
    assert "/authorized_keys" not in message.text
    assert client.closed
    assert "cannot be served" in formatEvent(logged[-1])
    assert refused(rig, lambda client: client.auth(rig.pin, exporter=bytes(32))) == frame(FAIL)
    assert len(rig.checker.asked) == 1
    assert failures(logged) == []


def test_another_error_of_the_system(rig: Rig) -> None:
    """S-09: an error of the system that says nothing about what the server has left is refused like any other."""
    rig.checker.answer = lambda: fail(PermissionError(errno.EACCES, "no"))
    assert refused(rig, lambda client: client.auth(rig.pin)) == frame(FAIL)


def test_lines_about_clients_that_are_put_off(rig: Rig, logged: list[LogEvent]) -> None:
    """R-05: keys that no file authorizes can cause no more lines than strangers can, while descriptors lack."""
    rig.checker.answer = lambda: fail(OSError(errno.EMFILE, "none"))
    for _ in range(LINES_A_MINUTE + 1):
        client = rig.connect()
        client.send(frame(client.auth(rig.pin)))
        client.wire.lose()
    served = [event for event in logged if "cannot be served" in (event["log_format"] or "")]
    assert len(served) == LINES_A_MINUTE


AVATARS: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "a number": lambda: 7,
    "no tuple of three": lambda: (IShellUser, object()),
    "no user": lambda: (IShellUser, object(), lambda: None),
    "no user, late": lambda: succeed((IShellUser, None, None)),
    "raises": lambda: 1 / 0,
}


@pytest.mark.parametrize("avatar", AVATARS.values(), ids=AVATARS)
def test_a_realm_that_answers_nonsense(rig: Rig, avatar: Callable[[], Any]) -> None:
    """S-09: only a user object with a way to log out is a user."""
    rig.realm.avatar = avatar
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    assert client.frames() == [FAIL]
    rig.realm.avatar = lambda: (IShellUser, rig.user, "no way to log out")
    client.send(frame(client.auth(rig.pin)))
    assert client.frames() == [FAIL]
    assert rig.waiting == 1


@pytest.mark.parametrize("encoding", [None, b"utf-8", "\udcff", "x" * 65])
def test_a_user_whose_code_page_has_no_name(rig: Rig, encoding: Any, logged: list[LogEvent]) -> None:
    """S-13: a user object whose jobs could never be answered gets no session, and is logged out again."""
    rig.user.encoding = encoding
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    assert client.wire.aborted()
    assert rig.realm.logouts == 1
    assert (rig.links, rig.waiting, len(rig.factory.sessions)) == (set(), 0, 0)
    (event,) = failures(logged)
    assert "the encoding of a user object names no code page: " in str(event["log_failure"].value)


@pytest.mark.parametrize("answer", [None, 7, b"somebody else"])
def test_a_checker_that_answers_nonsense(rig: Rig, answer: object) -> None:
    """S-09: the checker's answer goes to the realm alone, and a realm that does not know the name refuses."""
    rig.checker.answer = lambda: succeed(answer)
    rig.realm.avatar = lambda: fail(UnauthorizedLogin(repr(answer)))
    assert refused(rig, lambda client: client.auth(rig.pin)) == frame(FAIL)


def test_a_checker_that_never_answers(rig: Rig) -> None:
    """S-09: the login's deadline ends the link, and a late answer makes no session."""
    thinking: Deferred[bytes] = Deferred()
    rig.checker.answer = lambda: thinking
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    rig.clock.advance(LOGIN_SECONDS - 0.1)
    assert not client.wire.is_over
    rig.clock.advance(0.1)
    assert client.wire.aborted()
    thinking.callback(ALICE.encode())
    assert rig.realm.logouts == 1


@pytest.mark.parametrize("success", [True, False])
def test_a_connection_lost_while_the_checker_thinks(rig: Rig, success: bool) -> None:
    """S-10: a late success makes no session: the avatar is logged out at once, and nothing is left."""
    thinking: Deferred[bytes] = Deferred()
    rig.checker.answer = lambda: thinking
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    client.wire.lose()
    if success:
        thinking.callback(ALICE.encode())
    else:
        thinking.errback(UnauthorizedLogin())
    rig.clock.advance(0)
    assert rig.realm.logouts == success
    assert (rig.links, rig.waiting, rig.clock.getDelayedCalls()) == (set(), 0, [])


@pytest.mark.parametrize("success", [True, False])
def test_a_server_that_stops_while_the_checker_thinks(rig: Rig, success: bool, logged: list[LogEvent]) -> None:
    """S-10: a link that the server has closed gets no session, and leaves nothing behind."""
    thinking: Deferred[bytes] = Deferred()
    rig.checker.answer = lambda: thinking
    client = rig.connect()
    client.send(frame(client.auth(rig.pin)))
    gone: list[object] = []
    rig.factory.go_away("bye").addCallback(gone.append)
    if success:
        thinking.callback(ALICE.encode())
    else:
        thinking.errback(UnauthorizedLogin())
    client.exchange()
    assert rig.realm.logouts == success
    assert client.received == b""
    assert not any("logged in" in event["log_format"] for event in logged if event.get("log_format"))
    assert len(gone) == 1
    rig.clock.advance(CLOSE_SECONDS)
    assert (rig.links, rig.waiting) == (set(), 0)


def test_a_logout_that_breaks(logged: list[LogEvent]) -> None:
    """S-13: an application's logout that fails costs one line in the log, and the jobs still end."""
    rig = Rig(NO_RESUME)
    rig.realm.avatar = lambda: (IShellUser, rig.user, lambda: 1 / 0)
    client = rig.log_in()
    client.say(Open(channel=1, request=JobRequest(command="true")))
    client.wire.lose()
    assert rig.user.jobs[0].names()[-1] == "terminate"
    assert rig.links == set()
    assert len(failures(logged)) == 1


def test_replay(rig: Rig) -> None:
    """A-01: an AUTH that was accepted once is refused on any other connection."""
    client = rig.connect()
    payload = client.auth(rig.pin)
    client.send(frame(payload))
    assert client.frames()[0][0] == AuthOk.declaration.number
    assert refused(rig, lambda _client: payload) == frame(FAIL)
    assert len(rig.checker.asked) == 1


def test_relay(rig: Rig) -> None:
    """A-02: a signature for a server in the middle is of no use at the real one."""
    victim = Dialling(identity())
    (payload,) = unframe(victim.server.received)
    assert refused(rig, lambda _client: payload) == frame(FAIL)
    # Even one that the client was made to pin has only a signature over its own key and its own connection.
    middle = RawClient(rig.clock, rig.protocol())
    forwarded = client_key().sign_login(victim.server.exporter, MALLORY.pin, ALICE)
    middle.send(frame(auth_with(0, forwarded)))
    assert middle.frames() == [FAIL]
    assert rig.checker.asked == []


def test_the_signature_covers_every_field(rig: Rig) -> None:
    """A-03: a change of any one field after signing is refused before the checker is asked."""
    key = client_key()

    def sign(client: RawClient, **change: Any) -> bytes:
        values = {"exporter": client.exporter, "server_spki_sha256": rig.pin, "user": ALICE} | change
        return key.sign_login(values["exporter"], values["server_spki_sha256"], values["user"])

    changed: list[Callable[[RawClient], bytes]] = [
        lambda client: auth_with(0, sign(client, user="bob")),
        lambda client: auth_with(0, sign(client), user="bob"),
        lambda client: auth_with(0, sign(client, server_spki_sha256=MALLORY.pin)),
        lambda client: auth_with(0, sign(client, exporter=EXPORTER)),
        lambda client: auth_with(0, sign(client), algorithm="rsa-sha2-512"),
        lambda client: auth_with(1, sign(client)),
    ]
    for change in changed:
        assert refused(rig, change) == frame(FAIL)
    assert rig.checker.asked == []
    client = rig.connect()
    client.send(frame(auth_with(0, sign(client))))
    assert client.frames()[0][0] == AuthOk.declaration.number


def test_the_signature_is_for_a_login(rig: Rig) -> None:
    """A-04: another namespace, or a signature without the envelope, is refused."""

    def message(client: RawClient, **change: Any) -> bytes:
        return login_bytes("ssh-ed25519", exporter=client.exporter, spki=rig.pin, user=ALICE, **change)

    assert refused(rig, lambda client: auth_with(0, signed(message(client, namespace=b"file")))) == frame(FAIL)
    assert refused(rig, lambda client: auth_with(0, signed(message(client)[6:]))) == frame(FAIL)
    assert rig.checker.asked == []
    client = rig.connect()
    client.send(frame(auth_with(0, signed(message(client)))))
    assert client.frames()[0][0] == AuthOk.declaration.number


@pytest.mark.parametrize("constant", [bytes(32), EXPORTER])
def test_another_exporter(rig: Rig, monkeypatch: pytest.MonkeyPatch, constant: bytes) -> None:
    """A-08: the server uses its own exporter value: with another one, every login fails."""
    monkeypatch.setattr("twisted_rsh.server.link.exporter", lambda _transport: constant)
    assert refused(rig, lambda client: client.auth(rig.pin)) == frame(FAIL)


def test_every_refusal_is_the_same(rig: Rig) -> None:
    """A-09, A-10: unknown user, unknown key, bad signature of a known key, junk: the same bytes, three times each."""
    claims: list[Callable[[RawClient], bytes]] = [
        lambda client: client.auth(rig.pin, user="nobody"),
        lambda client: client.auth(rig.pin, which=1),
        lambda client: client.auth(rig.pin, exporter=EXPORTER),
        lambda client: client.auth(rig.pin, which=1, exporter=EXPORTER),
        lambda _client: auth_with(0, b""),
        lambda _client: auth_with(0, bytes(100)),
        lambda _client: auth_with(0, b"", user=""),
        lambda _client: encode(Auth(user=ALICE, algorithm="none", key=b"", signature=b"")),
    ]
    answers = set()
    for claim in claims:
        client = rig.connect()
        for _ in range(MAX_AUTH_ATTEMPTS):
            client.send(frame(claim(client)))
        answers.add((client.received, client.closed, client.wire.aborted()))
    assert answers == {(frame(FAIL) * MAX_AUTH_ATTEMPTS, True, False)}


def test_three_failures(rig: Rig) -> None:
    """A-11: the third failure closes the link after its answer; the server does not read a fourth AUTH."""
    client = rig.connect()
    for attempt in range(MAX_AUTH_ATTEMPTS):
        assert not client.closed
        client.send(frame(client.auth(rig.pin, which=1)))
        assert client.frames() == [FAIL], attempt
    assert client.closed
    client.send(frame(client.auth(rig.pin)))
    assert client.received == b""
    assert len(rig.checker.asked) == MAX_AUTH_ATTEMPTS
    rig.clock.advance(CLOSE_SECONDS)
    assert client.wire.aborted()
    client.exchange()
    assert (rig.links, rig.waiting) == (set(), 0)


def test_success_after_two_failures(rig: Rig) -> None:
    """A-11: a login after two failures succeeds."""
    client = rig.connect()
    for _ in range(MAX_AUTH_ATTEMPTS - 1):
        client.send(frame(client.auth(rig.pin, which=1)))
    client.frames()
    client.send(frame(client.auth(rig.pin)))
    assert client.frames()[0][0] == AuthOk.declaration.number
    assert rig.waiting == 0


def test_the_refusal_in_the_log_is_one_safe_line(rig: Rig, logged: list[LogEvent]) -> None:
    """A name from outside is written without its control characters, whatever the reason."""
    rig.checker.answer = lambda: fail(UnauthorizedLogin("no\nsuch \x1b[31muser"))
    client = rig.connect()
    client.send(frame(client.auth(rig.pin, user="\x1b]0;x\x07\nroot")))
    (event,) = [event for event in logged if "refused" in (event["log_format"] or "")]
    assert all(character.isprintable() for character in str(event["reason"]))


def test_the_session_has_a_name_of_its_own(rig: Rig) -> None:
    """Every session has another identifier, and the same instance."""
    answers = []
    for _ in range(2):
        client = rig.connect()
        client.send(frame(client.auth(rig.pin)))
        (payload,) = client.frames()
        answers.append(AuthOk.parse(payload[1:]))
    one, other = answers
    assert isinstance(one, AuthOk)
    assert isinstance(other, AuthOk)
    assert one.session != other.session
    assert one.instance == other.instance == "one run"


def test_no_phase_knows_the_other_ones_messages() -> None:
    """S-02: the samples above are all messages of the session."""
    first = (Auth, AuthOk, AuthFail, Resume, ResumeOk, ResumeFail, Unavailable)
    assert {kind.declaration.phase for kind in SAMPLES if kind not in first} == {Phase.SESSION}
    assert Exit in SAMPLES
