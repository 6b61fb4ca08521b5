"""The commands of ``docs/fleet.rst``, run one after another, show what the page says."""

from __future__ import annotations

import re
import subprocess
import textwrap
from pathlib import Path

import pytest

from tests.fleet.conftest import CONFIG, GROUPS
from tests.server_process import PATIENCE
from tests.tools.box import Box

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "fleet.rst"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(not PAGE.exists(), reason="the tests run outside a source tree"),
]


def blocks(kind: str) -> list[str]:
    """Return the code blocks of a kind."""
    found = re.findall(rf"^\.\. code-block:: {kind}\n\n((?: {{3}}.*\n|\n)+)", PAGE.read_text("utf-8"), re.MULTILINE)
    return [textwrap.dedent(block).strip() + "\n" for block in found]


def test_commands(site: Box, tmp_path: Path) -> None:
    """Each command writes to stdout and stderr, in this order, what stands below it."""
    commands = [
        part.partition("\n")[::2]
        for block in blocks("console")
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]
    ]
    assert len(commands) > 10
    status = 0
    for command, expected in commands:
        done = subprocess.run(
            ["bash", "-c", f"(exit {status}); {command}"],
            cwd=tmp_path,
            env=site.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        status = done.returncode
        assert done.stdout + done.stderr == expected, command


def test_files() -> None:
    """The configuration and the groups that the page shows are those of these tests."""
    config, groups = blocks("text")[:2]
    assert set(config.split("\n")) - set(CONFIG.split("\n")) == {"Host web* db*", "    HostName 127.0.0.1"}
    assert groups == GROUPS
