"""Accounts that are pulled by themselves: when, how often, and what is said of
it. Whatever is killed or reloaded meanwhile, nothing is lost, nothing comes
twice, and nobody is asked more often than he should be."""

import contextlib
import datetime
import fcntl
import re
import signal
import socket
import sqlite3
import subprocess
import time

import pytest

from pull_rig import CANARY, PLAIN, Account, add, count, digests
from rig import (Corpus, local_dovecot, remote_dovecot, snapshot, wait_for)
from scripted_imap import RawServer, Server, answer, idle

SERVICE, WORKER = "imapsync-pull", "imapsync-pull-worker"
WATCHER = "imapsync-pull-watch"
# shortest that there is
INTERVAL = "10s"
EX_TEMPFAIL, EX_USAGE, EX_NOHOST = 75, 64, 68


@pytest.fixture
def corpus():
    return Corpus(seed=5)


def come_to_rest(instance):
    """A process that starts while Dovecot stops complains of what has gone:
    better none does. A run that hangs is not waited for."""
    with contextlib.suppress(AssertionError):
        wait_for(lambda: not instance.pids(WORKER), timeout=3)


@pytest.fixture
def local(scratch):
    """A local server that pulls by itself, with the user bob."""
    instance = local_dovecot(scratch, schedule=True)
    instance.add_user("bob")
    # of a run that begins just when Dovecot is stopped
    instance.log.allow("imapsync-pull-worker.*auth-master: userdb lookup.*: "
                       "Disconnected unexpectedly")
    yield instance.start()
    come_to_rest(instance)


@pytest.fixture
def silent():
    """A server that takes connections and says nothing."""
    with RawServer(lambda conn: conn.stall()) as server:
        yield server


def account_of(local, remote, **keys):
    """An account of bob's that takes mail of any age, and is not watched."""
    return Account(local, "bob", remote,
                   **{"initial_age": "0", "idle": "no", **keys})


def status(local, name="work", user="bob"):
    row, = local.doveadm("imapsync", "status", "-u", user, name,
                         json=True).rows
    return row


def totals(local):
    return {row["key"]: row["value"] for row in
            local.doveadm("imapsync", "status", json=True).rows}


def wait_status(local, timeout=20, **wanted):
    """The status row, once it has these values."""
    name = wanted.pop("account", "work")

    def fits():
        row = status(local, name)
        return row if all(row[key] == value for key, value
                          in wanted.items()) else None
    return wait_for(fits, timeout, what=f"status {wanted}")


def wait_pulled(local, number, user="bob", timeout=20):
    wait_for(lambda: count(snapshot(local, user)) >= number, timeout,
             what=f"{number} messages")
    assert count(snapshot(local, user)) == number


def when(text):
    return datetime.datetime.fromisoformat(text).timestamp()


def logins(server):
    """How often somebody has logged in at a scripted server."""
    return sum(re.search(r" (LOGIN|AUTHENTICATE) ", line) is not None
               for lines in server.log for line in lines)


# -- when

@pytest.mark.sanitize
def test_set_and_forget(local, remote, corpus):
    """An account is pulled the moment it is set; by hand there is nothing left
    to do then."""
    remote.start()
    add(remote, "anna", *(corpus.message() for _ in range(3)))
    account = account_of(local, remote)
    row = account.run().row
    # the pull that was under way, or had not begun yet, was waited for
    assert row["new"] in (0, 3) and row["status"] == "ok"
    wait_pulled(local, 3)
    row = wait_status(local, state="waiting", **{"class": "ok"})
    assert (row["failures"], row["error"], row["watch"]) == (0, "", "")
    assert when(row["last_ok"]) <= time.time() + 1
    assert 0 < when(row["next_try"]) - when(row["last_try"]) <= 61


def test_interval(local, remote, corpus):
    remote.start()
    add(remote, "anna", corpus.message())
    account_of(local, remote, interval=INTERVAL)
    wait_pulled(local, 1)
    for number in (2, 3):
        add(remote, "anna", corpus.message())
        wait_pulled(local, number)


def test_interval_none(local, remote, corpus):
    """Once, and never again but by hand."""
    remote.start()
    add(remote, "anna", corpus.message())
    account = account_of(local, remote, preset="migrate")
    wait_pulled(local, 1)
    row = wait_status(local, state="waiting")
    assert row["next_try"] == ""
    add(remote, "anna", corpus.message())
    assert account.run().new == 1
    assert wait_status(local, state="waiting")["next_try"] == ""


def test_starts_at_boot(scratch, remote, corpus):
    """Nobody asks for anything: the service comes with Dovecot, and what
    arrived while it was away is pulled."""
    local = local_dovecot(scratch, schedule=True)
    local.add_user("bob")
    local.start()
    remote.start()
    account_of(local, remote, interval=INTERVAL)
    wait_status(local, state="waiting", **{"class": "ok"})
    local.stop()
    add(remote, "anna", corpus.message())
    local.start()
    wait_pulled(local, 1)


def test_schedule_off(scratch, remote, corpus):
    local = local_dovecot(scratch)
    local.add_user("bob")
    local.start()
    remote.start()
    add(remote, "anna", corpus.message())
    account = account_of(local, remote)
    assert (status(local)["state"], status(local)["next_try"]) == (
        "waiting", "")
    # what is pulled by hand is told all the same, and outlives the service
    assert account.run().new == 1
    row = status(local)
    assert (row["state"], row["class"], row["stored"]) == ("waiting", "ok", 1)
    local.restart()
    assert status(local) == row


# -- trouble

def test_bad_credential(local, corpus):
    """It is asked again later and later, and at once when it was changed."""
    with Server(secret=CANARY) as server:
        server.add("INBOX").append(corpus.message().content)
        account = account_of(local, server, secret="wrong",
                             interval=INTERVAL)
        row = wait_status(local, state="failing", failures=1)
        assert row["class"] == "credential"
        assert row["error"] and row["last_ok"] == ""
        # 5 minutes, less a tenth at most
        assert 265 < when(row["next_try"]) - when(row["last_try"]) <= 302
        assert logins(server) == 1
        since = row["since"]

        # somebody tries by hand: the next try is put off for longer
        assert account.run(code=77).row["class"] == "credential"
        row = wait_status(local, state="failing", failures=2)
        assert 805 < when(row["next_try"]) - when(row["last_try"]) <= 902
        assert row["since"] == since
        assert totals(local)["failing_credential"] == 1

        account.change_secret(CANARY)
        row = wait_status(local, state="waiting", **{"class": "ok"})
        assert (row["failures"], row["error"]) == (0, "")
        assert totals(local)["failing"] == 0
        wait_pulled(local, 1)


def test_throttled_as_long_as_asked(local):
    with Server() as server:
        server.on("LOGIN", answer("NO", "[LIMIT] Try again in 20 minutes"))
        server.on("AUTHENTICATE",
                  answer("NO", "[LIMIT] Try again in 20 minutes"))
        account_of(local, server)
        row = wait_status(local, state="failing", failures=1)
        assert row["class"] == "throttled", row
        wait = when(row["next_try"]) - when(row["last_try"])
        assert 1199 <= wait <= 1322


def test_trouble_outlives_the_service(local):
    """What an account waits for is not forgotten when the service is killed:
    a refused password is not tried once more because of it."""
    local.log.allow("killed with signal 9")
    with Server(secret=CANARY) as server:
        account_of(local, server, secret="wrong")
        row = wait_status(local, state="failing", failures=1)
        for _ in range(2):
            old, = local.pids(SERVICE)
            local.kill(old)
            wait_for(lambda: local.pids(SERVICE) not in ([], [old]),
                     what="another service")
            again = wait_for(lambda: status(local))
            shift = when(again.pop("next_try")) - when(row["next_try"])
            assert abs(shift) <= 2
            assert {**again, "next_try": row["next_try"]} == row
        assert logins(server) == 1


@pytest.mark.parametrize("again", [False, True], ids=["set", "deleted"])
def test_set_while_another_keeps_the_schedule(local, corpus, again):
    """Who takes the schedule over finds what was changed meanwhile."""
    directory = local.dir / "state" / "imapsync-pull"
    with Server(secret=CANARY) as server:
        server.add("INBOX").append(corpus.message().content)
        account = account_of(local, server, secret="wrong")
        wait_status(local, state="failing", failures=1)
        local.stop()
        with open(directory / "schedule.lock", "rb+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            local.start()
            if again:
                local.doveadm("imapsync", "account", "delete", "-u", "bob",
                              "work")
                account_of(local, server, secret=CANARY)
            else:
                account.change_secret(CANARY)
        row = wait_status(local, state="waiting", **{"class": "ok"})
        assert (row["failures"], row["error"]) == (0, "")
        # who was not changed goes on as before
        come_to_rest(local)
        local.restart()
        assert wait_for(lambda: status(local))["last_try"] == row["last_try"]


# -- by hand

def test_run_waits_for_a_run(local, silent):
    """A second pull of an account never begins beside the first."""
    account = account_of(local, silent)
    wait_for(lambda: len(silent.connections) == 1)
    process = subprocess.Popen(
        local.doveadm_command("-f", "json", *account.run_words()),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_status(local, state="running")
    # test and folders do not wait; when they are served, run has long been
    # heard
    second = subprocess.Popen(
        local.doveadm_command("imapsync", "account", "test", "-u", "bob",
                              "work"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: len(silent.connections) == 2)
    assert process.poll() is None
    done = local.doveadm("imapsync", "stop", "-u", "bob", "work", json=True)
    assert done.rows == [{"user": "bob", "account": "work",
                          "status": "stopped"}]
    out, _err = process.communicate(timeout=20)
    assert process.returncode == EX_TEMPFAIL and '"stopped"' in out
    second.communicate(timeout=20)
    assert len(silent.connections) == 2


def test_stop(local, silent):
    account = account_of(local, silent)
    wait_status(local, state="running")
    wait_for(lambda: len(silent.connections) == 1)
    done = local.doveadm("imapsync", "stop", "-u", "bob", json=True)
    assert [row["status"] for row in done.rows] == ["stopped"]
    # it waits as it would have waited otherwise
    row = wait_status(local, state="waiting")
    assert when(row["next_try"]) - time.time() > 30
    done = local.doveadm("imapsync", "stop", "-u", "bob", account.name,
                         json=True)
    assert [row["status"] for row in done.rows] == ["not-running"]
    wait_for(lambda: not local.pids(WORKER))
    assert local.doveadm("imapsync", "stop", "-u", "bob",
                         "none").code == EX_NOHOST


def test_stopped_goes_on(local, silent):
    """Also who is to be pulled but once, and whatever happens meanwhile."""
    account_of(local, silent, preset="migrate")
    wait_for(lambda: len(silent.connections) == 1)
    local.doveadm("imapsync", "stop", "-u", "bob", "work")
    row = wait_status(local, state="waiting")
    assert 0 < when(row["next_try"]) - time.time() <= 5 * 60 + 1
    local.restart()
    again = wait_status(local, state="waiting")
    assert abs(when(again["next_try"]) - when(row["next_try"])) <= 2
    # of one that was stopped before, it is not known when it goes on
    local.stop()
    path = local.dir / "state" / "imapsync-pull" / "schedule.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE schedule SET next_try = 0")
    local.start()
    wait_for(lambda: len(silent.connections) == 2)
    local.doveadm("imapsync", "stop", "-A")


@pytest.mark.sanitize
def test_pause_and_resume(local, remote, silent, corpus):
    remote.start()
    add(remote, "anna", corpus.message())

    def change(verb, name="work"):
        row, = local.doveadm("imapsync", "account", verb, "-u", "bob", name,
                             json=True).rows
        return row["status"]

    account = account_of(local, silent)
    wait_for(lambda: len(silent.connections) == 1)
    # also what goes on is stopped
    assert change("pause") == "paused"
    wait_for(lambda: not local.pids(WORKER))
    row = status(local)
    assert (row["state"], row["next_try"]) == ("paused", "")
    assert totals(local)["paused"] == 1
    assert change("pause") == "unchanged"
    assert account.run(code=78).row["class"] == "config"
    assert status(local) == row
    # paused it stays, whatever is changed; then it is pulled at once
    account_of(local, remote, enabled="no")
    assert status(local)["state"] == "paused"
    assert change("resume") == "resumed"
    wait_pulled(local, 1)
    assert change("resume") == "unchanged"
    for verb in ("pause", "resume"):
        assert local.doveadm("imapsync", "account", verb, "-u", "bob",
                             "none").code == EX_NOHOST


def test_limits_count_for_all(scratch, silent):
    """Runs on one host, and of one mailbox, whoever asked for them."""
    local = local_dovecot(scratch, schedule=True)
    local.configure("imapsync_pull_max_runs_per_host = 4\n"
                    "imapsync_pull_connections_per_mailbox = 2\n")
    local.add_user("bob")
    local.start()
    for name in ("a", "b", "c"):
        account_of(local, silent, login="anna", name=name)
    for name in ("d", "e", "f"):
        account_of(local, silent, login=name, name=name)
    # one place is not for first pulls, which may be long
    wait_for(lambda: len(silent.connections) == 3)
    by_hand = subprocess.Popen(
        local.doveadm_command("imapsync", "run", "-A"),
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with RawServer(lambda conn: conn.send(b"* BYE full\r\n")) as other:
        # another host has places of its own
        account_of(local, other, login="x", name="other", host="localhost")
        wait_status(local, account="other", state="failing")
    wait_for(lambda: len(silent.connections) == 4)
    states = [status(local, name)["state"] for name in "abc"]
    assert sorted(states) == ["due", "running", "running"], states
    by_hand.send_signal(signal.SIGTERM)
    by_hand.wait()
    local.doveadm("imapsync", "stop", "-A")


# -- what is said

def test_status(local, remote, corpus):
    remote.start()
    add(remote, "anna", corpus.message())
    assert local.doveadm("imapsync", "status", "-A", json=True).rows == []
    account_of(local, remote)
    wait_pulled(local, 1)
    row = wait_status(local, state="waiting", **{"class": "ok"})
    assert row == {
        **row, "user": "bob", "account": "work", "hint": "", "watch": "",
        "failures": 0, "stored": 1, "failed": 0, "error": ""}
    assert 0 < row["seconds"] < 20
    # in the API each row says that the command itself went well
    over_api, = local.api("imapsyncStatus", user="bob", name="work")
    assert over_api == {**row, "status": "ok"}
    assert local.api("imapsyncStatus", allUsers=True) == [over_api]
    assert {row["key"]: row["value"] for row in local.api("imapsyncStatus")
            } == totals(local)
    assert totals(local) == {
        "accounts": 1, "waiting": 1, "due": 0, "running": 0, "paused": 0,
        "watched": 0, "oldest_due_secs": 0, "failing": 0}
    out = local.doveadm("imapsync", "status", "-u", "bob").out
    assert out.splitlines()[0].split()[:3] == ["user", "account", "state"]
    assert local.doveadm("imapsync", "status", "-u", "bob",
                         "none").code == EX_NOHOST
    assert local.doveadm("imapsync", "status", "work").code == EX_USAGE
    assert local.api("imapsyncAccountPause", user="bob", name="work")[0][
        "status"] == "paused"
    assert local.api("imapsyncAccountResume", user="bob", name="work")[0][
        "status"] == "resumed"
    assert local.api("imapsyncStop", user="bob", name="work")[0][
        "status"] in ("stopped", "not-running")


def test_deleted_is_forgotten(local, remote):
    remote.start()
    account_of(local, remote)
    wait_status(local, state="waiting", **{"class": "ok"})
    local.doveadm("imapsync", "account", "delete", "-u", "bob", "work")
    assert totals(local)["accounts"] == 0
    local.restart()
    assert wait_for(lambda: totals(local))["accounts"] == 0


def test_log_says_what_happened(local, remote, corpus):
    """A line for what was done, none for what was not."""
    remote.start()
    add(remote, "anna", corpus.message())
    account = account_of(local, remote)
    wait_pulled(local, 1)
    wait_status(local, state="waiting", **{"class": "ok"})
    account.idle_run()
    account.idle_run()
    lines = wait_for(lambda: local.log.lines(WORKER))
    assert len(lines) == 1 and "1 stored" in lines[0], lines


# -- push

@pytest.mark.parametrize("capability", [None, PLAIN + " IDLE"],
                         ids=["all", "plain"])
def test_push(scratch, local, corpus, capability):
    """New mail is here within two seconds."""
    remote = remote_dovecot(scratch, capability=capability)
    remote.add_user("anna")
    remote.start()
    account_of(local, remote, idle="INBOX", interval="1d")
    wait_for(lambda: status(local)["watch"], what="the watch")
    # the run that comes after the watch has begun
    row = wait_status(local, state="waiting", **{"class": "ok"})
    assert totals(local)["watched"] == 1
    for number in (1, 2):
        began = time.monotonic()
        add(remote, "anna", corpus.message())
        wait_pulled(local, number, timeout=10)
        assert time.monotonic() - began < 2, row


@pytest.mark.sanitize
def test_push_alone(local, remote, corpus):
    """interval=none: on push, and still after a restart."""
    remote.start()
    account_of(local, remote, idle="INBOX", interval="none")
    for number in (1, 2):
        wait_for(lambda: status(local)["watch"], what="the watch")
        add(remote, "anna", corpus.message())
        wait_pulled(local, number)
        if number == 1:
            come_to_rest(local)
            local.restart()


@pytest.fixture
def pushing():
    """A server with an INBOX that tells of news."""
    with Server(capabilities="IMAP4rev1 LITERAL+ SASL-IR IDLE") as server:
        server.add("INBOX")
        server.on("IDLE", idle())
        yield server


def wait_watch(server, number):
    """The connection of the watch, once the server has seen so many of
    them."""
    def watches():
        found = [conn for conn in server.connections
                 if any(line.endswith("IDLE") for line in conn.lines)]
        return found[-1] if len(found) >= number else None
    return wait_for(watches, what=f"watch {number}")


def test_push_alone_is_not_forgotten(local, pushing):
    """A watch that is over, and cannot begin again at the moment: a run will
    get the account another one."""
    account_of(local, pushing, idle="INBOX", interval="none")
    watch = wait_watch(pushing, 1)
    wait_status(local, state="waiting", watch="idle", next_try="")
    accounts = local.dir / "state" / "imapsync-pull" / "accounts"
    accounts.rename(accounts.with_name("away"))
    accounts.touch(0o666)
    watch.sock.shutdown(socket.SHUT_RDWR)
    wait_for(lambda: totals(local)["watched"] == 0)
    # whoever asks a second time is answered after it was tried
    totals(local)
    accounts.with_name("away").rename(accounts)
    row = wait_status(local, state="waiting")
    assert 0 < when(row["next_try"]) - time.time() <= 15 * 60 + 1


def test_news_outlive_the_watch(scratch, silent, pushing):
    """Who is due stays due, however often his watch ends."""
    local = local_dovecot(scratch, schedule=True)
    local.configure("imapsync_pull_max_runs = 1\n")
    local.add_user("bob")
    local.start()
    account_of(local, pushing, idle="INBOX", interval="none")
    wait_watch(pushing, 1)
    wait_status(local, state="waiting", watch="idle", next_try="")
    account_of(local, silent, name="other")
    wait_status(local, account="other", state="running")
    for number in (1, 2):
        wait_watch(pushing, number).sock.shutdown(socket.SHUT_RDWR)
    wait_status(local, watch="")
    assert status(local)["state"] == "due"
    local.doveadm("imapsync", "stop", "-A")


def test_killed_watcher(local, remote, corpus):
    """Somebody watches again, soon."""
    local.log.allow("killed with signal 9")
    remote.start()
    account_of(local, remote, idle="INBOX", interval="1d")
    wait_for(lambda: status(local)["watch"], what="the watch")
    watcher, = local.pids(WATCHER)
    local.kill(watcher)
    wait_for(lambda: watcher not in local.pids())
    wait_for(lambda: status(local)["watch"] and local.pids(WATCHER),
             what="another watch")
    add(remote, "anna", corpus.message())
    wait_pulled(local, 1)


@pytest.mark.soak
def test_hung_watcher(local, remote, corpus):
    """It is given up, and another one watches."""
    local.log.allow("watcher process [0-9]+ hangs")
    local.log.allow("killed with signal 9")
    remote.start()
    account_of(local, remote, idle="INBOX", interval="1d")
    wait_for(lambda: status(local)["watch"], what="the watch")
    watcher, = local.pids(WATCHER)
    local.kill(watcher, signal.SIGSTOP)
    try:
        wait_for(lambda: len(local.pids(WATCHER)) == 2, 120,
                 what="another watcher")
        wait_for(lambda: status(local)["watch"], what="another watch")
        add(remote, "anna", corpus.message())
        wait_pulled(local, 1)
        assert f"watcher process {watcher} hangs" in local.log.text()
    finally:
        local.kill(watcher, signal.SIGKILL)


def test_password_changes_under_watch(local, remote):
    """The watch is refused once, and then a run, which says so: nobody is
    locked out by us."""
    remote.start()
    account = account_of(local, remote, idle="INBOX", interval="1d")
    wait_for(lambda: status(local)["watch"], what="the watch")
    wait_status(local, state="waiting", **{"class": "ok"})
    remote.set_password("anna", "another")
    # it looks at its file once a second
    wait_for(lambda: remote.doveadm("auth", "test", "anna",
                                    "another").code == 0)
    for pid in remote.pids("imap"):
        remote.kill(pid, signal.SIGTERM)
    row = wait_status(local, state="failing")
    assert (row["class"], row["watch"]) == ("credential", "")
    account.change_secret("another")
    wait_for(lambda: status(local)["watch"], what="the watch")
    assert len(remote.log.lines("auth failed")) == 2


def test_paused_is_not_watched(local, remote, corpus):
    remote.start()
    account = account_of(local, remote, idle="INBOX")
    wait_for(lambda: status(local)["watch"], what="the watch")
    account.change(enabled="no")
    assert status(local)["watch"] == ""
    add(remote, "anna", corpus.message())
    account.change(enabled="yes", idle="no")
    wait_pulled(local, 1)
    assert totals(local)["watched"] == 0


def test_no_connection_to_spare(scratch, remote):
    """With one connection for each mailbox nobody is watched; with more, never
    all are taken."""
    remote.start()
    local = local_dovecot(scratch, schedule=True)
    local.configure("imapsync_pull_connections_per_mailbox = 2\n")
    local.add_user("bob")
    local.start()
    for name in ("a", "b"):
        account_of(local, remote, name=name, idle="INBOX", interval=INTERVAL)
    wait_for(lambda: totals(local)["watched"] == 1)
    other = "b" if status(local, "a")["watch"] else "a"
    before = status(local, other)["last_try"]
    wait_for(lambda: status(local, other)["last_try"] > before, timeout=30)
    assert totals(local)["watched"] == 1


# -- login

@pytest.fixture
def waking(scratch):
    local = local_dovecot(scratch, schedule=True)
    local.add_piece("WAKE_ON_LOGIN")
    local.add_user("bob")
    yield local.start()
    come_to_rest(local)


def test_login_wakes(waking, remote, corpus):
    remote.start()
    account = account_of(waking, remote, interval="1d")
    wait_status(waking, state="waiting", **{"class": "ok"})
    add(remote, "anna", corpus.message())
    # it was pulled just now
    for _ in range(10):
        waking.imap("bob").logout()
    assert account.run().new == 1
    come_to_rest(waking)
    waking.restart()
    wait_status(waking, state="waiting")
    add(remote, "anna", corpus.message(), corpus.message())
    waking.imap("bob").logout()
    wait_status(waking, state="waiting", stored=2)


def test_login_wakes_no_migration(waking, remote, corpus):
    """It is over: nothing happens by itself any more."""
    remote.start()
    account = account_of(waking, remote, preset="migrate")
    wait_status(waking, state="waiting", **{"class": "ok"})
    come_to_rest(waking)
    waking.restart()
    wait_status(waking, state="waiting")
    add(remote, "anna", corpus.message())
    waking.imap("bob").logout()
    assert account.run().new == 1


def test_login_wakes_nobody_by_default(local, remote, corpus):
    remote.start()
    account = account_of(local, remote, interval="1d")
    wait_status(local, state="waiting", **{"class": "ok"})
    add(remote, "anna", corpus.message())
    local.imap("bob").logout()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(local.socket("imapsync-pull-wake"))
        with contextlib.suppress(BrokenPipeError):
            client.sendall(b"wake\tbob\n")
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""
    assert account.run().new == 1


@pytest.mark.sanitize
def test_wake_socket_takes_nothing_else(waking, remote):
    """It is open to all: garbage does nothing, and nobody keeps others out."""
    remote.start()
    account_of(waking, remote, interval="1d")
    wait_status(waking, state="waiting", **{"class": "ok"})
    come_to_rest(waking)
    waking.restart()
    row = wait_status(waking, state="waiting")
    path = waking.socket("imapsync-pull-wake")
    idle = []
    for data in (b"", b"\n", b"wake\n", b"wake\tnobody\n", b"wake bob\n",
                 b"run\tuser=bob\n", b"\0\1\xff\n", b"wake\t" + b"x" * 3000,
                 b"account-delete\tuser=bob\tname=work\n"):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
    try:
        for _ in range(200):
            idle.append(socket.socket(socket.AF_UNIX))
            idle[-1].connect(path)
        # next_try is in whole seconds of another clock
        assert {**status(waking), "next_try": row["next_try"]} == row
        # they are sent away, and then others are heard
        for client in idle:
            client.settimeout(20)
            with contextlib.suppress(ConnectionResetError):
                assert client.recv(1) == b""
    finally:
        for client in idle:
            client.close()
    waking.imap("bob").logout()
    wait_for(lambda: status(waking)["last_try"] > row["last_try"])


# -- whatever happens

def kill_one(local, program):
    def killed():
        local.kill(local.pids(program)[0])
        return True
    # some live but for a moment
    wait_for(killed, timeout=60, what=f"{program} to be killed")


@pytest.mark.parametrize("stroke", [
    "service", "reload", pytest.param("worker", marks=pytest.mark.soak),
    pytest.param("watcher", marks=pytest.mark.soak),
    pytest.param("restart", marks=pytest.mark.soak)])
def test_under_load(scratch, corpus, stroke):
    """Four accounts with mail that comes in all the time, two of them watched;
    now and then a process is killed or all are told to begin anew. In the end
    everything is here once."""
    # what Dovecot's own processes say of each other's end, and ours of theirs
    allow = ("killed with signal 9", "Broken pipe", "Connection reset",
             "Remote closed connection", "hung up", "EOF", "[Dd]isconnected",
             r"connect\(.*/run/lmtp\) failed", "auth for nonexistent client",
             "Internal auth failure", "lmtp-server: .* Failed to lookup user",
             r"imap-login: Error: master\(imap\): net_connect_unix\(imap\)",
             r"service\((?!imapsync)[\w-]+\): child \d+ returned error 89")
    local = local_dovecot(scratch, schedule=True)
    remote = remote_dovecot(scratch)
    names = ("a", "b", "c", "d")
    for name in names:
        remote.add_user(name)
        local.add_user(name)
    remote.start()
    local.start()
    local.log.allow("|".join(allow))
    for name in names:
        Account(local, name, remote, login=name, initial_age="0",
                interval=INTERVAL, idle="INBOX" if name in "ab" else "no")
    for turn in range(12):
        for name in names:
            add(remote, name, *(corpus.message() for _ in range(4)))
        if stroke == "reload":
            assert local.doveadm("reload").code == 0
        elif turn % 4 != 3:
            continue
        elif stroke == "restart":
            local.restart()
        else:
            kill_one(local, {"worker": WORKER, "service": SERVICE,
                             "watcher": WATCHER}[stroke])
    for name in names:
        wait_for(lambda: digests(snapshot(local, name))
                 == digests(snapshot(remote, name)), timeout=120,
                 what=f"all mail of {name}")
    # and so it stays: who looks at all of it finds nothing to do
    done = local.doveadm("imapsync", "run", "-A", "--full", json=True)
    assert [(row["status"], row["new"]) for row in done.rows] == [
        ("ok", 0)] * 4, done
    for name in names:
        assert digests(snapshot(local, name)) == digests(
            snapshot(remote, name))
        # nothing begins any more while Dovecot is stopped
        assert local.doveadm("imapsync", "account", "pause", "-u", name,
                             "work").code == 0
    come_to_rest(local)


def test_one_keeps_the_schedule(local, silent):
    """After a reload the new process goes on at once with what the old one was
    at, and there is never more than one pull of an account."""
    account_of(local, silent)
    wait_for(lambda: len(silent.connections) == 1)
    for number in range(2, 5):
        old = local.pids(SERVICE)
        assert local.doveadm("reload").code == 0
        wait_for(lambda: local.pids(SERVICE) not in ([], old))
        wait_for(lambda: len(silent.connections) == number, timeout=5)
        assert len(local.pids(WORKER)) == 1
    local.doveadm("imapsync", "stop", "-A")
