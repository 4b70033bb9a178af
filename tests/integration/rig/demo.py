"""scripts/demo: one pull from beginning to end, with private servers."""

import re
import shlex
import subprocess
import sys
import time

from . import (Corpus, Message, Scratch, append, fill_maildir, local_dovecot,
               remote_dovecot, snapshot, wait_for)
from . import names
from .corpus import NEWEST, YEAR

USER, REMOTE_USER, ACCOUNT = "anna", "anna@example.org", "work"
MESSAGES = 400
# the folder in which one message gets a star
STARRED = "Lists/dovecot"
SUBJECTS = ("Minutes of meeting {n}", "Re: question {n}", "Newsletter {n}",
            "Holiday pictures {n}")
SIEVE = """require ["fileinto", "mailbox"];
if header :contains "Subject" "Invoice" {
  fileinto :create "Invoices";
}
"""


class Demo:
    def __init__(self, scratch):
        self.remote = remote_dovecot(scratch)
        self.local = local_dovecot(scratch, schedule=True)
        self.secret = "correct horse battery staple"
        self.secret_file = scratch.path / "remote-password"
        self.corpus = Corpus(seed=2024)
        self.messages = self._sample()
        self.starred = next(m for m in self.messages if m.folder == STARRED
                            and "\\Flagged" not in m.flags)

    def _sample(self):
        made = []
        for number, drawn in enumerate(self.corpus.messages(MESSAGES)):
            subject = SUBJECTS[number % len(SUBJECTS)]
            if drawn.folder == "INBOX" and number % 4 == 0:
                subject = "Invoice {n}"
            made.append(self.corpus.message(
                drawn.folder, kind="plain", date=drawn.date,
                flags=drawn.flags, keywords=drawn.keywords,
                subject=subject.format(n=number)))
        return made

    @staticmethod
    def message_id(message):
        return re.search(rb"^Message-ID: (\S+)", message.content,
                         re.MULTILINE).group(1).decode()

    # -- words on the screen

    @staticmethod
    def title(text):
        print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty()
              else f"\n== {text}", flush=True)

    def doveadm(self, *args, stdin=None, may_fail=False):
        """Show a doveadm command, then run it on this terminal."""
        shown = " ".join(map(shlex.quote, args))
        print(f"$ doveadm {shown}{f' < {stdin}' if stdin else ''}",
              flush=True)
        source = open(stdin, "rb") if stdin else subprocess.DEVNULL
        began = time.monotonic()
        code = subprocess.run(self.local.doveadm_command(*args),
                              stdin=source, check=False).returncode
        if code != 0 and not may_fail:
            print(f"doveadm ended with exit code {code}; the server's log:\n"
                  f"{self.local.log.text()}", file=sys.stderr)
            raise SystemExit(1)
        return time.monotonic() - began

    # -- the steps

    def start(self):
        self.title(f"A remote server with {MESSAGES} messages of "
                   f"{REMOTE_USER}, and a local one")
        self.remote.add_user(REMOTE_USER, self.secret)
        fill_maildir(self.remote, REMOTE_USER, self.messages)
        self.remote.start()
        self.local.add_user(USER, mail_format="sdbox")
        self.local.sieve(USER, SIEVE)
        self.local.start()
        self.secret_file.touch(0o600)
        self.secret_file.write_text(self.secret + "\n")
        print(f"remote: localhost, port {self.remote.port('imaps')} (TLS); "
              f"local: user {USER}, whose Sieve script is\n\n{SIEVE}")
        print("doveadm below means\n  " + " ".join(
            self.local.doveadm_command()))

    def account(self):
        self.title("Add the account: the secret comes on standard input. "
                   "With enabled=no it is not pulled yet")
        self.doveadm(
            "imapsync", "account", "set", "-u", USER, ACCOUNT,
            "host=localhost", f"port={self.remote.port('imaps')}",
            f"login={REMOTE_USER}", "preset=backup", "deliver=lmtp",
            "history=lmtp", "enabled=no", stdin=self.secret_file)
        self.title("Test it, step by step")
        self.doveadm("-f", "table", "imapsync", "account", "test", "-u", USER,
                     ACCOUNT)
        self.title("Its folders, and what they become here")
        self.doveadm("-f", "table", "imapsync", "account", "folders", "-u",
                     USER, ACCOUNT)

    def pull(self):
        self.title("From now on it is pulled by itself: through LMTP and "
                   "Sieve (history=lmtp), but Sent, Drafts, Junk and Trash "
                   "are saved directly")
        self.doveadm("-f", "table", "imapsync", "account", "resume", "-u",
                     USER, ACCOUNT)
        wait_for(self.is_watched, timeout=120,
                 what="the first pull, and a connection that waits for news")
        self.doveadm("-f", "pager", "imapsync", "status", "-u", USER, ACCOUNT)

    def is_watched(self):
        row, = self.local.doveadm("imapsync", "status", "-u", USER, ACCOUNT,
                                  json=True).rows
        return row["watch"] and row["state"] == "waiting"

    def arrived(self):
        self.title("What arrived where")
        self.doveadm("-f", "table", "mailbox", "status", "-u", USER,
                     "messages unseen vsize", "*")
        for mailbox in ("INBOX", "Invoices", "Archive/2019"):
            self.title(f"The first in {mailbox}, with flags, keywords and "
                       "arrival dates of the remote")
            self.doveadm("-f", "table", "fetch", "-u", USER,
                         "uid flags date.received hdr.subject",
                         "mailbox", mailbox, "1:4", may_fail=True)

    def change(self):
        self.title("On the remote: one message gets a star, and a new one "
                   "arrives")
        client = self.remote.imap(REMOTE_USER)
        client.select(names.quote(STARRED))
        # UIDs there are in the order the sample was made in
        uid = 1 + [m for m in self.messages if m.folder == STARRED].index(
            self.starred)
        client.uid("STORE", str(uid), "+FLAGS", "(\\Flagged)")
        append(client, Message("INBOX", self.corpus.message(
            subject="Fresh from the remote").content, date=NEWEST + YEAR))
        client.logout()

    def again(self):
        self.title("The remote tells of it: nobody has to ask")
        began = time.monotonic()
        wait_for(lambda: self.local.doveadm(
            "search", "-u", USER, "mailbox", "INBOX", "subject", "Fresh").out,
            what="the new message")
        print(f"(here after {time.monotonic() - began:.2f} seconds)")
        self.doveadm("-f", "table", "fetch", "-u", USER,
                     "mailbox uid flags date.received hdr.subject",
                     "mailbox", "INBOX", "subject", "Fresh")
        self.doveadm("-f", "table", "fetch", "-u", USER,
                     "mailbox uid flags date.received hdr.subject",
                     "mailbox", STARRED, "header", "Message-ID",
                     self.message_id(self.starred))

    def by_hand(self):
        self.title("A pull by hand has nothing left to do")
        seconds = self.doveadm("-f", "table", "imapsync", "run", "-u", USER,
                               ACCOUNT)
        print(f"({seconds:.2f} seconds)")

    def count(self):
        self.title("Nothing came twice, nothing is missing")
        there = snapshot(self.remote, REMOTE_USER)
        here = snapshot(self.local, USER)
        there_digests = sorted(m.digest for box in there.values() for m in box)
        here_digests = sorted(m.digest for box in here.values() for m in box)
        print(f"remote: {len(there_digests)} messages; local: "
              f"{len(here_digests)} messages, "
              f"{len(set(here_digests))} different ones")
        if there_digests != here_digests:
            print("The two differ: this should not be.", file=sys.stderr)
            raise SystemExit(1)

    def where_next(self):
        self.title("Where to go from here")
        print("README.md                       what it does, how to install\n"
              "man doc/man/doveadm-imapsync.1  every command and account key\n"
              "conf.d/                         settings, for either Dovecot\n"
              "scripts/test                    the tests")

    def keep_running(self):
        self.title("The servers keep running")
        print(f"IMAP  127.0.0.1 port {self.local.port('imap')} (local), user "
              f"{USER}, password {self.local.users[USER].password}\n"
              f"IMAP  127.0.0.1 port {self.remote.port('imap')} (remote), user "
              f"{REMOTE_USER}, password {self.secret}\n"
              f"HTTP  http://127.0.0.1:{self.local.port('http')}/doveadm/v1, "
              f"key {self.local.api_key}\n"
              f"Files {self.local.dir}\n\nEnter ends them.")
        sys.stdin.readline()


def main():
    with Scratch() as scratch:
        demo = Demo(scratch)
        demo.start()
        demo.account()
        demo.pull()
        demo.arrived()
        demo.change()
        demo.again()
        demo.by_hand()
        demo.count()
        demo.where_next()
        if "--keep" in sys.argv[1:]:
            demo.keep_running()


if __name__ == "__main__":
    main()
