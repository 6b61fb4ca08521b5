"""Two cores, two applications, and a network whose links die at any moment, at each end in its own time.

A core sees whole frames or nothing, so a link is cut between two frames.  Frames under way may still arrive for a
while, even those of a link, or of a RESUME, that its sender gave up long ago.  The client dials as often as it likes.
A stranger tries to resume with identifiers, secrets and frames that may have been stolen; this must change nothing.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import random
from collections import deque
from collections.abc import Callable

import pytest

from tests.core.machine import LIMITS, Applications
from tests.core.pair import SESSION_ID, Pair
from twisted_rsh.core.errors import LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.events import Event
from twisted_rsh.core.limits import MAX_CHANNEL_ID, MAX_OFFSET
from twisted_rsh.core.login import ClientResume, LoginState, ServerLogin
from twisted_rsh.core.messages import Positions, Resume, ResumeFail, ResumeOk, Unavailable
from twisted_rsh.core.resuming import ClientProof, LinkBinding, ServerProof, secret_context
from twisted_rsh.core.roles import Role
from twisted_rsh.core.session import Session

__all__ = ["Histories", "Network", "run_history"]

CLIENT, SERVER = Role.CLIENT, Role.SERVER
PIN = hashlib.sha256(b"the server's key").digest()
OTHER_PIN = hashlib.sha256(b"another server's key").digest()
INSTANCE = "one run"
MAX_ROUNDS = 1000
"""Rounds of messages, many more than any history needs to come to rest."""

REFUSED = b"\x06" + b'{"instance":"one run"}'


class Link:
    """One connection, as the network knows it.

    :ivar wires: the frames on their way to each side.
    :ivar cut: whether nothing new gets through.
    :ivar login: the server's side of what it begins with.
    :ivar resume: the client's side of it.
    :ivar claim: the client's RESUME.
    :ivar heard: whether the server has heard the client behind the beginning.
    """

    def __init__(self, number: int) -> None:
        self.binding = LinkBinding(hashlib.sha256(b"%d" % number).digest(), PIN)
        self.wires: dict[Role, deque[bytes]] = {CLIENT: deque(), SERVER: deque()}
        self.cut = False
        self.login = ServerLogin()
        self.resume = ClientResume()
        self.claim: Resume | None = None
        self.heard = False

    def secret(self, attempt: int) -> bytes:
        """Return the secret that only the two ends of this link know."""
        return hashlib.sha256(self.binding.exporter + secret_context(SESSION_ID, attempt)).digest()

    def put(self, to: Role, payload: bytes) -> None:
        """Send a frame; it is lost if the link is cut."""
        if not self.cut:
            self.wires[to].append(payload)


class Network(Pair):
    """Two sessions, and all the links that they ever had.

    :param dice: the source of chance.
    :ivar ends: the link that each side believes it has.
    :ivar dials: those that the client has asked over, and has no answer from.
    :ivar recorded: every RESUME that the client sent.
    :ivar retired: secrets that nothing may be proved with any more.
    :ivar resumes: how often the session was resumed.
    """

    def __init__(self, dice: random.Random) -> None:
        super().__init__(LIMITS)
        self.dice = dice
        self.made = 0
        self.links: list[Link] = []
        first = self.new_link()
        first.heard = True
        secret = first.secret(0)
        self.ends: dict[Role, Link | None] = {CLIENT: first, SERVER: first}
        self.dials: list[Link] = []
        self.server_proof = ServerProof(SESSION_ID, secret)
        self.client_proof = ClientProof(SESSION_ID, secret)
        self.secret = secret
        self.live = {secret}
        self.retired: list[bytes] = []
        self.recorded: list[Resume] = []
        self.resumes = 0

    def new_link(self) -> Link:
        """Return a new link."""
        self.made += 1
        link = Link(self.made)
        self.links.append(link)
        return link

    # What each end does to its link.

    def close(self, role: Role) -> None:
        """Let a side give up its link; what it wrote before may still arrive."""
        link = self.ends[role]
        if link is not None:
            link.cut = True
            link.wires[role].clear()
            self.ends[role] = None
            self.side(role).link_lost()

    def drop(self, link: Link) -> None:
        """Let the client close a link over which it has dialled."""
        link.cut = True
        link.wires[CLIENT].clear()
        self.dials.remove(link)

    def dial(self) -> None:
        """Let the client, which has no link, send RESUME over a new one; it may close earlier ones, or not."""
        if self.ends[CLIENT] is not None:
            return
        for link in list(self.dials):
            if self.dice.random() < 0.5:
                self.drop(link)
        self.links = [link for link in self.links if link in self.dials or any(link.wires.values())]
        link = self.new_link()
        link.claim = self.client_proof.claim(link.binding, self.client.positions())
        self.recorded.append(link.claim)
        link.put(SERVER, link.resume.ask(link.claim))
        self.dials.append(link)

    def flush(self, role: Role) -> int:
        """See :meth:`Pair.flush`."""
        link, payloads = self.ends[role], self.side(role).frames_to_send()
        if link is None:
            assert not payloads
            return 0
        for payload in payloads:
            link.put(role.peer, payload)
        return len(payloads)

    def deliver(self, role: Role, count: int | None = None) -> list[Event]:
        """Give a side the next frames, of whichever links have some for it."""
        events: list[Event] = []
        left = MAX_OFFSET if count is None else count
        while left:
            waiting = [link for link in self.links if link.wires[role]]
            if not waiting:
                break
            link = waiting[int(self.dice.random() * len(waiting))]
            arrived = self.server_hears if role is SERVER else self.client_hears
            for _ in range(min(left, 1 + int(self.dice.random() * 8))):
                if not link.wires[role]:
                    break
                left -= 1
                events += arrived(link, link.wires[role].popleft())
        return events

    def settle(self) -> dict[Role, list[Event]]:
        """See :meth:`Pair.settle`."""
        events: dict[Role, list[Event]] = {CLIENT: [], SERVER: []}
        for _ in range(MAX_ROUNDS):
            moved = bool(self.flush(CLIENT)) + bool(self.flush(SERVER)) > 0
            for role in Role:
                moved = moved or any(link.wires[role] for link in self.links)
                events[role] += self.deliver(role)
            if not moved:
                return events
        raise AssertionError("the two sides never stop talking")

    # What each side does with a frame.

    def server_hears(self, link: Link, payload: bytes) -> list[Event]:
        """Take a frame that arrived at the server."""
        if link is self.ends[SERVER]:
            if not link.heard:
                link.heard = True
                self.server_proof.confirm()
                assert link.claim is not None
                self.retire({link.secret(link.claim.attempt)})
            return self.server.receive_frame(payload, self.now)
        if link.claim is not None and link.login.state is LoginState.SILENT:
            return self.asked(link, payload)
        return []

    def asked(self, link: Link, payload: bytes) -> list[Event]:
        """Take a RESUME, by the server's rules.

        :raises RemoteProtocolError: the link must be closed; nothing else has changed.
        """
        claim = link.login.receive_frame(payload)
        assert isinstance(claim, Resume)
        if not self.server_proof.verifies(claim, link.binding):
            link.put(CLIENT, link.login.refuse_resume(INSTANCE))
            return []
        self.server.check_positions(claim.positions)
        self.close(SERVER)
        fresh = link.secret(claim.attempt)
        answer = self.server_proof.accept(claim, link.binding, self.server.positions(), fresh)
        link.put(CLIENT, link.login.accept_resume(answer))
        self.ends[SERVER] = link
        self.retire({self.secret, fresh})
        self.resumes += 1
        return self.server.resume(claim.positions, self.now)

    def retire(self, live: set[bytes]) -> None:
        """Record the secrets that the server may accept from now on."""
        self.retired += self.live - live
        self.live = live

    def client_hears(self, link: Link, payload: bytes) -> list[Event]:
        """Take a frame that arrived at the client."""
        if link is self.ends[CLIENT]:
            return self.client.receive_frame(payload, self.now)
        if link not in self.dials:
            return []
        latest = link is self.dials[-1]
        answer = link.resume.receive_frame(payload)
        assert link.claim is not None
        assert not isinstance(answer, Unavailable)
        if isinstance(answer, ResumeFail):
            assert not latest, "the honest client is locked out"
            self.drop(link)
            return []
        fresh = link.secret(link.claim.attempt)
        try:
            self.client_proof.confirm(link.claim, answer, link.binding, fresh)
        except LocalProtocolError:
            assert not latest
            self.drop(link)
            return []
        self.secret = fresh
        for other in list(self.dials):
            if other is not link:
                self.drop(other)
        self.dials.clear()
        self.ends[CLIENT] = link
        return self.client.resume(answer.positions, self.now)

    # What a stranger may do.

    def state(self) -> object:
        """Return the values that a stranger without the secret must not change."""
        proof, server = self.server_proof, self.server
        streams = [
            (number, stream, outgoing.sent, outgoing.consumed)
            for number, channel in server._channels.items()
            for stream, outgoing in channel.sends.items()
        ]
        outbox, queues = server._outbox, (len(server._frames), len(server._replay))
        sequence = outbox._acknowledged, len(outbox.log), server._linked, server._link_writable
        known = proof._attempt, proof._secrets, self.ends[SERVER]
        return known, server.positions(), streams, sequence, queues

    def claim(self, secret: bytes, attempt: int, link: LinkBinding, positions: Positions) -> Resume:
        """Return a RESUME that was made with this secret."""
        proof = ClientProof(SESSION_ID, secret)
        proof._attempt = attempt - 1
        return proof.claim(link, positions)

    def intrude(self) -> None:
        """Let a stranger try to resume with a stolen identifier or secret, or with a recorded or an altered RESUME."""
        link, dice = self.new_link(), self.dice
        self.links.remove(link)
        attempt = self.client_proof._attempt + 1
        positions = self.client.positions()
        secret, binding = self.secret, link.binding
        tries: list[Callable[[], Resume]] = [
            lambda: self.claim(dice.randbytes(32), attempt, binding, positions),
            lambda: self.claim(secret, attempt, LinkBinding(binding.exporter, OTHER_PIN), positions),
            lambda: dataclasses.replace(self.claim(secret, attempt, binding, Positions(0)), positions=positions),
            lambda: dataclasses.replace(self.claim(secret, attempt, binding, positions), attempt=attempt + 1),
        ]
        if self.retired:
            tries.append(lambda: self.claim(self.retired[-1], attempt, binding, positions))
        if self.recorded:
            tries.append(lambda: self.recorded[-1 - int(dice.random() * min(len(self.recorded), 3))])
        if self.server_proof._attempt:
            tries.append(lambda: self.claim(secret, self.server_proof._attempt, binding, positions))
        claim = tries[int(dice.random() * len(tries))]()
        if claim.positions == Positions(0):
            return  # what would be altered is what it was
        payload = ClientResume().ask(claim)
        before = self.state()
        self.asked(link, payload)
        assert list(link.wires[CLIENT]) == [REFUSED], "a stranger got in"
        assert self.state() == before

    def lie(self) -> None:
        """Let a client send impossible positions: the server closes that link, and changes nothing else."""
        link = self.new_link()
        self.links.remove(link)
        wrong = impossible(self.server, self.client.positions(), self.dice)
        claim = self.claim(self.secret, self.client_proof._attempt + 1, link.binding, wrong)
        before = self.state()
        with pytest.raises(RemoteProtocolError):
            self.asked(link, ClientResume().ask(claim))
        assert self.state() == before
        with pytest.raises(RemoteProtocolError):
            self.client.check_positions(impossible(self.client, self.server.positions(), self.dice))

    def forge(self) -> None:
        """Let a stranger answer a dial."""
        if self.dials:
            link, proof = self.dials[-1], copy.copy(self.client_proof)
            answer = ResumeOk(proof=self.dice.randbytes(32), positions=self.server.positions())
            assert link.claim is not None
            with pytest.raises(RemoteProtocolError):
                self.client_proof.confirm(link.claim, answer, link.binding, link.secret(link.claim.attempt))
            assert vars(self.client_proof) == vars(proof)


def impossible(session: Session, true: Positions, dice: random.Random) -> Positions:
    """Return positions that the peer of a session cannot have."""
    outbox, streams = session._outbox, dict(true.streams)
    width = len(streams[next(iter(streams))]) if streams else 2 if session.role is SERVER else 1
    lies = [
        Positions(outbox._acknowledged + len(outbox.log) + 1, true.streams),
        Positions(MAX_OFFSET, true.streams),
        Positions(true.controls, (*true.streams, (MAX_CHANNEL_ID, (0,) * width))),
    ]
    if outbox._acknowledged:
        lies.append(Positions(outbox._acknowledged - 1, true.streams))
    for number, offsets in streams.items():
        for index, outgoing in enumerate(session._channels[number].sends.values()):
            wrong = [outgoing.sent + 1, MAX_OFFSET] + [outgoing.consumed - 1] * (outgoing.consumed > 0)
            for offset in wrong:
                changed = (*offsets[:index], offset, *offsets[index + 1 :])
                lies.append(Positions(true.controls, tuple((streams | {number: changed}).items())))
    return lies[int(dice.random() * len(lies))]


class Histories(Applications):
    """Both applications, on such a network.

    :param dice: the source of chance.
    """

    def __init__(self, dice: random.Random) -> None:
        super().__init__()
        self.network = Network(dice)
        self.play_with(self.network)
        self.dice = dice
        for _ in range(2):
            self.do_open()
            self.settle()
            self.do_answer(0, False)

    def do_pause(self, role: Role) -> None:
        """A side's link, if it has one, is full."""
        if self.network.ends[role] is not None:
            super().do_pause(role)

    def do_unpause(self, role: Role) -> None:
        """A side's link, if it has one, takes bytes again."""
        if self.network.ends[role] is not None:
            super().do_unpause(role)

    def do_wait(self, role: Role) -> None:
        """A side hears nothing for a while, and gives its link up if that is too long."""
        self.network.now += 15.0
        if self.network.side(role).deadline_reached(self.network.now):
            self.network.close(role)

    def do_cut(self) -> None:
        """A link is cut; of what was under way some may still arrive."""
        link = self.network.ends[SERVER]
        if link is not None:
            link.cut = True
            for wire in link.wires.values():
                for _ in range(int(self.dice.random() * (len(wire) + 1))):
                    wire.pop()

    def do_reconnect(self) -> None:
        """The client dials, and for once nothing is lost."""
        self.network.dial()
        self.do_deliver(SERVER, 1000)
        self.do_deliver(CLIENT, 1000)
        self.do_exchange()

    def actions(self, dice: random.Random) -> list[tuple[float, Callable[[], object]]]:
        """Return all steps that can happen."""
        network = self.network
        return [
            *super().actions(dice),
            (0.5, self.do_cut),
            (0.5, lambda: network.close(CLIENT)),
            (0.5, lambda: network.close(SERVER)),
            (2.0, network.dial),
            (2.0, self.do_reconnect),
            (1.0, network.intrude),
            (1.0, network.lie),
            (0.5, network.forge),
        ]

    def finish(self) -> None:
        """Heal the network: everything arrives, and everything ends."""
        network = self.network
        link = network.ends[CLIENT]
        if link is None or link.cut or network.ends[SERVER] is not link:
            network.close(CLIENT)
            network.dial()
            self.settle()
        assert network.ends[CLIENT] is network.ends[SERVER] is not None
        assert not network.dials
        super().finish()
        assert not any(network.side(role)._replay for role in Role)


def run_history(seed: int, bursts: int = 6, count: int = 60) -> Histories:
    """Go through a history that depends on a seed alone.

    :returns: it, finished.
    """
    dice = random.Random(seed)
    history = Histories(dice)
    for _ in range(bursts):
        history.burst(dice, count)
    history.finish()
    return history
