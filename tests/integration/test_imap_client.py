"""The IMAP client against a server that stalls, lies, injects and hangs up.

tests/tools/imap-probe runs the client alone and prints what it tells its
asker; scripted_imap.py is the other end. Numbers like H10 name the cases of
the catalogue of hostile servers."""

import base64
import hashlib
import hmac
import os
import random
import re
import socket
import ssl
import subprocess
import threading
import time

import pytest

import scripted_imap
from rig import Scratch, remote_dovecot, tool, wait_for
from rig.system import HERE
from scripted_dns import (A, AAAA, NXDOMAIN, SERVFAIL, DnsServer, FakeDns,
                          ask_service)
from scripted_imap import (Big, RawServer, Server, answer, before, hang_up,
                           raw, stall)

PROBE = os.environ.get("IMAPSYNC_PROBE", tool("imap-probe"))
SECRET = "s3cret-Pa55word"
FETCH = "UID FETCH 1:* (UID BODY.PEEK[])"
LIST_FLAGS = "UID FETCH 1:* (UID FLAGS)"


# Running the probe

UNESCAPE = {b"0": b"\0", b"1": b"\1", b"t": b"\t", b"r": b"\r", b"n": b"\n"}


def unescape(field):
    return re.sub(rb"\x01(.)", lambda match: UNESCAPE[match.group(1)],
                  field).decode("utf-8", "surrogateescape")


class Reply:
    def __init__(self, fields):
        (self.name, self.status, self.code, self.code_args, self.text,
         self.reply_class, self.error, wait, self.detail) = fields
        self.wait_secs = int(wait)


class Result:
    """What the probe printed."""

    def __init__(self, process, seconds):
        self.output = process.stdout + process.stderr
        self.errors = process.stderr.decode("utf-8", "replace")
        self.seconds = seconds
        self.code = process.returncode
        self.events = [[unescape(field) for field in line.split(b"\t")]
                       for line in process.stdout.split(b"\n") if line]

    def named(self, name):
        return [event[1:] for event in self.events if event[0] == name]

    @property
    def connect(self):
        return Reply(self.named("connect")[0])

    @property
    def replies(self):
        return [Reply(fields) for fields in self.named("reply")]

    @property
    def logout(self):
        return Reply(self.named("logout")[0])

    @property
    def error(self):
        """(class, text) of the end of the connection."""
        return tuple(self.named("error")[0])

    @property
    def steps(self):
        return [(step, how) for step, how, *_ in self.named("step")]

    def untagged(self, name):
        return [event[1:] for event in self.named("untagged")
                if event[0] == name]

    @property
    def stats(self):
        return {key: int(value) for key, value in
                (field.split("=") for field in self.named("stats")[0])}


def probe(server, *commands, secret=SECRET, wrapper=(), port=None, **options):
    """Run it. Options are those of imap-probe; they say "-" as "_"."""
    args = ["--port", str(server.port if port is None else port)]
    for name, value in options.items():
        args.append("--" + name.replace("_", "-"))
        if value is not True:
            args.append(str(value))
    started = time.monotonic()
    process = subprocess.run(
        [*map(str, wrapper), str(PROBE), *args, "--", *commands],
        input=secret.encode("utf-8", "surrogateescape") + b"\n",
        capture_output=True, timeout=60)
    result = Result(process, time.monotonic() - started)
    assert process.returncode == 0, result.output.decode(errors="replace")
    assert SECRET.encode() not in result.output
    return result


def make_server(**options):
    server = Server(secret=SECRET, **options)
    inbox = server.add("INBOX")
    for number in range(1, 4):
        inbox.append(f"Subject: {number}\r\n\r\nbody {number}\r\n".encode(),
                     flags=["\\Seen"])
    return server


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def said_secret(server):
    encoded = base64.b64encode(SECRET.encode()).decode().rstrip("=")
    return any(SECRET in line or encoded[:-2] in line or "AUTHENTICATE" in line
               or "LOGIN" in line for lines in server.log for line in lines)


@pytest.fixture(scope="module")
def authority():
    with Scratch() as scratch:
        yield scratch.ca()


@pytest.fixture(scope="module")
def cert(authority):
    return authority.issue("good")


def openssl(*args):
    return subprocess.run(["openssl", *map(str, args)], check=True,
                          capture_output=True).stdout


# The proper way

@pytest.mark.parametrize("security", ["none", "tls", "starttls"])
def test_whole_session(security, authority, cert):
    kind = {"none": None, "tls": "implicit", "starttls": "starttls"}[security]
    with make_server(tls=kind, cert=cert) as server:
        result = probe(server, 'LIST "" "*"', "EXAMINE <<INBOX>>", FETCH,
                       security=security, ca=authority.cert)
    assert result.connect.status == "OK"
    tls = [("tls", "ok")] if kind else []
    assert result.steps == [("dns", "ok"), ("tcp", "ok"), *tls,
                            ("login", "ok")]
    assert [reply.status for reply in result.replies] == ["OK"] * 3
    assert result.untagged("LIST") == [["0", '() "/" "INBOX"', "", ""]]
    ends = [sha256(message.content)
            for message in server.mailboxes["INBOX"].messages]
    assert [digest for _size, digest in result.named("end")] == ends
    assert result.untagged("FETCH")[1] == ["2", '(UID 2 BODY[] "")', "", ""]
    assert result.logout.status == "OK"
    assert result.error[0] == "stopped"


def test_tls_detail_says_what_was_reached(authority, cert):
    with make_server(tls="implicit", cert=cert) as server:
        result = probe(server, security="tls", ca=authority.cert)
    detail = next(step[2] for step in result.named("step") if step[0] == "tls")
    assert detail.startswith("TLSv1.3 with cipher ")
    assert detail.endswith("key sha256 " + key_hash(cert[0]))


def test_commands_are_pipelined():
    """All are sent before the first is answered."""
    seen = []

    def wait_for_all(session, _tag, _args):
        # bytes of the second command are there although nothing was answered
        session.sock.settimeout(5)
        while b"NOOP" not in session._buffer:
            session._receive()
        session.sock.settimeout(None)
        seen.append(True)
        return False
    with make_server() as server:
        server.on("EXAMINE", wait_for_all)
        result = probe(server, "EXAMINE INBOX", "NOOP", "NOOP")
    assert seen and [reply.status for reply in result.replies] == ["OK"] * 3


def test_id_is_sent_after_login_only_where_offered():
    with make_server() as server:
        probe(server)
    assert any('ID ("name" "imapsync-pull")' in line for line in server.log[0])
    caps = "IMAP4rev1 AUTH=PLAIN SASL-IR"
    with make_server(capabilities=caps) as server:
        probe(server)
    assert not any(" ID " in line for line in server.log[0])


def test_capabilities_are_not_asked_if_they_were_told():
    with make_server(greeting_capabilities=True) as server:
        probe(server)
    assert not any("CAPABILITY" in line for line in server.log[0])


def test_bad_answer_does_not_end_the_connection():
    """H22: an announced extension that is not there."""
    with make_server() as server:
        server.on("ENABLE", answer("BAD", "what?"))
        result = probe(server, "ENABLE QRESYNC", "NOOP")
    assert [reply.status for reply in result.replies] == ["BAD", "OK"]


def test_small_literals_become_arguments():
    with make_server() as server:
        server.on("LIST", before(b'* LIST () "/" {7}\r\na "b" c\r\n'
                                 b'* LIST () {1}\r\n/ {0}\r\n\r\n'))
        result = probe(server, 'LIST "" "*"')
    assert [event[1] for event in result.untagged("LIST")] == [
        '() "/" "a \\"b\\" c"', '() "/" ""', '() "/" "INBOX"']


def test_header_fields_literal_is_an_argument():
    line = (b"* 1 FETCH (BODY[HEADER.FIELDS (SUBJECT FROM)] {14}\r\n"
            b"Subject: x\r\n\r\n UID 1)\r\n")
    with make_server() as server:
        server.on("UID FETCH", before(line), times=1)
        result = probe(server, "EXAMINE INBOX", LIST_FLAGS)
    assert result.replies[1].status == "OK"
    assert "Subject: x" in result.untagged("FETCH")[0][1]
    assert result.named("begin") == []


def test_response_code_and_text_are_kept():
    with make_server() as server:
        server.on("EXAMINE", answer("NO", "[NONEXISTENT a b] go (away {5}"))
        result = probe(server, "EXAMINE <<x>>")
    reply = result.replies[0]
    assert (reply.code, reply.code_args) == ("NONEXISTENT", "a b")
    assert reply.text == "go (away {5}"
    assert reply.reply_class == "folder"
    assert "select: NO [NONEXISTENT a b] go (away {5}" in reply.error


# Names and addresses

# what Dovecot's DNS service says of names that lead nowhere: each of these is
# held against the real one
NO_NAME = "-2\tName or service not known"
NO_ADDRESS = "-5\tNo address associated with hostname"
NO_SERVER = "-3\tTemporary failure in name resolution"


@pytest.fixture
def dns(tmp_path):
    path = tmp_path / "dns"
    with FakeDns(path, {
            "imap.example.org": "0\t127.0.0.1",
            "none.example.org": NO_NAME,
            "empty.example.org": NO_ADDRESS,
            "broken.example.org": NO_SERVER,
            "gone.example.org": None,
            "mixed.example.org": "0\t127.0.0.9\t127.0.0.1",
            "private.example.org": "0\t127.0.0.9\t169.254.169.254",
            "mapped.example.org": "0\t::ffff:127.0.0.9",
            "dead.example.org": "0\t127.0.0.3\t127.0.0.2",
            "six.example.org": "\t".join(
                ["0", *(f"2001:db8::{number:x}" for number in range(20)),
                 "127.0.0.1"]),
            "xn--bcher-kva.example.org": "0\t127.0.0.1",
    }):
        yield path


def test_name_is_resolved(dns):
    with make_server() as server:
        result = probe(server, host="imap.example.org", dns=dns)
    assert result.connect.status == "OK"
    assert result.named("step")[0][:3] == ["dns", "ok", "127.0.0.1"]


@pytest.mark.parametrize("name", ["none", "empty", "broken", "silent",
                                  "gone"])
def test_h01_name_does_not_resolve(dns, name):
    with make_server() as server:
        result = probe(server, host=f"{name}.example.org", dns=dns,
                       connect_timeout=1500)
    assert result.connect.reply_class == "dns"
    assert result.connect.error.startswith(
        f"{name}.example.org:{server.port}: DNS: ")
    assert result.steps == [("dns", "fail")]
    assert result.seconds < 5


@pytest.fixture(scope="module")
def names():
    with DnsServer() as server:
        yield server


@pytest.fixture(scope="module")
def real_dns(names):
    """Dovecot's own dns-client, which asks that server and no other."""
    with Scratch() as scratch:
        scratch.use_name_server(names.address)
        dovecot = remote_dovecot(scratch, "names", tls=False, ours=True)
        yield dovecot.start().socket("dns-client")


@pytest.mark.parametrize("answer,line", [
    (NXDOMAIN, NO_NAME), ([], NO_ADDRESS), (SERVFAIL, NO_SERVER)],
    ids=["none", "empty", "broken"])
def test_h01_what_the_service_says(names, real_dns, answer, line):
    """A name without an address is an error: it never says "fine" and then no
    address, which Dovecot 2.4's library takes for a bug and aborts on."""
    names.answers["h01.example.org"] = answer
    assert ask_service(real_dns, "h01.example.org") == line
    result = probe(None, port=143, host="h01.example.org", dns=real_dns)
    assert result.connect.reply_class == "dns"
    assert result.connect.error.endswith(": DNS: " + line.split("\t")[1])


def test_no_resolver(tmp_path):
    with make_server() as server:
        result = probe(server, host="imap.example.org",
                       dns=tmp_path / "missing")
    assert result.connect.reply_class == "dns"


def test_h01_refused():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        result = probe(None, port=sock.getsockname()[1])
    reply = result.connect
    assert (reply.status, reply.reply_class) == ("LOST", "network")
    assert reply.error.endswith(": cannot connect")
    assert reply.detail == "127.0.0.1: Connection refused"
    assert result.steps == [("dns", "ok"), ("tcp", "fail")]


@pytest.mark.parametrize("name", ["private.example.org", "mapped.example.org",
                                  "127.0.0.9"])
def test_h19_addresses_are_filtered(dns, name):
    with make_server(host="127.0.0.9") as server:
        result = probe(server, host=name, dns=dns, allow="127.0.0.1")
        assert server.connections == []
    assert result.connect.reply_class == "policy"
    assert result.connect.error.endswith(": cannot connect")
    assert "not allowed" in result.connect.detail


def test_h20_each_candidate_is_checked(dns):
    with make_server() as server:
        result = probe(server, host="mixed.example.org", dns=dns,
                       allow="127.0.0.1")
    assert result.connect.status == "OK"
    assert result.named("step")[1][2] == f"127.0.0.1:{server.port}"


def test_h21_next_address_after_a_black_hole(dns):
    with make_server(host="127.0.0.2") as server, \
         socket.socket() as hole, socket.socket() as filler:
        # a full queue of connections: more get no answer at all
        hole.bind(("127.0.0.3", server.port))
        hole.listen(0)
        filler.setblocking(False)
        fillers = [filler]
        for _ in range(8):
            more = socket.socket()
            more.setblocking(False)
            more.connect_ex(("127.0.0.3", server.port))
            fillers.append(more)
        time.sleep(0.2)
        result = probe(server, host="dead.example.org", dns=dns,
                       connect_timeout=1000)
        for sock in fillers:
            sock.close()
    assert result.connect.status == "OK"
    assert result.named("step")[1][2] == f"127.0.0.2:{server.port}"
    assert 0.9 < result.seconds < 4


def test_h21_many_addresses_of_one_family_do_not_hide_the_other(dns):
    """IPv6 is first everywhere, and does not work everywhere."""
    with make_server() as server:
        result = probe(server, host="six.example.org", dns=dns,
                       allow="127.0.0.1")
    assert result.connect.status == "OK"
    assert result.named("step")[1][2] == f"127.0.0.1:{server.port}"


def test_h20_name_is_asked_for_once(names, real_dns):
    """Rebinding: what the second answer would be is never heard."""
    def answer_once(_kind, count):
        return ["127.0.0.9" if count else "127.0.0.1"]
    names.answers["h20.example.org"] = answer_once
    with make_server() as server:
        result = probe(server, host="h20.example.org", dns=real_dns,
                       allow="127.0.0.1")
    assert result.connect.status == "OK"
    assert result.named("step")[1][2] == f"127.0.0.1:{server.port}"
    assert names.asked["h20.example.org", A] == 1


@pytest.mark.parametrize("address", [
    "127.0.0.9", "0.0.0.0", "::", "::1", "::ffff:0.0.0.0", "::ffff:127.0.0.9",
    "::127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "fe80::1"])
def test_h19_what_dns_says_is_filtered(names, real_dns, address):
    """Each of these may lead back to this machine."""
    names.answers["h19.example.org"] = [address]
    with make_server() as server:
        result = probe(server, host="h19.example.org", dns=real_dns,
                       allow="127.0.0.1")
        assert server.connections == []
    assert result.connect.reply_class == "policy"


def test_hundreds_of_addresses(names, real_dns):
    """Few of them are tried."""
    names.answers["many.example.org"] = [
        f"127.7.{number // 250}.{number % 250 + 1}" for number in range(500)]
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        result = probe(None, port=sock.getsockname()[1],
                       host="many.example.org", dns=real_dns)
    assert len(ask_service(real_dns, "many.example.org").split()) == 501
    assert result.connect.reply_class == "network"
    assert result.connect.detail.count("Connection refused") == 8


def test_name_with_an_ipv6_address_alone(names, real_dns, authority):
    names.answers["aaaa.example.org"] = ["::1"]
    cert = authority.issue("aaaa", hosts=("DNS:aaaa.example.org",))
    with make_server(host="::1", tls="implicit", cert=cert) as server:
        result = probe(server, host="aaaa.example.org", dns=real_dns,
                       security="tls", ca=authority.cert)
    assert result.connect.status == "OK"
    assert result.named("step")[1][2] == f"[::1]:{server.port}"


def test_slow_name_server(names, real_dns):
    def slowly(_kind, _count):
        time.sleep(0.7)
        return ["127.0.0.1"]
    names.answers["slow.example.org"] = slowly
    with make_server() as server:
        assert probe(server, host="slow.example.org",
                     dns=real_dns).connect.status == "OK"


def test_silent_name_server(names, real_dns):
    """Not longer than we want to wait, however long the service does."""
    names.answers["silent.example.org"] = lambda _kind, _count: None
    result = probe(None, port=143, host="silent.example.org", dns=real_dns,
                   connect_timeout=300)
    assert result.connect.reply_class == "dns"
    assert result.seconds < 1
    assert names.asked["silent.example.org", A] == 1


# Greeting

@pytest.mark.parametrize("greeting", [
    b"", b"* ", b"* O", b"* OK hello"], ids=repr)
def test_h02_no_greeting(greeting):
    def script(conn):
        conn.send(greeting)
        conn.stall()
    with RawServer(script) as server:
        result = probe(server, connect_timeout=700)
    assert result.connect.reply_class == "network"
    assert result.connect.error.endswith("no greeting in time")
    assert 0.6 < result.seconds < 3


def test_h03_dripping_greeting():
    def script(conn):
        conn.send(b"* OK " + b"x" * 100000 + b"\r\n")
    with RawServer(script) as server:
        server.drip = (1, 0.05)
        result = probe(server, connect_timeout=700)
    assert result.connect.error.endswith("no greeting in time")
    assert result.seconds < 3


GARBAGE = {
    "http": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "tagged": b"A1 OK hello\r\n",
    "tagged2": b"A2 OK hello\r\nA3 OK hello\r\n",
    "plus": b"+ go on\r\n",
    "empty line": b"\r\n",
    "space": b" * OK hello\r\n",
    "long": b"* OK " + b"x" * 200000,
    "long line": b"* OK " + b"x" * 200000 + b"\r\n",
    "nul": b"* OK hel\0lo\r\n",
    "binary": bytes(range(256)) + b"\r\n",
    "untagged": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n",
    "number": b"* 1 OK hello\r\n",
    "literal": b"* 1 FETCH (BODY[] {1000}\r\n",
    "pop3": b"+OK ready\r\n",
    "smtp": b"220 mx ESMTP\r\n",
    "only star": b"*\r\n",
}


@pytest.mark.parametrize("name", GARBAGE)
def test_h04_garbage_greeting(name):
    heard = []

    def script(conn):
        conn.send(GARBAGE[name])
        heard.append(conn.read_line())
    with RawServer(script) as server:
        result = probe(server, connect_timeout=700)
    assert result.connect.status == "LOST"
    assert result.connect.reply_class == "protocol"
    assert heard == []


def test_h04_end_without_line_end():
    def script(conn):
        conn.send(b"* OK hello")
    with RawServer(script) as server:
        result = probe(server)
    assert result.connect.reply_class == "network"


@pytest.mark.parametrize("line,wanted", [
    (b"* BYE too busy\r\n", "server"),
    (b"* BYE [UNAVAILABLE] later\r\n", "server"),
    (b"* NO go away\r\n", None), (b"* BAD you\r\n", None)])
def test_h05_refusing_greeting(line, wanted):
    with make_server() as server:
        server.on("GREETING", raw(line))
        result = probe(server)
    assert result.connect.status == "LOST"
    assert wanted is None or result.connect.reply_class == wanted
    assert result.connect.reply_class not in ("credential", "")
    assert "greeting: " in result.connect.error
    assert server.log[0] == []


@pytest.mark.parametrize("security,wanted", [
    ("none", "protocol"), ("tls", "protocol"), ("starttls", "tls")])
def test_h06_h07_preauth(security, wanted, authority, cert):
    tls = "implicit" if security == "tls" else None
    with make_server(tls=tls, cert=cert) as server:
        server.on("GREETING", raw(b"* PREAUTH hello (you\r\n"))
        result = probe(server, "EXAMINE INBOX", security=security,
                       ca=authority.cert)
    assert result.connect.reply_class == wanted
    assert server.log[0] == []


# STARTTLS

def test_h08_starttls_is_not_offered():
    with make_server() as server:
        result = probe(server, security="starttls")
    assert result.connect.reply_class == "tls"
    assert "does not offer STARTTLS" in result.connect.error
    assert not said_secret(server)


@pytest.mark.parametrize("hook,wanted", [
    (answer("NO", "not now"), "tls"),
    (answer("NO", "[UNAVAILABLE] not now"), "tls"),
    (answer("BAD", "what"), "tls"),
    (raw(b"+ go on\r\n"), "protocol"),
    (stall(), "network"),
    (hang_up(), "network"),
], ids=["no", "unavailable", "bad", "plus", "stall", "hang up"])
def test_h09_starttls_is_refused(hook, wanted, cert):
    with make_server(tls="starttls", cert=cert) as server:
        server.on("STARTTLS", hook)
        result = probe(server, security="starttls", connect_timeout=700)
    assert result.connect.reply_class == wanted
    assert result.steps[-1] == ("tls", "fail")
    assert not said_secret(server)


@pytest.mark.parametrize("injected", [
    b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n", b"* OK [ALERT] hi\r\n",
    b"* BYE bye\r\n", b"* 1 FETCH (UID 1)\r\n", b"x", b"\r\n",
    b"A3 OK done\r\n"])
def test_h10_injection_behind_starttls(injected, authority, cert):
    def hook(session, tag, _args):
        session.send(f"{tag} OK go ahead\r\n".encode() + injected)
        session.start_tls()
        session.tls_active = True
        return True
    with make_server(tls="starttls", cert=cert) as server:
        server.on("STARTTLS", hook)
        result = probe(server, security="starttls", ca=authority.cert)
    assert result.connect.reply_class == "tls"
    assert "injection" in result.connect.error
    assert not said_secret(server)


def test_h11_nothing_from_before_tls_is_kept(authority, cert):
    """Not the capabilities, and untagged data reach nobody."""
    with make_server(tls="starttls", cert=cert) as server:
        server.on("CAPABILITY", before(
            b'* LIST () "/" evil\r\n* 99 EXISTS\r\n* 1 FETCH (UID 1)\r\n'
            b"* CAPABILITY IMAP4rev1 STARTTLS AUTH=LOGIN\r\n"), times=1)
        result = probe(server, security="starttls", ca=authority.cert)
    assert result.connect.status == "OK"
    assert result.untagged("LIST") == result.untagged("FETCH") == []
    asked = [line for line in server.log[0] if "CAPABILITY" in line]
    # before TLS, after TLS, after the login
    assert len(asked) == 3
    assert any("AUTHENTICATE PLAIN" in line for line in server.log[0])


# Certificates

def key_hash(cert):
    der = openssl("x509", "-in", cert, "-noout", "-pubkey")
    pub = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"],
                         input=der, check=True, capture_output=True).stdout
    return sha256(pub)


def self_signed(tmp_path, key=("ec", "-pkeyopt",
                               "ec_paramgen_curve:P-256")):
    paths = tmp_path / "self.pem", tmp_path / "self.key"
    openssl("req", "-x509", "-nodes", "-days", "10", "-newkey", *key,
            "-subj", "/CN=127.0.0.1", "-addext",
            "subjectAltName=IP:127.0.0.1", "-out", paths[0],
            "-keyout", paths[1])
    return paths


def tls_probe(cert, **options):
    with make_server(tls="implicit", cert=cert) as server:
        result = probe(server, security="tls", **options)
    if result.connect.status != "OK":
        assert result.connect.reply_class == "tls"
        assert result.steps[-1] == ("tls", "fail")
        assert server.log[0] == []
    return result.connect


def test_h13_expired(authority):
    cert = authority.issue("old", days=0)
    reply = tls_probe(cert, ca=authority.cert)
    assert reply.error.endswith(": TLS: certificate has expired")


def test_h13_not_yet_valid(authority, tmp_path):
    _cert, key = authority.issue("young")
    csr = authority.path / "young.csr"
    new = tmp_path / "young.pem"
    (tmp_path / "index").write_text("")
    (tmp_path / "serial").write_text("77\n")
    (tmp_path / "ca.cnf").write_text(
        f"[ca]\ndefault_ca=x\n[x]\ndatabase={tmp_path}/index\n"
        f"serial={tmp_path}/serial\nnew_certs_dir={tmp_path}\n"
        "default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
    openssl("ca", "-batch", "-config", tmp_path / "ca.cnf", "-cert",
            authority.cert, "-keyfile", authority.path / "ca.key", "-in", csr,
            "-startdate", "20900101000000Z", "-enddate", "20910101000000Z",
            "-extfile", authority.path / "young.ext", "-out", new)
    reply = tls_probe((new, key), ca=authority.cert)
    assert reply.error.endswith(": TLS: certificate is not yet valid")


def test_h14_self_signed(tmp_path, authority):
    cert = self_signed(tmp_path)
    for options in ({}, {"ca": authority.cert}):
        reply = tls_probe(cert, **options)
        assert re.search(": TLS: self.signed certificate$", reply.error)


def test_h14_unknown_authority(cert):
    reply = tls_probe(cert)
    assert "unable to get local issuer certificate" in reply.error


def test_h15_wrong_host(authority):
    cert = authority.issue("other", hosts=("DNS:other.example.org",))
    reply = tls_probe(cert, ca=authority.cert)
    assert reply.error.endswith(": TLS: certificate is for another host")


@pytest.mark.parametrize("name,good", [
    ("*.example.org", True), ("*.org", False), ("i*.example.org", False),
    ("imap.example.org", True), ("IMAP.Example.ORG", True)])
def test_h15_wildcards(authority, dns, name, good):
    cert = authority.issue("wild", hosts=(f"DNS:{name}",))
    reply = tls_probe(cert, ca=authority.cert, host="imap.example.org",
                      dns=dns)
    assert (reply.status == "OK") == good


def issue_odd(authority, tmp_path, subject, *extensions, signer=None):
    """A certificate with these lines of extensions and no others."""
    cert, key = tmp_path / "odd.pem", tmp_path / "odd.key"
    (tmp_path / "odd.ext").write_text("\n".join(extensions) + "\n")
    ca, ca_key = signer or (authority.cert, authority.path / "ca.key")
    openssl("req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-subj", subject, "-keyout", key,
            "-out", tmp_path / "odd.csr")
    openssl("x509", "-req", "-in", tmp_path / "odd.csr", "-CA", ca, "-CAkey",
            ca_key, "-set_serial", 99, "-days", 9, "-extfile",
            tmp_path / "odd.ext", "-out", cert)
    return cert, key


def san(*names):
    return "subjectAltName=" + ",".join(names)


def raw_dns_name(name):
    """One that OpenSSL would not write."""
    inner = b"\x82" + bytes([len(name)]) + name
    return "subjectAltName=DER:" + (
        b"\x30" + bytes([len(inner)]) + inner).hex(":")


IDN = "xn--bcher-kva.example.org"


@pytest.mark.parametrize("host,subject,extension,good", [
    ("imap.example.org", "/CN=imap.example.org", "", True),
    ("imap.example.org", "/CN=other.example.org", "", False),
    ("imap.example.org", "/O=nobody", "subjectAltName=DER:30:00", False),
    ("imap.example.org", "/CN=imap.example.org",
     san("DNS:other.example.org"), False),
    ("imap.example.org", "/O=nobody", san("email:a@imap.example.org"), False),
    ("imap.example.org", "/O=nobody", san("URI:imap://imap.example.org"),
     False),
    ("imap.example.org", "/O=nobody", san("IP:127.0.0.1"), False),
    ("imap.example.org", "/O=nobody",
     raw_dns_name(b"imap.example.org\0.evil.org"), False),
    ("imap.example.org", "/O=nobody", raw_dns_name(b""), False),
    ("imap.example.org", "/O=nobody", raw_dns_name(b"*"), False),
    ("imap.example.org", "/O=nobody", san("DNS:imap.*.org"), False),
    ("imap.example.org", "/O=nobody", san("DNS:*.*.org"), False),
    ("imap.example.org", "/O=nobody", san("DNS:.example.org"), False),
    (IDN, "/O=nobody", san(f"DNS:{IDN}"), True),
    (IDN, "/O=nobody", san(f"DNS:{IDN.upper()}"), True),
    (IDN, "/O=nobody", san("DNS:*.example.org"), True),
    (IDN, "/O=nobody", san("DNS:xn--*.example.org"), False),
    (IDN, "/O=nobody", raw_dns_name("b\xfccher.example.org".encode()), False),
    ("127.0.0.1", "/O=nobody", san("IP:127.0.0.1"), True),
    ("127.0.0.1", "/O=nobody", san("IP:127.0.0.2"), False),
    ("127.0.0.1", "/O=nobody", san("IP:::ffff:127.0.0.1"), False),
    # an address is not a name (RFC 9525, 6.4)
    ("127.0.0.1", "/O=nobody", san("DNS:127.0.0.1"), False),
    ("127.0.0.1", "/O=nobody", san("DNS:*.0.0.1"), False),
    ("127.0.0.1", "/CN=127.0.0.1", "", False),
])
def test_h15_odd_certificates(authority, tmp_path, dns, host, subject,
                              extension, good):
    cert = issue_odd(authority, tmp_path, subject, extension)
    reply = tls_probe(cert, ca=authority.cert, host=host, dns=dns)
    assert (reply.status == "OK") == good
    assert good or reply.error.endswith(": TLS: certificate is for another "
                                        "host")


@pytest.mark.parametrize("address,good", [("::1", True), ("::2", False)])
def test_h15_ipv6_address(authority, tmp_path, address, good):
    cert = issue_odd(authority, tmp_path, "/O=nobody", san(f"IP:{address}"))
    with make_server(host="::1", tls="implicit", cert=cert) as server:
        result = probe(server, host="::1", security="tls", ca=authority.cert)
    assert (result.connect.status == "OK") == good


def test_h13_certificate_of_a_client(authority, tmp_path):
    cert = issue_odd(authority, tmp_path, "/O=nobody", san("IP:127.0.0.1"),
                     "extendedKeyUsage=clientAuth")
    reply = tls_probe(cert, ca=authority.cert)
    assert re.search("TLS: (unsupported|unsuitable) certificate purpose$",
                     reply.error)


def test_h14_signed_by_somebody_who_may_not(authority, tmp_path, cert):
    """Whoever has a certificate cannot make more of them."""
    odd, key = issue_odd(authority, tmp_path, "/O=nobody",
                         san("IP:127.0.0.1"), signer=cert)
    odd.write_text(odd.read_text() + cert[0].read_text())
    assert tls_probe((odd, key), ca=authority.cert).status == "LOST"


@pytest.mark.parametrize("count,good", [(1000, True), (6000, False)])
def test_h17_certificate_with_many_names(authority, tmp_path, dns, count,
                                         good):
    names = [f"DNS:n{number}.example.org" for number in range(count)]
    cert = issue_odd(authority, tmp_path, "/O=nobody",
                     san(*names, "DNS:imap.example.org"))
    reply = tls_probe(cert, ca=authority.cert, host="imap.example.org",
                      dns=dns)
    assert (reply.status == "OK") == good


@pytest.mark.parametrize("host,wanted", [
    ("imap.example.org", "imap.example.org"), ("127.0.0.1", None)])
def test_server_is_told_the_name(authority, dns, host, wanted):
    """SNI: a name, never an address (RFC 6066, 3)."""
    seen = []
    cert = authority.issue("sni", hosts=("DNS:imap.example.org",
                                         "IP:127.0.0.1"))

    def setup(context):
        context.sni_callback = lambda _sock, name, _context: seen.append(name)
    with make_server(tls="implicit", cert=cert) as server:
        server.tls_setup = setup
        result = probe(server, security="tls", ca=authority.cert, host=host,
                       dns=dns)
    assert result.connect.status == "OK" and seen == [wanted]


def test_certificate_names_do_not_reach_the_log(tmp_path):
    cert = tmp_path / "evil.pem", tmp_path / "evil.key"
    openssl("req", "-x509", "-nodes", "-days", "10", "-newkey", "ec",
            "-pkeyopt", "ec_paramgen_curve:P-256", "-utf8", "-subj",
            "/CN=evil\n\x1b[31mname", "-out", cert[0], "-keyout", cert[1])
    reply = tls_probe(cert)
    assert "evil" not in reply.error and "\x1b" not in reply.error


LAX_OPENSSL = """openssl_conf = init
[init]
ssl_conf = ssl
[ssl]
system_default = lax
[lax]
MinProtocol = TLSv1
CipherString = ALL:@SECLEVEL=0
"""


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", ["TLSv1_1", "TLSv1_2"])
def test_h16_old_protocol(version, authority, cert, tmp_path, monkeypatch):
    """TLS 1.2 at least, also on a machine where OpenSSL takes less."""
    def only(context):
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = ssl.TLSVersion.TLSv1
        context.maximum_version = ssl.TLSVersion[version]
    conf = tmp_path / "openssl.cnf"
    conf.write_text(LAX_OPENSSL)
    monkeypatch.setenv("OPENSSL_CONF", str(conf))
    with make_server(tls="implicit", cert=cert) as server:
        server.tls_setup = only
        result = probe(server, security="tls", ca=authority.cert)
    wanted = "" if version == "TLSv1_2" else "tls"
    assert result.connect.reply_class == wanted


def test_h16_small_key(authority, tmp_path):
    _cert, _key = authority.issue("small")
    cert, key = tmp_path / "small.pem", tmp_path / "small.key"
    openssl("req", "-new", "-nodes", "-newkey", "rsa:1024", "-subj",
            "/CN=small", "-keyout", key, "-out", tmp_path / "small.csr")
    openssl("x509", "-req", "-in", tmp_path / "small.csr", "-CA",
            authority.cert, "-CAkey", authority.path / "ca.key",
            "-CAcreateserial", "-days", "9", "-extfile",
            authority.path / "small.ext", "-out", cert)

    def weak(context):
        context.set_ciphers("ALL:@SECLEVEL=0")
    server = make_server(tls="implicit", cert=(cert, key))
    # load_cert_chain() refuses it, too, unless the level is low before that
    server.tls_setup = weak
    original = scripted_imap.ssl.SSLContext.load_cert_chain

    def load(context, *args):
        weak(context)
        return original(context, *args)
    scripted_imap.ssl.SSLContext.load_cert_chain = load
    try:
        with server:
            result = probe(server, security="tls", ca=authority.cert)
    finally:
        scripted_imap.ssl.SSLContext.load_cert_chain = original
    assert result.connect.reply_class == "tls"
    assert server.log[0] == []


def test_h17_handshake_hangs(authority):
    def script(conn):
        conn.stall()
    with RawServer(script) as server:
        result = probe(server, security="tls", connect_timeout=700)
    assert result.connect.error.endswith("TLS: handshake timed out")
    assert result.steps[-1] == ("tls", "fail")
    assert 0.6 < result.seconds < 3


@pytest.mark.parametrize("data", [
    b"* OK plain text\r\n", b"\x16\x03\x01", b"HTTP/1.0 400\r\n\r\n", b""])
def test_h17_no_tls_at_all(data):
    def script(conn):
        conn.send(data)
    with RawServer(script) as server:
        result = probe(server, security="tls", connect_timeout=1000)
    assert result.connect.status == "LOST"
    assert result.connect.reply_class in ("tls", "network")


def test_h17_dripping_handshake():
    """Bytes do not push the deadline back."""
    def script(conn):
        # a record of 16 kB begins
        conn.send(b"\x16\x03\x03\x40\x00\x02\x00\x3f\xfc" + b"x" * 10000)
    with RawServer(script) as server:
        server.drip = (1, 0.02)
        result = probe(server, security="tls", connect_timeout=700)
    assert result.connect.error.endswith("TLS: handshake timed out")
    assert result.seconds < 3


@pytest.mark.parametrize("data,error", [
    (b"", "TLS: "),
    # unrecognized_name, internal_error and close_notify (RFC 8446, 6)
    (b"\x15\x03\x03\x00\x02\x02\x70", "TLS: .*unrecognized name"),
    (b"\x15\x03\x03\x00\x02\x02\x50", "TLS: .*internal error"),
    (b"\x15\x03\x03\x00\x02\x01\x00", "TLS: "),
], ids=["hang up", "name", "error", "close"])
def test_h17_end_in_the_handshake(data, error):
    """It is known at once, not when the time is over."""
    def script(conn):
        conn.sock.recv(65536)
        conn.send(data)
        raise scripted_imap.HangUp
    with RawServer(script) as server:
        result = probe(server, security="tls", connect_timeout=20000)
    assert result.connect.reply_class == "tls"
    assert re.search(error, result.connect.error), result.connect.error
    assert result.seconds < 5


@pytest.mark.parametrize("mode,status", [
    (ssl.CERT_OPTIONAL, "OK"), (ssl.CERT_REQUIRED, "LOST")],
    ids=["optional", "required"])
def test_server_asks_for_a_certificate(mode, status, authority, cert):
    def ask(context):
        context.load_verify_locations(authority.cert)
        context.verify_mode = mode
    with make_server(tls="implicit", cert=cert) as server:
        server.tls_setup = ask
        result = probe(server, security="tls", ca=authority.cert)
    assert result.connect.status == status
    assert not result.errors


def test_pin_replaces_the_authority(tmp_path):
    cert = self_signed(tmp_path)
    assert tls_probe(cert, pin=key_hash(cert[0])).status == "OK"
    assert tls_probe(cert, pin=key_hash(cert[0]).upper()).status == "OK"


@pytest.mark.parametrize("options", [{}, {"no_verify": True}])
def test_wrong_pin_is_never_good_enough(options, authority, cert):
    reply = tls_probe(cert, ca=authority.cert, pin="00" * 32, **options)
    assert "another public key than the pinned one" in reply.error
    assert key_hash(cert[0]) in reply.error


def test_verification_can_be_turned_off(tmp_path):
    assert tls_probe(self_signed(tmp_path), no_verify=True).status == "OK"


def test_h18_truncation_inside_tls(authority, cert):
    """No close_notify in the middle of a literal: nothing was received."""
    with make_server(tls="implicit", cert=cert) as server:
        server.on("UID FETCH", raw(b"* 1 FETCH (UID 1 BODY[] {1000}\r\nabc",
                                   hang_up=True))
        result = probe(server, "EXAMINE INBOX", FETCH, security="tls",
                       ca=authority.cert)
    assert result.replies[1].status == "LOST"
    assert len(result.named("begin")) == 1
    assert result.named("end") == result.untagged("FETCH") == []


# Login

def test_h24_login_disabled():
    with make_server(capabilities="IMAP4rev1 LOGINDISABLED AUTH=GSSAPI") \
            as server:
        result = probe(server)
    assert result.connect.reply_class == "config"
    assert "LOGINDISABLED" in result.connect.error
    assert "AUTH=GSSAPI" in result.connect.error
    assert not said_secret(server)


@pytest.mark.parametrize("caps,wanted", [
    ("IMAP4rev1", "LOGIN "),
    ("IMAP4rev1 AUTH=LOGIN", "AUTHENTICATE LOGIN"),
    ("IMAP4rev1 AUTH=LOGIN AUTH=PLAIN", "AUTHENTICATE PLAIN"),
    ("IMAP4rev1 auth=plain sasl-ir", "AUTHENTICATE PLAIN "),
])
def test_mechanism_is_chosen(caps, wanted):
    with make_server(capabilities=caps) as server:
        assert probe(server).connect.status == "OK"
    assert any(wanted in line for line in server.log[0])


def test_wanted_mechanism_is_not_offered():
    with make_server(capabilities="IMAP4rev1 AUTH=LOGIN") as server:
        result = probe(server, mechanism="PLAIN")
    assert result.connect.reply_class == "config"
    assert not said_secret(server)


SCRAM = "IMAP4rev1 AUTH=SCRAM-SHA-256"


def scram_server(iterations=b"4096", nonce=None, prove=True, more=False):
    """SCRAM-SHA-256 as the server does it (RFC 5802, 5). prove: that it knows
    the password, or what it says instead, or not at all; more: it never
    ends."""
    def hook(session, tag, args):
        first = base64.b64decode(args[1]) if len(args) > 1 else session.ask()
        bare = first.split(b",", 2)[2]
        theirs = bare.split(b",r=", 1)[1]
        said = (b"r=" + (theirs + b"ours" if nonce is None else nonce)
                + b",s=" + base64.b64encode(b"salt") + b",i=" + iterations)
        without_proof = session.ask(said).rsplit(b",p=", 1)[0]
        salted = hashlib.pbkdf2_hmac("sha256", SECRET.encode(), b"salt", 4096)
        key = hmac.digest(salted, b"Server Key", "sha256")
        proof = hmac.digest(key, b",".join([bare, said, without_proof]),
                            "sha256")
        if prove is True:
            session.ask(b"v=" + base64.b64encode(proof))
        elif prove:
            session.ask(prove)
        while more:
            session.ask()
        session.reply(tag, "OK", "done")
        return True
    return hook


def scram_probe(hook, initial):
    """Only 2.4 knows the mechanism; 2.3 has nothing to say to the server."""
    with make_server(capabilities=SCRAM + initial) as server:
        server.on("AUTHENTICATE", hook)
        result = probe(server, mechanism="SCRAM-SHA-256")
    if HERE.release == "2.3":
        assert result.connect.reply_class == "config"
        assert not said_secret(server)
    return result


@pytest.mark.parametrize("initial", ["", " SASL-IR"])
def test_scram(initial):
    result = scram_probe(scram_server(), initial)
    assert HERE.release == "2.3" or result.connect.status == "OK"


@pytest.mark.parametrize("initial", ["", " SASL-IR"])
@pytest.mark.parametrize("hook", [
    scram_server(prove=False), scram_server(prove=b"v=AAAA"),
    scram_server(prove=b"e=other-error"), scram_server(prove=b"?"),
    scram_server(more=True), scram_server(nonce=b"ours"),
    scram_server(iterations=b"4294967295"), scram_server(iterations=b"-1"),
    scram_server(iterations=b"1000000"), answer("OK", "come in"),
], ids=["no proof", "wrong proof", "error", "garbage", "endless", "nonce",
        "iterations", "negative", "many", "at once"])
def test_scram_server_that_cheats(hook, initial):
    """Whoever does not prove to know the password is not the server."""
    result = scram_probe(hook, initial)
    assert result.connect.status == "LOST"
    assert HERE.release == "2.3" or result.connect.reply_class == "protocol"
    assert result.seconds < 5


def test_master_user():
    seen = []

    def hook(session, tag, args):
        seen.append(base64.b64decode(args[1]).split(b"\0"))
        session.reply(tag, "OK", "done")
        return True
    with make_server() as server:
        server.on("AUTHENTICATE", hook)
        assert probe(server, master="admin").connect.status == "OK"
    assert seen == [[b"anna", b"admin", SECRET.encode()]]


def test_token_login():
    with make_server(capabilities="IMAP4rev1 SASL-IR AUTH=XOAUTH2") as server:
        assert probe(server, mechanism="XOAUTH2").connect.status == "OK"


def test_refused_token_keeps_code_and_reason():
    with make_server(capabilities="IMAP4rev1 SASL-IR AUTH=XOAUTH2") as server:
        result = probe(server, mechanism="XOAUTH2", secret="wrong-token")
    reply = result.connect
    assert (reply.status, reply.code) == ("NO", "AUTHENTICATIONFAILED")
    assert reply.reply_class == "token"
    assert "400" in reply.detail


@pytest.mark.parametrize("challenge", [
    b"+ \r\n", b"+ AAAA\r\n", b"+ not base64!\r\n", b"+ " + b"A" * 20000
    + b"\r\n", b"+ " + b"A" * 4000000 + b"\r\n"],
    ids=["again", "more", "garbage", "20k", "4M"])
def test_h25_endless_challenges(challenge):
    def hook(session, _tag, _args):
        for _ in range(1000):
            session.send(challenge)
            session.read_line()
        return True
    with make_server() as server:
        server.on("AUTHENTICATE", hook)
        result = probe(server)
    assert result.connect.status == "LOST"
    assert result.connect.reply_class == "protocol"
    assert result.stats["max_rss_kb"] < 32 * 1024


@pytest.mark.parametrize("mechanism,challenge", [
    ("LOGIN", b"+ VXNlcm5hbWU6\r\n"), ("PLAIN", b"+ \r\n"),
    # it takes that for a success, and would say its token for ever
    ("OAUTHBEARER", b"+ \r\n")])
def test_h25_rounds_are_limited(mechanism, challenge):
    rounds = []

    def hook(session, _tag, _args):
        while len(rounds) < 100:
            session.send(challenge)
            session.read_line()
            rounds.append(1)
    with make_server(capabilities=f"IMAP4rev1 AUTH={mechanism}") as server:
        server.on("AUTHENTICATE", hook)
        result = probe(server, mechanism=mechanism)
    assert result.connect.reply_class == "protocol"
    assert len(rounds) <= 8


def test_h25_challenge_is_limited():
    """Also where the mechanism would not look at it."""
    def hook(session, _tag, _args):
        session.send(b"+ " + b"QUFB" * 5000 + b"\r\n")
        session.lines.append(session.read_line().decode())
        return True
    with make_server(capabilities="IMAP4rev1 AUTH=LOGIN") as server:
        server.on("AUTHENTICATE", hook)
        result = probe(server)
    assert result.connect.reply_class == "protocol"
    assert "AUTHENTICATE LOGIN" in server.log[0][-1]


@pytest.mark.parametrize("text,wanted", [
    ("no code", "credential"),
    ("[AUTHENTICATIONFAILED] no", "credential"),
    ("[UNAVAILABLE] later", "server"),
    ("[INUSE] later", None),
    ("[ALERT] Too many simultaneous connections. (Failure)", "throttled"),
    ("[LIMIT] LOGIN Rate limit hit.", "throttled"),
])
def test_h26_h28_refused_login(text, wanted):
    with make_server() as server:
        server.on("AUTHENTICATE", answer("NO", text))
        result = probe(server)
    reply = result.connect
    assert reply.status == "NO"
    assert reply.reply_class == wanted or wanted is None
    assert f"login: NO {text}" in reply.error
    assert result.steps[-1] == ("login", "fail")
    # no other mechanism is tried
    tries = [line for line in server.log[0]
             if "AUTHENTICATE" in line or "LOGIN" in line]
    assert len(tries) == 1


def test_wait_of_a_throttling_server_is_kept():
    with make_server() as server:
        server.on("AUTHENTICATE", answer(
            "BAD", "Request is throttled. Suggested Backoff Time: "
            "299961 milliseconds"))
        reply = probe(server).connect
    assert reply.reply_class == "throttled"
    assert 299 <= reply.wait_secs <= 300


@pytest.mark.parametrize("caps", [
    "IMAP4rev1", "IMAP4rev1 AUTH=PLAIN SASL-IR", "IMAP4rev1 AUTH=PLAIN",
    "IMAP4rev1 AUTH=LOGIN"])
@pytest.mark.parametrize("secret", [
    SECRET, 'with"quote\\and more', "päßwörd1", "q7", 'q"'])
def test_h29_echoed_secret(caps, secret):
    """Whatever form the server saw it in and throws back."""
    def hook(session, tag, args):
        lines = [" ".join(session.lines)]
        if "AUTHENTICATE" in lines[0] and len(args) < 2:
            session.send(b"+ \r\n")
            lines.append(session.read_line().decode())
            if "AUTHENTICATE LOGIN" in lines[0]:
                session.send(b"+ \r\n")
                lines.append(session.read_line().decode())
        words = lines[-1].split()[-4:] + [secret]
        session.reply(tag, "NO", "bad command " + " ".join(words))
        return True
    with make_server(capabilities=caps) as server:
        server.on("LOGIN", hook)
        server.on("AUTHENTICATE", hook)
        process = subprocess.run(
            [str(PROBE), "--port", str(server.port)], capture_output=True,
            input=secret.encode() + b"\n")
    result = Result(process, 0)
    reply = result.connect
    assert reply.status == "NO"
    plain = base64.b64encode(f"\0anna\0{secret}".encode()).decode()
    forms = [secret, base64.b64encode(secret.encode()).decode(), plain,
             secret.replace("\\", "\\\\").replace('"', '\\"')]
    assert not [form for form in forms if form in reply.error]
    assert "<secret>" in reply.error
    assert SECRET not in result.errors


@pytest.mark.parametrize("caps", ["IMAP4rev1", "IMAP4rev1 LITERAL+",
                                  "IMAP4rev1 LITERAL-",
                                  "IMAP4rev1 AUTH=PLAIN SASL-IR",
                                  "IMAP4rev1 AUTH=PLAIN"])
@pytest.mark.parametrize("secret", [
    'a"b', "a\\b", 'ends\\"', "päß", "{5}", "{5+}", "a b(c)*%", "x" * 10000,
    "\x7f\x01"], ids=lambda secret: repr(secret)[:12])
def test_h30_strange_secrets(caps, secret):
    with make_server(capabilities=caps) as server:
        server.secret = secret
        assert probe(server, secret=secret).connect.status == "OK"


@pytest.mark.parametrize("login", ['a"b\\c', "änna", "a b", "{3}"])
@pytest.mark.parametrize("caps", ["IMAP4rev1", "IMAP4rev1 LITERAL+"])
def test_h30_strange_logins(caps, login):
    with make_server(capabilities=caps) as server:
        server.login = login
        assert probe(server, login=login).connect.status == "OK"


@pytest.mark.parametrize("login", ["anna\r\nA9 NOOP", "anna\n", "an\rna"])
def test_h30_line_end_in_login(login):
    with make_server() as server:
        result = probe(server, login=login)
        assert server.connections == []
    assert result.connect.reply_class == "config"


@pytest.mark.parametrize("host", ["", "a b", "imap.example.org\tx",
                                  "imap.example.org\nIP\t127.0.0.1"])
def test_host_that_is_none(host, dns):
    result = probe(None, port=143, host=host, dns=dns)
    assert result.connect.reply_class == "config"


def test_h30_line_end_in_secret():
    with make_server() as server:
        result = probe(server, secret="se\rcret")
        assert server.connections == []
    assert result.connect.reply_class == "config"


def test_literal_is_refused_before_it_is_sent():
    with make_server(capabilities="IMAP4rev1") as server:
        server.on("LITERAL", raw(b"A2 NO [ALERT] too long\r\n"))
        result = probe(server, secret="pässwörd")
    assert result.connect.status == "NO"
    assert "too long" in result.connect.error


def test_h34_bye_after_login():
    with make_server() as server:
        server.on("EXAMINE", raw(b"* BYE Session expired, please login "
                                 b"again\r\n", hang_up=True))
        result = probe(server, "EXAMINE INBOX", "NOOP", ask_again=True)
    assert [reply.status for reply in result.replies] == ["LOST", "LOST"]
    assert "Session expired" in result.replies[0].error
    assert "Session expired" in result.error[1]
    # a command on the dead connection is answered, too
    assert Reply(result.named("again")[0]).status == "LOST"


def test_dripping_login():
    """H03: bytes do not push the deadline of a login step back."""
    with make_server() as server:
        def hook(session, _tag, _args):
            session.server.drip = (1, 0.05)
            session.send(b"* OK " + b"x" * 10000 + b"\r\n")
        server.on("AUTHENTICATE", hook)
        result = probe(server, connect_timeout=700)
    assert result.connect.error.endswith("login timed out")
    assert result.seconds < 3


# Parser

def fetch_answer(data, *options, server_options=None, **probe_options):
    """One FETCH answered with these bytes; TAG becomes the tag."""
    with make_server(**(server_options or {})) as server:
        server.on("UID FETCH", raw(data))
        return probe(server, "EXAMINE INBOX", FETCH, *options,
                     idle_timeout=1000, **probe_options)


def assert_broken(result, *, ends=0):
    assert result.replies[1].status == "LOST"
    assert result.replies[1].reply_class == "protocol", result.replies[1].error
    assert result.untagged("FETCH") == []
    assert len(result.named("end")) == ends


@pytest.mark.parametrize("literal", [
    b"{99999999999999999999}", b"{18446744073709551616}", b"{-1}", b"{+5}",
    b"{}", b"{5+}", b"{ 5}", b"{5 }", b"{0x5}", b"{5}x", b"{5", b"~{}"])
def test_h65_bad_literal_sizes(literal):
    assert_broken(fetch_answer(b"* 1 FETCH (UID 1 BODY[] " + literal +
                               b"\r\nhello)\r\nTAG OK done\r\n"))


@pytest.mark.parametrize("literal", [b"{99999999999}", b"{}", b"{65537}",
                                     b"{4294967295}"])
def test_h65_large_literal_that_is_no_body(literal):
    result = fetch_answer(b"* LIST () NIL " + literal + b"\r\nhello\r\n")
    assert_broken(result)
    assert result.stats["max_rss_kb"] < 16 * 1024


def test_h65_leading_zeros_are_digits():
    result = fetch_answer(b"* 1 FETCH (UID 1 BODY[] {005}\r\nhello)\r\n"
                          b"TAG OK done\r\n")
    assert result.named("end") == [["5", sha256(b"hello")]]


def test_h65_announced_size_is_limited():
    result = fetch_answer(b"* 1 FETCH (UID 1 BODY[] {4294967295}\r\nhello",
                          max_literal=100000)
    assert_broken(result)
    assert result.named("begin") == []


def test_h65_huge_literal_is_not_allocated():
    result = fetch_answer(b"* 1 FETCH (UID 1 BODY[] {18446744073709551615}"
                          b"\r\nhello")
    assert result.replies[1].status == "LOST"
    assert result.stats["max_rss_kb"] < 16 * 1024


@pytest.mark.parametrize("data", [
    # shorter than announced: the next lines are eaten
    b"* 1 FETCH (UID 1 BODY[] {30}\r\nhello)\r\n* 2 FETCH (UID 2 BODY[] "
    b"{5}\r\nhello)\r\n",
    # longer than announced
    b"* 1 FETCH (UID 1 BODY[] {3}\r\nhello)\r\n",
    b"* 1 FETCH (UID 1 BODY[] {3}\r\nhel)lo)\r\n",
    b"* 1 FETCH (UID 1 BODY[] {3}\r\nhel lo)\r\n",
    b"* 1 FETCH (UID 1 BODY[] {3}\r\nhel) lo\r\n",
    b"* 1 FETCH (UID 1 BODY[] {3}\r\nhel\r\n)\r\n",
], ids=["short", "long", "long )", "long space", "trailing", "line end"])
def test_h66_literal_of_another_size(data):
    result = fetch_answer(data + b"TAG OK done\r\n")
    assert result.replies[1].status == "LOST"
    assert result.replies[1].reply_class == "protocol"
    # what was handed out is never said to be a response
    assert result.untagged("FETCH") == []


def test_h67_stall_in_a_literal():
    with make_server() as server:
        server.on("UID FETCH", lambda session, *_: (
            session.send(b"* 1 FETCH (UID 1 BODY[] {100000}\r\n" + b"x" * 900),
            session.stall()))
        result = probe(server, "EXAMINE INBOX", FETCH, idle_timeout=700)
    assert result.replies[1].status == "LOST"
    assert result.replies[1].reply_class == "network"
    assert "no answer" in result.replies[1].error
    assert result.named("end") == []
    assert 0.6 < result.seconds < 3


def test_h03_dripping_literal():
    """Each byte comes in time, all of them too slowly."""
    with make_server() as server:
        def hook(session, _tag, _args):
            session.server.drip = (1, 0.02)
            session.send(b"* 1 FETCH (UID 1 BODY[] {100000}\r\n" +
                         b"x" * 100000)
        server.on("UID FETCH", hook)
        result = probe(server, "EXAMINE INBOX", FETCH, idle_timeout=1000)
    assert "too slowly" in result.replies[1].error
    assert result.seconds < 6


def test_h03_trickle_of_small_responses():
    """Whole responses, but nothing that gets anywhere."""
    with make_server() as server:
        def hook(session, _tag, _args):
            while True:
                session.send(b"* OK Still here\r\n")
                session.server.wait(0.1)
        server.on("UID FETCH", hook)
        result = probe(server, "EXAMINE INBOX", FETCH, idle_timeout=300)
    assert "too slowly" in result.replies[1].error
    # six stretches of that, and then it is enough
    assert 1.7 < result.seconds < 5


def test_slow_but_steady_server_is_waited_for():
    with make_server() as server:
        server.mailboxes["INBOX"].append(b"x" * 20000)

        def hook(session, _tag, _args):
            session.server.drip = (500, 0.05)
            return False
        server.on("UID FETCH", hook)
        result = probe(server, "EXAMINE INBOX", FETCH, idle_timeout=600)
    assert result.replies[1].status == "OK"
    assert result.seconds > 1.5


@pytest.mark.parametrize("items", [b"BODY[] NIL", b'BODY[] ""'])
def test_h69_body_that_is_not_there(items):
    """Seen as what it is: no literal began."""
    result = fetch_answer(b"* 1 FETCH (UID 1 " + items + b")\r\n"
                          b"TAG OK done\r\n")
    assert result.replies[1].status == "OK"
    assert result.named("begin") == []
    assert len(result.untagged("FETCH")) == 1


def test_empty_literal():
    result = fetch_answer(b"* 1 FETCH (UID 1 BODY[] {0}\r\n)\r\n"
                          b"TAG OK done\r\n")
    assert result.named("end") == [["0", sha256(b"")]]


def test_body_as_quoted_string():
    result = fetch_answer(b'* 1 FETCH (UID 1 BODY[] "a \\"quoted\\" one" '
                          b"FLAGS ())\r\nTAG OK done\r\n")
    assert result.named("end") == [["14", sha256(b'a "quoted" one')]]
    assert result.untagged("FETCH")[0][1] == '(UID 1 BODY[] "" FLAGS ())'


def test_h71_items_behind_the_literal():
    result = fetch_answer(b"* 1 FETCH (BODY[] {5}\r\nhello UID 7 FLAGS "
                          b"(\\Seen))\r\nTAG OK done\r\n")
    assert result.untagged("FETCH")[0][1] == \
        '(BODY[] "" UID 7 FLAGS (\\Seen))'


def test_two_literals_in_one_response():
    result = fetch_answer(b"* 1 FETCH (BODY[HEADER] {2}\r\nab BODY[] {3}\r\n"
                          b"cde UID 1)\r\nTAG OK done\r\n")
    assert [end[0] for end in result.named("end")] == ["2", "3"]
    assert len(result.untagged("FETCH")) == 1


@pytest.mark.parametrize("line", [
    b"* 0 FETCH (UID 1)", b"* FETCH (UID 1)", b"* 1 FETCH UID 1",
    b"* 1 FETCH (UID)", b"* 1 FETCH (UID 1) x", b"* 1 FETCH (UID 1",
    b"* 1 FETCH (UID 1))", b"* 1 FETCH ((UID 1))", b'* 1 FETCH ("UID" 1)',
    b"* 4294967296 FETCH (UID 1)", b"* 99999999999 EXISTS",
    b"* -1 FETCH (UID 1)", b"* 1",
    b"* 1 ", b"*", b"* ", b"hello", b"", b"* 1 FE\0TCH (UID 1)",
    b'* 1 FETCH (UID "1)', b"* 1 FETCH (BODY[HEADER.FIELDS (A B) {1}",
    b"* 1 OK hi", b"** OK hi", b"A OK hi", b"A999999999999 OK hi",
    b"A0001 OK hi", b"TAG MAYBE hi", b"TAG BYE hi", b"TAG PREAUTH hi",
    b"TAG", b"* PREAUTH hi", b"+ go on", b"+",
    b"\x16\x03\x01\x02\x00\x01\x00", b"* <html>"], ids=repr)
def test_broken_lines(line):
    assert_broken(fetch_answer(line + b"\r\nTAG OK done\r\n"))


def test_h73_nul_and_eight_bit_in_a_body():
    body = bytes(range(256)) * 10
    with make_server() as server:
        server.mailboxes["INBOX"].append(body)
        result = probe(server, "EXAMINE INBOX", FETCH)
    assert result.named("end")[3] == [str(len(body)), sha256(body)]


@pytest.mark.parametrize("line,error", [
    (b"* 1 FETCH (FLAGS " + b"(" * 60000, None),
    (b"* 1 FETCH (FLAGS " + b"(" * 30000 + b")" * 30000 + b")", None),
    (b"* LIST " + b"() " * 20000, None),
    (b"* 1 FETCH (FLAGS (" + b"\\x " * 1000000 + b"))", "line too long"),
    (b"* 1 FETCH (X {3}\r\nabc" + b" X {3}\r\nabc" * 20000 + b")", None),
], ids=["open", "nested", "many lists", "million flags", "many literals"])
def test_h74_too_much_of_everything(line, error):
    result = fetch_answer(line + b"\r\nTAG OK done\r\n")
    assert_broken(result)
    assert error is None or error in result.replies[1].error
    assert result.stats["max_rss_kb"] < 24 * 1024


def test_h75_endless_line():
    with make_server() as server:
        def hook(session, _tag, _args):
            session.send(b"* 1 FETCH (FLAGS (")
            while True:
                session.send(b"x" * 100000)
        server.on("UID FETCH", hook)
        result = probe(server, "EXAMINE INBOX", FETCH)
    assert "line too long" in result.replies[1].error
    assert result.stats["max_rss_kb"] < 16 * 1024


def test_longest_line_is_read():
    flags = b" ".join(b"flag%05d" % number for number in range(6000))
    result = fetch_answer(b"* 1 FETCH (UID 1 FLAGS (" + flags + b"))\r\n"
                          b"TAG OK done\r\n")
    assert result.replies[1].status == "OK"
    assert result.untagged("FETCH")[0][1].count("flag") == 6000


@pytest.mark.parametrize("data,statuses", [
    (b"A77 OK done\r\n", ["OK", "LOST", "LOST"]),
    (b"TAG OK done\r\nTAG OK done\r\n", ["OK", "OK", "LOST"]),
    (b"A1 OK done\r\nTAG OK done\r\n", ["OK", "LOST", "LOST"]),
], ids=["unknown", "twice", "old"])
def test_h77_unexpected_tags(data, statuses):
    with make_server() as server:
        server.on("UID FETCH", raw(data))
        result = probe(server, "EXAMINE INBOX", FETCH, "NOOP")
    assert [reply.status for reply in result.replies] == statuses
    assert result.replies[-1].reply_class == "protocol"


def test_h77_tag_is_compared_as_text():
    with make_server() as server:
        server.on("NOOP", lambda session, tag, _args: session.send(
            f"{tag[0]}0{tag[1:]} OK done\r\n".encode()) or True)
        result = probe(server, "NOOP")
    assert result.replies[0].reply_class == "protocol"


def test_h77_early_tag():
    """The reply to a command that waits behind a literal."""
    with make_server(capabilities="IMAP4rev1 AUTH=PLAIN SASL-IR") as server:
        server.on("LITERAL", raw(b"A5 OK early\r\n"))
        result = probe(server, "EXAMINE <<ä>>", "NOOP")
    assert [reply.status for reply in result.replies] == ["LOST", "LOST"]
    assert result.replies[0].reply_class == "protocol"


def test_h77_done_before_its_literal_was_sent():
    with make_server(capabilities="IMAP4rev1 AUTH=PLAIN SASL-IR") as server:
        server.on("LITERAL", raw(b"A4 OK done already\r\n"))
        result = probe(server, "EXAMINE <<ä>>")
    assert result.replies[0].reply_class == "protocol"


def test_replies_in_another_order():
    """RFC 3501, 5.5 allows it."""
    def hook(session, tag, _args):
        other, _rest = session.command()
        session.send(other + b" OK second\r\n")
        session.reply(tag, "OK", "first")
        return True
    with make_server() as server:
        server.on("NOOP", hook, times=1)
        result = probe(server, "NOOP", "NOOP")
    assert [(reply.name, reply.text) for reply in result.replies] == [
        ("2", "second"), ("1", "first")]


def test_literal_arguments_wait_for_the_server():
    with make_server(capabilities="IMAP4rev1 AUTH=PLAIN SASL-IR") as server:
        server.add("M\xfcller")
        result = probe(server, "EXAMINE <<Müller>>", "NOOP",
                       "EXAMINE <<Müller>>", "NOOP")
    assert [reply.status for reply in result.replies] == ["OK"] * 4


def test_h88_bye_in_the_middle_keeps_its_reason():
    result = fetch_answer(b"* 1 FETCH (UID 1 FLAGS ())\r\n* BYE [UNAVAILABLE] "
                          b"maintenance\x1b[31m\r\n")
    reply = result.replies[1]
    assert reply.status == "LOST" and reply.reply_class == "server"
    assert "fetch: BYE [UNAVAILABLE] maintenance?[31m" in reply.error


def test_bye_without_hanging_up():
    with make_server() as server:
        server.on("UID FETCH", lambda session, *_: (
            session.send(b"* BYE bye\r\n"), session.stall()))
        result = probe(server, "EXAMINE INBOX", FETCH, idle_timeout=60000)
    assert result.replies[1].status == "LOST"
    assert 1.5 < result.seconds < 5


@pytest.mark.parametrize("count", range(1, 30))
def test_h79_hang_up_behind_each_response(count):
    """Everything asked is answered once and at once, and nothing is half
    said."""
    with make_server() as server:
        server.cut_responses = count
        result = probe(server, "EXAMINE INBOX", FETCH, "NOOP",
                       idle_timeout=60000)
    assert result.seconds < 5
    assert len(result.named("connect")) == 1
    if result.connect.status == "OK":
        assert len(result.replies) == 3
    assert len(result.named("end")) >= len(result.untagged("FETCH"))


@pytest.mark.parametrize("tls", [False, True])
def test_h79_hang_up_behind_each_byte(tls, authority, cert):
    options = {"security": "tls", "ca": authority.cert} if tls else {}
    with make_server(tls="implicit" if tls else None, cert=cert) as server:
        probe(server, "EXAMINE INBOX", FETCH, **options)
        total = server.connections[0].sent
        for count in range(0, total, 29 if tls else 7):
            server.cut_bytes = count
            result = probe(server, "EXAMINE INBOX", FETCH, **options)
            assert len(result.named("connect")) == 1, count
            if result.connect.status == "OK":
                assert len(result.replies) == 2, count


def damage(data, rng):
    """A few bytes lost, doubled, changed or moved."""
    data = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data))
        size = rng.choice([1, 1, 2, 7, 40])
        what = rng.randrange(5)
        if what == 0:
            del data[at:at + size]
        elif what == 1:
            data[at:at] = data[at:at + size]
        elif what == 2:
            data[at] = rng.choice(b"()[]{}\"\\ \r\n*+%0189AZ~\0\x7f\xff")
        elif what == 3:
            data[at] = rng.randrange(256)
        else:
            other = rng.randrange(len(data))
            data[at:at + size] = data[other:other + size]
    return bytes(data)


VALID = (
    b'* LIST (\\HasNoChildren) "/" {5}\r\nab"cd\r\n* 3 EXISTS\r\n'
    b"* OK [UIDVALIDITY 7] fine\r\n* STATUS INBOX (MESSAGES 3 UIDNEXT 4)\r\n"
    b'* 1 FETCH (UID 1 FLAGS (\\Seen $x) INTERNALDATE "01-Mar-2024 12:30:15 '
    b'+0100" RFC822.SIZE 31)\r\n* 2 FETCH (UID 2 BODY[] {31}\r\nSubject: x'
    b"\r\n\r\nhello\r\nworld\r\n.\r\n FLAGS ())\r\n* ENABLED CONDSTORE\r\n"
    b'* 3 FETCH (BODY[] "short" UID 3 MODSEQ (12) BODY[HEADER.FIELDS (X Y)] '
    b"{2}\r\n\r\n)\r\n* 2 EXPUNGE\r\n* NO [ALERT] careful (x\r\n")


@pytest.mark.parametrize("seed", range(60))
def test_damaged_answers(seed):
    """Whatever comes: each command is answered once, and it ends."""
    rng = random.Random(seed)
    with make_server() as server:
        server.on("UID FETCH", raw(damage(VALID, rng) + b"TAG OK done\r\n"),
                  times=2)
        server.on("NOOP", hang_up())
        result = probe(server, "EXAMINE INBOX", FETCH, FETCH, "NOOP")
    assert len(result.replies) == 4
    assert result.replies[3].status == "LOST"


def test_undamaged_answer():
    """What the damaged ones are made of."""
    with make_server() as server:
        server.on("UID FETCH", raw(VALID + b"TAG OK done\r\n"))
        result = probe(server, FETCH)
    assert result.replies[0].status == "OK"
    assert len(result.named("end")) == 2
    assert len(result.untagged("FETCH")) == 3


def test_one_byte_at_a_time():
    with make_server() as server:
        server.drip = (1, 0)
        result = probe(server, "EXAMINE INBOX", FETCH)
    ends = [sha256(message.content)
            for message in server.mailboxes["INBOX"].messages]
    assert [digest for _size, digest in result.named("end")] == ends


def test_idle_server():
    with make_server() as server:
        server.on("NOOP", stall())
        result = probe(server, "NOOP", idle_timeout=700)
    assert result.replies[0].reply_class == "network"
    assert 0.6 < result.seconds < 3


def test_nothing_is_waited_for_after_logout():
    with make_server() as server:
        server.on("LOGOUT", stall())
        result = probe(server, idle_timeout=60000)
    assert result.logout.status == "LOST"
    assert 1.5 < result.seconds < 4


# Ends from within

DEINIT_AT = ["start", "started", "dns", "tcp", "tls", "login", "connect",
             "asked", "untagged:1", "untagged:5", "untagged:9", "begin:1", "begin:2",
             "data:1", "data:2", "end:1", "end:2", "reply:1", "reply:2",
             "reply:3", "logout"]


def deinit_probe(where, security, authority, cert, **options):
    tls = "implicit" if security == "tls" else \
        "starttls" if security == "starttls" else None
    with make_server(tls=tls, cert=cert) as server:
        server.mailboxes["INBOX"].append(b"y" * 300000)
        return probe(server, "EXAMINE INBOX", FETCH, "NOOP",
                     security=security, ca=authority.cert, deinit_at=where,
                     **options)


@pytest.mark.parametrize("security", ["none", "tls", "starttls"])
@pytest.mark.parametrize("where", DEINIT_AT)
def test_deinit_in_any_callback(where, security, authority, cert):
    """Each thing asked for is answered exactly once (the probe checks)."""
    result = deinit_probe(where, security, authority, cert)
    if where == "tls" and security == "none":
        return
    assert len(result.named("deinit")) == 1
    assert len(result.named("connect")) == 1
    late = ("start", "started", "dns", "tcp", "tls", "login")
    if where not in late and where != "connect":
        assert len(result.replies) == 3


@pytest.mark.parametrize("where", DEINIT_AT)
def test_deinit_in_failing_callbacks(where):
    """The same while the connection dies."""
    with make_server() as server:
        server.on("UID FETCH", raw(b"* 1 FETCH (UID 1 BODY[] {5}\r\nab",
                                   hang_up=True))
        result = probe(server, "EXAMINE INBOX", FETCH, "NOOP",
                       deinit_at=where)
    assert len(result.named("connect")) == 1


# Load

@pytest.mark.parametrize("every,msecs", [(1, 0), (3, 1), (50, 20)])
@pytest.mark.parametrize("security", ["none", "tls"])
def test_pause_and_resume(every, msecs, security, authority, cert):
    """Nothing is lost, and nothing hangs in a buffer."""
    tls = "implicit" if security == "tls" else None
    with make_server(tls=tls, cert=cert) as server:
        inbox = server.mailboxes["INBOX"]
        for number in range(300):
            inbox.append(b"%d\r\n" % number * (1 + number * 7 % 5000))
        wanted = [sha256(message.content) for message in inbox.messages]
        result = probe(server, "EXAMINE INBOX", FETCH, "NOOP", FETCH,
                       security=security, ca=authority.cert,
                       pause_every=every, pause_msecs=msecs)
    assert [digest for _size, digest in result.named("end")] == wanted * 2
    assert [reply.status for reply in result.replies] == ["OK"] * 4
    assert result.stats["pauses"] > 5


def test_deadlines_rest_while_paused():
    with make_server() as server:
        result = probe(server, "EXAMINE INBOX", FETCH, pause_every=2,
                       pause_msecs=400, idle_timeout=300)
    assert result.replies[1].status == "OK"
    assert result.seconds > 1


@pytest.mark.parametrize("security", ["none", "tls"])
def test_200_megabytes_in_constant_memory(security, authority, cert):
    size = 200 * 1000 * 1000
    tls = "implicit" if security == "tls" else None
    with make_server(tls=tls, cert=cert) as server:
        server.mailboxes["INBOX"].append(Big(size))
        result = probe(server, "EXAMINE INBOX", FETCH, quiet=True,
                       security=security, ca=authority.cert)
    assert result.replies[1].status == "OK"
    assert result.stats["in"] > size
    assert result.stats["max_rss_kb"] <= 32 * 1024
    print(f"{security}: {result.stats}, {result.seconds:.2f} s")


def test_unwanted_literals_are_thrown_away():
    with make_server() as server:
        server.mailboxes["INBOX"].append(Big(5000000))
        result = probe(server, "EXAMINE INBOX", FETCH, reject_literals=True)
    assert result.replies[1].status == "OK"
    assert result.named("end") == [] and result.stats["chunks"] == 0
    assert len(result.untagged("FETCH")) == 4


def test_cpu_per_response():
    """20,000 responses; the limit is wide, the number is what to look at."""
    lines = b"".join(
        b'* %d FETCH (UID %d FLAGS (\\Seen $Forwarded) INTERNALDATE '
        b'"01-Mar-2024 12:30:15 +0100" RFC822.SIZE 4711)\r\n' %
        (number, number) for number in range(1, 20001))
    with make_server() as server:
        server.on("UID FETCH", raw(lines + b"TAG OK done\r\n"))
        result = probe(server, "EXAMINE INBOX", FETCH, quiet=True)
    assert result.stats["untagged"] > 20000
    each = result.stats["user_usecs"] / 20000
    print(f"{each:.2f} microseconds each")
    assert each < 20


VALGRIND = ("valgrind", "-q", "--error-exitcode=99", "--leak-check=full",
            "--show-leak-kinds=definite,indirect", "--trace-children=yes")


@pytest.mark.parametrize("where", [None, "data:1", "untagged:5", "reply:2",
                                   "login"])
def test_valgrind(where, authority, cert):
    options = {} if where is None else {"deinit_at": where}
    with make_server(tls="starttls", cert=cert) as server:
        result = probe(server, "EXAMINE INBOX", FETCH, "FOO",
                       "EXAMINE <<Müller>>", security="starttls",
                       ca=authority.cert, wrapper=VALGRIND,
                       connect_timeout=60000, idle_timeout=60000, **options)
    assert b"definitely lost" not in result.output


@pytest.mark.parametrize("wrapper", [(), VALGRIND],
                         ids=["plain", "valgrind"])
def test_stopped_while_a_name_is_looked_up(wrapper, tmp_path):
    with FakeDns(tmp_path / "dns", {}) as dns:
        result = probe(None, port=143, host="imap.example.org", dns=dns.path,
                       deinit_at="started", wrapper=wrapper,
                       connect_timeout=60000)
        wait_for(lambda: dns.asked == ["imap.example.org"])
    assert result.connect.reply_class == "stopped"
    assert result.steps == []


def test_valgrind_protocol_error():
    with make_server(capabilities="IMAP4rev1") as server:
        server.on("UID FETCH", before(
            b'* LIST () "/" {3}\r\nabc\r\n* 1 FETCH (BODY[] "quoted" UID 1)'
            b"\r\n* 1 FETCH (UID 1 BODY[] {3}\r\nhello)\r\n"))
        result = probe(server, "EXAMINE INBOX", FETCH, wrapper=VALGRIND,
                       secret="päss", connect_timeout=60000,
                       idle_timeout=60000)
    assert result.connect.status == "NO" or \
        result.replies[1].reply_class == "protocol"
