r"""The start-up file that sets the hooks by which zsh takes texts and reports.

zsh reads its commands from descriptor 0, which is the user's while a command runs.  One function, called before each
prompt (``precmd``) and before each command (``preexec``), changes it.  At the prompt it is the FIFO of the commands, on
which the function waits for a line.  Then it is a file with the text of the command, until zsh has parsed that.  So zsh
itself runs the text, as a command that was typed, and the end of the file ends whatever the text leaves open.

A line has only blanks.  If an interrupt ends the function, zsh reads the line itself, as an empty command, and calls
the function again.  A line is a :data:`QUESTION` or an :class:`Order`.

The function is defined in an emulation of its own, so that none of the user's options counts in it, and none of its
commands is traced.  There ``DEBUG`` traps run after commands, and the first command takes the trap away until the
function ends.  zsh keeps ``$?``, ``$_`` and ``pipestatus`` while it runs.

Sources: zshmisc(1) "Hook Functions", zshbuiltins(1) "emulate", zshoptions(1) ``DEBUG_BEFORE_CMD``, ``LOCAL_TRAPS``.
"""

from __future__ import annotations

from dataclasses import dataclass

from twisted_rsh.execution.shells.reports import INTERRUPTED
from twisted_rsh.execution.shells.talk import quoted

__all__ = ["FAILURE", "INTERRUPTION", "KEEPING", "QUESTION", "Order", "environment_file", "startup_file"]

QUESTION = b"      \n"
"""The line that asks whether the shell is at its prompt; the report ``r`` answers it."""


FAILURE = b"! \\builtin true\n"
"""The text that sets the status of a file that an error has ended: zsh makes it 126, and a script ends with 1."""

KEEPING = b'; __twisted_rsh_keep $? "$_" && \\builtin : "$_"'
"""What follows a text that may take the hooks away; the status and the last word stay."""

INTERRUPTION = b"(\\builtin exit %d) && \\builtin :\n" % INTERRUPTED
"""The text that sets the status of an interrupted loop, which in zsh may be that of a command in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A line that has the shell run a command.

    :ivar is_aside: whether to run it in a subshell, from the file of long texts.
    :ivar has_new_input: whether the command gets another input than the one before, unless the user has replaced that.
    :ivar has_lines: whether the text has several lines.
    :ivar is_file: whether the text is run as a file; the history then gets the text from there.
    :ivar takes_options: whether the text may switch on an option that makes zsh print or read something at its prompt.
    """

    is_aside: bool = False
    has_new_input: bool = False
    has_lines: bool = False
    is_file: bool = False
    takes_options: bool = False

    def line(self) -> bytes:
        """Return the line, with its newline."""
        marks = (True, self.is_aside, self.has_new_input, self.has_lines, self.is_file, self.takes_options)
        return b"".join(b"\t" if mark else b" " for mark in marks) + b"\n"


_HOOKS = rb"""
__twisted_rsh() {
  local __s=$? __k=$__twisted_rsh[fd] __x __y=SHIELD && builtin trap - DEBUG ZERR || ENABLE
  if (( $# == 1 )) { builtin return 1 }  # a line for the history
  if (( $# )) {  # a command begins
    if (( __twisted_rsh[at] != 2 )) { builtin print x >FOLDER/reports; builtin kill -KILL $$ }
    if (( __twisted_rsh[lines] )) {
      __x=$(( systell(0) ))
      if { builtin read -r __y } { builtin sysseek $__x; builtin exec {__x}<&0; __twisted_rsh[rest]=$__x }
    }
    __twisted_rsh[at]=0
    if (( __twisted_rsh[prompts] )) { PS1=$__twisted_rsh[ps1] PS2=$__twisted_rsh[ps2] }
    if (( __twisted_rsh[file] )) { zshaddhistory_functions=(${zshaddhistory_functions:#__twisted_rsh}) }
    if (( __k )) { builtin exec <&$__k {__k}<&- } else { builtin exec <&- }
    if (( $+dis_functions[builtin] )) { functions[builtin]=$dis_functions[builtin]; return }
    builtin return
  }
  if (( ! __twisted_rsh[at] )) {
    __twisted_rsh[own]=0
    # The first prompt may come before the server has made the link.
    if { (( ! __twisted_rsh[n] )) || [[ /dev/fd/0 -ef FOLDER/stdin ]] } { __twisted_rsh[own]=1 }
    __y=FOLDER/commands
    __twisted_rsh[at]=1
    if (( __twisted_rsh[file] && __s == 126 )) {  # an error has ended the file
      __y=FOLDER/failure
      __twisted_rsh+=(at 2 file 0)
    } elif [[ -e FOLDER/interrupted ]] && (( __s != INTERRUPTED && ! $+functions[TRAPINT] )) {
      builtin trap >FOLDER/traps
      __x=$'\n'$(<FOLDER/traps)$'\n'
      if [[ $__x != *\ INT$'\n'* ]] {
        __y=FOLDER/interruption
        __twisted_rsh+=(at 2 file 0)
      }
    }
    if (( __twisted_rsh[rest] )) {
      __x=$__twisted_rsh[rest]
      builtin exec {__k}<&0 <&$__x {__x}<&-
      __twisted_rsh+=(at 2 rest 0)
    } elif [[ ! -e /dev/fd/0 ]] {
      __k=0
      builtin exec <$__y
    } elif { ! builtin exec {__k}<&0 <$__y } {  # the user allows too few descriptors
      builtin ulimit -S -n 64
      builtin exec {__k}<&0 <$__y || builtin kill -KILL $$
    }
    __twisted_rsh+=(fd $__k prompts 0 ps1 "$PS1" ps2 "$PS2")
    if [[ ${(t)PS1}${(t)PS2} != *readonly* ]] {
      __twisted_rsh[prompts]=1
      PS1= PS2=
    }
    if (( __twisted_rsh[at] == 2 )) { builtin return }
  } elif (( __twisted_rsh[at] == 2 )) {  # the text was no command, or an interrupt came before it
    if [[ -e FOLDER/interrupted ]] { builtin exec <FOLDER/interruption; builtin return }
    builtin exec <FOLDER/commands
    __twisted_rsh[at]=1
  }
  if { ! builtin print -r -- e $__twisted_rsh[n] $__s >FOLDER/reports } {
    ENABLE
    builtin print -r -- e $__twisted_rsh[n] $__s >FOLDER/reports
  }
  while { builtin read -u 0 -k 7 __x } {
    if [[ $__x != $'\t'* ]] { builtin print r >FOLDER/reports; builtin continue }
    (( ++__twisted_rsh[n] ))
    if [[ $__x[2] == $'\t' ]] {
      (
        if (( __k )) { builtin exec {__k}<&- }
        builtin exec <FOLDER/stdin && builtin print -r -- s $__twisted_rsh[n] >FOLDER/reports && builtin . FOLDER/text
      )
      builtin print -r -- e $__twisted_rsh[n] $? >FOLDER/reports
      builtin continue
    }
    if [[ $__x[3] == $'\t' ]] && (( __twisted_rsh[own] )) {
      builtin exec {__k}<&-
      builtin exec {__k}<FOLDER/stdin
    }
    __twisted_rsh+=(at 2 fd $__k lines 0 file 0)
    if [[ $__x[4] == $'\t' ]] { __twisted_rsh[lines]=1 }
    if (( __twisted_rsh[options] )) { precmd_functions=(${precmd_functions:#__twisted_rsh_options}) }
    __twisted_rsh[options]=0
    if [[ $__x[6] == $'\t' ]] {
      __twisted_rsh[options]=1
      precmd_functions+=(__twisted_rsh_options)
    }
    if [[ $__x[5] == $'\t' ]] {
      __twisted_rsh[file]=1
      zshaddhistory_functions+=(__twisted_rsh)
      builtin print -rs -- "$(<FOLDER/text)"
    }
    builtin print -r -- s $__twisted_rsh[n] >FOLDER/reports
    builtin exec <FOLDER/line || builtin kill -KILL $$
    builtin return
  }
}
__twisted_rsh_keep() {
  local __y=SHIELD && builtin trap - DEBUG ZERR
  KEEP_HOOKS
  builtin return ${1-0}
}
if (( ! $+functions[precmd] )) {
  precmd() {
    local __y=SHIELD && builtin trap - DEBUG ZERR
    KEEP_HOOKS
  }
}
"""

_SHIELD = rb"${functions[builtin]+${dis_functions[builtin]::=$functions[builtin]}}"
"""Disables a function of the user's that is called ``builtin``; it is enabled again when a command begins."""

_KEEP_HOOKS = rb"""if [[ -z ${(M)precmd_functions:#__twisted_rsh} ]] { precmd_functions+=(__twisted_rsh) }
    if [[ -z ${(M)preexec_functions:#__twisted_rsh} ]] { preexec_functions+=(__twisted_rsh) }"""
"""Puts the hooks back that a text has taken away.  Where ``FUNCNEST`` is 1, a hook must call no other function."""

_ENABLE = rb"enable builtin exec kill print read trap ulimit"
"""Takes back that the user has disabled what the hooks need."""

_EMULATION = (
    b"zsh -o localtraps -o nodebugbeforecmd -o noxtrace -o noverbose -o noaliases -o noerrexit -o noerrreturn"
    b" -o unset -o norestricted -o clobber -o rcquotes -o noforcefloat"
)

_STARTUP = rb"""%(own)s
%(options)s
builtin unsetopt hup checkjobs
builtin setopt rmstarsilent
MAILCHECK=0
%(clean)s
builtin zmodload zsh/system zsh/parameter
builtin typeset -gAH __twisted_rsh
__twisted_rsh=(n 0 at 0 fd 0 own 0 rest 0 lines 0 file 0 options 0)
# An aside runs under the options of the hooks; a completion takes these.
builtin typeset -gAH __twisted_rsh_set
__twisted_rsh_set=("${(@kv)options[@]}")
builtin emulate %(emulation)s -c %(hooks)s
__twisted_rsh_options() {
  { %(options)s } 2>/dev/null
}
precmd_functions+=(__twisted_rsh)
preexec_functions+=(__twisted_rsh)
"""

_OPTIONS = (
    b"\\builtin unsetopt zle promptcr promptsp banghist ignoreeof correct correctall; "
    b"\\builtin setopt interactivecomments"
)
"""Keeps zsh from reading keys of the terminal, asking what a word should be, and printing at its prompt; a ``#`` begins
a comment, as in a script."""


_OWN = rb"""if [[ -n $__twisted_rsh[folder] ]] { ZDOTDIR=$__twisted_rsh[folder] } else { builtin unset ZDOTDIR }
if [[ -r ${ZDOTDIR-$HOME}/.zshrc ]] . "${ZDOTDIR-$HOME}/.zshrc"
"""
"""Runs the user's own start-up file."""


def _folder(value: bytes | None) -> bytes:
    """Return the command that gives ``ZDOTDIR`` the value that the user wants it to have."""
    return b"builtin unset ZDOTDIR" if value is None else b"builtin export ZDOTDIR=" + quoted(value)


def environment_file(folder: bytes, own: bytes | None) -> bytes:
    """Return the ``.zshenv`` of a shell that reads the user's start-up files.

    :param folder: the private folder, where the file is.
    :param own: the user's ``ZDOTDIR``, or ``None``.
    :returns: commands that run the user's ``.zshenv``, and then have zsh look for ``.zshrc`` here.
    """
    return rb"""%s
if [[ -r ${ZDOTDIR-$HOME}/.zshenv ]] . "${ZDOTDIR-$HOME}/.zshenv"
builtin typeset -gA __twisted_rsh
__twisted_rsh=(folder "${ZDOTDIR-}")
ZDOTDIR=%s
""" % (_folder(own), quoted(folder))


def startup_file(folder: bytes, own: bytes | None, *, startup_files: bool) -> bytes:
    """Return the ``.zshrc`` that sets the hooks.

    :param folder: the private folder, where the files and FIFOs are.
    :param own: the user's ``ZDOTDIR``, or ``None``.
    :param startup_files: whether to run the user's ``.zshrc`` first.
    :returns: commands.
    """
    first = _OWN if startup_files else _folder(own)
    return _STARTUP % {
        b"own": first,
        b"clean": b"" if startup_files else b"builtin unset HISTFILE",
        b"options": _OPTIONS,
        b"emulation": _EMULATION,
        b"hooks": quoted(_hooks(folder)),
    }


def _hooks(folder: bytes) -> bytes:
    """Return the definitions of the functions."""
    hooks = _HOOKS.replace(b"SHIELD", _SHIELD).replace(b"INTERRUPTED", b"%d" % INTERRUPTED)
    hooks = hooks.replace(b"ENABLE", _ENABLE).replace(b"KEEP_HOOKS", _KEEP_HOOKS)
    return hooks.replace(b"FOLDER", quoted(folder))
