r"""How a text is typed to zsh, so that zsh parses all of it before it runs any of it.

zsh reads a text line by line until it has a complete list, an *event*, and runs that before it reads on.  At a prompt
an error ends the event only.  The rest of the text must not run then, so a text of several events is typed as one: a
``;`` and a backslash before the newline join two.  The numbers of the lines stay, and so does what each command does.
"""

from __future__ import annotations

import re

__all__ = ["MAX_DEPTH", "MAX_JOINED_BYTES", "as_one_event"]

MAX_JOINED_BYTES = 4096
"""Bytes of a text that is scanned, which takes 2 us for each; a longer one of several lines is run as a file."""

MAX_DEPTH = 50
"""Substitutions and expansions within one another that the scanner follows."""

_WORD = re.compile(rb"[^\s;&|()<>'\"`$\\]+")
_SINGLE = re.compile(rb"'[^']*'")
_ESCAPED = re.compile(rb"\$'(?:[^'\\]|\\.)*'", re.DOTALL)
_BACKQUOTED = re.compile(rb"`(?:[^`\\]|\\.)*`", re.DOTALL)
_IN_ARITHMETIC = re.compile(rb"[()'\"`\\\n]")
_HERE_DOCUMENT = re.compile(rb"<<(-?)[ \t]*(\\?[\w.-]+|'[^'\n]*'|\"[^\"\n\\$`]*\")")
_OPERATOR = re.compile(rb"&&|\|\||\|&|;;|;&|;\||&\||&!|[;&|]")

_CHANGES_PARSING = re.compile(
    rb"alias|setopt|\bemulate\b|able\b|\bsource\b|\boptions\b|verbose|banghist"
    rb"|(?:^|[\s;&|])\.[ \t]|\bset[ \t]+(?!--|[-+][euxfC]+\b)"
)
"""Commands after which zsh may parse the rest of the text in another way, or repeats it as it reads it."""

_JOINING = frozenset({b"&&", b"||", b"|", b"|&"})
_CASE_ENDS = frozenset({b";;", b";&", b";|"})
_CLOSERS = {b"fi": b"if", b"done": b"do", b"esac": b"case"}
_BRANCHES = frozenset({b"then", b"elif", b"else"})
_BEFORE_COMMANDS = frozenset({b"time", b"!", b"coproc", b"always"})
_LOOPS = frozenset({b"for", b"select", b"while", b"until"})
_UNFOLLOWED = frozenset({b"repeat", b"foreach", b"end", b"nocorrect"})


class _Unsure(Exception):
    """The text cannot be joined, or has a form that the scanner does not follow."""


def as_one_event(text: bytes) -> bytes | None:
    """Change a text so that zsh parses it as a whole.

    :param text: the text of a command.
    :returns: the text to type, without a newline at its end; ``None`` where its events cannot be joined, or it is hard
        to tell where they end.
    """
    if b"\n" not in text:
        return text
    if len(text) > MAX_JOINED_BYTES:
        return None
    try:
        return _Scanner(text).joined()
    except _Unsure:
        return None


class _Scanner:
    """Follows the syntax of events: quotes, here-documents, and the compound commands that are open.

    :param text: the text.
    :param at: where to begin.
    :param depth: the substitutions and expansions around it.
    """

    def __init__(self, text: bytes, at: int = 0, depth: int = 0) -> None:
        self._text = text
        self._at = at
        self._depth = depth
        self._open: list[bytes] = []
        self._here_documents: list[tuple[bytes, bool]] = []
        self._comment: int | None = None
        self._has_body = False
        self._begin_command(is_empty=True)
        self._is_joined = False
        self._is_name = False
        self._is_list_end = False
        self._needs_word = False

    def _begin_command(self, *, is_empty: bool) -> None:
        """Expect a command.

        :param is_empty: whether an operator makes no sense yet.
        """
        self._is_command = True
        self._is_empty = is_empty

    def joined(self) -> bytes:
        """Return the text with its events joined into one.

        :raises _Unsure: it cannot be.
        """
        pieces: list[bytes] = []
        separator = b""
        may_join = _CHANGES_PARSING.search(self._text) is None
        while self._at < len(self._text):
            begin, had_body = self._at, self._has_body
            end = self._event_end()
            event = self._text[begin:end]
            if event.strip():
                if separator and (had_body or not may_join):
                    raise _Unsure  # a here-document would begin in the wrong line
                pieces += (separator, event)
                separator = b"\\\n" if self._is_list_end else b";\\\n"
            elif pieces:
                separator += b"\\\n"
            else:
                pieces.append(b"\\\n")
        return b"".join(pieces)

    def _event_end(self) -> int:
        """Go to the beginning of the next event; return where this one ends, without its comment and newline.

        :raises _Unsure: it has no end.
        """
        self._has_body = False
        self._comment = None
        while self._at < len(self._text):
            if not self._text.startswith(b"\n", self._at):
                self._step()
                continue
            end = self._at if self._comment is None else self._comment
            if self._newline():
                return self._at - self._text.endswith(b"\n", 0, self._at) if self._has_body else end
        if self._open or self._is_joined or self._here_documents or self._needs_word:
            raise _Unsure
        return self._at if self._comment is None else self._comment

    def _newline(self) -> bool:
        """Go past a newline and the here-documents that begin there; return whether it ends the event."""
        if self._needs_word:
            raise _Unsure
        self._at += 1
        self._has_body = self._has_body or bool(self._here_documents)
        self._skip_here_documents()
        self._begin_command(is_empty=True)
        self._comment = None
        return not (self._open or self._is_joined)

    def _step(self) -> None:
        character = self._text[self._at : self._at + 1]
        if character in b" \t":
            self._at += 1
        elif character == b"#" and self._text[self._at - 1 : self._at] in (b"", b" ", b"\t", b"\n", b";", b"&", b"|"):
            self._comment = self._at
            end = self._text.find(b"\n", self._at)
            self._at = len(self._text) if end < 0 else end
        elif character in b"()":
            self._parenthesis(character)
        elif character in b"<>":
            self._redirection()
        elif character in b";&|":
            self._operator()
        else:
            self._is_joined = self._is_list_end = self._needs_word = False
            self._word()

    # Operators

    def _parenthesis(self, character: bytes) -> None:
        if self._needs_word:
            raise _Unsure
        self._is_joined = self._is_list_end = False
        follows_equals = self._text[self._at - 1 : self._at] == b"="
        if character == b"(" and self._text.startswith(b"((", self._at):
            self._skip_arithmetic(self._at)
            self._begin_command(is_empty=False)
            return
        if character == b"(" and self._text.startswith(b"()", self._at) and not follows_equals:
            self._is_joined = True  # the body of the function may be in the next line
            self._at += 2
            self._begin_command(is_empty=True)
            return
        self._at += 1
        if character == b"(":
            self._open.append(b"=(" if follows_equals else b"(")
            self._begin_command(is_empty=True)
            self._is_command = not follows_equals
        elif self._open and self._open[-1] in (b"(", b"=("):
            self._open.pop()
            self._begin_command(is_empty=False)
        elif self._open and self._open[-1] == b"case":
            self._begin_command(is_empty=True)
        else:
            raise _Unsure

    def _redirection(self) -> None:
        self._is_joined = self._is_list_end = self._is_empty = False
        found = None if self._text.startswith(b"<<<", self._at) else _HERE_DOCUMENT.match(self._text, self._at)
        if found is not None:
            self._here_documents.append((found[2].strip(b"'\"\\"), bool(found[1])))
            self._at = found.end()
        elif self._text[self._at + 1 : self._at + 2] == b"(":  # a process substitution
            self._needs_word = False
            self._open.append(b"(")
            self._begin_command(is_empty=True)
            self._at += 2
        elif self._needs_word:
            raise _Unsure
        else:
            self._needs_word = True
            if self._text.startswith(b"<<", self._at) and not self._text.startswith(b"<<<", self._at):
                raise _Unsure
            while self._text[self._at : self._at + 1] in (b"<", b">", b"&", b"|", b"!"):
                self._at += 1

    def _operator(self) -> None:
        found = _OPERATOR.match(self._text, self._at)
        assert found is not None
        operator = found[0]
        top = self._open[-1] if self._open else b""
        if self._needs_word or (operator in _CASE_ENDS and top != b"case"):
            raise _Unsure
        if self._is_empty and operator not in _CASE_ENDS:
            raise _Unsure
        self._is_joined = operator in _JOINING
        self._is_list_end = not self._is_joined
        self._at = found.end()
        self._begin_command(is_empty=True)

    # Words

    def _word(self) -> None:
        begin = self._at
        is_plain = True
        while self._at < len(self._text):
            found = _WORD.match(self._text, self._at)
            if found:
                self._at = found.end()
            elif self._text[self._at : self._at + 1] in (b"'", b'"', b"`", b"$", b"\\"):
                is_plain = False
                self._quoted()
            else:
                break
        if self._at == begin:
            raise _Unsure  # white space of another kind
        if self._text[begin : self._at] == b"\\\n":
            return  # a line goes on
        is_command = self._is_command
        self._is_command = self._is_empty = False
        self._keyword(self._text[begin : self._at] if is_plain else b"", is_command=is_command)

    def _keyword(self, word: bytes, *, is_command: bool) -> None:
        top = self._open[-1] if self._open else b""
        if self._is_name:  # the name of a function; its body may be in the next line
            self._is_name = False
            self._is_joined = True
            self._begin_command(is_empty=True)
        elif word == b"}" and top == b"{":
            self._open.pop()
            self._begin_command(is_empty=False)
        elif word.endswith(b"}") and b"{" not in word:
            raise _Unsure
        elif top == b"[[":
            if word == b"]]":
                self._open.pop()
        elif is_command:
            self._command_word(word, top)

    def _command_word(self, word: bytes, top: bytes) -> None:
        if word in _UNFOLLOWED or (word.startswith(b"{") and word != b"{"):
            raise _Unsure
        if word in _BRANCHES or word == b"do" or word in _CLOSERS:
            self._branch(word, top)
        elif word in (b"if", b"{", b"case", b"[["):
            self._open.append(word)
            if word in (b"if", b"{"):
                self._begin_command(is_empty=True)
        elif word in _LOOPS:
            self._open.append(b"loop")
            if word in (b"while", b"until"):
                self._begin_command(is_empty=True)
        elif word == b"function":
            self._is_name = True
        elif word in _BEFORE_COMMANDS:
            self._begin_command(is_empty=True)

    def _branch(self, word: bytes, top: bytes) -> None:
        if word in _CLOSERS:
            if top != _CLOSERS[word]:
                raise _Unsure
            self._open.pop()
            return
        if top != (b"loop" if word == b"do" else b"if"):
            raise _Unsure
        if word == b"do":
            self._open[-1] = b"do"
        self._begin_command(is_empty=True)

    # What is quoted or nested

    def _quoted(self) -> None:
        if self._depth >= MAX_DEPTH:
            raise _Unsure
        self._depth += 1
        self._skip_quoted()
        self._depth -= 1

    def _skip_quoted(self) -> None:
        text, at = self._text, self._at
        character = text[at : at + 1]
        if character == b"\\":
            self._at += 2
        elif character == b'"':
            self._skip_to(b'"', at + 1)
        elif text.startswith(b"$((", at):
            self._skip_arithmetic(at + 1)
        elif text.startswith(b"$(", at):
            self._skip_commands(at + 2)
        elif text.startswith(b"${", at):
            self._skip_to(b"}", at + 2)
        else:
            found = {b"'": _SINGLE, b"`": _BACKQUOTED}.get(character, _ESCAPED).match(text, at)
            if found is not None:
                self._at = found.end()
            elif character == b"$":
                self._at += 1
            else:
                raise _Unsure

    def _skip_to(self, closer: bytes, at: int) -> None:
        """Skip the rest of a double-quoted string or of an expansion in braces."""
        starts = (b"`", b"$(", b"${") if closer == b'"' else (b"`", b"$(", b"${", b"'", b'"', b"$'")
        self._at = at
        while self._at < len(self._text):
            if self._text.startswith(closer, self._at):
                self._at += 1
                return
            if self._text.startswith((b"\\", *starts), self._at):
                self._quoted()
            else:
                self._at += 1
        raise _Unsure

    def _skip_commands(self, at: int) -> None:
        """Skip the commands of a substitution, and the parenthesis that closes it."""
        inner = _Scanner(self._text, at, self._depth)
        inner._open.append(b"(")
        while inner._open:
            if inner._at >= len(self._text):
                raise _Unsure
            if self._text.startswith(b"\n", inner._at):
                inner._newline()
            else:
                inner._step()
        self._at = inner._at

    def _skip_arithmetic(self, at: int) -> None:
        depth = 0
        for found in _IN_ARITHMETIC.finditer(self._text, at):
            if found[0] == b"(":
                depth += 1
            elif found[0] == b")":
                depth -= 1
                if depth == 0:
                    self._at = found.end()
                    return
            else:
                break
        raise _Unsure

    def _skip_here_documents(self) -> None:
        for delimiter, strips_tabs in self._here_documents:
            tabs = rb"\t*" if strips_tabs else b""
            pattern = re.compile(rb"^%s%s(?:\n|\Z)" % (tabs, re.escape(delimiter)), re.MULTILINE)
            found = pattern.search(self._text, self._at)
            if found is None:
                raise _Unsure
            self._at = found.end()
        self._here_documents = []
