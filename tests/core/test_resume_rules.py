"""M-03: every rule of a resume is needed: with any of them left out, some history goes wrong.

Each mutant is run through histories that follow from seeds 0, 1, 2 ... until an oracle fails.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Any

import pytest

from tests.core.histories import run_history
from twisted_rsh.core import resuming
from twisted_rsh.core.credit import Kept, ReceiveStream, SendStream
from twisted_rsh.core.messages import Positions, Resume, ResumeOk
from twisted_rsh.core.resuming import ClientProof, LinkBinding, ServerProof
from twisted_rsh.core.sequence import ControlOutbox
from twisted_rsh.core.server_session import ServerSession
from twisted_rsh.core.session import Session

HISTORIES = 200
"""Histories in which a mutant must have been found."""

Mutate = Callable[[pytest.MonkeyPatch], None]
MUTANTS: dict[str, Mutate] = {}


def mutant(mutate: Mutate) -> Mutate:
    """Enter a mutant by its name."""
    MUTANTS[mutate.__name__] = mutate
    return mutate


# The proof.


@mutant
def no_attempt_counter(patch: pytest.MonkeyPatch) -> None:
    """The server accepts an old attempt."""

    def verifies(self: ServerProof, claim: Resume, link: LinkBinding) -> bool:
        return self._secret_of(claim, link) is not None

    patch.setattr(ServerProof, "verifies", verifies)


@mutant
def server_switches_at_once(patch: pytest.MonkeyPatch) -> None:
    """The server accepts only the new secret as soon as it has answered."""
    accept = ServerProof.accept

    def accept_at_once(
        self: ServerProof, claim: Resume, link: LinkBinding, positions: Positions, fresh: bytes
    ) -> ResumeOk:
        answer = accept(self, claim, link, positions, fresh)
        self.confirm()
        return answer

    patch.setattr(ServerProof, "accept", accept_at_once)


@mutant
def server_never_switches(patch: pytest.MonkeyPatch) -> None:
    """The server goes on accepting the old secret."""
    patch.setattr(ServerProof, "confirm", lambda _self: None)


@mutant
def client_switches_early(patch: pytest.MonkeyPatch) -> None:
    """The client uses the secret of a link over which it has only asked."""
    claim = ClientProof.claim

    def claim_early(self: ClientProof, link: LinkBinding, positions: Positions) -> Resume:
        made = claim(self, link, positions)
        self._secret = hmac.digest(b"", link.exporter, "sha256")
        return made

    patch.setattr(ClientProof, "claim", claim_early)


@mutant
def client_takes_any_answer(patch: pytest.MonkeyPatch) -> None:
    """The client accepts the answer to an attempt that it gave up."""
    confirm = ClientProof.confirm

    def confirm_any(self: ClientProof, claim: Resume, answer: ResumeOk, link: LinkBinding, fresh: bytes) -> None:
        latest, self._attempt = self._attempt, claim.attempt
        try:
            confirm(self, claim, answer, link, fresh)
        finally:
            self._attempt = latest

    patch.setattr(ClientProof, "confirm", confirm_any)


@mutant
def client_believes_any_server(patch: pytest.MonkeyPatch) -> None:
    """The client does not check the server's proof."""

    def confirm(self: ClientProof, claim: Resume, _answer: ResumeOk, _link: LinkBinding, fresh: bytes) -> None:
        if claim.attempt == self._attempt:
            self._secret = fresh

    patch.setattr(ClientProof, "confirm", confirm)


# The parts of a proof.


def without(patch: pytest.MonkeyPatch, leave_out: Callable[..., tuple[Any, ...]]) -> None:
    """Change the parts of a proof: link, session, attempt and positions."""
    prove = resuming._proof

    def prove_less(label: bytes, secret: bytes, *parts: Any) -> bytes:
        return prove(label, secret, *leave_out(*parts))

    patch.setattr(resuming, "_proof", prove_less)


@mutant
def proof_for_any_connection(patch: pytest.MonkeyPatch) -> None:
    """A proof is not bound to its TLS connection."""
    without(patch, lambda link, name, attempt, said: (LinkBinding(bytes(32), link.pin), name, attempt, said))


@mutant
def proof_for_any_server(patch: pytest.MonkeyPatch) -> None:
    """A proof is not bound to the server's key."""
    without(patch, lambda link, name, attempt, said: (LinkBinding(link.exporter, bytes(32)), name, attempt, said))


@mutant
def proof_for_any_attempt(patch: pytest.MonkeyPatch) -> None:
    """A proof is not bound to its attempt."""
    without(patch, lambda link, name, _attempt, said: (link, name, 0, said))


@mutant
def proof_for_any_positions(patch: pytest.MonkeyPatch) -> None:
    """A proof is not bound to its positions."""
    without(patch, lambda link, name, attempt, _said: (link, name, attempt, Positions(0)))


# Checks before anything changes.


@mutant
def no_check_of_offsets(patch: pytest.MonkeyPatch) -> None:
    """The server accepts any offset of any channel."""

    def check_positions(self: Session, peer: Positions) -> None:
        self._outbox.check_received(peer.controls)

    patch.setattr(Session, "check_positions", check_positions)


@mutant
def no_check_of_controls(patch: pytest.MonkeyPatch) -> None:
    """The server accepts any number of control messages."""
    patch.setattr(ControlOutbox, "check_received", lambda _self, _count: None)


# The replay.


@mutant
def replay_from_consumed(patch: pytest.MonkeyPatch) -> None:
    """Data that arrived and was not consumed is sent again."""
    kept_from = SendStream.kept_from

    def kept_from_consumed(self: SendStream, _offset: int) -> list[Kept]:
        return kept_from(self, self.consumed)

    patch.setattr(SendStream, "kept_from", kept_from_consumed)


@mutant
def replay_of_everything_unacknowledged(patch: pytest.MonkeyPatch) -> None:
    """Control messages that arrived and were not acknowledged before are sent again."""
    acknowledge = ControlOutbox.acknowledge

    def resume(self: Session, peer: Positions, now: float) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(ControlOutbox, "acknowledge", lambda outbox, _count: acknowledge(outbox, 0))
            return true_resume(self, peer, now)

    true_resume = Session.resume
    patch.setattr(Session, "resume", resume)


@mutant
def no_replay_of_data(patch: pytest.MonkeyPatch) -> None:
    """Lost data of a stream is not sent again."""
    patch.setattr(SendStream, "kept_from", lambda _self, _offset: [])


@mutant
def controls_before_data(patch: pytest.MonkeyPatch) -> None:
    """Control messages are sent again before all data."""
    patch.setattr(resuming, "_order", lambda _entry: 0)


@mutant
def data_of_before_the_last_control(patch: pytest.MonkeyPatch) -> None:
    """Data is sent again though a control message behind it has arrived."""
    patch.setattr(ControlOutbox, "acknowledged_order", property(lambda _self: -1, lambda _self, _order: None))


@mutant
def credit_is_not_announced_again(patch: pytest.MonkeyPatch) -> None:
    """A credit that was lost with its link stays lost."""
    patch.setattr(ReceiveStream, "announce_again", lambda _self: None)


@mutant
def old_frames_stay(patch: pytest.MonkeyPatch) -> None:
    """Frames that waited for the old link are written to the new one, before the repeated frames."""
    lose = Session.link_lost

    def link_lost(self: Session) -> None:
        frames = list(self._frames)
        lose(self)
        self._frames += frames

    patch.setattr(Session, "link_lost", link_lost)


@mutant
def states_are_lost_with_the_link(patch: pytest.MonkeyPatch) -> None:
    """The client never learns whether a job was suspended while there was no link."""
    resume = ServerSession.resume

    def resume_and_forget(self: ServerSession, peer: Positions, now: float) -> Any:
        self._latest.clear()
        return resume(self, peer, now)

    patch.setattr(ServerSession, "resume", resume_and_forget)


@mutant
def what_was_told_is_forgotten_with_the_link(patch: pytest.MonkeyPatch) -> None:
    """The client is told a state that it knows, or not told that a job goes on."""
    lose = ServerSession.link_lost

    def lose_and_forget(self: Session) -> None:
        lose(self)
        if isinstance(self, ServerSession):
            self._told.clear()

    patch.setattr(ServerSession, "link_lost", lose_and_forget)


def found_in(histories: int) -> tuple[int, BaseException] | None:
    """Return the number of histories until one went wrong, and its error."""
    failures = ((number, failure_of(number)) for number in range(histories))
    return next(((number + 1, failure) for number, failure in failures if failure is not None), None)


def failure_of(number: int) -> BaseException | None:
    """Return the error of a history, or ``None``."""
    try:
        run_history(number)
    except (Exception, pytest.fail.Exception) as failure:  # noqa: BLE001 - whatever goes wrong, it has been found
        return failure
    return None


@pytest.mark.exhaustive
def test_no_mutant() -> None:
    """The histories in which mutants are found are good without a mutant."""
    assert found_in(HISTORIES) is None


@pytest.mark.parametrize("name", MUTANTS)
def test_mutants(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """M-03, M-09, M-11, M-12, M-13: without this rule a history goes wrong."""
    MUTANTS[name](monkeypatch)
    found = found_in(HISTORIES)
    assert found is not None, f"{name} does no harm in {HISTORIES} histories"
    with capsys.disabled():
        print(f"\n{name}: history {found[0]}, {type(found[1]).__name__} {found[1]}"[:120], end="")
