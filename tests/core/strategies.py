"""Hypothesis strategies: any legal value of every message."""

from __future__ import annotations

from hypothesis import strategies as st

from twisted_rsh.core.bodies import Message
from twisted_rsh.core.codec import MESSAGES
from twisted_rsh.core.endings import Ending, Exited, OutcomeUnknown, RefusalReason, Refused, Signalled, TimedOut
from twisted_rsh.core.limits import MAX_CHANNEL_ID, MAX_OFFSET, MAX_TIMEOUT_MS, MAX_WINDOW, MIN_WINDOW
from twisted_rsh.core.login_messages import Auth, AuthFail, AuthOk
from twisted_rsh.core.messages import (
    Ack,
    Close,
    Credit,
    Data,
    End,
    Exit,
    Goodbye,
    Open,
    Opened,
    Part,
    Ping,
    Pong,
    Signal,
    Stop,
)
from twisted_rsh.core.roles import Stream
from twisted_rsh.core.signals import SIGNAL_NAMES

__all__ = ["ENDINGS", "NATIVE_TEXT", "OF_EACH"]

CHANNELS = st.integers(1, MAX_CHANNEL_ID)
OFFSETS = st.integers(0, MAX_OFFSET)
STREAMS = st.sampled_from(Stream)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NATIVE_TEXT = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.integers(0xDC80, 0xDCFF).map(chr)), max_size=30
)
SIGNALS = st.sampled_from(sorted(SIGNAL_NAMES))
TIMEOUTS_MS = st.one_of(st.none(), st.integers(1, MAX_TIMEOUT_MS))
ENVIRONMENTS = st.dictionaries(NATIVE_TEXT, NATIVE_TEXT, max_size=4).map(lambda pairs: tuple(pairs.items()))
PIECES = st.binary(min_size=1, max_size=300)

ENDINGS: st.SearchStrategy[Ending] = st.one_of(
    st.builds(Exited, st.integers(0, 2**32 - 1)),
    st.builds(Signalled, SIGNALS, st.booleans()),
    # Seconds of more milliseconds than this are no longer exact.
    st.builds(TimedOut, st.integers(0, 2**50).map(lambda milliseconds: milliseconds / 1000)),
    st.builds(Refused, st.sampled_from(RefusalReason), TEXT),
    st.builds(OutcomeUnknown, TEXT),
)
"""Any ending."""

OF_EACH: dict[type[Message], st.SearchStrategy[Message]] = {
    Auth: st.builds(
        Auth, user=TEXT, algorithm=TEXT.filter(lambda text: len(text.encode()) <= 64), key=PIECES, signature=PIECES
    ),
    AuthOk: st.builds(
        AuthOk,
        session=st.binary(min_size=16, max_size=16),
        instance=st.text("0123456789abcdef", max_size=64),
        window=st.integers(MIN_WINDOW, MAX_WINDOW),
        max_channels=CHANNELS,
    ),
    AuthFail: st.builds(AuthFail),
    Data: st.builds(Data, CHANNELS, STREAMS, OFFSETS, PIECES),
    Credit: st.builds(Credit, CHANNELS, STREAMS, OFFSETS),
    Ack: st.builds(Ack, OFFSETS),
    Ping: st.builds(Ping, OFFSETS),
    Pong: st.builds(Pong, OFFSETS),
    Part: st.builds(Part, PIECES),
    Open: st.one_of(
        st.builds(
            Open,
            channel=CHANNELS,
            command=NATIVE_TEXT,
            cwd=st.one_of(st.none(), NATIVE_TEXT),
            environment=ENVIRONMENTS,
            timeout_ms=TIMEOUTS_MS,
        ),
        st.builds(
            Open,
            channel=CHANNELS,
            argv=st.lists(NATIVE_TEXT, min_size=1, max_size=5).map(tuple),
            environment=ENVIRONMENTS,
            timeout_ms=TIMEOUTS_MS,
        ),
    ),
    Opened: st.builds(Opened, channel=CHANNELS, encoding=st.sampled_from(["utf-8", "gbk", ""])),
    Exit: st.builds(Exit, channel=CHANNELS, ending=ENDINGS, stdout=OFFSETS, stderr=OFFSETS, held_open=st.booleans()),
    End: st.builds(End, CHANNELS, STREAMS, OFFSETS),
    Stop: st.builds(Stop, CHANNELS, STREAMS),
    Signal: st.builds(Signal, channel=CHANNELS, signal=SIGNALS),
    Close: st.builds(Close, CHANNELS),
    Goodbye: st.builds(Goodbye, text=TEXT),
}
"""Any legal value of each message."""

assert set(OF_EACH) == set(MESSAGES)
