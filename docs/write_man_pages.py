"""Writes the manual pages from these pages: ``python docs/write_man_pages.py``.

``trsh(1)`` and ``twisted_rsh.config(5)`` come from ``command_line.rst``, ``twisted-rsh(1)`` from ``operating.rst``.
The manual pages are in ``man/``, so that a wheel can be built without this script.  It needs docutils.
"""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import roles

__all__ = ["PAGES", "ManPage", "TornRow", "write_page"]

ROOT = Path(__file__).resolve().parent.parent
MAN = ROOT / "man"

DATE = "2026-11-01"
"""The date that the manual pages carry: mandoc asks for one."""

MAN_PAGES_OF = {"command_line": "trsh(1)", "operating": "twisted-rsh(1)"}
"""The pages of the documentation that are manual pages, too."""

COLUMNS = 80
"""Bytes of a line of running text: with more, mandoc complains."""

INFO = 1
"""The level of what docutils says about a page that is right."""

FOLDERS = "folders"
"""The label of the section about files, which each manual page refers to."""


class TornRow(Exception):
    """A row of a simple table ends where its first cell goes on: reStructuredText makes two rows of it."""


@dataclass(frozen=True, slots=True)
class ManPage:
    """What is in a manual page.

    :ivar name: its name.
    :ivar chapter: the chapter of the manual.
    :ivar summary: one line about it.
    :ivar source: the page of the documentation.
    :ivar sections: the titles of the sections that it takes, none for all of the page; the first is its description.
    :ivar leaves_out: the titles of the sections within them that it leaves out.
    :ivar synopsis: how to call it; empty for the first block of its description.
    :ivar see_also: other manual pages.
    """

    name: str
    chapter: int
    summary: str
    source: str
    sections: tuple[str, ...]
    leaves_out: tuple[str, ...]
    synopsis: tuple[str, ...]
    see_also: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Where it is in the source tree."""
        return MAN / f"{self.name}.{self.chapter}"


PAGES = (
    ManPage(
        "trsh",
        1,
        "run commands on another machine over one authenticated connection",
        "command_line.rst",
        ("The client", "Folders"),
        ("The configuration file",),
        (),
        ("twisted-rsh(1)", "twisted_rsh.config(5)", "ssh(1)"),
    ),
    ManPage(
        "twisted_rsh.config",
        5,
        "configuration file of trsh",
        "command_line.rst",
        ("The configuration file",),
        (),
        ("~/.config/twisted-rsh/config",),
        ("trsh(1)", "ssh_config(5)"),
    ),
    ManPage(
        "twisted-rsh",
        1,
        "serve commands, and look after the sessions",
        "operating.rst",
        (),
        (),
        (
            "twistd [options] rsh [options]",
            "twisted-rsh sessions [--json] [--end ID] [--config-dir FOLDER]",
            "twisted-rsh status [--json] [--watch [SECONDS]] [--config-dir FOLDER]",
        ),
        ("trsh(1)", "twistd(1)"),
    ),
)
"""The manual pages."""


def _reference(name: str, _raw: str, text: str, *_: Any) -> tuple[list[nodes.Node], list[nodes.Node]]:
    target = nodes.unescape(text)
    if name == "doc" and target in MAN_PAGES_OF:
        return [nodes.strong("", MAN_PAGES_OF[target])], []
    if name == "ref" and target == FOLDERS:
        return [nodes.Text("FILES")], []
    if name in {"doc", "ref"}:
        return [nodes.emphasis("", target), nodes.Text(" in the documentation")], []
    return [nodes.literal("", target.lstrip("~"))], []


def _title(section: nodes.Node) -> str:
    return str(section.next_node(nodes.title).astext())


def _escaped(text: str, hyphen: str) -> str:
    text = text.replace("\\", "\\e").replace("-", hyphen).replace("~", "\\(ti").replace("^", "\\(ha")
    text = text.replace("`", "\\(ga").replace("'", "\\(aq")
    return "".join(char if char.isascii() else f"\\[u{ord(char):04X}]" for char in text)


class _Writer:
    """Turns the tree of a page into the requests of a manual page."""

    def __init__(self, page: ManPage, titles: set[str]) -> None:
        self._page = page
        self._titles = titles
        self._lines: list[str] = []

    def text(self) -> str:
        return "\n".join(self._lines) + "\n"

    def head(self, synopsis: tuple[str, ...]) -> None:
        page = self._page
        self.request(f'.TH {page.name.upper()} {page.chapter} {DATE} "twisted-rsh"')
        self.request(".SH NAME", f"{_escaped(page.name, '-')} \\- {page.summary}", ".SH SYNOPSIS")
        for number, line in enumerate(synopsis):
            self.request(*([".br"] if number else []), _escaped(line, "\\-"))
        self.request(".SH DESCRIPTION")

    def foot(self) -> None:
        pages = [f".BR {name} ({rest}" for name, _, rest in (item.partition("(") for item in self._page.see_also)]
        self.request(".SH SEE ALSO", *(f"{line} ," for line in pages[:-1]), pages[-1])

    def request(self, *lines: str) -> None:
        self._lines += lines

    def heading(self, title: str, level: int) -> None:
        self.request(f'.{"SH" if level == 1 else "SS"} "{_escaped(title.upper() if level == 1 else title, "-")}"')

    def paragraph(self) -> None:
        if not self._lines[-1].startswith((".SH", ".SS")):
            self.request(".PP")

    def line(self, text: str) -> None:
        """Write running text, a sentence in lines of its own, and none of them as a request."""
        for sentence in text.replace("\n", " ").replace(".  ", ".\n").replace(":  ", ":\n").split("\n"):
            # Room is left for what keeps a line from being a request.
            lines = textwrap.wrap(sentence, COLUMNS - 2, break_long_words=False, break_on_hyphens=False)
            self.request(*(f"\\&{line}" if line[0] in ".'" else line for line in lines))

    def body(self, node: nodes.Node, level: int = 2, *, indented: bool = False) -> None:
        """Write a block of the tree.

        :param node: the block.
        :param level: that of its heading, if it is a section.
        :param indented: whether it is in the item of a list, which has begun its paragraph.
        """
        match node:
            case nodes.section():
                self.section(node, level)
            case nodes.paragraph() | nodes.literal_block():
                if not indented:
                    self.paragraph()
                self.line(self.inline(node)) if isinstance(node, nodes.paragraph) else self.code(node)
            case nodes.bullet_list() | nodes.enumerated_list():
                self.items(node)
            case nodes.definition_list():
                for item in node.children:
                    term, definition = item.children
                    self.request(".TP", self.inline(term))
                    self.nested(definition)
            case nodes.table():
                self.table(node)
            case nodes.target() | nodes.comment() | nodes.title():
                pass
            case nodes.system_message() if node["level"] <= INFO:
                pass
            case _:
                raise NotImplementedError(f"{self._page.source}: {node.astext()}")

    def section(self, node: nodes.Node, level: int) -> None:
        if _title(node) not in self._page.leaves_out:
            self.heading("Files" if FOLDERS in node["ids"] else _title(node), level)
            self.children(node, level + 1)

    def code(self, node: nodes.Node) -> None:
        lines = _escaped(node.astext(), "\\-").split("\n")
        self.request(".RS 4", ".nf", *(f"\\&{line}" if line[:1] == "." else line for line in lines), ".fi", ".RE")

    def children(self, node: nodes.Node, level: int) -> None:
        for child in node.children:
            self.body(child, level)

    def items(self, node: nodes.Node) -> None:
        for number, item in enumerate(node.children, 1):
            self.request('.IP "\\(bu" 3' if isinstance(node, nodes.bullet_list) else f'.IP "{number}." 4')
            self.nested(item)

    def nested(self, node: nodes.Node) -> None:
        for number, child in enumerate(node.children):
            if number:
                self.request(".IP")
            self.body(child, indented=True)

    def table(self, node: nodes.Node) -> None:
        head = [self.inline(cell) for cell in node.next_node(nodes.thead).next_node(nodes.row).children]
        for row in node.next_node(nodes.tbody).children:
            tag, *rest = (self.inline(cell).replace("\n", " ") for cell in row.children)
            if tag.endswith(",") or not all(rest):
                raise TornRow(f"{self._page.source}: {tag}")
            self.request(".TP", tag)
            for number, cell in enumerate(rest):
                if number:
                    self.request(".br")
                self.line(cell if len(rest) == 1 else f"{head[number + 1]}: {cell}")

    def inline(self, node: nodes.Node) -> str:
        """Return the text of a node, with its fonts."""
        match node:
            case nodes.Text():
                return _escaped(node.astext(), "-")
            case nodes.literal() | nodes.strong():
                return f"\\fB{_escaped(node.astext(), chr(92) + '-')}\\fR"
            case nodes.emphasis():
                return f"\\fI{_escaped(node.astext(), '-')}\\fR"
            case nodes.superscript():
                return f"\\(ha{node.astext()}"
            case nodes.reference():
                title = node.astext()
                return self.place(title)
            case _:
                return "".join(map(self.inline, node.children))

    def place(self, title: str) -> str:
        """Return how to refer to a section of the same page of the documentation."""
        if title in self._titles:
            return _escaped("FILES" if title == "Folders" else title.upper(), "-")
        for page in PAGES:
            if page.source == self._page.source and title in page.sections:
                return f"\\fB{page.name}\\fR({page.chapter})"
        return f"\\fBtrsh\\fR(1), {_escaped(title.upper(), '-')}"


def write_page(page: ManPage) -> str:
    """Write a manual page.

    :param page: which one.
    :returns: its text.
    :raises TornRow: a table of the source is not as its writer meant it.
    """
    for name in ("doc", "ref", "class", "func", "meth"):
        roles.register_local_role(name, _reference)
    settings = {"report_level": 5, "halt_level": 5, "file_insertion_enabled": False}
    tree = publish_doctree((ROOT / "docs" / page.source).read_text("utf-8"), settings_overrides=settings)
    found = {_title(section): section for section in tree.findall(nodes.section)}
    chosen = [found[title] for title in page.sections] or [node for node in tree if isinstance(node, nodes.section)]
    inside = {_title(section) for top in chosen for section in top.findall(nodes.section)} - set(page.leaves_out)
    writer = _Writer(page, inside)
    first, *others = chosen
    blocks = list(first.children)
    synopsis = page.synopsis
    if not synopsis:
        block = next(node for node in blocks if isinstance(node, nodes.literal_block))
        synopsis = tuple(block.astext().split("\n"))
        blocks.remove(block)
    writer.head(synopsis)
    for block in blocks:
        writer.body(block, 1)
    for other in others:
        writer.body(other, 1)
    writer.foot()
    return writer.text()


if __name__ == "__main__":
    MAN.mkdir(exist_ok=True)
    for one in PAGES:
        one.path.write_text(write_page(one), "utf-8")
    sys.exit(0)
