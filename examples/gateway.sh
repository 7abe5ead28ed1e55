# shellcheck shell=bash
# The examples source this file.
#
# start_gateway EXAMPLE   starts a gateway with examples/EXAMPLE/sluice.toml, waits until it is ready, and stops it
#                         when the script ends. The current folder is then target/examples/EXAMPLE, emptied, with a
#                         copy of the built policies in policies/.
#
# The script sets $admin, the URL of the admin listener, before it calls start_gateway.
# SLUICE names the binary; default: target/release/sluice, or target/debug/sluice if that does not exist.

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
sluice=${SLUICE:-$root/target/release/sluice}
[[ -x $sluice || ${SLUICE-} ]] || sluice=$root/target/debug/sluice
export SLUICE=$sluice

fail() {
    echo "$1" >&2
    exit 1
}

# step TEXT: prints a heading.
step() {
    printf '\n== %s\n' "$1"
}

start_gateway() {
    local data=$root/target/examples/$1
    [[ -x $sluice ]] || fail "no sluice binary at $sluice: build it with \`make build\`"
    rm -rf "$data"
    mkdir -p "$data/policies"
    cd "$data"
    "$root/policies/build"
    cp "$root"/policies/*.wasm policies/
    "$sluice" serve --config "$root/examples/$1/sluice.toml" >serve.log 2>&1 &
    gateway=$!
    trap 'kill $gateway 2>/dev/null && wait $gateway' EXIT
    until curl --silent --fail --output /dev/null "$admin/readyz"; do
        kill -0 $gateway 2>/dev/null || fail "the gateway did not start: $(<serve.log)"
        sleep 0.1
    done
}
