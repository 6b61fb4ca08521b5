"""The command lines that tools really pass to their remote shell, as they were recorded, and what they must mean."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from twisted_rsh.cli.arguments import OPTIONS
from twisted_rsh.cli.destination import UsageError
from twisted_rsh.cli.options import ClientOptions, parse_options
from twisted_rsh.cli.values import TerminalWish


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No file and no variable of the user who runs the tests counts."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)


ANSIBLE = (
    "-C -o ControlMaster=auto -o ControlPersist=60s -o StrictHostKeyChecking=no -o Port=2222 "
    "-o KbdInteractiveAuthentication=no -o PreferredAuthentications=gssapi-with-mic,gssapi-keyex,hostbased,publickey "
    """-o PasswordAuthentication=no -o 'User="bob"' -o ConnectTimeout=10 -o 'ControlPath="~/.ansible/cp/1a456ca83e"' """
    "-o NumberOfPasswordPrompts=1 "
)
SCP = (
    "-x -oPermitLocalCommand=no -oClearAllForwardings=yes -oRemoteCommand=none -oRequestTTY=no "
    "-oForwardAgent=no -q -p 22 -l bob "
)
HEX = "perl -X -e GNU_Parallel_worker,eval+pack+q/H10000000/,join+q//,@ARGV 6563686f 20686921"
PRRTE = "PATH=/opt/bin:$PATH ; export PATH ; prted --daemonize --prtemca ess env"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # rsync 3.5
        (
            "-l bob HOST rsync --server -logDtpre.iLsfxCIvu . '/d\\ st/'",
            ClientOptions(
                host="HOST", user="bob", command=("rsync", "--server", "-logDtpre.iLsfxCIvu", ".", "/d\\ st/")
            ),
        ),
        ("HOST rsync --server --daemon .", ClientOptions(host="HOST", command=("rsync", "--server", "--daemon", "."))),
        ("-4 -p 2222 HOST rsync", ClientOptions(host="HOST", port=2222, family=4, command=("rsync",))),
        # git 2.39
        ("-G -o SendEnv=GIT_PROTOCOL -p 22 a@HOST", ClientOptions(host="HOST", port=22, user="a", show_settings=True)),
        ("-G HOST", ClientOptions(host="HOST", show_settings=True)),
        (
            "-o SendEnv=GIT_PROTOCOL -6 -p 22 a@HOST \"git-upload-pack '/r/x.git'\"",
            ClientOptions(host="HOST", port=22, user="a", family=6, command=("git-upload-pack '/r/x.git'",)),
        ),
        # git-lfs
        (
            "-oControlMaster=yes -oControlPath=/tmp/sock-1/lfs.sock a@HOST 'git-lfs-transfer x.git download'",
            ClientOptions(host="HOST", user="a", command=("git-lfs-transfer x.git download",)),
        ),
        # hg 7.2, borg 1.2
        (
            "-p 22 bob@HOST 'hg -R /r serve --stdio'",
            ClientOptions(host="HOST", port=22, user="bob", command=("hg -R /r serve --stdio",)),
        ),
        (
            "-oBatchMode=yes -p 22 bob@HOST borg serve --info",
            ClientOptions(host="HOST", port=22, user="bob", batch_mode=True, command=("borg", "serve", "--info")),
        ),
        # GNU parallel
        (
            f"-p 22 -l bob HOST -- exec {HEX}",
            ClientOptions(host="HOST", port=22, user="bob", command=("exec", *HEX.split())),
        ),
        (
            "HOST -- exec parallel --number-of-threads",
            ClientOptions(host="HOST", command=("exec", "parallel", "--number-of-threads")),
        ),
        # pdsh -R ssh, -R exec
        (
            "-oConnectTimeout=10 -2 -a -x -lbob HOST 'uptime; id'",
            ClientOptions(host="HOST", user="bob", connect_timeout=10.0, command=("uptime; id",)),
        ),
        ("-l bob HOST echo 'two  three'", ClientOptions(host="HOST", user="bob", command=("echo", "two  three"))),
        # clush
        (
            "-p 2222 -oForwardAgent=no -oForwardX11=no -l bob -oConnectTimeout=15 -oBatchMode=yes HOST 'uptime'",
            ClientOptions(
                host="HOST", port=2222, user="bob", connect_timeout=15.0, batch_mode=True, command=("uptime",)
            ),
        ),
        # Ansible
        (
            ANSIBLE + """-tt HOST '/bin/sh -c '"'"'echo ~bob && sleep 0'"'"''""",
            ClientOptions(
                host="HOST",
                port=2222,
                user="bob",
                connect_timeout=10.0,
                terminal=TerminalWish.ALWAYS,
                command=("/bin/sh -c 'echo ~bob && sleep 0'",),
            ),
        ),
        (
            f"-vvv {ANSIBLE} HOST ls",
            ClientOptions(host="HOST", port=2222, user="bob", connect_timeout=10.0, verbosity=3, command=("ls",)),
        ),
        (
            f"-O stop {ANSIBLE} HOST",
            ClientOptions(host="HOST", port=2222, user="bob", connect_timeout=10.0, control="stop"),
        ),
        ("-O check -o ControlPath=/x HOST", ClientOptions(host="HOST", control="check")),
        # scp -S, sftp -S
        (
            SCP + "-- HOST 'scp -t /path'",
            ClientOptions(
                host="HOST",
                port=22,
                user="bob",
                quiet=True,
                silent=True,
                terminal=TerminalWish.NEVER,
                command=("scp -t /path",),
            ),
        ),
        (
            SCP + "-s -- HOST sftp",
            ClientOptions(
                host="HOST", port=22, user="bob", quiet=True, silent=True, terminal=TerminalWish.NEVER, subsystem="sftp"
            ),
        ),
        (
            "'-oForwardX11 no' '-oPermitLocalCommand no' '-oClearAllForwardings yes' -l bob -s -- HOST sftp",
            ClientOptions(host="HOST", user="bob", subsystem="sftp"),
        ),
        # restic, sshfs
        ("bob@HOST -s sftp", ClientOptions(host="HOST", user="bob", subsystem="sftp")),
        ("HOST -l bob -p 2222 -s sftp", ClientOptions(host="HOST", port=2222, user="bob", subsystem="sftp")),
        (
            "-x -a -oClearAllForwardings=yes -2 -o 'StrictHostKeyChecking no' bob@HOST -s sftp",
            ClientOptions(host="HOST", user="bob", subsystem="sftp"),
        ),
        # execnet, unison
        (
            "-C HOST 'python3 -c \"import sys;exec(eval(sys.stdin.readline()))\"'",
            ClientOptions(host="HOST", command=('python3 -c "import sys;exec(eval(sys.stdin.readline()))"',)),
        ),
        (
            "-F /dev/null HOST 'python3 -c 1'",
            ClientOptions(host="HOST", command=("python3 -c 1",)),
        ),
        (
            "HOST -l bob -p 2222 -e none unison -server __new-rpc-mode",
            ClientOptions(
                host="HOST",
                port=2222,
                user="bob",
                escape_character=None,
                command=("unison", "-server", "__new-rpc-mode"),
            ),
        ),
        # Open MPI (PRRTE)
        ("-x HOST 'echo $SHELL'", ClientOptions(host="HOST", command=("echo $SHELL",))),
        (f"HOST {PRRTE}", ClientOptions(host="HOST", command=tuple(PRRTE.split()))),
        # autossh, docker
        (
            "-N -o 'ServerAliveInterval 60' -o 'ServerAliveCountMax 3' HOST",
            ClientOptions(host="HOST", no_command=True, alive_interval=60.0, alive_count=3),
        ),
        (
            "-l bob -p 2222 -o ConnectTimeout=30 -T -- HOST docker system dial-stdio",
            ClientOptions(
                host="HOST",
                port=2222,
                user="bob",
                connect_timeout=30.0,
                terminal=TerminalWish.NEVER,
                command=("docker", "system", "dial-stdio"),
            ),
        ),
        # vim netrw, editors, wrappers
        (
            "-q ssh://bob@HOST:2222/ ls",
            ClientOptions(host="HOST", port=2222, user="bob", quiet=True, silent=True, command=("ls",)),
        ),
        ("-4qTn -p2222 [::1]:99 ls", None),
        (
            "-fN -oBatchMode=yes HOST",
            ClientOptions(host="HOST", background=True, no_command=True, batch_mode=True, stdin_is_empty=True),
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_words_of_tools(line: str, expected: ClientOptions | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a tool passes means the host, the command and the options that the tool intends."""
    for name in ("GIT_PROTOCOL",):
        monkeypatch.delenv(name, raising=False)
    if expected is None:  # an address of the wrong family
        with pytest.raises(UsageError, match="IPv6"):
            parse_options(shlex.split(line))
    else:
        assert parse_options(shlex.split(line)) == expected


WORDS = st.text(st.sampled_from("-=\"'\\ #%~@:[]!*,.\n\x1b\u4e2d\udcffoFhlpN1stGenPort"), max_size=12)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(WORDS, max_size=4), option=st.sampled_from(["-o", "-l", "-e", "-i", "-oSetEnv=", "--json"]))
def test_any_words(words: list[str], option: str) -> None:
    """C-03: whatever the words are, they are options or an error of one line."""
    words = [word for word in words if not word.startswith(("-F", "-i"))]
    try:
        parse_options([option, *words])
    except UsageError as error:
        assert str(error).isprintable(), words


@pytest.mark.parametrize(
    "text", ["\\" * 5000, '"' + "\\" * 5001, "'" + '\\"' * 5000, " ".join(['a"b"'] * 2000), "'\"" * 5000 + '"'], ids=len
)
def test_long_values_take_no_time(text: str) -> None:
    """The time to read a value grows with its length, and not faster."""
    with contextlib.suppress(UsageError):
        parse_options(["-o", f"User={text}", "h"])
    with pytest.raises(UsageError):
        parse_options(["-o", f"ConnectTimeout={'1' * 5000}x", "h"])
    with pytest.raises(UsageError):
        parse_options(["-o", f"ConnectTimeout={'1' * 31}x", "h"])


def test_probe_of_ansible() -> None:
    """Ansible asks for a keyword without a host, and looks for two texts of ssh; no console begins."""
    with pytest.raises(UsageError) as caught:
        parse_options(["-o", "ControlPersist"])
    assert "Bad configuration option" not in str(caught.value)
    assert "Usage:" not in str(caught.value)


def test_variables_of_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """``SendEnv`` takes variables of the client's environment by patterns, ``SetEnv`` makes others and counts more."""
    monkeypatch.setenv("GIT_PROTOCOL", "version=2")
    monkeypatch.setenv("LC_TEST_A", "1")
    monkeypatch.setenv("LC_TEST_B", "2")
    options = parse_options(
        ["-o", "SendEnv=GIT_PROTOCOL", "-oSendEnv LC_TEST_*", "-o", 'SetEnv=LC_TEST_A="x y" B=', "h"]
    )
    expected = (("B", ""), ("GIT_PROTOCOL", "version=2"), ("LC_TEST_A", "x y"), ("LC_TEST_B", "2"))
    assert options.environment == expected
    options = parse_options(["-oSendEnv=GIT_PROTO* LC_TEST_?", "-oSendEnv=-LC_*", "-oSetEnv=A=1", "-oSetEnv=A=2", "h"])
    assert options.environment == (("A", "1"), ("GIT_PROTOCOL", "version=2"))


FLAGS = "1246AaCGgKkMnqTtVvXxYy"
WITH_VALUES = {"B": "eth0", "D": "1080", "E": "log", "F": "none", "I": "lib", "L": "1:h:1", "O": "check", "P": "tag"}
WITH_VALUES |= {
    "R": "1:h:1",
    "S": "/s",
    "b": "::1",
    "c": "aes",
    "e": "^a",
    "i": "key",
    "l": "bob",
    "m": "mac",
    "o": "A=b",
}
WITH_VALUES |= {"p": "22", "w": "0:1"}


def test_every_letter_of_ssh_is_accepted() -> None:
    """Each letter of OpenSSH's own table is read, alone, in a cluster, and with its value attached or behind it."""
    for letter in FLAGS:
        assert parse_options([f"-{letter}", "h"]) is not None
        assert parse_options([f"-T{letter}T", "h"]) is not None
    for letter, value in WITH_VALUES.items():
        for words in ([f"-{letter}", value, "h"], [f"-{letter}{value}", "h"], ["h", f"-T{letter}{value}"]):
            assert parse_options(words).control == ("check" if letter == "O" else None)
    known = {flag[1] for option in OPTIONS for flag in option.flags if len(flag) == 2}
    assert known >= set("1246AaCfGgKkMNnqsTtVvXxYyBDEFIJLOPQRSWbceilmopw")


@pytest.mark.parametrize(
    ("words", "attribute", "value"),
    [
        (["-oPort=22"], "port", 22),
        (["-oport 22"], "port", 22),
        (["-o", "PORT = 22"], "port", 22),
        (["-o", 'Port="22"'], "port", 22),
        (["-o", "Port=22", "-p", "23"], "port", 22),
        (["-p", "23", "-o", "Port=22"], "port", 23),
        (["-o", 'user="a b"x', "-l", "bob"], "user", "!"),
        (["-o", "HostName=other"], "host", "other"),
        (["-o", "HostName=%h.example"], "host", "h.example"),
        (["-o", "HostName=::1"], "host", "::1"),
        (["-o", "RequestTTY=force"], "terminal", TerminalWish.ALWAYS),
        (["-o", "RequestTTY=force", "-T"], "terminal", TerminalWish.NEVER),
        (["-o", "requesttty no", "-t"], "terminal", TerminalWish.ASKED),
        (["-o", "StdinNull=yes"], "stdin_is_empty", True),
        (["-o", "RemoteCommand=ls -l  /%h"], "command", ("ls -l  /h",)),
        (["-o", "RemoteCommand=none"], "command", ()),
        (["-o", "LogLevel=QUIET"], "quiet", True),
        (["-o", "LogLevel=error"], "quiet", True),
        (["-o", "LogLevel=error"], "silent", False),
        (["-o", "LogLevel=FATAL"], "silent", False),
        (["-o", "LogLevel=quiet"], "silent", True),
        (["-q", "-o", "LogLevel=DEBUG"], "silent", True),
        (["-o", "LogLevel=DEBUG", "-q"], "verbosity", 0),
        (["-vvq"], "verbosity", 0),
        (["-vvq"], "silent", True),
        (["-qvv"], "verbosity", 2),
        (["-qv"], "quiet", False),
        (["-o", "ServerAliveCountMax=0"], "alive_count", 2**31 - 1),
        (["-o", "ServerAliveCountMax=5000"], "alive_count", 5000),
        (["-o", "SetEnv=A=1 A=2 B=3"], "environment", (("A", "1"), ("B", "3"))),
        (["-o", "LogLevel=INFO"], "quiet", False),
        (["-o", "LogLevel=DEBUG2"], "verbosity", 2),
        (["-o", "LogLevel=QUIET", "-v"], "quiet", False),
        (["-o", "EscapeChar=none"], "escape_character", None),
        (["-e", "^]"], "escape_character", "\x1d"),
        (["-o", "ConnectTimeout=1m30s"], "connect_timeout", 90.0),
        (["-o", "ConnectTimeout=none"], "connect_timeout", None),
        (["-o", "ServerAliveInterval=0"], "alive_interval", None),
        (["-o", "ProxyCommand=nc %h %p # %%x"], "proxy_command", "nc h 8082 # %x"),
        (["-o", "ProxyCommand=none"], "proxy_command", None),
        (["-o", "ProxyCommand=none", "-J", "jump", "-G"], "proxy_command", None),
        (["-o", "SessionType=none"], "no_command", True),
        (["-o", "Tag=x"], "port", 8082),
        (["-o", "ControlPersist"], "host", "h"),
        (["-o", "NoSuchThing"], "host", "h"),
        (["-o", ""], "host", "h"),
        (["-o", " "], "host", "h"),
        (["-o", "# a comment"], "host", "h"),
        (["-o", 'NoSuchThing=a " b'], "host", "h"),
        (["-i", "~/key"], "identities", "home"),
        (["-o", "OnDisconnect=kill", "-o", "Resume=no"], "no_resume", True),
        (["-o", "MaxCPU=2.5"], "max_cpu", 2.5),
        (["--json"], "max_output", 64 * 1024**2),
        (["--json", "--max-output", "5"], "max_output", 5),
        (["--status-fd", "0"], "status_fd", 0),
        (["-L", "1:h:1"], "warnings", ("port forwarding is not supported: -L '1:h:1'",)),
        (["-L", "1:h:1", "-oClearAllForwardings=yes"], "warnings", ()),
    ],
    ids=str,
)
def test_lines_of_the_configuration(words: list[str], attribute: str, value: object, tmp_path: Path) -> None:
    """C-02: ``-o`` takes a keyword in any case and with any separator; unknown ones have no effect."""
    if value == "!":
        with pytest.raises(UsageError, match="user"):
            parse_options([*words, "h"])
        return
    expected = (str(tmp_path / "key"),) if value == "home" else value
    assert getattr(parse_options([*words, "h"]), attribute) == expected


def test_what_has_no_effect_is_noted() -> None:
    """Keywords and letters without an effect are noted for the log, and nowhere else."""
    options = parse_options(["-C", "-oControlMaster=auto", "-o", "Bogus=1", "h"])
    assert options.warnings == ()
    assert options.notes == (
        "the command line: '-C' has no effect",
        "-o: 'ControlMaster' has no effect",
        "-o: 'Bogus' has no effect",
    )


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("-4 -6 h", "-4 and -6 contradict each other"),
        ("-N -s h sftp", "-N and -s contradict each other"),
        ("-N h ls", "-N runs no command"),
        ("-N --argv h", "-N runs no command"),
        ("-s h", "-s needs the name of a subsystem"),
        ("-s --argv h sftp", "--argv and -s"),
        ("--argv h", "--argv needs a program"),
        ("-f h", "-f needs a command"),
        ("-o RemoteCommand=ls h ls", "RemoteCommand"),
        ("-o RemoteCommand=ls --argv h", "RemoteCommand"),
        ("--json -N h", "--json needs a command"),
        ("--json -f h ls", "--json and -f"),
        ("--json -t h ls", "--json and -t"),
        ("--json --max-output 65M h ls", "--max-output of at most"),
        ("-G -O check h", "-O and -G"),
        ("-O check h ls", "-O check runs no command"),
        ("-O bogus h", "not a control command"),
        ("-4 ::1", "IPv6 address"),
        ("-6 127.0.0.1", "IPv4 address"),
        ("-W h:22 h", "-W 'h:22'"),
        ("-J jump h", "jump hosts"),
        ("-N -L 1:h:1 h", "-L '1:h:1'"),
        ("-oExitOnForwardFailure=yes -R 1:h:1 h ls", "-R '1:h:1'"),
        ("-o Port=x h", "-o Port: not a port: 'x'"),
        ("-o Port h", "-o Port: Port needs a value"),
        ("-o 'Port=1 2' h", "takes one value"),
        ("-o =x h", "-o needs a value"),
        ("-o 'Port=\"22' h", "quotation mark"),
        ("-o HostName=a;b h", "not a host"),
        ("-o HostName=-x h", "not a host"),
        ("-o HostName=%q h", "no such token"),
        ("-o User=a`id` h", "not a user"),
        ("-o ProxyCommand=%z h", "no such token"),
        ("-o RequestTTY=maybe h", "RequestTTY"),
        ("-o StdinNull=perhaps h", "neither yes nor no"),
        ("-o LogLevel=loud h", "log level"),
        ("-o ConnectTimeout=-1 h", "not a time"),
        ("-o ConnectTimeout=99999999d h", "not a time"),
        ("-o ServerAliveCountMax=-1 h", "not a count"),
        (f"-o ServerAliveCountMax={2**31} h", "not a count"),
        ("-o Host=x h", "-o Host: stands in a file alone"),
        ("-o 'Match all' h", "-o Match: stands in a file alone"),
        ("-o include=/etc/x h", "-o include: stands in a file alone"),
        ("-o SetEnv=A h", "NAME=VALUE"),
        ("-o SendEnv=A=b h", "not the name of a variable"),
        ("-e ab h", "not an escape character"),
        ("-i ~nosuchuser/key h", "no such user"),
        ("-i '${NO_SUCH_VARIABLE}' h", "no such variable"),
        ("--status-fd -1 h", "not a descriptor"),
        ("-F /nowhere/config h", "cannot read"),
    ],
)
def test_wrong_and_contradictory_options(line: str, part: str) -> None:
    """C-03: what is wrong or contradicts itself is refused, in one printable line that names it."""
    with pytest.raises(UsageError) as caught:
        parse_options(shlex.split(line))
    assert part in str(caught.value)
    assert str(caught.value).isprintable()
