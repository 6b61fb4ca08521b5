"""The turns of the reactor are divided among links: no link holds one, and none waits long for its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock

from tests.link.recorder import BAD, Recorder, over_tls
from tests.link.wire import RawClient, frame
from twisted_rsh.link.turns import DOUBT_SECONDS, OLDEST_FIRST_TURNS, SLICE_SECONDS, TURN_SECONDS, Turns

FRAME_SECONDS = SLICE_SECONDS / 4
"""The time that a frame takes in these tests."""


class Busy:
    """Links that share their turns, and whose frames take time.

    :ivar clock: the time, which passes only while frames are handled.
    :ivar handled: the links whose frames were handled, in order.
    """

    def __init__(self, count: int) -> None:
        self.clock = Clock()
        self.handled: list[Recorder] = []
        turns = Turns(self.clock)
        self.ends = [over_tls(self.clock, turns) for _ in range(count)]
        for link, _ in self.ends:
            link.act = self._work(link)

    def _work(self, link: Recorder) -> Callable[[bytes], None]:
        def act(_payload: bytes) -> None:
            self.clock.rightNow += FRAME_SECONDS
            self.handled.append(link)

        return act

    def arrive(self, client: RawClient, *payloads: bytes) -> None:
        """Let frames arrive in one piece, in the current turn."""
        client.queue(b"".join(map(frame, payloads)))
        client.arrive()

    def turn(self) -> float:
        """Go on to the next turn; return how long it took."""
        return turn(self.clock)


def turn(clock: Clock) -> float:
    """Make the calls that are due, without those that these plan, as Clock.advance would; return how long it took."""
    began = clock.seconds()
    for call in list(clock.calls):
        if call.getTime() <= began:
            clock.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)
    return clock.seconds() - began


def reads(client: RawClient) -> bool:
    """Tell whether the other end takes what arrives."""
    return client.wire.is_reading


def numbered(count: int) -> list[bytes]:
    """Return so many payloads."""
    return [b"%d" % number for number in range(count)]


def test_a_frame_that_takes_long_and_is_the_last() -> None:
    """A frame that takes more than a slice ends it; where nothing is left behind it, the link reads on at once."""
    busy = Busy(1)
    [(link, client)] = busy.ends

    def act(_payload: bytes) -> None:
        busy.clock.rightNow += 2 * SLICE_SECONDS

    link.act = act
    busy.arrive(client, b"slow")
    assert link.frames == [b"slow"]
    assert reads(client)
    busy.turn()
    busy.arrive(client, b"slow", b"left")
    assert link.frames == [b"slow", b"slow"]
    assert not reads(client)
    busy.turn()
    busy.turn()  # the link has used up the one before
    assert link.frames == [b"slow", b"slow", b"left"]
    assert reads(client)


def test_frames_that_arrive_together() -> None:
    """A link handles a slice of them at a time, reads nothing meanwhile, and loses and swaps none."""
    busy = Busy(1)
    [(link, client)] = busy.ends
    began = busy.clock.seconds()
    busy.arrive(client, *numbered(100))
    assert busy.clock.seconds() - began == pytest.approx(SLICE_SECONDS)
    assert not reads(client)
    turns = 0
    while not reads(client):
        assert busy.turn() <= SLICE_SECONDS + FRAME_SECONDS
        turns += 1
    assert link.frames == numbered(100)
    assert turns == pytest.approx(100 * FRAME_SECONDS / SLICE_SECONDS, abs=1)
    busy.arrive(client, b"next")
    assert link.frames[-1] == b"next"


def test_a_turn_is_bounded_for_all_links_together() -> None:
    """Many links with many frames take no more of one turn than its bound and a frame."""
    busy = Busy(20)
    began = busy.clock.seconds()
    for _, client in busy.ends:
        busy.arrive(client, *numbered(20))
    # What is read in one piece and the calls behind that are one turn: no ping is read in between.
    assert busy.clock.seconds() - began + busy.turn() <= TURN_SECONDS + SLICE_SECONDS
    for _ in range(200):
        assert busy.turn() <= TURN_SECONDS + SLICE_SECONDS
    assert all(link.frames == numbered(20) for link, _ in busy.ends)


def test_links_take_turns() -> None:
    """No link handles a second slice before every other that has frames has had one."""
    busy = Busy(6)
    for _, client in busy.ends:
        busy.arrive(client, *numbered(40))
    while not all(client.wire.is_reading for _, client in busy.ends):
        busy.turn()
    most = {id(link): 0 for link, _ in busy.ends}
    for link in busy.handled:
        most[id(link)] += 1
        assert max(most.values()) - min(most.values()) <= 2 * SLICE_SECONDS / FRAME_SECONDS


def test_a_ping_beside_a_flood() -> None:
    """A link that has waited for nothing yet is served in the turn in which its frame arrives."""
    busy = Busy(3)
    (_, flood), (_, another), (link, client) = busy.ends
    busy.arrive(flood, *numbered(500))
    busy.arrive(another, *numbered(500))
    for number in range(20):
        busy.turn()
        busy.arrive(client, b"ping")
        assert link.frames == [b"ping"] * (number + 1)


def test_a_breach_in_a_later_turn() -> None:
    """Nothing behind a breach is handled, whenever its turn comes, and nothing is held."""
    busy = Busy(1)
    [(link, client)] = busy.ends
    busy.arrive(client, *numbered(10), BAD, b"never")
    for _ in range(10):
        busy.turn()
    assert link.frames == [*numbered(10), BAD]
    assert client.wire.aborted()
    assert (link._unprocessed, link._arrived) == (b"", [])
    assert len(link.reasons) == 1


def test_a_connection_that_ends_before_its_frames_have_had_their_turn() -> None:
    """What arrived before the end counts; the link learns of the end behind it, once."""
    busy = Busy(1)
    [(link, client)] = busy.ends
    busy.arrive(client, *numbered(30))
    client.wire.lose(ConnectionDone())
    assert link.reasons == []
    for _ in range(10):
        busy.turn()
    assert link.frames == numbered(30)
    assert len(link.reasons) == 1


def test_answers_to_frames_of_a_connection_that_has_ended() -> None:
    """Frames that are handled behind the end of their connection may be answered; the answers are dropped."""
    busy = Busy(1)
    [(link, client)] = busy.ends
    busy.arrive(client, *numbered(30))
    client.wire.lose(ConnectionDone())
    cast("Any", link.tls)._tlsConnection = None  # as in any connection whose end TLS has seen
    act = link.act
    assert act is not None

    def answer(payload: bytes) -> None:
        act(payload)
        link.write_frames([payload])

    link.act = answer
    for _ in range(10):
        busy.turn()
    assert link.frames == numbered(30)
    assert link.fault is None
    assert len(link.reasons) == 1


def test_a_breach_behind_the_end_of_its_connection() -> None:
    """It ends the link once, and the turns of the others go on."""
    busy = Busy(2)
    (link, client), (other, others_client) = busy.ends
    busy.arrive(client, *numbered(10), BAD)
    busy.arrive(others_client, *numbered(30))
    client.wire.lose(ConnectionDone())
    cast("Any", link.tls)._tlsConnection = None  # as above
    for _ in range(20):
        busy.turn()
    assert link.frames == [*numbered(10), BAD]
    assert len(link.reasons) == 1
    assert other.frames == numbered(30)


def test_an_abort_while_frames_wait() -> None:
    """A link that is aborted drops the frames that wait, and is not read again."""
    busy = Busy(1)
    [(link, client)] = busy.ends
    busy.arrive(client, *numbered(30))
    before = len(link.frames)
    link.fail("enough")
    for _ in range(10):
        busy.turn()
    assert len(link.frames) == before
    assert not client.wire.is_reading
    assert link.reasons == ["enough"]


class Owner:
    """Someone for whom work is done."""


class Costs:
    """Work whose cost is known, shared out among owners.

    :ivar order: what was done, in order.
    """

    def __init__(self) -> None:
        self.clock, self.order = Clock(), list[str]()
        self.turns = Turns(self.clock)

    def run(self, owner: Owner, name: str, seconds: float, times: int = 1) -> bool:
        """Have one piece of work done, or several that need a slice each."""
        left = [name] * times

        def act(_until: float) -> bool:
            self.clock.rightNow += seconds
            self.order.append(left.pop())
            return bool(left)

        return self.turns.run(owner, act)


def test_the_shortest_slices_go_first() -> None:
    """When a turn is used up, the next begins with the one whose slices were the shortest lately."""
    costs, heavy, light = Costs(), Owner(), Owner()
    for _ in range(20):
        assert not costs.run(light, "light", 0.0)
    assert not costs.run(heavy, "heavy", TURN_SECONDS)
    assert costs.run(heavy, "heavy again", SLICE_SECONDS)
    assert costs.run(light, "light again", SLICE_SECONDS)
    turn(costs.clock)
    assert costs.order[20:] == ["heavy"], "its frame and the calls behind it are one turn"
    turn(costs.clock)
    assert costs.order[20:] == ["heavy", "light again", "heavy again"]


def test_an_owner_that_does_nothing_for_hours() -> None:
    """What is known of an owner is halved each second in which others wait; it never comes to nothing."""
    costs, idle, busy = Costs(), Owner(), Owner()
    assert not costs.run(idle, "idle", SLICE_SECONDS)
    for _ in range(2000):
        costs.clock.rightNow += 1.5
        assert costs.run(busy, "busy", TURN_SECONDS, times=2)
        while costs.clock.calls:
            turn(costs.clock)
    assert not costs.run(busy, "busy", SLICE_SECONDS / 2)
    assert not costs.run(idle, "idle", SLICE_SECONDS)
    assert costs.order[-1] == "idle"


def test_work_that_breaks() -> None:
    """An error in the work of one holds up no other."""
    costs, other = Costs(), Owner()

    def broken(_until: float) -> bool:
        raise ZeroDivisionError

    assert not costs.run(Owner(), "first", TURN_SECONDS)
    assert costs.turns.run(Owner(), broken)
    assert costs.run(other, "other", SLICE_SECONDS)
    turn(costs.clock)
    with pytest.raises(ZeroDivisionError):
        turn(costs.clock)
    turn(costs.clock)
    assert costs.order == ["first", "other"]


def test_costly_frames_of_new_links() -> None:
    """F-08: a link whose frames have cost little waits for two costly frames at most, however many links have one."""
    costs, ping = Costs(), Owner()
    new = [Owner() for _ in range(30)]
    for _ in range(50):
        costs.run(ping, "ping", 0.0001)
    for number, owner in enumerate(new):
        costs.run(owner, f"costly {number}", DOUBT_SECONDS)
    for number in range(50, 90):
        costs.run(ping, "ping", 0.0001)
        for _ in range(2):
            if costs.order.count("ping") == number:
                turn(costs.clock)
        assert costs.order.count("ping") == number + 1
        turn(costs.clock)
    assert {f"costly {number}" for number in range(30)} < set(costs.order)


def test_what_arrives_in_every_turn_starves_no_link_that_waits() -> None:
    """Links that use up every turn as their frames arrive leave every other turn to those that wait."""
    costs = Costs()
    assert not costs.run(Owner(), "first", TURN_SECONDS)
    assert costs.run(Owner(), "waiting", SLICE_SECONDS)
    for _ in range(3):
        costs.run(Owner(), "arriving", TURN_SECONDS)
        turn(costs.clock)
    assert "waiting" in costs.order


def test_links_with_short_slices_starve_no_other() -> None:
    """While light links use every turn up, one with longer slices still gets its turns."""
    costs, heavy = Costs(), Owner()
    assert not costs.run(Owner(), "first", TURN_SECONDS)
    assert costs.run(heavy, "heavy", DOUBT_SECONDS, times=3)
    lights = [Owner() for _ in range(20)]
    for owner in lights:
        assert costs.run(owner, "light", SLICE_SECONDS / 4, times=1000)
    for _ in range(len(lights) * OLDEST_FIRST_TURNS * 2):
        turn(costs.clock)
    assert costs.order.count("heavy") == 3
    assert costs.order.count("light") < 20000
