"""The rig itself: servers start, mail goes in and comes out as it was."""

import pytest

from rig import (Corpus, append, assert_same, differences, fill_imap,
                 fill_maildir, snapshot, wait_for)
from rig.compare import expected
from rig.corpus import KINDS
from rig.system import DIALECTS

FORMATS = ("maildir", "sdbox", "mdbox")


def every_kind(corpus):
    return [corpus.message(kind=kind, date=1_500_000_000 + 1000 * number)
            for number, kind in enumerate(KINDS)]


def test_files_read_back(remote):
    """What is written as files is what IMAP shows."""
    corpus = Corpus(seed=7)
    messages = corpus.messages(300) + every_kind(corpus)
    fill_maildir(remote, "anna", messages)
    remote.start()
    assert_same(expected(messages), snapshot(remote, "anna"))


@pytest.mark.parametrize("mail_format", FORMATS)
def test_append_reads_back(local, mail_format):
    """So is what is appended, in each format."""
    corpus = Corpus(seed=8)
    messages = corpus.messages(40) + every_kind(corpus)
    local.add_user("bob", mail_format=mail_format)
    local.start()
    fill_imap(local, "bob", messages)
    assert_same(expected(messages), snapshot(local, "bob"))


def test_differences_are_seen(remote):
    """The comparison finds what it is for."""
    corpus = Corpus(seed=9, folders={"INBOX": 1, "Sent": 1})
    messages = corpus.messages(10)
    fill_maildir(remote, "anna", messages)
    remote.start()
    wanted = expected(messages)
    client = remote.imap("anna")
    client.select("INBOX")
    client.uid("STORE", "2", "FLAGS", "(\\Deleted)")
    client.uid("COPY", "1", "Sent")
    append(client, corpus.message("Sent", subject="one too many"))
    lines = differences(wanted, snapshot(remote, "anna"))
    assert len(lines) == 3, lines
    assert "not" in lines[0] and "\\Deleted" in lines[0]
    assert "should not be there" in lines[1]
    client.expunge()
    client.logout()
    lines = differences(wanted, snapshot(remote, "anna", ["INBOX"]))
    assert any("missing" in line for line in lines)
    assert "Sent: the folder is missing" in lines


@pytest.mark.parametrize("mail_format", FORMATS)
def test_lmtp_goes_through_sieve(local, mail_format):
    local.add_user("bob", mail_format=mail_format)
    local.sieve("bob", 'require ["fileinto", "mailbox"];\n'
                       'if header :contains "Subject" "invoice" {\n'
                       '  fileinto :create "Invoices/open";\n}\n')
    local.start()
    corpus = Corpus(seed=10)
    for subject in ("invoice 1", "greetings", "invoice 2"):
        local.deliver("bob", corpus.message(subject=subject).content)
    found = snapshot(local, "bob")
    assert len(found["INBOX"]) == 1
    assert len(found["Invoices/open"]) == 2


@pytest.mark.sanitize
def test_several_at_once(scratch, remote, local):
    """Instances do not meet: other ports, other users, other processes."""
    local.add_user("bob", uid=5001)
    local.add_user("carol", uid=5002, mail_format="sdbox")
    remote.start()
    local.start()
    client = remote.imap("anna", tls=True)
    append(client, Corpus().message())
    client.logout()
    assert len(snapshot(remote, "anna")["INBOX"]) == 1
    assert len(snapshot(local, "bob")["INBOX"]) == 0
    assert not set(remote.pids()) & set(local.pids())
    with pytest.raises(ValueError):
        local.kill(remote.pids("imap-login")[0])


def test_doveadm_and_its_api(local):
    local.add_user("bob")
    local.start()
    local.deliver("bob", Corpus().message().content)
    said = local.doveadm("mailbox", "status", "-u", "bob", "messages",
                         "INBOX", json=True)
    assert said.code == 0, said.err
    assert said.rows == [{"mailbox": "INBOX", "messages": "1"}]
    rows = local.api("mailboxStatus", user="bob", field=["messages"],
                     mailboxMask=["INBOX"])
    assert rows == [{"mailbox": "INBOX", "messages": "1"}]
    assert local.doveadm("mailbox", "status", "-u", "nobody", "messages",
                         "INBOX").code == 67


def test_a_killed_process_is_replaced(local):
    local.add_user("bob")
    local.start()
    with local.lmtp() as client:
        client.ehlo("test")
        for pid in local.pids("lmtp"):
            local.kill(pid)
    local.log.allow("killed with signal 9")
    wait_for(lambda: not local.pids("lmtp"), what="lmtp to be gone")
    local.deliver("bob", Corpus().message().content)
    assert len(snapshot(local, "bob")["INBOX"]) == 1


def test_the_log_is_watched(local):
    """A line that must not be there is seen."""
    local.add_user("bob", path="/proc/nowhere")
    local.start()
    local.doveadm("mailbox", "list", "-u", "bob")
    with pytest.raises(Exception):
        local.deliver("bob", Corpus().message().content)
    wait_for(local.log.unexpected, what="an error in the log")
    local.log.allow("nowhere|INBOX: Failed to autocreate")
    local.stop()
    assert not local.log.unexpected()


def test_dialects_have_the_same_pieces():
    pieces = [{name for name in vars(dialect) if not name.startswith("_")}
              for dialect in DIALECTS.values()]
    assert pieces[0] == pieces[1]
