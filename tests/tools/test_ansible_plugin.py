"""Ansible over the connection plugin of this package: tasks, files, ``become``, failures, and networks that break."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.defer import DeferredList
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.threads import deferToThread
from twisted.internet.utils import getProcessOutputAndValue

from tests.server_process import HOST, PATIENCE, WRONG_PIN, wait_until_gone
from tests.serving import Serving, asynchronous, reactor
from tests.system.running import wait_until
from tests.tools import require_tool
from tests.tools.box import Box, read_number
from twisted_rsh.ansible.__main__ import PLUGINS
from twisted_rsh.testing import FaultProxy

pytestmark = pytest.mark.real

CALLS = Path(__file__).with_name("ansible_calls.py")

EXAMPLE = Path(__file__).parents[2] / "examples" / "ansible"

SECONDS = "1"
"""Seconds for which a keeper keeps connections, and is there, when a test is over."""


def settings(folder: Path) -> dict[str, str]:
    """What tells Ansible where the plugin is, with folders of the test's own."""
    return {
        "ANSIBLE_CONNECTION_PLUGINS": PLUGINS,
        "ANSIBLE_HOME": str(folder / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(folder / "ansible"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PYTHON_INTERPRETER": "/usr/bin/python3",
        "ANSIBLE_TWISTED_RSH_PERSIST": SECONDS,
        "ANSIBLE_TWISTED_RSH_PYTHON": sys.executable,
    }


@pytest.fixture
def ansible(box: Box, tmp_path: Path) -> Box:
    """The server, with an environment in which Ansible finds the plugin."""
    require_tool("ansible-playbook")
    box.environment |= settings(tmp_path)
    return box


def write_inventory(folder: Path, port: int, **hosts: Mapping[str, object]) -> Path:
    """Write an inventory whose hosts are the server, with other variables where they are given; return its path."""
    common = {"ansible_connection": "twisted_rsh", "ansible_host": HOST, "ansible_port": port}
    path = folder / "inventory.json"
    path.write_text(json.dumps({"all": {"hosts": hosts or {"box": {}}, "vars": common}}))
    return path


def call(box: Box, *calls: tuple[object, ...], **options: object) -> list[Any]:
    """Call methods of the plugin in Ansible's Python; return what each returned, or its error."""
    first = Path(require_tool("ansible")).read_text().splitlines()[0]
    asked = {"options": {"host": HOST, "port": box.port, **options}, "calls": calls}
    done = subprocess.run(
        [first.removeprefix("#!").strip(), str(CALLS)],
        input=json.dumps(asked),
        env=box.environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stderr
    answers: list[Any] = json.loads(done.stdout)
    return answers


PLAY = """
- hosts: all
  gather_facts: false
  tasks:
    - ping:
    - copy: {{src: {folder}/data, dest: {folder}/copied}}
    - fetch: {{src: {folder}/copied, dest: {folder}/fetched, flat: true}}
    - shell: echo $((40 + 2))
      register: sum
    - assert: {{that: sum.stdout == "42"}}
    - meta: reset_connection
    - command: echo again
      vars: {{ansible_pipelining: false}}
    - shell: sleep 2; echo done >{folder}/later
      async: 60
      poll: 0
    - raw: exit 255
"""


@pytest.mark.uncut("60 MB each way would take hundreds of connections; the other tests are cut")
def test_play(ansible: Box, tmp_path: Path) -> None:
    """Modules run with and without pipelining, files of 60 MB go there and back, and 255 is a failed task."""
    (tmp_path / "data").write_bytes(os.urandom(60_000_000))
    (tmp_path / "play.yml").write_text(PLAY.format(folder=tmp_path))
    inventory = write_inventory(tmp_path, ansible.port)
    done = ansible.run("ansible-playbook", "-i", inventory, tmp_path / "play.yml", status=2)
    assert (tmp_path / "fetched").read_bytes() == (tmp_path / "data").read_bytes()
    assert "ok=7 " in done.stdout, done.stdout
    assert "unreachable=0" in done.stdout
    assert "failed=1" in done.stdout
    wait_until((tmp_path / "later").exists, PATIENCE, "what runs behind the play")


def test_calls(ansible: Box, tmp_path: Path) -> None:
    """Bytes, statuses and both outputs are exact, whatever is in them, and what fails is named and leaves nothing."""
    data, back = tmp_path / "a 'b\n\"$c", tmp_path / "back"
    data.write_bytes(bytes(range(256)) * 300 + b"end")
    copied = str(tmp_path / "there * 'x")
    (tmp_path / "empty").touch()
    (tmp_path / "kept").write_text("old")
    sparse = tmp_path / "sparse"
    with sparse.open("wb") as file:
        file.truncate(5_000_000)
    loud = "head -c 3000000 /dev/zero & head -c 3000000 /dev/zero >&2; wait"
    answers = call(
        ansible,
        ("exec_command", "cat; echo e >&2; exit 3", "\x00\xff\r\n"),
        ("exec_command", loud, ""),
        ("exec_command", "cat", "x" * 2_000_000),
        ("exec_command", "exit 255", ""),
        ("exec_command", "kill -TERM $$", ""),
        ("exec_command", "true", "unread" * 200_000),
        ("put_file", str(data), copied),
        ("fetch_file", copied, str(back)),
        ("put_file", str(tmp_path / "empty"), str(tmp_path / "empty2")),
        ("fetch_file", str(sparse), str(tmp_path / "sparse2")),
        ("put_file", str(sparse), "/dev/full"),
        ("put_file", str(data), str(tmp_path / "none" / "x")),
        ("put_file", str(tmp_path / "none"), copied),
        ("fetch_file", str(tmp_path / "none"), str(tmp_path / "new")),
        ("fetch_file", str(tmp_path), str(tmp_path / "new")),
        ("reset",),
        ("exec_command", "echo on", ""),
    )
    assert answers[0] == [3, "\x00\xff\r\n", "e\n"]
    assert [answers[1][0], len(answers[1][1]), len(answers[1][2])] == [0, 3_000_000, 3_000_000]
    assert answers[2] == [0, "x" * 2_000_000, ""]
    assert answers[3] == [255, "", ""]
    assert answers[4] == [143, "", "twisted_rsh: killed by SIGTERM\n"]
    assert answers[5] == [0, "", ""]
    assert answers[6:10] == [None] * 4
    assert back.read_bytes() == data.read_bytes()
    assert (tmp_path / "empty2").read_bytes() == b""
    assert (tmp_path / "sparse2").read_bytes() == bytes(5_000_000)
    full, missing_folder, no_source, missing, folder = answers[10:15]
    assert full[0] == missing_folder[0] == missing[0] == folder[0] == "AnsibleError"
    assert full[1].startswith("cannot write /dev/full: ")
    assert "No space left" in full[1]
    assert missing_folder[1].startswith(f"cannot write {tmp_path}/none/x: ")
    assert no_source[0] == "AnsibleFileNotFound"
    assert missing[1].startswith(f"cannot read {tmp_path}/none: ")
    assert folder[1].startswith(f"cannot read {tmp_path}: ")
    assert not (tmp_path / "new").exists()
    assert Path("/dev/full").is_char_device()
    assert answers[15:] == [None, [0, "on\n", ""]]


def test_interrupted_copy(ansible: Box, tmp_path: Path) -> None:
    """A copy whose task is killed in the middle ends on the server, and no part of the file is left there."""
    source, copied = tmp_path / "source", tmp_path / "copied"
    with source.open("wb") as file:
        file.truncate(500_000_000)
    first = Path(require_tool("ansible")).read_text().splitlines()[0]
    asked = {"options": {"host": HOST, "port": ansible.port}, "calls": [("put_file", str(source), str(copied))]}
    command = [first.removeprefix("#!").strip(), str(CALLS)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, env=ansible.environment, text=True) as process:
        assert process.stdin is not None
        process.stdin.write(json.dumps(asked))
        process.stdin.close()
        wait_until(copied.exists, PATIENCE, "the copy")
        process.kill()
    wait_until(lambda: not copied.exists(), PATIENCE, "the end of the copy")


def test_unreachable(ansible: Box, tmp_path: Path) -> None:
    """What is wrong with a link or a login is an unreachable host, and its line names it; a status is none."""
    fingerprint = ansible.fingerprint()
    with socket.create_server((HOST, 0)) as silent:
        inventory = write_inventory(
            tmp_path,
            ansible.port,
            closed={"ansible_port": 1, "ansible_twisted_rsh_fingerprint": WRONG_PIN},
            unknown={"ansible_port": 1},
            wrong={"ansible_twisted_rsh_fingerprint": WRONG_PIN},
            refused={
                "ansible_twisted_rsh_config_dir": str(tmp_path / "stranger"),
                "ansible_twisted_rsh_fingerprint": fingerprint,
            },
            silent={
                "ansible_port": silent.getsockname()[1],
                "ansible_twisted_rsh_fingerprint": WRONG_PIN,
                "ansible_twisted_rsh_timeout": 1,
            },
            slow={"ansible_twisted_rsh_command_timeout": 1},
        )
        done = ansible.run("ansible", "-i", inventory, "-o", "-m", "raw", "-a", "exec sleep 5", "all", status=None)
    lines = dict(line.split(" | ", 1) for line in done.stdout.splitlines())
    assert '"rc": 124,"stderr": "twisted_rsh: timed out after 1 s' in lines.pop("slow")
    assert all(line.startswith("UNREACHABLE!") for line in lines.values()), lines
    assert "cannot connect to 127.0.0.1 port 1: " in lines["closed"]
    assert "no server of yours is known on port 1" in lines["unknown"]
    assert "is not the expected server" in lines["wrong"]
    assert "was refused by" in lines["refused"]
    assert "has let no one in within 1 s" in lines["silent"]


def test_task_timeout(ansible: Box, tmp_path: Path) -> None:
    """A task that Ansible gives up is ended on the server, and so is one whose controller gets Ctrl-C."""
    inventory = write_inventory(tmp_path, ansible.port)
    os.mkfifo(tmp_path / "fifo")
    play = (
        f"- {{hosts: all, gather_facts: no, tasks: [{{raw: 'echo $$ >{tmp_path}/fifo; exec sleep 600', timeout: 6}}]}}"
    )
    (tmp_path / "play.yml").write_text(play)
    with subprocess.Popen(
        ["ansible-playbook", "-i", inventory, tmp_path / "play.yml"],
        env=ansible.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        pid = read_number(tmp_path / "fifo")
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2, output
    wait_until_gone(pid)
    words = ("ansible", "-i", inventory, "all", "-m", "raw", "-a", f"echo $$ >{tmp_path}/fifo2; exec sleep 600")
    assert ansible.interrupt(tmp_path / "fifo2", *words) != 0


SUDO = """#!/bin/sh
# As much of sudo as Ansible uses: sudo -H -S [-n] [-p PROMPT] -u USER COMMAND; its password is "right".
prompt=
while :; do
    case $1 in
        -p) prompt=$2; shift 2 ;;
        -u) shift 2 ;;
        -n) echo "sudo: a password is required" >&2; exit 1 ;;
        -*) shift ;;
        *) break ;;
    esac
done
printf %s "$prompt" >&2
IFS= read -r password
[ "$password" = right ] || { echo "Sorry, try again." >&2; printf %s "$prompt" >&2; read -r password; exit 1; }
export BECOME=sudo
exec "$@"
"""

FREE_SUDO = """#!/bin/sh
# sudo for an account that needs no password.
while :; do case $1 in -u) shift 2 ;; -*) shift ;; *) break ;; esac; done
export BECOME=free
exec "$@"
"""

SU = """#!/bin/sh
# As much of su as Ansible uses: it asks on the terminal, without which it fails.
printf 'Password: ' >/dev/tty && stty -echo </dev/tty && read -r password </dev/tty && stty echo </dev/tty || exit 1
[ "$password" = right ] || { echo 'su: Authentication failure' >&2; exit 1; }
shift 2
export BECOME=su
exec /bin/sh -c "$1"
"""


def test_become(ansible: Box, tmp_path: Path) -> None:
    """``sudo`` with a password, without one and with a wrong one, and ``su``, which asks on a terminal."""
    for name, text in (("sudo", SUDO), ("free", FREE_SUDO), ("su", SU)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)

    def host(program: str, method: str = "sudo", **more: str) -> dict[str, object]:
        names = {"ansible_become_method": method, f"ansible_{method}_exe": str(tmp_path / program), **more}
        return {"ansible_become_user": "root", **names}

    inventory = write_inventory(
        tmp_path,
        ansible.port,
        right=host("sudo", ansible_become_password="right"),
        wrong=host("sudo", ansible_become_password="wrong"),
        missing=host("sudo"),
        free=host("free"),
        su=host("su", "su", ansible_become_password="right"),
        su_wrong=host("su", "su", ansible_become_password="wrong"),
        none=host("no-such-sudo"),
    )
    words = ("-m", "shell", "-a", "echo $BECOME; id -u; echo err >&2")
    done = ansible.run("ansible", "-i", inventory, "-b", "-o", "-f", "7", "all", *words, status=2)
    lines = dict(line.split(" | ", 1) for line in done.stdout.splitlines() if " | " in line)
    uid = os.getuid()
    assert lines["right"] == f"CHANGED | rc=0 | (stdout) sudo\\n{uid} (stderr) err"
    assert lines["free"] == f"CHANGED | rc=0 | (stdout) free\\n{uid} (stderr) err"
    assert lines["su"] == f"CHANGED | rc=0 | (stdout) su\\n{uid} (stderr) err"
    assert "Incorrect sudo password" in lines["wrong"]
    assert "Missing sudo password" in lines["missing"]
    assert "Incorrect su password" in lines["su_wrong"]
    assert lines["none"].startswith("FAILED")
    assert "UNREACHABLE" not in done.stdout
    assert not any(mark in done.stdout for mark in ("BECOME-SUCCESS", "assword:"))


CUT = """
- hosts: all
  gather_facts: false
  tasks:
    - shell: |
        echo once >>{folder}/runs
        echo before
        echo $$ >{folder}/fifo
        while test ! -e {folder}/go; do sleep 0.05; done
        echo after
      register: it
    - assert:
        that: it.stdout_lines | join(" ") == "before after"
"""


@asynchronous
async def test_network_breaks(serving: Serving, tmp_path: Path) -> None:
    """A task goes on when its connection is cut in the middle, and its command has run once."""
    require_tool("ansible-playbook")
    proxy = FaultProxy(reactor, TCP4ClientEndpoint(reactor, HOST, serving.service.tcp_port))
    await proxy.start()
    host: dict[str, object] = {
        "ansible_twisted_rsh_config_dir": serving.config.config,
        "ansible_twisted_rsh_fingerprint": serving.service.fingerprint,
    }
    inventory = write_inventory(tmp_path, proxy.port, box=host)
    (tmp_path / "play.yml").write_text(CUT.format(folder=tmp_path))
    os.mkfifo(tmp_path / "fifo")
    environment = os.environ | settings(tmp_path) | {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": ""}
    playing = getProcessOutputAndValue(
        "ansible-playbook", ["-i", str(inventory), str(tmp_path / "play.yml")], env=environment, reactor=reactor
    )
    # A play that ends too early makes the failure say why.
    await DeferredList(
        [deferToThread(read_number, tmp_path / "fifo"), playing], fireOnOneCallback=True, fireOnOneErrback=True
    )
    assert not playing.called, playing.result
    proxy.cut_all()
    (tmp_path / "go").touch()
    output, errors, status = await playing
    await proxy.stop()
    assert status == 0, (output, errors)
    assert b"ok=2 " in output
    assert (tmp_path / "runs").read_text() == "once\n"
    assert proxy.cuts == 1


def test_no_package(ansible: Box, tmp_path: Path) -> None:
    """A Python without this package is named, with the way out; so is a folder that others can enter."""
    answers = call(ansible, ("exec_command", "true", ""), python="/bin/false")
    assert answers[0][0] == "AnsibleError"
    assert "let ansible_twisted_rsh_python name a Python" in answers[0][1]
    (tmp_path / "open").mkdir(mode=0o755)
    answers = call(ansible, ("exec_command", "true", ""), runtime_dir=str(tmp_path / "open"))
    assert answers[0][1].startswith(f"the folder {tmp_path}/open must belong to you")


def test_one_keeper(ansible: Box, tmp_path: Path) -> None:
    """Tasks that begin at once start one keeper; it ends by itself, and leaves nothing but its folder."""
    inventory = write_inventory(tmp_path, ansible.port, **{f"h{number}": {} for number in range(6)})
    folder = tmp_path / ("long" * 30) / "keeper"
    environment = {"ANSIBLE_TWISTED_RSH_RUNTIME_DIR": str(folder)}
    ansible.run("ansible", "-i", inventory, "all", "-f", "6", "-m", "raw", "-a", "true", env=environment)
    keepers = [
        path.name
        for path in Path("/proc").iterdir()
        if path.name.isdigit() and f"cwd={folder}" == f"cwd={cwd_of(path)}"
    ]
    assert len(keepers) == 1
    wait_until_gone(int(keepers[0]))
    assert list(folder.iterdir()) == []


def cwd_of(process: Path) -> str:
    """Return the working folder of a process, or nothing if it has gone."""
    try:
        return os.readlink(process / "cwd")
    except OSError:
        return ""


def test_where_it_is(ansible: Box, tmp_path: Path) -> None:
    """The one line for a shell, the lines for ``ansible.cfg``, and the installed collection lead to the plugin."""
    environment = {name: value for name, value in ansible.environment.items() if "TWISTED_RSH" not in name}
    environment.pop("ANSIBLE_CONNECTION_PLUGINS")
    environment["ANSIBLE_COLLECTIONS_PATH"] = str(tmp_path / "collections")
    package = f"{sys.executable} -m twisted_rsh.ansible"

    def shell(text: str) -> str:
        done = subprocess.run(
            ["sh", "-c", text], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    inventory = write_inventory(tmp_path, ansible.port)
    run = f"ansible -i {inventory} all -m raw -a 'echo hello'"
    assert "hello" in shell(f'eval "$({package})" && {run}')
    page = shell(f'eval "$({package})" && ansible-doc -t connection twisted_rsh')
    for option in ("fingerprint", "config_dir", "resume", "ANSIBLE_TWISTED_RSH_PYTHON", "ansible_twisted_rsh_grace"):
        assert option in page
    assert "hello" in shell(f"{package} --config >ansible.cfg && {run} && rm ansible.cfg")
    shell(f"ansible-galaxy collection install $({package} --collection)")
    name = "twisted_rsh.rsh.twisted_rsh"
    assert "hello" in shell(f"{run} -e ansible_connection={name} -e ansible_twisted_rsh_python={sys.executable}")
    assert "ansible_twisted_rsh_grace" in shell(f"ansible-doc -t connection {name}")


def test_example(ansible: Box, tmp_path: Path) -> None:
    """The example runs its play on three servers, each with a home of its own, and leaves nothing behind."""
    environment = {"PYTHON": sys.executable, "TMPDIR": str(tmp_path)}
    done = ansible.run(EXAMPLE / "run", env=environment)
    for name in ("web1", "web2", "web3"):
        assert f'"page.stdout": "This is {name}."' in done.stdout
    assert done.stdout.count("ok=5 ") == 3
    assert list(tmp_path.glob("tmp.*")) == []
