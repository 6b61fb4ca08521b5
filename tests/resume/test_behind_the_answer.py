"""The frames right behind a server's answer to RESUME: everything that it has to say, with nothing left for later."""

from __future__ import annotations

from tests.server.resuming import Resumer
from tests.server.rig import Rig
from twisted_rsh.core.messages import Credit, Data, Open, Positions
from twisted_rsh.core.requests import JobRequest
from twisted_rsh.core.roles import Stream


def test_credit_follows_what_is_repeated() -> None:
    """M-01: credit is announced behind the last repeated byte, and does not wait for the client to say something: the
    client may have nothing to say before it has credit."""
    rig = Rig()
    resumer = Resumer(rig)
    resumer.client.say(Open(channel=1, request=JobRequest(command="cat")), Data(1, Stream.STDIN, 0, b"input"))
    (job,) = rig.user.jobs
    job.owner.input_consumed(5)
    job.owner.output_received(Stream.STDOUT, b"lost on the way")
    resumer.lose()
    client = rig.connect()
    resumer.welcome(client, resumer.ask(client, Positions(1, ((1, (0, 0)),))))
    heard = client.heard()
    assert heard[0] == Data(1, Stream.STDOUT, 0, b"lost on the way")
    assert Credit(1, Stream.STDIN, rig.limits.window + 5, 5) in heard
