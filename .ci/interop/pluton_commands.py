#!/usr/bin/env python3
"""Does what Pluton does with a storage, by the programs that it does it with, unmodified.

The commands, their arguments and the few variables that they see are Pluton's: adding a storage and
verifying it, a plan with its backup runs of six restic processes each, retention, an integrity check,
a restore, the backup of Pluton itself, and the removal of all that. The storage is the server's WebDAV
face on an account with 1Fichier's documented limits; then the same on one without limits. `--compare`
does the same with rclone's own fichier backend, without limits and with them, and cuts it off after
`--limit` seconds. To the end that takes five minutes, and 50.
"""

import argparse
import contextlib
import filecmp
import json
import os
import pathlib
import random
import shutil
import subprocess
import tempfile
import time

from client import KEY, PROGRAM, Server, equal, ok
from rclone import Proxy, find_rclone
from restic import Account, find_restic

STORAGE = "onefichier"
PLAN, RUNS = "plan-1", 3


class CutOff(Exception):
    """The time is over."""


class Pluton:
    """The two programs as Pluton starts them."""

    def __init__(self, directory, surroundings, until=None):
        rclone = find_rclone()
        self.directory, self.until, self.steps = directory, until, []
        # Pluton brings a new one.
        self.rclone_program, self.restic_program = rclone, find_restic()[-1]
        config = directory / "config/rclone.conf"
        config.parent.mkdir()
        # Not what this process sees: a list of its own.
        self.environment = {
            "PATH": f"{rclone.parent}:{os.environ['PATH']}",
            "RCLONE_CONFIG": str(config),
            "LOCALAPPDATA": "",
            "RCLONE_CONFIG_PASS": "encryption-key",
            **surroundings,
        }

    def run(self, command, environment):
        left = None if self.until is None else self.until - time.monotonic()
        if left is not None and left <= 0:
            raise CutOff
        with subprocess.Popen(
            [str(part) for part in command],
            env=environment,
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                out, errors = process.communicate(timeout=600 if left is None else left)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.communicate()
                if left is None:
                    raise
                raise CutOff from None
        if process.returncode != 0:
            raise AssertionError(f"{command}: {process.returncode}\n{out[-1500:]}\n{errors[-3000:]}")
        self.steps.append(str(command[1]))
        # What comes back where nothing is printed.
        return out.strip() or errors.strip()

    def rclone(self, *arguments):
        return self.run([self.rclone_program, *arguments], self.environment)

    def restic(self, *arguments):
        cache = self.directory / "tmp/pluton/restic-cache"
        always = ["-o", f"rclone.program={self.rclone_program.name}", "--cache-dir", cache]
        return self.run([self.restic_program, *arguments, *always], {**self.environment, "RESTIC_PASSWORD": "encryption-key"})


def fill(directory, seed, megabytes):
    """Files of all sizes, of which no two are the same."""
    source = random.Random(seed)
    directory.mkdir(parents=True, exist_ok=True)
    for number in range(40):
        (directory / f"small {seed}-{number}").write_bytes(source.randbytes(1 + number * 500))
    for number in range(megabytes // 4):
        (directory / f"large {seed}-{number}").write_bytes(source.randbytes(4 << 20))


def backup_run(pluton, repository, source, number):
    """Six processes, one after the other."""
    tag = f"plan-{PLAN}"
    pluton.restic("backup", source, "-r", repository, "--tag", tag, "--json", "--dry-run")
    pluton.restic("unlock", "-r", repository)
    pluton.restic("backup", source, "-r", repository, "--tag", tag, "--tag", f"backup-{number}", "--json")
    # Two are kept, so that the third run drops one and prunes.
    pluton.restic("forget", "--prune", "--tag", tag, "-r", repository, "--keep-last", "2", "--json")
    stats = json.loads(pluton.restic("stats", "--json", "-r", repository, "--tag", tag, "--mode", "raw-data"))
    snapshots = json.loads(pluton.restic("snapshots", "--tag", tag, "--json", "-r", repository))
    equal("the snapshots", len(snapshots), min(number, 2))
    if stats["total_size"] <= 0:
        raise AssertionError(f"no size: {stats}")
    return snapshots


def whole_life(pluton, create, megabytes):
    """All that Pluton does with a storage, from its first to its last command."""
    source, repository = pluton.directory / "source", f"rclone:{STORAGE}:{PLAN}"
    fill(source, 1, megabytes)
    create(pluton)
    pluton.rclone("lsd", f"{STORAGE}:")  # proves the new storage
    pluton.rclone("lsd", f"{STORAGE}:")  # the button
    pluton.restic("-r", repository, "init", "--verbose")
    for number in range(1, RUNS + 1):
        fill(source / f"more {number}", 10 + number, megabytes // 8)
        if number == RUNS:
            shutil.rmtree(source / "more 1")
        snapshots = backup_run(pluton, repository, source, number)
    pluton.restic("check", "-r", repository, "--read-data")
    target = pluton.directory / "restored"
    pluton.restic("unlock", "-r", repository)
    pluton.restic("restore", snapshots[-1]["short_id"], "-r", repository, "--target", target, "--json")
    same(source, target / source.relative_to("/"))
    # Pluton's own data.
    own = pluton.directory / "pluton-backup.zip"
    own.write_bytes(random.Random(5).randbytes(3 << 20))
    for number in range(2):
        pluton.rclone("copyto", own, f"{STORAGE}:self-backup/{number}.zip")
    listed = json.loads(pluton.rclone("lsjson", f"{STORAGE}:self-backup"))
    equal("its own backups", sorted(entry["Size"] for entry in listed), [3 << 20] * 2)
    pluton.rclone("copyto", f"{STORAGE}:self-backup/1.zip", pluton.directory / "back.zip")
    equal("its own backup, read back", (pluton.directory / "back.zip").read_bytes() == own.read_bytes(), True)
    pluton.rclone("deletefile", f"{STORAGE}:self-backup/0.zip")
    pluton.rclone("purge", f"{STORAGE}:{PLAN}")
    pluton.rclone("config", "delete", STORAGE)


def same(one, other):
    compared = filecmp.dircmp(one, other)
    differing = filecmp.cmpfiles(one, other, compared.common_files, shallow=False)
    equal(f"what differs in {one}", [compared.left_only, compared.right_only, differing[1], differing[2]], [[], [], [], []])
    for name in compared.common_dirs:
        same(one / name, other / name)


def by_webdav(limits, megabytes):
    """Calls, floods, seconds and commands by way of the server."""
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        account = Account(stack, directory, limits)
        state = directory / "state"
        made = [PROGRAM, "token", "create", "pluton", "--state-dir", str(state)]
        token = subprocess.run(made, stdout=subprocess.PIPE, check=True, timeout=30, text=True).stdout.strip()
        rate = ["--calls-per-second", "0"] if limits == "none" else []
        places = ["--grpc-listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0", "--state-dir", str(state)]
        server = stack.enter_context(Server(directory, "server", *places, "--api-url", f"{account.url}/v1", *rate, key=KEY))
        url = f"http://{server.ready['http_addresses'][0]}/dav/fichier/"

        def create(pluton):
            # The form has but the URL; what stands in the advanced settings follows, and wins.
            form = ["url", url, "user", "undefined", "pass", "undefined"]
            settings = ["user", "pluton", "pass", token, "vendor", "rclone"]
            pluton.rclone("config", "create", STORAGE, "webdav", *form, *settings, "--obscure", "--non-interactive")

        pluton = Pluton(directory, {})
        begin = time.monotonic()
        whole_life(pluton, create, megabytes)
        seconds = time.monotonic() - begin
        return account.calls(), seconds, len(pluton.steps)


def by_fichier(limits, megabytes, limit):
    """The same by rclone's own backend; what it did until it was cut off."""
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory()))
        account = Account(stack, directory, limits, tls=True)
        emulator = account.emulator
        surroundings = {"HTTPS_PROXY": Proxy(emulator.port).url, "RCLONE_CA_CERT": str(emulator.ca)}

        def create(pluton):
            pluton.rclone("config", "create", STORAGE, "fichier", "api_key", KEY, "--obscure", "--non-interactive")

        begin = time.monotonic()
        pluton, end = Pluton(directory, surroundings, begin + limit), "to the end"
        try:
            whole_life(pluton, create, megabytes)
        except CutOff:
            end = "cut off"
        except AssertionError as error:
            end = f"failed: {str(error).strip().splitlines()[-1][:200]}"
        return account.calls(), time.monotonic() - begin, len(pluton.steps), end


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=32, help="how much the first backup holds")
    parser.add_argument("--compare", action="store_true", help="also with rclone's own fichier backend")
    parser.add_argument("--limit", type=int, default=900, help="seconds until that is cut off")
    options = parser.parse_args()
    made, seconds, steps = by_webdav("documented", options.megabytes)
    calls = made["total_v1"]
    ok(f"{steps} commands of Pluton by WebDAV, under the documented limits: {calls} calls, {made['floods']} floods, {seconds:.0f} s")
    print(f"    {json.dumps(made['calls'])}")
    equal("floods", made["floods"], 0)
    free, fastest, _ = by_webdav("none", options.megabytes)
    ok(f"the same without limits: {free['total_v1']} calls, {fastest:.0f} s; {seconds / fastest:.2f} times as long with them")
    print(f"    {calls} calls, of which 3 are allowed in a second, take {calls / 3:.0f} s: {calls / 3 / fastest:.2f} times as long")
    if options.compare:
        for limits in ["none", "documented"]:
            others, taken, done, end = by_fichier(limits, options.megabytes, options.limit)
            theirs = others["total_v1"]
            print(f"rclone's fichier backend, limits: {limits}: {done} of {steps} commands ({end}), {theirs} calls, {others['floods']} floods, {taken:.0f} s")
            print(f"    {json.dumps(others['calls'])}")
            print(f"    {theirs / calls:.1f} times the calls, {taken / seconds:.1f} times the time, for {done} of {steps} commands")


if __name__ == "__main__":
    main()
