"""When a pull cannot be done: one line that says why, with account and
folder, the right exit code, and nothing lost or twice afterwards."""

import base64
import re
import threading

import pytest

from pull_rig import (CANARY, EX_NOPERM, EX_TEMPFAIL, PLAIN,
                      Account, add, count, find_bytes, only, store, worker)
from rig import (Corpus, Relay, assert_same, fill_maildir, free_port,
                 snapshot, wait_for)
from rig.scratch import MAIL_UID, Authority
from scripted_imap import Server, answer, before, raw

COLUMNS = ["user", "account", "status", "class", "folders", "new", "lmtp",
           "direct", "adopted", "flags", "expunged", "skipped", "failed", "bytes",
           "seconds", "error"]
NUMBERS = COLUMNS[4:15]


def check_failure(account, run, reply_class, code, pattern):
    """What every failure has in common."""
    local = account.local
    assert run.code == code, f"exit code, not {code}: {run}"
    assert list(run.row) == COLUMNS, run.row
    assert all(isinstance(run.row[name], (int, float)) for name in NUMBERS)
    assert (run.user, run.account) == (account.user, account.name)
    assert run.row["class"] == reply_class, str(run)
    assert run.status in ("failed", "partial")
    assert re.search(pattern, run.error), f"no {pattern!r} in {run.error!r}"
    assert "\n" not in run.error and run.error.isprintable()
    # in the log as well, with user and account
    wait_for(lambda: [line for line in local.log.lines(
        f"{account.user}/{account.name}: ") if re.search(pattern, line)],
        what=f"{pattern!r} in the log")


def serve(tls=None, cert=None, **options):
    server = Server(tls=tls, cert=cert, **options)
    inbox = server.add("INBOX")
    for number in range(4):
        inbox.append(f"Subject: {number}\r\n\r\nbody\r\n".encode())
    return server


@pytest.fixture
def bob(local):
    local.add_user("bob")
    local.start()
    return local


def test_server_refuses(bob):
    account = Account(bob, "bob", None, host="127.0.0.1", port=free_port(),
                      security="none")
    check_failure(account, account.run(code=None), "network", EX_TEMPFAIL,
                  r"127\.0\.0\.1:\d+: cannot connect")
    # why is for the admin
    # one line for each run, however many addresses were tried
    line, = bob.log.lines("imapsync-pull-worker.*bob/work: ")
    assert "Connection refused" in line


def test_name_is_unknown(bob):
    account = Account(bob, "bob", None, host="imap.nowhere.invalid")
    check_failure(account, account.run(code=None), "dns", EX_TEMPFAIL,
                  r"imap\.nowhere\.invalid.*DNS")


@pytest.mark.parametrize("case", ["stranger", "other-host", "expired"])
def test_certificate_is_bad(bob, scratch, case):
    """H13, H14, H15: no password is sent, and the reason is named."""
    if case == "stranger":
        stranger = Authority(scratch.path / "stranger")
        cert, pattern = stranger.issue("bad"), "unable to get|self.signed|" \
            "not trusted|unknown"
    elif case == "other-host":
        cert = scratch.ca().issue("bad", hosts=["DNS:imap.example.org"])
        pattern = "name|host"
    else:
        cert, pattern = scratch.ca().issue("bad", days=0), "expired"
    for security in ("tls", "starttls"):
        kind = {"tls": "implicit"}.get(security, security)
        with serve(tls=kind, cert=cert) as server:
            account = Account(bob, "bob", server, host="localhost",
                              security=security, name=security)
            run = account.run(code=None)
            check_failure(account, run, "tls", EX_TEMPFAIL, f"(?i){pattern}")
            assert not any("LOGIN" in line or "AUTHENTICATE" in line
                           for line in sum(server.log, []))


def test_no_starttls_no_password(bob):
    """H08: a server without STARTTLS gets no password."""
    with serve() as server:
        account = Account(bob, "bob", server, security="starttls")
        check_failure(account, account.run(code=None), "tls", EX_TEMPFAIL,
                      "STARTTLS")
        assert not any("LOGIN" in line or "AUTHENTICATE" in line
                       for line in sum(server.log, []))


def test_wrong_password(local, remote):
    local.add_user("bob")
    fill_maildir(remote, "anna", Corpus().messages(5))
    remote.start()
    local.start()
    account = Account(local, "bob", remote, secret="wrong", preset="backup")
    check_failure(account, account.run(code=None), "credential", EX_NOPERM,
                  "login")
    account.change_secret("secret")
    account.run()
    assert_same(snapshot(remote, "anna"), account.snapshot())


@pytest.mark.parametrize("reply,reply_class,code", [
    ("[UNAVAILABLE] later", "server", EX_TEMPFAIL),
    ("[AUTHENTICATIONFAILED] no", "credential", EX_NOPERM),
    ("[ALERT] Too many simultaneous connections", "throttled", EX_TEMPFAIL),
    ("[ALERT] Application-specific password required", "user_action",
     EX_NOPERM),
])
def test_login_is_refused(bob, reply, reply_class, code):
    with serve() as server:
        server.on("AUTHENTICATE", answer("NO", reply))
        server.on("LOGIN", answer("NO", reply))
        account = Account(bob, "bob", server)
        check_failure(account, account.run(code=None), reply_class, code,
                      "login")


def test_named_folder_is_missing(local, remote):
    """The others are pulled all the same."""
    local.add_user("bob")
    fill_maildir(remote, "anna", Corpus().messages(30))
    remote.start()
    local.start()
    account = Account(local, "bob", remote, preset="backup",
                      folders="INBOX,Nowhere/Такого нет,Sent")
    check_failure(account, account.run(code=None), "folder", EX_TEMPFAIL,
                  "Nowhere/Такого нет")
    assert_same(only(snapshot(remote, "anna"), "INBOX", "Sent"),
                account.snapshot())


def test_one_folder_fails(bob):
    """EXAMINE says NO: the others are pulled, and it is when it can be."""
    with serve() as server:
        for name in ("A", "B", "C"):
            server.add(name).append(b"Subject: x\r\n\r\n" + name.encode())
        server.on("EXAMINE", answer("NO", "[NOPERM] not you"), times=1,
                  skip=2)
        account = Account(bob, "bob", server, preset="backup")
        run = account.run(code=None)
        assert run.code != 0 and run.status == "partial", str(run)
        assert re.search("folder [ABC]: ", run.error), run.error
        assert "not you" in run.error
        assert (run.folders, run.new) == (4, 6)
        assert account.run().new == 1
        assert count(account.snapshot()) == 7
        account.idle_run()


# Policy

def test_policy_refuses(local, scratch):
    """Private addresses, ports, cleartext: when the account is set, and again
    when it runs."""
    local.add_user("bob")
    scratch.add_host("inner.example.org", "10.9.8.7")
    local.configure("imapsync_pull_allowed_ports = 143 993\n")
    local.start()
    keys = {"host": "10.9.8.7", "port": 993}
    cases = [({}, "imapsync_pull_allowed_networks"),
             ({"host": "127.0.0.1", "port": 25},
              "imapsync_pull_allowed_ports"),
             ({"host": "imap.example.org", "security": "none", "port": 143},
              "imapsync_pull_allow_cleartext"),
             ({"host": "imap.example.org", "tls_verify": "no"},
              "imapsync_pull_allow_no_verify")]
    account = Account(local, "bob", None,
                      **{**keys, "host": "inner.example.org"})
    for changes, setting in cases:
        done = account.set(**{**keys, **changes})
        assert done.code == EX_NOPERM, f"{changes}: {done}"
        assert setting in done.err and "bob/work" in done.err, done.err
    check_failure(account, account.run(code=None), "policy", EX_NOPERM,
                  r"inner\.example\.org")


def test_policy_became_stricter(local):
    local.add_user("bob")
    local.start()
    with serve() as server:
        account = Account(local, "bob", server)
        account.run()
        local.configure("imapsync_pull_allowed_ports = 993\n")
        local.restart()
        run = account.run(code=EX_NOPERM)
        assert run.row["class"] == "policy"
        assert "imapsync_pull_allowed_ports" in run.error
        assert len(server.log) == 1, "it was connected to all the same"


# In the middle

@pytest.mark.parametrize("mail_format", ["maildir", "sdbox"])
def test_remote_goes_away_and_comes_back(local, remote, mail_format):
    local.add_user("bob", mail_format=mail_format)
    messages = Corpus(seed=41).messages(600)
    fill_maildir(remote, "anna", messages)
    remote.start()
    local.start()

    def kill():
        for pid in remote.pids("imap"):
            remote.kill(pid)

    with Relay(remote.port("imap")) as relay:
        account = Account(local, "bob", relay, secret="secret",
                          preset="backup")
        # in the middle of what it says
        killed = relay.at(sum(len(message.content) for message in messages)
                          // 2, kill)
        run = account.run(code=None)
    assert killed.is_set()
    remote.log.allow("killed with signal 9")
    check_failure(account, run, "network", EX_TEMPFAIL, "127.0.0.1")
    account.change(port=remote.port("imap"))
    remote.stop()
    check_failure(account, account.run(code=None), "network", EX_TEMPFAIL,
                  "cannot connect")
    remote.start()
    account.run()
    assert_same(snapshot(remote, "anna"), account.snapshot(), order=False)
    account.idle_run()


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox", "mdbox"])
def test_disk_is_full(local, remote, scratch, mail_format):
    """Mail and state on a file system of 2 MB: the run ends with a reason,
    and when there is room again nothing is missing or there twice."""
    local.add_user("bob", mail_format=mail_format)
    fill_maildir(remote, "anna", Corpus(seed=42, mean=9000).messages(400))
    home = local.users["bob"].home
    options = f"mode=700,uid={MAIL_UID},gid={MAIL_UID}"

    def mount(*words):
        import subprocess
        subprocess.run(scratch.inside(["mount", *words, home]), check=True)

    mount("-t", "tmpfs", "-o", f"size=2m,{options}", "tmpfs")
    remote.start()
    local.start()
    local.log.allow("No space left|Quota exceeded|ENOSPC|disk|write|full|"
                    "bob/work|Input/output|mail-cache|fscked|Log synchron")
    account = Account(local, "bob", remote, preset="backup")
    run = account.run(code=EX_TEMPFAIL)
    assert run.row["class"] in ("local", "quota"), str(run)
    assert re.search("(?i)space|full|quota|disk", run.error), run.error
    mount("-o", f"remount,size=200m,{options}")
    wanted = snapshot(remote, "anna")
    account.run()
    assert_same(wanted, account.snapshot(), order=False)
    account.idle_run()


def test_state_of_a_newer_version(bob):
    """F22: it is refused, and not written."""
    import glob
    import sqlite3
    with serve() as server:
        account = Account(bob, "bob", server, preset="backup")
        account.run()
        path, = glob.glob(account.state_dir + "/*.sqlite")
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
        run = account.run(code=None)
        assert run.code in (EX_TEMPFAIL, 78), str(run)
        assert "newer" in run.error or "version 99" in run.error
        assert count(account.snapshot()) == 4


# What is written about it

def test_no_secret_and_no_raw_remote_byte(bob):
    """Not in logs, answers, state or accounts: the server echoes password,
    escape sequences and line ends everywhere it can (H29, H87)."""
    encoded = base64.b64encode(b"\0anna\0" + CANARY.encode()).decode()
    nasty = (f"\x1b[31mred {CANARY} {encoded} \x07bell\x9b ctl"
             ).encode("latin-1")
    name = "Evil\x1b[1m\x07"
    with serve(secret=CANARY) as server:
        server.on("GREETING", raw(b"* OK " + nasty + b"\r\n"))
        server.on("LIST", before(b"* OK [ALERT] " + nasty + b"\r\n"))
        server.on("LIST", before(b'* LIST () "/" "' + name.encode() +
                                 b'"\r\n'))
        server.on("EXAMINE", raw(b"TAG NO " + nasty + b"\r\n"))
        account = Account(bob, "bob", server, secret=CANARY, preset="backup")
        said = [account.run(code=None)]
        assert said[0].code != 0
        for command in ("test", "folders"):
            said.append(bob.doveadm("imapsync", "account", command, "-u",
                                    "bob", account.name, json=True))
        said.append(bob.doveadm("imapsync", "account", "show", "-u", "bob",
                                account.name))
    with serve(secret="other") as server:
        server.on("AUTHENTICATE", raw(b"TAG NO wrong " + nasty + b"\r\n"))
        server.on("LOGIN", raw(b"TAG NO wrong " + nasty + b"\r\n"))
        account.change(port=server.port)
        said.append(account.run(code=EX_NOPERM))
    for text in map(str, said):
        assert CANARY not in text and encoded not in text, text
        assert "\x1b" not in text and "\\x1b" not in text, text
        assert "\x07" not in text and "\\u001b" not in text, text
    for needle in (CANARY.encode(), encoded.encode(), encoded[:20].encode(),
                   b"\x1b[", b"\x07bell"):
        assert not find_bytes(bob.dir, needle), needle


def test_secret_is_not_seen_in_processes(bob):
    """Neither argument nor environment of any process holds it."""
    from pathlib import Path
    from scripted_imap import stall
    with serve(secret=CANARY) as server:
        server.on("LIST", stall())
        account = Account(bob, "bob", server, secret=CANARY)
        runs = []
        thread = threading.Thread(target=lambda: runs.append(
            account.run(code=None)))
        thread.start()
        wait_for(lambda: any("LIST" in line for line in sum(server.log, [])),
                 what="a LIST")
        for pid in bob.pids():
            for name in ("cmdline", "environ"):
                seen = Path(f"/proc/{pid}/{name}").read_bytes()
                assert CANARY.encode() not in seen, (pid, name, seen)
    thread.join(60)
    assert runs and runs[0].code == EX_TEMPFAIL, runs
