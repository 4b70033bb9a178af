"""Processes killed at any instant of a pull: one more run, and every message
is there exactly once, with flags and date."""

import contextlib
import glob
import os
import signal
import sqlite3
import subprocess
import time
from pathlib import Path

import pytest

from pull_rig import FORMATS, Account
from rig import (Corpus, assert_same, fill_maildir, local_dovecot, snapshot,
                 wait_for)
from rig import processes

WORKER = "imapsync-pull-worker"
MESSAGES, INSTANTS = 300, 50
# how many of the instants must have hit a living worker for the test to mean
# something
HITS = INSTANTS // 2


def one_of(formats, normal):
    """One format always, the others with --soak."""
    return [name if name == normal else
            pytest.param(name, marks=pytest.mark.soak) for name in formats]


def first_worker(local, running):
    """As soon as there is one; None if the run is over before."""
    while running.poll() is None:
        for pid in local.pids(WORKER):
            return pid
    return None


def drop_stale_locks(home):
    """What is left by a process that was killed in the very moment in which
    it made a new index log. No process id is in it, and Dovecot waits for
    three minutes to see that nobody will ever release it."""
    for path, _dirs, files in os.walk(home):
        for name in files:
            if name.endswith(".newlock"):
                os.unlink(os.path.join(path, name))


class Killed:
    """Runs that are killed, each of a user of its own."""

    def __init__(self, local, remote, users, **keys):
        self.local, self.remote, self.keys = local, remote, keys
        self.users = iter(users)
        self.wanted = snapshot(remote, "anna")

    def account(self):
        return Account(self.local, next(self.users), self.remote,
                       preset="backup", **self.keys)

    def begin(self, account):
        return subprocess.Popen(
            self.local.doveadm_command("-f", "json", *account.run_words()),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def measure(self):
        """How many seconds a worker lives, at least."""
        return min(self._measure_one() for _ in range(3))

    def _measure_one(self):
        account = self.account()
        running = self.begin(account)
        pid = first_worker(self.local, running)
        started = time.monotonic()
        while Path(f"/proc/{pid}/cmdline").exists():
            time.sleep(0.001)
        length = time.monotonic() - started
        said = running.communicate(timeout=120)[0]
        assert running.returncode == 0, said
        self.check(account)
        return length

    def kill_at(self, delay, victims):
        """One run, and the worker or what victims() names killed so many
        seconds after the worker's first sign of life. Returns the account and
        how many processes were hit."""
        account = self.account()
        running = self.begin(account)
        pid = first_worker(self.local, running)
        time.sleep(delay)
        hits = 0
        # the list of processes takes too long to look through once more
        victims = victims or (lambda: processes.living({pid: WORKER}))
        for pid in victims():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                hits += 1
        said = running.communicate(timeout=120)[0]
        assert running.returncode in (0, 75), said
        drop_stale_locks(account.home)
        return account, hits

    def check(self, account):
        assert_same(self.wanted, account.snapshot(), order=False)
        for path in glob.glob(account.state_dir + "/*.sqlite"):
            with contextlib.closing(sqlite3.connect(path)) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == \
                    [("ok",)], path


@pytest.fixture
def local(scratch):
    """Nobody pulls a plug here: no time is lost with syncing."""
    return local_dovecot(scratch, mail_fsync="never")


@pytest.fixture
def killed(remote, local):
    def make(mail_format, folders=None, messages=MESSAGES, users=INSTANTS + 3,
             **keys):
        corpus = Corpus(seed=51, mean=1500, folders=folders)
        fill_maildir(remote, "anna", corpus.messages(messages))
        names = [f"bob{n:02d}" for n in range(users)]
        for name in names:
            local.add_user(name, mail_format=mail_format)
        local.log.allow("killed with signal 9")
        # a storage that is repaired says so
        local.log.allow("(Rebuilding|rebuilding|fscked|Corrupted)")
        local.log.allow("mdbox .*: Duplicate GUID")
        # one that was killed before it could say a word
        local.log.allow("command startup failed, throttling")
        # the lmtp process of a worker that goes on
        local.log.allow("lmtp-client: .*Connection (lost|reset)")
        remote.start()
        local.start()
        return Killed(local, remote, names, **keys)
    return make


def kill_evenly(killed, victims=None, instants=INSTANTS):
    """Returns how many processes were hit."""
    length = killed.measure()
    hits = 0
    for number in range(instants):
        delay = length * number / instants
        account, hit = killed.kill_at(delay, victims)
        hits += hit
        try:
            account.run()
            killed.check(account)
            if number % 5 == 0:
                account.idle_run()
        except AssertionError as error:
            raise AssertionError(
                f"{account.user}, killed at instant {number} of {instants} "
                f"({delay:.3f} of {length:.3f} s): {error}") from error
    return hits


@pytest.mark.parametrize("mail_format", one_of(FORMATS, "maildir"))
def test_worker_direct(killed, local, mail_format):
    runs = killed(mail_format)
    hits = kill_evenly(runs)
    assert hits >= HITS, f"only {hits} workers were killed"


@pytest.mark.parametrize("mail_format", one_of(FORMATS, "sdbox"))
def test_worker_direct_in_batches(killed, local, mail_format):
    """The same with one sync for a batch of messages."""
    local.configure("imapsync_pull_fsync = batch\n")
    runs = killed(mail_format, users=15)
    kill_evenly(runs, instants=12)


@pytest.mark.parametrize("mail_format", one_of(FORMATS, "maildir"))
def test_worker_lmtp(killed, local, mail_format):
    runs = killed(mail_format, folders={"INBOX": 3, "Lists/a": 1},
                  history="lmtp", deliver="lmtp")
    hits = kill_evenly(runs)
    assert hits >= HITS, f"only {hits} workers were killed"


@pytest.mark.parametrize("mail_format", one_of(FORMATS, "mdbox"))
def test_lmtp_and_worker(killed, local, mail_format):
    """Both sides of the LMTP connection at once."""
    runs = killed(mail_format, folders={"INBOX": 1}, users=15,
                  history="lmtp", deliver="lmtp")
    kill_evenly(runs, lambda: local.pids("imapsync-pull-worker") +
                local.pids("lmtp"), 12)


@pytest.mark.parametrize("mail_format", one_of(FORMATS, "sdbox"))
def test_lmtp_alone(killed, local, mail_format):
    """The run may go on over another connection, or end; in neither case is
    anything there twice."""
    runs = killed(mail_format, folders={"INBOX": 1}, users=15,
                  history="lmtp", deliver="lmtp")
    kill_evenly(runs, lambda: local.pids("lmtp"), 12)


def test_service(killed, local):
    """The service dies: its worker ends, and the next run is right."""
    runs = killed("maildir", users=9)

    def victims():
        yield from local.pids("imapsync-pull")
        wait_for(lambda: not local.pids("imapsync-pull-worker"),
                 what="the worker to end")
    kill_evenly(runs, victims, 6)


def test_doveadm(killed, local):
    """Whoever asked has gone: the run stops soon, what it did is kept."""
    runs = killed("maildir", users=9)
    length = runs.measure()
    for number in range(6):
        account = runs.account()
        running = runs.begin(account)
        first_worker(local, running)
        time.sleep(length * number / 6)
        running.terminate() if number % 2 else running.kill()
        running.communicate(timeout=60)
        wait_for(lambda: not local.pids("imapsync-pull-worker"),
                 what="the run to stop")
        drop_stale_locks(account.home)
        account.run()
        runs.check(account)
        account.idle_run()


def test_everything(killed, local):
    """All of Dovecot, at once."""
    local.log.allow("EOF|Permission denied|Timeout|timed out|not accepting")
    runs = killed("mdbox", users=6, folders={"INBOX": 1}, history="lmtp",
                  deliver="lmtp")
    length = runs.measure()
    for number in range(1, 4):
        account = runs.account()
        running = runs.begin(account)
        first_worker(local, running)
        time.sleep(length * number / 4)
        for pid in local.pids():
            with contextlib.suppress(ValueError, ProcessLookupError):
                local.kill(pid)
        running.communicate(timeout=60)
        local.restart()
        drop_stale_locks(account.home)
        account.run()
        runs.check(account)
        account.idle_run()
