#!/usr/bin/env bash
# How the server starts, refuses to start, and stops.
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# refused WORD COMMAND...: ends soon with one line on stderr that begins with
# "error: " and holds WORD, and with nothing on stdout.
refused() {
    local word=$1 status=0
    shift
    timeout 10 "$@" >"$work/refused.out" 2>"$work/refused.err" </dev/null || status=$?
    ((status != 0 && status < 124)) || fail "'$*' ended with $status"
    [[ ! -s $work/refused.out ]] || fail "'$*' wrote to stdout: $(cat "$work/refused.out")"
    equal "the number of lines that '$*' wrote" "$(wc -l <"$work/refused.err"): $(cat "$work/refused.err")" \
        "1: $(cat "$work/refused.err")"
    [[ $(cat "$work/refused.err") == "error: "*"$word"* ]] \
        || fail "'$*' says '$(cat "$work/refused.err")' without '$word'"
    ok "$(cat "$work/refused.err" | sed "s|$work|…|g")"
}

serve=("$program" serve --grpc-listen 127.0.0.1:0)
key=PLUTON_FICHIER_API_KEY=demo-key_for=the-local_emulator=

# Help and version.
for arguments in --help "serve --help" "emulator --help" "help serve"; do
    # shellcheck disable=SC2086
    "$program" $arguments >"$work/help.out" 2>"$work/help.err"
    [[ $(cat "$work/help.out") == *Usage:* && ! -s $work/help.err ]] || fail "$arguments does not help"
done
[[ $("$program" --version) =~ ^pluton-fichier\ [0-9]+\.[0-9]+\.[0-9]+ ]] || fail "--version: $("$program" --version)"
ok "help and version"

# One line on stdout, and a clean end.
mkdir "$work/tmp"
for signal in TERM INT; do
    TMPDIR=$work/tmp start "plain-$signal" --emulator --grpc-listen 127.0.0.1:0
    [[ $address =~ ^127\.0\.0\.1:[1-9][0-9]*$ ]] || fail "the address is '$address'"
    equal "the pid of the ready line" "$(json 'm[0]["pid"]' <"$work/plain-$signal.out")" "$pid"
    equal "api_packages" "$(json '" ".join(m[0]["api_packages"])' <"$work/plain-$signal.out")" pluton.storage.v1
    stop "$signal"
    equal "the number of lines on stdout" "$(wc -l <"$work/plain-$signal.out")" 1
    equal "what is left of temporary files" "$(ls -A "$work/tmp")" ""
    ok "listens after $milliseconds ms with one line on stdout; SIG$signal ends it with exit code 0 and nothing left"
done

# Several addresses; the Unix socket is private, and goes with the server.
socket=$work/run/grpc.sock
start both --emulator --grpc-listen "unix:$socket" --grpc-listen 127.0.0.1:0
equal "the number of addresses" "$(json 'len(m[0]["addresses"])' <"$work/both.out")" 2
equal "the first address" "$address" "unix:$socket"
equal "the mode of the socket" "$(stat -c %a "$socket")" 600
equal "the mode of its directory" "$(stat -c %a "$work/run")" 700
refused "in use" "${serve[@]}" --emulator --grpc-listen "unix:$socket"
stop TERM
[[ ! -e $socket ]] || fail "the socket is left behind"
ok "a private Unix socket beside TCP"

# A server that was killed is in nobody's way.
start killed --emulator --state-dir "$work/state" --grpc-listen "unix:$socket"
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
[[ -e $socket ]] || fail "a killed server took its socket with it"
start again --emulator --state-dir "$work/state" --grpc-listen "unix:$socket"
stop TERM
ok "starts on the socket and state directory of a server that was killed"

# What cannot be had.
start first --emulator --state-dir "$work/state" --grpc-listen 127.0.0.1:0
refused "$address: it is in use" "$program" serve --emulator --grpc-listen "$address"
refused "in use by another server" "${serve[@]}" --emulator --state-dir "$work/state"
stop TERM

touch "$work/file" "$work/empty-key"
refused "no API key" "${serve[@]}" --state-dir "$work/state"
refused "$work/no-such-key" "${serve[@]}" --state-dir "$work/state" --api-key-file "$work/no-such-key"
refused "$work/tmp" "${serve[@]}" --state-dir "$work/state" --api-key-file "$work/tmp"
refused "$work/empty-key" "${serve[@]}" --state-dir "$work/state" --api-key-file "$work/empty-key"
refused "$work/file/state" "${serve[@]}" --emulator --state-dir "$work/file/state"
refused "/proc/nothing" env "$key" "${serve[@]}" --state-dir /proc/nothing
refused "no state directory" env -u HOME -u XDG_STATE_HOME "$key" "${serve[@]}"
refused "--insecure" "$program" serve --emulator --grpc-listen 0.0.0.0:0
refused "at most 3" "${serve[@]}" --emulator --calls-per-second 4
refused "unencrypted" env "$key" "${serve[@]}" --state-dir "$work/state" --api-url http://192.0.2.1/v1
refused "a file that is no socket" "$program" serve --emulator --grpc-listen "unix:$work/file"
refused "--log" "${serve[@]}" --emulator --log 'a=b=c'
# Permissions do not stop root, so root tries it as somebody else.
as_user=("${serve[@]}")
if ((EUID == 0)); then
    chmod 711 "$work"
    cp "$program" "$work/program"
    as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups "$work/program" "${serve[@]:1}")
fi
install -m 000 /dev/null "$work/secret-key"
mkdir -m 555 "$work/read-only"
refused "$work/secret-key: Permission denied" "${as_user[@]}" --state-dir "$work/state" --api-key-file "$work/secret-key"
refused "$work/read-only: Permission denied" "${as_user[@]}" --emulator --state-dir "$work/read-only"

# Wrong usage: clap adds how it would be right.
for arguments in --no-such-flag "--emulator --grpc-listen nonsense" "--emulator --uploads 0" "--emulator --api-key-file x"; do
    status=0
    # shellcheck disable=SC2086
    timeout 10 "$program" serve $arguments >"$work/usage.out" 2>"$work/usage.err" || status=$?
    equal "the exit code of wrong usage" "$status" 2
    [[ ! -s $work/usage.out && $(head -n 1 "$work/usage.err") == "error: "* ]] || fail "$arguments: $(cat "$work/usage.err")"
    ok "$(head -n 1 "$work/usage.err")"
done

echo "$checks checks of starting and stopping"
