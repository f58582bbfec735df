#!/usr/bin/env bash
# Uses the server as a person with grpcurl does: everything that grpcurl knows
# about the service, it learns by reflection.
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

grpcurl=$tools/bin/grpcurl
package=pluton.storage.v1
service=$package.StorageBackend
[[ -x $grpcurl ]] || fail "$grpcurl is missing: .ci/run installs it"

start server --emulator --grpc-listen 127.0.0.1:0 --grpc-listen "unix:$work/grpc.sock"
server=$pid

# call METHOD REQUEST [OPTION...]: a call that must succeed; the answer is in $work/answer.
called=()
call() {
    local method=$1 request=$2
    shift 2
    called+=("$method")
    "$grpcurl" -plaintext -max-time 60 "$@" -d "$request" "$address" "$service/$method" \
        >"$work/answer" 2>"$work/answer.log" || fail "$method $request: $(cat "$work/answer.log")"
}

# call_stdin METHOD: the same with the request messages from standard input.
call_stdin() { call "$1" @; }

answer() { json "$1" <"$work/answer"; }

# refused METHOD REQUEST CODE NUMBER REASON: a call that must fail. grpcurl exits with
# 64 + the code, and shows the details decoded.
refused() {
    local method=$1 request=$2 code=$3 number=$4 reason=$5 status=0
    called+=("$method")
    "$grpcurl" -plaintext -max-time 60 -d "$request" "$address" "$service/$method" \
        >"$work/refused.out" 2>"$work/refused.log" || status=$?
    equal "the exit code of grpcurl for $method $request ($(cat "$work/refused.log"))" "$status" $((64 + number))
    grep -qE "^ *Code: $code\$" "$work/refused.log" || fail "$method: no code $code in: $(cat "$work/refused.log")"
    details=$(json 'repr([d for d in m])' < <(grep -A 1000 -E '^ *Details:' "$work/refused.log" | sed -E '1d; s/^[[:space:]]*[0-9]+\)//'))
    info=$(python3 -c '
import ast, sys
details = ast.literal_eval(sys.argv[1])
info = [d for d in details if d["@type"] == "type.googleapis.com/google.rpc.ErrorInfo"]
print(" ".join(d["domain"] + "/" + d["reason"] for d in info))' "$details")
    equal "the ErrorInfo of $method" "$info" "storage.pluton/$reason"
    ok "$method is refused with $code, $reason: $(grep -E '^ *Message:' "$work/refused.log" | sed -E 's/^ *Message: //')"
}

# What there is.
services=$("$grpcurl" -plaintext "$address" list)
for wanted in "$service" grpc.health.v1.Health grpc.reflection.v1.ServerReflection; do
    grep -qxF "$wanted" <<<"$services" || fail "$wanted is not in: $services"
done
methods=$("$grpcurl" -plaintext "$address" list "$service" | sed "s/^$service\.//")
equal "the number of RPCs" "$(wc -l <<<"$methods")" "$(grep -cE '^  rpc ' "$repository/proto/pluton/storage/v1/storage.proto")"
equal "what is listed over the Unix socket" "$("$grpcurl" -plaintext -unix "$work/grpc.sock" list)" "$services"
ok "3 services, over TCP and over a Unix socket; $(wc -l <<<"$methods") RPCs"

# The service and every message and enum, from one to the next.
queue=("$service")
declare -A described=()
while ((${#queue[@]} > 0)); do
    symbol=${queue[0]}
    queue=("${queue[@]:1}")
    [[ -z ${described[$symbol]:-} ]] || continue
    text=$("$grpcurl" -plaintext "$address" describe "$symbol") || fail "cannot describe $symbol"
    [[ $text == "$symbol is a"* ]] || fail "describe $symbol: $text"
    described[$symbol]=yes
    while read -r symbol; do
        queue+=("${symbol#.}")
    done < <(grep -oE '\.(pluton|google)(\.[A-Za-z0-9_]+)+' <<<"$text" || true)
done
for symbol in $(sed -nE 's/^(message|enum) ([A-Za-z]+).*/\2/p' "$repository"/proto/pluton/storage/v1/*.proto); do
    # No message refers to the reasons: they are texts in ErrorInfo.
    [[ $symbol == ErrorReason || -n ${described[$package.$symbol]:-} ]] || fail "nothing leads to $symbol"
done
"$grpcurl" -plaintext "$address" describe "$package.ErrorReason" >"$work/reasons.log"
grep -q ERROR_REASON_CAPABILITY_MISSING "$work/reasons.log" || fail "ErrorReason has no reasons"
for symbol in ErrorInfo RetryInfo BadRequest ResourceInfo PreconditionFailure QuotaFailure; do
    "$grpcurl" -plaintext "$address" describe "google.rpc.$symbol" >/dev/null || fail "cannot describe google.rpc.$symbol"
done
ok "${#described[@]} services, messages and enums described"

for name in "" "$service"; do
    "$grpcurl" -plaintext -d "{\"service\": \"$name\"}" "$address" grpc.health.v1.Health/Check >"$work/answer"
    equal "the health of '$name'" "$(answer 'm[0]["status"]')" SERVING
done
ok "healthy"

# Every RPC.
call GetInfo ""
equal "the name of the server" "$(answer 'm[0]["serverName"]')" pluton-fichier
equal "the remote" "$(answer 'm[0]["remotes"][0]["name"]')" fichier
capabilities=$(answer '" ".join(m[0]["remotes"][0]["capabilities"])')
ok "GetInfo: $capabilities"

call TestConnection '{"checkWrite": true}'
equal "healthy" "$(answer 'm[0]["healthy"]')" True
equal "the checks" "$(answer '" ".join(c["name"] + "=" + c["state"] for c in m[0]["checks"])')" \
    "reachable=CHECK_STATE_PASSED credentials=CHECK_STATE_PASSED plan=CHECK_STATE_PASSED list=CHECK_STATE_PASSED write=CHECK_STATE_PASSED"
ok "TestConnection"

# messages PATH FILE: what Put is sent, commit included.
readonly CHUNK=65536
messages() {
    local size offset=0
    size=$(stat -c %s "$2")
    printf '{"header": {"path": "%s", "size": "%d"}}\n' "$1" "$size"
    while ((offset < size)); do
        printf '{"chunk": {"offset": "%d", "data": "%s"}}\n' "$offset" \
            "$(dd if="$2" bs="$CHUNK" skip=$((offset / CHUNK)) count=1 status=none | base64 -w 0)"
        offset=$((offset + CHUNK))
    done
    printf '{"commit": {"size": "%d"}}\n' "$size"
}

file=$work/random.bin
head -c 300001 /dev/urandom >"$file"
sha256=$(sha256sum "$file" | cut -d ' ' -f 1)

messages "letters/été/a b.bin" "$file" | call_stdin Put
equal "the path" "$(answer 'm[0]["entry"]["path"]')" "letters/été/a b.bin"
equal "the size" "$(answer 'm[0]["entry"]["size"]')" 300001
whirlpool=$(answer '[c["hex"] for c in m[0]["entry"]["checksums"] if c["algorithm"] == "HASH_ALGORITHM_WHIRLPOOL"][0]')
etag=$(answer 'm[0]["entry"]["etag"]')
equal "the checksums" "$(answer '" ".join(c["algorithm"][15:] for c in m[0]["entry"]["checksums"])')" "WHIRLPOOL SHA256 MD5"
ok "Put, 300001 bytes in 5 chunks"

call Get '{"path": "letters/été/a b.bin"}'
answer 'b"".join(base64.b64decode(x["chunk"]["data"]) for x in m if "chunk" in x)' | cmp - "$file" \
    || fail "Get does not give what Put was given"
equal "the first and last message" "$(answer '[*m[0]][0] + " " + [*m[-1]][0]')" "header trailer"
equal "sentBytes" "$(answer 'm[-1]["trailer"]["sentBytes"]')" 300001
equal "verified" "$(answer 'm[-1]["trailer"]["verified"]')" True
ok "Get: the same bytes"

call Get '{"path": "letters/été/a b.bin", "ranges": [{"offset": 299990}, {"offset": 5, "length": 7}]}'
{ tail -c 11 "$file"; head -c 12 "$file" | tail -c 7; } >"$work/parts.bin"
answer 'b"".join(base64.b64decode(x["chunk"]["data"]) for x in m if "chunk" in x)' | cmp - "$work/parts.bin" \
    || fail "Get does not give the ranges"
ok "Get: ranges"

call List '{"recursive": true}'
equal "the listing" "$(answer '" | ".join(e["path"] + ":" + e["type"] for x in m for e in x.get("entries", []))')" \
    "letters:ENTRY_TYPE_DIRECTORY | letters/été:ENTRY_TYPE_DIRECTORY | letters/été/a b.bin:ENTRY_TYPE_FILE"
ok "List, right after Put"

call Stat '{"path": "letters/été/a b.bin"}'
equal "the checksum of Stat" "$(answer '[c["hex"] for c in m[0]["entry"]["checksums"]][0]')" "$whirlpool"
equal "the SHA-256 of Stat" "$(answer '[c["hex"] for c in m[0]["entry"]["checksums"]][1]')" "$sha256"
equal "the etag of Stat" "$(answer 'm[0]["entry"]["etag"]')" "$etag"
ok "Stat"

call Hash '{"path": "letters/été/a b.bin"}'
equal "the Whirlpool" "$(answer 'm[0]["checksum"]["hex"]')" "$whirlpool"
call Hash '{"path": "letters/été/a b.bin", "algorithm": "HASH_ALGORITHM_SHA256"}'
equal "the SHA-256" "$(answer 'm[0]["checksum"]["hex"]')" "$sha256"
call Hash '{"path": "letters/été/a b.bin", "algorithm": "HASH_ALGORITHM_SHA1", "allowDownload": true}'
equal "the SHA-1" "$(answer 'm[0]["checksum"]["hex"]')" "$(sha1sum "$file" | cut -d ' ' -f 1)"
equal "computed" "$(answer 'm[0].get("computed", False)')" True
call Hash '{"path": "letters/été/a b.bin", "algorithm": "HASH_ALGORITHM_SHA1"}'
equal "computed again" "$(answer 'm[0].get("computed", False)')" False
ok "Hash: Whirlpool, the recorded SHA-256 that sha256sum computes, and a SHA-1 by download, once"

call About ""
equal "what fits" "$(answer 'int(m[0]["totalBytes"]) - int(m[0]["usedBytes"]) == int(m[0]["freeBytes"])')" True
ok "About: $(answer 'm[0]["account"]')"

call Mkdir '{"path": "empty/deeper", "createParents": true}'
equal "created" "$(answer 'm[0]["created"]')" True
call Mkdir '{"path": "empty/deeper", "createParents": true}'
equal "created again" "$(answer 'm[0].get("created", False)')" False
call Rmdir '{"path": "empty/deeper"}'
refused Stat '{"path": "empty/deeper"}' NotFound 5 FILE_NOT_FOUND
ok "Mkdir and Rmdir"

call Copy '{"sourcePath": "letters/été/a b.bin", "destinationPath": "copies/one.bin"}'
equal "the copy" "$(answer 'm[0]["entry"]["path"]')" copies/one.bin
equal "the checksum of the copy" "$(answer '[c["hex"] for c in m[0]["entry"]["checksums"]][0]')" "$whirlpool"
call Move '{"sourcePath": "copies/one.bin", "destinationPath": "copies/two.bin"}'
equal "the moved copy" "$(answer 'm[0]["entry"]["path"]')" copies/two.bin
call Get '{"path": "copies/two.bin"}'
answer 'b"".join(base64.b64decode(x["chunk"]["data"]) for x in m if "chunk" in x)' | cmp - "$file" \
    || fail "Get does not give the moved copy"
refused Stat '{"path": "copies/one.bin"}' NotFound 5 FILE_NOT_FOUND
call Stat '{"path": "letters/été/a b.bin"}'
ok "Copy and Move"

link=$(answer 'm[0]["entry"]["id"]')
call PublicLink '{"path": "letters/été/a b.bin"}'
equal "the link of a file" "$(answer 'm[0]["url"]')" "$link"
call PublicLink '{"path": "copies"}'
shared=$(answer 'm[0]["url"]')
[[ $shared == https://1fichier.com/dir/* ]] || fail "the link of a directory is '$shared'"
call PublicLink '{"path": "copies", "password": "open sesame"}'
equal "the link of a directory, again" "$(answer 'm[0]["url"]')" "$shared"
call Stat '{"path": "copies"}'
equal "the password of a directory" "$(answer 'm[0]["entry"]["attributes"]["password"]')" 1
call PublicLink '{"path": "copies", "revoke": true}'
equal "the link that was taken away" "$(answer 'm[0].get("url", "")')" ""
refused PublicLink '{"path": "copies/two.bin", "revoke": true}' Unimplemented 12 CAPABILITY_MISSING
refused PublicLink '{"path": "copies/two.bin", "password": "short"}' InvalidArgument 3 INVALID_FIELD
ok "PublicLink: given, protected, taken away"

call Copy '{"sourcePath": "copies/two.bin", "destinationPath": "copies/two.bin", "writeMode": "WRITE_MODE_KEEP_BOTH"}'
call Dedupe '{"path": "copies"}'
equal "the entries of one path" "$(answer '" ".join(g["path"] + ":" + str(len(g["entries"])) for g in m)')" "copies/two.bin:2"
call Dedupe '{"path": "copies", "mode": "DEDUPE_MODE_RENAME", "validateOnly": true}'
equal "the names that would be given" "$(answer '" ".join(e["path"] for e in m[0]["remaining"])')" "copies/two.bin copies/two-1.bin"
call Dedupe '{"path": "", "recursive": true, "mode": "DEDUPE_MODE_IDENTICAL"}'
equal "what is kept" "$(answer 'm[0]["keptId"] == m[0]["remaining"][0]["id"] and len(m[0]["remaining"])')" 1
call Dedupe '{"path": "", "recursive": true}'
equal "what is left to resolve" "$(answer 'len(m)')" 0
ok "Dedupe: told, foreseen, resolved"

call MoveDir '{"sourcePath": "copies", "destinationPath": "archive/old copies"}'
equal "the moved directory" "$(answer 'm[0]["entry"]["path"] + " " + m[0]["entry"]["type"]')" "archive/old copies ENTRY_TYPE_DIRECTORY"
refused Stat '{"path": "copies"}' NotFound 5 FILE_NOT_FOUND
call Get '{"path": "archive/old copies/two.bin"}'
answer 'b"".join(base64.b64decode(x["chunk"]["data"]) for x in m if "chunk" in x)' | cmp - "$file" \
    || fail "Get does not give what moved with its directory"
refused MoveDir '{"sourcePath": "archive", "destinationPath": "letters"}' AlreadyExists 6 ENTRY_EXISTS
refused MoveDir '{"sourcePath": "archive", "destinationPath": "archive/new/archive"}' InvalidArgument 3 INVALID_PATH
ok "MoveDir"

# purged: what the last answer of Purge says.
purged() { answer '" ".join(str(m[-1].get(x, 0)) for x in ["removedFiles", "removedDirectories", "done"])'; }
call Purge '{"path": "archive", "validateOnly": true}'
equal "what would be purged" "$(purged)" "1 2 True"
call Stat '{"path": "archive/old copies/two.bin"}'
call Purge '{"path": "archive"}'
equal "what was purged" "$(purged)" "1 2 True"
refused Stat '{"path": "archive"}' NotFound 5 FILE_NOT_FOUND
refused Purge '{"path": "archive"}' NotFound 5 DIRECTORY_NOT_FOUND
refused Purge '{}' InvalidArgument 3 INVALID_PATH
ok "Purge"

call Refresh '{"recursive": true}'
equal "something was forgotten" "$(answer 'int(m[0]["droppedDirectories"]) > 0')" True
call GetActivity ""
equal "the remotes of the budget" "$(answer '" ".join(m[0]["budgets"][0]["remotes"])')" fichier
equal "floods" "$(answer 'm[0]["budgets"][0].get("floods", 0)')" 0
ok "Refresh and GetActivity: $(answer 'm[0]["budgets"][0]["callsLastMinute"]')"

# What is refused.
refused Stat '{"path": "a//b"}' InvalidArgument 3 INVALID_PATH
refused Stat '{"path": "../etc"}' InvalidArgument 3 INVALID_PATH
refused Stat '{"remote": "nowhere"}' NotFound 5 REMOTE_NOT_FOUND
refused Get '{"path": "no such file"}' NotFound 5 FILE_NOT_FOUND
refused List '{"path": "no such directory"}' NotFound 5 DIRECTORY_NOT_FOUND
refused Get '{"path": "letters"}' FailedPrecondition 9 IS_A_DIRECTORY
refused Rmdir '{"path": "letters"}' FailedPrecondition 9 DIRECTORY_NOT_EMPTY
refused Get '{"path": "letters/été/a b.bin", "ranges": [{"offset": 300002}]}' OutOfRange 11 RANGE_NOT_SATISFIABLE
refused Hash '{"path": "letters/été/a b.bin", "algorithm": "HASH_ALGORITHM_BLAKE3"}' Unimplemented 12 CAPABILITY_MISSING
refused Put '{"header": {"path": "letters/no commit.bin", "size": "3"}} {"chunk": {"data": "YWJj"}}' Aborted 10 UPLOAD_NOT_COMMITTED
refused Put '{"header": {"path": "letters/gap.bin"}} {"chunk": {"offset": "1", "data": "YWJj"}}' InvalidArgument 3 PROTOCOL_VIOLATION
refused Put '{"header": {"path": "letters/short.bin", "size": "4"}} {"chunk": {"data": "YWJj"}} {"commit": {"size": "3"}}' InvalidArgument 3 SIZE_MISMATCH
refused Put '{"header": {"path": "letters/empty.bin", "size": "0"}} {"commit": {}}' InvalidArgument 3 EMPTY_FILE
refused Put '{"header": {"path": "letters/été/a b.bin", "writeMode": "WRITE_MODE_CREATE_ONLY", "size": "3"}} {"chunk": {"data": "YWJj"}} {"commit": {"size": "3"}}' AlreadyExists 6 ENTRY_EXISTS
call List '{"path": "letters", "types": ["ENTRY_TYPE_FILE"]}'
equal "the files that refused Puts have left" "$(answer 'sum(len(x.get("entries", [])) for x in m)')" 0
ok "refused Puts store nothing"

call Delete '{"targets": [{"path": "letters/été/a b.bin"}, {"path": "letters/none.bin"}]}'
equal "the results of Delete" \
    "$(answer '" ".join(r["path"] + ":" + r.get("failure", {}).get("reason", "OK") for r in m[0]["results"])')" \
    "letters/été/a b.bin:OK letters/none.bin:FILE_NOT_FOUND"
refused Stat '{"path": "letters/été/a b.bin"}' NotFound 5 FILE_NOT_FOUND
ok "Delete"

for method in $methods; do
    [[ " ${called[*]} " == *" $method "* ]] || fail "$method can be called, and nothing here calls it"
done

# The same over TLS, with a token; health is for everybody.
certificate tls
mkdir -p "$work/grpc/health/v1"
cat >"$work/grpc/health/v1/health.proto" <<'END'
syntax = "proto3";
package grpc.health.v1;
message HealthCheckRequest { string service = 1; }
message HealthCheckResponse { enum Status { UNKNOWN = 0; SERVING = 1; NOT_SERVING = 2; } Status status = 1; }
service Health { rpc Check(HealthCheckRequest) returns (HealthCheckResponse); }
END
"$program" token create one --prefix public --state-dir "$work/tls" >"$work/token"
start tls --emulator --state-dir "$work/tls" --grpc-listen 127.0.0.1:0 --tls-cert "$work/tls.pem" --tls-key "$work/tls.key"
over_tls=("$grpcurl" -cacert "$work/tls.pem" -max-time 60)
bearer="authorization: Bearer $(cat "$work/token")"
status=0
"${over_tls[@]}" "$address" list >"$work/tls.list" 2>&1 || status=$?
((status != 0)) && grep -q "valid token" "$work/tls.list" || fail "list without a token: $(cat "$work/tls.list")"
equal "what is listed with a token" "$("${over_tls[@]}" -H "$bearer" "$address" list)" "$services"
"${over_tls[@]}" -proto grpc/health/v1/health.proto -import-path "$work" "$address" grpc.health.v1.Health/Check \
    >"$work/health" 2>&1 || fail "health: $(cat "$work/health")"
grep -q SERVING "$work/health" || fail "health: $(cat "$work/health")"
"${over_tls[@]}" -H "$bearer" -d '{"path": "public/d"}' "$address" "$service/Mkdir" >/dev/null
status=0
"${over_tls[@]}" -H "$bearer" -d '{"path": "private"}' "$address" "$service/Mkdir" >"$work/tls.refused" 2>&1 || status=$?
equal "the exit code outside the prefix" "$status" $((64 + 7))
grep -q PREFIX_FORBIDDEN "$work/tls.refused" || fail "outside the prefix: $(cat "$work/tls.refused")"
stop TERM
ok "TLS and a token"

pid=$server
stop TERM
equal "the number of lines on stdout" "$(wc -l <"$work/server.out")" 1
ok "SIGTERM: exit code 0"
echo "$checks checks with grpcurl"
