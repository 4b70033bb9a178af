"""What imapsync-pull tells cred-notify: each account that fails, with class,
hint and since when, and each that works again. Nothing of it is lost, whoever
of the two goes away meanwhile."""

import fcntl
import glob
import os
import re
import socket
import sqlite3
import subprocess
import threading
import time

import pytest

from pull_rig import EX_NOPERM, EX_TEMPFAIL, Account, find_bytes
from rig import wait_for
from scripted_imap import Server, answer, before, stall

SOCKET = "cred-notify-producer"
VERSION = "VERSION\tcred-notify-producer\t1\t0"
SERVICE = "imapsync-pull"
ESCAPES = {"1": "\1", "t": "\t", "n": "\n", "r": "\r"}


class Record(dict):
    """A line: its word, and its keys."""

    def __init__(self, line):
        self.word, *fields = line.split("\t")
        super().__init__(field.split("=", 1) for field in fields)
        for key, value in self.items():
            self[key] = re.sub("\1(.)", lambda m: ESCAPES[m[1]], value)

    def __repr__(self):
        return f"{self.word} {super().__repr__()}"


class Listener:
    """In the place of cred-notify: hears, and acknowledges or does not."""

    def __init__(self, dovecot, acks=True, reads=True):
        self.acks, self.reads = acks, reads
        self.lines = []
        # [(start of the producer, record), ...], repetitions included
        self.heard = []
        self.errors = []
        self.connections = 0
        self.stopping = threading.Event()
        path = dovecot.socket(SOCKET)
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.bind(path)
        os.chmod(path, 0o666)
        self._socket.listen()
        self._socket.settimeout(0.02)
        self._path = path
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, exc_type, _exc, _trace):
        self.stop()
        assert exc_type or not self.errors, self.errors

    def stop(self):
        self.stopping.set()
        self._thread.join()
        self._socket.close()
        os.unlink(self._path)

    @property
    def records(self):
        """Each record once: one with an id that was there is repeated."""
        seen = {}
        for start, record in self.heard:
            seen.setdefault((start, record["id"]), record)
        return list(seen.values())

    def words(self):
        return [(record.word, record.get("class"))
                for record in self.records]

    def wait(self, count, timeout=20):
        """The records, once there are so many."""
        wait_for(lambda: len(self.records) >= count, timeout,
                 what=f"{count} records")
        return self.records

    def _run(self):
        while not self.stopping.is_set():
            try:
                conn, _ = self._socket.accept()
            except TimeoutError:
                continue
            self.connections += 1
            with conn:
                conn.settimeout(0.02)
                try:
                    self._serve(conn)
                except Exception as error:  # shown when it is left
                    self.errors.append(error)

    def _serve(self, conn):
        data, start = b"", None
        while not self.stopping.is_set():
            if not self.reads:
                time.sleep(0.02)
                continue
            try:
                more = conn.recv(4096)
            except TimeoutError:
                continue
            except ConnectionResetError:
                return
            if not more:
                return
            *lines, data = (data + more).split(b"\n")
            for line in lines:
                start = self._line(conn, line.decode(), start)

    def _line(self, conn, line, start):
        self.lines.append(line)
        if line.startswith("VERSION"):
            assert line == VERSION, line
            return start
        record = Record(line)
        if start is None:
            assert record.word == "producer", record
            assert record["name"] == "imapsync-pull"
            assert re.fullmatch("[0-9a-f]{16}", record["start"])
            return record["start"]
        self.heard.append((start, record))
        if self.acks:
            try:
                conn.sendall(f"ack\tid={record['id']}\n".encode())
            except OSError:
                pass
        return start


def check_ids(listener):
    """They rise by one from 1 for each start."""
    last = {}
    for start, record in listener.heard:
        number = int(record["id"])
        assert number <= last.get(start, 0) + 1, listener.heard
        last[start] = max(last.get(start, 0), number)


def settled(account):
    """The service has nothing more to tell."""
    path = account.local.dir / "state" / "imapsync-pull" / "reports.sqlite"
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
        count, = db.execute("SELECT count(*) FROM report").fetchone()
    db.close()
    return count == 0


def wait_settled(account, timeout=20):
    wait_for(lambda: settled(account), timeout, what="everything to be acked")


@pytest.fixture
def bob(local):
    local.add_user("bob")
    local.add_user("anna")
    local.start()
    return local


@pytest.fixture
def server():
    with Server() as made:
        made.add("INBOX").append(b"Subject: x\r\n\r\nbody\r\n")
        yield made


def refuse(server, text):
    """Every login is answered so."""
    for command in ("AUTHENTICATE", "LOGIN"):
        server.on(command, answer("NO", text))


def fail(account, code=EX_NOPERM):
    return account.run(code=code)


def test_wrong_password_and_right_again(bob, server):
    account = Account(bob, "bob", server, label="My wörk")
    with Listener(bob) as listener:
        account.run()
        begin = int(time.time())
        account.change_secret("wrong")
        fail(account)
        first, = listener.wait(1)
        assert first.word == "account-fail"
        assert set(first) == {"id", "time", "account", "owner", "label",
                              "class", "since"}
        assert (first["account"], first["owner"], first["label"]) == \
            ("bob/work", "bob", "My wörk")
        assert first["class"] == "credential"
        assert begin - 1 <= int(first["since"]) <= int(time.time())
        assert first["time"] == first["since"]
        # each confirms it, and it goes on since the first
        wait_for(lambda: time.time() >= int(first["time"]) + 1,
                 what="the next second")
        fail(account)
        second = listener.wait(2)[1]
        assert second["since"] == first["since"]
        assert int(second["time"]) > int(first["time"])
        # a test of the login counts as well
        bob.doveadm("imapsync", "account", "test", "-u", "bob", "work")
        assert listener.wait(3)[2]["class"] == "credential"
        account.change_secret("secret")
        account.run()
        clear = listener.wait(4)[3]
        assert clear.word == "account-clear"
        assert clear["account"] == "bob/work" and clear["owner"] == "bob"
        # once
        account.run()
        account.change_secret("wrong")
        fail(account)
        records = listener.wait(5)
        assert listener.words() == [("account-fail", "credential")] * 3 + [
            ("account-clear", None), ("account-fail", "credential")]
        assert int(records[4]["since"]) >= int(clear["time"])
        wait_settled(account)
        check_ids(listener)
        assert listener.connections == 1


def test_nobody_listens_and_nobody_ever_will(bob, server):
    """No word about it, and nothing waits."""
    account = Account(bob, "bob", server, secret="wrong")
    for _ in range(20):
        fail(account)
    account.change_secret("secret")
    account.run()
    assert not bob.log.lines(SOCKET)
    assert not bob.log.lines("cred-notify")


def test_listener_comes_later(bob, server):
    account = Account(bob, "bob", server, secret="wrong")
    for _ in range(20):
        fail(account)
    with Listener(bob) as listener:
        wait_settled(account, 40)
        # the first and the last of many
        assert listener.words() == [("account-fail", "credential")] * 8
        assert len({record["since"] for record in listener.records}) == 1
        account.change_secret("secret")
        account.run()
        assert listener.wait(9)[8].word == "account-clear"
        wait_settled(account)
        check_ids(listener)


def test_it_was_over_before_anybody_listened(bob, server):
    """What it ended with is what counts."""
    account = Account(bob, "bob", server, secret="wrong")
    fail(account)
    account.change_secret("secret")
    account.run()
    with Listener(bob) as listener:
        wait_settled(account, 40)
        assert listener.words() == [("account-clear", None)]


def test_listener_is_restarted(bob, server):
    """What was not acknowledged is told to the next, with the same ids."""
    account = Account(bob, "bob", server, secret="wrong")
    with Listener(bob, acks=False) as listener:
        fail(account)
        fail(account)
        listener.wait(2)
        first = list(listener.heard)
    with Listener(bob) as listener:
        wait_settled(account, 40)
        assert listener.heard == first
        fail(account)
        assert listener.wait(3)[2]["id"] == "3"


def test_listener_hangs(bob, server):
    """Nobody waits for it, and it costs no more than it should."""
    account = Account(bob, "bob", server, secret="wrong")
    with Listener(bob, reads=False) as listener:
        fail(account)
        wait_for(lambda: listener.connections == 1, what="a connection")
        for _ in range(90):
            bob.doveadm("imapsync", "account", "test", "-u", "bob", "work")
    with Listener(bob) as listener:
        wait_settled(account, 40)
        records = listener.records
        # as many as may be on their way, and then as may wait
        assert len(records) == 64 + 8, len(records)
        check_ids(listener)


def test_listener_is_nonsense(bob, server):
    """An ack of what was never sent, lines that mean nothing."""
    account = Account(bob, "bob", server, secret="wrong")
    bob.log.allow("acknowledges what was never sent")

    class Liar(Listener):
        def _line(self, conn, line, start):
            conn.sendall(b"news\tx\nack\tid=77\n" if "account" in line
                         else b"VERSION\tcred-notify-producer\t1\t9\n")
            self.acks = False
            return super()._line(conn, line, start)

    with Liar(bob) as listener:
        fail(account)
        listener.wait(1)
        wait_for(lambda: listener.connections > 1, what="another attempt")
        assert not settled(account)
    with Listener(bob) as listener:
        wait_settled(account, 40)
        assert listener.words() == [("account-fail", "credential")]


@pytest.mark.parametrize("when", ["unsent", "unacked"])
def test_service_is_killed(bob, server, when):
    """kill -9: the next process tells it."""
    account = Account(bob, "bob", server, secret="wrong")
    bob.log.allow("killed with signal 9")

    def kill():
        pid, = bob.pids(SERVICE)
        bob.kill(pid)
        wait_for(lambda: bob.pids(SERVICE) not in ([], [pid]),
                 what="another process")

    if when == "unsent":
        fail(account)
        since = int(time.time())
        kill()
    else:
        with Listener(bob, acks=False) as listener:
            fail(account)
            record, = listener.wait(1)
            since = int(record["since"])
            kill()
    with Listener(bob) as listener:
        record = listener.wait(1, 40)[0]
        assert record.word == "account-fail"
        assert since - 2 <= int(record["since"]) <= since
        assert record["class"] == "credential"
        wait_settled(account)
        # that it fails is still known
        kill()
        account.change_secret("secret")
        account.run()
        records = listener.wait(2)
        assert records[1].word == "account-clear"
        wait_settled(account)
        assert len(records) == 2
        check_ids(listener)


def test_power_of_words(bob, server):
    """Classes and hints by what providers say, and our words for people."""
    cases = [
        ("NO", "[ALERT] Application-specific password required: "
         "https://support.google.com/accounts/answer/185833 (Failure)",
         "user_action", "app-password", "app password"),
        ("NO", "[ALERT] Please log in via your web browser: "
         "https://support.google.com/mail/accounts/answer/78754 (Failure)",
         "user_action", "web-login", "web browser once"),
        ("NO", "[ALERT] Your account is not enabled for IMAP use. (Failure)",
         "user_action", "enable-imap", "turned on"),
        ("NO", "Basic authentication is disabled.", "user_action", "consent",
         "does not take passwords"),
        ("NO", "LOGIN failed. Account is blocked. Login to your account via "
         "a web browser to verify your identity.", "user_action", "blocked",
         "has blocked"),
        ("NO", "[EXPIRED] no", "credential", "expired", "has expired"),
        ("NO", "[AUTHENTICATIONFAILED] LOGIN Invalid credentials",
         "credential", "app-password", "app password"),
        ("NO", "[AUTHENTICATIONFAILED] Invalid credentials (Failure)",
         "credential", None, None),
        ("NO", "[ALERT] Too many simultaneous connections. (Failure)",
         "throttled", None, None),
        ("BAD", "[UNAVAILABLE] Service temporarily unavailable", "server",
         None, None),
    ]
    account = Account(bob, "bob", server)
    with Listener(bob) as listener:
        for number, (status, text, name, hint, words) in enumerate(cases, 1):
            for command in ("AUTHENTICATE", "LOGIN"):
                server.on(command, answer(status, text), times=1)
            run = account.run(code=None)
            record = listener.wait(number)[-1]
            assert (record["class"], record.get("hint")) == (name, hint), text
            assert run.row["class"] == name
            advice = re.search(r" \(([^()]*)\)$", run.error)
            if words:
                assert words in advice[1], run.error
            else:
                assert not advice or advice[1] == "Failure", run.error
        assert len(listener.records) == len(cases)


def test_words_of_the_remote_go_nowhere(bob, server):
    canary = "Grüße-vom-Server"
    refuse(server, f"[ALERT] {canary} Application-specific password required")
    server.on("GREETING", before(f"* OK {canary}\r\n".encode()))
    account = Account(bob, "bob", server)
    with Listener(bob) as listener:
        fail(account)
        listener.wait(1)
        assert not any(canary in line for line in listener.lines)
        wait_settled(account)
    # in the schedule is what the status shows, as it is shown by run
    found = find_bytes(bob.dir / "state", canary.encode())
    assert not [path for path in found
                if not os.path.basename(path).startswith("schedule.sqlite")]


def test_whom_it_belongs_to(bob, server):
    """An owner that is not the user; none; another one."""
    account = Account(bob, "bob", server, secret="wrong", owner="none")
    with Listener(bob) as listener:
        fail(account)
        record, = listener.wait(1)
        assert "owner" not in record and record["account"] == "bob/work"
        account.change(owner="anna")
        fail(account)
        gone, record = listener.wait(3)[1:]
        assert gone.word == "account-clear" and "owner" not in gone
        assert gone["gone"] == "yes"
        assert (record.word, record["owner"]) == ("account-fail", "anna")
        # who fixes it is not who hears of it
        account.change_secret("secret")
        account.change(owner="bob")
        account.run()
        clear = listener.wait(4)[3]
        assert (clear.word, clear["owner"]) == ("account-clear", "anna")
        assert "gone" not in clear


def test_deleted(bob, server):
    account = Account(bob, "bob", server, secret="wrong")
    fine = Account(bob, "bob", server, name="fine")
    fine.run()
    with Listener(bob) as listener:
        fail(account)
        for name in ("work", "fine"):
            done = bob.doveadm("imapsync", "account", "delete", "-u", "bob",
                               name)
            assert done.code == 0, done
        wait_settled(account)
        assert listener.words() == [("account-fail", "credential"),
                                    ("account-clear", None)]
        assert listener.records[1]["gone"] == "yes"


def test_rests(bob, server):
    """An account that is not enabled is no trouble."""
    account = Account(bob, "bob", server, secret="wrong")
    with Listener(bob) as listener:
        fail(account)
        account.change(enabled="no")
        done = bob.doveadm("imapsync", "account", "test", "-u", "bob", "work")
        assert done.code == EX_NOPERM, done
        account.run(code=None)
        account.change(enabled="yes")
        fail(account)
        listener.wait(3)
        wait_settled(account)
        assert listener.words() == [("account-fail", "credential"),
                                    ("account-clear", None),
                                    ("account-fail", "credential")]
        assert listener.records[1]["gone"] == "yes"


def test_nothing_is_known_of_it(bob, server):
    """Somebody stops a run; another one, of a process that has outlived its
    service, holds the account."""
    server.on("EXAMINE", stall(), times=1)
    account = Account(bob, "bob", server)
    with Listener(bob) as listener:
        with subprocess.Popen(bob.doveadm_command(*account.run_words()),
                              stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as first:
            wait_for(lambda: any("EXAMINE" in line
                                 for line in sum(server.log, [])),
                     what="the run to be under way")
            first.kill()
        wait_for(lambda: bob.log.lines("bob/work: .*stopped"),
                 what="the end of it")
        path, = glob.glob(f"{account.state_dir}/*.lock")
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            assert account.run(code=EX_TEMPFAIL).row["class"] == "busy"
        # what comes next is the first
        account.change_secret("wrong")
        fail(account)
        wait_settled(account)
        assert listener.words() == [("account-fail", "credential")]


def test_only_some_of_it_fails(bob, server):
    """A folder that cannot be opened is no failed login; what the admin does
    not allow is not for the owner to decide, but it is told."""
    account = Account(bob, "bob", server, secret="wrong", folders="*")
    with Listener(bob) as listener:
        fail(account)
        listener.wait(1)
        account.change_secret("secret")
        server.on("EXAMINE", answer("NO", "[NOPERM] not you"), times=1)
        run = account.run(code=EX_TEMPFAIL)
        assert run.row["class"] == "folder"
        assert listener.wait(2)[1].word == "account-clear"
        bob.configure("imapsync_pull_allowed_ports = 993\n")
        wait_settled(account)
    bob.restart()
    with Listener(bob) as listener:
        assert account.run(code=EX_NOPERM).row["class"] == "policy"
        wait_settled(account)
        assert listener.words() == [("account-fail", "policy")]


def test_file_is_broken(bob, server):
    """It is put aside, and what fails is told all the same."""
    account = Account(bob, "bob", server, secret="wrong")
    bob.stop()
    path = bob.dir / "state" / "imapsync-pull" / "reports.sqlite"
    for extra in ("-wal", "-shm"):
        (path.parent / (path.name + extra)).unlink(missing_ok=True)
    path.write_bytes(b"no database " * 100)
    bob.log.allow("not a database; moved to")
    bob.start()
    with Listener(bob) as listener:
        fail(account)
        wait_settled(account)
        assert listener.words() == [("account-fail", "credential")]
        assert len(bob.log.lines("not a database")) == 1
    assert path.with_name(path.name + ".aside").exists()
