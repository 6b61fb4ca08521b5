"""What docs/coming_from_ssh.rst claims: each claim is shown by the page's own commands or held by a test."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.pages import ROOT, commands_of
from tests.test_shell_examples import Reader

PAGE = "docs/coming_from_ssh.rst"

SHOWN = "the commands of the page"

CLAIMS = {
    "The words of a command are joined": SHOWN,
    "Every letter of": "tests/cli/test_tool_words.py::test_every_letter_of_ssh_is_accepted",
    "The configuration file has": "tests/cli/test_config_file.py::test_matches",
    "Standard output and standard error": SHOWN,
    "-t, -tt, -T": "tests/cli/test_tool_words.py::test_words_of_tools",
    "255 always means": SHOWN,
    "128 + n means": SHOWN,
    "124 and 125 mean": SHOWN,
    "255 with a line also": "tests/cli/test_foreground.py::test_full_disk",
    "--json and --status-fd": "tests/test_shell_examples.py::test_results_for_programs",
    "Ctrl-C reaches the command": "tests/system/test_endings.py::test_interrupted_client",
    "A signal that ends the command": "tests/tools/test_parallel.py::test_parallel_is_ended",
    "When the client is gone for good": "tests/system/test_endings.py::test_client_killed",
    "A command has ended when": SHOWN,
    "In the background": "tests/cli/test_job_control.py::test_background_and_foreground",
    "trsh says that a signal": "tests/cli/test_foreground.py::test_what_is_told",
    "A command goes on when": "tests/cli/test_program_outage.py::test_ten_megabytes_each_way_and_twenty_cuts",
    "ServerAliveInterval is": "tests/cli/test_program_options.py::test_signs_of_life",
    "~. leaves": "tests/cli/test_escapes.py::test_escapes",
    "trsh host on a terminal": "tests/cli/test_first_prompt.py::test_first_prompt",
    "A single command has": "tests/execution/test_search_path.py::test_bash",
    "The shell that reads a script": SHOWN,
    "There are no SSH_CONNECTION": SHOWN,
    "PATH begins with": "tests/execution/test_search_path.py::test_bash_without_a_path",
    "A server serves the account": "tests/system/test_second_user.py::test_key_of_the_owner_under_another_name",
    "A client connects only": "tests/system/test_second_user.py::test_second_user_without_a_record",
    "About an unknown server": "tests/cli/test_first_use.py::test_never_where_it_is_forbidden",
    "The client never trusts": "tests/cli/test_first_use.py::test_without_a_terminal",
    "The key is": "tests/trust/test_ssh_keygen.py::test_key_with_a_passphrase",
    "The server passes on": "tests/cli/test_program_options.py::test_variables_reach_the_command",
    "The option accept-env= of a key": "tests/trust/test_policy.py::test_environment",
    "Ports are not forwarded": SHOWN,
    "Agents and X11": SHOWN,
    "No connection is shared": SHOWN,
    "Algorithms cannot be chosen": "tests/cli/test_tool_words.py::test_what_has_no_effect_is_noted",
}
"""For the beginning of each claim, without the marks of literals, the test that fails where it does not hold."""


def claims() -> list[str]:
    """The claims of the page: the items of its lists."""
    text = (ROOT / PAGE).read_text("utf-8")
    items = re.findall(r"^\* ((?:.+\n)(?:  .+\n)*)", text, re.MULTILINE)
    return [" ".join(item.replace("``", "").split()) for item in items]


def test_each_claim_is_held_by_a_test() -> None:
    """Each claim of the page is in the list above, and no other; each test there exists."""
    assert [claim for claim in claims() if not any(map(claim.startswith, CLAIMS))] == []
    assert [beginning for beginning in CLAIMS if not any(claim.startswith(beginning) for claim in claims())] == []
    for test in set(CLAIMS.values()) - {SHOWN}:
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text("utf-8"), test


@pytest.mark.real
def test_commands(tmp_path: Path) -> None:
    """The commands print what the page shows."""
    reader = Reader.at(tmp_path)
    with reader.serving(".venv/bin/twistd -n rsh") as record:
        reader.settle(record)
        reader.type(commands_of(PAGE))
