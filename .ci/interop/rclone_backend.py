#!/usr/bin/env python3
"""Builds rclone with the backend for this server, uses it, and compares it with rclone's own.

A tree with difficult names is copied, synced both ways, checked, deduplicated and served; then the
same work is done by both backends of that program under 1Fichier's documented limits. `--files 2000`
is the full form; what exceeds `--limit` seconds is cut off and told.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

import client
from client import KEY, REPOSITORY, Server, equal, ok
from rclone import Emulator, Proxy, content_of, difficult_names

MODULE = REPOSITORY / "clients/rclone"
PROGRAM = REPOSITORY / "target/ci-tools/bin/rclone-pluton"
API = "https://api.1fichier.com/v1"
# Files of one directory.
CROWD = 100
MODES = ["skip", "first", "newest", "oldest", "rename", "largest", "smallest", "list"]


def build():
    stubs = lambda: {path: path.read_bytes() for path in (MODULE / "gen").rglob("*.go")}
    before = stubs()
    for command in [
        ["npx", "--yes", "@bufbuild/buf@1.75.0", "generate"],
        ["go", "vet", "./..."],
        ["go", "build", "-o", str(PROGRAM), "./cmd/rclone-pluton"],
    ]:
        subprocess.run(command, cwd=MODULE, check=True, stdin=subprocess.DEVNULL)
    if stubs() != before:
        raise AssertionError("the stubs in clients/rclone/gen were older than the contract; they are made anew now: commit them")


def difficult_tree(root, count):
    """Files with difficult names, a third of them in directories that have such names, too."""
    # rclone's own local backend does not find all names with its quote character again.
    names = [name for name in difficult_names() if "\u201b" not in name]
    for number in range(count):
        name = names[number % len(names)]
        folder = root / f"{number // CROWD}"
        if number % 3 == 0:
            folder /= names[number // CROWD]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content_of(f"{number} {name}"))


class Tool:
    """The built rclone, with a remote `p` of this server and a remote `f` of its own fichier backend."""

    def __init__(self, directory):
        config = directory / "rclone.conf"
        config.write_text(f"[p]\ntype = pluton\naddress = unix:{directory}/run/grpc.sock\n[f]\ntype = fichier\napi_key = {KEY}\n")
        self.arguments = ["--config", config, "--cache-dir", directory / "cache"]
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}

    def start(self, *arguments, **pipes):
        command = [PROGRAM, *arguments, *self.arguments]
        return subprocess.Popen(command, env=self.environment, stdin=subprocess.DEVNULL, **pipes)

    def run(self, *arguments, limit=600, expected=0):
        with self.start(*arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                out, errors = process.communicate(timeout=limit)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        if process.returncode != expected:
            raise AssertionError(f"rclone {arguments}: {process.returncode}\n{errors.decode(errors='replace')[-3000:]}")
        return out.decode()

    def files(self, path):
        return sorted(self.run("lsf", "-R", "--files-only", path).splitlines())


class Account:
    """An emulated account, and the program to use it with.

    For `p` with a server on a Unix socket; for `f` under the real host names, to which a proxy leads.
    """

    def __init__(self, stack, remote, limits):
        self.remote = remote
        self.limits = limits
        self.directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        self.tool = Tool(self.directory)
        encrypted = remote == "f"
        emulator = stack.enter_context(Emulator(self.directory, "--control", limits=limits, tls=encrypted))
        self.url = f"{'https' if encrypted else 'http'}://127.0.0.1:{emulator.port}"
        if encrypted:
            self.tool.environment["HTTPS_PROXY"] = Proxy(emulator.port).url
            self.tool.arguments += ["--ca-cert", emulator.ca]
            self.ca = emulator.ca
            return
        rate = ["--calls-per-second", "0"] if limits == "none" else []
        stack.enter_context(self.server("--api-url", f"{self.url}/v1", *rate))

    def server(self, *arguments):
        (self.directory / "run").mkdir(mode=0o700, exist_ok=True)
        places = ["--grpc-listen", f"unix:{self.directory}/run/grpc.sock", "--state-dir", str(self.directory / "state")]
        return Server(self.directory, "server", *places, *arguments, key=KEY)

    def control(self, operation, order=None):
        trusting = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trusting)
        data = None if order is None else json.dumps(order).encode()
        with opener.open(f"{self.url}/_control/{operation}", data, timeout=30) as answer:
            return json.load(answer)

    def calls(self):
        """How many calls were made so far, and how many of them flooded the account."""
        made = self.control("calls")
        return made["total_v1"], made["floods"]

    def files(self):
        """How many files the account holds."""
        return sum(node["kind"].lower() == "file" for node in self.control("tree"))

    def complete(self, local):
        """Ends by way of the server what was cut off, so that the next work begins where it should."""
        self.control("limits", "none")
        self.control("reset", {})
        surroundings = {"HTTPS_PROXY": self.tool.environment["HTTPS_PROXY"], "SSL_CERT_FILE": str(self.ca), "no_proxy": "127.0.0.1"}
        os.environ.update(surroundings)
        with self.server("--api-url", API):
            self.tool.run("copy", local, "p:tree", "--transfers", "64")
        for name in surroundings:
            del os.environ[name]
        self.control("limits", self.limits)
        self.control("reset", {})

    def measured(self, limit, *arguments):
        """Calls, floods and seconds of a command, and whether it came to its end."""
        before, begin, whole = self.calls(), time.monotonic(), True
        try:
            self.tool.run(*arguments, limit=limit)
        except (subprocess.TimeoutExpired, AssertionError) as error:
            # rclone's own backend may give up in its troubles; this one may not.
            whole = False
            if self.remote == "p":
                raise AssertionError(f"{arguments[0]} under limits") from error
        seconds = time.monotonic() - begin
        after = self.calls()
        return after[0] - before[0], after[1] - before[1], seconds, whole


def trees(directory, tool, count):
    local = directory / "local"
    difficult_tree(local, count)
    tool.run("copy", local, "p:tree")
    tool.run("check", "--download", local, "p:tree")
    equal("the number of files", len(tool.files("p:tree")), count)
    ok(f"copy stored {count} files under difficult names, and check --download reads back the same")
    tool.run("copy", "p:tree", directory / "back")
    tool.run("check", local, directory / "back")
    ok("and copy brings them back the same")

    changed = sorted(path for path in local.rglob("*") if path.is_file())
    changed[0].write_bytes(b"of another length than before")
    changed[1].write_bytes(changed[1].read_bytes()[::-1])
    changed[2].unlink()
    (local / "new, too").write_bytes(b"new")
    tool.run("sync", "--checksum", local, "p:tree")
    tool.run("check", "--download", local, "p:tree")
    tool.run("sync", "--fast-list", "--checksum", "p:tree", directory / "back")
    tool.run("check", local, directory / "back")
    ok("sync carries changes both ways, also with --fast-list")
    tool.run("move", "p:tree", "p:moved/tree")
    tool.run("copy", "p:moved/tree", "p:copied")
    tool.run("check", local, "p:copied")
    tool.run("purge", "p:copied")
    ok("move and copy work inside the account, and purge removes")

    both, far = directory / "both", "p:both"
    difficult_tree(both, max(count // 4, 12))
    tool.run("mkdir", far)
    arguments = ["bisync", both, far, "--compare", "size,checksum"]
    tool.run(*arguments, "--resync")
    (both / "here").write_bytes(b"made here")
    (directory / "there").write_bytes(b"made there")
    tool.run("copyto", directory / "there", f"{far}/there")
    gone = tool.files(far)[0]
    tool.run("deletefile", f"{far}/{gone}")
    tool.run(*arguments)
    tool.run("check", both, far)
    equal("what came from there", (both / "there").read_bytes(), b"made there")
    equal("what came from here", tool.run("cat", f"{far}/here"), "made here")
    equal("whether what went there is here", (both / gone).exists(), False)
    ok("bisync brings both sides together")


def dedupe(directory, tool):
    connection = client.Client(f"unix:{directory}/run/grpc.sock")
    for mode in MODES:
        for content in [b"same", b"same", b"longer than others", b"x"]:
            connection.put(f"dedupe/{mode}/file.txt", content, write_mode=client.types.WRITE_MODE_KEEP_BOTH)
        tool.run("dedupe", "--dedupe-mode", mode, f"p:dedupe/{mode}")
        left = tool.files(f"p:dedupe/{mode}")
        wanted = {
            "list": ["file.txt"] * 4,
            "skip": ["file.txt"] * 3,
            "rename": [f"file-{number}.txt" for number in (1, 2, 3)],
        }.get(mode, ["file.txt"])
        equal(f"what dedupe {mode} leaves", left, wanted)
        if mode in ("largest", "smallest"):
            size = int(tool.run("lsf", "--format", "s", f"p:dedupe/{mode}"))
            equal(f"the size of the {mode}", size, {"largest": 18, "smallest": 1}[mode])
    connection.close()
    ok(f"dedupe does what each of its {len(MODES)} modes says")


def web(directory, tool):
    """The VFS, without a mount: reads, ranges, writes, renames."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    log = open(directory / "webdav.log", "wb")
    process = tool.start("serve", "webdav", "p:", "--addr", address, "--vfs-cache-mode", "writes", "--vfs-write-back", "0s", stderr=log)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def ask(method, path, data=None, **headers):
        headers = {name.title(): value for name, value in headers.items()}
        request = urllib.request.Request(f"http://{address}/{path}", data, headers, method=method)
        with opener.open(request, timeout=60) as answer:
            return answer.read()

    try:
        for _ in range(200):
            with contextlib.suppress(OSError):
                socket.create_connection(address.split(":")).close()
                break
            time.sleep(0.05)
        content = bytes(range(256)) * 4096
        ask("MKCOL", "web")
        ask("PUT", "web/file.bin", content)
        equal("what was written", ask("GET", "web/file.bin"), content)
        equal("a part of it", ask("GET", "web/file.bin", range="bytes=1000-1999"), content[1000:2000])
        ask("MOVE", "web/file.bin", destination=f"http://{address}/web/renamed.bin")
        if b"renamed.bin" not in ask("PROPFIND", "web", depth="1"):
            raise AssertionError("a renamed file is not listed")
        ask("PUT", "web/renamed.bin", b"shorter now")
        for _ in range(200):
            if tool.run("lsf", "--format", "ps", "p:web") == "renamed.bin;11\n":
                break
            time.sleep(0.1)
        equal("what is stored", tool.run("cat", "p:web/renamed.bin"), "shorter now")
        ask("DELETE", "web/renamed.bin")
        equal("what is left", tool.files("p:web"), [])
    finally:
        process.terminate()
        process.wait()
        log.close()
    ok("serve webdav reads, seeks, writes, renames and removes")


def compare(count, limit):
    """The same work by both, each with an account of its own under the documented limits."""
    results = {}
    for remote in "pf":
        with contextlib.ExitStack() as stack:
            account = Account(stack, remote, "documented")
            local = account.directory / "local"
            difficult_tree(local, count)
            for work, arguments in {
                "copy": ["copy", local, f"{remote}:tree"],
                "copy again": ["copy", "--checksum", local, f"{remote}:tree"],
                "lsf -R": ["lsf", "-R", f"{remote}:tree"],
                "check --download": ["check", "--download", local, f"{remote}:tree"],
                "purge": ["purge", f"{remote}:tree"],
            }.items():
                if work == "check --download":
                    # With few tokens: a sixteenth of the files.
                    names = sorted(str(path.relative_to(local)) for path in local.rglob("*") if path.is_file())
                    lines = [name for name in names[::16] if not set(name) & set("\r\n")]
                    (account.directory / "some").write_bytes(os.fsencode("\n".join(lines)))
                    arguments = [*arguments, "--files-from-raw", account.directory / "some", "--one-way"]
                outcome = account.measured(600 if remote == "p" else limit, *arguments)
                done = account.files() if work == "copy" else None
                results[work, remote] = (*outcome, done)
                if remote == "p":
                    equal(f"floods of {work}", outcome[1], 0)
                elif work == "copy" and not outcome[3]:
                    account.complete(local)
    print(f"{count} files under the documented limits; rclone's own backend is cut off after {limit} s")
    print(f"{'':18}{'calls':>7}{'fichier':>9}{'ratio':>7}{'floods':>8}{'fichier':>9}{'seconds':>9}{'fichier':>9}{'ratio':>7}")
    for (work, remote), (calls, floods, seconds, *_) in results.items():
        if remote != "p":
            continue
        their_calls, their_floods, their_seconds, whole, done = results[work, "f"]
        # Of a copy that was cut off: for each file.
        share = max(done, 1) / count if done is not None else 1
        line = f"{work:18}{calls:7}{their_calls:9}{their_calls / max(calls, 1) / share:7.1f}{floods:8}{their_floods:9}"
        line += f"{seconds:9.1f}{their_seconds:9.1f}{their_seconds / seconds / share:7.1f}"
        if not whole:
            line += "  cut off or failed" + ("" if done is None else f" after {done} files; ratios are for each file")
        print(line)
    ok("under the documented limits the work is done without a flood")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=48)
    parser.add_argument("--limit", type=float, default=20)
    options = parser.parse_args()
    if not shutil.which("go"):
        print("skipped: there is no Go toolchain")
        return
    build()
    with tempfile.TemporaryDirectory() as generated:
        client.storage, client.storage_grpc, client.types = client.generate(pathlib.Path(generated))
        with contextlib.ExitStack() as stack:
            account = Account(stack, "p", "none")
            directory, tool = account.directory, account.tool
            print(tool.run("version").splitlines()[0], flush=True)
            trees(directory, tool, options.files)
            dedupe(directory, tool)
            web(directory, tool)
        compare(options.files, options.limit)
    print(f"{client.checks} checks with the rclone backend")


if __name__ == "__main__":
    main()
