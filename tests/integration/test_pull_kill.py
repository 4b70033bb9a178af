"""Processes killed at any instant of a pull: one more run, and every message
is there exactly once, with flags and date."""

import contextlib
import glob
import os
import signal
import sqlite3
import subprocess
import time

import pytest

from pull_rig import FORMATS, Account
from rig import (Corpus, Relay, assert_same, fill_maildir, local_dovecot,
                 snapshot, wait_for)
from rig import processes

WORKER = "imapsync-pull-worker"
MESSAGES, INSTANTS = 300, 50
# At the last of them, the run may be over.
HITS = INSTANTS - 2
# how many seconds behind its byte an instant is
PAUSES = (0, 0.001, 0.002, 0.005, 0.01)


def one_of(formats, normal):
    """One format always, the others with --soak."""
    return [name if name == normal else
            pytest.param(name, marks=pytest.mark.soak) for name in formats]


def drop_stale_locks(home):
    """What is left by a process that was killed in the very moment in which
    it made a new index log. No process id is in it, and Dovecot waits for
    three minutes to see that nobody will ever release it."""
    for path, _dirs, files in os.walk(home):
        for name in files:
            if name.endswith(".newlock"):
                os.unlink(os.path.join(path, name))


class Killed:
    """Runs over a relay, which something happens to at an instant; each of a
    user of its own."""

    def __init__(self, local, remote, relay, users, **keys):
        self.local, self.relay, self.keys = local, relay, keys
        self.users = iter(users)
        self.wanted = snapshot(remote, "anna")
        self.secret = remote.users["anna"].password

    def account(self):
        return Account(self.local, next(self.users), self.relay,
                       secret=self.secret, preset="backup", **self.keys)

    def measure(self):
        """How many bytes the remote says in a run."""
        account = self.account()
        account.run()
        length = self.relay.passed
        self.check(account)
        return length

    def interrupt(self, instant, act):
        """One run, and act(workers, running) when the remote has said so many
        bytes. Returns the account, doveadm's exit code and what it said."""
        account, workers = self.account(), {}
        self.relay.on_connect = lambda: workers.update(
            dict.fromkeys(self.local.pids(WORKER), WORKER))
        running = subprocess.Popen(
            self.local.doveadm_command("-f", "json", *account.run_words()),
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        acted = self.relay.at(instant, lambda: act(workers, running))
        said = running.communicate(timeout=120)[0]
        assert acted.wait(10), f"the run ended before byte {instant}: {said}"
        wait_for(lambda: not self.local.pids(WORKER), what="the run to stop")
        drop_stale_locks(account.home)
        return account, running.returncode, said

    def check(self, account):
        assert_same(self.wanted, account.snapshot(), order=False)
        for path in glob.glob(account.state_dir + "/*.sqlite"):
            with contextlib.closing(sqlite3.connect(path)) as db:
                assert db.execute("PRAGMA integrity_check").fetchall() == \
                    [("ok",)], path

    def check_again(self, account):
        """One more run, and all is well."""
        account.run()
        self.check(account)


@pytest.fixture
def local(scratch):
    """Nobody pulls a plug here: no time is lost with syncing."""
    return local_dovecot(scratch, mail_fsync="never")


@pytest.fixture
def killed(remote, local):
    def make(mail_format, folders=None, messages=MESSAGES, users=INSTANTS + 1,
             **keys):
        corpus = Corpus(seed=51, mean=1500, folders=folders)
        fill_maildir(remote, "anna", corpus.messages(messages))
        names = [f"bob{n:02d}" for n in range(users)]
        for name in names:
            local.add_user(name, mail_format=mail_format)
        local.log.allow("killed with signal 9")
        # a storage that is repaired says so
        local.log.allow("Rebuilding|rebuilding|fscked|Corrupted|"
                        "mdbox.*: Inconsistency in map index")
        local.log.allow("mdbox .*: Duplicate GUID")
        # one that was killed before it could say a word
        local.log.allow("command startup failed, throttling")
        # the lmtp process of a worker that goes on
        local.log.allow("lmtp-client: .*Connection (lost|reset)")
        remote.start()
        local.start()
        relay = relays.enter_context(Relay(remote.port("imap")))
        return Killed(local, remote, relay, names, **keys)

    with contextlib.ExitStack() as relays:
        yield make


def kill_evenly(killed, victims=processes.living, instants=INSTANTS):
    """Kills what victims(workers) names at so many instants, each in the
    middle of its part of the run. Returns how many processes were hit."""
    length = killed.measure()
    hits = 0

    def kill(workers, pause):
        nonlocal hits
        # what was passed on last is still being stored
        time.sleep(pause)
        for pid in victims(workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                hits += 1

    for number in range(instants):
        instant = int(length * (number + 0.5) / instants)
        pause = PAUSES[number % len(PAUSES)]
        account, code, said = killed.interrupt(
            instant, lambda workers, _running: kill(workers, pause))
        try:
            assert code in (0, 75), said
            killed.check_again(account)
            if number % 5 == 0:
                account.idle_run()
        except AssertionError as error:
            raise AssertionError(
                f"{account.user}, killed at byte {instant} of {length}, "
                f"{pause} s later: {error}") from error
    return hits


@pytest.mark.parametrize("mail_format", one_of(FORMATS, "maildir"))
def test_worker_direct(killed, local, mail_format):
    runs = killed(mail_format)
    assert kill_evenly(runs) >= HITS


@pytest.mark.parametrize("mail_format", one_of(FORMATS, "sdbox"))
def test_worker_direct_in_batches(killed, local, mail_format):
    """The same with one sync for a batch of messages."""
    local.configure("imapsync_pull_fsync = batch\n")
    runs = killed(mail_format, users=13)
    kill_evenly(runs, instants=12)


@pytest.mark.parametrize("mail_format", one_of(FORMATS, "maildir"))
def test_worker_lmtp(killed, local, mail_format):
    runs = killed(mail_format, folders={"INBOX": 3, "Lists/a": 1},
                  history="lmtp", deliver="lmtp")
    assert kill_evenly(runs) >= HITS


@pytest.mark.parametrize("mail_format", one_of(FORMATS, "mdbox"))
def test_lmtp_and_worker(killed, local, mail_format):
    """Both sides of the LMTP connection at once."""
    runs = killed(mail_format, folders={"INBOX": 1}, users=13,
                  history="lmtp", deliver="lmtp")
    kill_evenly(runs, lambda workers: processes.living(workers) +
                local.pids("lmtp"), 12)


@pytest.mark.parametrize("mail_format", one_of(FORMATS, "sdbox"))
def test_lmtp_alone(killed, local, mail_format):
    """The run may go on over another connection, or end; in neither case is
    anything there twice."""
    runs = killed(mail_format, folders={"INBOX": 1}, users=13,
                  history="lmtp", deliver="lmtp")
    kill_evenly(runs, lambda _workers: local.pids("lmtp"), 12)


def test_service(killed, local):
    """The service dies: its worker ends, and the next run is right."""
    runs = killed("maildir", users=7)
    assert kill_evenly(
        runs, lambda _workers: local.pids("imapsync-pull"), 6) == 6


def test_doveadm(killed):
    """Whoever asked has gone: the run stops soon, what it did is kept."""
    runs = killed("maildir", users=7)
    length = runs.measure()
    for number in range(6):
        account, _, _ = runs.interrupt(
            length * number // 6, lambda _workers, running:
            running.terminate() if number % 2 else running.kill())
        runs.check_again(account)
        account.idle_run()


def test_everything(killed, local):
    """All of Dovecot, at once."""
    local.log.allow("EOF|Permission denied|Timeout|timed out|not accepting")
    # whatever else Dovecot says of it, garbled by the death of its log process
    local.log.allow("^(?!.*imapsync)")
    runs = killed("mdbox", users=4, folders={"INBOX": 1}, history="lmtp",
                  deliver="lmtp")

    def kill_all(_workers, _running):
        for pid in local.pids():
            with contextlib.suppress(ValueError, ProcessLookupError):
                local.kill(pid)

    length = runs.measure()
    for number in range(1, 4):
        account, _, _ = runs.interrupt(length * number // 4, kill_all)
        local.restart()
        runs.check_again(account)
        account.idle_run()
