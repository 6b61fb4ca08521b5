"""The test vectors: this core agrees with every one of them, byte by byte."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.core.pair import CLAIM, SESSION_ID
from tests.core.vectors import BY_NAME, build, load, say, wire_name
from twisted_rsh.core.bodies import Message
from twisted_rsh.core.codec import Decoder, encode, encode_control
from twisted_rsh.core.errors import ErrorCode, RemoteProtocolError
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.login import ClientLogin, ClientResume, ServerLogin
from twisted_rsh.core.messages import MESSAGES, Auth, AuthFail, AuthOk, Resume, ResumeFail
from twisted_rsh.core.roles import Phase, Role
from twisted_rsh.core.session import Session

Vector = dict[str, Any]

MESSAGE_VECTORS: list[Vector] = load("messages")["messages"]
IN_PARTS: list[Vector] = load("messages")["in_parts"]
MALFORMED: Vector = load("malformed")
SESSION: Vector = load("session")


def logged_in(limits: SessionLimits) -> dict[Role, tuple[ClientLogin, Session] | tuple[ServerLogin, Session]]:
    """Return both sides, each with its login and its session."""
    client, server = ClientLogin(SessionLimits()), ServerLogin()
    server.receive_frame(client.ask(CLAIM))
    payload, server_session = server.accept(SESSION_ID, "one run", limits, 0.0)
    begun = client.receive_frame(payload, 0.0)
    assert isinstance(begun, tuple)
    return {Role.CLIENT: (client, begun[1]), Role.SERVER: (server, server_session)}


@pytest.mark.parametrize("vector", MESSAGE_VECTORS, ids=lambda vector: vector["name"])
def test_messages(vector: Vector) -> None:
    """Each message is written as its vector says, and read as its fields say."""
    message = build(vector["name"], vector["fields"])
    declaration, sender = message.declaration, Role(vector["sender"])
    assert declaration.phase is Phase(vector["phase"])
    assert sender in declaration.senders
    payload = bytes.fromhex(vector["payload"])
    if declaration.sequenced:
        assert encode_control(message, vector["sequence"]) == [payload]
    else:
        assert vector["sequence"] is None
        assert encode(message) == payload
    assert bytes.fromhex(vector["frame"]) == len(payload).to_bytes(4, "big") + payload
    assert Decoder(sender.peer, declaration.phase).decode(payload) == (vector["sequence"], message)


def test_every_message_has_a_vector() -> None:
    """Every message has a vector from every side that may send it."""
    described = {(vector["name"], vector["sender"]) for vector in MESSAGE_VECTORS}
    for message in MESSAGES:
        senders = {sender for name, sender in described if name == wire_name(message)}
        assert senders == {role.value for role in message.declaration.senders}


@pytest.mark.parametrize("vector", IN_PARTS, ids=lambda vector: vector["comment"])
def test_messages_in_parts(vector: Vector) -> None:
    """The last payload completes the message."""
    decoder = Decoder(Role(vector["sender"]).peer, Phase.SESSION)
    *parts, last = [decoder.decode(bytes.fromhex(payload))[1] for payload in vector["payloads"]]
    assert {wire_name(type(part)) for part in parts} == {"PART"}
    assert last == build(vector["name"], vector["fields"])


def server_before(before: list[Vector]) -> Callable[[bytes], object]:
    """Return the method that takes a frame, of a server's login that has received and sent these frames."""
    login = ServerLogin()
    for earlier in before:
        given = bytes.fromhex(earlier["payload"])
        if Role(earlier["sender"]) is Role.CLIENT:
            login.receive_frame(given)
            continue
        _, answer = Decoder(Role.CLIENT, Phase.LOGIN).decode(given)
        assert isinstance(answer, AuthFail | ResumeFail)
        refused = login.refuse() if isinstance(answer, AuthFail) else login.refuse_resume(answer.instance)
        assert refused == given
    return login.receive_frame


def client_before(before: list[Vector]) -> Callable[[bytes], object]:
    """Return a call that takes a frame, of a client's login that has sent this frame, or an AUTH."""
    asked = [Decoder(Role.SERVER, Phase.LOGIN).decode(bytes.fromhex(said["payload"]))[1] for said in before]
    if asked and isinstance(asked[0], Resume):
        resume = ClientResume()
        assert resume.ask(asked[0]).hex() == before[0]["payload"]
        return resume.receive_frame
    login = ClientLogin(SessionLimits())
    login.ask(CLAIM)
    return lambda payload: login.receive_frame(payload, 0.0)


@pytest.mark.parametrize("vector", MALFORMED["malformed"], ids=lambda vector: f"{vector['receiver']}: {vector['name']}")
def test_malformed(vector: Vector) -> None:
    """F-10, H-13: each vector is a breach of the kind that it names, and the frames before it are none."""
    receiver, payload = Role(vector["receiver"]), bytes.fromhex(vector["payload"])
    if Phase(vector["phase"]) is Phase.LOGIN:
        feed = server_before(vector["before"]) if receiver is Role.SERVER else client_before(vector["before"])
        with pytest.raises(RemoteProtocolError) as error:
            feed(payload)
        assert error.value.code is ErrorCode(vector["error"])
        return
    limits = SessionLimits(window=MALFORMED["window"], max_channels=MALFORMED["max_channels"])
    session = logged_in(limits)[receiver][1]
    for earlier in vector["before"]:
        sender, given = Role(earlier["sender"]), bytes.fromhex(earlier["payload"])
        if sender is receiver:
            say(session, Decoder(sender.peer, Phase.SESSION).decode(given)[1], {}, 0.0)
            assert session.frames_to_send() == [given]
        else:
            session.receive_frame(given, 0.0)
    with pytest.raises(RemoteProtocolError) as error:
        session.receive_frame(payload, 0.0)
    assert error.value.code is ErrorCode(vector["error"])


def test_every_kind_of_breach_has_a_vector() -> None:
    """Each error code occurs in a vector."""
    assert {vector["error"] for vector in MALFORMED["malformed"]} == {code.value for code in ErrorCode}


def test_the_session() -> None:
    """Two cores that send the vector's messages write exactly its payloads, from the login to the end."""
    limits = SessionLimits(window=SESSION["window"], max_channels=SESSION["max_channels"], detach_seconds=0)
    asked, answered, *steps = SESSION["steps"]
    client, server = ClientLogin(SessionLimits()), ServerLogin()
    claim = Auth.parse(bytes.fromhex(asked["payload"])[1:])
    assert isinstance(claim, Auth)
    assert client.ask(claim).hex() == asked["payload"]
    server.receive_frame(bytes.fromhex(asked["payload"]))
    facts = AuthOk.parse(bytes.fromhex(answered["payload"])[1:])
    assert isinstance(facts, AuthOk)
    answer, server_session = server.accept(facts.session, facts.instance, limits, 0.0)
    assert answer.hex() == answered["payload"]
    begun = client.receive_frame(answer, 0.0)
    assert isinstance(begun, tuple)
    sides: dict[Role, Session] = {Role.CLIENT: begun[1], Role.SERVER: server_session}
    consumed: dict[Role, dict[tuple[int, int], int]] = {role: {} for role in Role}
    written: dict[Role, list[str]] = {role: [] for role in Role}
    for step in steps:
        sender, payload = Role(step["sender"]), bytes.fromhex(step["payload"])
        sequence, message = Decoder(sender.peer, Phase.SESSION).decode(payload)
        assert (step["name"], step["sequence"]) == (wire_name(type(message)), sequence)
        say(sides[sender], message, consumed[sender], step["at"])
        written[sender] += [frame.hex() for frame in sides[sender].frames_to_send()]
        assert written[sender].pop(0) == step["payload"]
        sides[sender.peer].receive_frame(payload, step["at"])
    assert sides[Role.CLIENT].goodbye_sent
    assert not any(written.values())
    assert all(not side._channels for side in sides.values())


def test_the_session_shows_nearly_everything() -> None:
    """Only these messages are missing from the session; other vectors have them."""
    shown = {step["name"] for step in SESSION["steps"]}
    assert BY_NAME.keys() - shown == {
        "AUTH_FAIL",
        "INSPECT",
        "INSPECTED",
        "PART",
        "REPLY",
        "RESUME",
        "RESUME_FAIL",
        "RESUME_OK",
        "RUN",
        "SUSPENDED",
        "UNAVAILABLE",
    }


def test_names_are_those_of_the_protocol() -> None:
    """A class and a message have one name in two spellings."""
    classes: list[type[Message]] = [Auth, AuthOk]
    assert [wire_name(message) for message in classes] == ["AUTH", "AUTH_OK"]
