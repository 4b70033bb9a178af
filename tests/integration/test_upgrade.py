"""Dovecot 2.3 is replaced by 2.4 over the same mail, state, keys and accounts:
the next pull goes on as if nothing had been."""

import shutil

import pytest

from pull_rig import FORMATS, Account, add, expunge, store
from rig import Corpus, assert_same, fill_maildir, snapshot
from rig.system import newer_system

FOLDERS = {"INBOX": 3, "Lists/a": 1, "Sent": 1, "日本": 1}
MESSAGES = 80

pytestmark = pytest.mark.upgrade


@pytest.fixture(params=["direct", "lmtp"])
def upgraded(request, remote, local):
    """Pulled with 2.3; now 2.4 runs. Filed folders are saved directly in
    either way."""
    def make(mail_format, **keys):
        corpus = Corpus(seed=71, folders=FOLDERS, mean=2000)
        fill_maildir(remote, "anna", corpus.messages(MESSAGES))
        local.add_user("bob", mail_format=mail_format)
        remote.start()
        local.start()
        account = Account(local, "bob", remote, preset="backup",
                          history=request.param, deliver=request.param, **keys)
        account.corpus = corpus
        assert account.run().new == MESSAGES
        expunge(local, "bob", "INBOX", "2:3")
        account.wanted = account.snapshot()
        local.move_to(newer_system())
        local.start()
        assert local.log.lines(r"Dovecot v2\.4")
        return account
    return make


@pytest.mark.parametrize("mail_format", FORMATS)
def test_nothing_comes_twice(upgraded, mail_format):
    account = upgraded(mail_format)
    assert_same(account.wanted, account.snapshot())
    account.idle_run()
    assert account.run("--full").counts("new", "adopted") == (0, 0)
    assert_same(account.wanted, account.snapshot())


@pytest.mark.parametrize("mail_format", FORMATS)
def test_news_come(upgraded, remote, mail_format):
    """New mail, flags of old mail, and what was expunged there."""
    account = upgraded(mail_format, expunge="mirror", guard_percent=90)
    add(remote, "anna", *map(account.corpus.message, FOLDERS))
    store(remote, "anna", "INBOX", "10:12", "FLAGS", "\\Flagged later")
    expunge(remote, "anna", "INBOX", "2:3,20")
    run = account.run()
    assert run.counts("new", "expunged") == (len(FOLDERS), 1), str(run)
    assert_same(snapshot(remote, "anna"), account.snapshot(), order=False)
    account.idle_run()


@pytest.mark.parametrize("mail_format", FORMATS)
def test_state_is_lost_with_it(upgraded, mail_format):
    """What 2.3 stored is known by its GUID or its content. Mail that the user
    had expunged comes again."""
    account = upgraded(mail_format)
    shutil.rmtree(account.state_dir)
    assert account.run().counts("new", "adopted") == (2, MESSAGES - 2)
    account.idle_run()
