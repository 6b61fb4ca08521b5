"""Events are values."""

from __future__ import annotations

import dataclasses
import typing

import pytest

from twisted_rsh.core import events
from twisted_rsh.core.roles import Stream


def test_the_union_is_complete() -> None:
    """The members of ``Event`` are all events that the module exports."""
    members = {member.__name__ for member in typing.get_args(events.Event)}
    assert members | {"Event"} == set(events.__all__)


def test_events_are_frozen() -> None:
    """An event cannot be changed."""
    event = events.StreamEnded(1, Stream.STDOUT)
    assert event == events.StreamEnded(1, Stream.STDOUT)
    with pytest.raises(dataclasses.FrozenInstanceError):
        event.channel = 2  # type: ignore[misc]  # that is what is tested
