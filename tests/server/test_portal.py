"""The portal of a stand-alone server, and its realm."""

from __future__ import annotations

import os

import pytest
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnhandledCredentials
from twisted.logger import LogEvent, formatEvent
from zope.interface import Interface

from tests.server.rig import ScriptedUser
from tests.serving import asynchronous, reactor
from twisted_rsh.execution.account import Account
from twisted_rsh.interfaces import IShellUser
from twisted_rsh.server import local_portal
from twisted_rsh.server.portal import SingleUserRealm
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.cred import VerifiedKey
from twisted_rsh.trust.home import ConfigFolders


@asynchronous
async def test_the_portal_of_a_stand_alone_server(config: ConfigFolders, logged: list[LogEvent]) -> None:
    """It lets the account in with the account's own key alone, and warns of a file that it must ignore."""
    account = Account.current(os.environ)
    portal = local_portal(reactor, config, account)
    key = load_or_create_client_key(config)
    right = VerifiedKey(account.name, key.blob, key.fingerprint, "somewhere")
    interface, user, logout = await portal.login(right, None, IShellUser)
    assert interface is IShellUser
    assert IShellUser.providedBy(user)
    assert user.name == account.name
    assert logout() is None
    os.chmod(config.client_public_key_path, 0o666)  # noqa: S103 - unsafe on purpose
    with pytest.raises(Exception, match="cannot log in"):
        await portal.login(right, None, IShellUser)
    assert any(config.client_public_key_path in formatEvent(event) for event in logged)
    with pytest.raises(UnhandledCredentials):
        await portal.login(UsernamePassword(b"root", b""), None, IShellUser)


def test_the_realm_has_users_only() -> None:
    """Every client gets the same user; the realm has no other interface."""
    user = ScriptedUser()
    realm = SingleUserRealm(user)
    assert realm.requestAvatar(b"anybody", None, Interface, IShellUser)[:2] == (IShellUser, user)
    with pytest.raises(NotImplementedError):
        realm.requestAvatar(b"anybody", None, Interface)
