#!/usr/bin/env python3
"""Builds the example clients of all languages and runs them against the built server.

Each runs over TCP, over a Unix socket and over TLS with a token against an emulated account with its
limits, while 1Fichier cannot be asked for minutes, and where it is to wait. Packages are installed by name.
"""

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import grpc
from client import KEY, PROGRAM, REPOSITORY, Server, equal, ok
from google.rpc import code_pb2, error_details_pb2, status_pb2

EXAMPLES = REPOSITORY / "examples"
TOOLS = REPOSITORY / "target/ci-tools"
BUILDS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
SIZE = 3 << 20
TIMEOUT = 600


def run(*command, cwd, **variables):
    """Runs a build step; what it prints is shown if it fails."""
    environment = {**os.environ, **variables}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT
    )
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} in {cwd}:\n{done.stdout.decode(errors='replace')[-5000:]}")


def python(directory):
    run(sys.executable, "generate.py", cwd=directory)
    return [sys.executable, "client.py"]


def typescript(directory):
    run("npm", "install", "--no-audit", "--no-fund", cwd=directory)
    run("npm", "run", "build", cwd=directory)
    # Alone in a directory: nothing beside the bundle is needed.
    alone = TOOLS / "bundle"
    shutil.rmtree(alone, ignore_errors=True)
    alone.mkdir(parents=True)
    return ["node", shutil.copy(directory / "dist/client.cjs", alone)]


def go(directory):
    before = {path: path.read_bytes() for path in (directory / "gen").rglob("*.go")}
    run("npx", "--yes", "@bufbuild/buf@1.75.0", "generate", cwd=directory)
    after = {path: path.read_bytes() for path in (directory / "gen").rglob("*.go")}
    if before != after:
        raise AssertionError("the stubs in examples/go/gen were older than the contract; they are made anew now: commit them")
    run("go", "vet", "./...", cwd=directory)
    program = TOOLS / "bin/example-go"
    run("go", "build", "-o", str(program), ".", cwd=directory)
    return [str(program)]


def java(directory):
    run("mvn", "-B", "-q", "package", cwd=directory)
    return ["java", "-jar", str(directory / "target/client.jar")]


def rust(directory):
    run("cargo", "build", "--quiet", "--locked", cwd=directory, CARGO_TARGET_DIR=str(BUILDS))
    return [str(BUILDS / "debug/pluton-fichier-client")]


LANGUAGES = [python, typescript, go, java, rust]


def built(language):
    begin = time.monotonic()
    command = language(EXAMPLES / language.__name__)
    ok(f"{language.__name__}: built in {time.monotonic() - begin:.0f} s")
    return command


def client(command, language, address, **options):
    """Runs a client; its exit code, what it prints, and what it complains of."""
    arguments = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    if language == "java":
        arguments = [part for argument in arguments for part in argument.split("=", 1)]
        arguments = ["--address", address, *arguments]
    else:
        arguments = [f"--address={address}", *arguments]
    done = subprocess.run(
        [*command, *arguments],
        cwd=EXAMPLES / language,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    return done.returncode, done.stdout, done.stderr


def works(what, outcome, language):
    code, out, err = outcome
    if code != 0:
        raise AssertionError(f"{language}, {what}: exit code {code}\n{out}{err}")
    path = f"examples/{language}/demo.bin"
    half = SIZE // 2
    wanted = [
        r"server: pluton-fichier \d+\.\d+\.\d+, remote fichier",
        r"space: \d{12,} bytes free",
        *(f"check {name}: passed" for name in ("reachable", "credentials", "plan", "list")),
        r"check write: skipped: .+",
        *(f"put: {percent} %" for percent in (25, 50, 75, 100)),
        f"put: stored {path}, {SIZE} bytes",
        f"list: {path} {SIZE}",
        f"get: interrupted after {half} bytes, complete: false",
        f"get: resumed at {half}, complete: true, same: true",
        "hash: sha256 [0-9a-f]{64}",
        f"deleted: {path}",
        f'as expected: NOT_FOUND FILE_NOT_FOUND: there is nothing at "{path}"',
        "done",
    ]
    lines = out.splitlines()
    equal(f"{language}, {what}: the number of lines of\n{out}", len(lines), len(wanted))
    for line, pattern in zip(lines, wanted):
        if not re.fullmatch(pattern, line):
            raise AssertionError(f"{language}, {what}: {line!r} is not {pattern!r}")
    ok(f"{language}: {what}")


class Emulator:
    """An emulated account with its documented limits, in which faults can be made."""

    def __init__(self, directory):
        self.log = open(directory / "emulator.log", "wb")
        self.process = subprocess.Popen(
            [PROGRAM, "emulator", "--control", "--api-key", KEY], stdout=subprocess.PIPE, stderr=self.log
        )
        self.url = re.search(rb'"api_url":"([^"]+)"', self.process.stdout.readline())[1].decode()

    def fault(self, endpoint, times, kind):
        """What the next calls of an endpoint meet."""
        body = '{"endpoint": "%s", "times": %d, "kind": %s}' % (endpoint, times, kind)
        request = urllib.request.Request(self.url.removesuffix("/v1") + "/_control/fault", body.encode(), method="POST")
        urllib.request.urlopen(request, timeout=10).close()

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


def long_wait(command, language):
    """Over TCP, while the account cannot be asked for minutes: told at once, and not waited for."""
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        emulator = Emulator(directory)
        try:
            # Asked once in 5 minutes, also when the answer was none.
            emulator.fault("user/info", 1, '{"status": 503}')
            arguments = ["--grpc-listen", "127.0.0.1:0", "--api-url", emulator.url, "--state-dir", str(directory / "state")]
            with Server(directory, "server", *arguments, key=KEY) as server:
                code, out, err = client(command, language, server.addresses[0], size=SIZE, timeout=60)
            pattern = r"error: UNAVAILABLE UPSTREAM_UNAVAILABLE: .+ \(retry in (29\d|30\d)\.\d s\)"
            if code != 1 or not any(re.fullmatch(pattern, line) for line in err.splitlines()):
                raise AssertionError(f"{language}, failing: exit code {code}\n{out}{err}")
            ok(f"{language}: does not wait for minutes, and tells for how long it would have to")
        finally:
            emulator.stop()


class Refusing(grpc.GenericRpcHandler):
    """Answers the first call with UNAVAILABLE and a delay, and the next with another error."""

    DELAY = 1.5

    def __init__(self):
        self.calls = []

    def service(self, details):
        return grpc.unary_unary_rpc_method_handler(self.answer)

    def answer(self, _, context):
        self.calls.append((time.monotonic(), dict(context.invocation_metadata()).get("authorization")))
        if len(self.calls) == 1:
            retry = error_details_pb2.RetryInfo()
            retry.retry_delay.FromMilliseconds(int(self.DELAY * 1000))
            context.set_trailing_metadata([("grpc-retry-pushback-ms", str(int(self.DELAY * 1000)))])
            self.abort(context, code_pb2.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", retry)
        self.abort(context, code_pb2.UNAUTHENTICATED, "TOKEN_INVALID")

    def abort(self, context, code, reason, *details):
        info = error_details_pb2.ErrorInfo(reason=reason, domain="storage.pluton")
        status = status_pb2.Status(code=code, message="refused")
        for detail in (info, *details):
            status.details.add().Pack(detail)
        found = context.trailing_metadata() or ()
        context.set_trailing_metadata((*found, ("grpc-status-details-bin", status.SerializeToString())))
        context.abort(next(one for one in grpc.StatusCode if one.value[0] == code), "refused")


def certificate(directory):
    """A key and a certificate of this address, as files."""
    key, chain = directory / "key.pem", directory / "chain.pem"
    extensions = ["subjectAltName=IP:127.0.0.1", "basicConstraints=critical,CA:false"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-keyout", str(key), "-out", str(chain), "-days", "2", "-subj", "/CN=127.0.0.1"]
    run(*command, *(part for extension in extensions for part in ("-addext", extension)), cwd=directory)
    return key, chain


def token_over_tls(command, language, key, chain):
    """With TLS and a token, against a server of our own that asks to be called again."""
    refusing = Refusing()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[refusing])
    pair = (key.read_bytes(), chain.read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        token = chain.parent / "token"
        token.write_text("a-token\n")
        options = {"ca": str(chain), "token_file": str(token), "timeout": 30}
        code, out, err = client(command, language, f"127.0.0.1:{port}", **options)
    finally:
        server.stop(None).wait()
    if code != 1 or "error: UNAUTHENTICATED TOKEN_INVALID: refused" not in err.splitlines():
        raise AssertionError(f"{language}, TLS: exit code {code}\n{out}{err}")
    equal(f"{language}: the tokens of the calls", [token for _, token in refusing.calls], ["Bearer a-token"] * 2)
    [(first, _), (second, _)] = refusing.calls
    if second - first < Refusing.DELAY * 0.95:
        raise AssertionError(f"{language}: called again after {second - first:.1f} s")
    ok(f"{language}: sends its token over TLS, and calls again after the delay that it is told")
    # Whom nobody vouches for gets no token.
    refusing = Refusing()
    server = grpc.server(ThreadPoolExecutor(2), handlers=[refusing])
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    server.start()
    try:
        flag = ["--tls"]
        code, out, err = client([*command, *flag], language, f"127.0.0.1:{port}", timeout=10)
    finally:
        server.stop(None).wait()
    equal(f"{language}: the exit code for an unknown authority", code, 1)
    equal(f"{language}: calls under an unknown authority", refusing.calls, [])
    ok(f"{language}: refuses a certificate of an unknown authority")


def main():
    # Maven and cargo use both processors by themselves; the others wait for the network.
    with ThreadPoolExecutor(2) as pool:
        commands = dict(zip((language.__name__ for language in LANGUAGES), pool.map(built, LANGUAGES)))
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        socket = f"unix:{directory}/run/grpc.sock"
        key, chain = certificate(directory)
        with Server(directory, "emulated", "--emulator", "--grpc-listen", "127.0.0.1:0", "--grpc-listen", socket) as server:
            for language, command in commands.items():
                for kind, address in zip(["TCP", "a Unix socket"], server.addresses):
                    works(f"over {kind}", client(command, language, address, size=SIZE), language)
        state = directory / "secured"
        made = [PROGRAM, "token", "create", "examples", "--prefix", "examples", "--state-dir", str(state)]
        token = directory / "examples.token"
        token.write_bytes(subprocess.run(made, stdout=subprocess.PIPE, check=True, timeout=30).stdout)
        secured = ["--emulator", "--state-dir", str(state), "--grpc-listen", "127.0.0.1:0", "--tls-cert", str(chain), "--tls-key", str(key)]
        with Server(directory, "secured", *secured) as server:
            for language, command in commands.items():
                outcome = client(command, language, server.addresses[0], size=SIZE, ca=str(chain), token_file=str(token))
                works("over TLS, with a token that reaches examples/ only", outcome, language)
        for language, command in commands.items():
            long_wait(command, language)
            token_over_tls(command, language, key, chain)


if __name__ == "__main__":
    main()
