"""Options that a command line and a file give together (:mod:`twisted_rsh.configuration.server_conf`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from twisted.python import usage

from twisted_rsh.configuration.server_conf import Keywords, Setting, given_options, quoted, read_settings
from twisted_rsh.trust.home import ConfigFolders, HomeUnknown

__all__ = ["ConfiguredOptions"]


class ConfiguredOptions(usage.Options):
    """The options of a command line, and before them those of the file that ``--config`` names, or of the usual one.

    A subclass declares the options, ``config`` and ``config-dir`` among them.

    :cvar of_command_line: the options that no file may have.
    :cvar kept_as: the keys under which this object has what an option says, where that is not the option's name.
    :ivar conf_path: the file, which need not exist; ``None`` if no folder is known where it could be.
    :ivar conf_was_read: whether it exists, and has been read.
    :ivar given: the options that the command line gives, each with its last value.
    """

    of_command_line: ClassVar[Sequence[str]] = ()
    kept_as: ClassVar[Mapping[str, str]] = {}

    def __init__(self) -> None:
        usage.Options.__init__(self)
        self.conf_path: str | None = None
        self.conf_was_read = False
        self.given: Mapping[str, str] = {}
        self._must_exist = False
        self._words: tuple[str, ...] = ()

    @property
    def keywords(self) -> Keywords:
        """What the file may say."""
        return Keywords(self._of_one_line, self.of_command_line)

    def read(self, words: Sequence[str]) -> None:
        """Read a command line, and the file that goes with it.  The command line wins.

        :param words: the command line.
        :raises usage.UsageError: the command line has a mistake.
        :raises twisted_rsh.configuration.server_conf.ConfMistake: a line of the file is wrong.
        :raises twisted_rsh.trust.files.FileProblem: another user can write the file, it is no regular file, or too
            large.
        :raises OSError: the operating system did not allow it to be read.
        """
        self._words = tuple(words)
        if "--_shell-completion" in words:  # the line is not finished
            usage.Options.parseOptions(self, words)
            return
        self.given = given_options(self, words)
        settings: list[Setting] = []
        if "help" not in self.given and "version" not in self.given:
            if self.conf_path is None:
                self._find_file()
            settings = self._settings()
        of_file = self.keywords.words(settings, self.given)
        try:
            usage.Options.parseOptions(self, [*of_file, *words])
        except usage.UsageError as error:
            # What several options have to say together may still be about one line of the file.
            for setting in settings:
                if setting.name not in self.given and str(error).startswith(f"--{setting.name} "):
                    raise setting.wrong_value(str(error).removeprefix("--")) from None
            raise

    def reread(self) -> ConfiguredOptions:
        """Read the same command line again, and the file as it is then.

        :returns: what holds by them; this object stays as it is.
        :raises usage.UsageError, ConfMistake, FileProblem, OSError: as for :meth:`read`.
        """
        again = type(self)()
        again.parent, again.conf_path, again._must_exist = self.parent, self.conf_path, self._must_exist  # noqa: SLF001
        again.read(self._words)
        return again

    def said(self, name: str) -> Any:
        """Return what holds for an option, by its name in a file."""
        return self[self.kept_as.get(name, name)]

    def keep(self, name: str, other: ConfiguredOptions) -> None:
        """Take the value of an option from other options."""
        self[self.kept_as.get(name, name)] = other.said(name)

    def show(self) -> str:
        """Write what holds, in the form of the file."""
        lines = []
        keywords = self.keywords
        for name in keywords:
            value = self.said(name)
            if keywords.is_flag(name):
                value = "yes" if value else "no"
            values = value if isinstance(value, list) else [] if value is None else [value]
            lines += [f"{name} {quoted(one)}\n" for one in values] or [f"# {name}: its default\n"]
        return "".join(lines)

    def folders(self) -> ConfigFolders:
        """Name the folders of the keys and records.

        :raises twisted_rsh.trust.home.HomeUnknown: neither an option nor the environment names them.
        """
        return ConfigFolders.chosen(self["config-dir"], os.environ)

    def _find_file(self) -> None:
        if "config" in self.given:
            self.conf_path, self._must_exist = os.path.join(os.getcwd(), self.given["config"]), True
            return
        try:
            self.conf_path = ConfigFolders.chosen(self.given.get("config-dir"), os.environ).server_settings_path
        except HomeUnknown:
            self.conf_path = None

    def _settings(self) -> list[Setting]:
        """Read the file, if there is one."""
        if self.conf_path is None:
            return []
        try:
            settings = read_settings(self.conf_path)
        except FileNotFoundError:
            if self._must_exist:
                raise
            return []
        self.conf_was_read = True
        for setting in settings:
            if setting.name == "config-dir" and not self._must_exist:
                raise setting.wrong_name("this file was found by its folder; name the folder on the command line")
        return settings

    def _of_one_line(self) -> usage.Options:
        """Make options that check each value, and not how several of them go together."""
        one = type(self)()
        one.postOptions = _nothing  # type: ignore[method-assign]  # the place that usage.Options has for that
        return one


def _nothing() -> None:
    """Check nothing."""
