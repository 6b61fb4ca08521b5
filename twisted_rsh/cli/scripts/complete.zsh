# Complete the line in $1 as this zsh would; runs in a subshell of it.  $2 begins the answer; see complete.bash.
\builtin exec 2>/dev/null </dev/null
\builtin zmodload zsh/parameter
# In a persistent shell the server's hooks have other options than the user, whose options they keep here.
if (( ! $+__twisted_rsh_set )); then
  \builtin typeset -A __twisted_rsh_set
  __twisted_rsh_set=("${(@kv)options[@]}")
fi
\builtin emulate zsh -o noaliases

# Print the answer: $1 is the end of the line that a candidate replaces, $2 the last line; the candidates follow.
__trsh_answer() {
  print -r -- $__trsh_mark
  print -r -- "$1"
  print -rl -- ${(u)@[3,-1]}
  print -r -- "$2"
}

# Ask the completion system, if the user has started it: it knows what compdef and zstyle say.  It works within the line
# editor alone, which works on a terminal alone; so a child of this shell gets a terminal of its own.
__trsh_ask() {
  (( $+functions[_main_complete] && $+_comps )) && zmodload zsh/zpty zsh/system zsh/zle || return
  local __trsh_out __trsh_written
  exec {__trsh_out}>&1
  zpty __trsh __trsh_edit || return
  while zpty -r __trsh __trsh_written; do  # whatever functions print
    [[ $__trsh_written == *$__trsh_mark* ]] && return
  done
  return 1
}

__trsh_edit() {
  TERM=dumb COLUMNS=300 LINES=50  # on a terminal without a size zsh 5.9 damages its memory
  zle -N __trsh_begin
  zle -C __trsh_complete menu-complete __trsh_matches
  local __trsh_name
  for __trsh_name in ${(k)__twisted_rsh_set}; do
    case $__trsh_name in
      banghist|err*|exec|interactive|login|monitor|privileged|restricted|shinstdin|singlecommand|verbose|xtrace|zle) ;;
      *) [[ ${options[$__trsh_name]} == ${__twisted_rsh_set[$__trsh_name]} ]] ||
          options[$__trsh_name]=${__twisted_rsh_set[$__trsh_name]} ;;  # with braces, as this may switch ksh_arrays on
    esac
  done
  \builtin vared -i __trsh_begin __trsh_line
}

# From here the options are the user's.  The matches are inserted one after another, so that each stands in the line as
# zsh itself quotes it.
__trsh_begin() {
  \builtin local -i __trsh_count=0 __trsh_at=0
  \builtin local -a __trsh_lines
  \builtin zle __trsh_complete
  if (( __trsh_count > 1000 )); then  # what all begin with is not known
    __trsh_lines=("$__trsh_line")
  else
    while (( __trsh_at++ < __trsh_count )); do
      __trsh_lines+=("$LBUFFER")
      \builtin zle .menu-complete -n 1
    done
  fi
  __trsh_report
  \builtin print -r -- "$__trsh_mark"
  \builtin kill -KILL "${sysparams[pid]}"  # leaves without what the user has set for the end of a shell
}

__trsh_matches() {
  \builtin unset 'compstate[vared]'  # the line is a command, and not the value of a variable
  \_main_complete
  \builtin unset MENUSELECT
  __trsh_count=${compstate[nmatches]}
  compstate[insert]=menu compstate[list]=
}

__trsh_report() {
  emulate -L zsh
  setopt extendedglob
  local same=$__trsh_line one last=.
  local -a words
  __trsh_lines=(${(u)__trsh_lines})
  for one in $__trsh_lines; do
    while [[ $one != ${(b)same}* ]]; do same[-1]=; done
  done
  words=(${(z)same})
  [[ $same == *"${words[-1]}" ]] && same=${same%"${words[-1]}"}
  [[ $__trsh_line[$#same+1,-1] == *$'\n'* ]] && same=${(M)__trsh_line##*$'\n'}
  [[ $#__trsh_lines == 1 && $__trsh_lines[1] != *' ' ]] && last=-
  (( __trsh_count > 1000 )) && last=+
  __trsh_lines=(${__trsh_lines/%(#b)((*[^\\]|)(\\\\)#)' '/$match[1]})
  __trsh_answer "${__trsh_line#$same}" $last "${__trsh_lines[@]#$same}" >&$__trsh_out
}

# Ask what zsh tells outside of its line editor: commands, files, variables, hosts.
__trsh_look() {
  setopt extendedglob nullglob typesetsilent
  local line=$__trsh_line one plain
  local -a words found
  local command=${line##*[;&|\(\`]}
  words=(${(z)command})
  local word=
  [[ $line != *[[:space:]] && ${#words} -gt 0 ]] && word=$words[-1] && words[-1]=()
  while [[ ${words[1]-} == [A-Za-z_]*=* ]]; do words[1]=(); done
  [[ $word == *$'\n'* ]] && exit
  plain=${(Q)word}
  if [[ $word == '$'* ]]; then
    found=(${(k)parameters[(I)${(b)word#\$}*]})
    found=(\$$^found)
  elif [[ ${#words} == 0 && $word != */* ]]; then
    for one in commands builtins functions aliases reswords; do
      case $one in
        reswords) found+=(${(M)reswords:#${(b)plain}*}) ;;
        *) found+=(${(Pk)one}) ;;
      esac
    done
    found=(${(M)found:#${(b)plain}*})
  else
    case ${words[1]:t} in
      ssh|scp|sftp|rsync|mosh|ping|telnet|nc|host|dig|trsh)
        local user=; [[ $plain == *@* ]] && user=${plain%%@*}@
        found=(${(f)"$(sed 's/#.*//; s/^[^[:space:]]*//' /etc/hosts | tr -s ' \t' '\n\n'
          sed -n 's/^[[:space:]]*[Hh]ost[[:space:]=]*//p' ~/.ssh/config | tr ' ' '\n'
          sed '/^|/d; s/[ ,].*//' ~/.ssh/known_hosts)"})
        found=(${(M)found:#${(b)plain#$user}*})
        found=($user$^found) ;;
    esac
    local start=$plain
    [[ $plain == '~'* ]] && start=${~${plain%%/*}}${plain#${plain%%/*}}
    for one in ${start}*(N[1,1001]); do
      [[ -d $one ]] && one+=/
      [[ $plain == '~'* ]] && one=${plain%%/*}${one#${~${plain%%/*}}}
      case $one in '~'*) found+=("~${(q)one#\~}") ;; *) found+=(${(q)one}) ;; esac
    done
  fi
  found=(${(u)found})
  if (( ${#found} > 1000 )); then __trsh_answer "$word" + "$word"
  else __trsh_answer "$word" . $found; fi
}

typeset __trsh_line=$1 __trsh_mark=$2
__trsh_ask || __trsh_look
