#!/usr/bin/env python3
"""Keeps repositories with the real restic: over TCP, a Unix socket, standard input and output, and by
way of rclone and WebDAV, all at once on one emulated account with 1Fichier's documented limits.

Then one repository is written and read by turns through the server and by restic with rclone's own
fichier backend. `restic.py [MEGABYTES [RESTIC...]]`; restic is the one of the system and the newest
release, if that was built, unless others are named.
"""

import contextlib
import filecmp
import json
import os
import pathlib
import random
import shutil
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

from client import KEY, PROGRAM, REPOSITORY
from rclone import API, Emulator, Proxy, find_rclone

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
PLAIN = {"PATH": os.environ["PATH"], "RESTIC_PASSWORD": "secret"}


def run(command, environment, code=0):
    begin = time.monotonic()
    done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)
    if done.returncode != code:
        raise AssertionError(f"{command}: {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
    return done.stdout, time.monotonic() - begin


class Account:
    """An emulated account, and what it was asked for."""

    def __init__(self, stack, directory, limits, tls=False):
        self.emulator = stack.enter_context(Emulator(directory, "--control", limits=limits, tls=tls))
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.emulator.port}"

    def calls(self):
        """Calls, floods, and the calls of each endpoint."""
        trusting = urllib.request.HTTPSHandler(context=ssl._create_unverified_context())
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), trusting)
        with opener.open(f"{self.url}/_control/calls", timeout=30) as answer:
            return json.load(answer)


class Server:
    """A server of this account, on a TCP port and two Unix sockets."""

    def __init__(self, directory, api, *more, **environment):
        self.socket = directory / "http.sock"
        self.grpc = f"unix:{directory / 'grpc.sock'}"
        arguments = ["--api-url", api, "--grpc-listen", self.grpc, "--state-dir", directory / "state", *more]
        arguments += ["--http-listen", "127.0.0.1:0", "--http-listen", f"unix:{self.socket}"]
        self.log = directory / "server.log"
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [PROGRAM, "serve", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                env={"PATH": os.environ["PATH"], "PLUTON_FICHIER_API_KEY": KEY, **environment},
            )
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the server did not start: " + self.log.read_text())
        self.http = json.loads(line)["http_addresses"][0]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(timeout=30)
        self.process.stdout.close()


class Restic:
    """One program with one repository."""

    def __init__(self, program, directory, repository, options=(), **environment):
        self.command = [program, "-r", repository, *options, "--cache-dir", directory / "cache"]
        self.environment = {**PLAIN, "HOME": str(directory), **environment}
        self.seconds = {}

    def __call__(self, *arguments, code=0):
        text, seconds = run([*self.command, *arguments], self.environment, code)
        self.seconds[arguments[0]] = self.seconds.get(arguments[0], 0) + seconds
        return text


def make_files(directory, megabytes, seed):
    """Many small files, some large ones, and one that compresses well."""
    chance = random.Random(seed)
    directory.mkdir()
    for number in range(200):
        (directory / f"small {number}").write_bytes(chance.randbytes(chance.randrange(1, 20_000)))
    for number in range(4):
        (directory / f"large-{number}").write_bytes(chance.randbytes(megabytes * 250_000 - 500_000))
    (directory / "text").write_bytes(b"the same again and again\n" * 40_000)


def same(left, right):
    """Whether two directories hold the same files with the same bytes."""
    names = sorted(path.relative_to(left) for path in left.rglob("*") if path.is_file())
    if names != sorted(path.relative_to(right) for path in right.rglob("*") if path.is_file()):
        return False
    return all(filecmp.cmp(left / name, right / name, shallow=False) for name in names)


def lead(restic, directory, megabytes):
    """One repository from its beginning to its prune."""
    files = directory / "files"
    make_files(files, megabytes, 1)
    restic("cat", "config", code=restic.missing)
    restic("init")
    restic("init", code=1)
    restic("backup", files)
    (files / "large-0").write_bytes(random.Random(2).randbytes(3_000_000))
    restic("backup", files)
    restic("check", "--read-data")
    restic("unlock")
    restic("restore", "latest", "--target", directory / "back")
    back = directory / "back" / files.relative_to("/")
    if not same(files, back):
        raise AssertionError("what was restored differs")
    snapshots = json.loads(restic("snapshots", "--json"))
    restic("forget", "--keep-last", "1", "--prune")
    restic("stats", "--mode", "raw-data")
    restic("check", "--read-data")
    if (len(snapshots), len(json.loads(restic("snapshots", "--json")))) != (2, 1):
        raise AssertionError("forget left the wrong snapshots")
    if json.loads(restic("list", "locks", "--json") or "[]"):
        raise AssertionError("a lock was left")


def version(program):
    text, _ = run([program, "version"], PLAIN)
    return text.split()[1]


def missing(number):
    """The exit code for a repository that is not there: since 0.17 one of its own."""
    return 10 if tuple(map(int, number.split("-")[0].split(".")[:2])) >= (0, 17) else 1


def find_restic():
    """The program of the system, and behind it the newest release."""
    newest = TARGET / "ci-tools/bin/restic-newest"
    found = [shutil.which("restic"), str(newest) if newest.exists() else None]
    return [program for program in found if program] or sys.exit("error: restic is not installed")


def ways(server, shim, number):
    """Address, options and variables of the repository by each way."""
    dav = f"http://{server.http}/dav/fichier/"
    found = {
        "TCP": (f"rest:http://{server.http}/restic/fichier/tcp/", (), {}),
        "a Unix socket": (f"rest:http+unix://{server.socket}:/restic/fichier/unix/", (), {}),
        "stdio": (
            "rclone:fichier:stdio",
            ("-o", f"rclone.program={shim}"),
            {"PLUTON_FICHIER_HTTP": f"unix:{server.socket}"},
        ),
        "rclone and WebDAV": (
            "rclone:dav:webdav",
            ("-o", f"rclone.program={find_rclone()}"),
            {"RCLONE_CONFIG_DAV_TYPE": "webdav", "RCLONE_CONFIG_DAV_URL": dav, "RCLONE_CONFIG_DAV_VENDOR": "rclone"},
        ),
    }
    if missing(number) == 1:
        # Known since 0.17.
        del found["a Unix socket"]
    return found


def at_once(program, number, directory, megabytes):
    """A repository by each way, all at the same time, and a copy from one to another."""
    shim = directory / "pluton-fichier"
    shim.symlink_to(PROGRAM)
    with contextlib.ExitStack() as stack:
        account = Account(stack, directory, "documented")
        server = stack.enter_context(Server(directory, f"{account.url}/v1"))
        work = {}
        for name, (repository, options, environment) in ways(server, shim, number).items():
            place = directory / name.replace(" ", "-")
            place.mkdir()
            work[name] = (Restic(program, place, repository, options, **environment), place)
            work[name][0].missing = missing(number)
        begin = time.monotonic()
        with ThreadPoolExecutor() as pool:
            leads = [pool.submit(lead, restic, place, megabytes) for restic, place in work.values()]
            for led in leads:
                led.result()
        for name, (restic, _) in work.items():
            steps = ", ".join(f"{step} {seconds:.1f}" for step, seconds in restic.seconds.items())
            print(f"ok: restic {number} over {name}; seconds: {steps}", flush=True)
        begin_copy = time.monotonic()
        (source, _), (copy, _) = work["TCP"], work["stdio"]
        restic = Restic(program, directory, copy.command[2], copy.command[3:5], **copy.environment)
        restic.environment["RESTIC_FROM_PASSWORD"] = "secret"
        restic("copy", "--from-repo", source.command[2])
        if len(json.loads(restic("snapshots", "--json"))) != 2:
            raise AssertionError("the copy is missing")
        print(f"ok: restic {number} copies between two repositories in {time.monotonic() - begin_copy:.1f} s")
        seconds, made = time.monotonic() - begin, account.calls()
        if made["floods"] != 0:
            raise AssertionError(f"1Fichier's limits were overstepped: {made}")
        print(f"ok: {len(work)} at once under the documented limits: {seconds:.1f} s, {made['total_v1']} calls, no flood", flush=True)
        print(f"    {json.dumps(made['calls'])}")


def by_turns(program, number, directory):
    """One repository, through the server and through rclone's own fichier backend."""
    files = directory / "files"
    make_files(files, 8, 3)
    with contextlib.ExitStack() as stack:
        # rclone would be locked out by its own traffic.
        account = Account(stack, directory, "none", tls=True)
        surroundings = {
            "HTTPS_PROXY": Proxy(account.emulator.port).url,
            "SSL_CERT_FILE": str(account.emulator.ca),
        }

        def through_a_server(name):
            """One that knows nothing yet."""
            place = directory / name
            place.mkdir()
            server = stack.enter_context(Server(place, API, **surroundings))
            return Restic(program, place, f"rest:http://{server.http}/restic/fichier/plan/", ("--no-cache",))

        ours = through_a_server("first")
        theirs = Restic(
            program,
            directory,
            "rclone:f:plan",
            ("-o", f"rclone.program={find_rclone()}", "--no-cache"),
            RCLONE_CONFIG_F_TYPE="fichier",
            RCLONE_CONFIG_F_API_KEY=KEY,
            RCLONE_CA_CERT=str(account.emulator.ca),
            HTTPS_PROXY=surroundings["HTTPS_PROXY"],
        )
        ours("init")
        ours("backup", files)
        theirs("check", "--read-data")
        theirs("restore", "latest", "--target", directory / "theirs")
        (files / "small 1").write_bytes(random.Random(4).randbytes(900_000))
        theirs("backup", files)
        ours = through_a_server("second")
        ours("check", "--read-data")
        ours("restore", "latest", "--target", directory / "restored")
        if not same(files, directory / "restored" / files.relative_to("/")):
            raise AssertionError("what rclone stored and the server read differs")
        ours("forget", "--keep-last", "1", "--prune")
        theirs("check", "--read-data")
        for restic in [ours, theirs]:
            if len(json.loads(restic("snapshots", "--json"))) != 1:
                raise AssertionError("forget left the wrong snapshots")
        print(f"ok: restic {number} reads by rclone's fichier backend what came through the server, and the other way", flush=True)


def main():
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    for program in sys.argv[2:] or find_restic():
        number = version(program)
        with tempfile.TemporaryDirectory() as directory:
            at_once(program, number, pathlib.Path(directory), megabytes)
    # By the last one: rclone waits 0.4 s before each of its calls.
    with tempfile.TemporaryDirectory() as directory:
        by_turns(program, number, pathlib.Path(directory))
    print("all passed")


if __name__ == "__main__":
    main()
