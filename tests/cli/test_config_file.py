"""The configuration file: blocks, criteria, included files, tokens, the first value, and lines that are wrong."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twisted_rsh.cli import config_file
from twisted_rsh.cli.config_file import MAX_CONFIG_BYTES, MAX_INCLUDE_DEPTH, MAX_INCLUDED_FILES, host_names
from twisted_rsh.cli.destination import UsageError
from twisted_rsh.cli.options import parse_options
from twisted_rsh.cli.shell_completion import completion_text
from twisted_rsh.core.requests import Grace
from twisted_rsh.trust.home import ConfigFolders

ME = pwd.getpwuid(os.geteuid()).pw_name


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the user's configuration."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/sh")
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / ".config" / "twisted-rsh"
    folder.mkdir(parents=True, mode=0o700)
    tmp_path.chmod(0o700)
    return folder


def write(path: Path, text: str) -> None:
    """Write a file that only this user can change."""
    path.write_text(text)
    path.chmod(0o600)


CONFIG = """
# Exceptions first.
Host web1
    HostName = 192.0.2.7
    Port 2222
Host=web* !web9 "quoted host"
    User bob      # a comment
    OnDisconnect grace:600
    Fingerprint SHA256:abc
    SendEnv  LANG LC_*
host *
    Port 3333
    User eve
    ForwardAgent yes
"""


@pytest.mark.parametrize(
    ("words", "host", "port", "user", "grace"),
    [
        ("web1", "192.0.2.7", 2222, "bob", Grace(600)),
        ("WEB1", "192.0.2.7", 2222, "bob", Grace(600)),
        ("web2", "web2", 3333, "bob", Grace(600)),
        ("web9", "web9", 3333, "eve", None),
        ("db", "db", 3333, "eve", None),
        ("al@web1", "192.0.2.7", 2222, "al", Grace(600)),
        ("-p 1 web1", "192.0.2.7", 1, "bob", Grace(600)),
        ("-oPort=1 -l al web1", "192.0.2.7", 1, "al", Grace(600)),
        ("-oHostName=x web1", "x", 2222, "bob", Grace(600)),
    ],
)
def test_hosts(folder: Path, words: str, host: str, port: int, user: str, grace: Grace | None) -> None:
    """A block counts for the hosts of its patterns; the first value counts, and the command line comes first."""
    write(folder / "config", CONFIG)
    options = parse_options([*words.split(), "ls"])
    assert (options.host, options.port, options.user, options.on_disconnect) == (host, port, user, grace)


def test_other_files(folder: Path, tmp_path: Path) -> None:
    """``-F`` reads another file instead, or none; ``--config-dir`` has a file of its own."""
    write(folder / "config", "Port 1")
    write(tmp_path / "config", "Port 2")
    assert parse_options(["h"]).port == 1
    assert parse_options(["-F", str(tmp_path / "config"), "h"]).port == 2
    assert parse_options(["-F", "/dev/null", "h"]).port == 8082
    assert parse_options(["-Fnone", "h"]).port == 8082
    assert parse_options(["--config-dir", str(tmp_path), "h"]).port == 2
    assert parse_options([]).port == 1


@pytest.mark.parametrize(
    ("line", "words", "applies"),
    [
        ("Match all", "h", True),
        ("Match host h", "h", True),
        ("Match host x,h*", "h", True),
        ("Match host h*,!h2", "h2", False),
        ("Match !host h", "h", False),
        ("Match !host x", "h", True),
        ("Match host=H", "h", True),
        ("Match host real.example", "alias", True),
        ("Match originalhost alias", "alias", True),
        ("Match originalhost real.example", "alias", False),
        ("Match user bob", "bob@h", True),
        ("Match user bob", "h", False),
        ("Match user " + ME, "h", True),
        ("Match localuser " + ME, "bob@h", True),
        ("Match localuser nobody-else", "h", False),
        ("Match host h user bob", "bob@h", True),
        ("Match host h user bob", "al@h", False),
        ("Match exec true", "h", True),
        ("Match exec false", "h", False),
        ("Match !exec false", "h", True),
        ('Match exec "test %h-%n-%r = h-h-bob"', "bob@h", True),
        ('Match host x exec "touch touched"', "h", False),
        ("Match tagged blue", "-P blue h", True),
        ("Match tagged blue", "h", False),
        ("Match sessiontype exec", "h", True),
        ("Match command ls*", "h", True),
        ("Match final", "h", True),
        ("Match final host real.example", "alias", True),
        ("Match canonical", "h", False),
    ],
)
def test_matches(
    folder: Path, line: str, words: str, applies: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ``Match`` counts if all of its criteria hold; none is looked at behind the first that does not."""
    monkeypatch.chdir(tmp_path)
    write(folder / "config", f"Host alias\n HostName real.example\n{line}\n Port 1\n")
    assert (parse_options([*words.split(), "ls"]).port == 1) == applies
    assert not (tmp_path / "touched").exists()


def test_final_pass(folder: Path) -> None:
    """With ``Match final`` the file is read again, and what was found before still counts."""
    write(
        folder / "config",
        "Match final host real.example\n Port 1\n User eve\nHost alias\n HostName real.example\n User al",
    )
    options = parse_options(["alias"])
    assert (options.port, options.user) == (1, "al")


def test_included_files(folder: Path, tmp_path: Path) -> None:
    """``Include`` reads files in the order of their names, within its block, and leaves the block on."""
    (folder / "d").mkdir(mode=0o700)
    write(folder / "d" / "2", "Host *\n User late\n Encoding gbk")
    write(folder / "d" / "1", "Port 1\nHost other\n User other")
    write(tmp_path / "absolute", "ConnectTimeout 7")
    write(folder / "config", f"Host h\n Include d/* nothing/* {tmp_path}/absolute\n Timeout 5\nHost *\n Port 9\n")
    options = parse_options(["h"])
    assert (options.port, options.user, options.encoding, options.timeout) == (1, "late", "gbk", 5.0)
    assert options.connect_timeout == 7.0
    options = parse_options(["other"])
    assert (options.port, options.user, options.timeout) == (9, None, None)


def test_stderr_of_a_criterion(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What the command of ``Match exec`` writes to stderr is shown, and what it writes to stdout is not."""
    write(folder / "config", 'Match exec "echo no reason >&2; echo hidden; exit 1"\n Port 7')
    assert parse_options(["h"]).port == 8082
    assert capfd.readouterr() == ("", "no reason\n")


def test_folders_beside_included_files(folder: Path) -> None:
    """A folder that a pattern of ``Include`` matches is left out, as with ssh; one that it names is told."""
    (folder / "d" / "old").mkdir(parents=True, mode=0o700)
    write(folder / "d" / "web", "Port 7")
    write(folder / "config", "Include d/*")
    assert parse_options(["h"]).port == 7
    write(folder / "config", "Include d")
    with pytest.raises(UsageError, match="not a regular file"):
        parse_options(["h"])


def test_included_files_are_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that include each other end at a depth, and files that include themselves twice at a number."""
    for depth in range(MAX_INCLUDE_DEPTH + 1):
        write(folder / f"f{depth}", f"Include f{depth + 1}\nPort {depth + 1}")
    write(folder / f"f{MAX_INCLUDE_DEPTH}", "User deep")
    write(folder / "config", "Include f1")
    assert parse_options(["h"]).user == "deep"
    write(folder / "config", "Include f0")
    with pytest.raises(UsageError, match=rf"/f{MAX_INCLUDE_DEPTH - 1} line 1: more than {MAX_INCLUDE_DEPTH} files"):
        parse_options(["h"])
    write(folder / "config", "Include config config")
    with pytest.raises(UsageError, match="files include each other"):
        parse_options(["h"])
    monkeypatch.setattr(config_file, "MAX_INCLUDED_FILES", 20)
    for number in range(21):
        write(folder / f"many{number}", "")
    write(folder / "config", "Include many*")
    with pytest.raises(UsageError, match="more than 20 files"):
        parse_options(["h"])
    (folder / "many0").unlink()
    assert parse_options(["h"]).port == 8082
    assert MAX_INCLUDED_FILES == 1000


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("Prot 22", "no such keyword: 'Prot'"),
        ("Port", "Port needs a value"),
        ("Port x", "not a port: 'x'"),
        ("Port 1 2", "takes one value"),
        ('User "bob', "quotation mark is not closed"),
        ("User 'bob", "quotation mark is not closed"),
        ("User a;b", "not a user"),
        ("HostName a b", "takes one value"),
        ("HostName $(id)", "not a host"),
        ("HostName a:22", "without a port"),
        ("= 22", "no keyword"),
        ("=", "no keyword"),
        ("Host", "Host needs a pattern"),
        ("Match", "Match needs a criterion"),
        ("Match host", "Match host needs a value"),
        ("Match colour red", "no such criterion of Match: 'colour'"),
        ("Match all host h", "Match all stands alone"),
        ("Match host h all", "Match all stands alone"),
        ("Match final=1", "takes no value"),
        ("Match host h exec %z", "no such token"),
        ('Match host h exec "kill -9 $$"', "a signal ended the command: 'kill -9 $$'"),
        ("Include", "Include needs a file"),
        ("Include %z", "no such token"),
        ("Include ~nosuchuser/x", "no such user"),
        ("Match host nothing\n Port x", "line 4: not a port"),
        ("\x1b[31m 1", "no such keyword"),
        ("Port \x1b[31m", "not a port"),
        ("SetEnv A", "NAME=VALUE"),
        ("Tag \x07", "not a tag"),
    ],
)
def test_wrong_lines_are_named(folder: Path, line: str, part: str) -> None:
    """C-03: a wrong line is named with its file and its number, also where it does not apply, in one safe line."""
    write(folder / "config", f"# first\n\n{line}\n")
    with pytest.raises(UsageError) as caught:
        parse_options(["h"])
    text = str(caught.value)
    assert text.startswith(f"{folder}/config line {4 if 'nothing' in line else 3}: ")
    assert part in text
    assert text.isprintable()


LINES = st.text(st.sampled_from(" =\"'\\\\#%~*!?,\t\r\n\x1b\u4e2dabcdehilmnoprstuPHSTUM1"), max_size=40)
HEADS = st.sampled_from("Host |Match host |Match user |User |SetEnv |HostName |Port=|EscapeChar |".split("|"))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=st.lists(st.tuples(HEADS, LINES).map("".join), max_size=4))
def test_any_lines(folder: Path, lines: list[str]) -> None:
    """C-03: whatever the lines are, they are settings or an error of one line that names a line of the file."""
    write(folder / "config", "\n".join(lines))
    try:
        parse_options(["h"])
    except UsageError as error:
        assert str(error).isprintable(), lines


def test_wrong_lines_of_included_files(folder: Path) -> None:
    """C-03: a wrong line of an included file is named by that file alone."""
    write(folder / "config", "Include other")
    write(folder / "other", "Host h\r\n  Port 0\r\n")
    with pytest.raises(UsageError) as caught:
        parse_options(["h"])
    assert str(caught.value).startswith(f"{folder}/other line 2: not a port: '0'")


def test_unknown_keywords_can_be_allowed(folder: Path) -> None:
    """Keywords of OpenSSH are noted, and so are those that ``IgnoreUnknown`` names; others are wrong."""
    write(folder / "config", "IgnoreUnknown Use*,Mine\nMine x\nUseThat 1\nControlMaster auto\nHost x\nControlPath y")
    assert parse_options(["h"]).notes == (
        f"{folder}/config line 2: 'Mine' has no effect",
        f"{folder}/config line 3: 'UseThat' has no effect",
        f"{folder}/config line 4: 'ControlMaster' has no effect",
    )


def test_files_that_others_can_write_are_refused(folder: Path) -> None:
    """A file whose lines may run commands counts only if no other user can write it; ``-F`` may name any."""
    write(folder / "config", "Port 1")
    (folder / "config").chmod(0o622)
    with pytest.raises(UsageError, match="chmod"):
        parse_options(["h"])
    assert parse_options(["-F", str(folder / "config"), "h"]).port == 1
    assert parse_options(["-F", "none", "h"]).port == 8082


def test_size_is_bounded(folder: Path) -> None:
    """A file has a largest size."""
    write(folder / "config", "Port 1\n" + "#" * (MAX_CONFIG_BYTES - 7))
    assert parse_options(["h"]).port == 1
    assert parse_options(["-F", str(folder / "config"), "h"]).port == 1
    write(folder / "config", "Port 1\n" + "#" * (MAX_CONFIG_BYTES - 6))
    for words in (["h"], ["-F", str(folder / "config"), "h"]):
        with pytest.raises(UsageError, match=r"large|more than"):
            parse_options(words)
    (folder / "config").unlink()
    (folder / "config").mkdir()
    with pytest.raises(UsageError):
        parse_options(["h"])


def test_tokens_and_paths(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens stand for the host, the port, the users and the home folder, where they make sense."""
    monkeypatch.setenv("KEYS", "/keys")
    lines = (
        "HostName %h.example\nIdentityFile ~/%n-%r\nIdentityFile %d/%u\nIdentityFile ${KEYS}/%i\nIdentityFile none\n"
    )
    write(folder / "config", lines + "ProxyCommand proxy %h:%p %r %n %% %L-%k\nRemoteCommand echo %h  %C")
    options = parse_options(["bob@H"])
    home = str(tmp_path)
    assert options.host == "H.example"
    assert options.identities == (f"{home}/H-bob", f"{home}/{ME}", f"/keys/{os.geteuid()}")
    short = os.uname().nodename.partition(".")[0]
    assert options.proxy_command == f"proxy H.example:8082 bob H % {short}-H"
    (command,) = options.command
    assert command.startswith("echo H.example  ")
    assert len(command.split()[-1]) == 40


def test_shown_settings(folder: Path) -> None:
    """``-G`` prints what applies, one keyword a line, with all descriptors on nothing, and does not connect."""
    write(folder / "config", CONFIG)
    words = [sys.executable, "-m", "twisted_rsh.client", "-G", "-o", "SendEnv=GIT_PROTOCOL", "-4", "-p", "99", "web1"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    shown = dict(line.split(" ", 1) for line in done.stdout.splitlines())
    assert (done.returncode, done.stderr) == (0, "")
    expected = {"host": "web1", "hostname": "192.0.2.7", "port": "99", "user": "bob", "fingerprint": "SHA256:abc"}
    assert shown.items() >= (expected | {"addressfamily": "inet", "ondisconnect": "grace:600"}).items()
    probe = subprocess.run(
        words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=60
    )
    assert probe.returncode == 0


def test_host_names_for_completion(folder: Path) -> None:
    """Completion offers the names of hosts, those of included files too, and no patterns; it never fails."""
    write(folder / "config", 'Host a b* !c "d e"\nInclude more loop\nHost "open')
    write(folder / "more", "host=f\nNonsense")
    write(folder / "loop", "Include config")
    assert sorted(host_names(str(folder / "config"))) == ["a", "d e", "f"]
    assert completion_text("hosts", ConfigFolders.at(str(folder))).split("\n") == ["127.0.0.1", "a", "d e", "f"]
    assert list(host_names(str(folder / "none"))) == []
    assert "--status-fd" in completion_text("options", ConfigFolders.at(str(folder))).split("\n")
    assert "HostName=" in completion_text("keywords", ConfigFolders.at(str(folder))).split("\n")
    with pytest.raises(UsageError, match="fish"):
        completion_text("fish", ConfigFolders.at(str(folder)))


OLD_KEYWORDS = """
AFSTokenPassing ChallengeResponseAuthentication Cipher CompressionLevel DSAAuthentication FallbackToRsh
GlobalKnownHostsFile2 HostbasedKeyTypes IdentityFile2 KerberosAuthentication KerberosTGTPassing PKCS11Provider Protocol
ProtocolKeepAlives PubkeyAcceptedKeyTypes RhostsAuthentication RhostsRSAAuthentication RSAAuthentication SetupTimeOut
SkeyAuthentication SmartcardDevice TISAuthentication UseBlacklistedKeys UsePrivilegedPort UserKnownHostsFile2 UseRoaming
UseRsh
""".split()


def test_old_keywords(folder: Path) -> None:
    """Each keyword that OpenSSH 9.2 still accepts from older files is no error; one of them is another's old name."""
    write(folder / "config", "\n".join(f"{name} x" for name in OLD_KEYWORDS))
    options = parse_options(["h"])
    assert len(options.notes) == len(OLD_KEYWORDS) - 1
    assert options.identities == ("x",)
