"""The commands that pages show behind ``$``, and a shell that types them in."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Command", "commands_of", "files_of", "run_commands", "sections_of"]

ROOT = Path(__file__).parent.parent

PAGES = ("README.rst", "CONTRIBUTING.rst", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.rst")))
"""The pages whose commands are looked at, by their paths below the root."""

BLOCK = re.compile(r"( *)\.\. code-block:: (\w+)$")
CAPTION = re.compile(r" *:caption: (\S+)$")
UNDERLINE = re.compile(r"([-=~^])\1*$")
PROMPT = "$ "

SECONDS = 180.0
"""Seconds in which all commands of a section must have ended."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a page.

    :ivar page: the page.
    :ivar section: the title of the innermost section that it is in.
    :ivar line: the number of its line.
    :ivar text: what is behind the prompt; several lines if a backslash ends all but the last one.
    :ivar output: the lines that the page shows below it; none if the page does not say what it prints.
    """

    page: str
    section: str
    line: int
    text: str
    output: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Block:
    section: str
    language: str
    caption: str
    line: int
    text: tuple[str, ...]


def _blocks(page: str) -> Iterator[_Block]:
    lines = (ROOT / page).read_text("utf-8").splitlines()
    section, number = "", 0
    while number < len(lines):
        match = BLOCK.match(lines[number])
        number += 1
        if match is None:
            if number < len(lines) and UNDERLINE.match(lines[number]) and len(lines[number]) >= len(lines[number - 1]):
                section = lines[number - 1].strip() or section
            continue
        caption = CAPTION.match(lines[number]) if number < len(lines) else None
        number += caption is not None
        first = number
        while number < len(lines) and (not lines[number].strip() or lines[number].startswith(match[1] + "   ")):
            number += 1
        text = tuple(line[len(match[1]) + 3 :] for line in lines[first:number])
        yield _Block(section, match[2], caption[1] if caption else "", first + 1, text)


def commands_of(page: str, section: str | None = None) -> list[Command]:
    """Read the commands of a page.

    :param page: its path below the root.
    :param section: the title of one section; ``None`` for all.
    """
    found: list[Command] = []
    for block in _blocks(page):
        if block.language != "console" or section not in {None, block.section}:
            continue
        continues = False
        for number, line in enumerate(block.text, block.line):
            last = found[-1] if found else None
            if line.startswith(PROMPT):
                found.append(Command(page, block.section, number, line.removeprefix(PROMPT), ()))
            elif last is not None and continues:
                found[-1] = Command(page, last.section, last.line, f"{last.text}\n{line}", ())
            elif last is not None and line.strip():
                found[-1] = Command(page, last.section, last.line, last.text, (*last.output, line))
            continues = line.endswith("\\")
    return found


def sections_of(page: str) -> list[str]:
    """List the sections of a page that have commands, in their order."""
    return list(dict.fromkeys(command.section for command in commands_of(page)))


def files_of(page: str, section: str) -> dict[str, str]:
    """Read the files of a section: the blocks whose caption is a file name.

    :returns: the contents by the name, which may begin with ``~/``.
    """
    return {
        block.caption: "\n".join(block.text).strip("\n") + "\n"
        for block in _blocks(page)
        if block.caption and block.section == section
    }


def run_commands(
    commands: Sequence[Command],
    folder: Path,
    environment: Mapping[str, str],
    stands_for: Mapping[str, str] | None = None,
    program: str = "bash",
) -> list[str]:
    """Type commands into one shell; check the output that the page shows, and that each succeeds.

    A command may fail only if it or the next one shows its status by ``echo $?``.  In the output that a page shows,
    ``...`` stands for any text.

    :param commands: the commands.
    :param folder: where the shell starts.
    :param environment: of the shell.
    :param stands_for: what to put in the place of words of the page, such as its addresses.
    :param program: the shell.
    :returns: what each command has printed.
    """
    script = ["shopt -s expand_aliases 2>/dev/null"]
    for number, command in enumerate(commands):
        text = _replaced(command.text, stands_for)
        script += [text, f'code=$?; echo; echo "@@ {number} $code"; (exit $code)']
    file = folder.parent / "commands.sh"
    file.write_text("\n".join(script) + "\n")
    done = subprocess.run(
        [program, str(file)],
        cwd=folder,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    outputs = re.split(r"\n?@@ \d+ (\d+)\n", done.stdout)
    assert len(outputs) == 2 * len(commands) + 1, f"the shell has ended early: {done.stdout}"
    texts = [command.text for command in commands] + [""]
    for number, command in enumerate(commands):
        where = f"{command.page}:{command.line}: {command.text}"
        output, status = outputs[2 * number], outputs[2 * number + 1]
        assert status == "0" or "echo $?" in texts[number + 1], f"{where}\nstatus {status}: {output}"
        assert "Traceback" not in output, f"{where}\n{output}"
        if command.output:
            expected = _replaced("\n".join(command.output), stands_for)
            pattern = ".*".join(map(re.escape, expected.split("...")))
            assert re.fullmatch(pattern, output.strip("\n"), re.DOTALL), f"{where}\nprints: {output}"
    return outputs[::2][: len(commands)]


def _replaced(text: str, stands_for: Mapping[str, str] | None) -> str:
    for word, other in (stands_for or {}).items():
        text = text.replace(word, other)
    return text
