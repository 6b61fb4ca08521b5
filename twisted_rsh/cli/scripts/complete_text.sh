# Tell whether a text is a whole command for the user's shell.
# stdin: the text.  Exit status: 10 if the shell would ask for another line, else 0; a wrong text is whole.
LC_ALL=C
export LC_ALL
more=10
text=$(cat; printf .)
text=${text%.}
shell=${SHELL:-/bin/sh}
kind=${shell##*/}
case $kind in
  bash | rbash | dash | ash | sh | zsh) ;;
  *) for shell in bash zsh dash sh; do command -v "$shell" >/dev/null && break; done; kind=$shell ;;
esac
newline='
'

# $1: a text.  Its messages, and whether it is right.
parse() {
  case $kind in
    zsh) "$shell" -f -n -o interactivecomments -o noshortloops -c "$1" 2>&1 </dev/null ;;
    *) printf '%s' "$1" | "$shell" -n 2>&1 ;;
  esac
}

# A backslash at the end goes on with the next line, but in a comment, where the next line would stand alone.
ends_in_backslash() {
  slashes=${text##*[!\\]}
  [ $((${#slashes} % 2)) = 1 ]
}
if ends_in_backslash; then
  [ "$text" = '\' ] && exit $more
  case $kind in zsh) next='& :' ;; *) next=';' ;; esac
  parse "$text$newline$next" >/dev/null && exit $more
fi

if [ "$kind" = zsh ]; then
  # zsh names the word that it does not expect, and the end of the text has no word.  So the text gets an end.
  messages=$(parse "case x in x)$newline$text$newline;;${newline}esac")
  if [ -z "$messages" ]; then
    case ${text%"${text##*[! ]}"} in *'&&' | *'||' | *'|') exit $more ;; esac
    exit 0
  fi
  case ${messages%%"$newline"*} in
    *"parse error near \`;;'" | *"parse error near \`esac'" | *': unmatched '* | *'closing brace expected'*) exit $more ;;
    *'parse error near `\n'* | *': parse error') exit $more ;;
  esac
  case $messages in *'parse error near `'*'$('*) exit $more ;; esac
  exit 0
fi

messages=$(parse "$text$newline")
is_right=$?
case ${messages%%"$newline"*} in
  *'unexpected end of file'* | *'unexpected EOF while looking for matching '*) exit $more ;;
  *'delimited by end-of-file (wanted '*) exit $more ;;
  *'end of file unexpected'* | *'Unterminated quoted string'* | *"Missing '}'"* | *"Missing '))'"*) exit $more ;;
  *'EOF in backquote'*) exit $more ;;
esac
[ $is_right = 0 ] || exit 0
# dash is silent about a here-document without its end, which takes a line that would be wrong elsewhere.
case $text in *'<<'*) parse "$text$newline)$newline" >/dev/null && exit $more ;; esac
exit 0
