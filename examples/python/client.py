#!/usr/bin/env python3
"""A client of pluton.storage.v1: tests the connection, stores a file, lists it,
reads it with an interruption, hashes and deletes it, and decodes an error."""

import argparse
import hashlib
import os
import pathlib
import random
import sys

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE / "gen"))
try:
    from pluton.storage.v1 import storage_pb2, storage_pb2_grpc, types_pb2
except ImportError:
    sys.exit("error: the code is not generated yet: python3 generate.py")

# Which calls may be repeated by themselves, and how often. A program would ship it as its own file.
SERVICE_CONFIG = HERE.parents[1] / "proto/pluton/storage/v1/storage_grpc_service_config.json"
CHUNK = 256 << 10


def parse():
    env = os.environ.get
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", default=env("PLUTON_FICHIER_SERVER", "127.0.0.1:50051"), help="host:port or unix:/path")
    parser.add_argument("--tls", action="store_true", help="encrypt, and trust the authorities of this machine")
    parser.add_argument("--ca", default=env("PLUTON_FICHIER_CA"), help="encrypt, and trust the authorities in this PEM file")
    parser.add_argument("--token-file", help="file with the access token; the token itself may stand in PLUTON_FICHIER_TOKEN")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for each call")
    parser.add_argument("--size", type=int, default=8 << 20, help="bytes of the file that is stored")
    options = parser.parse_args()
    # Not as an argument: everybody on the machine can read those.
    options.token = env("PLUTON_FICHIER_TOKEN")
    if options.token_file:
        options.token = pathlib.Path(options.token_file).read_text().strip()
    return options


def connect(options):
    settings = [("grpc.service_config", SERVICE_CONFIG.read_text())]
    if options.address.startswith("unix:"):
        # The C core would send the escaped path as :authority, which the server refuses.
        settings.append(("grpc.default_authority", "localhost"))
    if options.ca or options.tls:
        roots = pathlib.Path(options.ca).read_bytes() if options.ca else None
        return grpc.secure_channel(options.address, grpc.ssl_channel_credentials(roots), settings)
    return grpc.insecure_channel(options.address, settings)


class Client:
    """The stub, with what every call carries."""

    def __init__(self, channel, options):
        self.stub = storage_pb2_grpc.StorageBackendStub(channel)
        self.metadata = [("authorization", f"Bearer {options.token}")] if options.token else []
        self.timeout = options.timeout

    def call(self, method, request):
        return getattr(self.stub, method)(request, timeout=self.timeout, metadata=self.metadata)

    def test_connection(self):
        info = self.call("GetInfo", storage_pb2.GetInfoRequest())
        print(f"server: {info.server_name} {info.server_version}, remote {info.remotes[0].name}")
        about = self.call("About", storage_pb2.AboutRequest())
        print(f"space: {about.free_bytes} bytes free")
        answer = self.call("TestConnection", storage_pb2.TestConnectionRequest())
        for check in answer.checks:
            state = types_pb2.CheckState.Name(check.state).removeprefix("CHECK_STATE_").lower()
            print(f"check {check.name}: {state}" + (f": {check.failure.message}" if check.failure.message else ""))
        if not answer.healthy:
            sys.exit("error: the remote does not work")

    def put(self, path, content):
        """Nothing is stored before the commit; the answer comes when the file is verified."""
        checksum = types_pb2.Checksum(algorithm=types_pb2.HASH_ALGORITHM_SHA256, hex=hashlib.sha256(content).hexdigest())

        def messages():
            header = storage_pb2.PutHeader(path=path, size=len(content))
            yield storage_pb2.PutRequest(header=header)
            # gRPC asks for the next message when there is room for it.
            for offset in range(0, len(content), CHUNK):
                data = content[offset : offset + CHUNK]
                yield storage_pb2.PutRequest(chunk=types_pb2.Chunk(offset=offset, data=data))
                before, done = offset * 4 // len(content), (offset + len(data)) * 4 // len(content)
                if done > before:
                    print(f"put: {done * 25} %")
            commit = storage_pb2.PutCommit(size=len(content), checksums=[checksum])
            yield storage_pb2.PutRequest(commit=commit)

        entry = self.call("Put", messages()).entry
        print(f"put: stored {entry.path}, {entry.size} bytes")
        return entry

    def list(self, path):
        for page in self.call("List", storage_pb2.ListRequest(path=path)):
            for failure in page.failures:
                print(f"list: {failure.path}: {failure.failure.message}", file=sys.stderr)
            for entry in page.entries:
                print(f"list: {entry.path} {entry.size}")

    def get(self, path, offset=0, etag="", stop_after=None):
        """The content from `offset` on, and whether it is complete: only with its trailer is it.

        With `stop_after` it leaves after so many bytes, as if the network had failed."""
        ranges = [types_pb2.ByteRange(offset=offset)] if offset else []
        # The etag: what is read later must be the same file.
        stream = self.call("Get", storage_pb2.GetRequest(path=path, ranges=ranges, if_match_etag=etag))
        content, complete = bytearray(), False
        for message in stream:
            kind = message.WhichOneof("payload")
            if kind == "chunk":
                content += message.chunk.data
                if stop_after is not None and len(content) >= stop_after:
                    stream.cancel()
                    break
            elif kind == "trailer":
                complete = True
        return bytes(content), complete

    def hash(self, path):
        algorithm = types_pb2.HASH_ALGORITHM_SHA256
        return self.call("Hash", storage_pb2.HashRequest(path=path, algorithm=algorithm)).checksum.hex

    def delete(self, path):
        """A batch has one result for each file, and each may have failed."""
        request = storage_pb2.DeleteRequest(targets=[storage_pb2.DeleteTarget(path=path)])
        for result in self.call("Delete", request).results:
            if result.HasField("failure"):
                sys.exit(f"error: {result.failure.reason}: {result.failure.message}")
            print(f"deleted: {result.path}")


def explain(error):
    """The text, the reason and the delay of an error: its details are messages of google.rpc."""
    reason = delay = ""
    status = rpc_status.from_call(error)
    for detail in status.details if status else []:
        info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            reason = f" {info.reason}"
        elif detail.Unpack(retry):
            delay = f" (retry in {retry.retry_delay.ToMilliseconds() / 1000:.1f} s)"
    return f"{error.code().name}{reason}: {error.details()}{delay}"


def main():
    options = parse()
    path = "examples/python/demo.bin"
    content = random.Random(1).randbytes(options.size)
    with connect(options) as channel:
        client = Client(channel, options)
        try:
            client.test_connection()
            entry = client.put(path, content)
            client.list("examples/python")

            first, complete = client.get(path, stop_after=len(content) // 2)
            print(f"get: interrupted after {len(first)} bytes, complete: {complete}".lower())
            rest, complete = client.get(path, offset=len(first), etag=entry.etag)
            same = first + rest == content
            print(f"get: resumed at {len(first)}, complete: {complete}, same: {same}".lower())

            checksum = client.hash(path)
            same = same and complete and checksum == hashlib.sha256(content).hexdigest()
            print(f"hash: sha256 {checksum}")
            client.delete(path)
            try:
                client.call("Stat", storage_pb2.StatRequest(path=path))
            except grpc.RpcError as error:
                print("as expected:", explain(error))
        except grpc.RpcError as error:
            sys.exit(f"error: {explain(error)}")
    if not same:
        sys.exit("error: what was read is not what was stored")
    print("done")


if __name__ == "__main__":
    main()
