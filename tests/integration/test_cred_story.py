"""The whole story: a remote password goes bad, the right person hears it once
by each channel, the password is set right, and all is well again."""

import time

import pytest

from cred_imap_rig import Session
from cred_service_rig import CredDovecot
from pull_rig import Account
from rig import Corpus, assert_same, fill_maildir, snapshot, wait_for

HOLDER = "cred_notify_capabilities=imapsync_credential_notifications"
HOLDERS = ("berta", "carla", "dora")


@pytest.fixture
def cred(scratch, remote):
    """Three failed runs, in no matter what time, confirm bad credentials."""
    made = CredDovecot(
        scratch, cred_notify_thresholds="credential=3/0s/1h")
    made.dovecot.configure("protocols = imap lmtp imapsync-pull cred-notify")
    made.dovecot.add_user("anna")
    # an INBOX of notices alone
    fill_maildir(remote, "anna",
                 Corpus(seed=61, folders={"Lists/a": 1}).messages(5))
    remote.start()
    return made


def fail_runs(account, count):
    """Runs that fail, each in a second of its own: two reports of one second
    are one."""
    for _ in range(count):
        now = int(time.time())
        wait_for(lambda: int(time.time()) > now, what="the next second")
        run = account.run(code=None)
        assert run.row["class"] == "credential", str(run)


def fix(account, remote, password):
    remote.set_password("anna", password)
    account.secret = password
    account.change_secret(password)
    # Dovecot sees its password file's change within a second
    wait_for(lambda: account.run(code=None).row["class"] == "ok",
             what="a run with the right password")


def test_owner(cred, remote):
    cred.start()
    account = Account(cred.dovecot, "anna", remote, preset="backup",
                      deliver="direct", label="At home")
    account.run()
    with Session(cred.dovecot) as idle:
        cred.wait_stat(sessions=1)
        idle.idle()
        remote.set_password("anna", "changed there")
        wait_for(lambda: account.run(code=None).row["class"] == "credential",
                 what="the remote to refuse the password")
        fail_runs(account, 2)
        [row] = cred.wait_list(1)
        assert row["class"] == "credential" and row["user"] == "anna"
        # live, in a session that waits
        live = idle.alert()
        assert "At home" in live
        # after the next login, and after no other
        with Session(cred.dovecot) as session:
            assert "At home" in session.alert()
            cred.wait_stat(told=3)
        with Session(cred.dovecot) as session:
            session.command("NOOP")
            assert session.alerts() == []
        [mail] = cred.wait_mails("anna", 1)
        assert "At home" in mail["Subject"]
        # of more of the same nobody hears
        fail_runs(account, 3)
        assert cred.list()[0]["said"] == row["said"]
        cred.wait_mails("anna", 1)
        # well again
        fix(account, remote, "right again")
        assert "again" in idle.alert()
    cred.wait_mails("anna", 2)
    assert cred.list() == []
    assert_same(snapshot(remote, "anna", ["Lists/a"]),
                account.snapshot(["Lists/a"]))


def test_nobody(cred, remote):
    """Three may look after an account of nobody's; one of them loses the
    capability meanwhile."""
    for name in HOLDERS:
        cred.dovecot.add_user(name, fields=(HOLDER,))
    cred.start()
    cred.command("refresh")
    account = Account(cred.dovecot, "anna", remote, preset="backup",
                      deliver="direct", label="Info", owner="none")
    account.run()
    remote.set_password("anna", "changed there")
    wait_for(lambda: account.run(code=None).row["class"] == "credential",
             what="the remote to refuse the password")
    fail_runs(account, 2)
    for name in HOLDERS:
        [mail] = cred.wait_mails(name, 1)
        assert "Info" in mail["Subject"]
    users = cred.dovecot.dir / "users"
    lines = [line.replace(f"userdb_{HOLDER}", "userdb_note=none")
             if line.startswith("dora:") else line
             for line in users.read_text().splitlines()]
    users.write_text("\n".join(lines) + "\n")
    cred.wait_userdb("dora", False)
    fix(account, remote, "right again")
    for name in HOLDERS[:2]:
        cred.wait_mails(name, 2)
    wait_for(lambda: cred.list() == [], what="the notice to be over")
    cred.wait_mails("dora", 1)
    cred.wait_mails("anna", 0)
