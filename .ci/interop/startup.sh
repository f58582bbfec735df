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
for arguments in --help "serve --help" "check-config --help" "emulator --help" "help serve"; do
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
equal "the health" "$("$program" healthcheck --server "unix:$socket")" SERVING
"$program" put --server "unix:$socket" "$0" script.sh >/dev/null
equal "what refresh forgets" "$("$program" refresh --server "unix:$socket" -r --json)" '{"dropped_directories":1,"loaded_directories":0}'
equal "the transfers" "$("$program" activity --server "unix:$socket" --json | json 'm[0]["transfers"]')" "[]"
stop TERM
status=0
"$program" healthcheck --server "unix:$socket" >/dev/null 2>&1 || status=$?
equal "the exit code of healthcheck without a server" "$status" 6
[[ ! -e $socket ]] || fail "the socket is left behind"
ok "a private Unix socket beside TCP"

# Strangers meet TLS and tokens. Certificates and tokens change while the server runs.
certificate old
certificate new
cp "$work/old.pem" "$work/cert.pem"
cp "$work/old.key" "$work/cert.key"
secured=(--emulator --state-dir "$work/secured" --tls-cert "$work/cert.pem" --tls-key "$work/cert.key")
refused "whoever connects may do everything" "$program" serve "${secured[@]}" --grpc-listen 0.0.0.0:0
token=("$program" token --state-dir "$work/secured")
"${token[@]}" create writer >"$work/writer"
"${token[@]}" create reader --prefix fichier:public --read-only >"$work/reader"
refused "already" "${token[@]}" create reader
equal "the mode of the tokens" "$(stat -c %a "$work/secured/tokens.json")" 600
! grep -qF "$(cat "$work/writer")" "$work/secured/tokens.json" || fail "the token is kept as it is"
refused "there is no encryption" "$program" serve --emulator --state-dir "$work/secured" --grpc-listen 0.0.0.0:0
start secured "${secured[@]}" --grpc-listen 0.0.0.0:0 --grpc-listen "unix:$work/secured.sock"
port=${address##*:}

# client EXIT ARGUMENTS...: the client ends with this exit code.
client() {
    local wanted=$1 status=0
    shift
    "$program" "$@" >"$work/client.out" 2>"$work/client.err" || status=$?
    equal "the exit code of $* ($(cat "$work/client.err"))" "$status" "$wanted"
}

# eventually EXIT ARGUMENTS...: the same within 10 seconds.
eventually() {
    local wanted=$1 i status
    shift
    for ((i = 0; i < 100; i++)); do
        status=0
        "$program" "$@" >"$work/client.out" 2>"$work/client.err" || status=$?
        ((status != wanted)) || return 0
        sleep 0.1
    done
    fail "$* still ends with $status instead of $wanted: $(cat "$work/client.err")"
}

there=(--server "https://localhost:$port" --tls-ca "$work/old.pem")
echo hello >"$work/hello"
client 7 ls "${there[@]}"
client 0 put "$work/hello" public/hello "${there[@]}" --token-file "$work/writer"
client 7 put "$work/hello" public/more "${there[@]}" --token-file "$work/reader"
client 7 ls "${there[@]}" --token-file "$work/reader"
PLUTON_FICHIER_TOKEN=$(cat "$work/reader") client 0 cat public/hello "${there[@]}"
equal "what the reader reads" "$(cat "$work/client.out")" hello
client 6 ls --server "https://localhost:$port" --tls-ca "$work/new.pem" --token-file "$work/writer"
client 0 ls --server "unix:$work/secured.sock"
"${token[@]}" revoke reader
eventually 7 cat public/hello "${there[@]}" --token-file "$work/reader"
ok "TLS and tokens for strangers; a revoked token is refused while the server runs"

echo nonsense >"$work/cert.pem"
kill -HUP "$pid"
eventually 0 ls "${there[@]}" --token-file "$work/writer"
for ((i = 0; i < 100; i++)); do
    ! grep -q "the old certificate stays in use" "$work/secured.log" || break
    sleep 0.1
done
((i < 100)) || fail "the log says nothing of the broken certificate"
client 0 ls "${there[@]}" --token-file "$work/writer"
cp "$work/new.key" "$work/cert.key"
cp "$work/new.pem" "$work/cert.pem"
kill -HUP "$pid"
eventually 0 ls --server "https://localhost:$port" --tls-ca "$work/new.pem" --token-file "$work/writer"
client 6 ls "${there[@]}" --token-file "$work/writer"
for secret in "$(cat "$work/writer")" "$(cat "$work/reader")" "$(sed -n 2p "$work/new.key")"; do
    ! grep -qF -- "$secret" "$work/secured.log" "$work/secured.out" || fail "a secret is in the log"
done
stop TERM
ok "a broken certificate changes nothing and is told; a new one is taken"

# A server that was killed is in nobody's way.
start killed --emulator --state-dir "$work/state" --grpc-listen "unix:$socket"
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
[[ -e $socket ]] || fail "a killed server took its socket with it"
start again --emulator --state-dir "$work/state" --grpc-listen "unix:$socket"
stop TERM
ok "starts on the socket and state directory of a server that was killed"

# uploading NAME: an upload to the server that does not end by itself; sets
# upload. It has arrived in part when the buffer holds it.
uploading() {
    local i
    "$program" put --server "$address" - "$1" >"$work/upload.out" 2>&1 \
        < <(head -c 3000000 /dev/zero && exec sleep 60) &
    upload=$!
    servers+=("$upload")
    for ((i = 0; i < 500; i++)); do
        readlink "/proc/$pid/fd"/* 2>/dev/null | grep -qF "$work/twice/spool/" && return
        sleep 0.01
    done
    fail "the upload does not begin: $(cat "$work/upload.out")"
}

# A second signal does not wait for what the first one lets end.
for signal in TERM INT; do
    start "twice-$signal" --emulator --state-dir "$work/twice" --shutdown-grace 60 --grpc-listen 127.0.0.1:0
    uploading slow.bin
    kill "-$signal" "$pid"
    status=0
    for ((i = 0; i < 200 && status != 6; i++)); do
        status=0
        "$program" ls --server "$address" >"$work/late.out" 2>&1 || status=$?
        sleep 0.01
    done
    equal "the exit code of a client while the server stops" "$status" 6
    grep -q "stopping" "$work/late.out" || fail "the client does not learn why: $(cat "$work/late.out")"
    kill -0 "$pid" || fail "the server did not wait for the upload"
    kill "-$signal" "$pid"
    for ((i = 0; i < 300; i++)); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.01
    done
    status=0
    wait "$pid" || status=$?
    equal "the exit code after a second SIG$signal" "$status" 1
    grep -q "stopped at once" "$work/twice-$signal.log" || fail "the log does not tell of the second signal"
    wait "$upload" 2>/dev/null || true
    equal "what is left of the upload" "$(ls -A "$work/twice/spool")" ""
    ok "refuses new calls after SIG$signal, and a second one ends it at once with exit code 1"
done

# Killed in the middle of an upload: no file is left, and none stays that was.
start half --emulator --state-dir "$work/twice" --grpc-listen 127.0.0.1:0
uploading slow.bin
kill -KILL "$pid"
wait "$pid" 2>/dev/null || true
wait "$upload" 2>/dev/null || true
equal "what a killed server left of an upload" "$(ls -A "$work/twice/spool")" ""
echo "half an upload" >"$work/twice/spool/.tmpAbCdEf"
start whole --emulator --state-dir "$work/twice" --grpc-listen 127.0.0.1:0
equal "what is left in the buffer" "$(ls -A "$work/twice/spool")" ""
! grep -q "set aside" "$work/whole.log" || fail "the catalog of a killed server was not used"
stop TERM
ok "a server that was killed in the middle of an upload leaves no file"

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
refused "from 0 to 3" "${serve[@]}" --emulator --calls-per-second 4
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

# accepted NAME ARGUMENTS...: check-config finds nothing wrong; $report is its
# JSON document.
accepted() {
    local name=$1
    shift
    "$program" check-config --json "$@" >"$work/$name.json" 2>"$work/$name.err" </dev/null \
        || fail "check-config $*: $(cat "$work/$name.json" "$work/$name.err")"
    report=$work/$name.json
    "$program" check-config "$@" >"$work/$name.text" 2>"$work/$name.err" </dev/null
}

# value NAME [REMOTE]: the value of a setting or option in the report.
value() {
    json "(lambda lines: next(l.get('value', l.get('characters')) for l in lines if l['name'] == '$1'))(
        next(r['options'] for r in m[0]['remotes'] if r['name'] == '${2-}') if '${2-}' else m[0]['settings'])" <"$report"
}

# hidden SECRET: it is in nothing that check-config printed.
hidden() {
    ! grep -qF -- "$1" "$work"/*.json "$work"/*.text "$work"/*.err || fail "check-config prints a secret"
}

# An rclone.conf, plain and encrypted, and a TOML file, against an emulated
# account.
secret=${key#*=}
"$program" emulator --limits none --api-key "$secret" >"$work/emulator.out" 2>"$work/emulator.log" </dev/null &
servers+=("$!")
for ((i = 0; i < 1000; i++)); do
    [[ -s $work/emulator.out ]] && break
    sleep 0.01
done
url=$(json 'm[0]["api_url"]' <"$work/emulator.out")

# serves NAME REMOTE ARGUMENTS...: the server lists the account of the remote.
serves() {
    local name=$1 remote=$2
    shift 2
    accepted "$name" "$@" --api-url "$url"
    start "$name" "$@" --api-url "$url" --state-dir "$work/state-$name" --grpc-listen 127.0.0.1:0
    "$program" ls --server "$address" --remote "$remote"
    status=0
    "$program" ls --server "$address" --remote no-such-remote >/dev/null 2>&1 || status=$?
    equal "the exit code for an unknown remote" "$status" 3
    stop TERM
    ! grep -qF "$secret" "$work/$name.log" || fail "the key is in the log"
    hidden "$secret"
    ok "serves $remote of $name"
}

umask 077
printf '[fich]\ntype = fichier\napi_key = %s\nencoding = Slash,Dot\n[d]\ntype = drive\n' "$secret" >"$work/plain.conf"
serves plain fich --rclone-config "$work/plain.conf"
equal "what check-config counts of the key" "$(value api_key fich)" "${#secret}"
equal "the encoding" "$(value encoding fich)" "Slash,Dot"
equal "the remotes" "$(json '[r["name"] for r in m[0]["remotes"]]' <"$report")" "['fich']"
mkdir -p "$work/.config/rclone"
cp "$work/plain.conf" "$work/.config/rclone/rclone.conf"
serves found fich
rm "$work/.config/rclone/rclone.conf"

# This one names a key that no account has; rclone's variable for it wins.
cp "$repository/tests/vectors/rclone-encrypted.conf" "$work/encrypted.conf"
password="correct horse 🐎 battery"
RCLONE_CONFIG_PASS=$password accepted known --rclone-config "$work/encrypted.conf"
equal "what check-config counts of the key" "$(value api_key fich)" 14
equal "the remotes" "$(json '[r["name"] for r in m[0]["remotes"]]' <"$report")" "['fich', 'Other Remote.2']"
equal "the encoding" "$(value encoding fich)" "Slash,LtGt,DoubleQuote,Dollar,BackSlash,Del,Ctl,InvalidUtf8,Dot"
hidden KEY-ABCdef_123
hidden "$password"
export RCLONE_CONFIG_FICH_API_KEY=$secret
RCLONE_CONFIG_PASS=$password serves encrypted fich --rclone-config "$work/encrypted.conf" --remote fich
serves command fich --rclone-config "$work/encrypted.conf" --remote fich \
    --password-command "printf \"%s\\n\" \"$password\""
hidden "$password"
unset RCLONE_CONFIG_FICH_API_KEY

printf '%s\n' "$secret" >"$work/key"
cat >"$work/pluton.toml" <<END
freshness = 60
default = "work"
[remotes.other]
api_key = "$secret"
[remotes.work]
api_key_file = "key"
encoding = "Slash,Dot"
END
serves toml work --config "$work/pluton.toml"
equal "the default" "$(json 'm[0]["remotes"][0]["name"]' <"$report")" work
equal "freshness" "$(value freshness)" 60
PLUTON_FICHIER_API_KEY_FILE=$work/key serves docker fichier
"$program" check-config --api-key-file - <"$work/key" >"$work/stdin.text"
ok "a key on standard input"

# Every problem at once, one line each, and nothing of it for serve.
problems=0
PLUTON_FICHIER_UPLOADS=0 PLUTON_FICHIER_DOWNLOADS=x "$program" check-config --config "$work/pluton.toml" \
    --rclone-config "$work/no-such.conf" >"$work/problems.text" 2>"$work/problems.err" </dev/null || problems=$?
equal "the exit code with problems" "$problems" 1
equal "the problems" "$(grep -c '^error: ' "$work/problems.err") of $(wc -l <"$work/problems.err")" "3 of 3"
status=0
PLUTON_FICHIER_UPLOADS=0 "$program" check-config --emulator --json >"$work/problems.json" 2>&1 || status=$?
equal "the exit code with problems" "$status" 1
equal "ok" "$(json '(m[0]["ok"], len(m[0]["problems"]))' <"$work/problems.json")" "(False, 1)"
ok "check-config lists every problem"

conf=("${serve[@]}" --state-dir "$work/state" --rclone-config)
head -c 400 "$work/encrypted.conf" >"$work/cut.conf"
printf '[a]\ntype = fichier\nnonsense\n' >"$work/bad.conf"
printf '[a]\ntype = fichier\napi_key = \377\n' >"$work/latin.conf"
printf '[a]\ntype = fichier\napi_key = K\nencoding = dollar\n' >"$work/encoding.conf"
printf 'uploads = "many"\n' >"$work/type.toml"
printf '\nuplods = 3\n' >"$work/unknown.toml"
head -c 5000000 /dev/zero >"$work/huge.conf"
umask 022
refused "a server cannot ask for the password" "${conf[@]}" "$work/encrypted.conf"
refused "the password is wrong" env RCLONE_CONFIG_PASS=wrong "${conf[@]}" "$work/encrypted.conf"
refused "damaged" env "RCLONE_CONFIG_PASS=$password" "${conf[@]}" "$work/cut.conf"
refused "printed nothing" env RCLONE_PASSWORD_COMMAND=true "${conf[@]}" "$work/encrypted.conf"
refused "ended with exit status: 1" env RCLONE_PASSWORD_COMMAND=false "${conf[@]}" "$work/encrypted.conf"
refused "Is a directory" "${conf[@]}" "$work/tmp"
refused "bad.conf:3" "${conf[@]}" "$work/bad.conf"
refused "not a text in UTF-8" "${conf[@]}" "$work/latin.conf"
refused "larger than 4096 KiB" "${conf[@]}" "$work/huge.conf"
refused "possible" env "$key" "${conf[@]}" /dev/null --remote-name a:b
refused "BackQuote" "${conf[@]}" "$work/encoding.conf"
refused "there are: fich" "${conf[@]}" "$work/plain.conf" --remote nobody
refused "type.toml:1: uploads must be a number" env "$key" "${serve[@]}" --config "$work/type.toml"
refused 'unknown.toml:2: unknown key "uplods"; did you mean "uploads"' env "$key" "${serve[@]}" --config "$work/unknown.toml"
refused "emulat" "${serve[@]}" --emulator --api-key-file "$work/key"

# Wrong usage: clap adds how it would be right.
for arguments in --no-such-flag "--emulator --grpc-listen nonsense" "--emulator --uploads 0" "--emulator --encoding x"; do
    status=0
    # shellcheck disable=SC2086
    timeout 10 "$program" serve $arguments >"$work/usage.out" 2>"$work/usage.err" || status=$?
    equal "the exit code of wrong usage" "$status" 2
    [[ ! -s $work/usage.out && $(head -n 1 "$work/usage.err") == "error: "* ]] || fail "$arguments: $(cat "$work/usage.err")"
    ok "$(head -n 1 "$work/usage.err")"
done

echo "$checks checks of starting and stopping"
