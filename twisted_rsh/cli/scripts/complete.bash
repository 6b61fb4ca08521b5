# Complete the line in $1 as this bash would; runs in a subshell of it.  $2 begins the answer.  After it come a line with
# the end of the line that a candidate replaces, a line for each candidate, quoted, and a line with a dot, or with a hyphen
# if no space follows the only candidate.
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
__words=() __word= __quote= __begin=0
for ((__i = 0; __i < ${#__line}; __i++)); do
  __c=${__line:__i:1}
  if [[ $__quote ]]; then
    __word+=$__c
    if [[ $__c == '\' && $__quote == '"' ]]; then __word+=${__line: ++__i:1}
    elif [[ $__c == "$__quote" ]]; then __quote=; fi
    continue
  fi
  case $__c in
    \\) __word+=$__c${__line: ++__i:1} ;;
    [\'\"]) __quote=$__c __word+=$__c ;;
    [';|&('$'\n'] | '`') __words=() __word= __begin=$((__i + 1)) ;;
    [' '$'\t']) [[ $__word ]] && __words+=("$__word"); __word= ;;
    '<' | '>') [[ $__word ]] && __words+=("$__word"); __words+=("$__c") __word= ;;
    = | :)
      if [[ $COMP_WORDBREAKS == *"$__c"* && ${#__words[@]} -gt 0 ]]; then
        [[ $__word ]] && __words+=("$__word")
        __words+=("$__c") __word=
      else __word+=$__c; fi ;;
    *) __word+=$__c ;;
  esac
done
[[ $__word == *$'\n'* ]] && exit
while [[ ${__words[0]-} == [A-Za-z_]*=* ]]; do __words=("${__words[@]:1}"); done
__plain=$__word __open=${__word:0:1}
case $__open in
  [\'\"]) __plain=${__plain:1} ;;
  *) __open= __plain=${__plain//\\/} ;;
esac

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

COMPREPLY=() __files= __filenames= __last=.
compopt() {
  while (($#)); do
    [[ $1 == -o && $2 == @(filenames|default|bashdefault|dirnames) ]] && __filenames=$2
    [[ $2 == nospace ]] && case $1 in -o) __last=- ;; +o) __last=. ;; esac
    shift
  done
  return 0
}
if [[ $__plain == '$'* ]]; then
  __name=${__plain#'$'}
  if [[ $__name == '{'* ]]; then mapfile -t COMPREPLY < <(compgen -v -P '${' -S '}' -- "${__name#'{'}")
  else mapfile -t COMPREPLY < <(compgen -v -P '$' -- "$__name"); fi
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

# Quote a candidate as the word was begun.
__quoted() {
  if [[ $__open ]]; then printf '%s%s\n' "$__open" "$1"; return; fi
  local quoted
  printf -v quoted %q "$1"
  [[ $quoted == '\~'* ]] && quoted=${quoted#?}
  printf '%s\n' "$quoted"
}
{
  printf '%s\n%s\n' "$__mark" "$__word"
  if [[ $__files ]]; then
    __path=$__plain
    if [[ $__path == '~'* ]]; then
      eval "__path=${__plain%%/*}"
      [[ $__plain == */* ]] && __path+=/${__plain#*/}
    fi
    while IFS= read -r __one; do
      [[ -d $__one ]] && __one+=/
      [[ $__plain == '~'*/* ]] && __one=${__plain%%/*}${__one#"$(eval "printf %s ${__plain%%/*}")"}
      __quoted "$__one"
    done < <(compgen -f -- "$__path" | head -n 1000)
  fi
  declare -A __seen=()
  for __one in "${COMPREPLY[@]:0:1000}"; do
    [[ ! $__one || ${__seen[x$__one]-} ]] && continue
    __seen[x$__one]=1
    if [[ $__filenames && -e $__one ]]; then
      [[ -d $__one && $__one != */ ]] && __one+=/
      __quoted "$__one"
    else printf '%s\n' "${__open}${__one% }"; fi
  done
  [[ $__files || ${COMPREPLY[0]-} == *' ' ]] && __last=.
  printf '%s\n' "$__last"
} >&"$__out"
