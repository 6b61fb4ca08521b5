"""Runs each kind of check in an environment of its own.

``nox -l`` lists the sessions, and ``CONTRIBUTING.rst`` explains them.

Words after ``--`` go to pytest: ``nox -s tests-3.12 -- tests/trust -k files``.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nox

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
"""The versions of Python that are supported; nox leaves out those that are not installed."""

OLDEST_PYTHON = PYTHONS[0]
OLDEST = ("Twisted[tls]==24.11.0", "cryptography==42.0.8", "pyOpenSSL==24.3.0", "prompt_toolkit==3.0.36")
"""The oldest packages that ``setup.cfg`` allows."""

OLDEST_OPTIONS = (
    # That Twisted leaves a socket to the garbage collector where it cannot listen,
    "-W",
    "ignore::pytest.PytestUnraisableExceptionWarning",
    # and its own TLS server, which this test dials, does not work with a pyOpenSSL that takes keys of cryptography.
    "--deselect",
    "tests/client/test_connecting.py::test_web_server_behind_tls",
)
"""What is known to fail there, and is not ours."""

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "types", "tests", "docs"]
nox.options.error_on_missing_interpreters = False


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Run the ordinary tests."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=OLDEST_PYTHON)
def oldest(session: nox.Session) -> None:
    """Run the ordinary tests with the oldest Python, Twisted and other packages."""
    session.install(".[test]", *OLDEST)
    session.run("python", "-m", "pytest", *OLDEST_OPTIONS, *session.posargs)


@nox.session
def exhaustive(session: nox.Session) -> None:
    """Run the tests that try every case."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", "-m", "exhaustive", *session.posargs)


@nox.session
def real(session: nox.Session) -> None:
    """Run the tests with real programs on terminals."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", "-m", "real", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Run the tests that take long, then what a user does over connections that keep failing."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", "-m", "soak", *session.posargs)
    session.run("python", "-m", "pytest", "-m", "", "--cut-links", os.environ.get("CUT_LINKS", "random"))


@nox.session
def coverage(session: nox.Session) -> None:
    """Measure all tests, those that run in processes of their own included."""
    session.install(".[test]")
    here = Path.cwd()
    measured = {"COVERAGE_PROCESS_START": str(here / "pyproject.toml"), "COVERAGE_FILE": str(here / ".coverage")}
    session.run("coverage", "erase")
    session.run("python", "-m", "pytest", "-m", "", *session.posargs, env=measured)
    session.run("coverage", "combine", "-q")
    session.run("coverage", "report", "--include=*/twisted_rsh/core/*", "--fail-under=100")
    session.run("coverage", "report", "--fail-under=95")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style and format, and the columns and the names of the documentation."""
    session.install("ruff", ".")  # the check of the names imports the package
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("python", "docs/check_columns.py")
    session.run("python", "docs/check_names.py")


@nox.session
def types(session: nox.Session) -> None:
    """Check types."""
    session.install(".[dev]")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Build the documentation; every warning is an error."""
    session.install(".[docs]")
    session.run("sphinx-build", "-W", "-n", "-q", "-b", "html", "docs", "docs/_build/html")
    session.log(f"open {Path('docs/_build/html/index.html').absolute().as_uri()}")


@nox.session
def package(session: nox.Session) -> None:
    """Build the wheel, look into it, and use it in this otherwise empty environment."""
    folder = Path(session.create_tmp()).absolute()
    shutil.rmtree(folder / "dist", ignore_errors=True)
    session.install("build")
    session.run("python", "-m", "build", "-q", "--wheel", "--outdir", str(folder / "dist"), ".")
    [wheel] = (folder / "dist").glob("*.whl")
    listing = session.run("python", "-m", "zipfile", "-l", str(wheel), silent=True)
    names = {line.split()[0] for line in str(listing).splitlines() if line.strip()}
    missing = {"twisted/plugins/twisted_rsh_plugin.py", "twisted_rsh/py.typed"} - names
    manual = {"man1/trsh.1", "man1/twisted-rsh.1", "man5/twisted_rsh.config.5"}
    missing |= {page for page in manual if not any(name.endswith(f"data/share/man/{page}") for name in names)}
    stray = {name for name in names if name.startswith("tests/") or name.endswith("dropin.cache")}
    stray |= names & {"twisted/__init__.py", "twisted/plugins/__init__.py"}
    if missing or stray:
        session.error(f"the wheel lacks {sorted(missing)} and should not have {sorted(stray)}")
    session.install(str(wheel))
    with session.chdir(folder):
        if "rsh" not in str(session.run("twistd", "--help", silent=True)).split():
            session.error("twistd does not know rsh")
        if str(session.run("python", "-m", "twisted_rsh", "echo", "it works", silent=True)).strip() != "it works":
            session.error("python -m twisted_rsh does not work")


@nox.session
def changelog(session: nox.Session) -> None:
    """Show the change log of the next release."""
    session.install("towncrier")
    session.run("towncrier", "build", "--draft", "--version", session.posargs[0] if session.posargs else "next")
