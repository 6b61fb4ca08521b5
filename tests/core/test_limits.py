"""The bounds hold together.

Each constant is tested at the bound and one past it in test_bounds.  This file tests the relations between constants
that their reasons state.
"""

from __future__ import annotations

import json
import math

import pytest

from twisted_rsh.core import limits
from twisted_rsh.core.codec import encode_control
from twisted_rsh.core.endings import RefusalReason, Refused, ResourceUsage
from twisted_rsh.core.messages import Data, Exit, Open
from twisted_rsh.core.requests import MODE_NAMES, JobRequest, Terminal

OF_THE_REQUEST = {
    "MAX_CWD_BYTES",
    "MAX_ENVIRONMENT_NAMES",
    "MAX_ENVIRONMENT_VALUE_BYTES",
    "MAX_REQUEST_BYTES",
    "MAX_SCRIPT_BYTES",
}
"""Bounds that the server's plan for a job checks, and the core does not."""


def test_every_constant_is_a_positive_integer_with_a_reason() -> None:
    """Every exported constant is a positive integer."""
    constants = {name: getattr(limits, name) for name in limits.__all__ if name.isupper()}
    assert all(type(value) is int and value > 0 for value in constants.values())
    assert constants.keys() >= OF_THE_REQUEST


def test_frames_hold_what_they_carry() -> None:
    """F-13: no data frame, part or cut message is longer than a frame."""
    assert 1 + Data.layout.size + limits.MAX_DATA_BYTES <= limits.MAX_FRAME_BYTES
    assert 9 + limits.MAX_PART_BYTES <= limits.MAX_FRAME_BYTES
    assert limits.MAX_LOGIN_FRAME_BYTES <= limits.MAX_FRAME_BYTES


def test_a_request_of_ordinary_length_waits_for_nothing() -> None:
    """All parts of a request without a script may be under way together, however its text is escaped."""
    escaped = len(json.dumps("\0")) - 2
    text = limits.MAX_REQUEST_BYTES + limits.MAX_CWD_BYTES
    assert escaped * text / limits.MAX_PART_BYTES < limits.MAX_UNACKNOWLEDGED


def test_acknowledgements_come_in_time() -> None:
    """A receiver acknowledges before the sender has to wait."""
    assert limits.ACKNOWLEDGE_EVERY * 4 == limits.MAX_UNACKNOWLEDGED


def test_any_request_fits_a_message() -> None:
    """The longest request that a server accepts fits a message, however its text is escaped."""
    names = tuple((f"{number:02}", "\0" * limits.MAX_ENVIRONMENT_VALUE_BYTES) for number in range(32))
    assert sum(len(name) + len(value) for name, value in names) > limits.MAX_REQUEST_BYTES
    terminal = Terminal(term="\0" * limits.MAX_TERM_BYTES, modes=tuple((name, 255) for name in MODE_NAMES))
    longest = Open(
        channel=limits.MAX_CHANNEL_ID,
        request=JobRequest(
            command="\0" * limits.MAX_SCRIPT_BYTES,
            cwd="\0" * limits.MAX_CWD_BYTES,
            environment=names,
            timeout=limits.MAX_TIMEOUT_MS / 1000,
            terminal=terminal,
            max_output=limits.MAX_OFFSET,
            max_cpu=limits.MAX_TIMEOUT_MS / 1000,
            max_memory=limits.MAX_OFFSET,
        ),
    )
    payloads = encode_control(longest, 0)
    assert sum(map(len, payloads)) < limits.MAX_CONTROL_BYTES


def test_every_setting_of_a_terminal_can_be_named() -> None:
    """A request has room for all settings of a terminal at once."""
    assert len(MODE_NAMES) <= limits.MAX_TERMINAL_MODES


def test_a_server_sends_no_parts() -> None:
    """Each message of a server is one frame, because the bound on what waits for a client counts messages."""
    worst = Refused(RefusalReason.TOO_MANY_CHANNELS, "\0" * limits.MAX_TEXT_BYTES)
    longest = Exit(
        channel=limits.MAX_CHANNEL_ID,
        ending=worst,
        stdout=limits.MAX_OFFSET,
        stderr=limits.MAX_OFFSET,
        held_open=False,
        usage=ResourceUsage(wall=math.inf, user=math.inf, system=math.inf, peak_memory=limits.MAX_OFFSET),
    )
    assert len(encode_control(longest, 0)) == 1


@pytest.mark.parametrize(
    "bound", ["window", "max_channels", "keepalive_interval", "keepalive_misses", "detach_seconds"]
)
def test_limits_are_given_by_name(bound: str) -> None:
    """Each limit has a default and can be given by name."""
    assert limits.SessionLimits(**{bound: 5}) != limits.SessionLimits()
    assert limits.SessionLimits() == limits.SessionLimits()


def test_the_default_window_is_allowed() -> None:
    """The default window lies between the smallest and the largest."""
    assert limits.MIN_WINDOW <= limits.DEFAULT_WINDOW <= limits.MAX_WINDOW


def test_the_default_session_is_allowed() -> None:
    """The default numbers of jobs and of seconds without a link are within their bounds."""
    defaults = limits.SessionLimits()
    assert 1 <= defaults.max_channels <= limits.MAX_CHANNELS
    assert 0 <= defaults.detach_seconds <= limits.MAX_DETACH_SECONDS
