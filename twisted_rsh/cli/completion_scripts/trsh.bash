# Completes the words of trsh in bash: options, their values where there are few, keywords after -o, and hosts.
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
    # A list of hosts has commas, and bash takes "@" for the end of a word.
    local line=${COMP_LINE:0:COMP_POINT}
    local typed=${line##* }
    if [[ $line == *" --hosts $typed" ]]; then
        local part=${typed##*,}
        _trsh_pick "$program" "$part" lists
        if [[ $word == *"$part" ]]; then
            COMPREPLY=("${COMPREPLY[@]/#/${word%"$part"}}")
        else
            COMPREPLY=("${COMPREPLY[@]#"${part%"$word"}"}")
        fi
        [[ $typed == "$word" && $typed != *,* ]] && COMPREPLY+=($(compgen -f -- "$word"))
        compopt -o nospace
        return
    fi
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
