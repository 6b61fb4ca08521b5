"""Every bound of the protocol: one named constant each, with its unit and its reason.

An operator may choose the bounds that are fields of :class:`SessionLimits`.  The others belong to the protocol
``twisted-rsh/1`` itself; two peers that disagreed about them could not talk.
"""

from __future__ import annotations

from dataclasses import replace

from twisted_rsh.core.values import dataclass

__all__ = [
    "ACKNOWLEDGE_EVERY",
    "DEFAULT_WINDOW",
    "GROW_ROUND_TRIPS",
    "INVITATION_NAME_BYTES",
    "MAX_ANSWERS",
    "MAX_AUTH_ATTEMPTS",
    "MAX_CHANNELS",
    "MAX_CHANNEL_ID",
    "MAX_CONTROL_BYTES",
    "MAX_CWD_BYTES",
    "MAX_DATA_BYTES",
    "MAX_DETACH_SECONDS",
    "MAX_ENCODING_BYTES",
    "MAX_ENVIRONMENT_NAMES",
    "MAX_ENVIRONMENT_VALUE_BYTES",
    "MAX_FRAME_BYTES",
    "MAX_INVITATION_FAILURES",
    "MAX_JOB_COMMAND_BYTES",
    "MAX_JSON_BYTES",
    "MAX_JSON_COMMAND",
    "MAX_JSON_COMMAS",
    "MAX_JSON_CONTAINERS",
    "MAX_JSON_ESCAPES",
    "MAX_LISTED_JOBS",
    "MAX_LOGIN_FRAME_BYTES",
    "MAX_NEXT_KEY_BYTES",
    "MAX_NUMBER_CHARACTERS",
    "MAX_OFFSET",
    "MAX_PART_BYTES",
    "MAX_REFUSED_CHANNELS",
    "MAX_REPLY_OUTPUT_BYTES",
    "MAX_REQUEST_BYTES",
    "MAX_SCRIPT_BYTES",
    "MAX_SUBSYSTEM_BYTES",
    "MAX_TERMINAL_MODES",
    "MAX_TERMINAL_SIZE",
    "MAX_TERM_BYTES",
    "MAX_TEXT_BYTES",
    "MAX_TIMEOUT_MS",
    "MAX_TYPED_AHEAD_BYTES",
    "MAX_UNACKNOWLEDGED",
    "MAX_UNAVAILABLE_BYTES",
    "MAX_UNREAD_BYTES",
    "MAX_USER_BYTES",
    "MAX_WINDOW",
    "MAX_WINDOWS",
    "MIN_WINDOW",
    "PROOF_BYTES",
    "REPLAY_BYTES",
    "SESSION_ID_BYTES",
    "SESSION_RESERVE_BYTES",
    "SHRINK_ROUND_TRIPS",
    "START_WINDOWS",
    "SessionLimits",
]

MAX_DATA_BYTES = 64 * 1024
"""Bytes of a stream in one DATA frame: what programs write at a time.  This implementation sends as many, because each
frame costs the same calls; next to frames of 16 KiB, both ends make a third fewer for each byte of an output.
Int32StringReceiver is quadratic far above; the reactor handles it in less than a millisecond."""

MAX_FRAME_BYTES = 64 * 1024 + 64
"""Bytes of a frame after login, without its length prefix: :data:`MAX_DATA_BYTES` and a header fit."""

MAX_LOGIN_FRAME_BYTES = 4 * 1024
"""Bytes of a frame before login.  An AUTH with an RSA-8192 key and signature takes about 2.9 KiB."""

MAX_PART_BYTES = 32 * 1024
"""Bytes of a PART frame's body, a piece of a control message that one frame cannot carry."""

MAX_CONTROL_BYTES = 1856 * 1024
"""Bytes of the body of one control message, all its parts together: a command of :data:`MAX_SCRIPT_BYTES` after a JSON
object whose texts, of :data:`MAX_REQUEST_BYTES` and :data:`MAX_CWD_BYTES`, are escapes, which make a byte six."""

MAX_JSON_BYTES = 832 * 1024
"""Bytes of a JSON body without what may stand after it: :data:`MAX_REQUEST_BYTES` and :data:`MAX_CWD_BYTES` of
escapes, and all other members of a request."""

MAX_JSON_ESCAPES = 140 * 1024
"""Escapes in the texts of one JSON body.  Each takes 35 ns to read, and all together 6 ms.  Any request of
:data:`MAX_REQUEST_BYTES` with a folder of :data:`MAX_CWD_BYTES` may consist of escapes alone."""

MAX_JSON_CONTAINERS = 64
"""Objects and lists in one JSON body, so at most as many inside each other; ours has :data:`MAX_LISTED_JOBS` and two
at most.  An empty list takes four times as long to read as a number."""

MAX_JSON_COMMAS = 4 * 1024
"""Commas outside the texts of one JSON body, which separate its members and items.  With this many arguments a request
is parsed, checked and encoded in 5 ms; an environment has at most :data:`MAX_ENVIRONMENT_NAMES`."""

MAX_JSON_COMMAND = 4 * 1024
"""Characters of a command that this implementation sends within the JSON object; a longer one stands after it."""

MAX_NUMBER_CHARACTERS = 20
"""Characters of a number in JSON: :data:`MAX_OFFSET` has 19.  The time to read a number grows with the square of its
length."""

MAX_UNACKNOWLEDGED = 64
"""Control messages that may be under way in one direction; it bounds the log that a resume repeats."""

ACKNOWLEDGE_EVERY = 16
"""Control messages after which the receiver acknowledges: a quarter of :data:`MAX_UNACKNOWLEDGED`, so that the sender
never waits for an acknowledgement that is not on its way."""

MAX_AUTH_ATTEMPTS = 3
"""AUTH frames on one link.  OpenSSH allows six attempts; our client has one key."""

MAX_CHANNELS = 128
"""The most jobs that a server may allow a session at once.  RESUME lists how much of every channel has arrived: with
:data:`MAX_REFUSED_CHANNELS` more, it still fits a frame of :data:`MAX_LOGIN_FRAME_BYTES`."""

MAX_CHANNEL_ID = 2**32 - 1
"""The highest channel number, of 32 bits; numbers only grow, and none is used twice in a session."""

MAX_OFFSET = 2**63 - 1
"""The highest stream offset in bytes, and the highest sequence number: fits a signed 64-bit integer everywhere."""

MAX_REFUSED_CHANNELS = 64
"""Refused channels, beyond the channel limit itself, that a client may leave unclosed before the server aborts its
link."""

MAX_ANSWERS = 5
"""Control messages that a server sends on one channel: OPENED, STOP, two ENDs and EXIT.  A client keeps a channel until
it has EXIT.  So at most this many for each channel that it may have, and one SUSPENDED or INSPECTED besides, can wait
for its acknowledgement."""

MIN_WINDOW = 4 * 1024
"""Bytes: the smallest window worth having, a page."""

DEFAULT_WINDOW = 256 * 1024
"""Bytes of a stream that may be sent and not yet consumed, at its start: bandwidth times delay of 100 Mbit/s at 20 ms.
Every stream is sure of as many."""

MAX_WINDOW = 16 * 1024 * 1024
"""Bytes: the largest window that a server may announce, and that a receiver may grant, as OpenSSH's hard limit for one
channel's input; 320 MB/s at 50 ms."""

START_WINDOWS = 4
"""Windows of the start that a stream gets with its first credit: 1 MiB of :data:`DEFAULT_WINDOW`.  Commands that write
little never get there, and what a stream has at once is the same for thousands of them."""

MAX_WINDOWS = 64
"""Windows of the start that a window may grow to: :data:`MAX_WINDOW` of :data:`DEFAULT_WINDOW`.  A server with a
smaller window has less memory, or wants less under way."""

GROW_ROUND_TRIPS = 2
"""Round trips within which a window is used up that is too small: a sender that waits for credit takes one, and a
quarter of the window passes before the receiver grants the next."""

SHRINK_ROUND_TRIPS = 8
"""Round trips beyond which a window that is not used up is too large: half of it still has twice the time at which it
would grow again, so that no window changes all the time."""

SESSION_RESERVE_BYTES = 32 * 1024 * 1024
"""Bytes by which the windows of one session may grow, together, at each end: two streams of :data:`MAX_WINDOW`."""

MAX_REPLY_OUTPUT_BYTES = 2 * 1024
"""Bytes of both outputs in one REPLY, no more than :data:`MIN_WINDOW`.  They stay in the log of a resume until they are
acknowledged, at most those of :data:`ACKNOWLEDGE_EVERY` messages: 32 KiB of an idle session."""

MAX_REQUEST_BYTES = 128 * 1024
"""Bytes of a request's command or argument vector and its environment together, as Linux limits one argument."""

MAX_SCRIPT_BYTES = 1024 * 1024
"""Bytes of a command for a persistent shell, which reads it from a pipe, so that no limit of an argument applies;
longer programs belong into a file."""

MAX_TERMINAL_SIZE = 2**16 - 1
"""Columns, and rows, of a terminal: the kernel keeps each in 16 bits (``struct winsize``)."""

MAX_SUBSYSTEM_BYTES = 64
"""Bytes of a subsystem's name; a name with a domain after it fits."""

MAX_ENCODING_BYTES = 64
"""Bytes of the name of a code page: three times the longest name that Python has."""

MAX_TYPED_AHEAD_BYTES = 1024
"""Bytes that were typed after a command and travel with it: a password and some lines; the rest follows as input."""

MAX_UNREAD_BYTES = 8 * 1024
"""Bytes typed for a command that travel back unread with its ending: a terminal holds half as many."""

MAX_TERM_BYTES = 64
"""Bytes of a terminal's type: twice the longest name in ncurses' database."""

MAX_TERMINAL_MODES = 64
"""Settings of a terminal in one request: more than there are names."""

MAX_CWD_BYTES = 4 * 1024
"""Bytes of a working folder's path: Linux's ``PATH_MAX``."""

MAX_ENVIRONMENT_VALUE_BYTES = 4 * 1024
"""Bytes of one environment value: more than any variable needs, unless it smuggles a file."""

MAX_ENVIRONMENT_NAMES = 1024
"""Environment additions in one request: more than a whole ordinary environment has."""

MAX_TEXT_BYTES = 4 * 1024
"""Bytes of a text meant for people: the reason of a refusal, the name of a code page."""

MAX_UNAVAILABLE_BYTES = 512
"""Bytes of the text in UNAVAILABLE: one line.  JSON escapes make it grow up to six times, and it still fits a frame of
:data:`MAX_LOGIN_FRAME_BYTES`."""

MAX_USER_BYTES = 256
"""Bytes of a user name: Linux's ``LOGIN_NAME_MAX``."""

SESSION_ID_BYTES = 16
"""Bytes of a session's identifier, which is random: so many that no two sessions have the same."""

PROOF_BYTES = 32
"""Bytes of a resume's proof, and of the secret that it is made with: an HMAC-SHA256 and its key."""

INVITATION_NAME_BYTES = 8
"""Bytes of the name of an invitation: a part of a digest, so many that two invitations never have the same."""

MAX_INVITATION_FAILURES = 5
"""Wrong proofs under the name of an invitation that end it.  Only a client that has seen its line knows the name."""

MAX_NEXT_KEY_BYTES = 512
"""Bytes of a server's next public key, and of each signature of it, at most: a key on P-256 takes 91, and all three fit
a frame of the login."""

REPLAY_BYTES = 64 * 1024
"""Bytes that a resume repeats in one go, before the link is asked again whether it takes more: as many as a turn of
the reactor writes otherwise."""

MAX_DETACH_SECONDS = 30 * 24 * 60 * 60
"""Seconds for which a server may keep a session without a link: 30 days, longer than any absence that ends in a
resume."""

MAX_LISTED_JOBS = 60
"""Background jobs of a shell in one answer: each is an object, and they fit :data:`MAX_JSON_CONTAINERS`."""

MAX_JOB_COMMAND_BYTES = 256
"""Bytes of the command line of a background job: three lines of a terminal.  All jobs of an answer take 15 KiB."""

MAX_TIMEOUT_MS = 2**53 - 1
"""Milliseconds of a time-out: the largest integer that every JSON implementation carries exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """The bounds of one session that an operator may choose.

    :ivar window: bytes of each stream that may be sent and not yet consumed, from :data:`MIN_WINDOW` to
        :data:`MAX_WINDOW`.
    :ivar max_channels: jobs at once in one session, from 1 to :data:`MAX_CHANNELS`.
    :ivar keepalive_interval: seconds of silence after which a side pings its peer.
    :ivar keepalive_misses: intervals of silence after which the link counts as dead.
    :ivar detach_seconds: the longest time, in seconds, for which the server keeps a session that has lost its link,
        from 0 to :data:`MAX_DETACH_SECONDS`; a session with 0 ends with its link.
    """

    window: int = DEFAULT_WINDOW
    max_channels: int = 64
    keepalive_interval: float = 15.0
    keepalive_misses: int = 3
    detach_seconds: int = 3600

    def with_signs_of_life(self, interval: float | None, misses: int | None) -> SessionLimits:
        """Return these bounds with others for the signs of life, as ssh's ``ServerAliveInterval`` has them.

        :param interval: seconds of silence; ``None`` to leave them.
        :param misses: how many intervals may be missed; ``None`` to leave it.  1 counts as 2: a link that could miss
            one interval alone would be lost before the peer has been asked.
        """
        return replace(
            self,
            keepalive_interval=self.keepalive_interval if interval is None else interval,
            keepalive_misses=self.keepalive_misses if misses is None else max(misses, 2),
        )
