#!/usr/bin/env bash
# What is in the container image, and how it starts and stops, without a
# container engine: the last stage of the Dockerfile is laid out in a directory
# and run there, read-only, as its user. Needs root.
# shellcheck source=lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

((EUID == 0)) || fail "only root can change the root directory and mount"
host_program=$program
target=$(uname -m)-unknown-linux-musl
profile=${CI_PROFILE:-release}
folder=$([[ $profile == dev ]] && echo debug || echo "$profile")

# The Dockerfile, one instruction a line.
dockerfile=$(sed -e ':a' -e '/\\$/{N;s/\\\n *//;ta' -e '}' "$repository/Dockerfile" | grep -v '^#')
builder=$(sed '/^FROM scratch/,$d' <<<"$dockerfile")

# The builder stage has only what it copies, and .dockerignore lets through.
mkdir "$work/source"
while read -ra copied; do
    for name in "${copied[@]:1:${#copied[@]}-2}"; do
        grep -qxF "!$name" "$repository/.dockerignore" || fail ".dockerignore keeps $name out"
        cp -a "$repository/$name" "$work/source/"
    done
done < <(grep '^COPY' <<<"$builder")

# The static binary, as the builder stage makes it.
if ! command -v musl-gcc >/dev/null; then
    apt-get update -qq
    apt-get install -qq --yes --no-install-recommends musl-tools >/dev/null
fi
HOME=~root
[[ -d $(rustc --print target-libdir --target "$target") ]] || rustup target add "$target"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$repository/target}
(cd "$work/source" && cargo build --quiet --locked --bin pluton-fichier --target "$target" --profile "$profile")
static=$CARGO_TARGET_DIR/$target/$folder/pluton-fichier
[[ $(readelf --program-headers "$static") != *INTERP* ]] || fail "the binary needs a dynamic loader"
[[ $(readelf --dynamic "$static") != *NEEDED* ]] || fail "the binary needs shared libraries"
ok "a static binary for $target: $(($(stat -c %s "$static") >> 20)) MiB ($profile)"

# The last stage, instruction by instruction.
root=$work/root
mkdir "$root"
user='' environment=() entrypoint=() command=() health=() volumes=() signal=''

# list VARIABLE JSON: the strings of a JSON array.
list() { mapfile -t "$1" < <(python3 -c 'import json, sys; print("\n".join(json.loads(sys.argv[1])))' "$2"); }

# copy ARGUMENTS...: COPY of the last stage.
copy() {
    local from='' owner='' mode='' source
    while [[ $1 == --* ]]; do
        case $1 in
            --from=builder) from=builder ;;
            --chown=*) owner=${1#*=} ;;
            --chmod=*) mode=${1#*=} ;;
            *) fail "COPY $1 is not known here" ;;
        esac
        shift
    done
    local sources=("${@:1:$#-1}") destination=$root${!#}
    for source in "${sources[@]}"; do
        case $from:$source in
            builder:/image/pluton-fichier) install -D "$static" "$destination" ;;
            builder:/image/*) mkdir -p "$destination" ;;
            builder:*) install -D -m 644 "$source" "$destination" ;;
            :*) install -D -m 644 -t "$destination" "$repository/$source" ;;
        esac
        if [[ $from:$source == builder:/image/* ]]; then
            grep -qF "/image" <<<"$builder" && grep -qF "${source#/image/}" <<<"$builder" \
                || fail "the builder stage does not make $source"
        fi
    done
    [[ -z $owner ]] || chown "$owner" "$destination"
    [[ -z $mode ]] || chmod "$mode" "$destination"
}

while read -r instruction rest; do
    case $instruction in
        FROM | LABEL) ;;
        # shellcheck disable=SC2086
        COPY) copy $rest ;;
        USER) user=$rest ;;
        ENV) read -ra environment <<<"$rest" ;;
        VOLUME) list volumes "$rest" ;;
        STOPSIGNAL) signal=${rest#SIG} ;;
        HEALTHCHECK) list health "${rest#*CMD }" ;;
        ENTRYPOINT) list entrypoint "$rest" ;;
        CMD) list command "$rest" ;;
        *) fail "the Dockerfile's $instruction is not known here" ;;
    esac
done < <(sed -n '/^FROM scratch/,$p' <<<"$dockerfile")
[[ $user =~ ^[1-9][0-9]*:[1-9][0-9]*$ ]] || fail "the image runs as '$user'"
grep -q "^[a-z]*:x:${user%:*}:" "$root/etc/passwd" || fail "the image's passwd does not know $user"
equal "what is in the image" "$(cd "$root" && find . -type f -printf '%P ' | xargs -n 1 | sort | tr '\n' ' ')" \
    "etc/group etc/passwd etc/ssl/certs/ca-certificates.crt pluton-fichier "
ok "the file set of the last stage: $(du -sm "$root" | cut -f 1) MiB"

# What an engine adds: volumes that take over what they cover, and the secret.
mkdir -p "$root/run/secrets" "$work/secrets"
chmod 711 "$work"
secret=demo-key_for=the-local_emulator=
install -m 400 -o "${user%:*}" /dev/null "$work/secrets/fichier_key"
printf '%s\n' "$secret" >"$work/secrets/fichier_key"
mounts=("$work/secrets" "$root/run/secrets")
for volume in "${volumes[@]}"; do
    kept=$work/volumes/${volume//\//-}
    mkdir -p "$work/volumes"
    cp -a "$root$volume" "$kept"
    mounts+=("$kept" "$root$volume")
done
chmod 711 "$work"

# within COMMAND...: with the image mounted read-only, and nothing of this
# machine's environment.
within() {
    # shellcheck disable=SC2016
    exec unshare --mount --propagation private sh -euc '
        root=$1
        mount --bind "$root" "$root"
        mount -o remount,bind,ro "$root"
        shift
        while [ "$1" != -- ]; do
            mount --bind "$1" "$2"
            shift 2
        done
        shift
        exec "$@"' sh "$root" "${mounts[@]}" -- "$@"
}

# inside COMMAND...: in the image, as its user, with its environment.
inside() {
    within env -i "${environment[@]}" "$(command -v chroot)" --userspec="$user" "$root" "$@"
}

! (within touch "$root/x") 2>"$work/touch.err" || fail "the image can be written to"
grep -q "Read-only file system" "$work/touch.err" || fail "$(cat "$work/touch.err")"

"$host_program" emulator --api-key "$secret" >"$work/emulator.out" 2>"$work/emulator.log" </dev/null &
servers+=("$!")
for ((i = 0; i < 1000; i++)); do
    [[ -s $work/emulator.out ]] && break
    sleep 0.01
done
url=$(json 'm[0]["api_url"]' <"$work/emulator.out")

status=0
(inside "${health[@]}") >"$work/unhealthy.out" 2>&1 || status=$?
((status != 0)) || fail "it is healthy before it is started"

inside "${entrypoint[@]}" "${command[@]}" --api-url "$url" >"$work/image.out" 2>"$work/image.log" </dev/null &
pid=$!
servers+=("$pid")
for ((i = 0; i < 1000; i++)); do
    [[ -s $work/image.out ]] && break
    kill -0 "$pid" 2>/dev/null || fail "the server ended instead of listening"
    sleep 0.01
done
equal "the address" "$(json 'm[0]["address"]' <"$work/image.out")" "unix:/run/pluton-fichier/grpc.sock"
equal "the HTTP address" "$(json 'm[0]["http_addresses"][0]' <"$work/image.out")" "unix:/run/pluton-fichier/http.sock"
equal "the user of the server" "$(stat -c %u:%g "/proc/$pid")" "$user"
(inside "${health[@]}") >"$work/health.out" 2>&1 || fail "the health check: $(cat "$work/health.out")"
ok "starts as $user in a read-only root, and is healthy"

head -c 3000000 /dev/urandom >"$work/content"
(inside "${entrypoint[@]}" put - docs/content.bin) <"$work/content" >"$work/put.out" 2>&1 || fail "put: $(cat "$work/put.out")"
(inside "${entrypoint[@]}" cat docs/content.bin) >"$work/back"
cmp "$work/content" "$work/back"
[[ -n $(find "$work/volumes/-state" -type f -size +0 | head -n 1) ]] || fail "nothing is in the state volume"
ok "stores and fetches a file; the state is in its volume"

stop "$signal"
status=0
(inside "${health[@]}") >"$work/unhealthy.out" 2>&1 || status=$?
((status != 0)) || fail "it is healthy after it has ended"
! grep -qF "$secret" "$work/image.log" || fail "the key is in the log"
ok "SIG$signal ends it in order"

# The unit, where systemd's checker is.
if command -v systemd-analyze >/dev/null; then
    sed "s|/usr/local/bin/pluton-fichier|$static|" "$repository/packaging/pluton-fichier.service" >"$work/pluton-fichier.service"
    systemd-analyze verify "$work/pluton-fichier.service" 2>"$work/unit.err" || fail "the unit: $(cat "$work/unit.err")"
    [[ ! -s $work/unit.err ]] || fail "the unit: $(cat "$work/unit.err")"
    systemd-analyze security --offline=true --threshold=20 "$work/pluton-fichier.service" >"$work/unit.out" 2>&1 \
        || fail "the unit is exposed: $(tail -n 1 "$work/unit.out")"
    ok "the systemd unit: $(tail -n 1 "$work/unit.out" | tr -dc '[:print:]')"
fi

echo "$checks checks of the container image"
