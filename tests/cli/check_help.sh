#!/usr/bin/env bash
# Every command that `deem --help` reaches explains itself with examples and takes --quiet and --log-json; with
# --log-json whatever goes to stderr is JSON, errors too; --version names every library. check_help.sh DEEM
set -uo pipefail
deem=$1
bad=0
say() { echo "$1"; bad=1; }

# Commands below "$@": a help that lists commands is a group.
check() {
    local help below
    help=$("$deem" "$@" --help) || say "deem $*: --help exits $?"
    below=$(sed -nE 's/^  ([a-z0-9]+)  +[a-z].*/\1/p' <<<"$help")
    if [ -n "$below" ]; then
        for name in $below; do check "$@" "$name"; done
        return
    fi
    leaves=$((leaves + 1))
    for word in 'examples:' "  deem $*" '--quiet' '--log-json'; do
        grep -qF -- "$word" <<<"$help" || say "deem $*: --help has no \"$word\""
    done
    local line
    line=$("$deem" "$@" --log-json --no-such-option 2>&1 >/dev/null)
    [ $? -eq 64 ] || say "deem $*: an unknown option is no usage error"
    grep -qE '^\{.*"no-such-option|^\{.*--no-such-option.*\}$' <<<"$line" || say "deem $* --log-json: $line"
}

leaves=0
check
[ "$leaves" -ge 15 ] || say "only $leaves commands found"
version=$("$deem" --version)
for name in deem libarchive libjpeg-turbo libspng libwebp giflib zstd zlib xxhash nettle utf8proc lmdb libyaml \
    sentencepiece chafa openblas mpi cuda; do
    grep -qE "^$name +[0-9A-Za-z]" <<<"$version" || say "deem --version: no $name"
done
exit $bad
