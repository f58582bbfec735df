# A static binary in an empty image: no shell, no libc, no package manager.
#
#   docker build -t pluton-fichier .
#   docker run --read-only -v fichier-state:/state -v ./fichier.key:/run/secrets/fichier_key:ro pluton-fichier

ARG RUST_VERSION=1.95

FROM rust:${RUST_VERSION}-bookworm AS builder
RUN apt-get update \
 && apt-get install --yes --no-install-recommends ca-certificates musl-tools \
 && rustup target add "$(uname -m)-unknown-linux-musl"
WORKDIR /source
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
COPY benches benches
COPY src src
RUN cargo build --release --locked --bin pluton-fichier --target "$(uname -m)-unknown-linux-musl" \
 && mkdir -p /image/state /image/run/pluton-fichier \
 && cp "target/$(uname -m)-unknown-linux-musl/release/pluton-fichier" /image/

FROM scratch
LABEL org.opencontainers.image.title="pluton-fichier" \
      org.opencontainers.image.description="gRPC storage backend server for 1Fichier cloud storage"
# The TLS client trusts the authorities of the system, and there is none here.
COPY --from=builder /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY packaging/image/passwd packaging/image/group /etc/
COPY --from=builder /image/pluton-fichier /pluton-fichier
# New volumes take over owner and mode of what they cover.
COPY --from=builder --chown=65532:65532 --chmod=700 /image/state /state
COPY --from=builder --chown=65532:65532 --chmod=700 /image/run/pluton-fichier /run/pluton-fichier
USER 65532:65532
ENV PLUTON_FICHIER_STATE_DIR=/state \
    PLUTON_FICHIER_GRPC_LISTEN=unix:/run/pluton-fichier/grpc.sock \
    PLUTON_FICHIER_HTTP_LISTEN=unix:/run/pluton-fichier/http.sock \
    PLUTON_FICHIER_SERVER=unix:/run/pluton-fichier/grpc.sock \
    PLUTON_FICHIER_API_KEY_FILE=/run/secrets/fichier_key
VOLUME ["/state", "/run/pluton-fichier"]
STOPSIGNAL SIGTERM
# Asks the server itself; makes no call to 1Fichier.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/pluton-fichier", "healthcheck", "--timeout", "5s"]
ENTRYPOINT ["/pluton-fichier"]
CMD ["serve"]
