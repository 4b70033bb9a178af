"""cred-notify's channels: mail, webhook, HTTP."""

import email
import email.policy
import hashlib
import hmac
import base64
import contextlib
import json
import os
import socket
import ssl
import threading
import time

import pytest

from rig import local_dovecot, wait_for
from rig.scratch import MAIL_UID
from rig.system import HERE
from channel_rig import Channels, Events, Receiver, SmtpSink, ask, basic

pytestmark = pytest.mark.soak

SECRET = "0123456789abcdef0123456789abcdef"
ANNA, BERT = ("anna", "secret"), ("bert", "secret")
JSON = {"Content-Type": "application/json"}


@pytest.fixture
def dovecot(scratch):
    instance = local_dovecot(scratch, plugin=False)
    instance.add_user("anna")
    instance.add_user("bert")
    return instance.start()


@pytest.fixture
def web(dovecot):
    """The HTTP channel, with this Dovecot's logins."""
    with Channels(http="yes", auth=dovecot.socket("auth-client")) as channels:
        wait_for(lambda: ask(channels.port, "/v1/notices",
                             login=ANNA)[0] == 200, what="auth to answer")
        yield channels


def inbox(dovecot, user):
    client = dovecot.imap(user)
    client.select("INBOX")
    _ok, [ids] = client.search(None, "ALL")
    mails = [client.fetch(number, "(RFC822)")[1][0][1]
             for number in ids.split()]
    client.logout()
    return [email.message_from_bytes(mail, policy=email.policy.default)
            for mail in mails]


# -- mail into the INBOX

def test_mail_comes_into_the_inbox(dovecot):
    with Channels(lmtp=dovecot.socket("lmtp")) as channels:
        assert channels.told("mail", "anna") == ("told", 0, "-")
        assert channels.told("mail", "anna", said=2, language="de")[0] == \
            "told"
    first, second = inbox(dovecot, "anna")
    assert first["Return-Path"] in ("<>", None)
    assert first["From"] == "postmaster@example.org"
    assert first["To"] == "anna@mx.example.org"
    assert first["Auto-Submitted"] == "auto-generated"
    assert first["Message-ID"].endswith("@mx.example.org>")
    assert second["References"] == first["Message-ID"]
    assert first["Message-ID"] != second["Message-ID"]
    assert first["Date"] == "Tue, 14 Nov 2023 22:13:21 +0000"
    assert [part.get_content_type() for part in first.walk()] == [
        "multipart/alternative", "text/plain", "text/html"]
    assert "://evil" not in first.as_string()
    assert first["Subject"] != second["Subject"]


def test_same_mail_again_is_the_same(dovecot):
    with Channels(lmtp=dovecot.socket("lmtp")) as channels:
        assert channels.told("mail", "anna")[0] == "told"
        assert channels.told("mail", "anna")[0] == "told"
    first, second = inbox(dovecot, "anna")
    assert first["Message-ID"] == second["Message-ID"]
    assert first["Date"] == second["Date"]
    assert first.get_payload(0).as_string() == \
        second.get_payload(0).as_string()


def test_mail_for_nobody_fails(dovecot):
    with Channels(lmtp=dovecot.socket("lmtp")) as channels:
        result, _retry, error = channels.told("mail", "nobody")
        assert result == "failed"
        assert "5.1.1" in error


def test_mail_without_lmtp_is_for_later(dovecot, scratch):
    with Channels(lmtp=scratch.path / "no-lmtp") as channels:
        assert channels.told("mail", "anna")[0] == "later"
        # and again, over the same client
        assert channels.told("mail", "anna")[0] == "later"


@pytest.mark.parametrize("replies, result", [
    ({"CONNECT": "554 no service"}, "later"),
    ({"LHLO": "502 not that"}, "later"),
    ({"MAIL": "550 no null senders"}, "later"),
    ({"RCPT": "452 4.2.2 full"}, "later"),
    ({"RCPT": "550 5.1.1 who"}, "failed"),
    ({"DATA": "451 not now"}, "later"),
    ({"END": "554 5.6.0 no such mail"}, "failed"),
    ({"END": "421 bye"}, "later"),
    ({"CONNECT": ""}, "later"),
    ({"RCPT": ""}, "later"),
    ({"END": ""}, "later"),
    ({"RCPT": "nonsense"}, "later"),
])
def test_lmtp_answers(scratch, replies, result):
    path = str(scratch.path / "lmtp-sink")
    with SmtpSink(path, **replies), Channels(lmtp=path, timeout=5) as channels:
        assert channels.told("mail", "anna")[0] == result
        assert channels.told("mail", "bert")[0] == result


@pytest.mark.parametrize("reply, expected", [
    ("550 \x1b[31m", "later"),
    ("550-5.1.1 one\r\n550 5.1.1 two", "failed"),
    ("\r\n".join(["550-" + "x" * 80] * 50 + ["550 end"]), "failed"),
], ids=["control", "lines", "long"])
def test_lmtp_error_is_one_harmless_line(scratch, reply, expected):
    path = str(scratch.path / "lmtp-sink")
    with SmtpSink(path, RCPT=reply), Channels(lmtp=path) as channels:
        result, _retry, error = channels.told("mail", "anna")
    assert result == expected
    assert "\x1b" not in error and len(error) < 600


def test_lmtp_that_hangs_times_out(scratch):
    path = str(scratch.path / "lmtp-sink")
    with SmtpSink(path, END=None), Channels(lmtp=path, timeout=1) as channels:
        assert channels.told("mail", "anna")[0] == "later"


def test_five_mails_in_flight(scratch):
    path = str(scratch.path / "lmtp-sink")
    with SmtpSink(path, END=None) as sink, \
            Channels(lmtp=path, timeout=60) as channels:
        numbers = [channels.tell("mail", f"user{i}") for i in range(20)]
        wait_for(lambda: len(sink.mails) == 5)
        assert not channels.find("answer")
        sink.let_go.set()
        assert {channels.answer(number)[0] for number in numbers} == {"told"}
        assert len(sink.mails) == 20
        assert sink.most_busy <= 5


def test_waiting_mails_are_bounded(scratch):
    path = str(scratch.path / "lmtp-sink")
    with SmtpSink(path, END=None) as sink, \
            Channels(lmtp=path, timeout=60) as channels:
        numbers = [channels.tell("mail", f"user{i}") for i in range(1010)]
        for number in numbers[1005:]:
            result, _retry, error = channels.answer(number)
            assert (result, error) == ("later", "too many mails wait")
        assert len(channels.find("answer")) == 5
        sink.let_go.set()
        assert channels.answer(numbers[1004], timeout=60)[0] == "told"


def test_stop_with_mails_in_flight(scratch):
    path = str(scratch.path / "lmtp-sink")
    with SmtpSink(path, END=None) as smtp, \
            SmtpSink(END=None) as sink, \
            Channels(lmtp=path, timeout=60,
                     submission_host=f"127.0.0.1:{sink.port}") as channels:
        local = [channels.tell("mail", f"user{i}") for i in range(3)]
        outside = [channels.tell("outside", "anna", f"a{i}@example.net")
                   for i in range(4)]
        wait_for(lambda: len(smtp.mails) == 3 and len(sink.mails) == 2)
        channels.close()
        for number in local + outside:
            assert channels.answer(number) == \
                ("later", 0, "the service is stopped")
        assert len(channels.find("answer")) == 7


@pytest.mark.parametrize("user", [
    "an\x01na", "@example.org", "", "m\u00fcller", "anna@",
    "anna@x> SIZE=1", "anna@m\u00fcller.example"])
def test_names_that_are_no_addresses(dovecot, user):
    with Channels(lmtp=dovecot.socket("lmtp")) as channels:
        result, _retry, error = channels.told("mail", user)
        assert (result, error) == ("failed",
                                   "no address that mail can be sent to")


@pytest.mark.parametrize("user", [
    "o'neil x", "anna@example.org", "a\"b", "a>b", "a@b@[127.0.0.1]"])
def test_odd_names_reach_lmtp(scratch, user):
    path = str(scratch.path / "lmtp-sink")
    with SmtpSink(path) as sink, Channels(lmtp=path) as channels:
        assert channels.told("mail", user)[0] == "told"
    [(sender, _rcpts, text)] = sink.mails
    assert sender == ""
    assert b"\r\nTo: <" in text


# -- mail elsewhere

def test_mail_goes_outside():
    with SmtpSink() as sink, Channels(
            submission_host=f"127.0.0.1:{sink.port}") as channels:
        assert channels.told("outside", "anna", "anna@example.net") == \
            ("told", 0, "-")
    [(sender, rcpts, text)] = sink.mails
    assert (sender, rcpts) == ("", ("anna@example.net",))
    mail = email.message_from_bytes(text, policy=email.policy.default)
    assert mail["To"] == "anna@example.net"
    assert mail["Auto-Submitted"] == "auto-generated"


def test_each_address_gets_a_mail_of_its_own():
    with SmtpSink(**{"RCPT full@example.net": "452 full",
                     "RCPT who@example.net": "550 who"}) as sink, \
            Channels(submission_host=f"127.0.0.1:{sink.port}") as channels:
        def told(addresses):
            return channels.told("outside", "anna", addresses)[0]
        assert told("a@example.net,b@example.net") == "told"
        assert told("who@example.net,b@example.net") == "told"
        assert told("full@example.net,who@example.net") == "later"
        assert told("who@example.net") == "failed"
        assert told("") == "failed"
    assert [rcpts for _sender, rcpts, _text in sink.mails] == [
        ("a@example.net",), ("b@example.net",), ("b@example.net",)]
    assert b"b@example.net" not in sink.mails[0][2]


def test_submission_that_is_not_there():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with Channels(submission_host=f"127.0.0.1:{port}",
                  timeout=5) as channels:
        for _ in range(3):
            assert channels.told("outside", "anna", "a@example.net")[0] == \
                "later"


@pytest.mark.parametrize("code, result", [(0, "told"), (75, "later")])
def test_mail_goes_by_sendmail(scratch, code, result):
    folder = scratch.path / "sendmail"
    folder.mkdir()
    os.chown(folder, MAIL_UID, MAIL_UID)
    program, seen = folder / "sendmail", folder / "seen"
    program.write_text(f"#!/bin/sh\necho \"$@\" >{seen}\ncat >>{seen}\n"
                       f"exit {code}\n")
    program.chmod(0o755)
    # not as root: lib-program-client does not want to be
    with Channels(sendmail=program, uid=MAIL_UID) as channels:
        assert channels.told("outside", "anna", "a@example.net")[0] == result
    first, rest = seen.read_text().split("\n", 1)
    assert first == "-i -f <> -- a@example.net"
    assert "Auto-Submitted: auto-generated" in rest


def test_mail_stopped_while_sendmail_runs(scratch):
    folder = scratch.path / "sendmail"
    folder.mkdir()
    os.chown(folder, MAIL_UID, MAIL_UID)
    program, seen = folder / "sendmail", folder / "seen"
    program.write_text(f"#!/bin/sh\ntouch {seen}\nexec sleep 60\n")
    program.chmod(0o755)
    with Channels(sendmail=program, uid=MAIL_UID, timeout=60) as channels:
        number = channels.tell("outside", "anna", "a@example.net")
        wait_for(seen.exists)
        channels.close()
        assert channels.answer(number) == \
            ("later", 0, "the service is stopped")


@pytest.mark.parametrize("mode", ["smtps", "starttls"])
@pytest.mark.parametrize("hosts, result", [
    (("DNS:localhost", "IP:127.0.0.1"), "told"),
    (("DNS:other.example",), "later")])
def test_submission_by_tls(scratch, mode, hosts, result):
    cert, key = scratch.ca().issue("mx", hosts=hosts)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with SmtpSink(ssl_context=context, starttls=mode == "starttls") as sink, \
            Channels(submission_host=f"localhost:{sink.port}", timeout=5,
                     submission_ssl=mode, ca=scratch.ca().cert) as channels:
        assert channels.told("outside", "anna", "a@example.net")[0] == result
    assert len(sink.mails) == (result == "told")


# -- webhook

def webhook(receiver, **settings):
    return Channels(url=receiver.url(), secret=SECRET, **settings)


def verify(headers, body, secret=SECRET):
    signed = b".".join([headers["webhook-id"].encode(),
                        headers["webhook-timestamp"].encode(), body])
    digest = hmac.new(secret.encode(), signed, hashlib.sha256).digest()
    good = "v1," + base64.b64encode(digest).decode()
    return good in headers["webhook-signature"].split(" ")


def test_webhook_is_signed():
    with Receiver() as receiver, webhook(receiver) as channels:
        assert channels.told("webhook", "anna", incident=7) == \
            ("told", 0, "-")
        [(path, headers, body)] = receiver.posts
    assert path == "/hook"
    assert verify(headers, body)
    assert not verify(headers, body, "another" * 4)
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert headers["webhook-id"] == "1234.7.1"
    assert headers["Content-Type"] == "application/json"
    said = json.loads(body)
    assert said["type"] == "notice.trouble"
    assert said["timestamp"] == "2023-11-14T22:13:27Z"
    assert said["data"]["id"] == "7.1"
    assert said["data"]["user"] == "anna"
    assert said["data"]["class"] == "credential"
    assert "://evil" not in body.decode()


def test_webhook_by_two_secrets():
    other = "fedcba9876543210"
    with Receiver() as receiver, Channels(
            url=receiver.url(), secret=f"{SECRET} {other}") as channels:
        assert channels.told("webhook", "anna")[0] == "told"
        [(_path, headers, body)] = receiver.posts
    assert verify(headers, body) and verify(headers, body, other)


def test_webhook_is_the_same_when_tried_again():
    with Receiver(500) as receiver, webhook(receiver) as channels:
        assert channels.told("webhook", "anna")[0] == "later"
        receiver.answer = 200
        assert channels.told("webhook", "anna")[0] == "told"
        first, second = receiver.posts
    assert first[1]["webhook-id"] == second[1]["webhook-id"]
    assert first[2] == second[2]


@pytest.mark.parametrize("status, result", [
    (200, "told"), (202, "told"), (400, "failed"), (404, "failed"),
    (410, "failed"), (408, "later"), (429, "later"), (500, "later"),
    (503, "later")])
def test_webhook_answers(status, result):
    with Receiver(status) as receiver, webhook(receiver) as channels:
        assert channels.told("webhook", "anna")[0] == result
        # lib-http tried once
        assert len(receiver.posts) == 1


@pytest.mark.parametrize("value, secs", [
    ("120", 120), ("1000000", 3600), ("-5", 0), ("soon", 0)])
def test_webhook_retry_after(value, secs):
    def busy(handler):
        handler.send_response(429)
        handler.send_header("Retry-After", value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
    with Receiver(busy) as receiver, webhook(receiver) as channels:
        result, retry, _error = channels.told("webhook", "anna")
    assert result == "later"
    assert secs - 5 <= retry <= secs


def test_webhook_follows_no_redirects():
    with Receiver() as other:
        def redirect(handler):
            handler.send_response(307)
            handler.send_header("Location", other.url())
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        with Receiver(redirect) as receiver, webhook(receiver) as channels:
            assert channels.told("webhook", "anna")[0] == "later"
            assert channels.told("webhook", "bert")[0] == "later"
            assert len(receiver.posts) == 2
        assert other.posts == []


def test_webhook_that_hangs():
    def hang(handler):
        handler.server.shutdown_request(handler.request) \
            if receiver.let_go.wait(60) else None
    with Receiver(hang) as receiver, webhook(receiver, timeout=1) as channels:
        begun = time.monotonic()
        numbers = [channels.tell("webhook", "anna", incident=i)
                   for i in range(3)]
        for number in numbers:
            result, _retry, error = channels.answer(number)
            assert result == "later" and error != "-"
        assert time.monotonic() - begun < 15


def test_webhook_with_an_endless_answer():
    """It costs neither memory nor the next notice."""
    def endless(handler):
        handler.send_response(200)
        handler.end_headers()
        while not receiver.let_go.is_set():
            handler.wfile.write(b"x" * 65536)
    with Receiver(endless) as receiver, \
            webhook(receiver, timeout=2, in_flight=2) as channels:
        assert channels.told("webhook", "anna")[0] == "told"
        before = channels.rss_kb()
        for incident in range(2, 8):
            assert channels.told("webhook", "anna",
                                 incident=incident)[0] in ("told", "later")
        receiver.answer = 200
        wait_for(lambda: channels.told("webhook", "anna",
                                       incident=9)[0] == "told")
        assert channels.rss_kb() - before < 4096


def test_webhook_with_a_broken_answer():
    def broken(handler):
        handler.wfile.write(b"\0\0nonsense\r\n\r\n")
        handler.close_connection = True
    with Receiver(broken) as receiver, webhook(receiver) as channels:
        assert channels.told("webhook", "anna")[0] == "later"


def test_webhook_with_nobody_there():
    with Receiver() as receiver:
        url = receiver.url()
    with Channels(url=url, secret=SECRET, timeout=5) as channels:
        for _ in range(2):
            assert channels.told("webhook", "anna")[0] == "later"


def test_webhook_stopped_in_flight():
    def hang(_handler):
        receiver.let_go.wait(60)
    with Receiver(hang) as receiver, webhook(receiver, timeout=60) as channels:
        numbers = [channels.tell("webhook", "anna", incident=i)
                   for i in range(8)]
        wait_for(lambda: receiver.posts)
        channels.close()
        for number in numbers:
            assert channels.answer(number) == \
                ("later", 0, "the service is stopped")


def test_webhook_verifies_certificates(scratch):
    cert, key = scratch.ca().issue("hook")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with Receiver(ssl_context=context) as receiver:
        url = receiver.url("https", "localhost")
        with Channels(url=url, secret=SECRET, timeout=5,
                      ca=scratch.ca().cert) as channels:
            assert channels.told("webhook", "anna") == ("told", 0, "-")
        with Channels(url=url, secret=SECRET, timeout=5) as channels:
            result, _retry, error = channels.told("webhook", "anna")
            assert result == "later" and "ertificate" in error
        assert len(receiver.posts) == 1


def test_webhook_for_another_host(scratch):
    cert, key = scratch.ca().issue("other", hosts=("DNS:other.example",))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    with Receiver(ssl_context=context) as receiver, Channels(
            url=receiver.url("https", "localhost"), secret=SECRET, timeout=5,
            ca=scratch.ca().cert) as channels:
        assert channels.told("webhook", "anna")[0] == "later"
        assert receiver.posts == []


# -- HTTP

def test_notices_of_the_user_alone(web):
    web.notice("anna", 1)
    web.notice("bert", 2)
    web.notice("anna", 3, said=2)
    status, said, headers = ask(web.port, "/v1/notices", login=ANNA)
    assert status == 200
    assert [notice["id"] for notice in said["notices"]] == ["1.1", "3.2"]
    assert said["total"] == 2
    first, second = said["notices"]
    assert first["kind"] == "trouble" and second["kind"] == "recovery"
    assert first["user"] == "anna" and first["count"] == 3
    assert "://evil" not in json.dumps(said)
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Access-Control-Allow-Origin"] is None
    assert web.wait("shown", "anna", "1.1")
    assert not web.find("shown", "bert")


@pytest.mark.parametrize("login", [
    None, ("anna", "wrong"), ("nobody", "secret"), ("anna", ""),
    ("", "secret")])
def test_wrong_logins(web, login):
    web.notice("anna", 1)
    for path, method in (("/v1/notices", "GET"), ("/v1/events", "GET"),
                         ("/v1/token", "POST")):
        status, said, headers = ask(web.port, path, method, login=login)
        assert status == 401
        assert said == {"error": "not logged in"}
        assert headers["WWW-Authenticate"].startswith("Basic realm=")
    status, said, _headers = ask(web.port, "/v1/ack", "POST", login=login,
                                 headers=JSON, body='{"id":"1.1"}')
    assert status == 401
    assert not web.find("ack")


PROXY = {
    "2.3": """
passdb {
  driver = static
  args = proxy=y host=192.0.2.1 nopassword=y
}
""",
    "2.4": """
passdb static {
  fields {
    proxy = y
    host = 192.0.2.1
    nopassword = y
  }
}
"""}


def test_users_of_another_server(scratch):
    """Where a proxy sends them, their passwords are looked at; not here."""
    dovecot = local_dovecot(scratch, plugin=False)
    dovecot.add_user("anna")
    dovecot.configure(PROXY[HERE.release])
    dovecot.start()
    with Channels(http="yes", auth=dovecot.socket("auth-client")) as web:
        wait_for(lambda: ask(web.port, "/v1/notices", login=ANNA)[0] == 200)
        web.notice("bert", 1)
        for path, method in (("/v1/notices", "GET"), ("/v1/events", "GET"),
                             ("/v1/token", "POST")):
            status, said, _headers = ask(web.port, path, method,
                                         login=("bert", "anything"))
            assert (status, said) == (403,
                                      {"error": "no logins for this user"})
        assert not web.find("shown")


def test_wrong_paths_and_methods(web):
    assert ask(web.port, "/", login=ANNA)[0] == 404
    assert ask(web.port, "/v1/notices/", login=ANNA)[0] == 404
    assert ask(web.port, "/v1/../v1/notices2", login=ANNA)[0] == 404
    status, _said, headers = ask(web.port, "/v1/notices", "DELETE",
                                 login=ANNA)
    assert status == 405 and headers["Allow"] == "GET, OPTIONS"
    assert ask(web.port, "/v1/notices?" + "x" * 5000, login=ANNA)[0] in (
        400, 414)
    assert ask(web.port, "/v1/notices", headers={"X": "y" * 40000},
               login=ANNA)[0] in (400, 413, 431)


def test_nothing_of_http_is_enough(web):
    """Bytes that are no request at all do no harm."""
    for data in (b"\0" * 1000, b"GET / HTTP/9.9\r\n\r\n", b"\r\n\r\n\r\n",
                 b"GET /v1/notices HTTP/1.1\r\nHost: x\r\n"
                 b"Authorization: Basic\r\n\r\n",
                 b"POST /v1/ack HTTP/1.1\r\nHost: x\r\n"
                 b"Content-Type: application/json\r\n"
                 b"Content-Length: 10\r\n\r\nab",
                 b"POST /v1/ack HTTP/1.1\r\nHost: x\r\n"
                 b"Content-Type: application/json\r\n"
                 b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"):
        with socket.create_connection(("127.0.0.1", web.port)) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                while client.recv(65536):
                    pass
    assert ask(web.port, "/v1/notices", login=ANNA)[0] == 200


def token_of(web, login=ANNA):
    status, said, _headers = ask(web.port, "/v1/token", "POST", login=login)
    assert status == 200
    assert said["expires_in"] > 0
    return said["token"]


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


def test_token_stands_for_the_login(web):
    web.notice("anna", 1)
    web.notice("bert", 2)
    token = token_of(web)
    for said in (ask(web.port, f"/v1/notices?token={token}"),
                 ask(web.port, "/v1/notices", headers=bearer(token))):
        assert said[0] == 200
        assert [notice["id"] for notice in said[1]["notices"]] == ["1.1"]
    # not for another token, which would never end
    assert ask(web.port, "/v1/token", "POST", headers=bearer(token))[0] == 403
    with Events(web.port, query=f"?token={token}") as events:
        assert events.standing() == ["1.1"]


def test_token_of_nobody(web):
    token = token_of(web)
    for wrong in ("", "x", token + "x", token[:-1], "%20", token.swapcase()):
        status, _said, headers = ask(web.port, f"/v1/notices?token={wrong}")
        assert status == 401
        # no dialog in the user's face
        assert headers["WWW-Authenticate"] == "Bearer"


def test_token_expires(dovecot):
    with Channels(http="yes", auth=dovecot.socket("auth-client"),
                  token=1) as web:
        wait_for(lambda: ask(web.port, "/v1/notices", login=ANNA)[0] == 200)
        token = token_of(web)
        wait_for(lambda: ask(web.port, "/v1/notices",
                             headers=bearer(token))[0] == 401)
        assert ask(web.port, "/v1/events", headers=bearer(token))[0] == 401
        assert ask(web.port, "/v1/notices", login=ANNA)[0] == 200


def ack(web, notice_id, login=ANNA, headers=JSON):
    return ask(web.port, "/v1/ack", "POST", login=login, headers=headers,
               body=json.dumps({"id": notice_id}))


def test_ack(web):
    web.notice("anna", 1)
    assert ack(web, "1.1")[:2] == (200, {"id": "1.1", "acked": True})
    assert web.wait("ack", "anna", "1.1")
    [notice] = ask(web.port, "/v1/notices", login=ANNA)[1]["notices"]
    assert notice["acked"] is True
    for incident in (2, 3):
        web.notice("anna", incident)
    # it may still be where a stream goes on
    for last, next_one in (("0.9", "2.1"), ("1.1", "2.1"), ("2.1", "3.1")):
        with Events(web.port, ANNA, {"Last-Event-ID": last}) as events:
            assert events.standing() == ["2.1", "3.1"]
            assert events.next()[1] == next_one


def test_ack_of_others(web):
    web.notice("anna", 1)
    assert ack(web, "1.1", login=BERT)[0] == 404
    assert ack(web, "7.1")[0] == 404
    assert not web.find("ack")


@pytest.mark.parametrize("body", [
    "", "{", "{}", "[]", '{"id":1}', '{"id":"1 1"}', '{"id":""}',
    '{"id":"' + "1" * 65 + '"}', '{"id":"1.1"}x', '{"id":"\\u0000"}'])
def test_ack_of_nonsense(web, body):
    web.notice("anna", 1)
    assert ask(web.port, "/v1/ack", "POST", login=ANNA, headers=JSON,
               body=body)[0] == 400
    assert not web.find("ack")


def test_ack_too_big(web):
    status, _said, _headers = ask(
        web.port, "/v1/ack", "POST", login=ANNA, headers=JSON,
        body=json.dumps({"id": "1.1", "x": "y" * 5000}))
    assert status == 413


def test_ack_as_a_form(web):
    """Any page can make a browser send a form, with its logins."""
    web.notice("anna", 1)
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert ack(web, "1.1", headers={"Content-Type": kind})[0] == 415
    assert not web.find("ack")


def test_pages_of_other_sites(dovecot):
    own = "https://mail.example.org"
    with Channels(http="yes", auth=dovecot.socket("auth-client"),
                  origins=own) as web:
        wait_for(lambda: ask(web.port, "/v1/notices", login=ANNA)[0] == 200)
        status, _said, headers = ask(web.port, "/v1/notices", login=ANNA,
                                     headers={"Origin": own})
        assert status == 200
        assert headers["Access-Control-Allow-Origin"] == own
        assert headers["Vary"] == "Origin"
        for other in ("https://evil.example", "null"):
            status, _said, headers = ask(
                web.port, "/v1/notices", login=ANNA,
                headers={"Origin": other})
            assert status == 403
            assert headers["Access-Control-Allow-Origin"] is None
        status, _said, headers = ask(
            web.port, "/v1/notices", "OPTIONS", headers={"Origin": own})
        assert status == 204
        assert "Authorization" in headers["Access-Control-Allow-Headers"]


def test_no_cors_unless_asked_for(web):
    status, _said, headers = ask(
        web.port, "/v1/notices", "OPTIONS",
        headers={"Origin": "https://evil.example"})
    assert status == 403
    assert headers["Access-Control-Allow-Origin"] is None
    host = f"127.0.0.1:{web.port}"
    assert ask(web.port, "/v1/notices", login=ANNA,
               headers={"Origin": f"http://{host}"})[0] == 200


def test_lists_that_fail(web):
    web.do("list", "fail")
    web.wait("listed", "fail")
    for path in ("/v1/notices", "/v1/events"):
        status, said, _headers = ask(web.port, path, login=ANNA)
        assert (status, said) == (503, {"error": "try later"})
    assert ack(web, "1.1")[0] == 503
    wait_for(lambda: "the test says so" in web.errors,
             what="the reason in the log")


def test_lists_that_come_later(web):
    web.notice("anna", 1)
    web.do("list", "later")
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(
        ask(web.port, "/v1/notices", login=ANNA))) for _ in range(2)]
    for thread in threads:
        thread.start()
    web.wait("listing", "anna", count=2)
    # one that does not wait for it
    with socket.create_connection(("127.0.0.1", web.port)) as client:
        login = "".join(f"{name}: {value}\r\n"
                        for name, value in basic(*ANNA).items())
        client.sendall(f"GET /v1/notices HTTP/1.1\r\nHost: x\r\n{login}\r\n"
                       .encode())
        web.wait("listing", "anna", count=3)
    web.do("drop")
    for thread in threads:
        thread.join()
    assert [answer[0] for answer in answers] == [200, 200]
    # and one that is never answered: see that it ends
    client = socket.create_connection(("127.0.0.1", web.port))
    client.sendall(f"GET /v1/events HTTP/1.1\r\nHost: x\r\n{login}\r\n"
                   .encode())
    web.wait("listing", "anna", count=4)
    web.close()
    client.close()


def test_auth_that_is_down(scratch):
    with Channels(http="yes", auth=scratch.path / "no-auth") as web:
        status, said, _headers = ask(web.port, "/v1/notices", login=ANNA)
        assert (status, said) == (503, {"error": "try later"})


def test_auth_that_comes_back(dovecot, web):
    dovecot.restart()
    wait_for(lambda: ask(web.port, "/v1/notices", login=ANNA)[0] == 200)


def test_connections_are_bounded(dovecot):
    with Channels(http="yes", auth=dovecot.socket("auth-client"),
                  max_clients=3) as web:
        held = [socket.create_connection(("127.0.0.1", web.port))
                for _ in range(3)]
        # one of those three may be counted after the fourth
        def refused():
            with socket.create_connection(("127.0.0.1", web.port),
                                          timeout=2) as client:
                return client.recv(1) == b""
        wait_for(refused)
        for client in held:
            client.close()
        wait_for(lambda: ask(web.port, "/v1/notices", login=ANNA)[0] == 200)


def test_connections_that_ask_nothing(dovecot):
    with Channels(http="yes", auth=dovecot.socket("auth-client"),
                  idle=1) as web:
        for data in (b"", b"GET /v1/notices HTTP/1.1\r\nHost: x\r\n",
                     b"POST /v1/ack HTTP/1.1\r\nHost: x\r\n"
                     b"Content-Type: application/json\r\n"
                     b"Content-Length: 10\r\n\r\n{"):
            with socket.create_connection(("127.0.0.1", web.port),
                                          timeout=20) as client:
                client.sendall(data)
                with contextlib.suppress(ConnectionResetError):
                    while client.recv(65536):
                        pass


# -- events

def test_events(web):
    web.notice("anna", 1)
    with Events(web.port, ANNA) as events:
        assert events.status == 200
        assert events.headers["Content-Type"] == "text/event-stream"
        assert events.headers["X-Accel-Buffering"] == "no"
        assert events.standing() == ["1.1"]
        event, event_id, data = events.next()
        assert (event, event_id, data["id"]) == ("notice", "1.1", "1.1")
        assert web.notice("anna", 2) == 1
        assert web.notice("bert", 3) == 0
        assert events.next()[1] == "2.1"
        web.do("gone", "anna", "1.1")
        assert events.next() == ("gone", None, {"id": "1.1"})
        assert 2000 <= int(events.retry) < 5000
    assert web.wait("shown", "anna", "2.1")
    assert not web.find("shown", "anna", "3.1")


def test_events_go_on_where_they_ended(web):
    for incident in (1, 2, 3):
        web.notice("anna", incident)
    with Events(web.port, ANNA, {"Last-Event-ID": "2.1"}) as events:
        assert events.standing() == ["1.1", "2.1", "3.1"]
        assert events.next()[1] == "3.1"
        assert events.events.empty()
    with Events(web.port, ANNA, query="?last_event_id=3.1") as events:
        assert events.standing() == ["1.1", "2.1", "3.1"]
        web.notice("anna", 4)
        assert events.next()[1] == "4.1"
    # what the last one was is gone: all that stands
    with Events(web.port, ANNA, {"Last-Event-ID": "0.9"}) as events:
        events.standing()
        assert [events.next()[1] for _ in range(4)] == [
            "1.1", "2.1", "3.1", "4.1"]
    with Events(web.port, ANNA, {"Last-Event-ID": "x y\\"}) as events:
        events.standing()
        assert events.next()[1] == "1.1"


def test_events_ping_and_end(dovecot):
    with Channels(http="yes", auth=dovecot.socket("auth-client"), ping=1,
                  stream=3) as web:
        wait_for(lambda: ask(web.port, "/v1/notices", login=ANNA)[0] == 200)
        with Events(web.port, ANNA) as events:
            wait_for(lambda: events.pings >= 2)
            assert events.ended.wait(20)


def test_events_of_a_client_that_left(dovecot):
    with Channels(http="yes", auth=dovecot.socket("auth-client"),
                  ping=1) as web:
        wait_for(lambda: ask(web.port, "/v1/notices", login=ANNA)[0] == 200)
        with Events(web.port, ANNA) as events:
            events.standing()
        incidents = iter(range(1, 1000))
        wait_for(lambda: web.notice("anna", next(incidents)) == 0)


def test_streams_are_bounded(dovecot):
    with Channels(http="yes", auth=dovecot.socket("auth-client"),
                  max_streams=3, per_user=2) as web:
        wait_for(lambda: ask(web.port, "/v1/notices", login=ANNA)[0] == 200)
        with Events(web.port, ANNA), Events(web.port, ANNA):
            assert ask(web.port, "/v1/events", login=ANNA)[0] == 503
            with Events(web.port, BERT):
                assert ask(web.port, "/v1/events", login=BERT)[0] == 503
                assert ask(web.port, "/v1/notices", login=BERT)[0] == 200


def test_streams_asked_for_at_once_are_bounded(dovecot):
    with Channels(http="yes", auth=dovecot.socket("auth-client"),
                  max_streams=3, per_user=2) as web:
        wait_for(lambda: ask(web.port, "/v1/notices", login=ANNA)[0] == 200)
        web.do("list", "later")
        said = []
        threads = [threading.Thread(target=lambda login=login: said.append(
            Events(web.port, login))) for login in (ANNA, ANNA, ANNA, BERT,
                                                    BERT)]
        for thread in threads:
            thread.start()
        web.wait("listing", "anna", count=3)
        web.wait("listing", "bert", count=2)
        web.do("drop")
        for thread in threads:
            thread.join()
        assert sorted(events.status for events in said) == [
            200, 200, 200, 503, 503]
        for events in said:
            events.close()


def test_slow_readers_are_dropped(dovecot):
    with Channels(http="yes", auth=dovecot.socket("auth-client"),
                  buffer=16384) as web:
        wait_for(lambda: ask(web.port, "/v1/notices", login=ANNA)[0] == 200)
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.connect(("127.0.0.1", web.port))
        login = "".join(f"{name}: {value}\r\n"
                        for name, value in basic(*ANNA).items())
        slow.sendall(f"GET /v1/events HTTP/1.1\r\nHost: x\r\n{login}\r\n"
                     .encode())
        slow.recv(10)
        with Events(web.port, ANNA) as events:
            events.standing()
            sent, told = 0, 2
            while told == 2:
                sent += 1
                assert sent < 1900, "a slow reader is kept"
                told = web.notice("anna", sent)
                assert events.next()[1] == f"{sent}.1"
            assert sent > 16
            # the other one still hears
            assert web.notice("anna", 2000) == 1
            assert events.next()[1] == "2000.1"
        slow.close()


def test_four_hundred_clients_at_once(dovecot):
    with Channels(http="yes", auth=dovecot.socket("auth-client"),
                  per_user=400) as web:
        wait_for(lambda: ask(web.port, "/v1/notices", login=ANNA)[0] == 200)
        token = token_of(web)
        clients = [Events(web.port, query=f"?token={token}")
                   for _ in range(400)]
        try:
            for client in clients:
                assert client.standing() == []
            assert web.notice("anna", 1) == 400
            for client in clients:
                assert client.next()[1] == "1.1"
            # half of them leave while more is said
            for client in clients[::2]:
                client.close()
            for incident in range(2, 6):
                assert web.notice("anna", incident) >= 200
            wait_for(lambda: web.notice(
                "anna", 100 + len(web.find("pushed"))) == 200)
            for client in clients[1::2]:
                assert [client.next()[1] for _ in range(4)] == [
                    f"{incident}.1" for incident in range(2, 6)]
        finally:
            for client in clients:
                client.close()


def test_stop_with_streams_open(web):
    clients = [Events(web.port, login) for login in (ANNA, ANNA, BERT)]
    for client in clients:
        client.standing()
    web.close()
    for client in clients:
        assert client.ended.wait(20)
        client.close()
