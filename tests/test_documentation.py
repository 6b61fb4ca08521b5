"""The pages and the code agree: ids of numbered tests, columns of code, names, options, what is exported."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

import twisted_rsh.server
import twisted_rsh.testing
from tests.system.test_units import EXPOSURE, UNITS
from tests.tools.test_recipes import PAGE, RECIPES
from twisted_rsh.cli.arguments import OPTIONS
from twisted_rsh.cli.keywords import KEYWORDS
from twisted_rsh.manage.__main__ import parse_arguments

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"

OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
"""A long option."""


def script(name: str) -> ModuleType:
    """Load a script of the documentation."""
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_numbered_tests_are_listed() -> None:
    """Every id that a test begins with is in docs/numbered_tests.rst, and every id there has a test."""
    check = script("check_numbered_tests")
    assert sorted(check.tested_ids() ^ check.listed_ids()) == []


def test_code_stays_within_its_column() -> None:
    """No line of code on a page runs out of its box."""
    assert list(script("check_columns").long_lines()) == []


def test_names_exist() -> None:
    """Every file, class and function that a page names exists, in the file that the page says."""
    assert script("check_names").wrong_names() == []


def options_of(*words: str) -> set[str]:
    """Return the long options that a program prints when it is asked for help."""
    command = [str(Path(sys.executable).with_name(words[0])), *words[1:], "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    return set(OPTION.findall(done.stdout))


def options_of_manager(*words: str) -> set[str]:
    """Return the long options of ``twisted-rsh``, without a process for each of its commands."""
    with contextlib.redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit):
        parse_arguments([*words, "--help"])
    return set(OPTION.findall(printed.getvalue()))


def test_options_are_on_their_pages() -> None:
    """Each long option of the programs is on its page, and the pages name no option that no program has."""
    client = options_of("trsh") | options_of("trshctl")
    server = options_of("twistd", "rsh")
    commands = ("sessions", "status", "invite", "enroll-key", "rotate")
    manager = options_of_manager().union(*map(options_of_manager, commands))
    on_client_page = set(OPTION.findall((DOCS / "command_line.rst").read_text("utf-8")))
    on_server_page = set(OPTION.findall((DOCS / "operating.rst").read_text("utf-8")))
    assert sorted(client - on_client_page) == []
    assert sorted((server | manager) - on_server_page) == []
    launcher = options_of("twistd")
    assert sorted((on_client_page | on_server_page) - client - server - manager - launcher) == []


def test_keywords_are_on_their_page() -> None:
    """Each keyword of the configuration, and each letter of the command line that does something, is on its page."""
    page = (DOCS / "command_line.rst").read_text("utf-8")
    assert [keyword.name for keyword in KEYWORDS.values() if f"``{keyword.name}``" not in page] == []
    letters = {flag for option in OPTIONS for flag in option.flags if len(flag) == 2}
    assert sorted(letters - set(re.findall(r"-[0-9A-Za-z]\b", page))) == []


@pytest.mark.parametrize("package", [twisted_rsh, twisted_rsh.server, twisted_rsh.testing], ids=lambda it: it.__name__)
def test_public_names_are_documented(package: ModuleType) -> None:
    """Each name that a package exports has its entry in the reference, under this package or the first that has it."""
    pages = "".join((DOCS / name).read_text("utf-8") for name in ("api.rst", "testing.rst"))
    entries = set(re.findall(r"^\.\. (?:auto|py:)\w+:: ([\w.]+)", pages, re.MULTILINE))
    missing = [
        name
        for name in package.__all__
        if not entries & {f"{package.__name__}.{name}", f"twisted_rsh.{name}"} and not re.match("I[A-Z]", name)
    ]
    assert missing == []


def test_ratings_of_the_units() -> None:
    """docs/operating.rst has the ratings that tests/system/test_units.py measures, and no others."""
    page = (DOCS / "operating.rst").read_text("utf-8")
    (paragraph,) = (part for part in page.split("\n\n") if part.startswith("``systemd-analyze security``"))
    assert re.findall(r"\d+\.\d", paragraph) == [str(EXPOSURE[hardened]) for hardened in (False, True)]


def test_table_of_directives() -> None:
    """docs/operating.rst has each directive of the unit and of hardening.conf in its table."""
    page = (DOCS / "operating.rst").read_text("utf-8")
    names = {
        name
        for file in ("twisted-rsh@.service", "hardening.conf")
        for name in re.findall(r"^(\w+)=", (UNITS / file).read_text("utf-8").partition("[Service]")[2], re.MULTILINE)
    }
    assert len(names) > 20
    usual = {"ExecStart", "ExecReload", "WorkingDirectory", "RestartSec", "RestartPreventExitStatus", "TimeoutStopSec"}
    assert sorted(name for name in names - usual - {"WantedBy"} if f"``{name}=" not in page) == []


def test_readme_names_what_the_recipes_use() -> None:
    """Each word that README's table of programs tells to type is one of the recipes', and each recipe is in it."""
    readme, page = ((ROOT / name).read_text("utf-8") for name in ("README.rst", PAGE))
    table = readme.partition("``docs/recipes.rst``")[2].split("====\n")[2]
    words = {word for row in table.splitlines() for text in re.findall("``(.*?)``", row[29:]) for word in text.split()}
    own = {"HOST", "ssh", "AUTOSSH_PATH=/path/of/trsh", "OMPI_MCA_plm_rsh_agent=/path/of/trsh"}
    assert sorted(word for word in words - own if word not in page) == []
    titles = {title.split()[0].strip("`,") for title in RECIPES} - {"Programs"}
    assert sorted(title for title in titles if title not in table) == []
