"""Hypothesis strategies: any legal value of every message."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from twisted_rsh.core.bodies import Message
from twisted_rsh.core.endings import (
    SIGNAL_NAMES,
    Ending,
    Exited,
    JobEnd,
    Limit,
    LimitReached,
    OutcomeUnknown,
    RefusalReason,
    Refused,
    ResourceUsage,
    Signalled,
    Stopped,
    TimedOut,
)
from twisted_rsh.core.limits import (
    MAX_CHANNEL_ID,
    MAX_CHANNELS,
    MAX_DETACH_SECONDS,
    MAX_NEXT_KEY_BYTES,
    MAX_OFFSET,
    MAX_SUBSYSTEM_BYTES,
    MAX_TERMINAL_SIZE,
    MAX_WINDOW,
    MIN_WINDOW,
)
from twisted_rsh.core.messages import (
    MESSAGES,
    Ack,
    Auth,
    AuthFail,
    AuthOk,
    Close,
    Credit,
    Data,
    End,
    Exit,
    Goodbye,
    Inspect,
    Inspected,
    Open,
    Opened,
    Part,
    Ping,
    Pong,
    Positions,
    Reply,
    Resize,
    Resume,
    ResumeFail,
    ResumeOk,
    Run,
    Signal,
    Stop,
    Suspended,
    Unavailable,
)
from twisted_rsh.core.requests import MODE_NAMES, Grace, JobRequest, Keep, Terminal
from twisted_rsh.core.roles import OUTPUTS, Stream
from twisted_rsh.core.shell_state import BackgroundJob, JobState, ShellState

__all__ = ["ENDINGS", "NATIVE_TEXT", "OF_EACH", "POSITIONS", "REQUESTS", "TERMINALS", "USAGES", "positions"]

CHANNELS = st.integers(1, MAX_CHANNEL_ID)
OFFSETS = st.integers(0, MAX_OFFSET)
STREAMS = st.sampled_from(Stream)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
NATIVE_TEXT = st.text(
    st.one_of(st.characters(exclude_categories=["Cs"]), st.integers(0xDC80, 0xDCFF).map(chr)), max_size=30
)
SIGNALS = st.sampled_from(sorted(SIGNAL_NAMES))
ENVIRONMENTS = st.dictionaries(NATIVE_TEXT, NATIVE_TEXT, max_size=4).map(lambda pairs: tuple(pairs.items()))
PIECES = st.binary(min_size=1, max_size=300)
SIZES = st.integers(1, MAX_TERMINAL_SIZE)
EXACT = st.integers(0, 2**50)  # of more milliseconds, or microseconds, the seconds are no longer exact
MICROSECONDS = EXACT.map(lambda microseconds: microseconds / 1_000_000)
MILLISECONDS = EXACT.map(lambda milliseconds: milliseconds / 1000)
TIMEOUTS = st.none() | MILLISECONDS.filter(bool)

TERMINALS = st.builds(
    Terminal,
    term=TEXT.filter(lambda text: len(text.encode()) <= 64),
    columns=SIZES,
    rows=SIZES,
    modes=st.dictionaries(st.sampled_from(sorted(MODE_NAMES)), st.integers(0, 255)).map(
        lambda modes: tuple(modes.items())
    ),
    separate_stderr=st.booleans(),
)
"""Any terminal."""

USAGES = st.builds(
    ResourceUsage, wall=MICROSECONDS, user=MICROSECONDS, system=MICROSECONDS, peak_memory=st.none() | OFFSETS
)
"""Any usage."""

ENDINGS: st.SearchStrategy[Ending] = st.one_of(
    st.builds(Exited, st.integers(0, 2**32 - 1)),
    st.builds(Signalled, SIGNALS, st.booleans()),
    st.builds(TimedOut, MILLISECONDS),
    st.builds(LimitReached, st.sampled_from(Limit), OFFSETS),
    st.builds(Stopped, SIGNALS),
    st.builds(Refused, st.sampled_from(RefusalReason), TEXT),
    st.builds(OutcomeUnknown, TEXT),
)
"""Any ending."""

JOB: dict[str, st.SearchStrategy[Any]] = {
    "cwd": st.none() | NATIVE_TEXT,
    "environment": ENVIRONMENTS,
    "timeout": TIMEOUTS,
    "terminal": st.none() | TERMINALS,
    "max_output": st.none() | OFFSETS,
    "max_cpu": TIMEOUTS,
    "max_memory": st.none() | OFFSETS,
    "on_disconnect": st.none() | st.builds(Grace, MILLISECONDS) | st.just(Keep()),
}
"""The fields that any request may give, except one for a command in a persistent shell."""

REQUESTS = st.one_of(
    st.builds(JobRequest, command=NATIVE_TEXT, **JOB),
    st.builds(JobRequest, argv=st.lists(NATIVE_TEXT, min_size=1, max_size=5).map(tuple), **JOB),
    st.builds(JobRequest, shell=NATIVE_TEXT, startup_files=st.booleans(), **JOB),
    st.builds(JobRequest, subsystem=st.text(max_size=MAX_SUBSYSTEM_BYTES // 4), **JOB),
    st.builds(
        JobRequest,
        command=NATIVE_TEXT,
        in_shell=CHANNELS,
        aside=st.booleans(),
        typed_ahead=st.none() | st.binary(max_size=64),
        timeout=TIMEOUTS,
        max_output=st.none() | OFFSETS,
    ),
)
"""Any request."""

RUNS = st.builds(
    JobRequest,
    command=NATIVE_TEXT,
    in_shell=st.none() | CHANNELS,
    timeout=TIMEOUTS,
    max_output=st.none() | OFFSETS,
)
"""Requests of which RUN fits most."""

TOLD_ENDS = st.builds(
    JobEnd, st.builds(Exited, st.integers(0, 2**32 - 1)), usage=USAGES, folder=st.none() | NATIVE_TEXT
)
"""Ends of which REPLY can tell most."""

SHELL_STATES = st.builds(
    ShellState,
    folder=st.none() | NATIVE_TEXT,
    waits_for_input=st.none() | st.booleans(),
    jobs=st.none()
    | st.lists(
        st.builds(BackgroundJob, st.integers(1, 2**31 - 1), st.sampled_from(JobState), NATIVE_TEXT), max_size=4
    ).map(tuple),
    unlisted=OFFSETS,
)
"""Any look at a shell."""


def positions(streams: int) -> st.SearchStrategy[Positions]:
    """Return any positions of channels that have so many streams."""
    channels = st.dictionaries(CHANNELS, st.tuples(*[OFFSETS] * streams), max_size=8)
    return st.builds(Positions, OFFSETS, channels.map(lambda offsets: tuple(sorted(offsets.items()))))


PROOFS = st.binary(min_size=32, max_size=32)
IDENTIFIERS = st.binary(min_size=16, max_size=16)
INSTANCES = st.text("0123456789abcdef", max_size=64)
POSITIONS = positions(len(OUTPUTS))
"""Any positions of a client."""

OF_EACH: dict[type[Message], st.SearchStrategy[Message]] = {
    Auth: st.builds(
        Auth, user=TEXT, algorithm=TEXT.filter(lambda text: len(text.encode()) <= 64), key=PIECES, signature=PIECES
    ),
    AuthOk: st.builds(
        AuthOk,
        session=IDENTIFIERS,
        instance=INSTANCES,
        window=st.integers(MIN_WINDOW, MAX_WINDOW),
        max_channels=st.integers(1, MAX_CHANNELS),
        detach_seconds=st.integers(0, MAX_DETACH_SECONDS),
        run=st.booleans(),
        next_key=st.none() | st.binary(min_size=1, max_size=MAX_NEXT_KEY_BYTES),
        next_key_proof=st.none() | st.binary(min_size=1, max_size=MAX_NEXT_KEY_BYTES),
        next_key_signature=st.none() | st.binary(min_size=1, max_size=MAX_NEXT_KEY_BYTES),
    ),
    AuthFail: st.builds(AuthFail),
    Resume: st.builds(
        Resume, session=IDENTIFIERS, attempt=st.integers(1, MAX_OFFSET), proof=PROOFS, positions=POSITIONS
    ),
    ResumeOk: st.builds(ResumeOk, proof=PROOFS, positions=positions(1)),
    ResumeFail: st.builds(ResumeFail, instance=INSTANCES),
    Unavailable: st.builds(Unavailable, text=TEXT),
    Data: st.builds(Data, CHANNELS, STREAMS, OFFSETS, PIECES),
    Credit: st.builds(Credit, CHANNELS, STREAMS, OFFSETS, OFFSETS),
    Ack: st.builds(Ack, OFFSETS),
    Ping: st.builds(Ping, OFFSETS),
    Pong: st.builds(Pong, OFFSETS),
    Part: st.builds(Part, PIECES),
    Open: st.builds(Open, channel=CHANNELS, request=REQUESTS),
    Opened: st.builds(Opened, channel=CHANNELS, encoding=st.sampled_from(["utf-8", "gbk", ""])),
    Exit: st.builds(
        Exit,
        channel=CHANNELS,
        ending=ENDINGS,
        stdout=OFFSETS,
        stderr=OFFSETS,
        held_open=st.booleans(),
        usage=st.one_of(st.none(), USAGES),
        folder=st.none() | NATIVE_TEXT,
        typed=st.none() | OFFSETS,
        unread=st.binary(max_size=64),
    ),
    End: st.builds(End, CHANNELS, STREAMS, OFFSETS),
    Stop: st.builds(Stop, CHANNELS, STREAMS),
    Signal: st.builds(Signal, channel=CHANNELS, signal=SIGNALS),
    Close: st.builds(Close, CHANNELS),
    Goodbye: st.builds(Goodbye, text=TEXT),
    Resize: st.builds(Resize, CHANNELS, SIZES, SIZES),
    Suspended: st.builds(Suspended, channel=CHANNELS, signal=st.none() | SIGNALS),
    Inspect: st.builds(Inspect, CHANNELS),
    Inspected: st.builds(Inspected, channel=CHANNELS, state=SHELL_STATES),
    Run: st.builds(Run, channel=CHANNELS, closes=st.just(0) | CHANNELS, request=RUNS.filter(Run.fits)),
    Reply: st.builds(
        Reply,
        channel=CHANNELS,
        encoding=st.sampled_from(["utf-8", "gbk", ""]),
        stdout=st.binary(max_size=300),
        stderr=st.binary(max_size=300),
        end=st.none() | TOLD_ENDS.filter(Reply.can_tell),
    ),
}
"""Any legal value of each message."""

assert set(OF_EACH) == set(MESSAGES)
