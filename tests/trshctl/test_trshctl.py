"""``trshctl`` and ``twisted-rsh invite``: a client with a home of its own, and a real server in the test's process."""

from __future__ import annotations

import getpass
import io
import json
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.serving import Serving, asynchronous, reactor
from tests.system.running import own_environment
from twisted_rsh import connect
from twisted_rsh.cli.destination import UsageError
from twisted_rsh.core.errors import Error
from twisted_rsh.manage.__main__ import parse_arguments
from twisted_rsh.manage.inviting import InviteOptions, KeyOptions, enroll_key, invite, parse_duration, parse_place
from twisted_rsh.server.control_client import Problem
from twisted_rsh.server.invitations import MAX_INVITATION_SECONDS
from twisted_rsh.trshctl.__main__ import main, parse_command
from twisted_rsh.trshctl.answer import Answer
from twisted_rsh.trust.authorized_keys import parse_authorized_keys
from twisted_rsh.trust.client_key import load_or_create_client_key
from twisted_rsh.trust.fingerprint import format_fingerprint, parse_fingerprint
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.invitation import BadInvitation, Invitation
from twisted_rsh.trust.known_servers import KnownServers

pytestmark = pytest.mark.uncut("enrolling is a login and no session")

HOST = "127.0.0.1"

OTHER = bytes(32)


@pytest.fixture
def config(tmp_path: Path) -> ConfigFolders:
    """The folders of the server, another home than the client's."""
    return ConfigFolders.at(str(tmp_path / "server"))


@pytest.fixture
def client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ConfigFolders:
    """The folders of a client that knows nothing."""
    monkeypatch.setenv("HOME", str(tmp_path / "nobody"))
    return ConfigFolders.at(str(tmp_path / "client"))


async def run(client: ConfigFolders, *words: str) -> Answer:
    """Run ``trshctl`` with the client's folders."""
    count = 2 if words[0] == "known" else 1
    command = [*words[:count], "--config-dir", client.config, *words[count:]]
    return await parse_command(command)(reactor)


async def failure(client: ConfigFolders, *words: str) -> str:
    """Return the one line with which ``trshctl`` fails."""
    with pytest.raises(Error) as raised:
        await run(client, *words)
    assert str(raised.value).isprintable()
    return str(raised.value)


async def invited(serving: Serving, **options: object) -> str:
    """Run ``twisted-rsh invite`` and return its line."""
    return await invite(reactor, InviteOptions(config_dir=serving.config.config, **options))  # type: ignore[arg-type]


def keys(serving: Serving) -> frozenset[bytes]:
    """The keys that may log in."""
    path = Path(serving.config.authorized_keys_path)
    return parse_authorized_keys(path.read_bytes()).blobs if path.exists() else frozenset()


@asynchronous
async def test_invitation(serving: Serving, client: ConfigFolders) -> None:
    """A-22: behind ``enroll`` the client needs no further word; the line is good for one key."""
    line = await invited(serving)
    answer = await run(client, "enroll", line)
    assert answer == Answer(f"enrolled; now run: trsh --config-dir {client.config} {HOST}:{serving.port}\n")
    assert keys(serving) == {load_or_create_client_key(client).blob}
    for path in (client.known_servers_path, serving.config.authorized_keys_path):
        assert stat.S_IMODE(os.lstat(path).st_mode) == 0o600
    await (await connect(reactor, HOST, serving.port, config=client)).close()
    assert "the invitation is over, or it was used" in await failure(client, "enroll", line)
    assert len(keys(serving)) == 1


@asynchronous
async def test_invitation_replaces_a_key(serving: Serving, client: ConfigFolders) -> None:
    """An invitation names the server's key: what was known of that server before is forgotten."""
    KnownServers(client).add(HOST, serving.port, OTHER)
    await run(client, "enroll", await invited(serving))
    assert [format_fingerprint(pin) for pin in KnownServers(client).pins(HOST, serving.port)] == [
        serving.service.fingerprint
    ]


@asynchronous
async def test_invitation_of_another_server(serving: Serving, client: ConfigFolders) -> None:
    """A server with another key than the line says is sent nothing, so that the line can be used still."""
    line = await invited(serving)
    wrong = Invitation.parse(line)
    wrong = Invitation(wrong.user, wrong.host, wrong.port, OTHER, wrong.secret)
    assert "is not the expected server" in await failure(client, "enroll", wrong.line)
    assert list(KnownServers(client)) == []
    await run(client, "enroll", line)


@asynchronous
async def test_broken_file_comes_first(serving: Serving, client: ConfigFolders) -> None:
    """A client that could not keep the server's key does not use the invitation up."""
    line = await invited(serving)
    load_or_create_client_key(client)
    Path(client.known_servers_path).write_text("?\n")
    assert "line 1 is wrong" in await failure(client, "enroll", line)
    assert keys(serving) == frozenset()
    os.unlink(client.known_servers_path)
    await run(client, "enroll", line)


@asynchronous
async def test_fingerprint(serving: Serving, client: ConfigFolders) -> None:
    """With a fingerprint the server is known, also before it lets the key in; the line says what to add there."""
    fingerprint = serving.service.fingerprint
    words = ("enroll", "--fingerprint", fingerprint, f"{HOST}:{serving.port}")
    line = await failure(client, *words)
    public_line = (await run(client, "key")).text.strip()
    assert line.endswith(
        f"the server is known now: add this line to authorized_keys in ~/.config/twisted-rsh there: {public_line}"
    )
    path = Path(serving.config.authorized_keys_path)
    path.write_text(f"{public_line}\n")
    path.chmod(0o600)
    KnownServers(client).add(HOST, serving.port, OTHER)
    assert (await run(client, *words)).status == 0
    assert KnownServers(client).pins(HOST, serving.port) == (parse_fingerprint(fingerprint),)
    wrong = format_fingerprint(OTHER)
    assert "is not the expected server" in await failure(client, "enroll", "--fingerprint", wrong, words[-1])
    assert KnownServers(client).pins(HOST, serving.port) == (parse_fingerprint(fingerprint),)


@asynchronous
async def test_no_terminal(client: ConfigFolders, monkeypatch: pytest.MonkeyPatch) -> None:
    """A-24: without a terminal and a fingerprint nothing is dialled."""
    monkeypatch.setattr("os.isatty", lambda _fd: False)
    assert "there is no terminal to ask on" in await failure(client, "enroll", "192.0.2.1")


@asynchronous
async def test_known(serving: Serving, client: ConfigFolders) -> None:
    """List, check and forget: each server is compared with the key that it shows, and none is sent anything."""
    place = f"{HOST}:{serving.port}"
    with socket.socket() as unused:
        unused.bind((HOST, 0))
        silent = f"{HOST}:{unused.getsockname()[1]}"
        assert (await run(client, "known", "list")).text == ""
        known = KnownServers(client)
        known.add(HOST, serving.port, OTHER, "mine\x1b[2J")
        known.add(HOST, int(silent.rpartition(":")[2]), OTHER)
        wrong, right = format_fingerprint(OTHER), serving.service.fingerprint
        assert (await run(client, "known", "list")).text == f"{place}  {wrong}  mine?[2J\n{silent}  {wrong}\n"
        checked = await run(client, "known", "check")
        lines = checked.text.splitlines()
        assert lines[0] == f"{place}  changed  it is {right}, and not {wrong}"
        assert lines[1].startswith(f"{silent}  failed  ")
        assert checked.status == 1
    known.add(HOST, serving.port, parse_fingerprint(right))
    assert await run(client, "known", "check", place) == Answer(f"{place}  ok  {right}\n")
    document = json.loads((await run(client, "known", "check", "--json", place)).text)
    assert document == [{"address": place, "known": [wrong, right], "found": right, "error": None, "state": "ok"}]
    document = json.loads((await run(client, "known", "list", "--json")).text)
    assert document[0] == {"address": place, "fingerprint": wrong, "comment": "mine?[2J"}
    assert f"{HOST}:1 is not known" in await failure(client, "known", "forget", place, f"{HOST}:1")
    assert len(list(known)) == 3
    assert (await run(client, "known", "forget", place)).text == "2 keys forgotten\n"
    assert await run(client, "known", "check", place) == Answer(f"{place}  unknown  it is {right}\n", 1)


@asynchronous
async def test_alias(serving: Serving, client: ConfigFolders) -> None:
    """A host of the configuration file is the server that it stands for."""
    load_or_create_client_key(client)
    path = Path(client.client_settings_path)
    path.write_text(f"Host box\n HostName {HOST}\n Port {serving.port}\n")
    path.chmod(0o600)
    KnownServers(client).add(HOST, serving.port, OTHER)
    assert (await run(client, "known", "check", "box")).status == 1
    assert (await run(client, "known", "forget", "box")).text == "1 key forgotten\n"


FAKE_SSH = """#!/bin/sh
printf '%s\\n' "$@" > {folder}/words
echo 'Welcome!'
[ "$4" = 'twisted-rsh enroll-key' ] || exit 127
exec {python} -m twisted_rsh.manage enroll-key --config-dir {server}
"""


@pytest.mark.real
@asynchronous
async def test_ssh(serving: Serving, client: ConfigFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over SSH: the key goes there and the fingerprint comes back, behind whatever the login prints."""
    ssh = tmp_path / "bin" / "ssh"
    ssh.parent.mkdir()
    ssh.write_text(FAKE_SSH.format(folder=tmp_path, python=sys.executable, server=serving.config.config))
    ssh.chmod(0o700)
    monkeypatch.setenv("PATH", f"{ssh.parent}:{os.environ['PATH']}")
    answer = await run(client, "enroll", "--ssh", "box", HOST)
    assert answer.text.startswith("enrolled; now run: trsh ")
    assert (tmp_path / "words").read_text().splitlines() == ["-T", "--", "box", "twisted-rsh enroll-key"]
    assert keys(serving) == {load_or_create_client_key(client).blob}
    await (await connect(reactor, HOST, serving.port, config=client)).close()
    line = await failure(client, "enroll", "--ssh", "box", "--program", "/x/twisted-rsh", HOST)
    assert line == "there is no `/x/twisted-rsh enroll-key` at box: name the program with --program PATH"
    for script, words in (
        ("echo '{}'", "its answer is not one of twisted-rsh"),
        ("echo x", "its answer is not one of twisted-rsh"),
        ("true", "its answer is not one of twisted-rsh"),
        ("exit 255", "ended with status 255"),
    ):
        ssh.write_text(f"#!/bin/sh\n{script}\n")
        assert words in await failure(client, "enroll", "--ssh", "box", HOST)
    ssh.unlink()
    monkeypatch.setenv("PATH", str(ssh.parent))
    assert await failure(client, "enroll", "--ssh", "box", HOST) == "cannot run ssh: No such file or directory"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["frobnicate"], "no such command: 'frobnicate'"),
        (["known"], "known needs list, check or forget"),
        (["known", "forget"], "known forget needs a host"),
        (["known", "list", "host"], "known list takes no host"),
        (["key", "host"], "key takes no host"),
        (["enroll"], "enroll needs one server, not 0"),
        (["enroll", "one", "two"], "enroll needs one server, not 2"),
        (["enroll", "one", "-p", "1"], "options stand before the host"),
        (["enroll", "--program", "x", "one"], "--program is for --ssh"),
        (["enroll", "--ssh"], "--ssh needs a value"),
        (["enroll", "--ssh=-oProxyCommand=x"], "--ssh needs a host"),
        (["enroll", "--nonsense", "one"], "no such option: '--nonsense'"),
    ],
)
def test_mistakes(client: ConfigFolders, words: list[str], line: str) -> None:
    """A mistake in the command line is one line that names it and the way out."""
    with pytest.raises(UsageError, match=line) as raised:
        parse_command(words)
    assert str(raised.value).isprintable()


def test_half_a_line(client: ConfigFolders) -> None:
    """An invitation that was copied in part is named as one."""
    with pytest.raises(BadInvitation, match="not a whole invitation"):
        parse_command(["enroll", "rsh1:alice@build:8082:aaaa"])


@pytest.mark.parametrize(
    ("words", "status", "output", "error"),
    [
        (["--help"], 0, "Usage: trshctl", ""),
        (["--version"], 0, "twisted-rsh ", ""),
        (["known", "list"], 0, "", ""),
        (["known"], 2, "", "trshctl: known needs"),
        (["known", "forget", "build"], 1, "", "trshctl: build:8082 is not known"),
        (["enroll", "-"], 2, "", "trshctl: there is no invitation on stdin"),
    ],
)
@pytest.mark.real
def test_the_program(tmp_path: Path, words: list[str], status: int, output: str, error: str) -> None:
    """The program prints its answer on stdout, its one line on stderr, and exits with 0, 1 or 2."""
    done = subprocess.run(
        [Path(sys.executable).with_name("trshctl"), *words],
        input="",
        capture_output=True,
        text=True,
        env=own_environment(tmp_path),
        timeout=60,
    )
    assert done.returncode == status
    assert done.stdout.startswith(output)
    assert done.stderr.startswith(error)
    assert done.stderr.count("\n") == bool(error)


def test_main_without_a_server(client: ConfigFolders, capfd: pytest.CaptureFixture[str]) -> None:
    """What needs no server is answered before there is a reactor."""
    assert main(["known", "nonsense"]) == 2
    assert main([]) == 0
    assert capfd.readouterr().err.startswith("trshctl: known needs list")


@asynchronous
async def test_inviting(serving: Serving, tmp_path: Path) -> None:
    """The line has the account, the server's key, and the address and port that the server has or that are given."""
    invitation = Invitation.parse(await invited(serving))
    assert (invitation.user, invitation.host, invitation.port) == (getpass.getuser(), HOST, serving.port)
    assert format_fingerprint(invitation.pin) == serving.service.fingerprint
    invitation = Invitation.parse(await invited(serving, host="build.example.org", shown_port=9000, port=serving.port))
    assert (invitation.host, invitation.port) == ("build.example.org", 9000)
    with pytest.raises(Problem, match="no server of this account runs on port 1; start one with: twistd rsh --port 1"):
        await invited(serving, port=1)
    with pytest.raises(Problem, match="no server of this account runs; start one"):
        await invite(reactor, InviteOptions(config_dir=str(tmp_path / "none")))
    await invited(serving)
    await invited(serving)
    with pytest.raises(Problem, match="the server has 4 invitations that are not used"):
        await invited(serving)


def test_enroll_key(tmp_path: Path, client: ConfigFolders) -> None:
    """One public key is taken from stdin; the answer has the server's fingerprint, also before its first start."""
    line = load_or_create_client_key(client).public_line
    config = ConfigFolders.at(str(tmp_path / "server"))
    answer = json.loads(enroll_key(KeyOptions(config_dir=config.config), io.BytesIO(f"{line} me\n".encode())))
    assert answer["ports"] == []
    assert parse_fingerprint(answer["fingerprint"])
    assert Path(config.authorized_keys_path).read_text().startswith(f"{line} enrolled 20")
    for text in ("", "nonsense", f'command="x" {line}', f"{line}\n" * 2000):
        with pytest.raises(Problem, match="not the line of one public key"):
            enroll_key(KeyOptions(config_dir=config.config), io.BytesIO(text.encode()))
    assert Path(config.authorized_keys_path).read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("text", "seconds"), [("1", 1), ("90s", 90), ("10m", 600), ("24h", MAX_INVITATION_SECONDS), ("86400", 86400)]
)
def test_durations(text: str, seconds: int) -> None:
    """A time to live is seconds, or has a unit."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0m", "25h", "86401", "-1", "1d", "1.5h", "10 m", "\u0661m"])
def test_wrong_durations(text: str) -> None:
    """Anything else, and more than a day, is one line."""
    with pytest.raises(Problem, match="is no time from 1s to 24h"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("build", ("build", None)),
        ("build:1", ("build", 1)),
        ("::1", ("::1", None)),
        ("[2001:db8::1]:65535", ("2001:db8::1", 65535)),
    ],
)
def test_places(text: str, place: tuple[str, int | None]) -> None:
    """Where a client reaches the server may have a port."""
    assert parse_place(text) == place


@pytest.mark.parametrize("text", ["", ":1", "build:", "build:0", "build:65536", "a b", "me@build", "[::1", "[build]:1"])
def test_wrong_places(text: str) -> None:
    """Anything else is one line."""
    with pytest.raises(Problem, match="is no host"):
        parse_place(text)


@pytest.mark.parametrize("words", [["--ttl", "2d"], ["--host", "a b"], ["--port", "x"]])
def test_mistakes_of_inviting(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong option of ``twisted-rsh invite`` is one line and status 2."""
    with pytest.raises(SystemExit) as raised:
        parse_arguments(["invite", *words])
    assert raised.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
