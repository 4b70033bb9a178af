"""An lmtp process that is killed between any two system calls: the message is
stored once when it comes again, with everything it had.

The instants are system calls of one delivery: strace kills the process at the
Nth call of a kind, for N = 1, 2, ... until the delivery gets through."""

import collections
import os
import subprocess

import pytest

from lmtp_rig import PluginDovecot
from rig import wait_for

FORMATS = ("maildir", "sdbox", "mdbox")
# what changes anything on disk, or waits until it is there
FEW = ("pwrite64", "rename", "fdatasync")
ALL = FEW + ("write", "fsync", "mkdir", "unlink", "link", "utimensat",
             "ftruncate", "openat", "fcntl")

ONE_PROCESS = """
service lmtp {
  process_min_avail = 1
  process_limit = 1
}
"""
CONTENT = (b"From: Ada <ada@example.org>\r\nTo: ben@example.net\r\n"
           b"Subject: engines\r\nMessage-ID: <%d@example.org>\r\n\r\n" +
           b"On the analytical engine, at length.\r\n" * 100)
DATE = 1234567890


class Killer:
    """Injects messages and has the lmtp process killed on the way."""

    def __init__(self, plugin, user, folders, mailbox="Filed"):
        self.plugin, self.dovecot, self.user = plugin, plugin.dovecot, user
        self.folders, self.mailbox = folders, mailbox
        self.uid = 0
        # {uid: folders it must be in}
        self.wanted = {}
        self.points = []

    def run(self, syscalls, most=1000):
        for syscall in syscalls:
            for number in range(1, most):
                if not self.point(syscall, number):
                    break
        return self

    def point(self, syscall, number):
        """Kill one delivery at one instant, send the message again, look.
        Returns False if the delivery did not get that far."""
        self.uid += 1
        mailbox = self.mailbox.format(uid=self.uid)
        where = f"{syscall} {number}, message {self.uid}"
        self.wanted[self.uid] = sorted(
            name.format(uid=self.uid) for name in self.folders)
        first = self.deliver_killed(f"{syscall}:signal=KILL:when={number}",
                                    mailbox)
        killed = first.reply == "-"
        if killed:
            self.points.append(f"{syscall} {number}")
            self.deliver_again(mailbox, where)
        else:
            assert first.state == "done", f"{where}: {first}"
        self.check(where, [self.uid])
        return killed

    def lmtp_pid(self):
        return wait_for(lambda: self.dovecot.pids("lmtp"),
                        what="an lmtp process")[0]

    def values(self, mailbox):
        return {"uid": self.uid, "mailbox": mailbox, "flags": "SF",
                "keywords": "work", "date": DATE}

    def deliver_killed(self, inject, mailbox):
        pid = self.lmtp_pid()
        strace = subprocess.Popen(
            ["strace", "-qq", "-f", "-p", str(pid), "-e",
             f"trace={inject.split(':')[0]}", "-e", f"inject={inject}",
             "-o", "/dev/null"], stderr=subprocess.PIPE)
        wait_for(lambda: "TracerPid:\t0" not in open(f"/proc/{pid}/status")
                 .read(), what="strace to attach")
        try:
            return self.plugin.inject(self.user, CONTENT % self.uid,
                                      **self.values(mailbox))
        finally:
            strace.terminate()
            strace.wait()
            strace.stderr.close()

    def remove_stale_locks(self):
        """Some of a killed process's locks hold everybody up for two or three
        minutes, whatever dotlock_use_excl says: long, but not wrong."""
        for path, _dirs, names in os.walk(self.dovecot.users[self.user].home):
            for name in names:
                if name.endswith((".lock", ".newlock")):
                    os.unlink(os.path.join(path, name))

    def deliver_again(self, mailbox, where):
        """As the worker does: the same slot, its stores kept, retry set."""
        self.remove_stale_locks()
        replies = []
        for _ in range(6):
            again = self.plugin.inject(
                self.user, CONTENT % self.uid, "--keep", "--retry",
                timeout=200, **self.values(mailbox))
            if again.state == "done" and again.reply.startswith("250"):
                return
            replies.append(again.reply)
        raise AssertionError(f"{where}: not accepted: {replies}")

    def check(self, where, uids):
        """Each of these messages once in each of its folders, complete."""
        found = collections.defaultdict(list)
        for row in self.fetch():
            uid = int(row["hdr.message-id"].split("@")[0].strip("<"))
            found[uid].append(row)
        for uid in uids:
            rows = found[uid]
            folders = sorted(row["mailbox"] for row in rows)
            assert folders == self.wanted[uid], (
                f"{where}: message {uid} is in {folders}, "
                f"not in {self.wanted[uid]}")
            for row in rows:
                flags = set(row["flags"].split()) - {"\\Recent"}
                assert flags == {"\\Seen", "\\Flagged", "work"}, (
                    f"{where}: {row}")
                assert int(row["date.received.unixtime"]) == DATE, (
                    f"{where}: {row}")
                assert int(row["size.virtual"]) >= len(CONTENT % uid), (
                    f"{where}: {row}")

    def fetch(self):
        done = self.dovecot.doveadm(
            "fetch", "-u", self.user, "mailbox flags date.received.unixtime "
            "size.virtual hdr.message-id", "ALL", json=True)
        assert done.code == 0, done.err
        return done.rows

    def finish(self):
        """Whatever a rebuild brings back, everything is there once."""
        self.check("at the end", self.wanted)
        done = self.dovecot.doveadm("force-resync", "-u", self.user, "*")
        assert done.code == 0, done.err
        self.check("after force-resync", self.wanted)
        print(f"{self.user}: {len(self.points)} points: "
              f"{', '.join(self.points)}")
        return self


def killer(scratch, mail_format, script, folders, **options):
    plugin = PluginDovecot(scratch)
    plugin.dovecot.configure(ONE_PROCESS)
    # killed processes, and those that clean up after them, complain
    plugin.dovecot.log.allow("Error: |Fatal: ")
    plugin.add_user("ben", mail_format, script)
    plugin.dovecot.start()
    plugin.inject("ben", CONTENT % 0, uid=1_000_000, mailbox="INBOX")
    for folder in folders:
        if "{uid}" not in folder:
            plugin.dovecot.doveadm("mailbox", "create", "-u", "ben", folder)
    return Killer(plugin, "ben", folders, **options)


@pytest.mark.parametrize("mail_format", FORMATS)
def test_killed(scratch, mail_format):
    run = killer(scratch, mail_format, "keep;", ["Filed"]).run(FEW)
    assert len(run.finish().points) >= 8


@pytest.mark.parametrize("mail_format", FORMATS)
def test_killed_between_two_stores(scratch, mail_format):
    """Two copies by one script: both or, after the retry, both."""
    script = 'require ["copy", "fileinto"]; fileinto :copy "Copy"; keep;'
    run = killer(scratch, mail_format, script, ["Copy", "Filed"])
    run.run(("pwrite64", "fdatasync"))
    assert len(run.finish().points) >= 6


@pytest.mark.soak
@pytest.mark.parametrize("mail_format", FORMATS)
def test_killed_anywhere(scratch, mail_format):
    run = killer(scratch, mail_format, "keep;", ["Filed"]).run(ALL)
    assert len(run.finish().points) >= 30


@pytest.mark.soak
@pytest.mark.parametrize("mail_format", FORMATS)
def test_killed_anywhere_new_folder(scratch, mail_format):
    """The folder does not exist yet when the delivery begins."""
    run = killer(scratch, mail_format, "keep;", ["New {uid}"],
                 mailbox="New {uid}").run(ALL)
    assert len(run.finish().points) >= 30


@pytest.mark.soak
@pytest.mark.parametrize("mail_format", FORMATS)
def test_killed_anywhere_two_stores(scratch, mail_format):
    script = 'require ["copy", "fileinto"]; fileinto :copy "Copy"; keep;'
    run = killer(scratch, mail_format, script, ["Copy", "Filed"]).run(ALL)
    assert len(run.finish().points) >= 30


@pytest.mark.soak
@pytest.mark.parametrize("mail_format", FORMATS)
def test_killed_anywhere_edited(scratch, mail_format):
    """What is stored is not of the size that was announced."""
    script = ('require "editheader"; addheader "X-Added" "yes"; keep;')
    run = killer(scratch, mail_format, script, ["Filed"])
    assert len(run.run(FEW).finish().points) >= 8
