# Complete the line in $1 as this bash would; runs in a subshell of it.  $2 begins the answer.  After it come a line with
# the end of the line that a candidate replaces, a line for each candidate, quoted, and a line with a dot, with a hyphen
# if no space follows the only candidate, or with a plus sign if there are more candidates, which begin as these do.
exec 2>/dev/null </dev/null
exec {__out}>&1 >/dev/null
shopt -u nocasematch; set +eux -f
IFS=$' \t\n'
__line=$1 __mark=$2
if ! declare -F _comp_load __load_completion _completion_loader; then
  for __file in /usr/share/bash-completion/bash_completion /usr/local/share/bash-completion/bash_completion \
    /opt/homebrew/share/bash-completion/bash_completion /etc/bash_completion; do
    if [[ -r $__file ]]; then . "$__file"; break; fi
  done
fi
set +eux -f

# The words of the last command of the line, as readline has them: quotes stay, and the signs of COMP_WORDBREAKS stand alone.
# The last one is also there without quotes; __quote is the quote that is open at its end.
__words=() __word= __plain= __quote= __begin=0
for ((__i = 0; __i < ${#__line}; __i++)); do
  __c=${__line:__i:1} __next=${__line:__i + 1:1}
  if [[ $__quote ]]; then
    if [[ $__c == '\' && $__quote == '"' && $__next == [\"\\\$\`] ]]; then
      __word+=$__c$__next __plain+=$__next; ((__i++)) || :
    elif [[ $__c == "$__quote" ]]; then __word+=$__c __quote=
    else __word+=$__c __plain+=$__c; fi
    continue
  fi
  case $__c in
    \\) __word+=$__c$__next __plain+=$__next; ((__i++)) || : ;;
    [\'\"]) __quote=$__c __word+=$__c ;;
    [';|&('$'\n'] | '`') __words=() __word= __plain= __begin=$((__i + 1)) ;;
    [' '$'\t']) [[ $__word ]] && __words+=("$__word"); __word= __plain= ;;
    '<' | '>') [[ $__word ]] && __words+=("$__word"); __words+=("$__c") __word= __plain= ;;
    = | :)
      if [[ $COMP_WORDBREAKS == *"$__c"* && ${#__words[@]} -gt 0 ]]; then
        [[ $__word ]] && __words+=("$__word")
        __words+=("$__c") __word= __plain=
      else __word+=$__c __plain+=$__c; fi ;;
    *) __word+=$__c __plain+=$__c ;;
  esac
done
[[ $__word == *$'\n'* ]] && exit
while [[ ${__words[0]-} == [A-Za-z_]*=* ]]; do __words=("${__words[@]:1}"); done

__files= __name='[A-Za-z_][A-Za-z0-9_]*'
if ((${#__words[@]} == 0)) && [[ $__word =~ ^$__name\+?=([^:\"\']*:)* ]]; then  # the value of a variable
  __files=1 __word=${__word#"$BASH_REMATCH"} __plain=${__plain#*=}
  [[ ${BASH_REMATCH[1]} ]] && __plain=${__plain##*:}
fi
# What the shell would expand stays as it was typed: __head, which means __root.  The rest of a path follows it.
__head= __root=
if [[ $__word =~ ^\"?(\$$__name|\$\{$__name\})/ ]]; then
  __head=${BASH_REMATCH[1]} __name=${BASH_REMATCH[1]//[\$\{\}]/}
  __root=${!__name-}
elif [[ $__word =~ ^~[A-Za-z0-9_.-]*/ ]]; then
  __head=$BASH_REMATCH  # with its slash, as quotes may begin after that
  eval "__root=$__head"
fi

__hosts() {
  compgen -A hostname -- "$1"
  local known
  for known in ~/.ssh/config ~/.ssh/known_hosts /etc/ssh/ssh_known_hosts; do
    [[ -r $known ]] || continue
    case $known in
      *config) compgen -W "$(sed -n 's/^[[:space:]]*[Hh]ost[[:space:]=]*//p' "$known" | tr -d '*?!')" -- "$1" ;;
      *) compgen -W "$(sed 's/^@[^ ]* //; /^|/d; s/[ ,].*//; s/^\[\([^]]*\)\].*/\1/' "$known")" -- "$1" ;;
    esac
  done
}

COMPREPLY=() __filenames= __last=. __sorted=1
compopt() {
  while (($#)); do
    [[ $1 == -o && $2 == @(filenames|default|bashdefault|dirnames) ]] && __filenames=$2
    [[ $2 == nosort ]] && case $1 in -o) __sorted= ;; +o) __sorted=1 ;; esac
    [[ $2 == nospace ]] && case $1 in -o) __last=- ;; +o) __last=. ;; esac
    shift
  done
  return 0
}
if [[ $__head || $__files ]]; then __files=1
elif [[ $__word =~ ^\"?\$([A-Za-z0-9_]*)$ ]]; then mapfile -t COMPREPLY < <(compgen -v -P '$' -- "${BASH_REMATCH[1]}")
elif [[ $__word =~ ^\"?\$\{([A-Za-z0-9_]*)$ ]]; then mapfile -t COMPREPLY < <(compgen -v -P '${' -S '}' -- "${BASH_REMATCH[1]}")
elif [[ $__word == '~' ]]; then COMPREPLY=('~/')
elif [[ $__word == '~'* ]] && mapfile -t COMPREPLY < <(compgen -u -P '~' -S / -- "${__word#?}") && ((${#COMPREPLY[@]})); then :
elif [[ ${__words[-1]-} == ['<>'] ]]; then __files=1
elif ((${#__words[@]} == 0)) && [[ $__plain != */* ]]; then mapfile -t COMPREPLY < <(compgen -c -- "$__plain")
elif ((${#__words[@]} == 0)); then __files=1
else
  __command=${__words[0]} __base=${__words[0]##*/}
  if __alias=${BASH_ALIASES[$__command]-} && [[ $__alias == [A-Za-z]* ]]; then
    __command=${__alias%%[ $'\t']*} __base=${__command##*/}
  fi
  COMP_WORDS=("${__words[@]}" "$__plain") COMP_CWORD=${#__words[@]} COMP_TYPE=9 COMP_KEY=9
  COMP_LINE=${__line:__begin}; COMP_LINE=${COMP_LINE#"${COMP_LINE%%[! ]*}"}; COMP_POINT=${#COMP_LINE}
  __spec=$(complete -p -- "$__command") || __spec=$(complete -p -- "$__base") || {
    for __loader in '_comp_load --' __load_completion _completion_loader; do
      if declare -F "${__loader% --}"; then $__loader "$__base"; break; fi
    done
    __spec=$(complete -p -- "$__command") || __spec=$(complete -p -- "$__base") || __spec=$(complete -p -D)
  }
  if [[ $__spec ]]; then
    eval "__spec=(${__spec#complete})"
    __function= __rest=()
    for ((__i = 0; __i < ${#__spec[@]}; __i++)); do
      case ${__spec[__i]} in
        -F) __function=${__spec[++__i]} ;;
        -o) compopt -o "${__spec[++__i]}"; __rest+=(-o "${__spec[__i]}") ;;
        -[AGWCXPS]) __rest+=("${__spec[__i]}" "${__spec[++__i]}") ;;
        -[abcdefgjksuv]*) __rest+=("${__spec[__i]}") ;;
      esac
    done
    if [[ $__function ]]; then "$__function" "$__command" "$__plain" "${COMP_WORDS[COMP_CWORD - 1]}"; fi
    if ((${#COMPREPLY[@]} == 0)) && [[ " ${__rest[*]}" == *' -'[!o]* ]]; then
      mapfile -t COMPREPLY < <(compgen "${__rest[@]}" -- "$__plain")
    fi
    ((${#COMPREPLY[@]} == 0)) && [[ $__filenames == @(default|bashdefault) ]] && __files=1
    ((${#COMPREPLY[@]} == 0)) && [[ $__filenames == dirnames ]] && mapfile -t COMPREPLY < <(compgen -d -- "$__plain")
  else
    __files=1
    case $__base in
      ssh | scp | sftp | rsync | mosh | ping | ping6 | telnet | nc | host | dig | traceroute | trsh)
        if [[ $__plain != */* ]]; then
          __user= ; [[ $__plain == *@* ]] && __user=${__plain%%@*}@
          mapfile -t COMPREPLY < <(__hosts "${__plain#"$__user"}")
          COMPREPLY=("${COMPREPLY[@]/#/$__user}")
        fi ;;
    esac
    if [[ $__plain == *@* && ${#COMPREPLY[@]} == 0 ]]; then
      mapfile -t COMPREPLY < <(compgen -A hostname -P "${__plain%%@*}@" -- "${__plain#*@}")
    fi
  fi
fi

# Quote a path as the word was begun.
__quoted() {
  local quoted=${1#"$__root"}
  case $__quote in
    \') quoted=${quoted//\'/\'\\\'\'} ;;
    \") quoted=${quoted//\\/\\\\} quoted=${quoted//\"/\\\"} quoted=${quoted//\$/\\\$} quoted=${quoted//\`/\\\`} ;;
    *) printf -v quoted %q "$quoted" ;;
  esac
  [[ $quoted == *$'\n'* ]] && return  # within quotes, where it has no other form
  case $__head in
    '$'*) __print "$__head$quoted" ;;
    *) __print "$quoted" "$__head" ;;
  esac
}

# Print a candidate, $1, behind what stands before its quotes, $2.  They stay open where a path goes on.
__print() {
  local end=$__quote
  [[ $1 == *[/=] || $__last == - ]] && end=
  printf '%s\n' "${2-}$__quote$1$end"
}
{
  printf '%s\n%s\n' "$__mark" "$__word"
  # In this order the first and the last candidate have no more in common than all of them have.
  [[ ${LC_ALL-} ]] && LC_CTYPE=$LC_ALL
  unset LC_ALL GLOBIGNORE
  LC_COLLATE=C
  __paths=() __texts=()
  [[ $__files || ${COMPREPLY[0]-} == *' ' ]] && __last=.
  if [[ $__files ]]; then
    shopt -s dotglob nullglob
    shopt -u failglob globskipdots nocaseglob
    set +f
    __paths=("$__root${__plain#"$__head"}"*)
    set -f
  fi
  if [[ ! $__sorted ]] && ((${#COMPREPLY[@]} <= 500)); then __texts=("${COMPREPLY[@]}")
  elif ((${#COMPREPLY[@]})); then mapfile -t __texts < <(printf '%s\n' "${COMPREPLY[@]}" | LC_ALL=C command sort -u); fi
  if ((${#__paths[@]} + ${#__texts[@]} > 1000)); then
    ((${#__paths[@]} > 500)) && __paths=("${__paths[@]:0:499}" "${__paths[-1]}")
    ((${#__texts[@]} > 500)) && __texts=("${__texts[@]:0:499}" "${__texts[-1]}")
    __last=+
  fi
  for __one in "${__paths[@]}"; do
    [[ -d $__one ]] && __one+=/
    __quoted "$__one"
  done
  for __one in "${__texts[@]}"; do
    if [[ $__filenames && -e $__one ]]; then
      [[ -d $__one && $__one != */ ]] && __one+=/
      __quoted "$__one"
    elif [[ $__one ]]; then __print "${__one% }"; fi
  done
  printf '%s\n' "$__last"
} >&"$__out"
