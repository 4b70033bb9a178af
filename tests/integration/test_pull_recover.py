"""State or mail that went back in time or got lost: what is here is
recognised, what is missing comes again, what the user deleted does not."""

import contextlib
import glob
import os
import shutil
import sqlite3
import subprocess

import pytest

from pull_rig import (FORMATS, Account, add, count, digests, expunge,
                      selected, store)
from rig import Corpus, assert_same, fill_maildir, snapshot
from rig.scratch import MAIL_UID

FOLDERS = {"INBOX": 2, "Lists/a": 1, "日本": 1}
WAYS = ("direct", "lmtp")


def copy_tree(source, target):
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", source, target], check=True)


@pytest.fixture
def pulled(remote, local):
    """An account with everything pulled."""
    def make(mail_format="maildir", way="direct", messages=60, **keys):
        corpus = Corpus(seed=61, folders=FOLDERS, mean=2000)
        fill_maildir(remote, "anna", corpus.messages(messages))
        local.add_user("bob", mail_format=mail_format)
        remote.start()
        local.start()
        account = Account(local, "bob", remote, preset="backup",
                          history=way, deliver=way, **keys)
        account.corpus = corpus
        assert account.run().new == messages
        return account
    return make


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mail_format", FORMATS)
def test_state_is_lost(pulled, remote, mail_format, way):
    """Nothing comes twice: recognised by GUID where we set it, else by
    content. News come, and flags are followed afterwards."""
    account = pulled(mail_format, way)
    shutil.rmtree(account.state_dir)
    add(remote, "anna", account.corpus.message("INBOX"),
        account.corpus.message("Lists/a"))
    assert account.run().counts("new", "adopted") == (2, 60)
    assert_same(snapshot(remote, "anna"), account.snapshot(), order=False)
    store(remote, "anna", "INBOX", "1:3", "FLAGS", "\\Flagged again")
    account.run()
    assert_same(snapshot(remote, "anna"), account.snapshot(), order=False)
    account.idle_run()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mail_format", FORMATS)
def test_state_is_older(pulled, remote, mail_format, way):
    """A state file of yesterday under the mail of today."""
    account = pulled(mail_format, way)
    old = account.state_dir + ".old"
    copy_tree(account.state_dir, old)
    new = [account.corpus.message(folder) for folder in FOLDERS] * 3
    add(remote, "anna", *[account.corpus.message(message.folder)
                          for message in new])
    assert account.run().new == len(new)
    copy_tree(old, account.state_dir)
    assert account.run().new == 0
    assert_same(snapshot(remote, "anna"), account.snapshot(), order=False)
    account.idle_run()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mail_format", FORMATS)
def test_mail_is_older(pulled, local, remote, mail_format, way):
    """The mailbox was restored from a backup: what it had lost comes again,
    what the user had deleted before the backup does not."""
    account = pulled(mail_format, way)
    expunge(local, "bob", "INBOX", "2:5")
    expunge(local, "bob", "Lists/a", "1")
    account.idle_run()
    root = os.path.join(account.home, {"maildir": "Maildir"}.get(
        mail_format, mail_format))
    local.stop()
    copy_tree(root, root + ".backup")
    local.start()
    kept = account.snapshot()
    add(remote, "anna", *[account.corpus.message(folder)
                          for folder in FOLDERS for _ in range(4)])
    assert account.run().new == 12
    wanted = account.snapshot()
    local.stop()
    copy_tree(root + ".backup", root)
    local.start()
    assert_same(kept, account.snapshot())
    assert account.run().new == 12
    assert_same(wanted, account.snapshot(), order=False)
    account.idle_run()


@pytest.mark.parametrize("mail_format", FORMATS)
def test_mail_and_state_are_lost(pulled, local, remote, mail_format):
    """The account starts anew: everything comes again."""
    account = pulled(mail_format)
    local.stop()
    shutil.rmtree(account.state_dir)
    shutil.rmtree(os.path.join(account.home, {"maildir": "Maildir"}.get(
        mail_format, mail_format)))
    local.start()
    account.run()
    assert_same(snapshot(remote, "anna"), account.snapshot())
    account.idle_run()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mail_format", FORMATS)
def test_index_is_rebuilt(pulled, local, remote, mail_format, way):
    """Nothing comes twice, and nothing that the user deleted; flags are
    followed."""
    account = pulled(mail_format, way)
    expunge(local, "bob", "INBOX", "1:3")
    local.log.allow("Rebuilding|Corrupted|fscked|Expunged message reappeared|"
                    "reset|lost|missing")
    wanted = account.snapshot()
    done = local.doveadm("force-resync", "-u", "bob", "*")
    assert done.code == 0, done
    if mail_format == "maildir":
        local.stop()
        for pattern in ("", ".*/"):
            for path in glob.glob(f"{account.home}/Maildir/{pattern}"
                                  "dovecot.index*"):
                os.unlink(path)
        local.start()
    assert account.run().new == 0
    assert account.run("--full").new == 0
    assert digests(wanted) == digests(account.snapshot())
    # by LMTP the order is not kept: the first three are some of the first
    store(remote, "anna", "INBOX", "20:21", "FLAGS", "\\Answered later")
    assert account.run().counts("new", "flags") == (0, 2)
    assert digests(wanted) == digests(account.snapshot())


def test_uidlist_is_lost(pulled, local, remote):
    """Maildir alone: file names are enough to know our mail."""
    account = pulled("maildir")
    local.stop()
    for pattern in ("", ".*/"):
        for path in glob.glob(f"{account.home}/Maildir/{pattern}dovecot*"):
            os.unlink(path)
    local.start()
    add(remote, "anna", account.corpus.message("INBOX"))
    assert account.run().new == 1
    # keywords have lost their names with dovecot-keywords; mail that was
    # marked done is not looked at for that
    found, wanted = account.snapshot(), snapshot(remote, "anna")
    assert digests(found) == digests(wanted)
    account.idle_run()


@pytest.mark.parametrize("mail_format", FORMATS)
def test_state_and_index_are_lost(pulled, local, mail_format):
    account = pulled(mail_format)
    wanted = account.snapshot()
    local.stop()
    shutil.rmtree(account.state_dir)
    if mail_format == "maildir":
        for pattern in ("", ".*/"):
            for path in glob.glob(f"{account.home}/Maildir/{pattern}dovecot*"):
                os.unlink(path)
    local.start()
    assert account.run().counts("new", "adopted") == (0, 60)
    assert_same(wanted, account.snapshot(), order=False)


def test_state_is_garbage(pulled, local, remote):
    """F20: said, and nothing is pulled over it."""
    account = pulled("sdbox")
    path, = glob.glob(account.state_dir + "/*.sqlite")
    with open(path, "r+b") as file:
        file.write(b"this is no database" * 100)
    run = account.run(code=75)
    assert run.row["class"] == "local" and "state database" in run.error
    assert count(account.snapshot()) == 60
    os.unlink(path)
    account.run()
    assert_same(snapshot(remote, "anna"), account.snapshot(), order=False)


def test_another_format(pulled, local, remote):
    """The mail was converted, GUIDs and all, and the state came along."""
    account = pulled("sdbox")
    expunge(local, "bob", "INBOX", "1:2")
    done = local.doveadm("sync", "-1", "-u", "bob", "mdbox:~/mdbox")
    assert done.code == 0, done
    wanted = account.snapshot()
    local.set_format("bob", "mdbox")
    local.restart()
    assert digests(account.snapshot()) == digests(wanted)
    assert account.run("--full").new == 0
    assert digests(account.snapshot()) == digests(wanted)


@pytest.mark.parametrize("mail_format", FORMATS)
def test_copies_of_the_users_stay(pulled, local, remote, mail_format):
    """State lost, and mail that the user copied elsewhere."""
    account = pulled(mail_format)
    with selected(local, "bob") as client:
        client.create("Elsewhere")
        client.uid("COPY", "1:3", "Elsewhere")
        client.uid("COPY", "4:5", '"Lists/a"')
    wanted = account.snapshot()
    shutil.rmtree(account.state_dir)
    assert account.run().new == 0
    assert_same(wanted, account.snapshot())
    account.idle_run()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mail_format", FORMATS)
def test_copies_in_the_same_folder_stay(pulled, local, mail_format, way):
    """State lost, and mail that the user copied where it was. In sdbox and
    mdbox such a copy has the same GUID; it is the user's all the same."""
    account = pulled(mail_format, way)
    with selected(local, "bob", "Lists/a") as client:
        client.uid("COPY", "1:3", '"Lists/a"')
    wanted = account.snapshot()
    assert count(wanted) == 63
    shutil.rmtree(account.state_dir)
    assert account.run().counts("new", "adopted") == (0, 60)
    assert_same(wanted, account.snapshot())
    account.idle_run()


def test_twins_are_two(remote, local):
    """H101: the same message twice on the remote is twice here, also by
    content."""
    message = Corpus(seed=62).message(flags=[], keywords=[])
    fill_maildir(remote, "anna", [message] * 5)
    local.add_user("bob")
    remote.start()
    local.start()
    for way in WAYS:
        account = Account(local, "bob", remote, preset="backup", history=way,
                          subfolder=way, name=way)
        account.run()
        shutil.rmtree(account.state_dir)
        assert account.run().new == 0
        assert len(account.snapshot()[f"{way}/INBOX"]) == 5
        add(remote, "anna", message)
        assert account.run().new == 1
        expunge(remote, "anna", "INBOX", "*")


def test_keywords_are_looked_after_though_mail_is_gone(pulled, local, remote):
    """A run was killed, and then the user deleted half of what it brought: the
    next one mends the keywords of what is there, and looks for the rest."""
    account = pulled(messages=120)
    done = snapshot(local, "bob")["INBOX"]
    with selected(local, "bob") as client:
        client.uid("STORE", f"{done[len(done) // 2].uid}:*", "+FLAGS",
                   "(\\Deleted)")
        client.expunge()
    for path in glob.glob(f"{account.state_dir}/*.sqlite"):
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            assert db.execute("UPDATE folder SET dirty = 1").rowcount > 0
    add(remote, "anna", account.corpus.message("INBOX"))
    assert account.run().new == 1
