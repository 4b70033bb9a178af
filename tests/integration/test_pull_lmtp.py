"""Pulls that go by LMTP: Sieve runs, and what it keeps has folder, flags,
keywords and date of the remote message, once, whatever becomes of lmtp."""

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import sqlite3
import struct

import pytest

from lmtp_rig import Outside
from pull_rig import (EX_TEMPFAIL, FORMATS, Account, add, count, find_bytes,
                      merged, only, store)
from rig import (Corpus, assert_same, fill_maildir, local_dovecot, snapshot,
                 wait_for)
from rig.compare import expected
from rig.corpus import KINDS
from rig.fill import create_folder
from scripted_imap import Server

SCRIPT = """
require ["fileinto", "mailbox", "imap4flags", "vacation"];
vacation :addresses "anna@example.net" :days 1 "I am away";
if header :contains "Subject" "file " {
  fileinto :create "Filed/здесь";
} elsif header :contains "Subject" "flag " {
  addflag "\\\\Flagged"; addflag "sieved"; keep;
} elsif header :contains "Subject" "drop " {
  discard;
}
"""
WORDS = ("file", "flag", "drop", "keep")


def make_messages(corpus, folder="INBOX", kinds=KINDS):
    """Each kind of content for each branch of the script."""
    return [corpus.message(folder, kind=kind, subject=f"{word} {number}",
                           date=1_600_000_000 + 100 * number, keywords=["kw"])
            for number, kind in enumerate(kinds) for word in WORDS]


def sieved(messages, history):
    """What the script leaves of them."""
    found = expected([])
    for message in messages:
        stored = expected([message])[message.folder][0]
        folder, word = message.folder, next(
            word for word in WORDS
            if f"{word} ".encode() in message.content[:2000])
        if word == "drop" and not history:
            continue
        if word == "file":
            folder = "Filed/здесь"
        if word == "flag":
            stored = dataclasses.replace(
                stored, flags=stored.flags | {"\\Flagged"},
                keywords=stored.keywords | {"sieved"})
        found.setdefault(folder, []).append(stored)
    return found


@pytest.fixture
def outside(local):
    with Outside(local.port("submission")) as server:
        yield server


def start(remote, local, messages, mail_format, script=None, **keys):
    fill_maildir(remote, "anna", messages)
    local.add_user("bob", mail_format=mail_format)
    if script is not None:
        local.sieve("bob", script)
    remote.start()
    local.start()
    keys = {"preset": "backup", "history": "lmtp", "deliver": "lmtp", **keys}
    return Account(local, "bob", remote, **keys)


@pytest.mark.parametrize("mail_format", FORMATS)
def test_through_sieve(remote, local, outside, mail_format):
    """History keeps quiet and loses nothing; new mail meets the whole
    script. Filed folders never meet it."""
    corpus = Corpus(seed=31, mean=1500)
    old, sent = make_messages(corpus), make_messages(corpus, "Sent", ["tiny"])
    account = start(remote, local, old + sent, mail_format, SCRIPT)
    run = account.run()
    assert run.counts("new", "lmtp", "direct") == \
        (len(old) + len(sent), len(old), len(sent))
    wanted = merged(sieved(old, True), expected(sent))
    assert_same(wanted, account.snapshot(), order=False)
    assert not outside.messages, "vacation answered history"
    account.idle_run()

    new = make_messages(corpus, kinds=["plain", "utf8"])
    add(remote, "anna", *new)
    assert account.run().lmtp == len(new)
    wanted = merged(wanted, sieved(new, False))
    assert_same(wanted, account.snapshot(), order=False)
    # somebody is told that we are away; nobody twice
    wait_for(lambda: outside.messages, what="an answer of vacation")
    assert len(outside.recipients) == len(set(outside.recipients))
    account.idle_run()
    # our header has gone
    assert not find_bytes(account.home, b"\nX-Imapsync")


def test_filed_mail_after_a_new_uidvalidity(local):
    """What Sieve filed is known where it is, also under its new UID: flags
    and expunges of the remote get there."""
    corpus = Corpus(seed=34, mean=1000)
    local.add_user("bob", mail_format="sdbox")
    local.sieve("bob", SCRIPT)
    local.start()
    with Server() as server:
        inbox = server.add("INBOX")
        for subject in ("file 1", "keep 2"):
            inbox.append(corpus.message("INBOX", subject=subject).content)
        account = Account(local, "bob", server, preset="backup",
                          history="lmtp", deliver="lmtp")
        assert account.run().lmtp == 2
        inbox.new_uidvalidity()
        assert account.run().counts("new", "adopted") == (0, 2)
        inbox.set_flags(1, ["\\Answered"])
        assert account.run().flags == 1
        filed, = account.snapshot()["Filed/здесь"]
        assert filed.flags == {"\\Answered"}
        inbox.expunge(1)
        assert account.run().expunged == 1
        assert count(account.snapshot()) == 1
        account.idle_run()


SLOTS, PAGE, ENTERED, DONE = 128, 4096, 1, 3


def inflight(account):
    return pathlib.Path(account.state_dir, f"{account.source_id()}.inflight")


def write_slot(account, slot, state, folder="INBOX", uidvalidity=1, uid=None,
               guid=None):
    """As a run that was killed leaves it. guid: it was stored with that in
    the INBOX."""
    name = b"INBOX"
    store_bytes = b"" if guid is None else struct.pack(
        ">HHQ", len(name), len(guid), 0) + name + guid.encode()
    folder_hash = hashlib.sha256(folder.encode()).digest()[:8]
    with open(inflight(account), "r+b") as file:
        file.seek(PAGE * (1 + slot))
        file.write(struct.pack(">BBHIII8sQ", state, 0, guid is not None,
                               uidvalidity, uid or 1 + slot, len(store_bytes),
                               folder_hash, slot) + store_bytes)


def slot_state(account, slot):
    return inflight(account).read_bytes()[PAGE * (1 + slot)]


@pytest.mark.parametrize("free", (1, 20, 60))
def test_slots_are_short(remote, local, free):
    """What waits for a slot gets one, however few there are."""
    corpus = Corpus(seed=33, mean=1000)
    messages = [corpus.message("INBOX") for _ in range(100)]
    account = start(remote, local, messages[:1], "sdbox")
    assert account.run().lmtp == 1
    for slot in range(SLOTS - free):
        write_slot(account, slot, ENTERED)
    add(remote, "anna", *messages[1:])
    assert account.run().lmtp == len(messages) - 1
    assert_same(expected(messages), account.snapshot(), order=False)
    account.idle_run()


def test_slots_of_folders_that_are_gone(remote, local):
    """Where they take the room, they are free again, but for those that lmtp
    still delivers for. A few are kept: the folder may be back."""
    corpus = Corpus(seed=33, mean=1000)
    messages = [corpus.message("INBOX") for _ in range(3)]
    account = start(remote, local, messages[:1], "sdbox", exclude="Old")
    create_folder(remote.imap("anna"), "Old")
    assert account.run().lmtp == 1
    for slot in range(SLOTS):
        write_slot(account, slot, ENTERED, ("Gone", "Old")[slot % 2])
    add(remote, "anna", *messages[1:])
    with open(inflight(account), "r+b") as file:
        fcntl.fcntl(file, fcntl.F_OFD_SETLK, struct.pack(
            "hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, PAGE * (1 + 5), PAGE, 0))
        assert account.run().lmtp == 2
        assert slot_state(account, 5) == ENTERED
    account.run()
    assert [slot for slot in range(SLOTS) if slot_state(account, slot)] == [5]
    assert_same(expected(messages), account.snapshot(), order=False)


def database(account):
    path = pathlib.Path(account.state_dir, f"{account.source_id()}.sqlite")
    return contextlib.closing(sqlite3.connect(path))


@pytest.mark.parametrize("written", (True, False))
def test_done_before_it_was_killed(remote, local, written):
    """A slot says that a message is stored: what the database knows of it
    stays; if it knows nothing, it learns enough to tell when the mail was
    lost."""
    corpus = Corpus(seed=33, mean=1000)
    messages = [corpus.message("INBOX", flags=["\\Flagged"])
                for _ in range(3)]
    account = start(remote, local, messages, "sdbox")
    assert account.run().lmtp == 3
    with database(account) as db, db:
        row, = db.execute("SELECT * FROM message WHERE uid = 2")
        guid, uidvalidity, uidnext = db.execute(
            "SELECT guid, uidvalidity, local_uidnext FROM message, folder"
            " WHERE folder = id AND uid = 2").fetchone()
        if not written:
            db.execute("DELETE FROM message WHERE uid = 2")
    write_slot(account, 3, DONE, uidvalidity=uidvalidity, uid=2, guid=guid)
    account.idle_run()
    assert not slot_state(account, 3)
    with database(account) as db:
        after, = db.execute("SELECT * FROM message WHERE uid = 2")
        if written:
            assert after == row
        else:
            assert db.execute("SELECT guid, mailbox, local_uid FROM message"
                              " WHERE uid = 2").fetchone() == \
                (guid, None, uidnext)


@pytest.mark.parametrize("mail_format", FORMATS)
def test_other_folders_history(remote, local, mail_format):
    """history=lmtp is for all folders but the filed ones: place is kept."""
    messages = Corpus(seed=32, mean=2000).messages(120)
    account = start(remote, local, messages, mail_format)
    filed = sum(message.folder in ("Sent", "Drafts", "Junk", "Trash")
                for message in messages)
    assert account.run().counts("new", "lmtp", "direct") == \
        (120, 120 - filed, filed)
    assert_same(snapshot(remote, "anna"), account.snapshot(), order=False)
    account.idle_run()


@pytest.mark.parametrize("mail_format", FORMATS)
def test_what_sieve_filed_is_followed(remote, local, mail_format):
    """Flag changes and mirrored expunges find the mail where the script put
    it."""
    from pull_rig import expunge
    corpus = Corpus(seed=33)
    messages = [corpus.message(subject=f"file {n}", flags=[], keywords=[])
                for n in range(5)]
    account = start(remote, local, messages, mail_format, SCRIPT)
    account.run()
    store(remote, "anna", "INBOX", "2", "FLAGS", "\\Answered seen-it")
    assert account.run().flags == 1
    expunge(remote, "anna", "INBOX", "4")
    assert account.run().expunged == 1
    assert_same(snapshot(remote, "anna"), account.snapshot(), order=False,
                folder_map={"INBOX": "Filed/здесь"})


def test_without_the_plugin(remote, scratch):
    """An lmtp that does not know our header: noticed by the first message,
    and said."""
    local = local_dovecot(scratch, plugin=False)
    account = start(remote, local, [Corpus(seed=n).message()
                                    for n in range(20)], "maildir")
    run = account.run(code=None)
    assert run.code not in (0, None), str(run)
    assert "imapsync_pull" in run.error or "plugin" in run.error, str(run)
    assert count(account.snapshot()) == 1
    # and it does not go on like that one by one
    account.run(code=None)
    assert count(account.snapshot()) <= 2


@pytest.mark.parametrize("mail_format", FORMATS)
def test_lmtp_down(remote, local, mail_format):
    """Nothing is lost; back up again, everything comes once."""
    messages = Corpus(seed=34, folders={"INBOX": 2, "Sent": 1}).messages(40)
    account = start(remote, local, messages, mail_format)
    socket = local.socket("lmtp")
    local.log.allow("lmtp-client: .*No such file")
    os.rename(socket, socket + ".away")
    run = account.run(code=EX_TEMPFAIL)
    assert run.row["class"] == "local", str(run)
    assert "lmtp" in run.error.lower(), run.error
    assert "bob/work" in local.log.lines("failed|partial")[-1]
    assert not account.snapshot()["INBOX"]
    os.rename(socket + ".away", socket)
    account.run()
    assert_same(snapshot(remote, "anna"), account.snapshot(), order=False)
    account.idle_run()


@pytest.mark.parametrize("history", ["direct", "lmtp"])
@pytest.mark.parametrize("mail_format", ["maildir", "sdbox"])
def test_over_quota(remote, local, mail_format, history):
    """The remote side is left alone, and when there is room the rest
    comes."""
    local.add_piece("QUOTA", bytes=20_000)
    corpus = Corpus(seed=35)
    messages = [corpus.message(kind="plain", size=3000) for _ in range(12)]
    account = start(remote, local, messages, mail_format, history=history)
    run = account.run(code=EX_TEMPFAIL)
    assert run.row["class"] == "quota", str(run)
    assert "quota" in run.error.lower(), run.error
    assert count(account.snapshot()) < 12
    account.run(code=EX_TEMPFAIL)
    local.add_piece("QUOTA", bytes=20_000_000)
    local.restart()
    account.run()
    assert_same(snapshot(remote, "anna"), account.snapshot(), order=False)
    account.idle_run()


def test_sieve_error_keeps_the_mail(remote, local):
    """A broken script: mail is kept, as Sieve does."""
    messages = Corpus(seed=36, folders={"INBOX": 1}).messages(10)
    account = start(remote, local, messages, "sdbox", "this is not Sieve\n")
    local.log.allow("sieve")
    account.run()
    assert_same(snapshot(remote, "anna"), account.snapshot(), order=False)


def test_lmtp_processes_die(remote, local):
    """Killed while they deliver, again and again."""
    import subprocess
    import time
    messages = Corpus(seed=37, folders={"INBOX": 1}, mean=1000).messages(300)
    account = start(remote, local, messages, "maildir")
    local.log.allow("killed with signal 9|throttling")
    local.log.allow("lmtp-client: .*(Connection|connect)")
    running = subprocess.Popen(
        local.doveadm_command("-f", "json", *account.run_words()),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    killed = 0
    while running.poll() is None and killed < 12:
        for pid in local.pids("lmtp"):
            try:
                local.kill(pid)
                killed += 1
            except (ValueError, ProcessLookupError):
                pass
        time.sleep(0.05)
    said = running.communicate(timeout=120)[0]
    assert running.returncode in (0, EX_TEMPFAIL), said
    assert killed, "no lmtp process was there"
    account.run()
    assert_same(snapshot(remote, "anna"), account.snapshot(), order=False)
    account.idle_run()
