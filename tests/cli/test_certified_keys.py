"""A key with a certificate, as ssh-keygen makes it, on the client's command line."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.client.test_agent import ssh_agent
from tests.server_process import HOST, PATIENCE, ServerProcess, one_line
from tests.tools import require_tool
from tests.trust.test_ssh_keygen import ssh_keygen
from twisted_rsh.execution.account import Account
from twisted_rsh.trust.home import ConfigFolders

pytestmark = [pytest.mark.real, pytest.mark.uncut("the login is over before there is a session to cut")]


def test_a_key_with_a_certificate(server: ServerProcess, tmp_path: Path) -> None:
    """A certificate beside the key, in CertificateFile or in the agent logs in; without it the key alone is tried."""
    authority, key = str(tmp_path / "authority"), str(tmp_path / "key")
    for path in (authority, key):
        ssh_keygen("-q", "-t", "ed25519", "-N", "", "-f", path)
    name = Account.current(os.environ).name
    ssh_keygen("-q", "-s", authority, "-I", "me", "-n", name, f"{key}.pub")
    allowed = Path(ConfigFolders.at(str(server.folder)).authorized_keys_path)
    allowed.touch(0o600)
    allowed.write_text(f"cert-authority {Path(authority + '.pub').read_text()}")

    def run(*options: str, agent: str = "") -> subprocess.CompletedProcess[bytes]:
        environment = {**server.environment, "SSH_AUTH_SOCK": agent}
        return server.run("-i", key, *options, HOST, "echo here", env=environment)

    try:
        assert (run().stdout, run().stderr) == (b"here\n", b"")
        elsewhere = str(tmp_path / "elsewhere")
        shutil.move(f"{key}-cert.pub", elsewhere)
        assert "was refused by" in one_line(run().stderr)
        assert run("-o", f"CertificateFile={elsewhere}").stdout == b"here\n"
        Path(f"{key}-cert.pub").write_text("junk\n")
        assert "holds no certificate that can be used" in one_line(run().stderr)
        os.unlink(f"{key}-cert.pub")
        with ssh_agent(tmp_path) as path:
            shutil.copy(key, f"{key}-agent")
            shutil.copy(elsewhere, f"{key}-agent-cert.pub")
            environment = {**os.environ, "SSH_AUTH_SOCK": path}
            command = [require_tool("ssh-add"), "-q", f"{key}-agent"]
            subprocess.run(command, env=environment, check=True, timeout=PATIENCE)
            assert run(agent=path).stdout == b"here\n"
        # A certificate that does not count does not keep the key itself from logging in.
        allowed.write_text(Path(f"{key}.pub").read_text())
        ssh_keygen("-q", "-s", authority, "-I", "me", "-n", "another-name", f"{key}.pub")
        assert (run().stdout, run().stderr) == (b"here\n", b"")
    finally:
        allowed.unlink()
