"""Pulls from a server that stalls, lies and hangs up: what can be had comes,
once; the rest is told, and comes when the server has come to its senses."""

import contextlib
import dataclasses
import os
import re
import sqlite3
import threading
import time

import pytest

from pull_rig import (CANARY, EX_TEMPFAIL, Account, count, process_status,
                      find_bytes, worker)
from rig import Corpus, assert_same, wait_for
from rig import names, processes
from rig.compare import expected
from scripted_imap import (DATE, Big, HangUp, Server, answer, before, hang_up,
                           raw, stall)

FOLDERS = {"INBOX": 2, "Lists/a": 1, "日本": 1}


def fill(server, messages):
    """Put messages of the corpus into a scripted server."""
    for message in messages:
        name = names.encode(message.folder)
        box = server.mailboxes.get(name) or server.add(name)
        box.append(message.content, sorted(message.flags | message.keywords),
                   message.internaldate)


def serve(count=12, seed=71, **options):
    """A server with a few small messages, and those messages."""
    server = Server(**options)
    server.add("INBOX")
    server.messages = Corpus(seed=seed, folders=FOLDERS, mean=400,
                             largest=3000).messages(count)
    fill(server, server.messages)
    return server


@pytest.fixture
def bob(local):
    local.add_user("bob", mail_format="sdbox")
    local.start()
    return local


def make_account(local, server, user="bob", **keys):
    return Account(local, user, server,
                   **{"preset": "backup", "timeout": "2s", **keys})


def wanted(server):
    return expected(server.messages)


# Hang-ups

def session_length():
    """Response lines of one pull, from the greeting to the end."""
    return 60


@pytest.mark.parametrize("way", ["direct", "lmtp"])
def test_h79_hangs_up_anywhere(local, way):
    """The connection ends behind the k-th response, for every k: the next
    run leaves the same mailbox, whatever was left undone."""
    step = 1 if os.environ.get("IMAPSYNC_SOAK") == "1" else 3
    users = [f"bob{n}" for n in range(1 + 120 // step)]
    for name in users:
        local.add_user(name, mail_format="maildir")
    local.start()
    with serve() as server:
        account = make_account(local, server, users[0], history=way)
        account.run()
        assert_same(wanted(server), account.snapshot(), order=False)
        length = server.connections[-1].responses
        assert length > 30
        for cut, user in zip(range(1, length, step), users[1:]):
            server.cut_responses, server.cut_times = cut, 1
            account = make_account(local, server, user, history=way)
            run = account.run(code=None)
            assert run.code in (0, EX_TEMPFAIL), f"cut behind {cut}: {run}"
            server.cut_responses = None
            account.run()
            try:
                assert_same(wanted(server), account.snapshot(), order=False)
                account.idle_run()
            except AssertionError as error:
                raise AssertionError(
                    f"cut behind response {cut} of {length}: {error}"
                ) from error


def test_h79_hangs_up_within_a_message(local):
    """Half a literal is no message."""
    users = [f"bob{n}" for n in range(25)]
    for name in users:
        local.add_user(name, mail_format="sdbox")
    local.start()
    with serve() as server:
        make_account(local, server, users[0]).run()
        size = server.connections[-1].sent
        for number, user in enumerate(users[1:]):
            # where the bodies are
            server.cut_bytes = int(size * (0.3 + 0.7 * number / 24))
            server.cut_times = 1
            account = make_account(local, server, user)
            run = account.run(code=None)
            assert run.code in (0, EX_TEMPFAIL), str(run)
            half = account.snapshot()
            assert not [digest for digest in
                        {m.digest for box in half.values() for m in box}
                        - {m.digest for box in wanted(server).values()
                           for m in box}], f"a part was stored: {run}"
            server.cut_bytes = None
            account.run()
            assert_same(wanted(server), account.snapshot(), order=False)


def test_reconnects_are_not_endless(bob):
    """H34: BYE right after every login."""
    with serve() as server:
        server.on("LIST", raw(b"* BYE too many connections\r\n",
                              hang_up=True))
        run = make_account(bob, server).run(code=EX_TEMPFAIL)
        assert "too many connections" in run.error
        assert len(server.connections) <= 3


# Stalls

@pytest.mark.parametrize("where", ["GREETING", "AUTHENTICATE", "LIST",
                                   "EXAMINE", "UID FETCH"])
def test_h02_stalls(bob, where):
    """Every wait has an end."""
    with serve() as server:
        server.on(where, stall(), times=1)
        account = make_account(bob, server)
        started = time.monotonic()
        run = account.run(code=EX_TEMPFAIL)
        assert run.row["class"] == "network", str(run)
        assert time.monotonic() - started < 30
        account.run()
        assert_same(wanted(server), account.snapshot(), order=False)


def test_h67_stalls_within_a_message(bob):
    """Announced 100 kB, sent 90: nothing of it is stored."""
    def half(session, tag, args):
        if "BODY.PEEK[]" not in str(args[1]).upper():
            return False
        session.send(b"* 1 FETCH (UID 1 BODY[] {100000}\r\n" + b"x" * 90000)
        session.stall()
    with serve() as server:
        server.on("UID FETCH", half, times=1, skip=1)
        account = make_account(bob, server)
        account.run(code=EX_TEMPFAIL)
        account.run()
        assert_same(wanted(server), account.snapshot(), order=False)


# Bodies that do not come

def is_body_fetch(args):
    return "BODY.PEEK[]" in str(args[1]).upper()


def uids_of(args):
    from scripted_imap import parse_set
    return {uid for low, high in parse_set(args[0], 99)
            for uid in range(low, high + 1)}


def inbox_size(server):
    return len(server.mailboxes["INBOX"].messages)


def refuse_body(reply, uid=None):
    """A hook: no body of the INBOX, or not this one, can be had."""
    status, text = reply.split(" ", 1)

    def hook(session, tag, args):
        if not is_body_fetch(args) or session.selected.name != "INBOX" or \
                (uid is not None and uid not in uids_of(args)):
            return False
        session.reply(tag, status, text)
        return True
    return hook


def refused_days_ago(account, days):
    """As if what is refused had been so for some time."""
    path = os.path.join(account.state_dir, account.source_id() + ".sqlite")
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        assert db.execute("UPDATE message SET local_uid = local_uid - ?"
                          " WHERE state = 6", (days * 86400,)).rowcount > 0


@pytest.mark.parametrize("uid", [1, 2])
@pytest.mark.parametrize("reply", ["NO [CANNOT] one is broken",
                                   "BAD cannot"])
def test_h78_one_message_spoils_its_batch(bob, reply, uid):
    """The others come; it is told, not tried again by every run, and by
    --full once it can be had."""
    with serve() as server:
        server.on("UID FETCH", refuse_body(reply, uid))
        account = make_account(bob, server)
        run = account.run(code=EX_TEMPFAIL)
        assert run.counts("status", "class", "new", "failed") == \
            ("partial", "message", 11, 1), str(run)
        assert re.search(f"INBOX.*UID {uid}", run.error), run.error
        account.idle_run()
        server._hooks.clear()
        account.idle_run()
        assert account.run("--full").new == 1
        assert_same(wanted(server), account.snapshot(), order=False)


PASSING = ["NO [SERVERBUG] Internal error occurred", "NO [INUSE] locked",
           "NO Server error - Please try again later"]


@pytest.mark.parametrize("reply", PASSING)
def test_one_message_refused_for_now(bob, reply):
    """The others come, and the run after the fault brings it."""
    with serve() as server:
        server.on("UID FETCH", refuse_body(reply, 2))
        account = make_account(bob, server)
        for new in (11, 0):
            run = account.run(code=EX_TEMPFAIL)
            assert run.counts("class", "new", "failed") == \
                ("message", new, 1), str(run)
            assert re.search("INBOX.*UID 2", run.error), run.error
        server._hooks.clear()
        assert account.run().new == 1
        assert_same(wanted(server), account.snapshot(), order=False)
        account.idle_run()


def test_one_message_refused_for_now_and_ever(bob):
    """Some day that is enough, and runs cost nothing again."""
    with serve() as server:
        server.on("UID FETCH", refuse_body(PASSING[0], 2))
        account = make_account(bob, server)
        account.run(code=EX_TEMPFAIL)
        refused_days_ago(account, 2)
        account.run(code=EX_TEMPFAIL)
        refused_days_ago(account, 2)
        account.run(code=EX_TEMPFAIL)
        # sees that nothing is left to do
        account.idle_run()
        fetches = sum("FETCH" in line for line in sum(server.log, []))
        account.idle_run()
        assert sum("FETCH" in line
                   for line in sum(server.log, [])) == fetches


@pytest.mark.parametrize("count", [12, 60])
@pytest.mark.parametrize("reply", PASSING + ["NO no", "BAD no"])
def test_all_messages_refused_for_a_while(bob, reply, count):
    """A fault of the server costs no mail, however few or many messages it
    refuses meanwhile, and in whatever words; nor is each of many asked for."""
    with serve(count) as server:
        server.on("UID FETCH", refuse_body(reply))
        account = make_account(bob, server)
        for _ in range(2):
            run = account.run(code=EX_TEMPFAIL)
            assert re.search("INBOX.*" + reply.rsplit(" ", 1)[1], run.error)
            asked = [line for line in server.log[-1]
                     if "BODY.PEEK[]" in line]
            assert len(asked) < 20, asked
        server._hooks.clear()
        account.run()
        assert_same(wanted(server), account.snapshot(), order=False)
        account.idle_run()


def test_all_messages_refused_from_one_on(bob):
    """Nor does a fault that begins amid a folder."""
    begun = []

    def give_some(session, tag, args):
        if is_body_fetch(args) and session.selected.name == "INBOX" and \
                not begun:
            begun.append(True)
            for uid in sorted(uids_of(args))[:5]:
                session.send_message(uid, session.selected.message(uid),
                                     ["UID", "BODY[]"])
        return refuse_body("BAD no")(session, tag, args)
    with serve(60) as server:
        server.on("UID FETCH", give_some)
        account = make_account(bob, server)
        run = account.run(code=EX_TEMPFAIL)
        assert run.new == 60 - inbox_size(server) + 5, str(run)
        server._hooks.clear()
        account.run()
        assert_same(wanted(server), account.snapshot(), order=False)
        account.idle_run()


def test_many_bad_messages_stop_no_other(bob):
    """As many in a row as would do for a server that is out of order, and
    what comes behind them; then they alone are left to ask for."""
    with serve(60) as server:
        bad = range(1, 13)

        def refuse(session, tag, args):
            return bool(is_body_fetch(args) and uids_of(args) & set(bad)) \
                and refuse_body(PASSING[0])(session, tag, args)
        server.on("UID FETCH", refuse)
        account = make_account(bob, server)
        for new in (48, 0):
            run = account.run(code=EX_TEMPFAIL)
            assert run.counts("class", "new", "failed") == \
                ("message", new, 12), str(run)
        server._hooks.clear()
        assert account.run().new == 12
        assert_same(wanted(server), account.snapshot(), order=False)


@pytest.mark.parametrize("body", [b"NIL", b"{0}\r\n", None])
def test_h69_answers_without_the_body(bob, body):
    """OK, but no body: not received, and told."""
    def empty(session, tag, args):
        if not is_body_fetch(args) or session.selected.name != "INBOX":
            return False
        for uid in sorted(uids_of(args)):
            seq = uid
            if uid == 3:
                item = b" BODY[] " + body if body is not None else b""
                session.send(b"* %d FETCH (UID %d%s)\r\n" % (seq, uid, item))
            else:
                session.send_message(seq, session.selected.message(uid),
                                     ["UID", "BODY[]"])
        session.reply(tag, "OK", "done")
        return True
    with serve() as server:
        server.on("UID FETCH", empty)
        account = make_account(bob, server)
        run = account.run(code=None)
        found = account.snapshot()
        assert count(found) == 11 or body == b"{0}\r\n", str(run)
        assert count(found) >= 11
        if count(found) == 11:
            assert run.code == EX_TEMPFAIL and "UID 3" in run.error, str(run)
            server._hooks.clear()
            assert account.run("--full").new == 1
            assert_same(wanted(server), account.snapshot(), order=False)


def test_message_left_out_of_the_answer(bob):
    """OK, and no FETCH response for one: it may have been expunged. If it
    is still there in the next run, it comes then."""
    def forget(session, tag, args):
        if not is_body_fetch(args) or session.selected.name != "INBOX":
            return False
        for uid in sorted(uids_of(args) - {2}):
            session.send_message(uid, session.selected.message(uid),
                                 ["UID", "BODY[]"])
        session.reply(tag, "OK", "done")
        return True
    with serve() as server:
        server.on("UID FETCH", forget)
        account = make_account(bob, server)
        account.run(code=None)
        assert count(account.snapshot()) == 11
        server._hooks.clear()
        account.run()
        assert_same(wanted(server), account.snapshot(), order=False)
        account.idle_run()


def test_wrong_uid_in_the_answer(bob):
    """H70, H71: a body under a UID that was not asked for is not stored."""
    with serve() as server:
        server.rewrite = lambda data: re.sub(
            rb"\(UID 2 BODY\[\]", b"(UID 4000 BODY[]", data)
        account = make_account(bob, server)
        account.run(code=None)
        assert count(account.snapshot()) <= 11
        server.rewrite = None
        account.run("--full", code=None)
        assert_same(wanted(server), account.snapshot(), order=False)


def test_h70_bodies_nobody_asked_for(bob):
    """Neither before nor within the answer to anything is mail taken that
    was not asked for."""
    junk = b"Subject: injected\r\n\r\ninjected\r\n"
    evil = [b"* 1 FETCH (UID 77 BODY[] {%d}\r\n%s)\r\n" % (len(junk), junk),
            b"* 2 FETCH (BODY[] {%d}\r\n%s)\r\n" % (len(junk), junk),
            b"* 3 FETCH (UID 0 BODY[] {%d}\r\n%s)\r\n" % (len(junk), junk)]
    with serve() as server:
        for command in ("LIST", "EXAMINE", "UID FETCH"):
            server.on(command, before(b"".join(evil)))
        account = make_account(bob, server)
        account.run()
        assert_same(wanted(server), account.snapshot(), order=False)
        assert not find_bytes(account.home, b"injected")


@pytest.mark.parametrize("item", [b"BODY[HEADER]", b"BODY[TEXT]",
                                  b"RFC822.HEADER", b"BODY[]<0>"])
def test_part_in_place_of_the_message(bob, item):
    """A literal that is not all of the message is not taken for it."""
    with serve() as server:
        server.rewrite = lambda data: re.sub(
            rb"(\* \d+ FETCH \(UID 1) BODY\[\] \{(\d+)\}",
            lambda match: match.group(1) + b" " + item + b" {" +
            match.group(2) + b"}", data)
        account = make_account(bob, server)
        run = account.run(code=None)
        assert run.code != 0, str(run)
        server.rewrite = None
        account.run("--full")
        assert_same(wanted(server), account.snapshot(), order=False)


def test_two_bodies_in_one_answer(bob):
    """Not one glued from both, and not twice."""
    def twice(session, tag, args):
        if not is_body_fetch(args):
            return False
        for uid in sorted(uids_of(args)):
            for _ in range(2):
                session.send_message(uid, session.selected.message(uid),
                                     ["UID", "BODY[]"])
        session.reply(tag, "OK", "done")
        return True
    with serve() as server:
        server.on("UID FETCH", twice)
        account = make_account(bob, server)
        account.run()
        assert_same(wanted(server), account.snapshot(), order=False)


# Lists that lie

@pytest.mark.parametrize("size", [b"1", b"0", b"99999999",
                                  b"99999999999999999999"])
def test_h68_wrong_sizes(bob, size):
    """RFC822.SIZE is not the truth, the literal is."""
    with serve() as server:
        server.rewrite = lambda data: re.sub(rb"RFC822\.SIZE \d+",
                                             b"RFC822.SIZE " + size, data)
        account = make_account(bob, server, max_size="0")
        account.run()
        assert_same(wanted(server), account.snapshot(), order=False)
        account.idle_run()


def test_h68_larger_than_allowed_after_all(bob):
    """Said to be small, and is not: max_size holds all the same."""
    with serve() as server:
        inbox = server.mailboxes["INBOX"]
        message = inbox.append(b"Subject: big\r\n\r\n" + b"x" * 200_000)
        message.claimed_size = 100
        account = make_account(bob, server, max_size="100K")
        run = account.run()
        assert (run.new, run.skipped) == (12, 1), str(run)
        assert_same(wanted(server), account.snapshot(), order=False)
        account.idle_run()


@pytest.mark.parametrize("exists", [b"4294967295", b"0", b"1"])
def test_h59_exists_lies(bob, exists):
    with serve() as server:
        server.rewrite = lambda data: re.sub(rb"\* \d+ EXISTS",
                                             b"* " + exists + b" EXISTS", data)
        account = make_account(bob, server)
        account.run(code=None)
        server.rewrite = None
        account.run("--full")
        assert_same(wanted(server), account.snapshot(), order=False)


@pytest.mark.parametrize("first", [2**31 - 2, 4_000_000_000])
def test_large_uids(bob, first):
    with Server() as server:
        server.messages = Corpus(seed=72, folders={"INBOX": 1},
                                 mean=300).messages(5)
        inbox = server.add("INBOX", uidvalidity=4_294_967_290)
        for number, message in enumerate(server.messages):
            inbox.append(message.content,
                         sorted(message.flags | message.keywords),
                         message.internaldate, uid=first + number)
        account = make_account(bob, server)
        account.run()
        assert_same(wanted(server), account.snapshot(), order=False)
        account.idle_run()
        inbox.append(b"Subject: next\r\n\r\nnext\r\n")
        assert account.run().new == 1


def test_h55_uids_twice_or_falling(bob):
    """Nothing comes twice, nothing is mixed up."""
    def disorder(session, tag, args):
        if is_body_fetch(args) or session.selected.name != "INBOX":
            return False
        items = ["UID", "FLAGS", "INTERNALDATE", "RFC822.SIZE"]
        messages = list(enumerate(session.selected.messages, 1))
        for seq, message in reversed(messages + messages[:3]):
            session.send_message(seq, message, items)
        session.reply(tag, "OK", "done")
        return True
    with serve() as server:
        server.on("UID FETCH", disorder)
        account = make_account(bob, server)
        account.run()
        assert_same(wanted(server), account.snapshot(), order=False)


def test_new_uidvalidity_and_sizes(bob):
    """A server made anew may count line ends otherwise: the same mail is
    the same mail."""
    with serve() as server:
        account = make_account(bob, server)
        account.run()
        for box in server.mailboxes.values():
            box.new_uidvalidity()
            for message in box.messages:
                message.claimed_size = message.size - 7
        assert account.run().counts("new", "adopted") == (0, 12)
        assert_same(wanted(server), account.snapshot(), order=False)
        account.idle_run()


def test_new_uidvalidity_and_a_broken_database(bob):
    """A question that the database does not answer is not answered with
    yes: new mail is not taken for known."""
    columns = "folder, size, hash, mailbox, guid, local_uid, flags, keywords"
    with serve() as server:
        account = make_account(bob, server)
        account.run()
        inbox = server.mailboxes["INBOX"]
        server.messages.append(Corpus(seed=73, folders={"INBOX": 1},
                                      mean=300).message("INBOX"))
        fill(server, server.messages[-1:])
        inbox.new_uidvalidity()
        path = os.path.join(account.state_dir, account.source_id() + ".sqlite")
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.executescript(
                "CREATE TABLE good AS SELECT sql FROM sqlite_master"
                " WHERE tbl_name = 'former' ORDER BY type DESC;"
                "DROP TABLE former;"
                # nothing in it has a rowid
                f"CREATE TABLE former ({columns}, PRIMARY KEY (guid))"
                " WITHOUT ROWID")
        run = account.run(code=EX_TEMPFAIL)
        assert run.row["class"] == "local", str(run)
        bob.log.allow("state database")
        with contextlib.closing(sqlite3.connect(path)) as db, db:
            db.execute("ALTER TABLE former RENAME TO bad")
            for sql, in db.execute("SELECT sql FROM good").fetchall():
                db.execute(sql)
            db.execute(f"INSERT INTO former ({columns}) SELECT {columns}"
                       " FROM bad")
        assert account.run().new == 1
        assert_same(wanted(server), account.snapshot(), order=False)


@pytest.mark.parametrize("validity", [b"0", b"4294967296", b"-1"])
def test_h53_senseless_uidvalidity(bob, validity):
    """The folder is left alone, and it is said why."""
    with serve() as server:
        server.rewrite = lambda data: re.sub(
            rb"UIDVALIDITY \d+", b"UIDVALIDITY " + validity, data)
        account = make_account(bob, server)
        run = account.run(code=None)
        assert run.code != 0 and "UIDVALIDITY" in run.error, str(run)
        assert count(account.snapshot()) == 0


def test_h52_uidvalidity_of_the_day(bob):
    """Another one at every SELECT: no endless duplicates."""
    state = {"next": 5000}

    def renew(_session, _tag, _args):
        state["next"] += 1
        for box in server.mailboxes.values():
            box.uidvalidity = state["next"]
        return False
    with serve() as server:
        server.on("EXAMINE", renew)
        server.on("LIST", renew)
        account = make_account(bob, server)
        for _ in range(4):
            account.run(code=None)
        assert_same(wanted(server), account.snapshot(), order=False)


def test_h82_flags_that_are_none(bob):
    """The mail comes, with the flags that are some."""
    with Server() as server:
        inbox = server.add("INBOX")
        body = b"Subject: x\r\n\r\nbody\r\n"
        inbox.append(body + b"1", ["\\Seen", "\\Recent", "\\Foo", "\\*",
                                   "good"])
        inbox.append(body + b"2", [f"kw{n}" for n in range(300)])
        inbox.append(body + b"3", ["k" * 1000, "fine", "\xfcml"])
        inbox.append(body + b"4", ["a(b", "c{3}", "NIL", "x%"][2:3])
        account = make_account(bob, server)
        account.run()
        found = account.snapshot()["INBOX"]
        assert [message.size for message in found] == [len(body) + 1] * 4
        assert found[0].flags == {"\\Seen"}
        assert found[0].keywords == {"good"}
        assert len(found[1].keywords) <= 100
        assert found[2].keywords == {"fine"}
        account.idle_run()


@pytest.mark.parametrize("date", [b'"31-Feb-9999 99:99:99 +9999"', b'""',
                                  b"NIL", b'"01-Jan-0001 00:00:00 +0000"'])
def test_h81_senseless_dates(bob, date):
    """The mail comes all the same."""
    with serve() as server:
        server.rewrite = lambda data: re.sub(
            rb'INTERNALDATE "[^"]*"', b"INTERNALDATE " + date, data)
        account = make_account(bob, server)
        account.run()
        found = {message.digest for box in account.snapshot().values()
                 for message in box}
        assert found == {message.digest for box in wanted(server).values()
                         for message in box}
        account.idle_run()


# Names

NAMES = ["../../../../tmp/out", "a/../../b", "..", ".", "/etc/x", "~root/x",
         "~", "x//y", "bad\x01name", "bell\x07", "new\x1bline", "&bad", "&AA-",
         "x" * 400, "&2D8-", "a.b", "INBOX/INBOX", "inbox", "a\x7fb"]


@pytest.mark.parametrize("mail_format", ["maildir", "sdbox"])
def test_h36_evil_names(local, mail_format):
    """They are left out or made harmless; the others come, and nothing is
    written outside the mailbox."""
    local.add_user("bob", mail_format=mail_format)
    local.start()
    with serve() as server:
        for name in NAMES:
            server.add(name).append(b"Subject: evil\r\n\r\nevil\r\n")
        before_it = {entry for entry in os.listdir("/tmp")}
        account = make_account(local, server)
        account.run(code=None)
        found = account.snapshot()
        good = {name: found[name] for name in FOLDERS}
        good["INBOX"] = [message for message in good["INBOX"]
                         if message.size != len(b"Subject: evil\r\n\r\n"
                                                b"evil\r\n")]
        assert_same(wanted(server), good, order=False)
        inside = os.path.join(account.home, {"maildir": "Maildir"}.get(
            mail_format, mail_format))
        assert all(path.startswith(inside) for path in
                   find_bytes(local.dir / "home", b"\nevil\n") +
                   find_bytes(local.dir / "home", b"\nevil\r\n"))
        assert "out" not in set(os.listdir("/tmp")) - before_it
        assert not any(part in (".", "..", "~") for name in found
                       for part in name.split("/")), found.keys()
        log = local.log.text()
        assert not re.search("[\x01-\x08\x0b-\x1f\x7f]", log)
        run = account.run(code=None)
        assert run.new == 0, str(run)


def test_names_that_clash_here(bob):
    """H40: two remote folders never end up in one."""
    with Server(separator="|") as server:
        server.messages = []
        for name in ("a|b", "a/b", "a_b", "A|b", "a"):
            server.add(name).append(b"Subject: x\r\n\r\n" + name.encode())
        account = make_account(bob, server)
        assert account.run().new == 5
        found = account.snapshot()
        assert sorted(len(box) for box in found.values() if box) == [1] * 5
        account.idle_run()


def test_h43_many_folders(bob):
    """More than are allowed: told, and no memory is eaten."""
    def flood(session, tag, _args):
        for start in range(0, 30_000, 500):
            session.send(b"".join(
                b'* LIST () "/" "f%d"\r\n' % number
                for number in range(start, start + 500)))
        session.reply(tag, "OK", "done")
        return True
    with serve() as server:
        server.on("LIST", flood)
        run = make_account(bob, server, timeout="20s").run(code=None)
        assert run.code == EX_TEMPFAIL and "folders" in run.error, str(run)


# Memory

class Watch:
    """Highest memory of the worker of a run."""

    def __init__(self, local):
        self.local, self.peak_kib = local, 0
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exc):
        self._end.set()
        self._thread.join()

    def _watch(self):
        while not self._end.wait(0.02):
            for pid in self.local.pids("imapsync-pull-worker"):
                try:
                    self.peak_kib = max(self.peak_kib,
                                        processes.peak_memory_kib(pid))
                except (OSError, RuntimeError):
                    pass


@pytest.mark.parametrize("way", ["direct", "lmtp"])
def test_h92_200_megabytes(bob, way):
    """One message of 200 MB, and the worker stays small."""
    size = 200_000_000 // 80 * 80
    with Server() as server:
        inbox = server.add("INBOX")
        inbox.append(b"Subject: small\r\n\r\nsmall\r\n")
        inbox.append(Big(size))
        inbox.append(b"Subject: small\r\n\r\nsmall too\r\n")
        account = make_account(bob, server, max_size="0", timeout="60s",
                               history=way)
        with Watch(bob) as watch:
            run = account.run()
        assert run.new == 3
        done = bob.doveadm("-f", "tab", "fetch", "-u", "bob", "size.virtual",
                           "mailbox", "INBOX")
        assert sorted(map(int, done.out.split()[1:]))[-1] == size, done
        assert 1000 < watch.peak_kib <= 32 * 1024, f"{watch.peak_kib} KiB"
        account.idle_run()


def test_memory_with_many_messages(bob):
    """50,000 messages listed, all too old: still small."""
    with Server() as server:
        inbox = server.add("INBOX")
        for _ in range(50_000):
            inbox.append(b"x", ["\\Seen", "some", "keywords"])
        account = make_account(bob, server, timeout="60s", initial_age="1d")
        with Watch(bob) as watch:
            account.run()
        assert 1000 < watch.peak_kib <= 32 * 1024, f"{watch.peak_kib} KiB"


# Rights

@pytest.mark.parametrize("uid", [5000, 5001])
def test_worker_has_no_rights(local, uid):
    """While it talks to a remote server it is the mail user, for good, and
    the service has not told it any key but this account's."""
    local.add_user("bob", uid=uid)
    local.start()
    key = (local.dir / "state" / "imapsync-pull" / "master.key")
    with serve(secret=CANARY) as server:
        server.on("LIST", stall(), times=1)
        account = make_account(local, server, timeout="20s", secret=CANARY)
        runs = []
        thread = threading.Thread(target=lambda: runs.append(
            account.run(code=None)))
        thread.start()
        wait_for(lambda: any("LIST" in line for line in sum(server.log, [])),
                 what="a LIST")
        pid = worker(local)
        status = process_status(pid)
        assert status["Uid"].split() == [str(uid)] * 4, status["Uid"]
        assert status["Gid"].split() == [str(uid)] * 4, status["Gid"]
        assert status["NoNewPrivs"] == "1"
        assert int(status["CapEff"], 16) == 0, status["CapEff"]
        assert int(status["CapPrm"], 16) == 0, status["CapPrm"]
        # no descriptor leads to the service's files
        opened = []
        for entry in os.listdir(f"/proc/{pid}/fd"):
            try:
                opened.append(os.readlink(f"/proc/{pid}/fd/{entry}"))
            except OSError:
                pass
        assert opened and not any(str(key.parent) in path for path in opened)
        for pid in local.pids("imapsync-pull-worker"):
            local.kill(pid)
        local.log.allow("killed with signal 9")
        thread.join(60)
        assert runs[0].code == EX_TEMPFAIL, runs
        assert key.stat().st_mode & 0o777 == 0o600 or \
            key.stat().st_mode & 0o777 == 0o400
        account.run()
        assert_same(wanted(server), account.snapshot(), order=False)
        for path, _dirs, files in os.walk(account.home):
            for name in files:
                info = os.lstat(os.path.join(path, name))
                assert info.st_uid == uid, (path, name)
        assert os.stat(account.state_dir).st_mode & 0o777 == 0o700
