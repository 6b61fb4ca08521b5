"""``python -m bench.ansible``: Ansible over this package's connection plugin, beside its ``ssh`` plugin
and ``local``, which needs no server.

See README.rst.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.report import describe_machine, find_versions
from bench.servers.starting import OPENSSH, OURS, Site, running
from bench.surroundings import (
    clean_up_when_ended,
    client_key_path,
    environment,
    known_hosts_path,
    prepare,
    user_name,
)
from twisted_rsh.ansible.__main__ import PLUGINS
from twisted_rsh.trust.home import ConfigFolders
from twisted_rsh.trust.server_key import load_or_create_server_key

__all__ = ["main"]

MAX_RATIO = 0.7
"""The time with this package's plugin, as a multiple of that with Ansible's, above which the exit status is 1."""

KINDS = {
    "raw": "raw: 'true'",
    "module": "ping:",
}
"""The task that a play repeats: a command alone, and the smallest module."""

RUN_SECONDS = 900.0
"""Seconds after which a play is given up."""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.ansible", description=__doc__)
    parser.add_argument("--tasks", type=int, default=50, help="tasks of a play [50]")
    parser.add_argument("--hosts", type=int, default=10, help="servers of each kind [10]")
    parser.add_argument("--rounds", type=int, default=3, help="of each play with each plugin [3]")
    parser.add_argument("--kinds", default=",".join(KINDS), help="kinds of task [all]")
    parser.add_argument("--plugins", default="ssh,twisted_rsh,local", help="plugins [all]")
    parser.add_argument("--json", metavar="FILE", help="write all figures to a file")
    parser.add_argument("--no-check", action="store_true", help="exit with 0 whatever the ratios are")
    return parser.parse_args(arguments)


@contextlib.contextmanager
def _hosts(folder: Path, plugin: str, count: int) -> Iterator[dict[str, object]]:
    """Run servers with homes of their own while a block lasts; return the hosts of an inventory.

    Ansible's ``local`` needs no server: its time is what Ansible and the tasks take by themselves.
    """
    hosts: dict[str, object] = {}
    with contextlib.ExitStack() as stack:
        for number in range(count):
            home = folder / f"{plugin}{number}"
            home.mkdir(0o700)
            if plugin == "local":
                hosts[home.name] = {}
                continue
            prepare(str(home))
            site = Site(folder=str(home), shell="/bin/sh")  # noqa: S604 - a name
            _, port = stack.enter_context(running(OURS if plugin == "twisted_rsh" else OPENSSH, site))
            settings: dict[str, object] = {"ansible_host": "127.0.0.1", "ansible_port": port}
            if plugin == "twisted_rsh":
                settings["ansible_twisted_rsh_config_dir"] = str(home)
                # So that it takes TCP and TLS, as between machines, and not the Unix socket of the account.
                key = load_or_create_server_key(ConfigFolders.at(str(home)))
                settings["ansible_twisted_rsh_fingerprint"] = key.fingerprint
            else:
                settings["ansible_ssh_private_key_file"] = client_key_path(str(home))
                settings["ansible_ssh_common_args"] = f"-o UserKnownHostsFile={known_hosts_path(str(home))}"
            hosts[home.name] = settings
        yield hosts


def _play(folder: Path, plugin: str, kind: str, tasks: int, count: int) -> float:
    """Start servers, run a play on them, and return the seconds that the play took."""
    with _hosts(folder, plugin, count) as hosts:
        settings = {
            "ansible_connection": plugin,
            "ansible_user": user_name(),
            "ansible_python_interpreter": "/usr/bin/python3",
        }
        inventory = folder / "inventory.json"
        inventory.write_text(json.dumps({"all": {"hosts": hosts, "vars": settings}}))
        play = folder / "play.yml"
        play.write_text("- hosts: all\n  gather_facts: false\n  tasks:\n" + f"    - {KINDS[kind]}\n" * tasks)
        variables = {
            "ANSIBLE_CONNECTION_PLUGINS": PLUGINS,
            "ANSIBLE_FORKS": str(count),
            "ANSIBLE_HOME": str(folder / "ansible"),
            "ANSIBLE_LOCAL_TEMP": str(folder / "ansible"),
            "ANSIBLE_PIPELINING": "1",
            "ANSIBLE_TWISTED_RSH_PERSIST": "2",
            "ANSIBLE_TWISTED_RSH_PYTHON": sys.executable,
            "ANSIBLE_TWISTED_RSH_RUNTIME_DIR": str(folder / "keeper"),
        }
        start = time.perf_counter()
        done = subprocess.run(
            ["ansible-playbook", "-i", inventory, play],
            env={**environment(str(folder)), **variables},
            capture_output=True,
            text=True,
            timeout=RUN_SECONDS,
        )
        seconds = time.perf_counter() - start
    if done.returncode or f"ok={tasks} " not in done.stdout:
        raise RuntimeError(f"the play over {plugin} failed: {(done.stdout + done.stderr)[-2000:]}")
    for home in hosts:
        shutil.rmtree(folder / home)
    return seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report.

    :param arguments: the command line after the program's name; ``None`` for this process's own.
    :returns: the exit status: 1 when this package's plugin takes more than its share of time.
    :raises RuntimeError: something did not start, or a play failed.
    """
    options = _options(arguments)
    clean_up_when_ended()
    kinds, plugins = options.kinds.split(","), options.plugins.split(",")
    figures: dict[str, dict[str, list[float]]] = {kind: {plugin: [] for plugin in plugins} for kind in kinds}
    with tempfile.TemporaryDirectory(prefix="rshbench-") as name:
        for number in range(options.rounds):
            for kind in kinds:
                for plugin in random.sample(plugins, len(plugins)):
                    seconds = _play(Path(name), plugin, kind, options.tasks, options.hosts)
                    figures[kind][plugin].append(seconds)
                    print(f"round {number + 1}: {kind} over {plugin}: {seconds:.2f} s", file=sys.stderr, flush=True)
    is_slow = _report(figures)
    if options.json:
        settings = {name: getattr(options, name) for name in ("tasks", "hosts", "rounds")}
        machine = {"machine": describe_machine(), "versions": find_versions()}
        results = {"format": 1, **machine, "settings": settings, "figures": figures}
        Path(options.json).write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    return 1 if is_slow and not options.no_check else 0


def _report(figures: dict[str, dict[str, list[float]]]) -> bool:
    """Print the figures; return whether this package's plugin takes more than its share of time."""
    is_slow = False
    for kind, taken in figures.items():
        for plugin, seconds in taken.items():
            words = f"{kind:7} {plugin:12} {statistics.median(seconds):7.2f} s"
            if plugin != "ssh" and "ssh" in taken:
                ratios = [own / ssh for own, ssh in zip(seconds, taken["ssh"], strict=True)]
                ratio = statistics.median(ratios)
                is_slow |= plugin == "twisted_rsh" and ratio > MAX_RATIO
                words += f"   of ssh's {ratio:.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            print(words)
    return is_slow


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
