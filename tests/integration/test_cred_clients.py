"""cred-notify's lines on the screens of real mail programs."""

import pytest

from client_rig import alpine, mutt
from cred_imap_rig import Service, imap_dovecot
from rig import Corpus, fill_maildir

pytestmark = pytest.mark.soak

PROGRAMS = ("mutt", "neomutt")
REFUSED = "The password of At home is refused"
AGAIN = "Mail of At home is fetched again"


def with_mail(scratch, **settings):
    """Just as installed, but for these."""
    dovecot = imap_dovecot(scratch, cred_notify_imap_delay=None, **settings)
    fill_maildir(dovecot, "anna",
                 Corpus(seed=7, folders={"INBOX": 1}).messages(3))
    return dovecot.start()


def log_in(terminal):
    terminal.wait("ENTER PASSWORD")
    terminal.keys("secret", "Enter")
    # where it was built to keep passwords
    terminal.wait("opened with 3 messages", "Preserve password")
    if "Preserve password" in terminal.text():
        terminal.keys("n")
        terminal.wait("opened with 3 messages")


@pytest.mark.parametrize("warning", ("no", "yes"))
def test_alpine_shows_alerts(scratch, warning):
    """It never idles: what it shows is for a session that has lasted."""
    dovecot = with_mail(scratch, cred_notify_imap="always",
                        cred_notify_imap_warning=warning)
    with Service(dovecot) as service:
        service.notice("anna", "1.1", "flash", REFUSED)
        with alpine(scratch, dovecot) as terminal:
            log_in(terminal)
            service.wait("shown")
            # look for mail, which it would do in a while
            terminal.keys("C-l")
            terminal.wait(REFUSED)
            # it is a page of its own
            terminal.keys("Enter")
            terminal.wait("MESSAGE INDEX")
            service.notice("anna", "1.2", "live", AGAIN)
            service.wait("shown", count=2)
            terminal.keys("C-l")
            terminal.wait(AGAIN)


@pytest.mark.parametrize("idle", (True, False))
@pytest.mark.parametrize("program", PROGRAMS)
def test_mutt_shows_warnings(scratch, program, idle):
    dovecot = with_mail(scratch, cred_notify_imap="always",
                        cred_notify_imap_warning="yes")
    with Service(dovecot) as service:
        service.notice("anna", "1.1", "flash", REFUSED)
        with mutt(scratch, program, dovecot, idle) as terminal:
            terminal.wait(f"[ALERT] {REFUSED}")
            assert REFUSED in terminal.wait("Msgs:3")
            terminal.wait_bells(1)
            # it stays until a key is pressed
            terminal.keys("k")
            terminal.wait_without(REFUSED)
            bells = terminal.bells()
            service.notice("anna", "1.2", "live", AGAIN)
            terminal.wait(f"[ALERT] {AGAIN}")
            terminal.wait_bells(bells + 1)


@pytest.mark.parametrize("program", PROGRAMS)
def test_mutt_shows_no_alerts(scratch, program):
    """What the documentation says of it. Should it fail one day, there is a
    mutt that shows them."""
    dovecot = with_mail(scratch)
    with Service(dovecot) as service:
        service.notice("anna", "1.1", "flash", REFUSED)
        with mutt(scratch, program, dovecot) as terminal:
            terminal.wait("Msgs:3")
            service.wait("shown")
            # by the same connection, and later
            with dovecot.imap("anna") as other:
                other.append("INBOX", None, None, b"Subject: Later\r\n\r\n")
            terminal.wait("Msgs:4")
            assert REFUSED not in terminal.written()
