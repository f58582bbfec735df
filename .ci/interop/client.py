#!/usr/bin/env python3
"""Uses the built server from Python, with code that is generated from the proto.

Starts the server by itself, on TCP and on a Unix socket, and ends it.
"""

import contextlib
import hashlib
import importlib
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import grpc
from google.rpc import code_pb2, error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
from grpc_status import rpc_status
from grpc_tools import protoc

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "release/pluton-fichier"
SERVICE = "pluton.storage.v1.StorageBackend"
CHUNK = 256 << 10
TIMEOUT = 120
# A loopback port that nobody can listen on, and a key that belongs to nobody.
NOWHERE = "http://127.0.0.1:1/v1"
KEY = "demo-key_for=the-local_emulator="

checks = 0


def ok(text):
    global checks
    checks += 1
    print("ok:", text, flush=True)


def equal(what, got, wanted):
    if got != wanted:
        raise AssertionError(f"{what}: {got!r} instead of {wanted!r}")


def generate(directory):
    """The modules that protoc makes of the contract."""
    protos = sorted(str(path) for path in (REPOSITORY / "proto").rglob("*.proto"))
    include = pathlib.Path(protoc.__file__).parent / "_proto"
    arguments = ["protoc", f"-I{REPOSITORY / 'proto'}", f"-I{include}"]
    arguments += [f"--python_out={directory}", f"--grpc_python_out={directory}"]
    equal("the exit code of protoc", protoc.main(arguments + protos), 0)
    sys.path.insert(0, str(directory))
    modules = ["storage_pb2", "storage_pb2_grpc", "types_pb2"]
    return [importlib.import_module(f"pluton.storage.v1.{name}") for name in modules]


class Server:
    """A server that runs inside a `with`, and must end well at its end."""

    def __init__(self, directory, name, *arguments, key=None):
        self.log = directory / f"{name}.log"
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PLUTON_FICHIER_")}
        if key:
            environment["PLUTON_FICHIER_API_KEY"] = key
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "serve", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env=environment,
            )
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the server did not start: " + self.log.read_text())
        self.ready = json.loads(line)
        self.addresses = self.ready["addresses"]

    def stop(self):
        begin = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        equal("the exit code after SIGTERM", self.process.wait(timeout=10), 0)
        elapsed = time.monotonic() - begin
        if elapsed > 2:
            raise AssertionError(f"the server took {elapsed:.1f} s to stop")
        equal("stdout after the ready line", self.process.stdout.read(), b"")
        return elapsed

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        try:
            if kind is None and self.process.poll() is None:
                self.stop()
        except BaseException:
            kind = True
            raise
        finally:
            if self.process.poll() is None:
                self.process.kill()
                self.process.wait()
            self.process.stdout.close()
            if kind is not None:
                print(f"--- {self.log.name}\n{self.log.read_text()[-10000:]}", file=sys.stderr)


class Client:
    """What a program in Python would write around the stub."""

    def __init__(self, address):
        # On a Unix socket gRPC's C core would send the escaped path as :authority, which is no
        # host name, and which the server's HTTP/2 library refuses with PROTOCOL_ERROR.
        options = [("grpc.default_authority", "localhost")] if address.startswith("unix:") else []
        self.channel = grpc.insecure_channel(address, options=options)
        self.stub = storage_grpc.StorageBackendStub(self.channel)

    def close(self):
        self.channel.close()

    def put(self, path, data, *, known=True, commit=True, **header):
        def messages():
            # Whoever knows the size in advance knows the checksum too; others tell it at the end.
            sums = [types.Checksum(algorithm=types.HASH_ALGORITHM_SHA256, hex=sha256(data))]
            ahead = {"size": len(data), "checksums": sums} if known else {}
            yield storage.PutRequest(header=storage.PutHeader(path=path, **ahead, **header))
            for offset in range(0, len(data), CHUNK):
                piece = data[offset : offset + CHUNK]
                yield storage.PutRequest(chunk=types.Chunk(offset=offset, data=piece))
            if commit:
                yield storage.PutRequest(commit=storage.PutCommit(size=len(data), checksums=[] if known else sums))

        return self.stub.Put(messages(), timeout=TIMEOUT).entry

    def get(self, path, ranges=(), **fields):
        """The entry, the content and the trailer."""
        asked = [
            types.ByteRange(offset=offset, **({} if length is None else {"length": length}))
            for offset, length in ranges
        ]
        request = storage.GetRequest(path=path, ranges=asked, **fields)
        header, trailer, parts = None, None, []
        for message in self.stub.Get(request, timeout=TIMEOUT):
            kind = message.WhichOneof("payload")
            if trailer or (kind == "header") != (header is None):
                raise AssertionError(f"a {kind} came out of order")
            if kind == "header":
                header = message.header
                expected = [(at.offset, at.offset + at.length) for at in header.resolved_ranges]
            elif kind == "trailer":
                trailer = message.trailer
            else:
                chunk = message.chunk
                equal("the offset of a chunk", chunk.offset, expected[0][0])
                expected[0] = (chunk.offset + len(chunk.data), expected[0][1])
                if expected[0][0] == expected[0][1]:
                    expected.pop(0)
                parts.append(chunk.data)
        if trailer is None:
            raise AssertionError("a read without a trailer")
        data = b"".join(parts)
        equal("sent_bytes", trailer.sent_bytes, len(data))
        return header.entry, data, trailer

    def pages(self, path="", **fields):
        return list(self.stub.List(storage.ListRequest(path=path, **fields), timeout=TIMEOUT))

    def names(self, path="", **fields):
        return [entry.path for page in self.pages(path, **fields) for entry in page.entries]

    def stat(self, path):
        return self.stub.Stat(storage.StatRequest(path=path), timeout=TIMEOUT).entry

    def hash(self, path, algorithm, allow_download=False):
        request = storage.HashRequest(path=path, algorithm=algorithm, allow_download=allow_download)
        return self.stub.Hash(request, timeout=TIMEOUT)

    def delete(self, *paths, **fields):
        targets = [storage.DeleteTarget(path=path) for path in paths]
        request = storage.DeleteRequest(targets=targets, **fields)
        return self.stub.Delete(request, timeout=TIMEOUT).results


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def whirlpool(entry):
    [value] = [sum.hex for sum in entry.checksums if sum.algorithm == types.HASH_ALGORITHM_WHIRLPOOL]
    equal("the digits of a Whirlpool", len(value), 128)
    return value


def refused(code, reason, call):
    """The details of the error that `call` must end with, by type."""
    try:
        call()
    except grpc.RpcError as error:
        status = rpc_status.from_call(error)
        if status is None:
            raise AssertionError(f"an error without details: {error}") from error
        equal("the code", (code_pb2.Code.Name(status.code), error.code().name), (code, code))
        details = {}
        for detail in status.details:
            name = detail.TypeName().rpartition(".")[2]
            details[name] = getattr(error_details_pb2, name)()
            detail.Unpack(details[name])
        info = details["ErrorInfo"]
        equal("the reason", (info.domain, info.reason), ("storage.pluton", reason))
        equal("RetryInfo comes with UNAVAILABLE", "RetryInfo" in details, code == "UNAVAILABLE")
        return status, details
    raise AssertionError(f"no error where {reason} was expected")


def operations(client, folder):
    """The six operations and more, below a directory of its own."""
    sizes = {"known": 100_003, "unknown": 70_001, "large": 20 << 20}
    contents = {name: os.urandom(size) for name, size in sizes.items()}
    path = {name: f"{folder}/{name} – ünï.bin" for name in sizes}

    stored = {}
    for name, data in contents.items():
        entry = stored[name] = client.put(path[name], data, known=name != "unknown")
        equal("the stored entry", (entry.path, entry.size), (path[name], len(data)))
        equal("the type", entry.type, types.ENTRY_TYPE_FILE)
        ok(f"Put of {len(data)} bytes, size {'not ' if name == 'unknown' else ''}announced")

    for name, data in contents.items():
        entry, back, trailer = client.get(path[name])
        equal("the SHA-256 of what came back", sha256(back), sha256(data))
        equal("verified", trailer.verified, True)
        equal("the entry of Get", entry, stored[name])
        equal("the checksum of the trailer", whirlpool(trailer), whirlpool(entry))
    ok("Get: bit for bit the same, verified")

    data = contents["large"]
    for ranges in [[(0, 1)], [(len(data) - 1, None)], [(5, 1 << 20)], [(19 << 20, 9 << 20), (7, 3), (1 << 20, 300_000)]]:
        wanted = b"".join(data[at : None if length is None else at + length] for at, length in ranges)
        _, back, trailer = client.get(path["large"], ranges, chunk_size=100_000)
        equal(f"the content of {ranges}", sha256(back), sha256(wanted))
        equal("verified", trailer.verified, False)
    ok("Get: ranges at the start, the end, beyond the end, and several in any order")

    pages = client.pages(folder, page_size=2)
    equal("the sizes of the pages", [len(page.entries) for page in pages], [2, 1])
    listed = {entry.path: entry for page in pages for entry in page.entries}
    equal("the listed names", list(listed), sorted(path.values()))
    rest = client.names(folder, page_size=2, page_token=pages[0].next_page_token)
    equal("what follows the first page", rest, sorted(path.values())[2:])
    equal("the last token", pages[-1].next_page_token, "")
    ok("List: pages, and on from a token")

    for name in sizes:
        described = client.stat(path[name])
        equal("the entries of Put, Stat and List", [described, listed[path[name]]], [stored[name]] * 2)
        equal("Hash", client.hash(path[name], types.HASH_ALGORITHM_WHIRLPOOL).checksum.hex, whirlpool(described))
    ok("Put, Stat, List and Hash agree on the Whirlpool and all else")

    for algorithm, compute in [
        (types.HASH_ALGORITHM_SHA256, hashlib.sha256),
        (types.HASH_ALGORITHM_SHA1, hashlib.sha1),
        (types.HASH_ALGORITHM_MD5, hashlib.md5),
    ]:
        answer = client.hash(path["known"], algorithm, allow_download=True)
        equal("the checksum", answer.checksum.hex, compute(contents["known"]).hexdigest())
        equal("the algorithm", answer.checksum.algorithm, algorithm)
    ok("Hash: SHA-256, SHA-1 and MD5 as hashlib computes them")

    replaced = os.urandom(12_345)
    entry = client.put(path["known"], replaced)
    equal("the etag changed", entry.etag != stored["known"].etag, True)
    equal("the new content", client.get(path["known"])[1], replaced)
    equal("the names after replacing", client.names(folder), sorted(path.values()))
    _, details = refused("ABORTED", "ETAG_MISMATCH", lambda: client.get(path["known"], if_match_etag=stored["known"].etag))
    equal("the path in the error", details["ErrorInfo"].metadata["path"], path["known"])
    ok("Put replaces; the old etag does not match")

    first = client.put(f"{folder}/again.bin", replaced, request_id=f"id {folder}")
    again = client.put(f"{folder}/again.bin", replaced, request_id=f"id {folder}")
    equal("the repeated Put", again, first)
    ok("Put with a request_id, repeated")

    missing = f"{folder}/missing"
    copy = storage.CopyRequest(source_path=path["large"], destination_path=f"{folder} 2/copy.bin")
    copied = client.stub.Copy(copy, timeout=TIMEOUT).entry
    equal("the copy", (copied.path, copied.size, whirlpool(copied)), (f"{folder} 2/copy.bin", len(data), whirlpool(stored["large"])))
    move = storage.MoveRequest(source_path=copied.path, destination_path=f"{folder} 2/moved.bin")
    moved = client.stub.Move(move, timeout=TIMEOUT).entry
    equal("the content that was copied and moved", sha256(client.get(moved.path)[1]), sha256(data))
    equal("the names after a move", client.names(f"{folder} 2"), [moved.path])
    client.delete(moved.path)
    ok("Copy and Move inside 1Fichier")

    results = client.delete(*path.values(), missing)
    equal("the results of Delete", [(result.path, result.failure.reason) for result in results],
          [(name, "") for name in path.values()] + [(missing, "FILE_NOT_FOUND")])
    equal("the results of Delete, again", [result.failure.reason for result in client.delete(*path.values(), allow_missing=True)], [""] * 3)
    equal("what is left", client.names(folder), [f"{folder}/again.bin"])
    refused("NOT_FOUND", "FILE_NOT_FOUND", lambda: client.get(path["large"]))
    ok("Delete: one result for each file, and they are gone")


def errors(client):
    _, details = refused("INVALID_ARGUMENT", "INVALID_PATH", lambda: client.stat("a//b"))
    equal("the named field", details["BadRequest"].field_violations[0].field, "path")
    _, details = refused("NOT_FOUND", "DIRECTORY_NOT_FOUND", lambda: client.pages("not there"))
    equal("the resource", details["ResourceInfo"].resource_type, "directory")
    _, details = refused("UNIMPLEMENTED", "CAPABILITY_MISSING",
                         lambda: client.put("a", b"abc") and client.hash("a", types.HASH_ALGORITHM_BLAKE3))
    equal("what is missing", details["ErrorInfo"].metadata["capability"], "HASH_BY_DOWNLOAD")
    refused("ABORTED", "UPLOAD_NOT_COMMITTED", lambda: client.put("errors/uncommitted", b"abc", commit=False))
    refused("NOT_FOUND", "DIRECTORY_NOT_FOUND", lambda: client.put("errors/x", b"abc", create_parents=False))
    refused("ALREADY_EXISTS", "ENTRY_EXISTS", lambda: client.put("a", b"abc", write_mode=types.WRITE_MODE_CREATE_ONLY))
    refused("INVALID_ARGUMENT", "EMPTY_FILE", lambda: client.put("errors/empty", b""))
    ok("errors: reasons, fields, resources and capabilities, decoded")

    # A client that goes away in the middle of a Put, and one without time.
    def messages(go_on):
        yield storage.PutRequest(header=storage.PutHeader(path="errors/cancelled", size=2))
        yield storage.PutRequest(chunk=types.Chunk(data=b"x"))
        go_on.wait()

    for end in ["CANCELLED", "DEADLINE_EXCEEDED"]:
        go_on = threading.Event()
        call = client.stub.Put.future(messages(go_on), timeout=0.5)
        if end == "CANCELLED":
            time.sleep(0.2)
            call.cancel()
        else:
            equal("the code", call.exception(timeout=TIMEOUT).code().name, end)
        go_on.set()
    equal("what refused and cancelled Puts have stored", [name for name in client.names(recursive=True) if name.startswith("errors/")], [])
    client.delete("a")
    ok("uncommitted, cancelled and late Puts store nothing")


def parallel(client):
    """Eight threads on one channel, and their files in one directory."""

    def one(number):
        data = os.urandom(50_000 + number * 131_071)
        path = f"parallel/{number}.bin"
        entry = client.put(path, data, known=number % 2 == 0)
        _, back, trailer = client.get(path)
        equal("the content of a thread", sha256(back), sha256(data))
        equal("verified", trailer.verified, True)
        return path, whirlpool(entry), data

    with ThreadPoolExecutor(8) as pool:
        done = sorted(pool.map(one, range(32)))
    pages = client.pages("parallel", page_size=10)
    listed = [(entry.path, whirlpool(entry)) for page in pages for entry in page.entries]
    equal("the listing", listed, [(path, value) for path, value, _ in done])
    with ThreadPoolExecutor(8) as pool:
        sums = list(pool.map(lambda item: client.hash(item[0], types.HASH_ALGORITHM_SHA256, True).checksum.hex, done))
    equal("the SHA-256 of all", sums, [sha256(data) for _, _, data in done])
    results = client.delete(*(path for path, _, _ in done))
    equal("the failures of Delete", [result.failure.reason for result in results], [""] * 32)
    ok("8 threads: 32 files put, read back, hashed and deleted")


def information(client):
    info = client.stub.GetInfo(storage.GetInfoRequest(), timeout=TIMEOUT)
    equal("the server", (info.server_name, list(info.api_packages)), ("pluton-fichier", ["pluton.storage.v1"]))
    equal("the stored hashes", list(info.remotes[0].stored_hashes), [types.HASH_ALGORITHM_WHIRLPOOL])
    answer = client.stub.TestConnection(storage.TestConnectionRequest(check_write=True), timeout=TIMEOUT)
    equal("the failed checks", (answer.healthy, [c for c in answer.checks if c.state != types.CHECK_STATE_PASSED]), (True, []))
    about = client.stub.About(storage.AboutRequest(), timeout=TIMEOUT)
    equal("free and used", about.free_bytes + about.used_bytes, about.total_bytes)
    made = storage.MkdirRequest(path="dirs/a/b", create_parents=True)
    equal("created", [client.stub.Mkdir(made, timeout=TIMEOUT).created for _ in range(2)], [True, False])
    refused("FAILED_PRECONDITION", "DIRECTORY_NOT_EMPTY", lambda: client.stub.Rmdir(storage.RmdirRequest(path="dirs"), timeout=TIMEOUT))
    for path in ["dirs/a/b", "dirs/a", "dirs"]:
        client.stub.Rmdir(storage.RmdirRequest(path=path), timeout=TIMEOUT)
    names = ProtoReflectionDescriptorDatabase(client.channel).get_services()
    equal("the reflected service (v1alpha)", SERVICE in names, True)
    health = health_pb2_grpc.HealthStub(client.channel).Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=TIMEOUT)
    equal("health", health.status, health_pb2.HealthCheckResponse.SERVING)
    ok("GetInfo, TestConnection, About, Mkdir, Rmdir, health, reflection v1alpha")


def unavailable(directory):
    """1Fichier cannot be reached: a repeat can succeed, and nothing is "not found"."""
    arguments = ["--grpc-listen", "127.0.0.1:0", "--state-dir", directory / "state", "--api-url", NOWHERE]
    with Server(directory, "unreachable", *arguments, key=KEY) as server:
        with contextlib.closing(Client(server.addresses[0])) as client:
            _, details = refused("UNAVAILABLE", "UPSTREAM_UNAVAILABLE", lambda: client.stat("a"))
            delay = details["RetryInfo"].retry_delay.ToTimedelta().total_seconds()
            equal("the delay is sensible", 0 < delay <= 3600, True)
            answer = client.stub.TestConnection(storage.TestConnectionRequest(), timeout=TIMEOUT)
            equal("healthy", answer.healthy, False)
            equal("the failed check", [(c.name, c.failure.reason) for c in answer.checks if c.state == types.CHECK_STATE_FAILED],
                  [("reachable", "UPSTREAM_UNAVAILABLE")])
            if KEY in server.log.read_text():
                raise AssertionError("the API key is in the log")
    ok(f"1Fichier out of reach: UNAVAILABLE, RetryInfo {delay:g} s")


def stop_with_clients(directory):
    """Idle connections and streams without an end do not hold the server up."""
    with Server(directory, "stopping", "--emulator", "--grpc-listen", "127.0.0.1:0") as server:
        with contextlib.closing(Client(server.addresses[0])) as client:
            client.stub.GetInfo(storage.GetInfoRequest(), timeout=TIMEOUT)
            watch = health_pb2_grpc.HealthStub(client.channel).Watch(health_pb2.HealthCheckRequest(service=SERVICE))
            equal("the first status", next(watch).status, health_pb2.HealthCheckResponse.SERVING)
            go_on = threading.Event()
            reflection = reflection_pb2_grpc.ServerReflectionStub(client.channel)

            def questions():
                yield reflection_pb2.ServerReflectionRequest(list_services="")
                go_on.wait()

            answers = reflection.ServerReflectionInfo(questions())
            equal("reflection answers", next(answers).HasField("list_services_response"), True)
            elapsed = server.stop()
            go_on.set()
            equal("the status at the end", next(watch).status, health_pb2.HealthCheckResponse.NOT_SERVING)
            for stream in [watch, answers]:
                try:
                    raise AssertionError(f"more came from a server that has ended: {next(stream)}")
                except grpc.RpcError as error:
                    equal("the end of a stream", error.code().name, "UNAVAILABLE")
    ok(f"stops within {elapsed:.2f} s although a client is connected, watches its health and holds a reflection stream")


def main():
    global storage, storage_grpc, types
    if not PROGRAM.exists():
        sys.exit(f"error: {PROGRAM} is missing: cargo build --release")
    with tempfile.TemporaryDirectory() as directory:
        directory = pathlib.Path(directory)
        (directory / "generated").mkdir()
        storage, storage_grpc, types = generate(directory / "generated")
        ok("code generated from the proto")
        socket = f"unix:{directory}/run/grpc.sock"
        with Server(directory, "server", "--emulator", "--grpc-listen", "127.0.0.1:0", "--grpc-listen", socket) as server:
            equal("the second address", server.addresses[1], socket)
            for name, address in zip(["tcp", "unix"], server.addresses):
                print(f"-- over {name}", flush=True)
                with contextlib.closing(Client(address)) as client:
                    operations(client, name)
                    errors(client)
                    parallel(client)
                    information(client)
        unavailable(directory)
        stop_with_clients(directory)
    print(f"{checks} checks with Python")


if __name__ == "__main__":
    main()
