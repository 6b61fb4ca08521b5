"""Thousands of clients come back at once: what the server turns away at random and how long the clients wait fit."""

from __future__ import annotations

import heapq
from random import Random

import pytest

from twisted_rsh.client.reconnecting import retry_delay
from twisted_rsh.core.requests import COMMAND_GRACE_SECONDS
from twisted_rsh.server.admission import Admission

CLIENTS = 2000

OUTAGE_SECONDS = 3.0

RESUME_CPU_SECONDS = 0.004
"""Seconds of the server's processor that one resume takes."""

DROP_CPU_SECONDS = 0.0003
"""Seconds of it that a connection takes that is turned away."""

ROUND_TRIPS = 3
"""Round trips between the connection and the end of the resume: TLS, and RESUME with its answer."""


def seconds_until_all_are_back(round_trip: float, source: str | None) -> float:
    """Play the return of all clients to a server with one processor, from the first dial of each to the last resume."""
    draw = Random(1)
    admission = Admission(draw)
    events = [(draw.random() * round_trip, client, 0, False) for client in range(CLIENTS)]
    heapq.heapify(events)
    free_at = 0.0
    while events:
        time, client, failures, is_admitted = heapq.heappop(events)
        begins_at = max(time, free_at)  # what has come waits until the server has done what came before
        if is_admitted:
            free_at = begins_at + RESUME_CPU_SECONDS
            admission.leave(source)
        elif admission.admit(source):
            heapq.heappush(events, (begins_at + ROUND_TRIPS * round_trip, client, failures, True))
        else:
            free_at = begins_at + DROP_CPU_SECONDS
            again = begins_at + round_trip + retry_delay(failures + 1, draw.random())
            heapq.heappush(events, (again, client, failures + 1, False))
    return free_at


@pytest.mark.parametrize(
    ("round_trip", "source"), [(0.001, None), (0.02, None), (0.1, None), (0.001, "192.0.2.1"), (0.05, "192.0.2.1")]
)
def test_all_come_back_in_time(round_trip: float, source: str | None) -> None:
    """M-16: 2,000 clients, each a program of its own, are back within the grace of their commands after an outage, from
    many addresses, or from one that is not far away."""
    assert seconds_until_all_are_back(round_trip, source) < COMMAND_GRACE_SECONDS - OUTAGE_SECONDS
