# bash completion for weft

_weft() {
    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb='' word
    local verbs='generate replay demo tokenize detokenize score bench models devices cache config'
    local common='--model --device --precision --config --set --log-level --json --quiet --help'
    local -A options=(
        [generate]='--prompt --chat --ids --batch --max-tokens --temp --top-k --top-p --min-p --repeat-penalty --seed --stop --ignore-eos --stream --logprobs --priority'
        [replay]='--sim --events --time-scale'
        [demo]='--list --sim'
        [tokenize]='--file --special'
        [detokenize]='--file'
        [score]='--ids --file'
        [bench]='--batch --prompt --gen --profile --compare --rounds'
        [models]=''
        [devices]=''
        [cache]='--clear'
        [config]='--print --defaults'
    )
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ " $verbs " == *" $word "* ]]; then
            verb=$word
            break
        fi
    done
    case $prev in
    --precision) COMPREPLY=($(compgen -W 'auto fp32 int8 bf16' -- "$cur")); return ;;
    --priority) COMPREPLY=($(compgen -W 'critical high normal low' -- "$cur")); return ;;
    --log-level) COMPREPLY=($(compgen -W 'error warn info debug' -- "$cur")); return ;;
    --model | -m)
        local models=${XDG_DATA_HOME:-$HOME/.local/share}/weft/models names
        names=$(cd "$models" 2>/dev/null && printf '%s\n' *.gguf | sed -n 's/\.gguf$//p')
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -W "smollm2 $names" -- "$cur") $(compgen -f -- "$cur"))
        return
        ;;
    --config | --chat | --events | --file | -f) compopt -o filenames 2>/dev/null; COMPREPLY=($(compgen -f -- "$cur")); return ;;
    --batch)
        [[ $verb == bench ]] && return
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -f -- "$cur"))
        return
        ;;
    --set)
        local keys
        keys=$("${COMP_WORDS[0]}" config --defaults 2>/dev/null |
            sed -n 's/^\([a-z]*\):$/s \1/p; s/^  \([a-z_]*\): .*/k \1/p' |
            while read -r kind name; do
                if [[ $kind == s ]]; then section=$name; else printf '%s.%s=\n' "$section" "$name"; fi
            done)
        compopt -o nospace 2>/dev/null
        COMPREPLY=($(compgen -W "$keys" -- "$cur"))
        return
        ;;
    --device | --prompt | -p | --ids | --max-tokens | -n | --temp | --top-k | --top-p | --min-p | --repeat-penalty | --seed | --stop | --logprobs | --gen | --time-scale)
        return
        ;;
    esac
    if [[ ($verb == replay || $verb == demo) && $cur != -* ]]; then
        local workloads='aging burst cancel-storm fifo-against-priority long-prompt memory-pressure one-at-a-time-against-batch poisson preemption prefix-sharing tour vip-against-crowd'
        compopt -o filenames 2>/dev/null
        COMPREPLY=($(compgen -W "$workloads" -- "$cur") $(compgen -f -- "$cur"))
    elif [[ -n $verb ]]; then
        COMPREPLY=($(compgen -W "${options[$verb]} $common" -- "$cur"))
    elif [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "--fresh --resume --sim --version $common" -- "$cur"))
    else
        COMPREPLY=($(compgen -W "$verbs" -- "$cur"))
    fi
}

complete -F _weft weft
