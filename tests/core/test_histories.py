"""M-03: random histories of a session whose links die.

``TWISTED_RSH_HISTORIES`` says how many; it is 10,000 where ``CI`` is set, and 1,000,000 is for a night.  They follow
from ``TWISTED_RSH_SEED``, which is printed.  Several tests share them, and so the processors.
"""

from __future__ import annotations

import os
import random

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from tests.core.histories import Histories, run_history

pytestmark = pytest.mark.exhaustive

COUNT = int(os.environ.get("TWISTED_RSH_HISTORIES") or ("10000" if os.environ.get("CI") else "1000"))
SEED = int(os.environ.get("TWISTED_RSH_SEED") or "20261123")
PART = 2500
"""Histories of one test at most: far fewer than fit into the time after which a test counts as one that hangs."""


class RandomHistories(RuleBasedStateMachine):
    """A few bursts, each of a kind of its own; a failure is shrunk to fewer and shorter ones."""

    def __init__(self) -> None:
        super().__init__()
        self.history = Histories(random.Random(0))

    @rule(start=st.integers(0, 2**32 - 1), count=st.integers(1, 80))
    def burst(self, start: int, count: int) -> None:
        """Do some things."""
        dice = random.Random(start)
        self.history.network.dice = self.history.dice = dice
        self.history.burst(dice, count)

    def teardown(self) -> None:
        """The network heals: everything arrives, and everything ends."""
        self.history.finish()


@pytest.mark.parametrize("first", range(0, COUNT, PART))
def test_random_histories(first: int, capsys: pytest.CaptureFixture[str]) -> None:
    """M-03: no byte, command, signal or ending is lost or repeated; no client is locked out, and no stranger gets in.

    M-08, M-09, M-10, M-11, M-12, M-13: among what happens are links that the server believes in while the client dials,
    late attempts, stolen identifiers, retired secrets, recorded frames and impossible offsets.
    """
    count = min(PART, COUNT - first)
    with capsys.disabled():
        print(f" {count} of {COUNT} histories from TWISTED_RSH_SEED={SEED} ", end="", flush=True)
    run_state_machine_as_test(
        seed(SEED + first)(RandomHistories),
        settings=settings(
            max_examples=count,
            stateful_step_count=6,
            database=None,
            deadline=None,
            print_blob=False,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_histories_have_resumes() -> None:
    """In a hundred histories, everything happens that the checks are about."""
    histories = [run_history(number) for number in range(100)]
    assert sum(history.network.resumes for history in histories) > 400
    assert sum(len(history.network.retired) for history in histories) > 300
    jobs = [job for history in histories for job in history.jobs.values()]
    assert sum(job.signals_received for job in jobs) > 500
    assert sum(job.closed for job in jobs) > 50
    assert sum(flow.received for job in jobs for flow in job.flows.values()) > 1_000_000
    assert sum(flow.seen_end for job in jobs for flow in job.flows.values()) > 100
