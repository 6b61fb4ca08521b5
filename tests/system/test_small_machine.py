"""docs/small_machine.rst, letter by letter, on a machine that systemd has booted.

The machine is a set of namespaces: its files are those of this system below a layer of its own, so that nothing of what
the page does stays, its process 1 is systemd, and its only network is a loopback interface of its own, which has the
address of the page.  Three commands are typed otherwise, because they need a network: that of apt-get is left out, the
environment has the packages and the twistd of the one that runs these tests, and setuptools installs this tree in the
place of pip.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from tests.server_process import PATIENCE
from tests.system.running import (
    CLIENT_SECONDS,
    SCRIPTS,
    STOP_SECONDS,
    assert_one_line,
    require,
    wait_until,
)

pytestmark = [pytest.mark.real, pytest.mark.uncut("the machine has a network of its own, without a proxy")]

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "small_machine.rst").read_text("utf-8")

SYSTEMD = "/lib/systemd/systemd"

BOOT = """
set -e
mount -t tmpfs -o mode=755 tmpfs {folder}
mkdir {folder}/upper {folder}/work {folder}/root
mount -t overlay overlay -o lowerdir=/,upperdir={folder}/upper,workdir={folder}/work {folder}/root
cd {folder}/root
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount --rbind /dev dev
touch ../console
mount --bind ../console dev/console
# The account must be able to run the Python of these tests.
chmod a+rx {parents}
# What else this system would start.
rm -rf etc/systemd/system/*.wants
ip link set lo up
ip address add 192.0.2.7/32 dev lo
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin container=test \
    chroot . {systemd} --system --unit=basic.target --log-target=null
"""
"""Makes the machine, in namespaces that are there already."""

PACKAGES = shlex.quote(sysconfig.get_path("purelib"))
"""The packages of the environment that runs the tests."""

SWAPPED = {
    "apt-get install -y python3-venv": "true",
    "python3 -m venv /opt/twisted-rsh": (
        f"{shlex.quote(os.path.realpath(sys.executable))} -m venv --without-pip /opt/twisted-rsh && "
        f"echo {PACKAGES} > $(echo /opt/twisted-rsh/lib/python3.*/site-packages)/tests.pth"
    ),
    "/opt/twisted-rsh/bin/pip install twisted-rsh": (
        f"cd {shlex.quote(str(ROOT))} && "
        "/opt/twisted-rsh/bin/python -W ignore -c 'import setuptools; setuptools.setup()' --quiet install "
        "--single-version-externally-managed --record=/dev/null 2>&1 && "
        f"sed '1s,.*,#!/opt/twisted-rsh/bin/python,' {SCRIPTS}/twistd > /opt/twisted-rsh/bin/twistd && "
        "chmod 755 /opt/twisted-rsh/bin/twistd"
    ),
}
"""What is typed in the place of what needs a network."""

ENTER = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root")
ENVIRONMENT = ("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8")

USERS = {"root#": "root", "client$": "bob"}
"""The users behind the prompts of the page."""


@dataclass
class Machine:
    """The machine.

    :ivar pid: its process 1, as this system numbers it.
    """

    pid: int

    def words(self, command: str, user: str = "root") -> list[str]:
        """The words that type a command there."""
        enter = ["nsenter", f"--target={self.pid}", *ENTER, "env", "-i", "--chdir=/", *ENVIRONMENT]
        if user == "root":
            return [*enter, "sh", "-c", command]
        return [*enter, "runuser", "-l", user, "-c", f"PATH=/opt/twisted-rsh/bin:$PATH; {command}"]

    def run(self, command: str, user: str = "root", status: int | None = 0) -> str:
        """Type a command, and return what it prints."""
        done = subprocess.run(
            self.words(SWAPPED.get(command, command), user),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=CLIENT_SECONDS,
        )
        assert status in {None, done.returncode}, (command, done.returncode, done.stdout)
        assert "Traceback" not in done.stdout, (command, done.stdout)
        return done.stdout

    def show(self, name: str, unit: str = "twisted-rsh@alice.service") -> str:
        """Ask systemd for a property of a unit."""
        return self.run(f"systemctl show --property={name} --value {unit}").strip()

    def type_section(self, title: str) -> None:
        """Type what a section of the page shows, and check what it shows of the output."""
        printed = ""
        for prompt, command, output in steps(title):
            # The invitation of the page stands for the one that was printed just before.
            typed = re.sub(r"rsh1:\S+", printed.strip(), command)
            printed = self.run(typed, USERS[prompt])
            pattern = ".*".join(map(re.escape, output.split("...")))
            assert not output or re.fullmatch(pattern, printed.rstrip("\n"), re.DOTALL), (command, printed)


def steps(title: str) -> Iterator[tuple[str, str, str]]:
    """The commands of a section: the prompt, the command, and what the page shows of its output."""
    parts = re.split(r"^(.+)\n-{4,}$", PAGE, flags=re.MULTILINE)
    text = parts[parts.index(title) + 1]
    for block in re.findall(r"^\.\. code-block:: console\n\n((?:   .*\n)+)", text, flags=re.MULTILINE):
        lines = re.sub(r"\\\n +", "", re.sub(r"^   ", "", block, flags=re.MULTILINE))
        found = re.split(r"^(root#|client\$) (.*)\n", lines, flags=re.MULTILINE)
        assert found[0] == "", block
        for number in range(1, len(found), 3):
            yield found[number], found[number + 1], found[number + 2].rstrip("\n")


def control_groups() -> Path | None:
    """Where this system has control groups of version 2."""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place)
    return None


@contextlib.contextmanager
def booted(folder: Path) -> Iterator[Machine]:
    """Boot a machine, and end all of its processes at the end of the block."""
    for program in ("unshare", "nsenter", "ip", "systemctl", "useradd", "runuser"):
        require(shutil.which(program, path="/usr/sbin:/sbin:" + os.environ["PATH"]), f"{program} is not installed")
    require(os.path.exists(SYSTEMD), "systemd is not installed")
    require(os.geteuid() == 0, "only root can make a machine of namespaces")
    groups = control_groups()
    require(groups, "this system has no control groups of version 2")
    assert groups is not None
    group = groups / f"twisted-rsh-machine-{secrets.token_hex(4)}"
    group.mkdir()
    below = {parent for path in (sys.base_prefix, sysconfig.get_path("purelib"), ROOT) for parent in Path(path).parents}
    parents = " ".join(shlex.quote(str(parent).lstrip("/") or ".") for parent in below)
    script = BOOT.format(folder=folder, systemd=SYSTEMD, parents=parents)
    spaces = ["--fork", "--kill-child", "--propagation=private"]
    spaces += ["--pid", "--mount", "--uts", "--ipc", "--net", "--cgroup"]
    enter = f"echo $$ > {group}/cgroup.procs; exec unshare {' '.join(spaces)} sh -c {shlex.quote(script)}"
    try:
        with subprocess.Popen(["sh", "-c", enter], stdin=subprocess.DEVNULL) as outside:
            try:
                yield wait_for_boot(outside)
            finally:
                outside.kill()
    finally:
        for path in [*sorted(map(Path, (each for each, _, _ in os.walk(group))), reverse=True)]:
            wait_until(partial(remove, path), PATIENCE, f"the end of the processes of {path}")


def remove(group: Path) -> bool:
    """Remove a control group; tell whether it is gone."""
    with contextlib.suppress(OSError):
        group.rmdir()
    return not group.exists()


def wait_for_boot(outside: subprocess.Popen[bytes]) -> Machine:
    """Wait until systemd has booted."""
    children = Path(f"/proc/{outside.pid}/task/{outside.pid}/children")

    def is_systemd() -> bool:
        assert outside.poll() is None, "the machine was not made"
        pid = children.read_text().strip()
        return bool(pid) and Path(f"/proc/{pid}/comm").read_text() == "systemd\n"

    wait_until(is_systemd, PATIENCE, "process 1 of the machine")
    machine = Machine(int(children.read_text()))
    wait_until(
        lambda: machine.run("systemctl is-system-running", status=None).strip() in {"running", "degraded"},
        PATIENCE,
        "the boot of the machine",
    )
    return machine


def test_the_page(tmp_path: Path) -> None:
    """O-09, O-11: a person who types what the page shows has a server under systemd, and stops it within 15 s."""
    folder = tmp_path / "machine"
    folder.mkdir()
    with booted(folder) as machine:
        machine.run("useradd --create-home --shell /bin/sh bob")
        machine.type_section("Install it")
        machine.type_section("Start it")
        assert machine.show("ActiveState") == "active"
        machine.type_section("Let a client in")
        # The unit takes nothing from a job: it has what a login of the account has.
        look = "grep -E '^(NoNewPrivs|Seccomp|CapBnd)' /proc/self/status; readlink /proc/self/ns/*; umask"
        of_job = machine.run(f"trsh alice@192.0.2.7 {shlex.quote(look)}", "bob")
        assert of_job == machine.run(f"runuser -l alice -c {shlex.quote(look)}")
        assert "NOTIFY_SOCKET" not in machine.run("trsh alice@192.0.2.7 env", "bob")
        pid = machine.show("MainPID")
        with waiting_client(machine, "echo begun; exec sleep 600") as client:
            machine.type_section("Change it")
            assert machine.show("MainPID") == pid
            assert client.poll() is None, "the reload has ended a session"
        machine.type_section("Let systemd listen")
        machine.type_section("Keep privileges out")
        check_watchdog(machine)
        with waiting_client(machine, "trap '' HUP TERM; echo begun; while :; do sleep 600; done") as client:
            began = time.monotonic()
            machine.type_section("Stop it")
            assert time.monotonic() - began < STOP_SECONDS
            assert client.stderr is not None
            assert_one_line(client.stderr.read(), "the server is stopping")
            assert client.wait(CLIENT_SECONDS) == 255
        assert (machine.show("ActiveState"), machine.show("Result")) == ("inactive", "success")
        check_mistake(machine)


def check_watchdog(machine: Machine) -> None:
    """A server that is held is ended and started again; here by a signal, which holds its reactor too."""
    drop_in = "/run/systemd/system/twisted-rsh@alice.service.d"
    machine.run(f"mkdir -p {drop_in}; printf '[Service]\\nWatchdogSec=5\\n' > {drop_in}/watchdog.conf")
    machine.run("systemctl daemon-reload; systemctl restart twisted-rsh@alice.service")
    held = machine.show("MainPID")
    machine.run(f"kill -STOP {held}")
    wait_until(lambda: machine.show("NRestarts") == "1", PATIENCE, "the end of the server that is held")
    wait_until(lambda: machine.show("ActiveState") == "active", PATIENCE, "the next server")
    assert machine.show("MainPID") != held
    machine.run(f"rm {drop_in}/watchdog.conf; systemctl daemon-reload; systemctl restart twisted-rsh@alice.service")


def check_mistake(machine: Machine) -> None:
    """A mistake in the file of options fails the start, and systemd does not try again."""
    machine.run("runuser -l alice -c 'echo prot 1 > ~/.config/twisted-rsh/server.conf'")
    assert "failed" in machine.run("systemctl start twisted-rsh@alice.service", status=1)
    found = [machine.show(name) for name in ("ActiveState", "ExecMainStatus", "NRestarts")]
    assert found == ["failed", "2", "0"]


@contextlib.contextmanager
def waiting_client(machine: Machine, job: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a client whose job has begun, and waits, while a block lasts."""
    words = machine.words(f"trsh alice@192.0.2.7 {shlex.quote(job)}", "bob")
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as client:
        try:
            assert client.stdout is not None
            assert client.stdout.readline() == b"begun\n"
            yield client
        finally:
            client.kill()
