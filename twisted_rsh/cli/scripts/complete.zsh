# Complete the line in $1 as far as zsh tells outside of its line editor: commands, files, variables, hosts.
# $2 begins the answer; see complete.bash.
emulate -L zsh
setopt extendedglob nullglob typesetsilent
exec 2>/dev/null </dev/null
zmodload zsh/parameter
local line=$1 mark=$2 one plain
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
  for one in ${start}*(N[1,1000]); do
    [[ -d $one ]] && one+=/
    [[ $plain == '~'* ]] && one=${plain%%/*}${one#${~${plain%%/*}}}
    case $one in '~'*) found+=("~${(q)one#\~}") ;; *) found+=(${(q)one}) ;; esac
  done
fi
print -r -- $mark
print -r -- $word
print -rl -- ${(u)found[1,1000]}
print -r -- .
