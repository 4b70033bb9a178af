"""cred-notify's service: failures become notices, notices are told, and what
was acknowledged is never lost."""

import base64
import contextlib
import email
import email.policy
import http.client
import http.server
import json
import os
import re
import signal
import socket
import sqlite3
import ssl
import subprocess
import threading
import urllib.error
import urllib.request

import pytest

from channel_rig import SmtpSink
from cred_imap_rig import Peer, Session
from cred_rig import AuthClient
from cred_service_rig import SOCKET, CredDovecot, webhook_secret
from rig import wait_for
from rig.scratch import MAIL_UID, MAIL_USER, free_port
from rig.system import HERE

pytestmark = [pytest.mark.sanitize, pytest.mark.soak]

CAPABILITY = "cred_notify_capabilities=imapsync_credential_notifications"


@pytest.fixture
def cred(scratch):
    """Not started."""
    dovecot = CredDovecot(scratch)
    dovecot.dovecot.add_user("anna")
    return dovecot


def test_wrong_passwords(cred):
    cred.start()
    cred.fail("anna", 2)
    [counting] = cred.wait_list(1, "-a")
    assert counting["phase"] == "counting" and cred.list() == []
    cred.fail("anna")
    [row] = cred.wait_list(1)
    assert row["user"] == "anna" and row["account"] == ""
    assert row["kind"] == "login" and row["class"] == "credential"
    assert row["phase"] == "told" and row["acked"] == "no"
    assert int(row["count"]) == 3 and int(row["said"]) == 1
    [mail] = cred.wait_mails("anna", 1)
    assert "anna" in mail["Subject"]
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Return-Path"] in (None, "<>")
    # more of the same is nothing new
    cred.fail("anna", 5)
    cred.wait_stat(records_login_fail=8)
    with Session(cred.dovecot) as session:
        assert "old password" in session.alert()
        session.idle()
        # the login was good: it is over, and said so by each channel once
        assert "again" in session.alert()
    assert cred.list() == []
    cred.wait_mails("anna", 2)
    with Session(cred.dovecot) as session:
        assert "again" in session.alert()
        cred.wait_stat(told=5)
    with Session(cred.dovecot) as session:
        session.command("NOOP")
        assert session.alerts() == []
    cred.wait_mails("anna", 2)
    wait_for(lambda: cred.stat()["notices"] == 0, what="the end of it")


def test_account_of_an_owner(cred):
    cred.start()
    with Session(cred.dovecot) as session, cred.producer() as producer:
        # its subscription must be there before the notice
        cred.wait_stat(sessions=1)
        session.idle()
        producer.trouble("anna/work", owner="anna", label="At work",
                         hint="app-password")
        alert = session.alert()
        assert "At work" in alert
        [row] = cred.list("anna")
        assert row["account"] == "anna/work" and row["label"] == "At work"
        assert row["class"] == "credential" and row["kind"] == "account"
        assert row["hint"] == "app-password"
        [mail] = cred.wait_mails("anna", 1)
        assert "At work" in mail["Subject"]
        text = mail.get_body(("plain",)).get_content()
        assert "app password" in text
        with Session(cred.dovecot) as other:
            assert other.alert() == alert
        producer.send("account-clear", account="anna/work", owner="anna",
                      label="At work")
        producer.wait_acked()
        assert "again" in session.alert()
    assert cred.list() == []
    cred.wait_mails("anna", 2)


def test_ack_and_clear(cred):
    cred.start()
    with cred.producer() as producer:
        producer.trouble("anna/work", owner="anna")
        producer.trouble("anna/club", owner="anna")
        cred.wait_mails("anna", 2)
        cred.command("ack", code=64)
        cred.command("ack", "berta", code=68)
        [row] = cred.command("ack", "-i", "anna/work")
        assert row["account"] == "anna/work"
        assert {row["account"]: row["acked"] for row in cred.list()} == {
            "anna/work": "yes", "anna/club": "no"}
        # who knows is not told at the next login
        with Session(cred.dovecot) as session:
            session.alert()
            cred.wait_stat(told=3)
            session.command("NOOP")
            assert len(session.alerts()) == 1
        cred.kill()
        assert {row["account"]: row["acked"] for row in cred.list()} == {
            "anna/work": "yes", "anna/club": "no"}
        producer.connect()
        [row] = cred.command("clear", "-i", "anna/club")
        assert [row["account"] for row in cred.list()] == ["anna/work"]
        producer.send("account-clear", account="anna/work", owner="anna")
        producer.wait_acked()
        # of what was cleared nobody hears again
        assert cred.list() == []
        cred.wait_mails("anna", 3)


def test_account_is_gone(cred):
    """Deleted or disabled while it fails: that is not "works again"."""
    cred.start()
    with cred.producer() as producer:
        producer.trouble("anna/work", owner="anna")
        cred.wait_mails("anna", 1)
        producer.send("account-clear", account="anna/work", owner="anna",
                      gone="yes")
        producer.wait_acked()
    assert cred.list("-a") == []
    cred.wait_mails("anna", 1)


def test_test(cred):
    cred.start()
    with Session(cred.dovecot) as session:
        session.idle()
        cred.wait_stat(sessions=1)
        rows = {row["name"]: row["value"]
                for row in cred.command("test", "anna")}
        assert rows == {"live": "1 sessions", "mail": "told"}
        assert "Test" in session.alert()
    [mail] = cred.wait_mails("anna", 1)
    assert "Test" in mail["Subject"]
    cred.command("test", "nobody", code=67)
    assert cred.list("-a") == []


def test_api(cred):
    cred.start()
    with cred.producer() as producer:
        producer.trouble("anna/work", owner="anna")
    [row] = cred.dovecot.api("credNotifyList", user="anna")
    assert row["account"] == "anna/work" and row["count"] == 3
    [row] = cred.dovecot.api("credNotifyAck", account="anna/work")
    [row] = cred.dovecot.api("credNotifyList", all=True)
    assert row["acked"] == "yes"
    assert cred.dovecot.api("credNotifyStat")
    cred.dovecot.api("credNotifyRefresh")
    cred.dovecot.api("credNotifyTest", user="anna")
    cred.dovecot.api("credNotifyClear", account="anna/work")
    assert cred.dovecot.api("credNotifyList") == []


class Http:
    """A user's browser, without one."""

    def __init__(self, port, user, password="secret", tls=None):
        self._url = f"http{'s' if tls else ''}://127.0.0.1:{port}"
        self._tls = tls
        self._login = base64.b64encode(f"{user}:{password}".encode()).decode()

    def open(self, path, **body):
        return urllib.request.urlopen(urllib.request.Request(
            self._url + path, json.dumps(body).encode() if body else None,
            {"Authorization": f"Basic {self._login}",
             "Content-Type": "application/json"}), timeout=30,
            context=self._tls)

    def notices(self):
        with self.open("/v1/notices") as answer:
            return json.load(answer)["notices"]


class Events:
    """Server-Sent Events, as they come."""

    def __init__(self, http):
        self._lines = http.open("/v1/events")

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._lines.close()

    def next(self):
        """Name and data of the next one."""
        name = data = None
        while True:
            line = self._lines.readline().decode().rstrip("\n")
            if line.startswith("event:"):
                name = line[6:].strip()
            elif line.startswith("data:"):
                data = json.loads(line[5:])
            elif line == "" and name is not None:
                return name, data


def listen(cred):
    """The port of its channel http."""
    port = free_port()
    cred.dovecot.configure(
        "service cred-notify {\n  inet_listener http {\n"
        f"    port = {port}\n  }}\n}}")
    return port


def test_http(scratch):
    cred = CredDovecot(scratch, cred_notify_channels="http")
    port = listen(cred)
    for name in "anna", "berta":
        cred.dovecot.add_user(name)
    cred.start()
    anna, berta = Http(port, "anna"), Http(port, "berta")
    assert anna.notices() == []
    with cred.producer() as producer, Events(anna) as events:
        assert events.next() == ("standing", {"ids": []})
        producer.trouble("anna/work", owner="anna", label="At work")
        name, notice = events.next()
        assert name == "notice" and "At work" in json.dumps(notice)
        assert [one["id"] for one in anna.notices()] == [notice["id"]]
        assert berta.notices() == []
        with pytest.raises(urllib.error.HTTPError):
            berta.open("/v1/ack", id=notice["id"])
        cred.kill()
        assert [one["id"] for one in anna.notices()] == [notice["id"]]
    with cred.producer() as producer, Events(anna) as events:
        assert events.next()[0] == "standing"
        anna.open("/v1/ack", id=notice["id"]).close()
        assert cred.list()[0]["acked"] == "yes"
        producer.send("account-clear", account="anna/work", owner="anna")
        producer.wait_acked()
        said = [events.next() for _ in range(2)]
        assert ("gone", {"id": notice["id"]}) in said
        assert anna.notices() == []
        stat = cred.stat()
        assert (stat["told"], stat["dropped"]) == (1, 0)


def test_http_ack(scratch):
    """Everybody sees that it is known by now, and is not alerted any more."""
    cred = CredDovecot(scratch, cred_notify_channels="http")
    anna = Http(listen(cred), "anna")
    cred.dovecot.add_user("anna")
    cred.start()

    def acked():
        [notice] = anna.notices()
        return notice["acked"]

    with cred.producer() as producer:
        producer.trouble("anna/work", owner="anna", label="At work")
        wait_for(anna.notices, what="the notice")
        assert acked() is False
        cred.command("ack", "anna")
        assert acked() is True
        cred.kill()
        assert acked() is True
        with Events(anna) as events:
            assert events.next() == ("standing", {"ids": []})
            producer.connect()
            producer.trouble("anna/club", owner="anna", label="Club")
            # what is known is not said before it
            name, notice = events.next()
            assert name == "notice" and notice["label"] == "Club"
        assert [one["acked"] for one in anna.notices()] == [True, False]


def test_http_ack_of_who_is_not_meant_any_more(scratch):
    cred = CredDovecot(scratch, cred_notify_channels="http")
    port = listen(cred)
    holders(cred, ("berta", "carla"))
    cred.start()
    berta, carla = Http(port, "berta"), Http(port, "carla")
    with cred.producer() as producer:
        producer.trouble("info@example.org/work", label="Info")
    wait_for(carla.notices, what="the notice")
    [notice] = carla.notices()
    cred.dovecot.users["carla"].fields = ()
    cred.dovecot.add_user("dora")
    cred.wait_userdb("carla", False)
    assert carla.notices() == []
    with pytest.raises(urllib.error.HTTPError) as refused:
        carla.open("/v1/ack", id=notice["id"])
    assert refused.value.code == 404
    assert cred.list()[0]["acked"] == "no"
    berta.open("/v1/ack", id=notice["id"]).close()
    assert cred.list()[0]["acked"] == "yes"


@pytest.mark.parametrize("proxies,believed", (
    ("127.0.0.0/8", True), ("198.51.100.0/24", False)))
def test_http_proxy(scratch, proxies, believed):
    """Who is behind it has failed, or nobody's device."""
    cred = CredDovecot(
        scratch, cred_notify_channels="http",
        cred_notify_own_networks="127.0.0.0/8",
        cred_notify_http_proxies=proxies)
    port = free_port()
    cred.dovecot.configure(
        "service cred-notify {\n  inet_listener http {\n"
        f"    port = {port}\n  }}\n}}")
    cred.dovecot.add_user("anna")
    cred.start()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.putrequest("GET", "/v1/notices")
    connection.putheader("Authorization", "Basic " + base64.b64encode(
        b"anna:wrong").decode())
    # the first is what a client made up
    connection.putheader("X-Forwarded-For", "127.0.0.9")
    connection.putheader("X-Forwarded-For", "192.0.2.7")
    connection.endheaders()
    assert connection.getresponse().status == 401
    connection.close()
    cred.wait_stat(records_login_fail=1)
    stat = cred.stat()
    assert (stat["counted"], stat["records-ignored"]) == \
        ((1, 0) if believed else (0, 1))


def test_https(scratch):
    """With Dovecot's own certificate; its key is root's alone."""
    cred = CredDovecot(scratch, cred_notify_channels="http")
    port = free_port()
    cred.dovecot.configure(
        "service cred-notify {\n  inet_listener https {\n"
        f"    port = {port}\n    ssl = yes\n  }}\n}}")
    cred.dovecot.add_user("anna")
    [key] = scratch.path.rglob("local.key")
    key.chmod(0o600)
    cred.start()
    trusted = ssl.create_default_context(cafile=scratch.ca().cert)
    # our authority says little of itself
    trusted.verify_flags &= ~ssl.VERIFY_X509_STRICT
    anna = Http(port, "anna", tls=trusted)
    with cred.producer() as producer, Events(anna) as events:
        assert events.next() == ("standing", {"ids": []})
        producer.trouble("anna/work", owner="anna", label="At work")
        name, notice = events.next()
        assert name == "notice"
        assert [one["id"] for one in anna.notices()] == [notice["id"]]
    with pytest.raises(urllib.error.HTTPError) as refused:
        Http(port, "anna", "wrong", tls=trusted).notices()
    assert refused.value.code == 401
    with pytest.raises(urllib.error.URLError):
        Http(port, "anna", tls=ssl.create_default_context()).notices()
    cred.dovecot.log.allow("SSL_accept|SSL.*failed|alert unknown ca")
    # one that never says anything keeps nobody waiting
    with socket.create_connection(("127.0.0.1", port)):
        assert len(anna.notices()) == 1


def test_outside(scratch):
    """To an address elsewhere, in the language of whoever reads it; tried
    again when that server was not ready."""
    with SmtpSink(RCPT="451 4.7.1 later") as sink:
        cred = CredDovecot(scratch, cred_notify_channels="mail outside")
        cred.dovecot.configure(
            f"submission_host = 127.0.0.1:{sink.port}")
        cred.dovecot.add_user("anna", fields=(
            "cred_notify_email=anna@example.net,not an address",
            "cred_notify_language=de"))
        cred.start()
        cred.dovecot.log.allow("to anna: 451 4.7.1 later .tried again")
        with cred.producer() as producer:
            producer.trouble("anna/work", owner="anna", label="At work")
            cred.wait_stat(retried=1)
            sink.replies.clear()
            cred.wait_stat(told=2)
            [(sender, rcpts, text)] = sink.mails
            assert (sender, rcpts) == ("", ("anna@example.net",))
            mail = email.message_from_bytes(text, policy=email.policy.default)
            assert mail["To"] == "anna@example.net"
            assert mail["Auto-Submitted"] == "auto-generated"
            assert "Passwort" in mail.get_body(("plain",)).get_content()
            # that into her own mailbox is another
            [local] = cred.wait_mails("anna", 1)
            assert local["To"] != mail["To"]
            producer.send("account-clear", account="anna/work", owner="anna")
            producer.wait_acked()
            cred.wait_stat(told=4)
        assert len(sink.mails) == 2


def test_outside_mailbox_that_is_the_trouble(scratch):
    """What cannot be read is no place to say so."""
    with SmtpSink() as sink:
        cred = CredDovecot(scratch, cred_notify_channels="mail outside")
        cred.dovecot.configure(
            f"submission_host = 127.0.0.1:{sink.port}")
        cred.dovecot.add_user("anna", fields=(
            "cred_notify_email=anna@example.net,anna@example.com",))
        cred.start()
        with cred.producer() as producer:
            producer.trouble("anna/work", owner="anna",
                             label="anna@example.net")
            cred.wait_stat(told=2)
        assert [rcpts for _, rcpts, _ in sink.mails] == [
            ("anna@example.com",)]


def holders(cred, names):
    for name in names:
        cred.dovecot.add_user(name, fields=(CAPABILITY,))


def test_account_of_nobody(cred):
    """Three may look after it; one of them may not any more when it is well
    again."""
    holders(cred, ("berta", "carla", "dora"))
    cred.start()
    rows = {row["name"]: row["value"] for row in cred.command("refresh")}
    assert rows["users"] == "4" and rows["holders"] == "3"
    with cred.producer() as producer:
        producer.trouble("info@example.org/work", label="Info")
        for name in "berta", "carla", "dora":
            [mail] = cred.wait_mails(name, 1)
            assert "Info" in mail["Subject"]
            with Session(cred.dovecot, name) as session:
                assert "Info" in session.alert()
        assert cred.mails("anna") == []
        cred.wait_stat(told=6)
        cred.dovecot.users["carla"].fields = ()
        cred.dovecot.add_user("emma", fields=(CAPABILITY,))
        cred.wait_userdb("carla", False)
        producer.send("account-clear", account="info@example.org/work",
                      label="Info")
        producer.wait_acked()
        for name in "berta", "dora":
            cred.wait_mails(name, 2)
            with Session(cred.dovecot, name) as session:
                assert "again" in session.alert()
        with Session(cred.dovecot, "carla") as session:
            session.command("NOOP")
            assert session.alerts() == []
        cred.wait_mails("carla", 1)
        assert cred.mails("emma") == cred.mails("anna") == []
    assert cred.list() == []


class Hook(http.server.BaseHTTPRequestHandler):
    """Refuses the first POST, and keeps the others."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.got.append((self.headers["webhook-id"], json.loads(body)))
        self.send_response(503 if len(self.server.got) == 1 else 204)
        self.end_headers()

    def log_message(self, *_args):
        pass


def test_webhook(scratch):
    """Tried again with the same id, and told of the end, too."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        server.got = []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cred = CredDovecot(
            scratch, cred_notify_channels="webhook",
            cred_notify_webhook_url=f"http://127.0.0.1:{server.server_port}/",
            cred_notify_webhook_secret_file=webhook_secret(scratch))
        cred.dovecot.add_user("anna")
        cred.start()
        cred.dovecot.log.allow("to webhook: .*tried again")
        with cred.producer() as producer:
            producer.trouble("anna/work", owner="anna", label="At work")
            cred.wait_stat(told=1)
            producer.send("account-clear", account="anna/work", owner="anna")
            producer.wait_acked()
            cred.wait_stat(told=2)
        server.shutdown()
        assert [body["type"] for _, body in server.got] == [
            "notice.trouble", "notice.trouble", "notice.recovery"]
        assert server.got[0][0] == server.got[1][0] != server.got[2][0]


SQL = {
    "2.3": """
userdb {{
  driver = sql
  args = {dir}/sql.conf
}}
""",
    "2.4": """
sql_driver = sqlite
sqlite_path = {dir}/users.sqlite
userdb sql {{
  query = SELECT home, uid, uid AS gid, \\
    capabilities AS cred_notify_capabilities \\
    FROM users WHERE name = '%{{user}}'
  iterate_query = SELECT name AS user FROM users
}}
"""}
SQL_CONF = """
driver = sqlite
connect = {dir}/users.sqlite
user_query = SELECT home, uid, uid AS gid, \\
  capabilities AS cred_notify_capabilities FROM users WHERE name = '%u'
iterate_query = SELECT name AS user FROM users
"""


def test_sql_userdb(cred):
    """Holders in a database; one is a holder no more."""
    where = cred.dovecot.dir
    cred.dovecot.configure(SQL[HERE.release], dir=where)
    (where / "sql.conf").write_text(SQL_CONF.format(dir=where))
    database = sqlite3.connect(where / "users.sqlite")
    homes = {}
    database.execute("CREATE TABLE users (name, home, uid, capabilities)")
    for name, capabilities in (
            ("berta", "other,imapsync_credential_notifications"),
            ("carla", "oro_imap_sync_origin_credential_notifications"),
            ("dora", "other"), ("emma", None)):
        user = cred.dovecot.add_user(name)
        database.execute("INSERT INTO users VALUES (?, ?, ?, ?)",
                         (name, user.home, user.uid, capabilities))
        # where only the database knows them
        del cred.dovecot.users[name]
        homes[name] = user
    cred.dovecot.add_user("zoe")
    database.commit()
    os.chmod(where / "users.sqlite", 0o644)
    cred.start()
    cred.dovecot.users.update(homes)
    rows = {row["name"]: row["value"] for row in cred.command("refresh")}
    assert (rows["users"], rows["holders"]) == ("6", "2")
    with cred.producer() as producer:
        producer.trouble("info@example.org/work", label="Info")
        cred.wait_mails("berta", 1)
        cred.wait_mails("carla", 1)
        database.execute("UPDATE users SET capabilities = NULL "
                         "WHERE name = 'carla'")
        database.commit()
        producer.send("account-clear", account="info@example.org/work",
                      label="Info")
        producer.wait_acked()
        cred.wait_mails("berta", 2)
        cred.wait_mails("carla", 1)
    assert cred.mails("dora") == cred.mails("emma") == []
    database.close()


@pytest.mark.parametrize("name", (str(MAIL_UID), MAIL_USER))
def test_uid_is_a_setting(cred, name):
    """Userdb does not say whose processes read the mail of its users."""
    cred.dovecot.add_user("berta", says_uid=False)
    cred.dovecot.configure(f"mail_uid = {name}\nmail_gid = {MAIL_UID}")
    cred.start()
    with cred.producer() as producer:
        producer.trouble("berta/work", owner="berta", label="At work")
    path = cred.dovecot.socket("cred-notify")
    with Peer(path, uid=MAIL_UID + 1) as peer:
        peer.subscribe("berta")
        assert peer.is_closed()
    with Session(cred.dovecot, "berta") as session:
        assert "At work" in session.alert()


def test_uid_is_not_known(cred):
    cred.dovecot.add_user("berta", says_uid=False)
    cred.dovecot.log.allow("set mail_uid")
    cred.start()
    for _ in range(2):
        with Peer(cred.dovecot.socket("cred-notify"), uid=MAIL_UID) as peer:
            peer.subscribe("berta")
            assert peer.is_closed()
    assert len(cred.dovecot.log.lines("set mail_uid")) == 1


@pytest.mark.parametrize("name", ("nosuchuser", "%{user}"))
def test_uid_setting_names_nobody(scratch, name):
    """Which says so, and changes nothing for those whom userdb knows."""
    # LMTP does not work then
    cred = CredDovecot(scratch, cred_notify_channels="flash")
    cred.dovecot.add_user("anna")
    cred.dovecot.configure("mail_uid = " + name)
    said = "mail_uid: nobody is called " + re.escape(name)
    cred.dovecot.log.allow(said)
    cred.start()
    assert cred.dovecot.log.lines(said)
    with cred.producer() as producer:
        producer.trouble("anna/work", owner="anna", label="At work")
    with Session(cred.dovecot) as session:
        assert "At work" in session.alert()


def test_userdb_is_closed_to_us(cred):
    """As where its socket was given to the mail user alone."""
    cred.dovecot.configure("""
service auth {
  unix_listener auth-userdb {
    mode = 0600
    user = %s
  }
}
""" % MAIL_USER)
    said = "auth-userdb.*Permission denied.*group of default_internal_user"
    cred.dovecot.log.allow(said)
    cred.dovecot.log.allow("(lookup|listing users) failed")
    cred.start()
    with cred.producer() as producer:
        producer.trouble("anna/work", owner="anna", label="At work")
    wait_for(lambda: cred.dovecot.log.lines(said), what="a remedy")


def test_revoked_between_notice_and_login(cred):
    holders(cred, ("berta", "carla"))
    cred.start()
    with cred.producer() as producer:
        producer.trouble("info@example.org/work", label="Info")
    cred.wait_mails("carla", 1)
    cred.dovecot.users["carla"].fields = ()
    cred.dovecot.add_user("dora")
    cred.wait_userdb("carla", False)
    with Session(cred.dovecot, "carla") as session:
        session.command("NOOP")
        cred.wait_stat(dropped=1)
        assert session.alerts() == []
    with Session(cred.dovecot, "berta") as session:
        assert "Info" in session.alert()


def test_nobody_holds_it_yet(cred):
    cred.start()
    with cred.producer() as producer:
        producer.trouble("info@example.org/work", label="Info")
    cred.dovecot.log.allow("nobody holds the capability")
    wait_for(lambda: cred.dovecot.log.lines("nobody holds the capability"))
    holders(cred, ("berta",))
    cred.wait_userdb("berta", True)
    cred.command("refresh")
    [mail] = cred.wait_mails("berta", 1)
    assert "Info" in mail["Subject"]


def test_auth_hangs(cred):
    """Nothing waits for it but what needs it; and that is not forgotten."""
    cred.start()
    pids = cred.dovecot.pids("auth")
    cred.dovecot.log.allow("userdb: lookup failed: auth does not answer")
    for pid in pids:
        cred.dovecot.kill(pid, signal.SIGSTOP)
    try:
        with cred.producer() as producer:
            producer.trouble("anna/work", owner="anna")
            wait_for(lambda: cred.stat()["lookups-pending"] == 1,
                     what="userdb to be asked")
            producer.trouble("anna/club", owner="anna")
            assert len(cred.list()) == 2
            # given up, to be asked again later
            cred.wait_stat(lookups_failed=2)
            assert cred.stat()["notices-unplanned"] == 2
    finally:
        for pid in pids:
            cred.dovecot.kill(pid, signal.SIGCONT)
    cred.wait_mails("anna", 2)


@pytest.mark.parametrize("how", ("restart", "kill"))
def test_what_was_told_stays_told(cred, how):
    cred.start()
    with cred.producer() as producer:
        producer.trouble("anna/work", owner="anna", label="At work")
        cred.wait_mails("anna", 1)
        [before] = cred.list()
        if how == "kill":
            cred.kill()
        else:
            cred.dovecot.restart()
        [after] = cred.list()
        assert after == before
        # nothing is told twice, and what was not told yet is
        with Session(cred.dovecot) as session:
            assert "At work" in session.alert()
        producer.connect()
        producer.send("account-clear", account="anna/work", owner="anna")
        producer.wait_acked()
    cred.wait_mails("anna", 2)


def test_sessions_are_back_before_userdb(scratch):
    """What one session has shown before a restart is not news for others."""
    cred = CredDovecot(scratch, cred_notify_channels="flash live")
    cred.dovecot.add_user("anna")
    cred.start()
    with cred.producer() as producer:
        producer.trouble("anna/work", owner="anna", label="At work")
    with Session(cred.dovecot) as session:
        assert "At work" in session.alert()
        cred.wait_stat(told=1)
    cred.dovecot.log.allow("userdb: lookup failed: auth does not answer")
    with Session(cred.dovecot) as session:
        tag = session.idle()
        cred.wait_stat(sessions=1)
        pids = cred.dovecot.pids("auth")
        for pid in pids:
            cred.dovecot.kill(pid, signal.SIGSTOP)
        try:
            cred.kill()
            cred.wait_stat(lookups_failed=1)
        finally:
            for pid in pids:
                cred.dovecot.kill(pid, signal.SIGCONT)
        cred.wait_stat(sessions=1)
        wait_for(lambda: cred.stat()["notices-unplanned"] == 0,
                 what="userdb to be asked again")
        session.done(tag)
        assert session.alerts() == []


def test_said_twice_counts_once(cred):
    """Who was not acknowledged says it again, and it is known by its id."""
    cred.start()
    with cred.producer("auth") as producer:
        for _ in range(2):
            producer.send("login-fail", reason="password_mismatch",
                          user="anna", ip="192.0.2.1")
        cred.wait_stat(counted=2)
        # nothing of what it was answered was read
        producer.connect()
        producer.wait_acked()
        assert cred.stat()["records-login-fail"] == 2
        [row] = cred.list("-a")
        assert int(row["count"]) == 2
        # another start has ids of its own
        producer.start, producer.last_id, producer.acked = "00ff", 0, 0
        producer.connect()
        producer.send("login-fail", reason="password_mismatch", user="anna",
                      ip="192.0.2.1")
        producer.wait_acked()
    assert len(cred.list()) == 1
    cred.wait_mails("anna", 1)


def test_said_again_after_a_crash(cred):
    """Nor is it counted again by the service that comes after the one that
    took it up."""
    cred.start()
    with cred.producer("auth") as producer:
        for _ in range(2):
            producer.send("login-fail", reason="password_mismatch",
                          user="anna", ip="192.0.2.1")
        producer.wait_acked()
        # as one that never heard of it
        producer.unacked, producer.acked = dict(producer.sent), 0
        cred.kill()
        producer.connect()
        producer.send("login-fail", reason="password_mismatch",
                      user="berta", ip="192.0.2.1")
        producer.wait_acked()
        assert cred.stat()["records-login-fail"] == 1
    assert {row["user"]: int(row["count"]) for row in cred.list("-a")} == {
        "anna": 2, "berta": 1}


@pytest.fixture
def lmtp(scratch):
    """Takes a mail, and lets go of it only when it is told to."""
    path = str(scratch.path / "sink")
    with SmtpSink(path=path, END=None) as sink:
        os.chmod(path, 0o666)
        yield sink


def in_the_middle_of_a_mail(cred, lmtp):
    """Returns the service's process."""
    cred.dovecot.configure(f"cred_notify_lmtp = {lmtp.path}")
    cred.dovecot.configure("cred_notify_channels = mail")
    cred.start()
    with cred.producer() as producer:
        producer.trouble("anna/work", owner="anna", label="At work")
    wait_for(lambda: lmtp.mails, what="the mail")
    [pid] = cred.pids()
    return pid


def test_reload_in_the_middle_of_a_mail(cred, lmtp):
    """The old service stays for its end, and the new one for the old."""
    before = in_the_middle_of_a_mail(cred, lmtp)
    assert cred.dovecot.doveadm("reload").code == 0
    wait_for(lambda: len(cred.pids()) == 2, what="another service")
    lmtp.let_go.set()
    cred.wait_back(before)
    assert cred.stat()["notices"] == 1
    # a mail that is still to be sent is sent at the beginning, before this
    cred.command("test", "anna")
    assert len(lmtp.mails) == 2 and b"At work" not in lmtp.mails[1][2]


def test_crash_in_the_middle_of_a_mail(cred, lmtp):
    """Nobody knows whether it arrived: it is sent again as the same mail."""
    in_the_middle_of_a_mail(cred, lmtp)
    # the first one never is
    lmtp.replies.clear()
    cred.kill()
    wait_for(lambda: len(lmtp.mails) == 2, what="the mail again")
    warning = "may come twice: the service ended in the middle"
    cred.dovecot.log.allow(warning)
    wait_for(lambda: cred.dovecot.log.lines(warning), what="the warning")
    assert lmtp.mails[0][2] == lmtp.mails[1][2]
    cred.wait_stat(told=1)
    # that is known now
    cred.kill()
    cred.command("test", "anna")
    assert len(lmtp.mails) == 3


def test_killed_while_it_starts(cred):
    """The master waits longer each time; whoever connects has it back."""
    cred.start()
    cred.dovecot.log.allow("cred-notify.* killed with signal 9")
    for _ in range(3):
        pids = cred.pids()
        if not pids:
            break
        for pid in pids:
            cred.dovecot.kill(pid)
        wait_for(lambda: cred.pids() != pids, what="its end")
    with cred.producer() as producer:
        producer.trouble("anna/work", owner="anna", label="At work")
        cred.wait_back()
    assert [row["account"] for row in cred.list()] == ["anna/work"]


def test_reload(cred):
    """The old process makes room for the new one, and sessions come back."""
    cred.start()
    with Session(cred.dovecot) as session, cred.producer() as producer:
        session.idle()
        cred.wait_stat(sessions=1)
        producer.trouble("anna/work", owner="anna", label="At work")
        assert "At work" in session.alert()
        # a mail that is on its way meanwhile is sent again
        cred.wait_stat(told=2)
        [before] = cred.pids()
        assert cred.dovecot.doveadm("reload").code == 0
        wait_for(lambda: cred.pids() not in ([], [before]) and
                 len(cred.pids()) == 1, what="another service")
        assert [row["account"] for row in cred.list()] == ["anna/work"]
        producer.connect()
        producer.send("account-clear", account="anna/work", owner="anna")
        producer.wait_acked()
    cred.wait_mails("anna", 2)


@pytest.mark.parametrize("how", ("reload", "kill"))
@pytest.mark.parametrize("times", (2, 3))
def test_good_login_after_auth_is_restarted(cred, times, how):
    """It does not know itself who failed before; told of or counted only."""
    cred.start()
    cred.fail("anna", times)
    cred.wait_list(1, "-a")
    if times == 3:
        cred.wait_mails("anna", 1)
    if how == "reload":
        assert cred.dovecot.doveadm("reload").code == 0
    else:
        # LMTP finds out when it asks; the mail is tried again
        cred.dovecot.log.allow("auth.* killed with signal 9|auth-master: |"
                               "Failed to lookup user|tried again")
        for pid in cred.dovecot.pids("auth"):
            cred.dovecot.kill(pid)

    def recovers():
        with contextlib.suppress(OSError, EOFError), \
                AuthClient(cred.dovecot.socket("auth-client")) as client:
            assert client.plain("anna", "secret", ip="127.0.0.1")
        return cred.list("-a") == []
    wait_for(recovers, what="all to be well")
    if times == 3:
        cred.wait_mails("anna", 2)


def test_who_is_to_be_watched_for(cred):
    """Said to auth only, and to one that knows the word."""
    cred.start()
    cred.fail("anna")
    cred.wait_list(1, "-a")

    def answer(name, minor):
        with Peer(cred.dovecot.socket(SOCKET)) as peer:
            peer.send(f"VERSION\t{SOCKET}\t1\t{minor}",
                      f"producer\tname={name}\tstart=00",
                      "login-ok\tid=1\ttime=1\tuser=nobody")
            assert peer.line().startswith("VERSION\t")
            return peer.line()
    assert answer("auth", 1) == "watch\tuser=anna\tip=127.0.0.0"
    assert answer("auth", 0) == "ack\tid=1"
    assert answer("imapsync-pull", 1) == "ack\tid=1"


def test_kill_under_load(scratch):
    """Each of 300 accounts is in trouble: all are told of, and none twice,
    though the service is killed again and again."""
    cred = CredDovecot(scratch, cred_notify_channels="flash",
                       cred_notify_user_cap=1000)
    cred.dovecot.add_user("anna")
    cred.start()
    with cred.producer() as producer:
        for number in range(300):
            for age in 2400, 1200, 0:
                producer.send("account-fail", age, account=f"anna/{number}",
                              owner="anna", since=1, **{"class": "credential"})
            if number % 60 == 30:
                producer.read()
                cred.kill()
        producer.wait_acked()
    rows = cred.list()
    assert sorted(int(row["account"].split("/")[1]) for row in rows) == \
        list(range(300))
    assert {(row["count"], row["said"]) for row in rows} == {("3", "1")} or \
        {(row["count"], row["said"]) for row in rows} == {(3, 1)}
    incidents = {row["incident"] for row in rows}
    assert len(incidents) == 300
    assert cred.stat()["notices"] == 300


class Crowd:
    """Users whose passwords are wrong, each at home; so often that all is
    counted and nothing told."""

    def __init__(self, scratch, count=20):
        self.cred = CredDovecot(
            scratch, cred_notify_channels="mail",
            cred_notify_thresholds="login=60000/1h/1d")
        self.users = [f"user{number}" for number in range(count)]
        for name in (*self.users, "berta"):
            self.cred.dovecot.add_user(name)
        self.cred.start()

        self._clients = [self.client() for _ in self.users]
        self._asked = 0

    def client(self):
        return AuthClient(self.cred.dovecot.socket("auth-client"))

    def fail(self, times):
        """Each of them so often, all at once. Auth answers after a pause."""
        for number, client in enumerate(self._clients):
            name = f"user{number}"
            client.send("".join(
                client.request("PLAIN", f"\0{name}\0wrong",
                               ip=f"192.0.2.{number}",
                               session=f"{name}-{self._asked + time}")
                for time in range(times)))
        self._asked += times

    def close(self):
        """All were answered, and that with no."""
        for client in self._clients:
            assert {client.line()[0] for _ in range(self._asked)} == {"FAIL"}
            client.close()

    def counted(self):
        """Of all of them, as the service knows it."""
        return sum(int(row["count"]) for row in self.cred.list("-a"))


@pytest.fixture
def crowd(scratch):
    made = Crowd(scratch)
    yield made
    made.close()


def test_10000_failures(crowd):
    """None is lost, as long as auth has room for those that the service has
    not taken up yet."""
    for done in range(400, 10_001, 400):
        crowd.fail(20)
        crowd.cred.wait_stat(records_login_fail=done)
    stat = crowd.cred.stat()
    assert stat["records-login-fail"] == stat["counted"] == 10_000
    assert stat["lost"] == 0 and stat["producers"] == 1
    assert {int(row["count"]) for row in crowd.cred.list("-a")} == {500}


def test_10000_failures_while_it_hangs(crowd):
    """Nobody's login waits; it hears how many it missed."""
    [pid] = crowd.cred.pids()
    crowd.cred.dovecot.log.allow("producer auth had no room")
    crowd.cred.dovecot.kill(pid, signal.SIGSTOP)
    crowd.fail(500)
    with crowd.client() as client:
        assert client.plain_many([("berta", "secret")] * 100) == 100
    crowd.cred.dovecot.kill(pid, signal.SIGCONT)
    wait_for(lambda: told_or_lost(crowd.cred) == 10_000,
             what="all to be told or counted")
    stat = crowd.cred.stat()
    assert 0 < stat["lost"] < 10_000


def told_or_lost(cred):
    stat = cred.stat()
    return stat["records-login-fail"] + stat["lost"]


def test_failures_while_it_is_killed(crowd):
    """What auth keeps meanwhile is enough: each failure is in the journal,
    and once."""
    for number in range(20):
        if number % 4 == 1:
            [pid] = crowd.cred.pids()
            crowd.cred.dovecot.kill(pid)
            crowd.fail(10)
            crowd.cred.dovecot.log.allow("killed with signal 9")
            crowd.cred.wait_back(pid)
        else:
            crowd.fail(10)
            wait_for(lambda so_far=200 * (number + 1):
                     crowd.counted() == so_far, what="all to be counted")
    assert {int(row["count"]) for row in crowd.cred.list("-a")} == {200}
    crowd.cred.kill()
    assert crowd.counted() == 4000


def test_mail_waits_for_lmtp(cred):
    """What cannot be delivered is tried again."""
    cred.dovecot.configure("service lmtp {\n  client_limit = 1\n}\n")
    cred.start()
    cred.dovecot.log.allow("tried again|lmtp.* failed: No such file")
    socket = cred.dovecot.socket("lmtp")
    os.rename(socket, socket + ".away")
    with cred.producer() as producer:
        producer.trouble("anna/work", owner="anna", label="At work")
    cred.wait_stat(retried=1)
    assert cred.mails("anna") == []
    os.rename(socket + ".away", socket)
    cred.wait_mails("anna", 1)


def test_many_notices_wait_over_a_restart(scratch):
    """More of them than userdb is asked about at one time: each is told, and
    once."""
    count = 120
    path = str(scratch.path / "sink")
    cred = CredDovecot(
        scratch, cred_notify_channels="mail", cred_notify_user_cap=1000,
        cred_notify_lmtp=path, cred_notify_max_retry="1 secs")
    cred.dovecot.add_user("anna")
    with SmtpSink(path=path, RCPT="451 4.2.0 later") as sink:
        os.chmod(path, 0o666)
        cred.start()
        cred.dovecot.log.allow("451 4.2.0 later .tried again")
        with cred.producer() as producer:
            for number in range(count):
                for age in 2400, 1200, 0:
                    producer.send("account-fail", age, owner="anna", since=1,
                                  account=f"anna/{number}",
                                  **{"class": "credential"})
            producer.wait_acked()
        cred.wait_stat(retried=count)
        cred.dovecot.stop()
        sink.replies.clear()
        cred.dovecot.start()
        wait_for(lambda: cred.stat()["told"] + cred.stat()["dropped"] == count,
                 what="what becomes of them")
        assert cred.stat()["dropped"] == 0
        assert len({mail for _, _, mail in sink.mails}) == count == \
            len(sink.mails)


def test_not_named_in_protocols(scratch):
    cred = CredDovecot(scratch)
    cred.dovecot.add_user("anna")
    cred.dovecot.configure("protocols = imap lmtp")
    cred.dovecot.start()
    assert cred.pids() == []
    cred.fail("anna", 3)
    cred.dovecot.imap("anna").shutdown()
    done = cred.dovecot.doveadm("cred-notify", "list")
    assert done.code == 75 and "not running" in done.err


@pytest.mark.parametrize("setting,error", (
    ("cred_notify_chanels = mail", "cred_notify_chanels"),
    ("cred_notify_channels = smoke", "no channel is called smoke"),
    ("cred_notify_channels = webhook", "cred_notify_webhook_url is empty"),
    ("cred_notify_channels = webhook\n"
     "cred_notify_webhook_url = https://hook.example.org/",
     "cred_notify_webhook_secret_file is empty"),
    ("cred_notify_thresholds = dns=1/2", "dns=1/2: neither"),
    ("cred_notify_own_networks = here", "no network: here"),
    ("cred_notify_http_proxies = there", "no network: there"),
    ("cred_notify_attack_users = 99", "must be 2 to 8: 99")))
def test_settings_that_are_wrong(cred, setting, error):
    cred.dovecot.configure(setting)
    cred.dovecot.write_configuration()
    done = subprocess.run(cred.dovecot._command(
        "doveconf", "-c", cred.dovecot.conf), capture_output=True, text=True)
    assert done.returncode != 0 and error in done.stderr


def test_settings_have_names(cred):
    cred.dovecot.write_configuration()
    done = subprocess.run(cred.dovecot._command(
        "doveconf", "-a", "-c", cred.dovecot.conf), capture_output=True,
        text=True, check=True)
    assert re.search("^cred_notify_give_up = 4 days", done.stdout, re.M)
    assert re.search("^cred_notify_channels = flash live mail", done.stdout,
                     re.M)
    if HERE.release == "2.3":
        assert re.search(r"^service cred-notify \{", done.stdout, re.M)
