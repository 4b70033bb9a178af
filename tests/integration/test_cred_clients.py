"""cred-notify's lines on the screens of real mail programs."""

import pytest

from cred_imap_rig import Service, imap_dovecot
from mutt_rig import mutt
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
            assert terminal.bells() == 1
            # it stays until a key is pressed
            terminal.keys("k")
            terminal.wait_without(REFUSED)
            bells = terminal.bells()
            service.notice("anna", "1.2", "live", AGAIN)
            terminal.wait(f"[ALERT] {AGAIN}")
            assert terminal.bells() == bells + 1


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
