"""The server's configuration file: lines ``name value``, with the names of the options of the command line.

The options' own table says what a line may be, so an option of the command line is a keyword of the file.
"""

from __future__ import annotations

import difflib
import getopt
import re
from collections.abc import Callable, Collection, Iterator, Sequence

from twisted.python import usage

from twisted_rsh.core.errors import Error, one_line
from twisted_rsh.core.values import dataclass
from twisted_rsh.trust.files import read_trusted_file

__all__ = ["MAX_CONF_BYTES", "ConfMistake", "Keywords", "Setting", "given_options", "quoted", "read_settings"]

MAX_CONF_BYTES = 64 * 1024
"""Bytes of a file at most: many times a file with every option and a comment for each.  The reactor is held while a
running server reads it again."""

_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"|[^\s"]\S*')
"""One word.  Between quotation marks a backslash stands before a quotation mark or a backslash."""

_BLANKS = " \t"


class ConfMistake(Error):
    """A line of the file is wrong.  ``str()`` is one line: the file, the line, the column, and what would be right."""

    def __init__(self, path: str, line: int, column: int, problem: str) -> None:
        super().__init__(one_line(f"{path}:{line}:{column}: {problem}"))


@dataclass(frozen=True, slots=True)
class Setting:
    """What one line of the file says.

    :ivar path: the file.
    :ivar line: the number of the line, from 1.
    :ivar name: the name of an option.
    :ivar name_column: the column in which it begins, from 1; a tab counts as one.
    :ivar value: its value; ``None`` if the line has none.
    :ivar value_column: the column in which the value begins, or would.
    """

    path: str
    line: int
    name: str
    name_column: int
    value: str | None
    value_column: int

    def wrong_name(self, problem: str) -> ConfMistake:
        """Make the exception for a name that cannot stand there."""
        return ConfMistake(self.path, self.line, self.name_column, problem)

    def wrong_value(self, problem: str) -> ConfMistake:
        """Make the exception for a value that the option does not take."""
        return ConfMistake(self.path, self.line, self.value_column, problem)


def read_settings(path: str) -> list[Setting]:
    """Read a file.  Only the server's user and root may be able to write it.

    :param path: the file.
    :returns: what its lines say, in their order; :meth:`Keywords.words` checks that.
    :raises FileNotFoundError: there is no such file.
    :raises twisted_rsh.trust.files.UntrustedFile: another user can write it, it is no regular file, or too large.
    :raises OSError: the operating system did not allow it.
    :raises ConfMistake: a line is no name and value.
    """
    data = read_trusted_file(path, MAX_CONF_BYTES)
    # Values may be paths, which are any bytes: as the words of a command line have them.
    text = data.decode("utf-8", "surrogateescape")
    parsed = (_parse(path, number, line.removesuffix("\r")) for number, line in enumerate(text.split("\n"), start=1))
    return [setting for setting in parsed if setting is not None]


def _parse(path: str, number: int, line: str) -> Setting | None:
    if "\0" in line:
        raise ConfMistake(path, number, line.index("\0") + 1, "a line has no NUL; write the file with a text editor")
    rest = line.lstrip(_BLANKS)
    if not rest or rest.startswith("#"):
        return None
    name = re.match(r"[^ \t]*", rest)
    assert name is not None  # the pattern matches the empty text, too
    name_column = len(line) - len(rest) + 1
    behind = rest[name.end() :].lstrip(_BLANKS)
    value_column = len(line) - len(behind) + 1
    if not behind or behind.startswith("#"):
        return Setting(path, number, name[0], name_column, None, value_column)
    word = _WORD.match(behind)
    if word is None:
        raise ConfMistake(path, number, value_column, 'a quotation mark is not closed; write "..." around the value')
    left = behind[word.end() :].lstrip(_BLANKS)
    if left and (not left.startswith("#") or behind[word.end()] not in _BLANKS):
        column = len(line) - len(left) + 1
        raise ConfMistake(path, number, column, 'one value stands on a line; write "..." around one that has spaces')
    value = word[0] if word[1] is None else re.sub(r"\\(.)", r"\1", word[1])
    return Setting(path, number, name[0], name_column, value, value_column)


def quoted(value: object) -> str:
    """Write a value as a line of the file has it."""
    text = str(value)
    if text and not text.startswith(('"', "#")) and _WORD.fullmatch(text):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def given_options(options: usage.Options, words: Sequence[str]) -> dict[str, str]:
    """Find out which options a command line gives, without looking at what they mean.

    :param options: knows the options.
    :param words: the command line.
    :returns: the options by their long names, each with the last value it has; empty for a flag.
    :raises twisted.python.usage.UsageError: an option does not exist, or lacks its value.
    """
    try:
        found, _ = getopt.getopt(list(words), options.shortOpt, options.longOpt)
    except getopt.GetoptError as error:
        raise usage.UsageError(str(error)) from None
    return {options.synonyms[option.lstrip("-")]: value for option, value in found}


class Keywords:
    """The names that a file may have: those of the options.

    :param make_options: makes the options of one line, which do not check what several lines have to say together.
    :param of_command_line: the options that only the command line may have.
    """

    def __init__(self, make_options: Callable[[], usage.Options], of_command_line: Collection[str]) -> None:
        self._make_options = make_options
        self._of_command_line = frozenset(of_command_line)
        options = make_options()
        self._takes_value = {name.rstrip("="): name.endswith("=") for name in options.longOpt}
        methods = {name.removeprefix("opt_").replace("_", "-") for name in dir(options) if name.startswith("opt_")}
        self._may_repeat = {name for name in methods if self._takes_value.get(name)}

    def __iter__(self) -> Iterator[str]:
        return (name for name in self._takes_value if name not in self._of_command_line)

    def is_flag(self, name: str) -> bool:
        """Tell whether a name takes yes or no."""
        return not self._takes_value[name]

    def words(self, settings: Sequence[Setting], given: Collection[str]) -> list[str]:
        """Turn what a file says into words of a command line.

        :param settings: what the file says.
        :param given: the options that the command line gives; there the file does not count.
        :returns: the words, to be put before those of the command line.
        :raises ConfMistake: a name does not exist, or stands there twice, or its value is wrong.
        """
        scratch = self._make_options()
        first: dict[str, Setting] = {}
        words = []
        for setting in settings:
            name = setting.name
            self._check_name(setting)
            before = first.setdefault(name, setting)
            if before is not setting and name not in self._may_repeat:
                raise setting.wrong_name(f"{name} stands in line {before.line} already; keep one of the lines")
            word = self._word(setting)
            try:
                usage.Options.parseOptions(scratch, [word] if word else [])
            except usage.UsageError as error:
                raise setting.wrong_value(str(error).removeprefix("--")) from None
            if word and name not in given:
                words.append(word)
        return words

    def _check_name(self, setting: Setting) -> None:
        name = setting.name
        if name in self._of_command_line:
            raise setting.wrong_name(f"{name} is an option of the command line alone; take the line out")
        if name in self._takes_value:
            return
        bare, equals, value = name.lstrip("-").partition("=")
        if bare in self._takes_value:
            problem = f"write `{bare} {value or 'VALUE'}`" if equals else f"write `{bare}`"
            raise setting.wrong_name(f"{problem}, without {'=' if equals else '--'}")
        near = difflib.get_close_matches(bare, list(self), 1)
        hint = f"{near[0]} is one" if near else "`twistd rsh --help` lists the options"
        raise setting.wrong_name(f"no option is named {name!a}; {hint}")

    def _word(self, setting: Setting) -> str:
        """Write a line as a word of the command line; empty for a flag that is off."""
        name, value = setting.name, setting.value
        if self.is_flag(name):
            if value not in ("yes", "no"):
                raise setting.wrong_value(f"{name} takes yes or no" + ("" if value is None else f", not {value!a}"))
            return f"--{name}" if value == "yes" else ""
        if value is None:
            raise setting.wrong_value(f"{name} needs a value after it")
        return f"--{name}={value}"
