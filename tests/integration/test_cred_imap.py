"""cred-notify in IMAP sessions: notices after login and while a session is
open, and the feed they come by."""

import contextlib
import hashlib
import os
import random
import time

import pytest

from cred_imap_rig import (HIBERNATE, Peer, Service, Session,
                           imap_dovecot, seconds_since)
from rig import wait_for
from rig.system import HERE

pytestmark = pytest.mark.soak

# bytes: more than all buffers between imap process and client hold
BIG = 24 * 1024 * 1024
# A notice that should not come had this time to do so. Those that come take
# milliseconds; a client has a quarter of a second to say who it is.
QUIET_SECS = 0.6
# of the live channel
LIVE_SECS = 1.0


@pytest.fixture
def dovecot(scratch):
    return imap_dovecot(scratch).start()


@pytest.fixture
def service(dovecot):
    with Service(dovecot) as made:
        yield made


def listening(service, *args, **options):
    """A session that the service knows of."""
    before = len(service.seen("sub"))
    session = Session(*args, **options)
    service.wait("sub", count=before + 1)
    return session


def always(scratch, **settings):
    return imap_dovecot(scratch, cred_notify_imap="always",
                        **settings).start()


# -- after login

def test_flash_follows_the_login(dovecot, service):
    assert service.notice("anna", "1.1", "flash", "Work: refused.") == 0
    with Session(dovecot) as session:
        assert session.alert() == "Work: refused."
        assert session.lines[-2] == session.logged_in
        [(_, user, number, channel, _)] = service.wait("shown")
        assert (user, number, channel) == ("anna", "1.1", "flash")
        session.command("NOOP")
        assert len(session.alerts()) == 1
    # once is enough
    with listening(service, dovecot) as session:
        assert session.is_silent(QUIET_SECS)
    assert len(service.seen("shown")) == 1


def test_flash_is_for_one_user(scratch):
    dovecot = imap_dovecot(scratch, users=("anna", "ben")).start()
    with Service(dovecot) as service:
        service.notice("ben", "1.1", "flash", "Ben's.")
        with listening(service, dovecot, "anna") as session:
            assert session.is_silent(QUIET_SECS)
            with Session(dovecot, "ben") as other:
                assert other.alert() == "Ben's."
            assert session.is_silent()


def test_several_flashes_keep_their_order(dovecot, service):
    texts = [f"Notice {number}." for number in range(20)]
    for number, text in enumerate(texts):
        service.notice("anna", number, "flash", text)
    with Session(dovecot) as session:
        assert [session.alert() for _ in texts] == texts
        service.wait("shown", count=len(texts))


def test_flash_is_seen_in_one_of_two_sessions(dovecot, service):
    """Both are told at the same time; the first that shows it, does."""
    with listening(service, dovecot) as first, \
            listening(service, dovecot) as second:
        assert service.notice("anna", "1.1", "flash") == 2
        service.wait("shown")
        time.sleep(QUIET_SECS)
        for session in (first, second):
            session.command("NOOP")
        # both may have shown it before either was taken back; never more
        assert 1 <= len(first.alerts() + second.alerts()) <= 2
        assert len(service.seen("shown")) == 1
    with listening(service, dovecot) as third:
        assert third.is_silent(QUIET_SECS)


def test_taken_back_before_it_is_shown(dovecot, service):
    service.notice("anna", "1.1", "flash", "Gone.")
    service.say("gone", "anna", "1.1")
    service.notice("anna", "1.2", "flash", "Holds.")
    with Session(dovecot) as session:
        assert session.alert() == "Holds."
        assert session.is_silent(QUIET_SECS)


# -- live

def test_live_in_idle(dovecot, service):
    with listening(service, dovecot) as session:
        session.command("SELECT INBOX")
        tag = session.idle()
        for number in range(3):
            start = time.monotonic()
            assert service.notice("anna", f"1.{number}", "live", "Now!") == 1
            assert session.alert() == "Now!"
            assert seconds_since(start) < LIVE_SECS
        service.wait("shown", "anna", "1.2", "live")
        assert session.done(tag)[-1].startswith(tag + b"OK")


def test_live_waits_for_idle(dovecot, service):
    """The default: nothing between commands, which some clients dislike."""
    with listening(service, dovecot) as session:
        service.notice("anna", "1.1", "live", "Later.")
        assert session.is_silent(QUIET_SECS)
        session.command("NOOP")
        session.command("SELECT INBOX")
        assert session.alerts() == []
        session.idle()
        assert session.alert() == "Later."


def test_live_between_commands(scratch):
    dovecot = always(scratch)
    with Service(dovecot) as service, \
            listening(service, dovecot) as session:
        session.command("NOOP")
        start = time.monotonic()
        service.notice("anna", "1.1", "live", "Now!")
        assert session.alert() == "Now!"
        assert seconds_since(start) < LIVE_SECS
        assert b"OK NOOP" in session.command("NOOP")[-1]


def test_live_while_a_literal_is_sent(scratch):
    """An APPEND that waits for its literal is no reason to wait."""
    dovecot = always(scratch)
    with Service(dovecot) as service, \
            listening(service, dovecot) as session:
        tag = session.begin("APPEND INBOX {5}")
        session.until(b"+ ")
        service.notice("anna", "1.1", "live", "Now!")
        assert session.alert() == "Now!"
        session.send("a: b\n")
        session.send("")
        assert session.until(tag)[-1].startswith(tag + b"OK")


def test_live_in_each_session(dovecot, service):
    with listening(service, dovecot) as first, \
            listening(service, dovecot) as second:
        first.idle()
        second.idle()
        assert service.notice("anna", "1.1", "live", "Both.") == 2
        assert first.alert() == second.alert() == "Both."
        assert len(service.wait("shown", count=2)) == 2


@pytest.mark.parametrize("compressed", (False, True))
def test_never_inside_a_literal(scratch, compressed):
    """A client that reads slowly gets a message of many megabytes, and the
    notice when that is over."""
    dovecot = always(scratch)
    body = random.Random(1).randbytes(BIG // 2).hex().encode()
    content = b"Subject: big\r\n\r\n" + body
    with Service(dovecot) as service, \
            listening(service, dovecot, receive_buffer=4096) as session:
        tag = session.begin(f"APPEND INBOX {{{len(content)}}}")
        session.until(b"+ ")
        session.send(content + b"\r\n")
        session.until(tag)
        session.command("SELECT INBOX")
        if compressed:
            session.compress()
        tag = session.begin("FETCH 1 BODY.PEEK[]")
        session.until(b"* 1 FETCH ")
        assert int(session.lines[-1].split(b"{")[1][:-1]) == len(content)
        service.notice("anna", "1.1", "live", "Not here.")
        # it comes to the session's process while that cannot write
        time.sleep(QUIET_SECS)
        assert service.seen("shown") == []
        got = session.bytes(len(content))
        assert hashlib.sha256(got).digest() == \
            hashlib.sha256(content).digest()
        assert session.line() == b")"
        while session.alerts() != ["Not here."]:
            session.line()
        service.wait("shown", "anna", "1.1")
        session.command("NOOP")
        assert session.alerts() == ["Not here."]
        # the end of the FETCH came whole
        assert any(line.startswith(tag + b"OK") for line in session.lines)


def test_compressed(scratch):
    dovecot = always(scratch)
    with Service(dovecot) as service, \
            listening(service, dovecot) as session:
        session.compress()
        service.notice("anna", "1.1", "live", "Small.")
        assert session.alert() == "Small."
        tag = session.idle()
        service.notice("anna", "1.2", "live", "Smaller.")
        assert session.alert() == "Smaller."
        session.done(tag)


# -- to whom

@pytest.mark.parametrize("mode,flash,live", (
    ("no", False, False), ("login", True, False), ("idle", True, True)))
def test_modes(scratch, mode, flash, live):
    dovecot = imap_dovecot(scratch, cred_notify_imap=mode).start()
    with Service(dovecot) as service:
        service.notice("anna", "1.1", "flash", "Flash.")
        with Session(dovecot) as session:
            if flash:
                assert session.alert() == "Flash."
            session.idle()
            told = service.notice("anna", "1.2", "live", "Live.")
            assert told == (1 if flash else 0)
            if live:
                assert session.alert() == "Live."
            assert session.is_silent(QUIET_SECS)
            # who wants nothing does not even ask
            assert bool(service.seen("sub")) == flash


def test_userdb_turns_it_off(scratch):
    dovecot = imap_dovecot(scratch, users=("ben",))
    dovecot.add_user("anna", fields=("cred_notify_imap=no",))
    dovecot.start()
    with Service(dovecot) as service:
        for user in ("anna", "ben"):
            service.notice(user, "1.1", "flash", "Flash.")
        with Session(dovecot, "ben") as session:
            assert session.alert() == "Flash."
        with Session(dovecot, "anna") as session:
            assert session.is_silent(QUIET_SECS)
        assert service.seen("sub", "anna") == []


@pytest.mark.parametrize("allowed", (False, True))
def test_session_that_is_not_secured(scratch, allowed):
    dovecot = imap_dovecot(
        scratch, cred_notify_imap_cleartext="yes" if allowed else "no")
    dovecot.start()
    with Service(dovecot) as service:
        service.notice("anna", "1.1", "flash", "Secret.")
        # for 2.3 the same address is as good as TLS
        with Session(dovecot, tls=False, source="127.0.0.2") as session:
            if allowed:
                assert session.alert() == "Secret."
                assert service.seen("sub")[0][3] == "insecure"
            assert session.is_silent(QUIET_SECS)
        assert bool(service.seen("sub")) == allowed
        if not allowed:
            with Session(dovecot) as session:
                assert session.alert() == "Secret."
                assert service.seen("sub")[0][3] == "secured"


# Roundcube 1.6.5 as it is when logged in, with imap_debug. Without, it never
# says who it is.
WEBMAIL = ('ID ("name" "Roundcube" "version" "1.6.5" "php" "8.2.36" '
           '"os" "Linux" "command" "/?_task=login")')
# The sessions that a login, a look into INBOX and a refresh are for it, from
# after the login to the end.
WEBMAIL_SESSIONS = (
    ('NAMESPACE', 'LIST (SPECIAL-USE) "" "*" RETURN (SUBSCRIBED)'),
    ('LIST (SUBSCRIBED) "" "*"',),
    ('STATUS INBOX (MESSAGES UNSEEN)', 'SELECT INBOX', 'UID SEARCH ALL',
     'STATUS INBOX (HIGHESTMODSEQ MESSAGES UNSEEN)'),
    ('LIST (SUBSCRIBED) "" "*"', 'STATUS INBOX (MESSAGES UNSEEN)'),
    ('STATUS INBOX (MESSAGES UNSEEN)', 'SELECT INBOX', 'UID SEARCH ALL'),
)


@pytest.mark.parametrize("first", ([], ["CAPABILITY"], ["NAMESPACE"]))
def test_client_that_shows_nothing_is_skipped(dovecot, service, first):
    service.notice("anna", "1.1", "flash", "Flash.")
    with Session(dovecot) as webmail:
        for command in first:
            webmail.command(command)
        webmail.command(WEBMAIL)
        webmail.command("SELECT INBOX")
        webmail.idle()
        assert webmail.is_silent(QUIET_SECS)
        assert webmail.alerts() == []
        # it does not listen any more
        wait_for(lambda: service.count() == 0)
    with Session(dovecot) as session:
        session.command('ID ("name" "Thunderbird")')
        assert session.alert() == "Flash."
    assert len(service.wait("shown")) == 1


def test_short_sessions_use_nothing_up(scratch):
    """Webmail that does not say who it is. By default."""
    dovecot = imap_dovecot(scratch, cred_notify_imap_delay=None).start()
    with Service(dovecot) as service:
        service.notice("anna", "1.1", "flash", "Flash.")
        for commands in WEBMAIL_SESSIONS:
            with listening(service, dovecot) as webmail:
                for command in commands:
                    webmail.command(command)
                webmail.command("LOGOUT")
                assert webmail.alerts() == []
        assert service.seen("shown") == []
        # who waits for mail is there, and need not wait for this
        with Session(dovecot) as session:
            session.command("SELECT INBOX")
            start = time.monotonic()
            session.idle()
            assert session.alert() == "Flash."
            assert seconds_since(start) < LIVE_SECS


@pytest.mark.parametrize("channel", ("flash", "live"))
def test_session_grows_old(scratch, channel):
    """One that does not idle is shown to after a while."""
    dovecot = always(scratch, cred_notify_imap_delay="2 secs")
    with Service(dovecot) as service:
        start = time.monotonic()
        with listening(service, dovecot) as session:
            service.notice("anna", "1.1", channel, "Here still?")
            session.command("SELECT INBOX")
            assert session.alert() == "Here still?"
            assert seconds_since(start) >= 2
            service.notice("anna", "1.2", channel, "Yes.")
            start = time.monotonic()
            assert session.alert() == "Yes."
            assert seconds_since(start) < LIVE_SECS


FROM_WEBMAIL = {"2.3": """
remote 127.0.0.2 {
  plugin {
    cred_notify_imap = no
  }
}
""", "2.4": """
remote 127.0.0.2 {
  cred_notify_imap = no
}
"""}


def test_host_is_left_out(scratch):
    """As the documentation says for webmail with a host of its own."""
    dovecot = imap_dovecot(scratch)
    dovecot.configure(FROM_WEBMAIL[HERE.release])
    dovecot.start()
    with Service(dovecot) as service:
        service.notice("anna", "1.1", "flash", "Flash.")
        with Session(dovecot, source="127.0.0.2") as webmail:
            webmail.command("SELECT INBOX")
            webmail.idle()
            assert webmail.is_silent(QUIET_SECS)
            assert webmail.alerts() == [] == service.seen("sub")
        with Session(dovecot) as session:
            assert session.alert() == "Flash."


def test_as_a_warning(scratch):
    dovecot = always(scratch, cred_notify_imap_warning="yes")
    with Service(dovecot) as service, \
            listening(service, dovecot) as session:
        for channel in ("flash", "live"):
            service.notice("anna", f"1.{channel}", channel, "Beware.")
            assert session.line() == b"* NO [ALERT] Beware."
        assert b"OK NOOP" in session.command("NOOP")[-1]


def test_patterns_of_clients(scratch):
    dovecot = imap_dovecot(
        scratch, cred_notify_imap_skip_clients="Snappy* ?bird").start()
    with Service(dovecot) as service:
        service.notice("anna", "1.1", "flash", "Flash.")
        for name in ("SnappyMail", "xbird", "snappy"):
            with Session(dovecot) as session:
                session.command(f'ID ("os" NIL "name" "{name}")')
                assert session.is_silent(QUIET_SECS)
                assert session.alerts() == []
        with Session(dovecot) as session:
            session.command(WEBMAIL)
            assert session.alert() == "Flash."


@pytest.mark.parametrize("name,value", (
    ("cred_notify_imap", "sometimes"), ("cred_notify_imap_delay", "soon"),
    ("cred_notify_imap_warning", "perhaps")))
def test_bad_setting_fails_nobody(scratch, name, value):
    dovecot = imap_dovecot(scratch, **{name: value})
    if HERE.release != "2.3":
        # doveconf and the config process refuse it
        with pytest.raises(SystemExit, match=name):
            dovecot.start()
        return
    dovecot.start()
    dovecot.log.allow(f"{name}: {value}")
    with Service(dovecot) as service:
        service.notice("anna", "1.1", "flash", "Flash.")
        with Session(dovecot) as session:
            assert session.is_silent(QUIET_SECS)
        assert dovecot.log.lines(f"{name}: {value}: it is one of")


# -- hibernation

def asleep(dovecot, service):
    """The only session sleeps: nobody listens."""
    wait_for(lambda: service.count() == 0 and not dovecot.log.lines(
        "Couldn't hibernate"), 60, what="hibernation")


def test_after_hibernation(scratch):
    dovecot = imap_dovecot(scratch)
    dovecot.configure(HIBERNATE)
    dovecot.start()
    with Service(dovecot) as service, \
            listening(service, dovecot) as session:
        session.command("SELECT INBOX")
        tag = session.idle()
        asleep(dovecot, service)
        assert service.notice("anna", "1.1", "flash", "Good morning.") == 0
        session.done(tag)
        # perhaps before IDLE's end
        while not session.alerts():
            session.line()
        assert session.alerts() == ["Good morning."]
        first, again = service.wait("sub", count=2)
        assert first[2] == again[2] != ""
        assert again[3:] == ("secured", "unhibernated")
        session.idle()
        service.notice("anna", "1.2", "live", "Live.")
        assert session.alert() == "Live."


def stays_awake(dovecot):
    """It was to go to sleep, and we said no."""
    wait_for(lambda: dovecot.log.lines(
        "Couldn't hibernate.*cred_notify_imap_hibernate"), 60,
        what="a veto")


def test_without_hibernation(scratch):
    dovecot = imap_dovecot(scratch, cred_notify_imap_hibernate="no")
    dovecot.configure(HIBERNATE)
    dovecot.start()
    with Service(dovecot) as service, \
            listening(service, dovecot) as session:
        session.command("SELECT INBOX")
        session.idle()
        stays_awake(dovecot)
        assert service.notice("anna", "1.1", "live", "Awake.") == 1
        assert session.alert() == "Awake."


def test_no_hibernation_while_a_notice_holds(scratch):
    dovecot = imap_dovecot(scratch, cred_notify_imap_hibernate="pending")
    dovecot.configure(HIBERNATE)
    dovecot.start()
    with Service(dovecot) as service, \
            listening(service, dovecot) as session:
        session.command("SELECT INBOX")
        tag = session.idle()
        assert service.notice("anna", "1.1", "live", "Holds.") == 1
        assert session.alert() == "Holds."
        stays_awake(dovecot)
        service.say("gone", "anna", "1.1")
        session.done(tag)
        session.idle()
        wait_for(lambda: service.count() == 0, 60, what="hibernation")


# -- the service comes and goes

def test_without_a_service(dovecot):
    with Session(dovecot) as session:
        session.command("SELECT INBOX")
        tag = session.idle()
        session.done(tag)
        assert session.alerts() == []
        session.idle()
        # it starts at last
        with Service(dovecot) as service:
            service.notice("anna", "1.1", "flash", "At last.")
            assert session.alert() == "At last."


def test_service_is_killed_and_comes_back(dovecot):
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(Service(dovecot))
        sessions = [stack.enter_context(listening(service, dovecot))
                    for _ in range(5)]
        for session in sessions:
            session.idle()
        service.notice("anna", "1.1", "live", "Before.")
        for session in sessions:
            assert session.alert() == "Before."
        service.wait("shown", count=5)
        service.kill()
        again = stack.enter_context(Service(dovecot))
        ids = {event[2] for event in again.wait("sub", count=5)}
        assert ids == {event[2] for event in service.seen("sub")}
        again.notice("anna", "1.2", "live", "After.")
        for session in sessions:
            assert session.alert() == "After."
            assert session.alerts() == ["Before.", "After."]


def test_what_was_shown_is_not_shown_again(dovecot):
    """The service died before it wrote down that it was."""
    with contextlib.ExitStack() as stack:
        service = stack.enter_context(Service(dovecot))
        session = stack.enter_context(listening(service, dovecot))
        session.idle()
        service.notice("anna", "1.1", "flash", "Once.")
        assert session.alert() == "Once."
        service.kill()
        again = stack.enter_context(Service(dovecot))
        again.notice("anna", "1.1", "flash", "Once.")
        again.wait("shown", "anna", "1.1", "flash")
        again.notice("anna", "1.2", "live", "Next.")
        assert session.alert() == "Next."


def test_another_service_on_the_socket(dovecot):
    """Rubbish, or a later protocol: an error in the log, and nothing else."""
    dovecot.log.allow("wrong socket type|VERSION line")
    with Peer(dovecot.socket("stats-writer")):
        pass
    os.symlink(dovecot.socket("stats-writer"), dovecot.socket("cred-notify"))
    with Session(dovecot) as session:
        session.command("SELECT INBOX")
        session.done(session.idle())
        assert session.alerts() == []


# -- the service's end

def test_another_user_may_not_listen(dovecot, service):
    service.notice("anna", "1.1", "flash", "Anna's.")
    with Peer(service.path, uid=6001) as peer:
        peer.subscribe("anna")
        assert peer.is_closed()
    assert service.wait("refused") == [("refused", "anna", "6001")]
    assert service.seen("sub") == []
    with Peer(service.path, uid=dovecot.users["anna"].uid) as peer:
        peer.subscribe("anna")
        peer.line()
        assert peer.line() == "NOTICE\t1.1\tflash\tAnna's."
    # root need not ask
    with Peer(service.path) as peer:
        peer.subscribe("anna")
        peer.line()
        assert peer.line() == "NOTICE\t1.1\tflash\tAnna's."
    service.wait("sub", count=2)


@pytest.mark.parametrize("lines", (
    ("SUB\tanna\ts\tyes",),
    ("SUB\tanna\ts\tyes\tmaybe",),
    ("SUB\tanna\ts\tyes\tno", "SUB\tben\ts\tyes\tno"),
    ("NOTICE\t1.1\tflash\tMine.",),
    ("GONE\t1.1",),
    ("SHOWN\t../1",),
    ("x" * 5000,),
), ids=range(7))
def test_what_makes_no_sense_ends_it(service, lines):
    with Peer(service.path) as peer:
        with contextlib.suppress(OSError):
            peer.send("VERSION\tcred-notify-feed\t1\t0", *lines)
        assert peer.is_closed()
    wait_for(lambda: service.count() == 0)


def test_shown_counts_only_if_it_was_told(service):
    service.notice("anna", "1.1", "flash", "Anna's.")
    with Peer(service.path) as peer:
        peer.send("VERSION\tcred-notify-feed\t1\t0", "SHOWN\t1.1",
                  "SUB\tben\ts\tyes\tno", "SHOWN\t1.1")
        service.wait("sub", "ben")
    with Peer(service.path) as peer:
        peer.subscribe("anna")
        peer.line()
        assert peer.line() == "NOTICE\t1.1\tflash\tAnna's."
        assert service.seen("shown") == []
        peer.send("SHOWN\t1.1", "SHOWN\t1.1")
        service.wait("shown")
    wait_for(lambda: service.count() == 0)
    assert len(service.seen("shown")) == 1


def test_connections_are_few(dovecot):
    with Service(dovecot, max_connections=10, max_sessions=3) as service, \
            contextlib.ExitStack() as stack:
        def peer():
            return stack.enter_context(Peer(service.path))

        # those that say nothing take no more than half of the room
        silent = [peer() for _ in range(5)]
        assert peer().is_closed()
        assert service.count() == 5
        silent[0].subscribe("anna")
        service.wait("sub", count=1)
        for number in (2, 3):
            peer().subscribe("anna")
            service.wait("sub", count=number)
        # anna's fourth
        fourth = peer()
        fourth.subscribe("anna")
        assert fourth.is_closed()
        wait_for(lambda: service.count() == 7)
        assert len(service.seen("sub", "anna")) == 3


def test_silent_connections_end(dovecot, service):
    with Peer(service.path) as peer:
        peer.line()
        assert peer.is_closed()
    assert service.count() == 0


def test_one_that_does_not_read_is_dropped(service):
    with Peer(service.path) as peer:
        peer.subscribe("anna")
        service.wait("sub")
        for number in range(100_000):
            service.say("gone", "anna", f"{number}.{'1' * 40}")
        wait_for(lambda: service.count() == 0)


# -- many

@pytest.mark.soak
def test_many_sessions(scratch):
    count = 300
    # with TLS each would take a login process, too
    dovecot = always(scratch, cred_notify_imap_cleartext="yes")
    dovecot.configure("mail_max_userip_connections = 0\n")
    dovecot.restart()
    with Service(dovecot) as service, contextlib.ExitStack() as stack:
        sessions = [stack.enter_context(Session(dovecot, tls=False))
                    for _ in range(count)]
        service.wait("sub", count=count)
        start = time.monotonic()
        assert service.notice("anna", "1.1", "live", "All.") == count
        service.wait("shown", count=count)
        took = seconds_since(start)
        assert {session.alert() for session in sessions} == {"All."}
        # generous: it is a machine with other things to do
        assert took < 5
        service.kill()
        again = stack.enter_context(Service(dovecot))
        again.wait("sub", count=count)
        assert again.notice("anna", "1.2", "live", "Again.") == count
        assert {session.alert() for session in sessions} == {"Again."}
