"""Every bound of the protocol, tried at the bound and one past it, where it acts.

The table below has a probe for each constant of :mod:`twisted_rsh.core.limits`; a constant without one fails.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from twisted.internet.task import Clock

from tests.core.pair import CLAIM, SESSION_ID, SMALL, TRUE, Pair, log_in
from tests.execution.test_plan import plan
from tests.link.recorder import over_tls
from tests.link.wire import frame
from twisted_rsh.core import limits
from twisted_rsh.core.codec import Decoder, encode, encode_control
from twisted_rsh.core.endings import RefusalReason
from twisted_rsh.core.errors import LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.limits import (
    MAX_LOGIN_FRAME_BYTES,
    MAX_PART_BYTES,
    MAX_REFUSED_CHANNELS,
    MAX_UNACKNOWLEDGED,
    MAX_WINDOW,
    MIN_WINDOW,
    SessionLimits,
)
from twisted_rsh.core.login import ServerLogin
from twisted_rsh.core.messages import Ack, Close, Data, Open, Reply
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Phase, Role, Stream
from twisted_rsh.core.sequence import ControlInbox
from twisted_rsh.core.session import Session
from twisted_rsh.core.windows import Reserve, Window
from twisted_rsh.execution.shells.plan import command_text
from twisted_rsh.interfaces import JobRefused
from twisted_rsh.server.invitations import Invitations
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.invitation import invitation_name, invitation_proof

SERVER = (Role.SERVER, Phase.SESSION)


def is_taken(act: Callable[[], object]) -> bool:
    """Tell whether our side accepts an act of the peer, instead of raising a breach."""
    try:
        act()
    except RemoteProtocolError:
        return False
    return True


def is_run(request: JobRequest) -> bool:
    """Tell whether a server would run a request; the only refusal that it may raise is TOO_LONG."""
    try:
        plan(request)
    except JobRefused as refused:
        assert refused.reason is RefusalReason.TOO_LONG
        return False
    return True


def binary(number: int, layout: str, *values: int | bytes) -> bytes:
    """Return the payload of a message that is packed, whatever its fields."""
    return bytes([number]) + struct.pack(layout, *values)


def all_of(*answers: bool) -> bool:
    """Return the answer of several probes of one bound, which must agree."""
    assert len(set(answers)) == 1
    return answers[0]


def control(number: int, **fields: object) -> bytes:
    """Return the payload of a control message, whatever its fields."""
    return bytes([number]) + bytes(8) + json.dumps(fields).encode()


def decodes(payload: bytes, role: Role = Role.SERVER, phase: Phase = Phase.SESSION) -> bool:
    """Tell whether a side takes a payload."""
    return is_taken(lambda: Decoder(role, phase).decode(payload))


def welcome(**change: object) -> bytes:
    """Return the payload of an AUTH_OK with one field changed."""
    fields = {"session": "AAAAAAAAAAAAAAAAAAAAAA==", "instance": "x", "window": 4096, "max_channels": 1} | change
    return b"\x02" + json.dumps(fields).encode()


def welcomes(**change: object) -> bool:
    """Tell whether a client takes an AUTH_OK with one field changed."""
    return decodes(welcome(**change), Role.CLIENT, Phase.LOGIN)


def acknowledges(count: int) -> bool:
    """Tell whether so many messages can go without an acknowledgement."""
    pair = Pair()
    channels = [pair.client.open(TRUE) for _ in range(count)]
    pair.flush(Role.CLIENT)
    pair.deliver(Role.SERVER)
    assert len(channels) == count
    return not any(isinstance(message, Ack) for message in pair.written(Role.SERVER))


def answers_wait(size: int) -> bool:
    """Tell whether this many answers for each channel can wait for a client that acknowledges none."""
    pair = Pair(SessionLimits(window=MIN_WINDOW, max_channels=1))
    server = pair.server
    pair.hear(Role.SERVER, Open(channel=1, request=JobRequest(command="true")))

    def act() -> None:
        number = 1
        # Each is refused, which is one answer, and closed by the client, so that none is left.
        while server._outbox.waiting < size * (1 + MAX_REFUSED_CHANNELS):
            number += 1
            pair.hear(Role.SERVER, Open(channel=number, request=JobRequest(command="true")))
            pair.hear(Role.SERVER, Close(number))
            server.frames_to_send()
        pair.hear(Role.SERVER, Open(channel=number + 1, request=JobRequest(command="true")))

    return is_taken(act)


def attempts(count: int) -> bool:
    """Tell whether a client may try to log in this many times."""
    login = ServerLogin()

    def act() -> None:
        for _ in range(count):
            login.receive_frame(encode(CLAIM))
            login.refuse()

    return is_taken(act)


def claim_invited(size: int) -> bytes:
    """Return the payload of an AUTH with the name of an invitation of so many bytes."""
    payload = encode(CLAIM)
    return payload[:1] + json.dumps({**json.loads(payload[1:]), "invitation": text(size)}).encode()


def announces(size: int) -> bool:
    """Tell whether a client takes an AUTH_OK whose next key and its signatures have so many bytes each."""
    members = {"session": text(16), "instance": "i", "window": MIN_WINDOW, "max_channels": 1}
    keys = dict.fromkeys(("next_key", "next_key_proof", "next_key_signature"), text(size))
    payload = b"\x02" + json.dumps(members | keys).encode()
    return len(payload) <= MAX_LOGIN_FRAME_BYTES and decodes(payload, Role.CLIENT, Phase.LOGIN)


def invites(count: int) -> bool:
    """Tell whether an invitation is taken at this attempt, after wrong proofs."""
    invitations = Invitations(Clock(), ConfigFolders("/nowhere", "/nowhere"))
    secret = invitations.make(1)
    claim: dict[str, Any] = {"exporter": b"e", "server_spki_sha256": b"s", "user": "u", "key_blob": b"k"}
    name, proof = invitation_name(secret), invitation_proof(secret, **claim)
    for _ in range(count - 1):
        invitations.take(name, b"wrong", **claim)
    return invitations.take(name, proof, **claim)


def frame_arrives(size: int, *, in_session: bool) -> bool:
    """Tell whether a frame of so many bytes is delivered."""
    link, client = over_tls()
    if in_session:
        link.session_began()
    client.send(frame(bytes(size)))
    assert client.wire.aborted() == (link.frames == [])
    return link.frames == [bytes(size)]


def in_parts(size: int) -> bool:
    """Tell whether a control message of so many bytes can be put together of its parts."""

    def act() -> None:
        decoder = Decoder(*SERVER)
        for start in range(0, size, MAX_PART_BYTES):
            decoder.decode(binary(0x20, "!Q", 0) + bytes(min(MAX_PART_BYTES, size - start)))

    return is_taken(act)


def under_way(count: int) -> bool:
    """Tell whether so many control messages may arrive without an acknowledgement of ours."""
    inbox = ControlInbox()

    def act() -> None:
        for number in range(count):
            inbox.take(number)

    return is_taken(act)


def unclosed(count: int) -> bool:
    """Tell whether so many refused channels may be left unclosed."""
    pair = Pair()

    def act() -> None:
        for number in range(1, SMALL.max_channels + count + 1):
            pair.hear(Role.SERVER, Open(channel=number, request=JobRequest(command="true")))
            pair.server.frames_to_send()
            if number > SMALL.max_channels:
                pair.hear(Role.SERVER, Ack(number - SMALL.max_channels))

    return is_taken(act)


def under_way_by_default(size: int) -> bool:
    """Tell whether this many bytes of a stream may arrive unconsumed when no window is configured."""
    _, server = log_in(SessionLimits())
    session: Session = server
    session.receive_frame(encode_control(Open(channel=1, request=JobRequest(command="true")), 0)[0], 0.0)
    server.accept(1, "utf-8")

    def act() -> None:
        for start in range(0, size, limits.MAX_DATA_BYTES):
            piece = bytes(min(limits.MAX_DATA_BYTES, size - start))
            session.receive_frame(encode(Data(1, Stream.STDIN, start, piece)), 0.0)

    return is_taken(act)


def first_window(count: int) -> bool:
    """Tell whether a stream has so many windows of the start once its first credit has come."""
    stream = Window(MIN_WINDOW, Reserve(2 * MAX_WINDOW), starts_large=True)
    return stream.fit(1, 1, MIN_WINDOW, 0.0, None) > count * MIN_WINDOW


def window_after(windows: int, seconds: float) -> Window:
    """Return a window of that many windows, each used up by a reader in the same time, with round trips of a second."""
    window = Window(MIN_WINDOW, Reserve(2 * MAX_WINDOW), starts_large=False)
    received = limit = 0
    for number in range(windows + 1):
        limit = window.fit(received, received, limit, number * seconds, 1.0)
        received += window.size
    return window


def stays_large(round_trips: int) -> bool:
    """Tell whether a window that has grown is not halved when it is used up in that many round trips."""
    window = window_after(4, 1.0)
    before = window.size
    window.fit(10**6, 10**6, 0, 4.0 + round_trips, 1.0)
    return window.size == before


def resumes(channels: int) -> bool:
    """Tell whether a server takes a RESUME of so many channels, and of as many refused ones as there may be."""
    rows = b"".join(struct.pack("!IQQ", number + 1, 0, 0) for number in range(channels + MAX_REFUSED_CHANNELS))
    payload = binary(0x04, "!16sQ32sQ", bytes(16), 1, bytes(32), 0) + rows
    assert len(payload) <= limits.MAX_LOGIN_FRAME_BYTES
    return decodes(payload, phase=Phase.LOGIN)


def repeated_at_once(size: int) -> bool:
    """Tell whether a resume repeats so many bytes in one go."""
    pair = Pair(SessionLimits(window=MAX_WINDOW))
    channel = pair.open()
    head = Data.layout.size + 1
    for start in range(0, size, limits.REPLAY_BYTES):
        left = min(size - start, limits.REPLAY_BYTES)
        while left > 0:
            piece = min(left - head, limits.MAX_DATA_BYTES) if left > head else left
            pair.client.send_data(channel, Stream.STDIN, bytes(piece))
            left -= piece + head
    pair.client.link_lost()
    pair.client.resume(pair.server.positions(), 0.0)
    pair.client.frames_to_send()
    return not pair.client.replaying


def replies(size: int) -> bool:
    """Tell whether REPLY carries so many bytes of output, and is taken with them."""
    head = binary(0x2E, "!QIBIQQQQBHH", 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, size - 1)
    taken = decodes(head + bytes(size), Role.CLIENT)
    try:
        encode_control(Reply(channel=1, encoding="", stdout=bytes(size - 1), stderr=b"x"), 0)
    except LocalProtocolError:
        return all_of(taken, False)
    return all_of(taken, True)


def names_a_code_page(size: int) -> bool:
    """Tell whether OPENED and REPLY are taken with the name of a code page that has so many bytes."""
    name = "x" * size
    reply = binary(0x2E, "!QIBIQQQQBHH", 0, 1, 0, 0, 0, 0, 0, 0, size, 0, 0) + name.encode()
    return all_of(decodes(control(0x22, channel=1, encoding=name), Role.CLIENT), decodes(reply, Role.CLIENT))


def in_a_shell(size: int) -> bool:
    """Tell whether a persistent shell takes a command of so many bytes."""
    try:
        command_text(JobRequest(command="x" * size, in_shell=1), "utf-8")
    except JobRefused as refused:
        assert refused.reason is RefusalReason.TOO_LONG
        return False
    return True


def modes_looked_at(count: int) -> bool:
    """Tell whether a decoder looks at this many settings of a terminal; their names are unknown, so it refuses them."""
    modes = {f"mode-{number}": 0 for number in range(count)}
    terminal = {"term": "x", "columns": 1, "rows": 1, "modes": modes, "separate_stderr": False}
    with pytest.raises(RemoteProtocolError) as error:
        Decoder(*SERVER).decode(control(0x21, channel=1, command="true", terminal=terminal))
    assert ("not a known name" in error.value.detail) != (
        f"more than {limits.MAX_TERMINAL_MODES}" in error.value.detail
    )
    return "not a known name" in error.value.detail


def environment(count: int) -> JobRequest:
    """Return a request with so many additions to its environment."""
    return JobRequest(command="true", environment=tuple((f"N{number}", "") for number in range(count)))


def open_of(command: str) -> Open:
    """Return an OPEN of a command."""
    return Open(channel=1, request=JobRequest(command=command))


def later(value: object) -> bytes:
    """Return the payload of an OPEN that has three members, one of which no version knows."""
    return control(0x21, channel=1, command="true", later=value)


def terminal(**change: object) -> bytes:
    """Return the payload of an OPEN with a terminal."""
    fields = {"term": "x", "columns": 1, "rows": 1, "modes": {}, "separate_stderr": False} | change
    return control(0x21, channel=1, command="true", terminal=fields)


def inspected(count: int = 1, command: str = "x") -> bytes:
    """Return the payload of an INSPECTED with so many jobs of this command."""
    return control(0x2C, channel=1, jobs=[{"pid": 1, "state": "running", "command": command}] * count)


def exited(**more: object) -> bytes:
    """Return the payload of an EXIT with further fields."""
    ending = {"kind": "exited", "code": 0}
    return control(0x23, channel=1, ending=ending, stdout=0, stderr=0, held_open=False, **more)


def text(size: int) -> str:
    """Return base64 of so many bytes."""
    return base64.b64encode(bytes(size)).decode()


@dataclass(frozen=True)
class Probe:
    """The way to try one bound.

    :ivar is_allowed: tells whether a value is allowed.
    :ivar beyond: numbers to add to the bound to get past it.
    """

    is_allowed: Callable[[int], bool]
    beyond: tuple[int, ...] = (1,)


PROBES = {
    "ACKNOWLEDGE_EVERY": Probe(lambda count: acknowledges(count - 1)),
    "DEFAULT_WINDOW": Probe(under_way_by_default),
    "GROW_ROUND_TRIPS": Probe(lambda round_trips: window_after(1, round_trips).size == 2 * MIN_WINDOW),
    "INVITATION_NAME_BYTES": Probe(lambda size: decodes(claim_invited(size), Role.SERVER, Phase.LOGIN), (-1, 1)),
    "MAX_ANSWERS": Probe(answers_wait),
    "MAX_AUTH_ATTEMPTS": Probe(attempts),
    "MAX_CHANNELS": Probe(lambda number: all_of(welcomes(max_channels=number), resumes(number))),
    "MAX_CHANNEL_ID": Probe(lambda number: decodes(control(0x21, channel=number, command="x"))),
    "MAX_CONTROL_BYTES": Probe(in_parts),
    "MAX_CWD_BYTES": Probe(lambda size: is_run(JobRequest(command="true", cwd="/" * size))),
    "MAX_DATA_BYTES": Probe(lambda size: decodes(binary(0x10, "!IBQ", 1, 0, 0) + bytes(size))),
    "MAX_DETACH_SECONDS": Probe(lambda seconds: welcomes(detach_seconds=seconds)),
    "MAX_ENCODING_BYTES": Probe(names_a_code_page),
    "MAX_ENVIRONMENT_NAMES": Probe(lambda count: is_run(environment(count))),
    "MAX_ENVIRONMENT_VALUE_BYTES": Probe(
        lambda size: is_run(JobRequest(command="true", environment=(("NAME", "x" * size),)))
    ),
    "MAX_FRAME_BYTES": Probe(lambda size: frame_arrives(size, in_session=True)),
    "MAX_INVITATION_FAILURES": Probe(invites),
    "MAX_NEXT_KEY_BYTES": Probe(announces),
    "MAX_JOB_COMMAND_BYTES": Probe(lambda size: decodes(inspected(command="x" * size), Role.CLIENT)),
    "MAX_JSON_BYTES": Probe(lambda size: decodes(later("") + b" " * (size + 9 - len(later(""))))),
    "MAX_JSON_COMMAND": Probe(lambda size: b"\0" not in open_of("x" * size).body()),
    "MAX_JSON_COMMAS": Probe(lambda count: decodes(later([0] * (count - 1)))),
    "MAX_JSON_CONTAINERS": Probe(lambda count: decodes(later([[]] * (count - 2)))),
    "MAX_JSON_ESCAPES": Probe(lambda count: decodes(later("\n" * count))),
    "MAX_LISTED_JOBS": Probe(lambda count: decodes(inspected(count), Role.CLIENT)),
    "MAX_LOGIN_FRAME_BYTES": Probe(lambda size: frame_arrives(size, in_session=False)),
    "MAX_NUMBER_CHARACTERS": Probe(lambda size: decodes(later(10 ** (size - 1)))),
    "MAX_OFFSET": Probe(
        lambda offset: all_of(decodes(binary(0x10, "!IBQ", 1, 0, offset) + b"x"), decodes(binary(0x13, "!Q", offset)))
    ),
    "MAX_PART_BYTES": Probe(lambda size: decodes(binary(0x20, "!Q", 0) + bytes(size))),
    "MAX_REFUSED_CHANNELS": Probe(unclosed),
    "MAX_REPLY_OUTPUT_BYTES": Probe(replies),
    "MAX_REQUEST_BYTES": Probe(lambda size: is_run(JobRequest(command="x" * (size - 1)))),
    "MAX_SCRIPT_BYTES": Probe(in_a_shell),
    "MAX_TERMINAL_MODES": Probe(modes_looked_at),
    "MAX_TERMINAL_SIZE": Probe(lambda size: all_of(decodes(terminal(columns=size)), decodes(terminal(rows=size)))),
    "MAX_SUBSYSTEM_BYTES": Probe(lambda size: decodes(control(0x21, channel=1, subsystem="x" * size))),
    "MAX_TERM_BYTES": Probe(lambda size: decodes(terminal(term="x" * size))),
    "MAX_TEXT_BYTES": Probe(lambda size: decodes(control(0x28, text="x" * size))),
    "MAX_TIMEOUT_MS": Probe(lambda time: decodes(control(0x21, channel=1, command="true", timeout_ms=time))),
    "MAX_TYPED_AHEAD_BYTES": Probe(
        lambda size: decodes(control(0x21, channel=1, command="x", in_shell=2, typed_ahead=text(size)))
    ),
    "MAX_UNACKNOWLEDGED": Probe(under_way),
    "MAX_UNAVAILABLE_BYTES": Probe(
        lambda size: decodes(b"\x07" + json.dumps({"text": "x" * size}).encode(), Role.CLIENT, Phase.LOGIN)
    ),
    "MAX_UNREAD_BYTES": Probe(lambda size: decodes(exited(unread=text(size)), Role.CLIENT)),
    "MAX_USER_BYTES": Probe(
        lambda size: decodes(
            b"\x01" + json.dumps({"user": "x" * size, "algorithm": "x", "key": "", "signature": ""}).encode(),
            phase=Phase.LOGIN,
        )
    ),
    "MAX_WINDOW": Probe(lambda size: welcomes(window=size)),
    "MAX_WINDOWS": Probe(lambda count: window_after(20, 1.0).size >= count * MIN_WINDOW),
    "MIN_WINDOW": Probe(lambda size: welcomes(window=size), (-1,)),
    "PROOF_BYTES": Probe(lambda size: decodes(b"\x05" + bytes(size) + bytes(8), Role.CLIENT, Phase.LOGIN), (-1, 1)),
    "REPLAY_BYTES": Probe(repeated_at_once),
    "SESSION_ID_BYTES": Probe(lambda size: welcomes(session=text(size)), (-1, 1)),
    "SESSION_RESERVE_BYTES": Probe(lambda size: Reserve(10**9).part().take(size)),
    "SHRINK_ROUND_TRIPS": Probe(stays_large),
    "START_WINDOWS": Probe(first_window),
}
"""The probe of each bound."""


CONSTANTS = [name for name in limits.__all__ if name.isupper()]
"""The names of all bounds."""


def test_every_bound_is_tried() -> None:
    """R-11, F-02: every constant has a probe, and every probe a constant."""
    assert set(PROBES) == set(CONSTANTS)


@pytest.mark.parametrize("name", CONSTANTS)
def test_a_bound(name: str) -> None:
    """R-11, F-02: a value at the bound is accepted, and one past it is refused."""
    probe, bound = PROBES[name], getattr(limits, name)
    assert probe.is_allowed(bound)
    for beyond in probe.beyond:
        assert not probe.is_allowed(bound + beyond)


def test_the_probes_know_the_protocol() -> None:
    """The messages that the probes write by hand are messages that a peer would write."""
    assert decodes(welcome(session=text(len(SESSION_ID)), max_channels=limits.MAX_CHANNELS), Role.CLIENT, Phase.LOGIN)
    assert frame_arrives(1, in_session=True)
    assert MAX_UNACKNOWLEDGED > 1
