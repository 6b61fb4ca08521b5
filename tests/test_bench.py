"""The benchmark runs: it starts its servers, measures, and says what it found; what that is matters elsewhere."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from tests.files.packets import system_server
from tests.system.running import own_environment, require, unmeasured
from tests.tools import require_tool

ROOT = Path(__file__).parent.parent

SECONDS = 120.0
"""Seconds that a run may take; it takes five on a machine that does nothing else."""

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not (ROOT / "bench").exists(), reason="the tests run outside a source tree"),
]


def bench(tmp_path: Path, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a program of the benchmark, with a home and a folder for temporary files of its own."""
    temporary = tmp_path / "tmp"
    temporary.mkdir(exist_ok=True)
    return subprocess.run(
        [sys.executable, "-m", f"bench.{module}", *words],
        env=unmeasured(own_environment(tmp_path, TMPDIR=str(temporary))),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """One round of W1, without the peers, and the folder of its files."""
    folder = tmp_path_factory.mktemp("run")
    files = ["--json", str(folder / "results.json"), "--plot", str(folder / "plot.svg")]
    done = bench(folder, "run", "--quick", "--works", "W1", "--rounds", "1", "--only", "ours,local", *files)
    return done, folder


def test_table(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """The table has a line for each contestant, and the ratio between them."""
    done, _ = run
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    ours = next(line for line in lines if line.startswith("  this package: API > server"))
    local = next(line for line in lines if line.startswith("  this machine, no remote shell"))
    assert "times as good" not in ours
    assert "times as good" in local
    assert "failed" not in done.stdout


def test_results(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """The file has every figure, and what it was measured on and with."""
    _, folder = run
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    figures = results["figures"]["W1"]
    assert set(figures) == {"ours", "local"}
    assert all(len(rounds) == 1 and rounds[0]["per_s"] > 0 for rounds in figures.values())
    assert results["machine"]["cores"] == os.cpu_count()
    assert {"Python", "Twisted"} <= set(results["versions"])
    assert results["date"]
    assert results["failures"] == []


def test_plot(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """The plot is well-formed, with a bar for each contestant on its background."""
    _, folder = run
    rectangles = ET.parse(folder / "plot.svg").getroot().findall("{http://www.w3.org/2000/svg}rect")  # noqa: S314 - ours
    assert len(rectangles) == 1 + 2


def test_nothing_is_left(run: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    """The folder of the keys and logs is gone, and nothing but what was asked for is there."""
    _, folder = run
    assert list((folder / "tmp").iterdir()) == []
    assert {path.name for path in folder.iterdir()} == {"tmp", "results.json", "plot.svg"}


def test_results_are_shown_again(run: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path) -> None:
    """A file of results gives the same table, and the same plot."""
    done, folder = run
    again = bench(tmp_path, "report", str(folder / "results.json"), str(tmp_path / "plot.svg"))
    assert (again.returncode, again.stdout) == (0, done.stdout)
    assert (tmp_path / "plot.svg").read_text() == (folder / "plot.svg").read_text()


def test_history(run: tuple[subprocess.CompletedProcess[str], Path], tmp_path: Path) -> None:
    """The plot has a bar for each run that compared the two, the oldest first; a run without both has none."""
    _, folder = run
    names = ["new.json", "old.json", "alone.json"]
    for name, date in zip(names, ("2026-02-03T04:05:06", "2026-01-02T03:04:05", "2026-03-04T05:06:07"), strict=True):
        results = json.loads((folder / "results.json").read_text())
        results["date"] = date
        if name == "alone.json":
            del results["figures"]["W1"]["local"]
        (tmp_path / name).write_text(json.dumps(results))
    done = bench(tmp_path, "history", *[str(tmp_path / name) for name in ("history.svg", *names)])
    assert done.returncode == 0, done.stderr
    root = ET.parse(tmp_path / "history.svg").getroot()  # noqa: S314 - ours
    assert len(root.findall("{http://www.w3.org/2000/svg}rect")) == 1 + 2
    shown = [text.text or "" for text in root.findall("{http://www.w3.org/2000/svg}text")]
    assert shown[0].endswith("beside this machine, no remote shell")
    assert [text for text in shown if text.startswith("2026")] == ["2026-01-02 03:04", "2026-02-03 04:05"]


def test_logins(tmp_path: Path) -> None:
    """Logins and idle sessions are counted, and what each takes is written."""
    done = bench(tmp_path, "logins", "--quick", "--json", str(tmp_path / "logins.json"))
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "logins.json").read_text())["figures"]
    assert figures["login_cpu_ms"] > 0
    assert {"login_p50_ms", "login_p99_ms", "session_kib", "crowd_login_cpu_ms", "idle_cpu_percent"} <= figures.keys()


def test_a_measurement_that_fails(tmp_path: Path) -> None:
    """A failure is named, with the others' figures beside it, and the exit status tells."""
    done = bench(
        tmp_path, "run", "--quick", "--works", "W1", "--rounds", "1", "--only", "ours,local", "--shell", "/bin/no-shell"
    )
    assert done.returncode == 1
    assert "failed: the server ours: it did not start: " in done.stdout
    assert "failed: W1 local, round 1: " in done.stdout


def test_cuts(tmp_path: Path) -> None:
    """A file goes each way, with cuts and without, and arrives as it was; the file of results has all figures."""
    path = tmp_path / "cuts.json"
    words = ["--mib", "16", "--rounds", "1", "--low", "0.05", "--high", "0.1", "--no-check", "--json", str(path)]
    done = bench(tmp_path, "cuts", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["way", "up", "down"]
    figures = json.loads(path.read_text())["figures"]
    for way in ("up", "down"):
        (cut,), (whole,) = figures[way]["cuts"], figures[way]["whole"]
        assert cut["sha256"] == whole["sha256"]
        assert whole["cuts"] == 0
        assert cut["mb_per_s"] > 0


def test_sftp(tmp_path: Path) -> None:
    """Files go to both servers of files and come back; the file of results has the seconds of each transfer."""
    require_tool("sftp")
    system_server()
    path = tmp_path / "sftp.json"
    words = ["--mib", "1", "--files", "5", "--rounds", "1", "--no-check", "--json", str(path)]
    done = bench(tmp_path, "sftp", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    transfers = ["put large", "get large", "put small", "get small"]
    assert [line[:9] for line in done.stdout.splitlines()[1:-1]] == transfers
    results = json.loads(path.read_text())
    for server in ("system", "own"):
        assert list(results["figures"][server][0]) == transfers
        assert results["peaks"][server] > 0


def test_resume_cost(tmp_path: Path) -> None:
    """A resume costs both sides something, and what that is is said."""
    path = tmp_path / "cost.json"
    done = bench(tmp_path, "resume_cost", "--resumes", "5", "--blocked", "0.5", "--no-check", "--json", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("a resume: ")
    figures = json.loads(path.read_text())["figures"]
    assert figures["client_cpu_ms"] > 0
    assert figures["p99_us"] >= figures["p50_us"] > 0


def test_soak(tmp_path: Path) -> None:
    """R-14: a few seconds of everything, with cuts: nothing goes wrong or is left, and every kind of work was done."""
    require(Path("/proc/self/fd").exists(), "only Linux shows what a process has")
    path = tmp_path / "soak.json"
    done = bench(tmp_path, "soak", "--seconds", "8", "--cuts", "--json", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads(path.read_text())
    assert results["left"] == {"sessions": 0, "processes": 0}
    assert results["failures"] == []
    kinds = {"commands", "shells", "terminals", "uploads", "downloads", "cancelled", "killed"}
    assert kinds == set(results["done"])
    assert all(sample["memory_mb"] > 1 and sample["descriptors"] > 3 for sample in results["samples"])
    assert set(results["slopes_per_hour"]) == {"memory_mb", "descriptors", "children"}


def test_fleet(tmp_path: Path) -> None:
    """Every host does what it is asked, and the file of results has the time and the memory of it."""
    path = tmp_path / "fleet.json"
    words = ["--hosts", "3", "--rounds", "1", "--only", "trsh", "--json", str(path)]
    done = bench(tmp_path, "fleet", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "hosts failed" not in done.stdout
    (figures,) = json.loads(path.read_text())["figures"]["trsh"]
    assert (figures["hosts"], figures["memory_mb"] > 1, figures["seconds"] > 0) == (3, True, True)


def test_trend() -> None:
    """A line is found with its error, noise is no growth, and too little says nothing."""
    from bench.trend import Trend, trend

    line = trend([0.0, 1.0, 2.0, 3.0], [1.0, 3.0, 5.0, 7.0])
    assert line == Trend(2.0, 0.0)
    assert line.is_growth
    noise = trend([0.0, 1.0, 2.0, 3.0], [1.0, 2.0, 1.0, 2.0])
    assert noise is not None
    assert (noise.slope, noise.error) == pytest.approx((0.2, 0.08**0.5))
    assert not noise.is_growth
    assert trend([0.0, 1.0], [1.0, 2.0]) is None
    assert trend([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) is None


def test_profile(tmp_path: Path) -> None:
    """The profile is that of the server: it knows the functions that start a command."""
    done = bench(tmp_path, "profile_server", "--quick", "--sort", "cumtime", "--lines", "1000")
    assert done.returncode == 0, done.stderr
    assert "posix_spawn" in done.stdout


def test_builtin(tmp_path: Path) -> None:
    """Each way has a line and its figures, also the one of another tree."""
    require(shutil.which("bash"), "there is no bash")
    path = tmp_path / "builtin.json"
    done = bench(tmp_path, "builtin", "bash", "--quick", "--former", str(ROOT), "--json", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    medians = json.loads(path.read_text())
    commands = {name.partition(": ")[2] for name in medians}
    assert {name.partition(": ")[0] for name in medians} == {"bash typed", "bash evaluated", "bash former"}
    assert len(commands) == 3
    assert len(medians) == 3 * len(commands)
    assert all(figure > 0 for figures in medians.values() for figure in figures.values())
    assert all(name in done.stdout for name in medians)


def test_builtin_that_fails(tmp_path: Path) -> None:
    """A shell that cannot be measured is named, and the exit status tells."""
    done = bench(tmp_path, "builtin", "no-such-shell", "--quick")
    assert done.returncode == 1
    assert done.stderr.startswith("no-such-shell, typed: ")


def test_watching(tmp_path: Path) -> None:
    """A server without observers and one with each kind have a line and their figures."""
    path = tmp_path / "watching.json"
    done = bench(tmp_path, "watching", "--quick", "--json", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    medians = json.loads(path.read_text())
    assert set(medians) == {"nothing", "audit", "audit with text", "metrics", "both"}
    assert all(figure > 0 for figures in medians.values() for figure in figures.values())
    assert all(name in done.stdout for name in medians)


def test_walks(tmp_path: Path) -> None:
    """A walk has files and hops of both sides, and the table shows the figures that the file of results has."""
    path = tmp_path / "walks.json"
    done = bench(tmp_path, "walks", "--walks", "cd", "--json", str(path))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(path.read_text())["figures"]["cd"]
    assert done.stdout.splitlines()[1].split()[-2:] == [str(figures["files"]), str(figures["hops"])]
    assert figures["files"] > 1
    assert figures["client_hops"] > 1
    assert figures["server_hops"] > 1


def test_hops_are_changes_of_the_file() -> None:
    """Only a call of another file in the same process is a hop, and each file counts once."""
    from bench.walks import Call, Round, count_hops, list_files

    client = [Call(at, file, "call") for at, file in [(1, "a"), (2, "a"), (5, "b"), (6, "a")]]
    server = [Call(at, file, "call") for at, file in [(3, "c"), (4, "c")]]
    assert (count_hops(client), count_hops(server), count_hops([])) == (2, 0, 0)
    assert list_files(client) == ["a", "b"]
    both = Round(client, server)
    assert (both.hops, both.files) == (2, ["a", "c", "b"])


def test_ratios_say_how_many_times_as_good_ours_is() -> None:
    """Twice the rate and half the time are both twice as good; a round that lacks one of the two has no ratio."""
    from bench.report import ratios
    from bench.works import WORKS

    rate, time = WORKS["W1"], WORKS["W8"]
    assert ratios(rate, [{"per_s": 200.0}], [{"per_s": 100.0}]) == [2.0]
    assert ratios(time, [{"p50_us": 50.0}], [{"p50_us": 100.0}]) == [2.0]
    assert ratios(rate, [None, {"per_s": 3.0}], [{"per_s": 1.0}, {"per_s": 2.0}]) == [1.5]
    assert ratios(time, [{"p50_us": 0.0}, {}], [{"p50_us": 1.0}, {"p50_us": 1.0}]) == []


def test_results_of_another_format(tmp_path: Path) -> None:
    """A file that this version cannot read is refused by name."""
    from bench.report import Results

    path = tmp_path / "old.json"
    for text in ('{"W1": {}}', '{"format": 1, "versions": {}, "figures": {}}'):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"old\.json has no results of format 1"):
            Results.load(str(path))


def test_the_history_that_is_kept(tmp_path: Path) -> None:
    """The plot beside the results of this project's runs is the one that they give."""
    runs = sorted(map(str, (ROOT / "bench" / "results").glob("*.json")))
    done = bench(tmp_path, "history", str(tmp_path / "history.svg"), *runs)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "history.svg").read_text() == (ROOT / "bench" / "results" / "history.svg").read_text()


def test_the_servers_usage_is_without_its_jobs() -> None:
    """A job's memory is not the server's: what has another name than the server does not count."""
    from bench.processes import usage

    alone = usage(os.getpid())
    if alone is None:
        require(False, "this system has no /proc")
        return
    large = "x=$(head -c 20000000 /dev/zero | tr '\\0' x); echo there; read line"
    with subprocess.Popen(["sh", "-c", large], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == b"there\n"
        beside = usage(os.getpid())
        job.kill()
    assert beside is not None
    assert beside.memory_mb < alone.memory_mb + 10


def test_ansible(tmp_path: Path) -> None:
    """A play runs on servers with homes of their own, and its time is told."""
    require(shutil.which("ansible-playbook"), "ansible-playbook is not installed")
    words = ("--plugins", "twisted_rsh", "--kinds", "raw", "--tasks", "2", "--hosts", "2", "--rounds", "1")
    done = bench(tmp_path, "ansible", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.split()[:2] == ["raw", "twisted_rsh"]
