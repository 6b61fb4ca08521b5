"""Every message of the protocol; ``docs/protocol.rst`` describes each of them byte by byte.

They are declared in ``login_messages``, ``session_messages``, ``stream_messages`` and ``job_messages``.
"""

from __future__ import annotations

from twisted_rsh.core.bodies import Message
from twisted_rsh.core.job_messages import Close, Exit, Open, Opened, Resize, Signal, Suspended
from twisted_rsh.core.login_messages import Auth, AuthFail, AuthOk, Resume, ResumeFail, ResumeOk
from twisted_rsh.core.session_messages import Ack, Goodbye, Part, Ping, Pong
from twisted_rsh.core.stream_messages import Credit, Data, End, Stop

__all__ = [
    "MESSAGES",
    "Ack",
    "Close",
    "Credit",
    "Data",
    "End",
    "Exit",
    "Goodbye",
    "Open",
    "Opened",
    "Part",
    "Ping",
    "Pong",
    "Resize",
    "Signal",
    "Stop",
    "Suspended",
]

MESSAGES: tuple[type[Message], ...] = (
    *(Auth, AuthOk, AuthFail, Resume, ResumeOk, ResumeFail),
    *(Data, Credit, Ack, Ping, Pong),
    *(Part, Open, Opened, Exit, End, Stop, Signal, Close, Goodbye, Resize, Suspended),
)
"""Every message of the protocol."""
