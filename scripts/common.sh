# Shared by setup, run and test; sourced, from the top of the source tree.
# Everything said to people goes to standard error: standard output belongs to weft.

say() { printf 'weft: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

show_percentage() {
    local line
    while IFS= read -r line; do
        [[ $line =~ ^\[\ *([0-9]+%)\] ]] && printf '\r\033[K%s %s' "$1" "${BASH_REMATCH[1]}" >&2
    done
    printf '\r\033[K' >&2
}

# quietly WHAT COMMAND…: runs it with its output kept back, and shows that only if it fails. On a terminal the build's
# percentage is shown meanwhile.
quietly() {
    local what=$1 log status=0
    shift
    log=$(mktemp)
    if [ -t 2 ]; then
        "$@" 2>&1 | tee "$log" | show_percentage "$what" || status=${PIPESTATUS[0]}
    else
        "$@" >"$log" 2>&1 || status=$?
    fi
    if [ "$status" -ne 0 ]; then
        cat "$log" >&2
        say "$what failed"
    fi
    rm -f "$log"
    return "$status"
}

# build PRESET [TARGET]: configures (the first time; later cmake sees for itself when it must) and builds.
build() {
    if [ ! -f "build/$1/Makefile" ]; then
        quietly "configuring ($1)" cmake --preset "$1" || return
    fi
    quietly "building ($1)" cmake --build --preset "$1" -j "$(nproc)" --target "${2:-all}"
}
