"""A whole conversation over links that carry bytes, and that are cut at chosen bytes.

Two ends log in, run jobs of every kind, and part.  Each end reacts only to the frames that it receives, so its events
must be the same however often the link dies.
"""

from __future__ import annotations

import hashlib
import struct
from collections import defaultdict, deque

from tests.core.pair import CLAIM, SESSION_ID
from twisted_rsh.core.client_session import ClientSession
from twisted_rsh.core.endings import Exited, JobEnd, RefusalReason, Refused, ResourceUsage, Signalled
from twisted_rsh.core.events import (
    ChannelAbandoned,
    ChannelOpened,
    ChannelRequested,
    DataReceived,
    Event,
    InspectionRequested,
    JobEnded,
    JobSuspended,
    SessionClosed,
    ShellInspected,
    SignalReceived,
    StreamEnded,
    StreamStopped,
    TerminalResized,
)
from twisted_rsh.core.limits import SessionLimits
from twisted_rsh.core.login import ClientLogin, ClientResume, ServerLogin
from twisted_rsh.core.messages import Auth, ResumeOk
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.resuming import ClientProof, LinkBinding, ServerProof, secret_context
from twisted_rsh.core.roles import Role, Stream
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.core.shell_state import ShellState

__all__ = ["Conversation"]

CLIENT, SERVER = Role.CLIENT, Role.SERVER
STDIN, STDOUT, STDERR = Stream
LIMITS = SessionLimits(window=4096, max_channels=8)
PREFIX = struct.Struct("!I")
MOST_LINKS = 5
INPUT = bytes(range(256)) * 2
OUTPUT = bytes(reversed(range(256))) * 18
"""More than a window: it takes credit."""

SHORT = JobEnd(Exited(1), usage=ResourceUsage(wall=1.0, user=0.5, system=0.25, peak_memory=None))
"""The end of a job of which one frame tells all."""

STATE = ShellState(folder="/srv", waits_for_input=True)


class Link:
    """A connection.

    :ivar cuts: after how many bytes to each side it dies.
    :ivar carried: bytes that reached each side.
    """

    def __init__(self, number: int, cuts: dict[Role, int]) -> None:
        self.binding = LinkBinding(hashlib.sha256(b"%d" % number).digest(), bytes(32))
        self.cuts = cuts
        self.carried = {CLIENT: 0, SERVER: 0}
        self.wires = {CLIENT: bytearray(), SERVER: bytearray()}
        self.buffers = {CLIENT: bytearray(), SERVER: bytearray()}
        self.login = ServerLogin()

    def secret(self, attempt: int) -> bytes:
        """Return the secret that only the two ends of this link know."""
        return hashlib.sha256(self.binding.exporter + secret_context(SESSION_ID, attempt)).digest()

    def put(self, to: Role, payloads: list[bytes]) -> None:
        """Send frames."""
        for payload in payloads:
            self.wires[to] += PREFIX.pack(len(payload)) + payload

    def take(self, role: Role) -> tuple[list[bytes], bool]:
        """Return the frames that are whole now, and whether the link has died."""
        wire, buffer = self.wires[role], self.buffers[role]
        left = self.cuts.get(role, 1 << 62) - self.carried[role]
        dead = len(wire) >= left
        arrived = wire[:left]
        del wire[:left]
        self.carried[role] += len(arrived)
        buffer += arrived
        frames = []
        while len(buffer) >= PREFIX.size:
            (size,) = PREFIX.unpack_from(buffer)
            if len(buffer) < PREFIX.size + size:
                break
            frames.append(bytes(buffer[PREFIX.size : PREFIX.size + size]))
            del buffer[: PREFIX.size + size]
        return frames, dead


class Conversation:
    """Both ends.

    :param cuts: for each link, one after the other, after how many bytes to each side it dies; later ones live.
    :ivar story: what each side experienced on each channel, and what the server did, in order.
    :ivar links: those that it took.
    """

    def __init__(self, *cuts: dict[Role, int]) -> None:
        self.cuts = deque(cuts)
        self.links: list[Link] = []
        self.story: dict[tuple[Role, int], list[object]] = defaultdict(list)
        self.client: ClientSession | None = None
        self.server: ServerSession | None = None
        self.server_proof = ServerProof(SESSION_ID, b"")
        self.client_proof = ClientProof(SESSION_ID, b"")
        self.resume: ClientResume | None = None
        self.linked = {CLIENT: False, SERVER: False}
        self.settled = False
        self.over = False
        while not self.over:
            self.one_link()
            assert len(self.links) <= MOST_LINKS

    def one_link(self) -> None:
        """Go on over another link, until it dies or the conversation is over."""
        link = Link(len(self.links), self.cuts.popleft() if self.cuts else {})
        self.links.append(link)
        self.linked = {CLIENT: False, SERVER: False}
        self.settled = False
        if self.client is None:
            # A login whose answer was lost may have made a session on the server, but no job runs in it.
            self.server = None
            self.login = ClientLogin(LIMITS)
            link.put(SERVER, [self.login.ask(CLAIM)])
        else:
            self.client.link_lost()
            self.resume = ClientResume()
            self.claim = self.client_proof.claim(link.binding, self.client.positions())
            link.put(SERVER, [self.resume.ask(self.claim)])
        while not self.over:
            moved = False
            for role in Role:
                frames, dead = link.take(role)
                for frame in frames:
                    moved = True
                    (self.client_hears if role is CLIENT else self.server_hears)(link, frame)
                if dead:
                    if self.server is not None:
                        self.server.link_lost()
                    return
                session = self.client if role is CLIENT else self.server
                if session is not None and self.linked[role]:
                    link.put(role.peer, session.frames_to_send())
            moved = moved or any(link.wires.values())
            assert moved, "neither end has anything to send, and the conversation is not over"

    # How a link begins.

    def server_hears(self, link: Link, payload: bytes) -> None:
        """Take a frame that arrived at the server."""
        if self.linked[SERVER]:
            assert self.server is not None
            if not self.settled:
                self.settled = True
                self.server_proof.confirm()
            for event in self.server.receive_frame(payload, 0.0):
                self.serve(self.server, event)
            return
        claim = link.login.receive_frame(payload)
        self.linked[SERVER] = True
        if isinstance(claim, Auth):
            answer, self.server = link.login.accept(SESSION_ID, "one run", LIMITS, 0.0)
            self.server_proof = ServerProof(SESSION_ID, link.secret(0))
            link.put(CLIENT, [answer])
            return
        assert self.server is not None
        assert self.server_proof.verifies(claim, link.binding)
        self.server.check_positions(claim.positions)
        fresh = link.secret(claim.attempt)
        resumed = self.server_proof.accept(claim, link.binding, self.server.positions(), fresh)
        link.put(CLIENT, [link.login.accept_resume(resumed)])
        self.server.resume(claim.positions, 0.0)

    def client_hears(self, link: Link, payload: bytes) -> None:
        """Take a frame that arrived at the client."""
        if self.linked[CLIENT]:
            assert self.client is not None
            for event in self.client.receive_frame(payload, 0.0):
                self.act(self.client, event)
            return
        self.linked[CLIENT] = True
        if self.client is None:
            begun = self.login.receive_frame(payload, 0.0)
            assert isinstance(begun, tuple)
            self.client = begun[1]
            self.client_proof = ClientProof(SESSION_ID, link.secret(0))
            self.begin(self.client)
            return
        assert self.resume is not None
        answer = self.resume.receive_frame(payload)
        assert isinstance(answer, ResumeOk)
        self.client_proof.confirm(self.claim, answer, link.binding, link.secret(self.claim.attempt))
        self.client.resume(answer.positions, 0.0)

    # What the two do.

    def experience(self, role: Role, event: Event) -> None:
        """Write an event down; data as one piece for each stream, as it may be cut anywhere."""
        if isinstance(event, DataReceived):
            told = self.story[role, event.channel]
            key = ("data", event.stream)
            for at, entry in enumerate(told):
                if isinstance(entry, tuple) and entry[:2] == key:
                    told[at] = (*key, entry[2] + event.data)
                    return
            told.append((*key, event.data))
        else:
            self.story[role, getattr(event, "channel", 0)].append(event)

    def received(self, role: Role, channel: int, stream: Stream) -> bytes:
        """Return what has arrived of a stream."""
        for entry in self.story[role, channel]:
            if isinstance(entry, tuple) and entry[:2] == ("data", stream):
                return bytes(entry[2])
        return b""

    def begin(self, client: ClientSession) -> None:
        """Ask for all jobs; the first gets its input at once."""
        for word in ("copy", "obey", "no", "forever", "pour"):
            channel = client.open(JobRequest(command=word))
            if word == "copy":
                client.send_data(channel, STDIN, INPUT)
                client.end_stream(channel, STDIN)
        for word in ("short", "longer"):
            client.open(JobRequest(command=word), has_no_input=True)

    def act(self, client: ClientSession, event: Event) -> None:
        """Let the client react."""
        if not hasattr(event, "channel"):
            return
        if event == JobSuspended(2, "TSTP"):
            client.send_signal(2, "CONT")
        if event == ShellInspected(2, STATE):
            client.stop_stream(2, STDOUT)
        if type(event).__name__ != "RoomGained":
            self.experience(CLIENT, event)
        if isinstance(event, DataReceived):
            client.consumed(event.channel, event.stream, len(event.data))
            self.answer(client, event.channel, self.received(CLIENT, event.channel, event.stream))
        elif isinstance(event, ChannelOpened):
            self.opened(client, event)
        elif isinstance(event, JobEnded) and event.channel == 6:
            client.open(JobRequest(command="short"), has_no_input=True)  # with the CLOSE of the one before
        elif isinstance(event, JobEnded) and not client._channels:
            client.goodbye("done")

    def opened(self, client: ClientSession, event: ChannelOpened) -> None:
        """Let the client consume what came with an answer, and talk to the second job."""
        client.consumed(event.channel, STDOUT, len(event.stdout))
        if event.channel == 2:
            client.send_signal(2, "USR1")

    def answer(self, client: ClientSession, channel: int, heard: bytes) -> None:
        """Let the client react to the output of a job so far."""
        if channel == 2 and heard == b"got USR1;":
            client.send_signal(2, "TSTP")
        elif channel == 2 and heard == b"got USR1;got CONT;":
            client.resize(2, 100, 40)
        elif channel == 2 and heard == b"got USR1;got CONT;got 100;":
            client.inspect(2)
        elif channel == 4 and heard == b"ready":
            client.close(4)

    def serve(self, server: ServerSession, event: Event) -> None:
        """Let the server's jobs react."""
        if isinstance(event, SessionClosed):
            self.over = True
        if type(event).__name__ != "RoomGained":
            self.experience(SERVER, event)
        if isinstance(event, ChannelRequested):
            self.start(server, event)
        elif isinstance(event, DataReceived):
            server.consumed(event.channel, event.stream, len(event.data))
        elif isinstance(event, StreamEnded):
            server.send_data(event.channel, STDOUT, self.received(SERVER, event.channel, STDIN)[::-1])
            server.send_data(event.channel, STDERR, b"copied")
            server.end_stream(event.channel, STDOUT)
            server.report_exit(event.channel, JobEnd(Exited(3)))
        elif isinstance(event, SignalReceived | TerminalResized | InspectionRequested):
            self.obey(server, event)
        elif isinstance(event, StreamStopped | ChannelAbandoned):
            name = "PIPE" if isinstance(event, StreamStopped) else "HUP"
            server.report_exit(event.channel, JobEnd(Signalled(name)))
        self.pour(server)

    def start(self, server: ServerSession, event: ChannelRequested) -> None:
        """Let a job begin, or refuse it, or tell all about it at once."""
        match event.request.command:
            case "no":
                server.report_exit(event.channel, JobEnd(Refused(RefusalReason.NOT_FOUND, "no")))
            case "short":
                server.report_run(event.channel, "utf-8", SHORT, b"short", b"errors")
            case "longer":
                server.accept(event.channel, "utf-8", b"first;")
                server.send_data(event.channel, STDOUT, b"second")
                server.report_exit(event.channel, JobEnd(Exited(0)))
            case word:
                server.accept(event.channel, "utf-8")
                if word == "forever":
                    server.send_data(event.channel, STDOUT, b"ready")

    def obey(self, server: ServerSession, event: SignalReceived | TerminalResized | InspectionRequested) -> None:
        """Let a job stop, or report its input, or say how it is with it."""
        if isinstance(event, InspectionRequested):
            server.report_inspection(event.channel, STATE)
            return
        what = event.signal if isinstance(event, SignalReceived) else event.columns
        if what == "TSTP":
            server.report_suspension(event.channel, "TSTP")
            return
        if what == "CONT":
            server.report_suspension(event.channel, None)
        server.send_data(event.channel, STDOUT, f"got {what};".encode())

    def pour(self, server: ServerSession) -> None:
        """Let the fifth job write as much as there is room for."""
        channel = server._channels.get(5)
        if channel is None or channel.state.value != "running":
            return
        sent = channel.sends[STDOUT].sent
        size = min(server.room(5, STDOUT), len(OUTPUT) - sent)
        server.send_data(5, STDOUT, OUTPUT[sent : sent + size])
        if sent + size == len(OUTPUT):
            server.report_exit(5, JobEnd(Exited(0)))
