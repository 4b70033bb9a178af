"""For tests of whole pulls: an account, told to doveadm as users do, and what
its runs said.

    account = Account(local, "bob", remote, preset="backup")
    row = account.run()
    row.new, row.direct, row.error
"""

import contextlib
import dataclasses
import os
import re
import time

from rig import append, snapshot, wait_for
from rig.fill import create_folder

FORMATS = ("maildir", "sdbox", "mdbox")
EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 75, 77, 78
# a server of the last century: no extension that a pull makes use of
PLAIN = "IMAP4rev1 LITERAL+ SASL-IR"
# in every secret; looked for afterwards in all that was written
CANARY = "Canary-5ecret"


@dataclasses.dataclass
class Run:
    """What one run said: the columns of its row, and how doveadm ended."""
    code: int
    err: str
    row: dict

    def __getattr__(self, name):
        try:
            return self.__dict__["row"][name]
        except KeyError:
            raise AttributeError(name) from None

    def counts(self, *names):
        return tuple(self.row[name] for name in names)


class Account:
    """One account of a local user."""

    def __init__(self, local, user, remote=None, login="anna", name="work",
                 secret=None, **keys):
        """remote: a Dovecot, or whatever has a port. Keys are those of
        doveadm imapsync account set."""
        self.local, self.user, self.name = local, user, name
        if secret is None:
            users = getattr(remote, "users", {})
            secret = users[login].password if login in users else "secret"
        self.secret = secret
        if remote is not None:
            port = remote.port("imap") if callable(remote.port) \
                else remote.port
            keys = {"host": "127.0.0.1", "port": port, "security": "none",
                    **keys}
        keys["login"] = login
        done = self.set(**keys)
        assert done.code == 0, f"account set: {done}"

    def set(self, **keys):
        """Change the account; returns what doveadm said."""
        return self.local.doveadm(
            "imapsync", "account", "set", "-u", self.user, self.name,
            *(f"{key}={value}" for key, value in keys.items()),
            stdin=self.secret + "\n", json=True)

    def change(self, **keys):
        done = self.set(**keys)
        assert done.code == 0, f"account set: {done}"

    def change_secret(self, secret):
        self.secret = secret
        done = self.local.doveadm(
            "imapsync", "account", "set", "-u", self.user, "--secret-file",
            "-", self.name, stdin=secret + "\n")
        assert done.code == 0, f"account set: {done}"

    def run_words(self, *options):
        return ("imapsync", "run", "-u", self.user, *options, self.name)

    def run(self, *options, code=0):
        """One run. code: how doveadm must end, None = as it likes."""
        done = self.local.doveadm(*self.run_words(*options), json=True)
        rows = done.rows
        assert len(rows) == 1, f"one row was to come: {done}"
        run = Run(done.code, done.err, rows[0])
        if code is not None:
            assert done.code == code, f"exit code {done.code}: {run}"
        if code == 0:
            assert (run.status, run.error) == ("ok", ""), str(run)
        return run

    def idle_run(self):
        """A run that must find nothing to do."""
        run = self.run()
        assert run.counts("new", "lmtp", "direct", "flags", "expunged",
                          "failed") == (0,) * 6, f"not idle: {run}"
        return run

    def snapshot(self, folders=None):
        return snapshot(self.local, self.user, folders)

    def source_id(self):
        done = self.local.doveadm("imapsync", "account", "show", "-u",
                                  self.user, self.name, json=True)
        return {row["key"]: row["value"] for row in done.rows}["source_id"]

    @property
    def home(self):
        return self.local.users[self.user].home

    @property
    def state_dir(self):
        return os.path.join(self.home, ".imapsync-pull")


# Remote mail, as its owner changes it

@contextlib.contextmanager
def selected(dovecot, user, folder="INBOX"):
    """A connection with a folder selected."""
    from rig import names
    client = dovecot.imap(user)
    status, answer = client.select(names.quote(folder))
    assert status == "OK", f"{user}: SELECT {folder}: {answer}"
    try:
        yield client
    finally:
        client.logout()


def store(dovecot, user, folder, uids, how, flags):
    """STORE, as store(remote, "anna", "INBOX", "1:3", "+FLAGS", "\\\\Seen")"""
    with selected(dovecot, user, folder) as client:
        status, answer = client.uid("STORE", uids, how, f"({flags})")
        assert status == "OK", answer


def expunge(dovecot, user, folder, uids):
    with selected(dovecot, user, folder) as client:
        client.uid("STORE", uids, "+FLAGS.SILENT", "(\\Deleted)")
        status, answer = client.expunge()
        assert status == "OK", answer


def add(dovecot, user, *messages):
    """APPEND into folders that are made if need be. Returns the UIDs."""
    client = dovecot.imap(user)
    uids = []
    for message in messages:
        create_folder(client, message.folder)
        uids.append(append(client, message))
    client.logout()
    return uids


# What is there

def merged(*snapshots):
    """All messages of several snapshots, folder by folder."""
    found = {}
    for snap in snapshots:
        for folder, messages in snap.items():
            found.setdefault(folder, []).extend(messages)
    return found


def only(snap, *folders):
    return {name: snap.get(name, []) for name in folders}


def count(snap):
    return sum(map(len, snap.values()))


def digests(snap):
    return sorted(message.digest for messages in snap.values()
                  for message in messages)


def recent(days):
    """A date so many days ago: initial_age is counted from today."""
    return int(time.time()) - days * 24 * 3600


# Processes

def worker(local, timeout=20):
    """The process that does a run, once there is one."""
    return wait_for(lambda: local.pids("imapsync-pull-worker"), timeout,
                    what="a worker")[0]


def process_status(pid):
    """/proc/PID/status as {key: value}."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        return dict(re.split(r":\s*", line.rstrip("\n"), maxsplit=1)
                    for line in file)


def find_bytes(directory, needle):
    """Files below a directory that hold these bytes."""
    found = []
    for path, _dirs, files in os.walk(directory):
        for name in files:
            full = os.path.join(path, name)
            if not os.path.isfile(full) or os.path.islink(full):
                continue
            with open(full, "rb") as file:
                if needle in file.read():
                    found.append(full)
    return found
