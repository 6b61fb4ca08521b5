# Complete the line in $1 as a shell without completion can: commands and files.  $2 begins the answer; see complete.bash.
exec 2>/dev/null </dev/null
set +eux -f
line=$1 mark=$2
command=${line##*[\;\&\|\(\`]}
word=${command##*[ 	]}
while before=${command%"$word"}; case $before in *\\[" 	"]) ;; *) false ;; esac; do  # an escaped space is of the word
  before=${before%?}
  word=${before##*[ 	]}${command#"$before"}
done
IFS=' 	
'
set -- ${command%"$word"}
while case ${1-} in [A-Za-z_]*=*) ;; *) false ;; esac; do shift; done
printf '%s\n%s\n' "$mark" "$word"
# Print the lines that begin with $1, each once.
starting() { awk -v start="$1" 'index($0, start) == 1 && !seen[$0]++' | LC_ALL=C sort; }
quoted() { sed 's/[^[:alnum:]_./:,=@%+~^-]/\\&/g'; }
plain=$(printf '%s.' "$word" | sed 's/\\\(.\)/\1/g')
plain=${plain%.}
newline='
'
found=$(case $word in
  '$'*) set | sed -n 's/^\([A-Za-z_][A-Za-z0-9_]*\)=.*/$\1/p' | starting "$word" ;;
  *)
    if [ $# = 0 ] && [ "${word#*/}" = "$word" ]; then
      {
        printf '%s\n' . : alias bg break cd command continue echo eval exec exit export false fg getopts hash jobs kill \
          local printf pwd read readonly return set shift test times trap true type ulimit umask unalias unset wait \
          case do done elif else esac fi for if then until while
        alias | sed -n "s/^\(alias \)*\([^=]*\)=.*/\2/p"
        set +f
        IFS=:
        for folder in $PATH; do
          for path in "${folder:-.}/$plain"*; do [ -f "$path" ] && [ -x "$path" ] && printf '%s\n' "${path##*/}"; done
        done
      } | starting "$plain"
    else
      start=$plain
      case $plain in '~' | '~/'*) start=$HOME${plain#'~'} ;; esac
      set +f
      for path in "$start"*; do
        [ -e "$path" ] || [ -L "$path" ] || continue
        case $path in *"$newline"*) continue ;; esac  # quoted, it would take two lines
        [ -d "$path" ] && path=$path/
        case $plain in '~' | '~/'*) path="~${path#"$HOME"}" ;; esac
        printf '%s\n' "$path"
      done | quoted
    fi ;;
esac | head -n 1001)
if [ "$(printf '%s\n' "$found" | wc -l)" -gt 1000 ]; then printf '%s\n+\n' "$word"  # what all begin with is not known
else printf '%s\n.\n' "$found"; fi
