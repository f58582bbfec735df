#!/usr/bin/env python3
"""Uses the WebDAV face of the built server with the real rclone: a current one and Debian's, if that
was unpacked, or those that are named.

The server has an emulated account without limits. rclone comes over TCP with a token as the
password, and over a Unix socket; as vendor `rclone`, which keeps times, `owncloud`, which reads
checksums too, and `other`, which knows neither. Debian 12's knows no vendor `rclone` and no socket.
"""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

from client import KEY, PROGRAM, REPOSITORY, Server, equal, ok
from rclone import difficult_names, find_rclone

MANY = 5001
DEBIAN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target")) / "ci-tools/rclone-debian/usr/bin/rclone"
OLD = 1_000_000_000


class Emulator:
    """An emulated account without limits, and how often it was called."""

    def __init__(self):
        arguments = ["--limits", "none", "--api-key", KEY]
        self.process = subprocess.Popen([PROGRAM, "emulator", *arguments], stdout=subprocess.PIPE)
        ready = json.loads(self.process.stdout.readline())
        self.url = ready.get("api_url") or f"http://{ready['address']}/v1"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()


class Rclone:
    """The real program, with remotes of its own."""

    def __init__(self, program, directory):
        self.program, self.directory = program, directory
        self.config = directory / "rclone.conf"

    def remote(self, name, url, *options):
        self.run("config", "create", name, "webdav", "url", url, *options, "--obscure", "--non-interactive")

    def result(self, *arguments, stdin=None):
        return subprocess.run(
            [self.program, *arguments, "--config", self.config, "--cache-dir", self.directory / "cache"],
            env={"PATH": os.environ["PATH"], "HOME": str(self.directory)},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=300,
        )

    def run(self, *arguments, stdin=None):
        done = self.result(*arguments, stdin=stdin)
        if done.returncode != 0:
            raise AssertionError(f"rclone {arguments}: {done.returncode}\n{done.stderr.decode()[-3000:]}")
        return done.stdout.decode()

    def listed(self, path):
        return {entry["Path"]: entry for entry in json.loads(self.run("lsjson", "-R", path)) if not entry["IsDir"]}

    def vendors(self):
        """The first one keeps times."""
        known = '"rclone"' in self.run("help", "backend", "webdav")
        return [*(["rclone"] if known else []), "owncloud", "other"]


def fill(directory):
    """A local tree with sizes from one byte to more than is buffered."""
    for number, size in enumerate([1, 100, 4096, 70_000, 1 << 20, 17 << 20]):
        file = directory / f"d{number % 3}" / f"file {number} & é.bin"
        file.parent.mkdir(parents=True, exist_ok=True)
        block = hashlib.sha512(str(number).encode()).digest()
        file.write_bytes((block * (size // len(block) + 1))[:size])
        os.utime(file, (OLD + number, OLD + number))


def transfers(rclone, remote, local, vendor):
    top = f"{remote}:tree-{vendor}"
    rclone.run("copy", local, top)
    rclone.run("check", "--download", local, top)
    listed = rclone.listed(top)
    equal("the files", len(listed), 6)
    ok(f"{vendor}: copy, lsjson -R and check --download")
    if vendor != "other":
        for path, entry in listed.items():
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(os.stat(local / path).st_mtime))
            equal(f"the time of {path}", entry["ModTime"][:19], stamp)
        again = rclone.result("sync", local, top, "-v").stderr.decode()
        if "There was nothing to transfer" not in again:
            raise AssertionError("a second sync has transferred something:\n" + again[-2000:])
        ok(f"{vendor}: times are kept, and a second sync transfers nothing")
    if vendor == "owncloud":
        told = rclone.run("hashsum", "md5", top)
        for path in listed:
            if hashlib.md5((local / path).read_bytes()).hexdigest() + "  " + path not in told:
                raise AssertionError(f"no MD5 of {path}:\n{told}")
        rclone.run("check", local, top)
        ok(f"{vendor}: checksums are told and checked")
    name = sorted(listed)[0]
    rclone.run("moveto", f"{top}/{name}", f"{top}/new/moved.bin")
    rclone.run("copyto", f"{top}/new/moved.bin", f"{top}/new/copied.bin")
    rclone.run("moveto", f"{top}/new", f"{top}/newer")
    moved = rclone.listed(top)
    if name in moved or not {"newer/moved.bin", "newer/copied.bin"} <= set(moved):
        raise AssertionError(f"after the moves: {sorted(moved)}")
    if vendor != "other":
        equal("the time of a copy", moved["newer/copied.bin"]["ModTime"], listed[name]["ModTime"])
    ok(f"{vendor}: moveto of a file and a directory, copyto")
    rclone.run("rcat", f"{top}/streamed", stdin=b"x" * 300_000)
    equal("what was streamed", len(rclone.run("cat", f"{top}/streamed")), 300_000)
    equal("a part", rclone.run("cat", "--offset", "10", "--count", "5", f"{top}/streamed"), "xxxxx")
    rclone.run("deletefile", f"{top}/streamed")
    (local / "empty").touch()
    failed = rclone.result("copy", local / "empty", top, "--retries", "1")
    (local / "empty").unlink()
    if failed.returncode == 0 or b"cannot store empty files" not in failed.stderr:
        raise AssertionError(f"an empty file: {failed.stderr.decode()[-1000:]}")
    ok(f"{vendor}: rcat, ranges, deletefile, and why an empty file is refused")
    rclone.run("purge", top)
    gone = rclone.result("lsjson", top)
    equal("the exit code of a listing of what was purged", gone.returncode, 3)
    ok(f"{vendor}: purge")


def names(rclone, remote, directory):
    local = directory / "names"
    local.mkdir()
    # rclone's own local backend does not find all names with its quote character again.
    kept = [name for name in difficult_names() if "\u201b" not in name and "/" not in name][:100]
    for name in kept:
        (local / name).write_bytes(hashlib.sha512(name.encode()).digest())
    rclone.run("copy", local, f"{remote}:names", "--transfers", "8")
    equal("the names", sorted(rclone.listed(f"{remote}:names")), sorted(rclone.listed(str(local))))
    rclone.run("check", "--download", local, f"{remote}:names", "--checkers", "8")
    rclone.run("purge", f"{remote}:names")
    ok(f"{len(kept)} difficult names")


def restic_through(rclone, remote, directory):
    """restic has rclone serve its protocol, and that is a client of the server."""
    program = shutil.which("restic")
    if program is None:
        print("skipped: there is no restic", flush=True)
        return
    source, restored = directory / "source", directory / "restored"
    source.mkdir()
    fill(source)
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory), "RESTIC_PASSWORD": "secret"}
    environment["RCLONE_CONFIG"] = str(rclone.config)
    repository = ["-r", f"rclone:{remote}:repository", "-o", f"rclone.program={rclone.program}", "--no-cache"]
    for words in [
        ["init"],
        ["backup", "."],
        ["backup", "."],
        ["forget", "--keep-last", "1", "--prune"],
        ["check", "--read-data"],
        ["restore", "latest", "--target", restored],
    ]:
        done = subprocess.run(
            [program, *repository, *words], cwd=source, env=environment, timeout=300, capture_output=True
        )
        if done.returncode != 0:
            raise AssertionError(f"restic {words}: {done.returncode}\n{done.stderr.decode()[-3000:]}")
    for file in source.rglob("*"):
        if file.is_file():
            equal(f"what was restored of {file}", (restored / file.relative_to(source)).read_bytes(), file.read_bytes())
    rclone.run("purge", f"{remote}:repository")
    ok("restic through rclone serve restic")


def many(rclone, remote, directory, count):
    local = directory / "many"
    local.mkdir()
    for number in range(count):
        (local / f"{number:05}").write_bytes(str(number).encode())
    rclone.run("copy", local, f"{remote}:many", "--transfers", "64")
    equal("the files of a large folder", len(rclone.listed(f"{remote}:many")), count)
    rclone.run("purge", f"{remote}:many")
    ok(f"{count} files in one folder")


def main():
    # Never the one that happens to be on the PATH.
    programs = sys.argv[1:] or [find_rclone(), *([DEBIAN] if DEBIAN.exists() else [])]
    for place, program in enumerate(programs):
        # rclone makes a request each 10 ms at the most: this takes four minutes.
        all_of(program, MANY if place == 0 else MANY // 10)


def all_of(rclone_program, count):
    with tempfile.TemporaryDirectory() as temporary, Emulator() as emulator:
        directory = pathlib.Path(temporary)
        state, socket = directory / "state", directory / "http.sock"
        state.mkdir(mode=0o700)
        made = subprocess.run(
            [PROGRAM, "token", "create", "rclone", "--state-dir", state], stdout=subprocess.PIPE, check=True, timeout=30
        )
        token = made.stdout.decode().strip()
        arguments = ["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--http-listen", f"unix:{socket}"]
        arguments += ["--state-dir", state, "--api-url", emulator.url]
        with Server(directory, "server", *arguments, key=KEY) as server:
            rclone = Rclone(rclone_program, directory)
            print(rclone.run("version").splitlines()[0], flush=True)
            url = f"http://{server.ready['http_addresses'][0]}/dav/fichier"
            vendors = rclone.vendors()
            first = vendors[0]
            for vendor in vendors:
                rclone.remote(vendor, url, "vendor", vendor, "user", "anybody", "pass", token)
            rclone.remote("wrong", url, "vendor", first, "user", "undefined", "pass", "undefined")
            refused = rclone.result("lsd", "wrong:")
            if b'came as "undefined"' not in refused.stderr:
                raise AssertionError(refused.stderr.decode())
            ok("a form that was left empty is explained")
            local = directory / "local"
            fill(local)
            for vendor in vendors:
                transfers(rclone, vendor, local, vendor)
            used = json.loads(rclone.run("about", "--json", f"{first}:"))
            if used["free"] <= 0:
                raise AssertionError(used)
            ok("about")
            names(rclone, first, directory)
            restic_through(rclone, "owncloud", directory)
            if "unix-socket" in rclone.run("help", "flags", "webdav"):
                rclone.remote("socket", "http://localhost/dav/fichier", "vendor", first, "unix_socket", str(socket))
                rclone.run("copy", local, "socket:over/socket")
                rclone.run("check", "--download", local, "socket:over/socket")
                rclone.run("purge", "socket:over")
                ok("over a Unix socket")
            many(rclone, first, directory, count)


if __name__ == "__main__":
    main()
