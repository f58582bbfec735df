# Sourced by the checks: starts servers and ends them, and tells what is wrong.
set -euo pipefail

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
tools=$repository/target/ci-tools
program=${CARGO_TARGET_DIR:-$repository/target}/release/pluton-fichier
work=$(mktemp -d)
servers=()
checks=0

# What is configured on this machine is not for the checks.
for name in $(compgen -e PLUTON_FICHIER_ || true) $(compgen -e RCLONE_ || true) $(compgen -e XDG_ || true); do
    unset "$name"
done
export HOME=$work

finish() {
    local status=$? pid
    trap - EXIT
    for pid in "${servers[@]}"; do
        kill -KILL "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    if ((status != 0)); then
        local log
        for log in "$work"/*.log; do
            [[ -s $log ]] || continue
            printf -- '--- %s\n' "${log##*/}" >&2
            tail -n 100 "$log" >&2
        done
        printf 'FAILED after %d checks\n' "$checks" >&2
    fi
    rm -rf "$work"
    exit "$status"
}
trap finish EXIT
trap 'echo "error: line $LINENO of ${0##*/}: $BASH_COMMAND" >&2' ERR
set -E

fail() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# ok TEXT: a check has passed.
ok() {
    checks=$((checks + 1))
    printf 'ok: %s\n' "$*"
}

# equal WHAT GOT WANTED
equal() {
    [[ $2 == "$3" ]] || fail "$1 is '$2' instead of '$3'"
}

[[ -x $program ]] || fail "$program is missing: cargo build --release"

# json EXPRESSION <MESSAGES: evaluates Python over `m`, the list of the JSON
# values in the input.
json() {
    python3 -c '
import base64, json, sys
text, m, at = sys.stdin.read(), [], 0
while text[at:].strip():
    at += len(text[at:]) - len(text[at:].lstrip())
    value, at = json.JSONDecoder().raw_decode(text, at)
    m.append(value)
result = eval(sys.argv[1])
if isinstance(result, bytes):
    sys.stdout.buffer.write(result)
else:
    print(result)
' "$1"
}

# start NAME ARGUMENTS...: starts a server; sets pid and address. Its output is
# in $work/NAME.out and $work/NAME.log.
start() {
    local name=$1 begin=${EPOCHREALTIME/[.,]/} i
    shift
    "$program" serve "$@" >"$work/$name.out" 2>"$work/$name.log" </dev/null &
    pid=$!
    servers+=("$pid")
    for ((i = 0; i < 1000; i++)); do
        [[ -s $work/$name.out ]] && break
        kill -0 "$pid" 2>/dev/null || fail "the server $name ended instead of listening"
        sleep 0.01
    done
    milliseconds=$(((${EPOCHREALTIME/[.,]/} - begin) / 1000))
    address=$(json 'm[0]["address"] if m[0]["ready"] is True else ""' <"$work/$name.out")
    [[ -n $address ]] || fail "the server $name is not ready: $(cat "$work/$name.out")"
}

# stop SIGNAL: stops the server `pid`; it must end well within 2 seconds.
stop() {
    local i status=0
    kill "-$1" "$pid"
    for ((i = 0; i < 200; i++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.01
    done
    ! kill -0 "$pid" 2>/dev/null || fail "the server still runs 2 s after SIG$1"
    wait "$pid" || status=$?
    equal "the exit code after SIG$1" "$status" 0
}

# certificate NAME: makes $work/NAME.pem for this host, and $work/NAME.key. It is its own authority.
certificate() {
    cat >"$work/openssl.conf" <<END
[req]
distinguished_name = name
x509_extensions = extensions
prompt = no
[name]
CN = $1
[extensions]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:localhost, IP:127.0.0.1
END
    (umask 077 && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 \
        -config "$work/openssl.conf" -keyout "$work/$1.key" -out "$work/$1.pem" 2>"$work/openssl.log") \
        || fail "openssl cannot make a certificate: $(cat "$work/openssl.log")"
}
