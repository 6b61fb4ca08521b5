"""The half of a session that both ends share: numbers, credit, acknowledgements, keepalive, resumes, channel states.

:class:`~twisted_rsh.core.server_session.ServerSession` and :class:`~twisted_rsh.core.client_session.ClientSession` add
the messages that only one side sends.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, ClassVar

from twisted_rsh.core.bodies import Message
from twisted_rsh.core.channel import Channel, ChannelInput, ChannelState
from twisted_rsh.core.codec import Decoder, encode
from twisted_rsh.core.credit import ReceiveStream, SendStream
from twisted_rsh.core.errors import ErrorCode, LocalProtocolError, RemoteProtocolError
from twisted_rsh.core.events import (
    DataReceived,
    Event,
    LinkSilent,
    RoomGained,
    SessionClosed,
    StreamEnded,
    StreamStopped,
)
from twisted_rsh.core.fast_path import StreamListener, deliver, encode_credit, encode_data
from twisted_rsh.core.limits import MAX_DATA_BYTES, SessionLimits
from twisted_rsh.core.liveness import Liveness, Silence
from twisted_rsh.core.messages import Ack, Close, Credit, Data, End, Goodbye, Part, Ping, Pong, Positions, Stop
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.resuming import Replay
from twisted_rsh.core.roles import Phase, Role, Stream
from twisted_rsh.core.sequence import ControlInbox, ControlOutbox
from twisted_rsh.core.windows import Reserve

__all__ = ["Session"]


class Session:
    """One side of a session.  Create a subclass.

    Feed every frame to :meth:`receive_frame`, and act on the events that it returns.  After that, and after any other
    call, write the payloads that :meth:`frames_to_send` returns.  Call :meth:`deadline_reached` at the time in
    :attr:`deadline`.

    A session outlives its links.  Call :meth:`link_lost` when a link is gone, and :meth:`resume` when the two ends have
    sent each other their :meth:`positions` over another.  In between, every call is allowed as before, but there is no
    room for data, and there are no payloads to write.

    :param limits: the bounds; both sides have the same window.
    :param now: the time in seconds, from any origin; all times given to this object have the same origin.
    :ivar reserve: what the windows of the streams grow out of: nothing, unless the owner of the session replaces it
        before the first channel.
    :cvar role: the role of this side.
    :cvar from_us: the input of the channel table that our messages on a channel are, with the exceptions of OPENED,
        EXIT and CLOSE.
    :cvar from_peer: the input that the peer's messages are, with the same exceptions.
    :cvar listening: the states of a channel in which the peer may send data.
    :cvar sends_unlinked: whether data may be sent without a link, while there is credit: a resume carries it.
    :cvar resumable: the states, as far as we know, of a channel on which the peer may still receive.
    :cvar receivers: the method for each message.
    """

    role: ClassVar[Role]
    from_us: ClassVar[ChannelInput]
    from_peer: ClassVar[ChannelInput]
    listening: ClassVar[tuple[ChannelState, ...]]
    sends_unlinked: ClassVar[bool]
    resumable: ClassVar[frozenset[ChannelState]]

    def __init__(self, limits: SessionLimits, now: float) -> None:
        self.limits = limits
        self.reserve = Reserve(0)
        self._we_left = False
        self._peer_left = False
        self._decoder = Decoder(self.role, Phase.SESSION)
        self._order = itertools.count()
        self._outbox = ControlOutbox(self._order)
        self._inbox = ControlInbox()
        self._liveness = Liveness(limits.keepalive_interval, limits.keepalive_misses, now)
        self._channels: dict[int, Channel] = {}
        self._frames: list[bytes] = []
        # What is still to be said of a channel, and of which only the last counts.
        self._latest: dict[int, Any] = {}
        # What is asked for on a channel, one answer at a time.
        self._answers: dict[int, Any] = {}
        self._credits: dict[tuple[int, Stream], ReceiveStream] = {}
        # Channels that are free here, and whose CLOSE waits: the next RUN can carry one.
        self._unclosed: list[int] = []
        self._pong: Pong | None = None
        self._linked = True
        self._link_writable = True
        self._replay = Replay()

    # Frames in, frames out.

    def receive_frame(self, payload: bytes, now: float) -> list[Event]:
        """Take the payload of one frame.

        :param now: the time in seconds.
        :returns: the events, in order; none for what has gone to a channel's listener.
        :raises RemoteProtocolError: the peer broke the protocol: abort the link, and feed no more of its frames.
        """
        self._liveness.heard(now)
        if not (self._we_left or self._peer_left or self._decoder.parts) and deliver(
            self._channels, self._inbox, self.listening, payload
        ):
            return []
        sequence, message = self._decoder.decode(payload)
        if sequence is not None:
            self._inbox.take(sequence)
        if self._peer_left:
            raise RemoteProtocolError(ErrorCode.UNEXPECTED_MESSAGE, "a message after GOODBYE")
        if self._we_left:
            # Only an acknowledgement still matters: our GOODBYE may wait for it.
            if isinstance(message, Ack):
                self._receive_ack(message)
            return []
        return self.receivers[type(message)](self, message)

    def frames_to_send(self) -> list[bytes]:
        """Return the payloads to write now, in order, and forget them.

        Credits, acknowledgements and pongs are made here, from the current state, and only while the link takes bytes,
        so that a peer that does not read cannot make a queue of them grow.  Nothing follows our GOODBYE.

        While :attr:`replaying`, call it again when these payloads have been written.
        """
        if self._unclosed:
            self._send_closes()
        while (self._latest or self._answers) and self._link_writable and not self._outbox.blocked:
            if self._latest:
                self._send_latest(*self._latest.popitem())
            else:
                self._send_answer(*self._answers.popitem())
        if self._replay:
            return self._replay.take() if self._link_writable else []
        frames, self._frames = self._frames, []
        if self._we_left or not self._link_writable:
            return frames
        if self._inbox.acknowledgement_due:
            frames.append(encode(Ack(self._inbox.acknowledge())))
        if self._credits and not self._outbox.blocked:
            frames.extend(self._credit_frames())
        if self._pong is not None:
            # Before data, after which the peer would take the link for a longer one.
            frames.insert(0, encode(self._pong))
            self._pong = None
        return frames

    @property
    def replaying(self) -> bool:
        """Whether :meth:`frames_to_send` has more to return at once, because a resume repeats many frames."""
        return bool(self._replay) and self._link_writable

    def _send_latest(self, channel: int, latest: Any) -> None:
        """Send what :attr:`_latest` had for a channel."""
        raise NotImplementedError

    def _send_answer(self, channel: int, answer: Any) -> None:
        """Send what :attr:`_answers` had for a channel."""
        raise NotImplementedError

    def _credit_frames(self) -> list[bytes]:
        # Never while control messages wait: one of them may open the channel, or be our last message on it.
        frames = []
        is_measuring = False
        liveness = self._liveness
        for (number, stream), incoming in self._credits.items():
            channel = self._channels.get(number)
            if channel is not None and (channel.state is ChannelState.RUNNING or channel.allows(self.from_us)):
                credit = incoming.credit_due(liveness.heard_at, liveness.round_trip)
                if credit is not None:
                    frames.append(encode_credit(number, stream, *credit))
                    is_measuring = is_measuring or incoming.is_measuring
        self._credits.clear()
        if is_measuring and not liveness.is_asking:
            # Before the credit, whose data the answer would have to wait for.
            frames.insert(0, encode(Ping(liveness.next_token(liveness.heard_at))))
        return frames

    def link_full(self) -> None:
        """Note that the link's buffer is full: there is no room on any stream until :meth:`link_writable`."""
        self._link_writable = False

    def link_writable(self) -> list[Event]:
        """Note that the link takes bytes again; nothing happens when the link is gone.

        :returns: the events.
        """
        if not self._linked:
            return []
        self._link_writable = True
        return [RoomGained(None, None)]

    @property
    def is_link_full(self) -> bool:
        """Whether there is a link, whose buffer is full."""
        return self._linked and not self._link_writable

    # The loss of a link, and the resume over another.

    def link_lost(self) -> None:
        """Note that the link is gone.  A resume will repeat the frames that were lost with it."""
        self._linked = self._link_writable = False
        self._frames.clear()
        self._replay.clear()
        self._credits.clear()
        self._pong = None

    @property
    def unfinished_bytes(self) -> int:
        """The bytes of a message that has begun to arrive in parts; they outlive a link, as they are acknowledged."""
        return len(self._decoder.parts)

    def release(self) -> None:
        """Forget all that is kept for a resume, because the session is over.  :meth:`link_lost` comes first."""
        self._channels.clear()
        self.reserve.close()
        self._latest.clear()
        self._answers.clear()
        self._unclosed.clear()
        self._outbox = ControlOutbox(self._order)
        self._decoder = Decoder(self.role, Phase.SESSION)

    def positions(self) -> Positions:
        """Return how much has arrived here, which the peer needs in order to resume."""
        return Positions(
            self._inbox.received,
            tuple(
                (number, tuple(incoming.received for incoming in channel.receives.values()))
                for number, channel in self._channels.items()
                if channel.allows(self.from_peer) and not channel.over
            ),
        )

    def check_positions(self, peer: Positions) -> None:
        """Check the peer's positions; nothing changes.

        :param peer: how much has arrived at the peer, as the peer says.
        :raises RemoteProtocolError: the positions are impossible: more than was sent, or less than was acknowledged.
        """
        self._outbox.check_received(peer.controls)
        for number, offsets in peer.streams:
            channel = self._find(number)
            if channel.state not in self.resumable or len(offsets) != len(channel.sends):
                raise RemoteProtocolError(ErrorCode.CHANNEL_STATE, f"channel {number} is {channel.state.value}")
            for (stream, outgoing), offset in zip(channel.sends.items(), offsets, strict=True):
                if not outgoing.consumed <= offset <= outgoing.sent:
                    raise RemoteProtocolError(
                        ErrorCode.FLOW_CONTROL, f"{offset} bytes of {stream.name} cannot have arrived"
                    )

    def resume(self, peer: Positions, now: float) -> list[Event]:
        """Go on over another link, and first repeat the frames that the peer has not received.

        Our :meth:`positions` must have been sent to the peer as they are now.

        :param peer: how much has arrived at the peer.
        :param now: the time in seconds.
        :returns: the events.
        :raises RemoteProtocolError: the positions are impossible, as in :meth:`check_positions`; nothing has changed.
        """
        self.check_positions(peer)
        self.link_lost()
        self._linked = self._link_writable = True
        self._liveness.restart(now)
        self._inbox.acknowledge()
        self._outbox.acknowledge(peer.controls)
        self._replay.begin(self._outbox, self._channels.values(), peer)
        for number, channel in self._channels.items():
            for stream, incoming in channel.receives.items():
                incoming.announce_again()
                self._credits[number, stream] = incoming
        return [RoomGained(None, None)]

    # Keepalive.

    @property
    def deadline(self) -> float:
        """The time in seconds at which to call :meth:`deadline_reached`.

        It moves with every frame.  One timer is enough: when it fires, look at the deadline again.
        """
        return self._liveness.deadline

    def deadline_reached(self, now: float) -> list[Event]:
        """Send a ping or give the link up, if that is due.

        :param now: the time in seconds.
        :returns: the events.
        """
        if not self._linked:
            return []
        silence = self._liveness.check(now)
        if silence is Silence.DEAD:
            return [LinkSilent(self._liveness.silence(now))]
        if silence is Silence.ASK and self._link_writable and not self._we_left:
            self._frames.append(encode(Ping(self._liveness.next_token(now))))
        return []

    def answer_expected(self, ping: float, seconds: float, now: float) -> None:
        """Note that a user waits for an answer, so that the link counts as dead after a shorter silence than usual.

        This moves :attr:`deadline`.  The usual time holds again once the peer sends anything.

        :param ping: the seconds after which to ask for a sign of life.
        :param seconds: the shorter silence.
        :param now: the time in seconds.
        """
        self._liveness.hurry(ping, seconds, now)

    # Messages that either side sends.

    def listen(self, channel: int, listener: StreamListener) -> None:
        """Have data, credit and ends of a channel go to a listener, instead of being events, until the channel is over.

        A frame that is unusual is still an event, or a breach.  The listener is called from within
        :meth:`receive_frame`, may call this object, and is forgotten when the channel is over.

        :param channel: a channel that has been requested.
        :param listener: the job.
        """
        self._channels[channel].listener = listener

    def listen_no_more(self) -> None:
        """Forget all listeners, because nothing is done any more about what happens."""
        for channel in self._channels.values():
            channel.listener = None

    def room(self, channel: int, stream: Stream) -> int:
        """Return the number of bytes of a stream that may be sent now.

        It is 0 for a channel that is free or allows no data.
        """
        found = self._channels.get(channel)
        if found is None or not self._takes_data():
            return 0
        if found.state is not ChannelState.RUNNING and not found.allows(self.from_us):
            return 0
        return found.sends[stream].room

    def _takes_data(self) -> bool:
        """Tell whether data may be sent on any channel at all."""
        takes = self._link_writable or (self.sends_unlinked and not self._linked)
        return takes and not self._outbox.blocked and not self._we_left

    def send_data(self, channel: int, stream: Stream, data: bytes) -> None:
        """Send bytes of a stream.

        :param channel: the job's channel.
        :param stream: one of the streams that this side sends.
        :param data: at most as many bytes as there is :meth:`room` for.
        :raises LocalProtocolError: there is no room for them, or the channel does not allow data.
        """
        outgoing, size = self._outgoing(channel, stream), len(data)
        if (size > MAX_DATA_BYTES and size > outgoing.room) or (size and not self._takes_data()):
            raise LocalProtocolError(ErrorCode.FLOW_CONTROL, f"{size} bytes without room")
        if 0 < size <= MAX_DATA_BYTES and self._linked:  # the stream itself looks whether there is room
            self._frames.append(encode_data(channel, stream, outgoing.send(data, next(self._order)), data))
            return
        for start in range(0, size, MAX_DATA_BYTES):
            piece = data[start : start + MAX_DATA_BYTES]
            offset = outgoing.send(piece, next(self._order))
            if self._linked:  # otherwise a resume sends it
                self._frames.append(encode_data(channel, stream, offset, piece))

    def end_stream(self, channel: int, stream: Stream) -> None:
        """Send the end of a stream.

        :param channel: the job's channel.
        :param stream: one of the streams that this side sends.
        :raises LocalProtocolError: the stream has ended already, or the channel does not allow its end.
        """
        outgoing = self._outgoing(channel, stream)
        if outgoing.ended:
            raise LocalProtocolError(ErrorCode.STREAM_STATE, "a second end of one stream")
        outgoing.ended = True
        self._send_control(End(channel, stream, outgoing.sent))

    def stop_stream(self, channel: int, stream: Stream) -> None:
        """Tell the peer that we want no more of a stream, and drop the bytes that still come.

        :param channel: the job's channel.
        :param stream: one of the streams that this side receives.
        :raises LocalProtocolError: the channel does not allow it.
        """
        self._say(channel)
        incoming = self._channels[channel].receives[stream]
        if not incoming.discarding:
            incoming.discard()
            self._credits[channel, stream] = incoming
            if not incoming.ended:
                self._send_control(Stop(channel, stream))

    def consumed(self, channel: int, stream: Stream, size: int) -> None:
        """Note that the adapter holds received bytes nowhere any more.  Nothing happens if the channel is free.

        :param channel: the job's channel.
        :param stream: one of the streams that this side receives.
        :param size: the number of bytes.
        :raises LocalProtocolError: fewer bytes have been received and not yet consumed.
        """
        if channel in self._channels:
            incoming = self._channels[channel].receives[stream]
            if not incoming.discarding and incoming.consume(size):
                self._credits[channel, stream] = incoming

    def goodbye(self, text: str) -> None:
        """End the session.  No message of a later call is sent.

        Write the payloads that :meth:`frames_to_send` returns, and close the link once :attr:`goodbye_sent`: GOODBYE
        waits behind messages that wait for the peer's acknowledgement.

        :param text: one line for people, or an empty one.
        :raises LocalProtocolError: the text is too long or no Unicode text.
        """
        self._send_control(Goodbye(text=text))
        self._we_left = True

    @property
    def goodbye_sent(self) -> bool:
        """Whether :meth:`frames_to_send` has returned our GOODBYE, and will never return anything more."""
        return self._we_left and self._linked and not (self._outbox.blocked or self._frames or self._replay)

    # Messages that either side receives.

    def _receive_data(self, message: Data) -> list[Event]:
        channel, incoming = self._incoming(message.channel, message.stream)
        if channel.over:
            incoming.pass_over(message.offset, len(message.data))
            return []
        incoming.receive(message.offset, len(message.data))
        if incoming.discarding:
            self._credits[channel.number, message.stream] = incoming
            return []
        return [DataReceived(channel.number, message.stream, message.data)]

    def _receive_end(self, message: End) -> list[Event]:
        channel, incoming = self._incoming(message.channel, message.stream)
        if channel.over:
            return []
        incoming.end(message.size)
        if incoming.discarding:
            return []
        return [StreamEnded(channel.number, message.stream)]

    def _receive_credit(self, message: Credit) -> list[Event]:
        channel, outgoing = self._stopping_or_crediting(message.channel, message.stream)
        if outgoing.credit(message.limit, message.consumed) and not channel.over:
            return [RoomGained(channel.number, message.stream)]
        return []

    def _receive_stop(self, message: Stop) -> list[Event]:
        channel, outgoing = self._stopping_or_crediting(message.channel, message.stream)
        if outgoing.stopped:
            raise RemoteProtocolError(ErrorCode.STREAM_STATE, "a second STOP of one stream")
        outgoing.stopped = True
        if outgoing.ended or channel.over:
            return []
        return [StreamStopped(channel.number, message.stream)]

    def _receive_ack(self, message: Ack) -> list[Event]:
        blocked = self._outbox.blocked
        self._frames.extend(self._outbox.acknowledge(message.count))
        return [RoomGained(None, None)] if blocked and not self._outbox.blocked else []

    def _receive_part(self, _message: Part) -> list[Event]:
        return []

    def _receive_ping(self, message: Ping) -> list[Event]:
        self._pong = Pong(message.token)
        return []

    def _receive_pong(self, message: Pong) -> list[Event]:
        self._liveness.answered(message.token, self._liveness.heard_at)
        return []

    def _receive_goodbye(self, message: Goodbye) -> list[Event]:
        self._peer_left = True
        return [SessionClosed(message.text)]

    # Functions, not bound methods, which would keep every session until the garbage collector comes.
    receivers: ClassVar[dict[type[Message], Callable[[Any, Any], list[Event]]]] = {
        Data: _receive_data,
        Credit: _receive_credit,
        Ack: _receive_ack,
        Ping: _receive_ping,
        Pong: _receive_pong,
        Part: _receive_part,
        End: _receive_end,
        Stop: _receive_stop,
        Goodbye: _receive_goodbye,
    }

    # Steps that the two sides' own messages share.

    def _new_channel(self, number: int, request: JobRequest) -> Channel:
        """Make the channel of a request.  A command in a persistent shell has that shell's terminal, if it has one."""
        shell = None if request.in_shell is None else self._channels.get(request.in_shell)
        on_terminal = request.terminal is not None if shell is None else shell.on_terminal
        # What is typed on a terminal waits behind what other streams have under way.
        starts_large = not on_terminal
        for channel in self._channels.values():
            starts_large = starts_large and not channel.on_terminal
        return Channel(
            number, self.role, self.limits.window, self.reserve, on_terminal=on_terminal, starts_large=starts_large
        )

    def _send_control(self, message: Message) -> None:
        if self._unclosed:
            self._send_closes()
        if not self._we_left:
            released = self._outbox.put(message)
            if self._linked:  # without a link, the outbox keeps the message for the resume
                self._frames.extend(released)

    def _send_closes(self) -> None:
        """Send each CLOSE that waits."""
        closed, self._unclosed = self._unclosed, []
        for number in closed:
            self._send_control(Close(number))

    def _find(self, number: int) -> Channel:
        try:
            return self._channels[number]
        except KeyError:
            raise RemoteProtocolError(ErrorCode.CHANNEL_STATE, f"channel {number} does not exist") from None

    def _advance(self, channel: Channel, event: ChannelInput) -> None:
        """Follow the table for a message, and forget a channel that is free then."""
        if channel.advance(event) is ChannelState.FREED:
            del self._channels[channel.number]
            channel.release()

    def _hear(self, number: int, event: ChannelInput) -> Channel:
        channel = self._find(number)
        self._advance(channel, event)
        return channel

    def _speaking(self, number: int, event: ChannelInput) -> Channel:
        channel = self._channels.get(number)
        if channel is None or not channel.allows(event):
            raise LocalProtocolError(ErrorCode.CHANNEL_STATE, f"channel {number} does not allow {event.value}")
        return channel

    def _say(self, number: int, event: ChannelInput | None = None) -> Channel:
        event = event or self.from_us
        channel = self._speaking(number, event)
        self._advance(channel, event)
        return channel

    def _outgoing(self, number: int, stream: Stream) -> SendStream:
        channel = self._channels.get(number)
        if channel is None or channel.state is not ChannelState.RUNNING:
            channel = self._say(number)
        return channel.sends[stream]

    def _incoming(self, number: int, stream: Stream) -> tuple[Channel, ReceiveStream]:
        channel = self._hear(number, self.from_peer)
        if stream not in channel.receives:
            raise RemoteProtocolError(ErrorCode.STREAM_STATE, f"the peer does not send {stream.name}")
        return channel, channel.receives[stream]

    def _stopping_or_crediting(self, number: int, stream: Stream) -> tuple[Channel, SendStream]:
        channel = self._hear(number, self.from_peer)
        if stream not in channel.sends:
            raise RemoteProtocolError(ErrorCode.STREAM_STATE, f"the peer does not receive {stream.name}")
        return channel, channel.sends[stream]
