"""The login, state by state."""

from __future__ import annotations

import pytest

from tests.core.pair import CLAIM, SESSION_ID, SMALL
from tests.core.samples import SAMPLES
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.codec import encode, encode_control
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.limits import MAX_AUTH_ATTEMPTS, MAX_LOGIN_FRAME_BYTES, MAX_UNAVAILABLE_BYTES, SessionLimits
from twisted_rsh.core.login import ClientLogin, ClientResume, LoginState, ServerLogin
from twisted_rsh.core.messages import (
    MESSAGES,
    Auth,
    AuthFail,
    AuthOk,
    Open,
    Ping,
    Positions,
    Resume,
    ResumeFail,
    ResumeOk,
    Unavailable,
)
from twisted_rsh.core.roles import Phase, Role

RESUME = Resume(session=SESSION_ID, attempt=3, proof=bytes(32), positions=Positions(5))
RESUMED = ResumeOk(proof=bytes(32), positions=Positions(7))
POST_LOGIN = [message for message in MESSAGES if message.declaration.phase is Phase.SESSION]
OK = AuthOk(session=SESSION_ID, instance="one run", window=8192, max_channels=3, detach_seconds=60, run=True)


def payload_of(message: type[Message]) -> bytes:
    """Return the payload of an ordinary message of this class."""
    sample = SAMPLES[message]
    return encode_control(sample, 0)[0] if message.declaration.sequenced else encode(sample)


def asked() -> ServerLogin:
    """Return a server that has been asked."""
    login = ServerLogin()
    login.receive_frame(encode(CLAIM))
    return login


def breach(login: ServerLogin | ClientLogin | ClientResume, payload: bytes) -> ErrorCode:
    """Feed a breach; return its kind."""
    with pytest.raises(RemoteProtocolError) as error:
        if not isinstance(login, ClientLogin):
            login.receive_frame(payload)
        else:
            login.receive_frame(payload, 0.0)
    return error.value.code


def test_a_login() -> None:
    """A login is AUTH and AUTH_OK; both sides then have a session with the server's bounds and their own keepalive."""
    client, server = ClientLogin(SessionLimits(window=4096, keepalive_interval=7.0)), ServerLogin()
    assert (client.state, server.state) == (LoginState.SILENT, LoginState.SILENT)
    assert server.receive_frame(client.ask(CLAIM)) == CLAIM
    assert (client.state, server.state) == (LoginState.ASKED, LoginState.ASKED)
    limits = SessionLimits(window=8192, max_channels=3, detach_seconds=60)
    payload, server_session = server.accept(SESSION_ID, "one run", limits, 100.0)
    begun = client.receive_frame(payload, 100.0)
    assert isinstance(begun, tuple)
    assert begun[0] == OK
    assert (client.state, server.state) == (LoginState.OVER, LoginState.OVER)
    assert server_session.limits == limits
    assert begun[1].limits == SessionLimits(window=8192, max_channels=3, keepalive_interval=7.0, detach_seconds=60)
    assert (server_session.role, begun[1].role) == (Role.SERVER, Role.CLIENT)
    assert (server_session.deadline, begun[1].deadline) == (115.0, 107.0)


def test_open_first() -> None:
    """S-01: an OPEN in place of AUTH is a breach, and there is no session that could run anything."""
    login = ServerLogin()
    assert breach(login, payload_of(Open)) is ErrorCode.UNEXPECTED_MESSAGE
    assert login.state is LoginState.SILENT
    with pytest.raises(LocalProtocolError):
        login.accept(SESSION_ID, "one run", SMALL, 0.0)


@pytest.mark.parametrize("message", POST_LOGIN)
def test_session_messages_before_the_login(message: type[Message]) -> None:
    """S-02: every message of the session is a breach before the login, and makes no session."""
    login = ServerLogin()
    assert breach(login, payload_of(message)) is ErrorCode.UNEXPECTED_MESSAGE
    assert login.state is LoginState.SILENT
    with pytest.raises(LocalProtocolError):
        login.accept(SESSION_ID, "one run", SMALL, 0.0)


@pytest.mark.parametrize("message", [AuthOk, AuthFail, ResumeOk, ResumeFail, Unavailable, *POST_LOGIN])
def test_only_the_client_asks(message: type[Message]) -> None:
    """S-03: a server accepts no message of the login but AUTH and RESUME."""
    assert breach(ServerLogin(), payload_of(message)) is ErrorCode.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("message", [Auth, Resume, ResumeOk, ResumeFail, *POST_LOGIN])
def test_only_the_server_answers(message: type[Message]) -> None:
    """S-04: a client that logs in accepts only the answer."""
    login = ClientLogin(SMALL)
    login.ask(CLAIM)
    assert breach(login, payload_of(message)) is ErrorCode.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("message", MESSAGES)
def test_nothing_while_the_check_is_pending(message: type[Message]) -> None:
    """S-07: no message is legal while the server checks an AUTH, not even another AUTH."""
    login = asked()
    assert breach(login, payload_of(message)) is ErrorCode.UNEXPECTED_MESSAGE
    assert login.state is LoginState.ASKED


@pytest.mark.parametrize("message", MESSAGES)
def test_nothing_after_the_login(message: type[Message]) -> None:
    """S-06: the login accepts nothing once it is over, and the session knows no AUTH."""
    login = asked()
    _, session = login.accept(SESSION_ID, "one run", SMALL, 0.0)
    assert breach(login, payload_of(message)) is ErrorCode.UNEXPECTED_MESSAGE
    with pytest.raises(RemoteProtocolError) as error:
        session.receive_frame(payload_of(Auth), 0.0)
    assert error.value.code is ErrorCode.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("answer", [AuthOk, AuthFail, Unavailable])
def test_an_answer_without_a_claim(answer: type[Message]) -> None:
    """S-04: a client that has sent no AUTH, and one that has its answer, accept no answer."""
    login = ClientLogin(SMALL)
    assert breach(login, payload_of(answer)) is ErrorCode.UNEXPECTED_MESSAGE
    login.ask(CLAIM)
    login.receive_frame(payload_of(AuthOk), 0.0)
    assert breach(login, payload_of(answer)) is ErrorCode.UNEXPECTED_MESSAGE


def test_ping_before_the_login() -> None:
    """S-14: the first ping is a breach already, so nothing can be queued (CVE-2025-26466)."""
    login = ServerLogin()
    for _ in range(1000):
        assert breach(login, encode(Ping(0))) is ErrorCode.UNEXPECTED_MESSAGE
    assert login.state is LoginState.SILENT


@pytest.mark.parametrize("side", [ServerLogin(), ClientLogin(SMALL)])
def test_empty_frames(side: ServerLogin | ClientLogin) -> None:
    """F-01: an empty frame is a breach during the login."""
    assert breach(side, b"") is ErrorCode.FRAME_SIZE


def test_three_attempts() -> None:
    """A server refuses three times, each time with the same byte, and accepts nothing after the last refusal."""
    client, server = ClientLogin(SMALL), ServerLogin()
    for attempt in range(MAX_AUTH_ATTEMPTS):
        server.receive_frame(client.ask(CLAIM))
        answer = server.refuse()
        assert answer == b"\x03"
        assert client.receive_frame(answer, 0.0) is None
        assert client.state is LoginState.SILENT
        last = attempt == MAX_AUTH_ATTEMPTS - 1
        assert server.state is (LoginState.OVER if last else LoginState.SILENT)
    assert breach(server, client.ask(CLAIM)) is ErrorCode.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("text", ["", "\0" * MAX_UNAVAILABLE_BYTES])
def test_not_now(text: str) -> None:
    """UNAVAILABLE is an answer of its own to AUTH and to RESUME, fits a frame of the login, and is the last word."""
    client, server = ClientLogin(SMALL), ServerLogin()
    server.receive_frame(client.ask(CLAIM))
    payload = server.put_off(text)
    assert len(payload) <= MAX_LOGIN_FRAME_BYTES
    assert client.receive_frame(payload, 0.0) == Unavailable(text=text)
    assert (client.state, server.state) == (LoginState.OVER, LoginState.OVER)
    resuming, server = ClientResume(), ServerLogin()
    server.receive_frame(resuming.ask(RESUME))
    assert resuming.receive_frame(server.put_off(text)) == Unavailable(text=text)
    assert (resuming.state, server.state) == (LoginState.OVER, LoginState.OVER)


def test_not_now_out_of_turn() -> None:
    """UNAVAILABLE answers nothing but an AUTH or a RESUME, and a text that is too long changes nothing."""
    login = ServerLogin()
    with pytest.raises(LocalProtocolError):
        login.put_off("full")
    login.receive_frame(encode(CLAIM))
    with pytest.raises(LocalProtocolError) as error:
        login.put_off("x" * (MAX_UNAVAILABLE_BYTES + 1))
    assert error.value.code is ErrorCode.MALFORMED_MESSAGE
    login.put_off("full")
    with pytest.raises(LocalProtocolError):
        login.put_off("full")


def test_success_at_the_last_attempt() -> None:
    """A refusal does not spoil the next attempt."""
    login = asked()
    for _ in range(MAX_AUTH_ATTEMPTS - 1):
        login.refuse()
        login.receive_frame(encode(CLAIM))
    login.accept(SESSION_ID, "one run", SMALL, 0.0)
    assert login.state is LoginState.OVER


def test_answers_out_of_turn() -> None:
    """A server answers once, and only an AUTH."""
    login = ServerLogin()
    for _ in range(2):
        with pytest.raises(LocalProtocolError):
            login.refuse()
        with pytest.raises(LocalProtocolError):
            login.accept(SESSION_ID, "one run", SMALL, 0.0)
        if login.state is LoginState.SILENT:
            login.receive_frame(encode(CLAIM))
            login.accept(SESSION_ID, "one run", SMALL, 0.0)


def test_asking_out_of_turn() -> None:
    """A client asks once and waits."""
    login = ClientLogin(SMALL)
    login.ask(CLAIM)
    with pytest.raises(LocalProtocolError) as error:
        login.ask(CLAIM)
    assert error.value.code is ErrorCode.UNEXPECTED_MESSAGE


def test_facts_out_of_bounds_change_nothing() -> None:
    """A server that could not announce its limits may still refuse."""
    login = asked()
    for session, limits in ((b"short", SMALL), (SESSION_ID, SessionLimits(window=1))):
        with pytest.raises(LocalProtocolError) as error:
            login.accept(session, "one run", limits, 0.0)
        assert error.value.code is ErrorCode.MALFORMED_MESSAGE
    assert login.state is LoginState.ASKED
    login.refuse()


def test_the_longest_claim() -> None:
    """F-13: an AUTH of exactly a login frame is sent; one byte more is refused before the wire."""
    for spare in (0, 1):
        login = ClientLogin(SMALL)
        # In base64 three bytes take four; the user name takes up the rest.
        empty = Auth(user="", algorithm="a", key=b"", signature=b"")
        length = MAX_LOGIN_FRAME_BYTES + spare - len(encode(empty))
        claim = Auth(user="x" * (length % 4), algorithm="a", key=bytes(length // 4 * 3), signature=b"")
        assert len(encode(claim)) == MAX_LOGIN_FRAME_BYTES + spare
        if not spare:
            assert len(login.ask(claim)) == MAX_LOGIN_FRAME_BYTES
            continue
        with pytest.raises(LocalProtocolError) as error:
            login.ask(claim)
        assert error.value.code is ErrorCode.FRAME_SIZE
        assert login.state is LoginState.SILENT


def test_malformed_claims() -> None:
    """F-10: an AUTH that cannot be read is a breach, and there is nothing to answer."""
    login = ServerLogin()
    for body in (b"", b"{}", b'{"user":"alice","algorithm":"ssh-ed25519","key":"!","signature":""}'):
        assert breach(login, b"\x01" + body) is ErrorCode.MALFORMED_MESSAGE
    assert login.state is LoginState.SILENT


def test_a_resume() -> None:
    """A RESUME and its answer stand in place of a login."""
    client, server = ClientResume(), ServerLogin()
    assert server.receive_frame(client.ask(RESUME)) == RESUME
    assert (client.state, server.state) == (LoginState.RESUMING, LoginState.RESUMING)
    assert client.receive_frame(server.accept_resume(RESUMED)) == RESUMED
    assert (client.state, server.state) == (LoginState.OVER, LoginState.OVER)


def test_a_refused_resume() -> None:
    """RESUME_FAIL is the same for every reason, and names the run of the server."""
    client, server = ClientResume(), ServerLogin()
    server.receive_frame(client.ask(RESUME))
    assert client.receive_frame(server.refuse_resume("another run")) == ResumeFail(instance="another run")
    assert (client.state, server.state) == (LoginState.OVER, LoginState.OVER)


@pytest.mark.parametrize("message", MESSAGES)
def test_nothing_while_the_resume_is_checked(message: type[Message]) -> None:
    """S-08: everything behind RESUME is a breach, AUTH above all, before the answer and after it."""
    for answered in (None, True, False):
        login = ServerLogin()
        login.receive_frame(encode(RESUME))
        if answered is not None:
            _ = login.accept_resume(RESUMED) if answered else login.refuse_resume("one run")
        state = login.state
        assert breach(login, payload_of(message)) is ErrorCode.UNEXPECTED_MESSAGE
        assert login.state is state


def test_resume_behind_auth() -> None:
    """S-08: a RESUME behind an AUTH is a breach, whether the AUTH is being checked, was refused, or was accepted."""
    login = asked()
    assert breach(login, encode(RESUME)) is ErrorCode.UNEXPECTED_MESSAGE
    login.refuse()
    assert breach(login, encode(RESUME)) is ErrorCode.UNEXPECTED_MESSAGE
    login.receive_frame(encode(CLAIM))
    _, session = login.accept(SESSION_ID, "one run", SMALL, 0.0)
    assert breach(login, encode(RESUME)) is ErrorCode.UNEXPECTED_MESSAGE
    with pytest.raises(RemoteProtocolError) as error:
        session.receive_frame(encode(RESUME), 0.0)
    assert error.value.code is ErrorCode.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("message", MESSAGES)
def test_only_an_answer_to_a_resume(message: type[Message]) -> None:
    """S-04: a client that resumes accepts RESUME_OK, RESUME_FAIL or UNAVAILABLE, once, and nothing before RESUME."""
    client = ClientResume()
    assert breach(client, payload_of(message)) is ErrorCode.UNEXPECTED_MESSAGE
    client.ask(RESUME)
    if message in (ResumeOk, ResumeFail, Unavailable):
        assert client.receive_frame(payload_of(message)) == SAMPLES[message]
        assert client.state is LoginState.OVER
    assert breach(client, payload_of(message)) is ErrorCode.UNEXPECTED_MESSAGE


def test_each_claim_has_its_own_answer() -> None:
    """A server cannot answer a RESUME with AUTH_OK, nor an AUTH with RESUME_OK."""
    login = ServerLogin()
    login.receive_frame(encode(RESUME))
    for call in (login.refuse, lambda: login.accept(SESSION_ID, "one run", SMALL, 0.0)):
        with pytest.raises(LocalProtocolError):
            call()
    login.accept_resume(RESUMED)
    for other in (login, asked()):
        with pytest.raises(LocalProtocolError):
            other.accept_resume(RESUMED)
        with pytest.raises(LocalProtocolError):
            other.refuse_resume("one run")


def test_resuming_twice_over_one_link() -> None:
    """A client sends one RESUME over a link."""
    client = ClientResume()
    client.ask(RESUME)
    with pytest.raises(LocalProtocolError) as error:
        client.ask(RESUME)
    assert error.value.code is ErrorCode.UNEXPECTED_MESSAGE


@pytest.mark.parametrize("side", [ServerLogin(), ClientResume()])
def test_empty_frames_in_a_resume(side: ServerLogin | ClientResume) -> None:
    """F-01: an empty frame is a breach during a resume, too."""
    assert breach(side, b"") is ErrorCode.FRAME_SIZE
