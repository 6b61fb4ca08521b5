"""Completion: the scripts in real shells, and what the client makes of their answers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.tools import require_tool
from twisted_rsh import cli
from twisted_rsh.cli.completion import Completions, _parse, _quoted, common_start, in_columns

SCRIPTS = Path(cli.__file__).parent / "scripts"
NAMES = {"bash": "complete.bash", "dash": "complete.sh", "zsh": "complete.zsh"}

Complete = Callable[..., Completions | None]


@pytest.fixture(params=["bash", "dash", "zsh"])
def shell(request: pytest.FixtureRequest) -> str:
    """The name of a shell."""
    name: str = request.param
    return name


@pytest.fixture
def complete(shell: str, tmp_path: Path) -> Complete:
    """Completes a line in a folder with some files, after some commands."""
    for name in ("a file", "plain.txt", "it's", "$x", "sub/inner", "漢字"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()

    def ask(line: str, before: str = "") -> Completions | None:
        script = (SCRIPTS / NAMES[shell]).read_text()
        text = f"set -- {_quoted(line)} mark\n{script}"
        command = [require_tool(shell), *(["-f"] if shell == "zsh" else []), "-c", f"{before}\n( {text}\n)"]
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True)
        return _parse(answer.stdout, "mark", line)

    return ask


@pytest.mark.parametrize(
    ("line", "completed"),
    [
        ("cat pl", "cat plain.txt"),
        ("cat ./pl", "cat ./plain.txt"),
        ("cat a", "cat a\\ file"),
        ("cat a\\ f", "cat a\\ file"),
        ("cat it", "cat it\\'s"),
        ("cat su", "cat sub/"),
        ("cat sub/", "cat sub/inner"),
        ("cat plain.txt | gre", None),
        ("x=1 cat pl", "x=1 cat plain.txt"),
        ("cat > pl", "cat > plain.txt"),
        ("echo $HOM", "echo $HOME"),
        ("true; cat 漢", "true; cat 漢字"),
        ("cat nothing-like-it", None),
    ],
)
def test_files_and_variables(complete: Complete, line: str, completed: str | None) -> None:
    """Every shell completes files, quoted as it needs them, and variables."""
    if completed is None:
        found = complete(line)
        assert found is None or found.texts[0].startswith("gre")
        return
    found = complete(line)
    assert found is not None
    assert [line[: len(line) - found.replaced] + text for text in found.texts] == [completed]


def test_commands(complete: Complete, shell: str) -> None:
    """The first word is a command: of the path, of the shell itself, an alias."""
    found = complete("ech")
    assert found is not None
    assert "echo" in found.texts
    found = complete("moo", "shopt -s expand_aliases 2>/dev/null; alias moocow=ls")
    assert found is not None
    assert found.texts == ("moocow",)
    if shell != "dash":
        found = complete("my_fun", "my_function() { :; }")
        assert found is not None
        assert found.texts == ("my_function",)


@pytest.mark.parametrize("shell", ["bash"])
def test_completions_of_the_users_own(complete: Complete, shell: str) -> None:
    """What `complete` says counts: word lists, functions with their line and words, the default, and quoted words."""
    words = complete("tool sub st", "complete -W 'start stop' tool")
    assert words == Completions(2, ("start", "stop"))
    function = 'complete -F f tool; f() { COMPREPLY=("$COMP_CWORD-$2-$3" "${COMP_WORDS[1]}" "${COMP_LINE// /_}"); }'
    assert complete("ls; tool one tw", function) == Completions(2, ("2-tw-one", "one", "tool_one_tw"))
    default = complete("tool pl", "f() { :; }; complete -o default -F f tool")
    assert default == Completions(2, ("plain.txt",))
    assert complete('cat "a') == Completions(2, ('"a file"',))
    assert complete("t st", "alias t='tool -x'; complete -W 'start' tool") == Completions(2, ("start",))
    spaceless = "f() { COMPREPLY=(user@); }; complete -o nospace -F f tool"
    assert complete("tool us", spaceless) == Completions(2, ("user@",), is_open=True)
    assert complete("tool us", spaceless.replace("(user@)", "('user ')")) == Completions(2, ("user",))
    assert complete("ssh root@localh") == Completions(11, ("root@localhost",))


QUOTES = {
    'cat "a': 'cat "a file"',
    "cat 'a": "cat 'a file'",
    'cat "s': 'cat "sub/',  # the path goes on
    'cat p"la': 'cat "plain.txt"',
    "cat 'it": "cat 'it'\\''s'",
    "cat 'it'\\''": "cat 'it'\\''s'",
    'cat "\\$': 'cat "\\$x"',
    "cat \\$": "cat \\$x",
    "cat '$": "cat '$x'",
    'cat "q': 'cat "q\\"\\`\\\\"',
    'cat "q\\"': 'cat "q\\"\\`\\\\"',
    "cat q": 'cat q\\"\\`\\\\',
    'cat q\\"\\`\\': 'cat q\\"\\`\\\\',
    "cat tw": "cat $'two\\nlines'",
    "cat 'tw": None,
    'echo "$HOMEWAR': 'echo "$HOMEWARD"',
}
"""What bash completes to, for what was typed; ``None`` for nothing."""


def completed_line(line: str, found: Completions | None) -> str | None:
    """Return the line with the only candidate; ``None`` if there is none."""
    if found is None:
        return None
    (text,) = found.texts
    return line[: len(line) - found.replaced] + text


@pytest.mark.parametrize("shell", ["bash"])
@pytest.mark.parametrize("line", QUOTES)
def test_quotes(complete: Complete, shell: str, line: str, tmp_path: Path) -> None:
    """A name is quoted as the word was begun, and open quotes are closed behind it, so that it is the file's name."""
    for name in ('q"`\\', "two\nlines"):
        (tmp_path / name).touch()
    found = complete(line, "HOMEWARD=x")
    assert completed_line(line, found) == QUOTES[line]


EXPANDED = {
    "cat $D/in": "cat $D/inner",
    "cat ${D}/in": "cat ${D}/inner",
    'cat "$D/in': 'cat "$D/inner"',
    'cat $D/"in': 'cat "$D/inner"',
    "cat '$D/in": None,
    "cat \\$D/in": None,
    "cat ~/in": "cat ~/inner",
    'cat ~/"in': 'cat ~/"inner"',
    'cat "~/in': None,
    "cat ~": "cat ~/",
    "cat ~roo": "cat ~root/",
    "X=pl": "X=plain.txt",
    "X=~/in": "X=~/inner",
    "X=$D/in": "X=$D/inner",
    'X="pl': 'X="plain.txt"',
    "PATH=/nowhere:su": "PATH=/nowhere:sub/",
    "PATH+=:su": "PATH+=:sub/",
    "export X=pl": "export X=plain.txt",
}
"""What bash completes to, for what was typed; ``None`` for nothing."""


@pytest.mark.parametrize("shell", ["bash"])
@pytest.mark.parametrize("line", EXPANDED)
def test_expansions(complete: Complete, shell: str, line: str) -> None:
    """What the shell expands in a path stays as it was typed, also where a variable is set."""
    found = complete(line, "HOME=$PWD/sub D=$PWD/sub")
    assert completed_line(line, found) == EXPANDED[line]


@pytest.mark.parametrize("completed", ["cat many/f", "many/f"])
def test_more_than_can_be_listed(complete: Complete, shell: str, completed: str, tmp_path: Path) -> None:
    """A part of the candidates is not taken for all of them: nothing is inserted that not all begin with."""
    (tmp_path / "many").mkdir()
    for number in range(1200):
        (tmp_path / "many" / f"f{number:04}").touch()
    found = complete(completed)
    assert found is not None
    assert found.has_more
    assert common_start(found.texts) == "many/f"
    found = complete(f"{completed}0")
    assert found is not None
    assert not found.has_more
    assert len(found.texts) == 1000


@pytest.mark.parametrize("shell", ["bash"])
def test_common_start_of_more_than_can_be_listed(complete: Complete, shell: str, tmp_path: Path) -> None:
    """What all candidates begin with is inserted, however many there are."""
    for number in range(1200):
        (tmp_path / f"picture {number:04}").touch()
    found = complete("cat pi")
    assert found is not None
    assert found.has_more
    assert common_start(found.texts) == "picture\\ "


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_order(complete: Complete, shell: str) -> None:
    """The candidates are sorted, whatever the order of the folder is."""
    found = complete("cat ")
    assert found is not None
    assert found.texts == ("\\$x", "a\\ file", "it\\'s", "plain.txt", "sub/", "漢字")
    words = complete("tool ", "complete -W 'c a b' tool")
    if shell == "bash":
        assert words == Completions(0, ("a", "b", "c"))
        unsorted = complete("tool ", "complete -o nosort -W 'c a b' tool")
        assert unsorted == Completions(0, ("c", "a", "b"))


def test_names_with_a_newline(complete: Complete, shell: str, tmp_path: Path) -> None:
    """A name of two lines is one candidate, or none where the shell has no form of it in one line."""
    (tmp_path / "two\nlines").touch()
    found = complete("cat tw")
    if shell == "dash":
        assert found is None
    else:
        assert found is not None
        assert len(found.texts) == 1
        assert "\\n" in found.texts[0]


def test_nothing_changes_in_the_shell(tmp_path: Path) -> None:
    """The script works whatever options are set, and reads nothing."""
    script = (SCRIPTS / "complete.bash").read_text()
    before = "set -eufx -o pipefail 2>/dev/null; IFS=x; exec 3>&1; alias printf=false"
    (tmp_path / "plain.txt").touch()
    command = [require_tool("bash"), "-c", f"{before}\n( set -- 'cat pl' mark\n{script}\n)"]
    answer = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False, text=True, input="untouched")
    assert _parse(answer.stdout, "mark", "cat pl") == Completions(2, ("plain.txt",))


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        ("mark\na\nab\nac\n.\n", Completions(1, ("ab", "ac"))),
        ("other output\nmark\n\nab\nab\n.\n", Completions(0, ("ab",))),
        ("mark\na\nab\na\x1b[31m\n.\n", Completions(1, ("ab",))),
        ("mark\na\nab\n-\nother output", Completions(1, ("ab",), is_open=True)),
        ("mark\na\nab\nac\n+\n", Completions(1, ("ab", "ac"), has_more=True)),
        ("mark\n\n\n+\n", Completions(0, ("",), has_more=True)),
        ("mark\na\n.\n", None),
        ("mark\na\nab\n", None),
        ("mark\nx\nab\n.\n", None),
        ("", None),
    ],
)
def test_answers(answer: str, read: Completions | None) -> None:
    """An answer that is not whole is none; what could control the terminal is left out."""
    assert _parse(answer, "mark", "ls a") == read


def test_common_start_and_columns() -> None:
    """What all candidates begin with; columns of the right width, read downwards."""
    assert common_start(("start", "stop")) == "st"
    assert common_start(("one",)) == "one"
    assert common_start(("a", "b")) == ""
    assert in_columns(("x/a", "x/bb/", "c"), 10) == ["a    c", "bb/"]
    assert in_columns(("漢字", "b", "c"), 12) == ["漢字  c", "b"]
