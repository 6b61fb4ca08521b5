# Completes the words of trsh in bash: options, their values where there are few, keywords behind -o, and hosts.
_trsh_pick() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        [[ $line == "$2"* ]] && COMPREPLY+=("$line")
    done < <(command "$1" --completion "$3" 2>/dev/null)
}

_trsh() {
    local program=$1 word=$2 previous=$3
    local IFS=$' \t\n'
    case $previous in
        -o) _trsh_pick "$program" "$word" keywords; compopt -o nospace; return ;;
        -F | -E | -i) COMPREPLY=($(compgen -f -- "$word")); compopt -o filenames; return ;;
        --config-dir) COMPREPLY=($(compgen -d -- "$word")); compopt -o filenames; return ;;
        -l) COMPREPLY=($(compgen -u -- "$word")); return ;;
        -O) COMPREPLY=($(compgen -W 'check stop exit' -- "$word")); return ;;
        --on-disconnect) COMPREPLY=($(compgen -W 'kill keep grace:' -- "$word")); return ;;
        --completion) COMPREPLY=($(compgen -W 'bash zsh' -- "$word")); return ;;
    esac
    case $word in
        -o?*)
            _trsh_pick "$program" "${word#-o}" keywords
            COMPREPLY=("${COMPREPLY[@]/#/-o}")
            compopt -o nospace
            return
            ;;
        -*) _trsh_pick "$program" "$word" options; return ;;
    esac
    local user=
    [[ $word == *@* ]] && user=${word%@*}@
    _trsh_pick "$program" "${word#"$user"}" hosts
    COMPREPLY=("${COMPREPLY[@]/#/$user}")
}

complete -F _trsh trsh
