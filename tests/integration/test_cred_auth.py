"""cred-notify's module in Dovecot's auth process: what it tells the service,
and that nobody's login waits for it."""

import os
import re

import pytest

from cred_rig import MASTER, AuthDovecot, Service, parse
from rig import wait_for

USERS = {"anna": "right", "berta": "right",
         "off": ("right", "nologin=y"),
         "elsewhere": ("right", "allow_nets=198.51.100.0/24")}


@pytest.fixture
def auth(scratch):
    """Not started; without databases of users."""
    return AuthDovecot(scratch)


def started(auth, users=None):
    auth.add_passdb(users or USERS)
    return auth.start()


def test_wrong_password(auth):
    started(auth)
    with Service(auth.path) as service, auth.client() as client:
        assert not client.plain("anna", "secretword", ip="192.0.2.7",
                                service="submission", session="abc")
        [record] = service.wait(1)
        assert service.lines[0] == "VERSION\tcred-notify-producer\t1\t1"
        hello = parse(service.lines[1])
        assert hello.word == "producer" and hello.name == "auth"
        assert re.fullmatch("[0-9a-f]{16}", hello.start)
        assert record.word == "login-fail"
        assert abs(int(record.time) - os.stat(auth.path).st_mtime) < 60
        del record.fields["time"]
        assert record.fields == {
            "id": "1", "reason": "password_mismatch", "user": "anna",
            "service": "submission", "mechanism": "PLAIN",
            "ip": "192.0.2.7", "session": "abc"}


def test_unknown_user_is_not_named(auth):
    started(auth)
    with Service(auth.path) as service, auth.client() as client:
        for name in ("hunter2", "hunter2", "hunter3", "x" * 3000):
            assert not client.plain(name, "wrongword")
        records = service.wait(4)
        assert [record.reason for record in records] == ["user_unknown"] * 4
        hashes = [record.user_hash for record in records]
        assert hashes[0] == hashes[1] and len(set(hashes)) == 3
        text = "\n".join(service.lines)
        assert "hunter" not in text and "xxx" not in text
        assert "user=" not in text


def test_never_a_password(auth):
    started(auth)
    with Service(auth.path) as service, auth.client() as client:
        client.plain("anna", "Pa55word")
        client.cram_md5("anna", "Pa55word")
        client.plain("anna*berta", "Pa55word")
        client.plain("nobody", "Pa55word")
        client.send(client.request("PLAIN", "Pa55word"))
        client.line()
        service.wait(4)
        assert "Pa55word" not in "\n".join(service.lines)


def test_deny_passdb(auth):
    auth.add_passdb({"anna": "x", "guest": "x"}, "  deny = yes")
    started(auth)
    with Service(auth.path) as service, auth.client() as client:
        # with the right and with a wrong password
        assert not client.plain("anna", "right")
        assert not client.plain("anna", "x")
        assert not client.cram_md5("anna", "right")
        assert not client.plain("berta", "wrong")
        assert client.plain("berta", "right")
        records = service.wait(5)
        assert [record.reason for record in records[:3]] == \
            ["user_disabled"] * 3
        # a list of what is denied knows no users
        assert all(record.user is None for record in records[:3])
        assert (records[3].reason, records[3].user) == \
            ("password_mismatch", "berta")
        assert records[4].word == "login-ok"


def test_not_from_there(auth):
    started(auth)
    with Service(auth.path) as service, auth.client() as client:
        assert not client.plain("elsewhere", "right", ip="192.0.2.1")
        assert client.plain("elsewhere", "right", ip="198.51.100.1")
        assert not client.plain("elsewhere", "wrong", ip="198.51.100.1")
        records = service.wait(3)
        assert [(record.word, record.reason, record.user)
                for record in records] == [
            ("login-fail", "not_allowed", "elsewhere"),
            ("login-ok", None, "elsewhere"),
            ("login-fail", "password_mismatch", "elsewhere")]


@pytest.mark.parametrize("mechanism", ("cram_md5", "scram"))
def test_challenges(auth, mechanism):
    started(auth)
    with Service(auth.path) as service, auth.client() as client:
        login = getattr(client, mechanism)
        assert not login("anna", "wrong")
        assert login("anna", "right")
        assert not login("nobody", "right")
        records = service.wait(3)
        assert [(record.word, record.reason, record.user)
                for record in records] == [
            ("login-fail", "password_mismatch", "anna"),
            ("login-ok", None, "anna"),
            ("login-fail", "user_unknown", None)]


def test_logins_at_the_same_time(auth):
    """What the passdbs said is kept for each login, whoever comes in between,
    and for no other."""
    auth.dovecot.log.allow("disconnected with 1 pending requests")
    started(auth)
    with Service(auth.path) as service, auth.client() as first, \
            auth.client() as second, auth.client() as other:
        begun = [(client, client.scram_begin("anna"))
                 for client in (first, second)]
        assert other.plain("berta", "right")
        assert not other.plain("nobody", "wrong")
        for client, login in begun:
            assert not client.scram_end(login, "wrong")
        with auth.client() as gone:
            gone.scram_begin("anna")
        assert not other.plain("nobody", "wrong")
        records = service.wait(4)
        assert [(record.reason, record.user) for record in records] == [
            ("user_unknown", None), ("password_mismatch", "anna"),
            ("password_mismatch", "anna"), ("user_unknown", None)]


def test_only_the_last_outcome_counts(auth):
    auth.add_passdb({"anna": "old"})
    started(auth)
    with Service(auth.path) as service, auth.client() as client:
        # the first says no, the second yes: nothing has failed
        assert client.plain("anna", "right")
        # known to the second only, then to the first only
        assert not client.plain("berta", "wrong")
        assert not client.plain("anna", "wrong")
        assert not client.plain("nobody", "wrong")
        records = service.wait(3)
        assert [(record.reason, record.user) for record in records] == [
            ("password_mismatch", "berta"), ("password_mismatch", "anna"),
            ("user_unknown", None)]


def test_known_to_the_first_only(auth):
    auth.add_passdb({"first": "right"})
    started(auth)
    with Service(auth.path) as service, auth.client() as client:
        assert not client.plain("first", "wrong")
        [record] = service.wait(1)
        assert (record.reason, record.user) == ("password_mismatch", "first")


def test_master_logins(auth):
    auth.add_passdb({"boss": "master"}, MASTER[auth.release])
    started(auth)
    with Service(auth.path) as service, auth.client() as client:
        assert not client.plain("anna", "wrong")
        # anna's own password is still wrong on her phone
        assert client.plain("anna*boss", "master")
        assert not client.plain("anna*boss", "wrong")
        assert not client.plain("anna*nobody", "wrong")
        assert not client.plain("nobody*boss", "master")
        # boss's master login ends boss's streak, anna's own hers
        assert client.plain("berta*boss", "master")
        assert client.plain("anna", "right")
        records = service.wait(6)
        assert [(record.word, record.reason, record.user, record.master)
                for record in records] == [
            ("login-fail", "password_mismatch", "anna", None),
            ("login-fail", "password_mismatch", "boss", "boss"),
            ("login-fail", "user_unknown", None, None),
            ("login-fail", "user_unknown", None, "boss"),
            ("login-ok", None, "boss", "boss"),
            ("login-ok", None, "anna", None)]


def test_success_is_told_after_failures_only(auth):
    started(auth)
    with Service(auth.path) as service, auth.client() as client:
        assert client.plain("berta", "right")
        assert not client.plain("anna", "wrong", ip="192.0.2.1")
        assert client.plain("berta", "right")
        # from elsewhere: ends her streak, but not that of her phone
        for ip in ("192.0.2.2", "192.0.2.2", "192.0.2.1", "192.0.2.1"):
            assert client.plain("anna", "right", ip=ip)
        # the last thing said
        assert not client.plain("nobody", "wrong")
        records = service.wait(4)
        assert [(record.word, record.user, record.ip)
                for record in records] == [
            ("login-fail", "anna", "192.0.2.1"),
            ("login-ok", "anna", "192.0.2.2"),
            ("login-ok", "anna", "192.0.2.1"),
            ("login-fail", None, "192.0.2.1")]


def test_service_knows_who_failed(auth):
    """Before auth started."""
    started(auth)
    watches = ["watch\tuser=anna\tip=192.0.2.0", "watch\tuser=nobody",
               "watch\tuser=anna\tip=2001:db8:0:1::"]
    with Service(auth.path, hello=watches) as service, \
            auth.client() as client:
        wait_for(lambda: client.plain("anna", "right", ip="198.51.100.1") and
                 service.records(), what="auth to hear of it")
        # from where she failed: once for each place
        for ip in ("198.51.100.1", "192.0.2.7", "192.0.2.8", "2001:db8:0:2::1",
                   "2001:db8:0:1::7", "2001:db8:0:1::7"):
            assert client.plain("anna", "right", ip=ip)
        assert client.plain("berta", "right")
        assert not client.plain("nobody", "wrong")
        assert [(record.word, record.user, record.ip)
                for record in service.wait(4)] == [
            ("login-ok", "anna", "198.51.100.1"),
            ("login-ok", "anna", "192.0.2.7"),
            ("login-ok", "anna", "2001:db8:0:1::7"),
            ("login-fail", None, "192.0.2.1")]


def test_workers_are_silent(auth):
    """A blocking database is asked in a worker; one process reports."""
    if auth.release == "2.3":
        auth.dovecot.configure("passdb {\n  driver = shadow\n}\n")
        user = "root"
    else:
        auth.add_passdb({"clara": "right"}, "  use_worker = yes")
        user = "clara"
    started(auth)
    with Service(auth.path) as service, auth.client() as client:
        assert not client.plain("anna", "wrong")
        assert not client.plain(user, "wrong")
        records = service.wait(2)
        assert [record.user for record in records] == ["anna", user]
        wait_for(lambda: auth.workers(), what="a worker")
        assert client.plain("anna", "right")
        service.wait(3)
        assert service.connections == 1


def test_aborted_login_is_none(auth):
    auth.dovecot.log.allow("disconnected with 1 pending requests")
    started(auth)
    with Service(auth.path) as service:
        with auth.client() as client:
            client.send(client.request("CRAM-MD5"))
            client.line()
        with auth.client() as client:
            assert not client.plain("anna", "wrong")
            [record] = service.wait(1)
            assert record.user == "anna"


def test_no_service(auth):
    """Nobody ever listened: nothing is kept for later."""
    started(auth)
    with auth.client() as client:
        for _ in range(20):
            assert not client.plain("anna", "wrong")
        assert client.plain("anna", "right")
        with Service(auth.path) as service:
            wait_for(lambda: not client.plain("berta", "wrong") and
                     service.records(), what="the service to be found")
            assert {record.user for record in service.records()} == {"berta"}
            assert service.records("dropped") == []


def test_hanging_service(auth):
    """It accepts and never reads: logins go on, and it hears how many it
    has missed."""
    started(auth)
    with Service(auth.path, reads=False) as service, auth.client() as client:
        before = rss(auth.pid())
        for _ in range(10):
            assert client.plain_many([("anna", "wrong")] * 1000) == 0
        assert client.plain_many([("berta", "right")] * 1000) == 1000
        # 64 KiB of lines, a table of 512 KiB; Dovecot's requests themselves
        assert rss(auth.pid()) - before < 16 * 1024
        service.read_on()
        wait_for(lambda: service.records("dropped"), what="the count")
        wait_for(lambda: told(service) == 10_000,
                 what="all failures to be told or counted")
        lost = sum(int(record.count) for record in service.records("dropped"))
        assert 0 < lost < 10_000


def told(service):
    return len(service.records("login-fail")) + sum(
        int(record.count) for record in service.records("dropped"))


def rss(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return int(re.search(r"VmRSS:\s+(\d+)", status.read()).group(1))


def test_service_is_killed_and_restarted(auth):
    started(auth)
    with auth.client() as client:
        with Service(auth.path) as service:
            assert not client.plain("anna", "wrong")
            service.wait(1)
        # more than it keeps
        assert client.plain_many([("anna", "wrong")] * 2000) == 0
        assert client.plain_many([("berta", "right")] * 100) == 100
        with Service(auth.path) as service:
            wait_for(lambda: told(service) == 2000, what="all to be told")
            assert service.records("dropped")
            ids = [int(record.id) for record in service.records()]
            assert ids == list(range(2, len(ids) + 2))


def test_what_is_not_acknowledged_comes_again(auth):
    started(auth)
    with auth.client() as client:
        with Service(auth.path, ack=False) as service:
            for _ in range(3):
                assert not client.plain("anna", "wrong")
            first = [record.line for record in service.wait(3)]
        with Service(auth.path) as service:
            assert [record.line for record in service.wait(3)] == first
            wait_for(lambda: service.acked == 3, what="the acknowledgement")
        with Service(auth.path) as service:
            assert not client.plain("berta", "wrong")
            # what was acknowledged does not come a third time
            assert service.wait(1)[0].user == "berta"


@pytest.mark.parametrize("words", (
    "VERSION\tcred-notify-producer\t2\t0\n", "VERSION\tother\t1\t0\n",
    "nonsense\n", "ack\tid=99999999999999999999\n", "x" * 5000,
    "ack\tid=18446744073709551615\n", "ack\n\n\n\0\n", "watch\n",
    "watch\tuser=" + "x" * 600 + "\n", "watch\tuser=a\tip=here\n"))
def test_service_talks_nonsense(auth, words):
    started(auth)
    service = Service(auth.path, ack=False, reads=False)
    with auth.client() as client:
        assert not client.plain("anna", "wrong")
        pid = auth.pid()
        connection, _ = service._listener.accept()
        connection.sendall(words.encode())
        connection.close()
        service.kill()
        with Service(auth.path):
            assert client.plain("anna", "right")
            assert auth.pid() == pid


def test_ten_thousand_failures(auth):
    """A service that reads loses none."""
    started(auth)
    with Service(auth.path) as service, auth.client() as client:
        for start in range(0, 10_000, 2000):
            assert client.plain_many(
                (("anna", "wrong") if number % 3 else (f"no{number}", "x"))
                for number in range(start, start + 2000)) == 0
        service.wait(10_000)
        assert len(service.records("login-fail")) == 10_000
        assert [int(record.id) for record in service.records()] == \
            list(range(1, 10_001))
        assert service.records("dropped") == []


def test_imap_login(auth):
    """The whole way: a client, a login process, auth."""
    import imaplib
    started(auth)
    with Service(auth.path) as service:
        client = imaplib.IMAP4("127.0.0.1", auth.dovecot.port("imap"))
        with pytest.raises(imaplib.IMAP4.error):
            client.login("anna", "wrong")
        client.shutdown()
        [record] = service.wait(1)
        assert (record.service, record.ip, record.user) == \
            ("imap", "127.0.0.1", "anna")
        assert record.session
