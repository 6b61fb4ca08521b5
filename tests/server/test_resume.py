"""RESUME at a server: who may, over what, and that nobody else can even tell."""

from __future__ import annotations

from tests.server.resuming import Resumer
from tests.server.rig import Rig
from twisted_rsh.core.endings import Exited
from twisted_rsh.core.messages import Data, Exit, Open, Opened
from twisted_rsh.core.positions import Positions
from twisted_rsh.core.roles import Stream

STDIN, STDOUT, STDERR = Stream
OPEN = Open(channel=1, command="true")


def test_output_and_ending_after_a_cut(rig: Rig) -> None:
    """M-06: a job that ends without a link: its client gets the output, and then the ending."""
    resumer = Resumer(rig)
    resumer.client.say(OPEN)
    (job,) = rig.user.jobs
    job.owner.output_received(STDOUT, b"before")
    resumer.client.exchange()
    heard = resumer.client.heard()
    assert heard == [Opened(channel=1, encoding="utf-8"), Data(1, STDOUT, 0, b"before")]
    resumer.lose()
    assert job.owner.output_room(STDOUT) == 0
    job.end(Exited(7))
    client = resumer.resume(Positions(1, ((1, (6, 0)),)))
    assert client.heard()[-1] == Exit(channel=1, ending=Exited(7), stdout=6, stderr=0, held_open=False)
