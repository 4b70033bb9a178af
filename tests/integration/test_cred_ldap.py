"""cred-notify where users, and who holds the capability, are in a directory
(LDAP): a real slapd."""

import pytest

from cred_service_rig import CredDovecot
from ldap_rig import Directory
from rig import wait_for

pytestmark = [pytest.mark.sanitize, pytest.mark.soak]

CAPABILITY = "imapsync_credential_notifications"
ALIAS = "oro_imap_sync_origin_credential_notifications"
INFO = {"account": "info@example.org/work", "label": "Info"}
SALES = {"account": "sales@example.org/work", "label": "Sales"}


@pytest.fixture
def cred(scratch):
    """Not started; anna is no user of the directory. A notice is done with once
    it was mailed: no login of anybody is waited for."""
    dovecot = CredDovecot(scratch, cred_notify_channels="mail")
    dovecot.dovecot.add_user("anna")
    return dovecot


@pytest.fixture
def directory(cred):
    """Not started, empty. Dovecot never sees it go at the end."""
    with Directory(cred.dovecot.dir) as made:
        yield made
        cred.dovecot.stop()


def start(cred, directory, *users, new=()):
    """users: (name, capabilities), known to the directory alone; new: names of
    those whom it comes to know later."""
    homes = {name: cred.dovecot.add_user(name).home
             for name in (*dict(users), *new)}
    made = {name: cred.dovecot.users[name] for name in homes}
    for name in homes:
        cred.dovecot.remove_user(name)
    directory.fill((name, homes[name], held) for name, held in users)
    directory.configure(cred.dovecot)
    directory.start()
    cred.start()
    # their mail is looked for there
    cred.dovecot.users.update(made)


def refresh(cred):
    """(users, holders)"""
    rows = {row["name"]: row["value"] for row in cred.command("refresh")}
    return int(rows["users"]), int(rows["holders"])


def wait_all_told(cred):
    """Until nothing is on its way to anybody."""
    def idle():
        stat = cred.stat()
        return stat["notices-unplanned"] == stat["waiting"] == \
            stat["busy"] == 0
    wait_for(idle, what="all to be told")


def test_holders_come_and_go(cred, directory):
    start(cred, directory, ("berta", f"other,{CAPABILITY}"), ("carla", ALIAS),
          ("dora", "other"), ("frida", None), new=("emma",))
    assert refresh(cred) == (5, 2)
    with cred.producer() as producer:
        producer.trouble(**INFO)
        for name in "berta", "carla":
            [mail] = cred.wait_mails(name, 1)
            assert "Info" in mail["Subject"]
        # what was known of carla does not count, but what is so by now
        directory.grant("carla", None)
        producer.send("account-clear", **INFO)
        producer.wait_acked()
        cred.wait_mails("berta", 2)
        wait_all_told(cred)
        cred.wait_mails("carla", 1)
        directory.add("emma", cred.dovecot.users["emma"].home, CAPABILITY)
        assert refresh(cred) == (6, 2)
        producer.trouble(**SALES)
        [mail] = cred.wait_mails("emma", 1)
        assert "Sales" in mail["Subject"]
        cred.wait_mails("berta", 3)
        wait_all_told(cred)
    assert len(cred.mails("carla")) == 1
    assert cred.mails("anna") == cred.mails("dora") == cred.mails("frida") == []


def test_directory_is_away(cred, directory):
    """Nobody is told while it is not known who may be; all are when it is."""
    start(cred, directory, ("berta", CAPABILITY), ("carla", CAPABILITY))
    assert refresh(cred) == (3, 2)
    directory.stop()
    log = cred.dovecot.log
    log.allow(r"auth(-worker\(\d+\))?: Error: .*ldap\(")
    log.allow("userdb: lookup failed: auth")
    with cred.producer() as producer:
        producer.trouble(**INFO)
    wait_for(lambda: log.lines("userdb: lookup failed"))
    cred.command("refresh", code=75)
    # who held it is not forgotten
    stat = cred.stat()
    assert stat["holders"] == 2 and stat["notices-unplanned"] == 1
    assert cred.mails("berta") == cred.mails("carla") == []
    directory.start()
    for name in "berta", "carla":
        [mail] = cred.wait_mails(name, 1)
        assert "Info" in mail["Subject"]
    # nor did auth come to grief meanwhile, which others log in by
    assert log.lines("killed with signal") == []


def test_directory_hangs(cred, directory):
    """Whoever has to wait for it keeps nobody else waiting."""
    start(cred, directory, ("berta", CAPABILITY))
    assert refresh(cred) == (2, 1)
    directory.pause()
    try:
        with cred.producer() as producer:
            producer.trouble(**INFO)
            wait_for(lambda: cred.stat()["lookups-pending"] == 1,
                     what="userdb to be asked")
            # records are taken up, and who is known elsewhere is told
            producer.trouble("anna/work", owner="anna")
            cred.wait_mails("anna", 1)
            stat = cred.stat()
            assert stat["lookups-pending"] == 1
            assert stat["lookups-failed"] == 0
    finally:
        directory.go_on()
    [mail] = cred.wait_mails("berta", 1)
    assert "Info" in mail["Subject"]


def test_list_is_cut_short(cred, directory):
    """Who is missing may be a holder: a part of them is not taken for all."""
    directory.limit(3)
    start(cred, directory, *((f"user{n}", CAPABILITY) for n in range(8)))
    log = cred.dovecot.log
    log.allow("ldap.* Size limit exceeded")
    log.allow("userdb: listing users failed: auth says so")
    cred.command("refresh", code=75)
    wait_for(lambda: log.lines("Size limit exceeded"))
    stat = cred.stat()
    assert stat["users"] == stat["holders"] == stat["refreshed"] == 0


def test_many_users(cred, directory):
    held = [f"user{n}" for n in (1, 1000, 2000)]
    # the others need no home
    directory.fill((f"user{n}", "/nonexistent", None)
                   for n in range(1, 2001) if f"user{n}" not in held)
    start(cred, directory, *((name, CAPABILITY) for name in held))
    assert refresh(cred) == (2001, 3)
    with cred.producer() as producer:
        producer.trouble(**INFO)
        for name in held:
            cred.wait_mails(name, 1)
