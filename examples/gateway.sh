# Sourced by the examples: a gateway of their own, on the ports of the example's sluice.toml.
#
# start_gateway EXAMPLE   starts it in target/examples/EXAMPLE, which it empties, with a policies folder of its
#                         own there, and stops it when the script ends

set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
sluice=${SLUICE:-$root/target/release/sluice}

fail() {
    echo "$1" >&2
    exit 1
}

say() {
    printf '\n== %s\n' "$1"
}

start_gateway() {
    local data=$root/target/examples/$1
    [[ -x $sluice ]] || fail "no gateway at $sluice; build it with \`make build\`"
    rm -rf "$data"
    mkdir -p "$data/policies"
    cd "$data"
    "$root/policies/build"
    cp "$root"/policies/*.wasm policies/
    "$sluice" serve --config "$root/examples/$1/sluice.toml" >serve.log 2>&1 &
    gateway=$!
    trap 'kill $gateway && wait $gateway' EXIT
    until curl --silent --fail "$admin/readyz" >/dev/null; do
        kill -0 $gateway 2>/dev/null || fail "the gateway did not start: $(<serve.log)"
        sleep 0.1
    done
}
