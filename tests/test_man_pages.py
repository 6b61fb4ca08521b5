"""The manual pages: what the documentation says, with every option and keyword, and in a form that man can read."""

from __future__ import annotations

import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.test_documentation import script
from tests.tools import require_tool
from twisted_rsh.cli.arguments import OPTIONS
from twisted_rsh.cli.keywords import KEYWORDS
from twisted_rsh.manage.__main__ import SessionOptions, parse_arguments
from twisted_rsh.tap import Options

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "man").iterdir())


def words(name: str) -> set[str]:
    """The options and keywords that a manual page describes: the tags of its lists, and the options of its bounds."""
    lines = (ROOT / "man" / name).read_text("utf-8").replace("\\-", "-").split("\n")
    heads = [line for before, line in pairwise(lines) if before == ".TP" or line.startswith("option: ")]
    return {
        word.strip(",") for line in heads for literal in re.findall(r"\\fB(.*?)\\fR", line) for word in literal.split()
    }


def test_they_are_what_the_documentation_says() -> None:
    """Each page in man/ is what docs/write_man_pages.py writes; run that after a change of the documentation."""
    writer = script("write_man_pages")
    assert [page.path for page in sorted(writer.PAGES, key=lambda page: str(page.path))] == PAGES
    for page in writer.PAGES:
        assert page.path.read_text("utf-8") == writer.write_page(page), page.path


def test_options_of_the_client() -> None:
    """trsh(1) has each option that ``trsh --help`` shows."""
    assert sorted({flag for option in OPTIONS if option.help for flag in option.flags} - words("trsh.1")) == []


def test_options_of_the_server() -> None:
    """twisted-rsh(1) has each option of ``twistd rsh`` and of ``twisted-rsh sessions``."""
    options = Options()
    server = {f"--{name}" for name in options.longOpt for name in [name.rstrip("=")]} - {"--help-reactors"}
    assert len(server) > 20
    assert sorted(server - words("twisted-rsh.1")) == []
    assert parse_arguments(["sessions", "--json", "--end", "ab", "--config-dir", "/x"]) == SessionOptions(
        config_dir="/x", end=("ab",), as_json=True
    )
    synopsis = (ROOT / "man" / "twisted-rsh.1").read_text("utf-8").replace("\\-", "-").partition(".SH DESCRIPTION")[0]
    assert all(f"[{option}" in synopsis for option in ("--json", "--end", "--config-dir"))


def test_keywords_of_the_configuration() -> None:
    """twisted_rsh.config(5) has each keyword."""
    assert sorted({keyword.name for keyword in KEYWORDS.values()} - words("twisted_rsh.config.5")) == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_lint(path: Path) -> None:
    """Mandoc has nothing to warn of."""
    done = subprocess.run(
        [require_tool("mandoc"), "-Tlint", "-Wwarning", str(path)], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_torn_row() -> None:
    """A first cell that goes on in the next row is refused: reStructuredText makes two rows of it."""
    writer = script("write_man_pages")
    table = "==== ===\nhead of\n==== ===\none, two\nor\n==== ===\n"
    page = writer.PAGES[0]
    tree = writer.publish_doctree(table)
    with pytest.raises(writer.TornRow, match="one,"):
        writer._Writer(page, set()).children(tree, 1)
