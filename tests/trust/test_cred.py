"""Tests of the checker and its credential, through a portal."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent
from zope.interface import Interface, implementer
from zope.interface.verify import verifyObject

from tests.link.wire import collecting_log
from tests.trust.keys import key_blob
from twisted_rsh.trust.cred import AuthorizedKeysChecker, IVerifiedKey, VerifiedKey
from twisted_rsh.trust.files import create_private_file, ensure_private_folder
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.ssh_keys import parse_public_key

KNOWN = key_blob("ssh-ed25519")
UNKNOWN = key_blob("ssh-ed25519", which=1)


class IAvatar(Interface):
    """Whatever a portal hands out."""


@implementer(IRealm)
class Realm:
    """Hands out the avatar's own name."""

    def requestAvatar(self, avatarId: bytes | tuple[()], mind: object, *interfaces: Any) -> Any:
        """Return the avatar's identifier as the avatar."""
        return interfaces[0], avatarId, lambda: None


def credential(user: str = "alice", blob: bytes = KNOWN) -> VerifiedKey:
    """A credential as the link makes it after the signature was verified."""
    return VerifiedKey(user, blob, parse_public_key(KNOWN).fingerprint, "127.0.0.1")


@pytest.fixture
def log_in(config: ConfigFolders) -> Callable[[VerifiedKey], object]:
    """Log in through a portal, where one key is authorized for alice; returns the avatar."""
    ensure_private_folder(config.config)
    create_private_file(config.authorized_keys_path, b"ssh-ed25519 " + base64.b64encode(KNOWN) + b"\n")
    portal = Portal(Realm(), [AuthorizedKeysChecker(config, "alice")])

    def run(given: VerifiedKey) -> object:
        results: list[Any] = []
        login: Deferred[Any] = portal.login(given, None, IAvatar)
        login.addBoth(results.append)
        (result,) = results
        if isinstance(result, tuple):
            return result[1]
        return result.value

    return run


def test_interfaces(config: ConfigFolders) -> None:
    """The credential and the checker provide what they promise."""
    assert verifyObject(IVerifiedKey, credential())
    assert verifyObject(ICredentialsChecker, AuthorizedKeysChecker(config, "alice"))


def test_known_user_with_known_key(log_in: Callable[[VerifiedKey], object]) -> None:
    """The owner with an authorized key logs in, by name."""
    assert log_in(credential()) == b"alice"


@pytest.mark.parametrize("user", ["bob", "root", "", "alice\0", "Alice", "alice ", "\ud800"])
def test_other_user(log_in: Callable[[VerifiedKey], object], user: str) -> None:
    """A-19: only the owner of the server logs in, with any key."""
    assert isinstance(log_in(credential(user)), UnauthorizedLogin)
    assert isinstance(log_in(credential(user, UNKNOWN)), UnauthorizedLogin)


@pytest.mark.parametrize("blob", [UNKNOWN, b"", KNOWN[:-1], KNOWN + b"\0"])
def test_other_key(log_in: Callable[[VerifiedKey], object], blob: bytes) -> None:
    """A-10: the owner without an authorized key does not log in."""
    assert isinstance(log_in(credential(blob=blob)), UnauthorizedLogin)


def test_same_answer_for_every_refusal(log_in: Callable[[VerifiedKey], object]) -> None:
    """A-09: an unknown user and an unknown key get the same answer."""
    answers = {
        repr(log_in(given)) for given in (credential("bob"), credential(blob=UNKNOWN), credential("bob", UNKNOWN))
    }
    assert len(answers) == 1


def test_same_work_for_every_refusal(config: ConfigFolders) -> None:
    """A-09: the files are read for an unknown user too, here seen by the warning about one."""
    ensure_private_folder(config.config)
    create_private_file(config.authorized_keys_path, b"garbage\n")
    with collecting_log() as events:
        for user in ("alice", "bob"):
            checker = AuthorizedKeysChecker(config, "alice")
            checker.requestAvatarId(credential(user)).addErrback(lambda failure: failure.trap(UnauthorizedLogin))
    warnings = [formatEvent(event) for event in events]
    assert len(warnings) == 2
    assert warnings[0].startswith(f"{config.authorized_keys_path}: 1 lines ignored, the first is line 1: ")


def test_name_that_is_not_utf8(config: ConfigFolders) -> None:
    """A user whose name is of other bytes logs in by those bytes."""
    ensure_private_folder(config.config)
    create_private_file(config.authorized_keys_path, b"ssh-ed25519 " + base64.b64encode(KNOWN) + b"\n")
    names: list[object] = []
    checker = AuthorizedKeysChecker(config, "\udce1lice")
    checker.requestAvatarId(credential("\udce1lice")).addCallback(names.append)
    assert names == [b"\xe1lice"]
