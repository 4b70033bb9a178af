"""The watcher process: what it says of accounts that change, that do not, and
of servers that cannot be watched."""

import contextlib
import os
import select
import signal
import socket
import time

import pytest

from pull_rig import add, expunge, process_status, store
from rig import Message, wait_for
from rig.relay import Relay
from scripted_imap import RawServer, Server, answer, idle, raw, stall
from watch_rig import Watcher

IDLE_ONLY = "IMAP4rev1 LITERAL+ SASL-IR IDLE"
IDLE_AND_POLL = IDLE_ONLY + " LIST-EXTENDED LIST-STATUS"
# the shortest that there is
POLL = "10s"
POLL_ONLY = "IMAP4rev1 LITERAL+ SASL-IR LIST-EXTENDED LIST-STATUS"


@pytest.fixture
def watcher(local):
    local.add_user("bob")
    local.start()
    with Watcher(local) as made:
        yield made


@pytest.fixture
def scripted():
    """A server with IDLE and an INBOX."""
    with Server(capabilities=IDLE_ONLY) as server:
        server.add("INBOX")
        server.on("IDLE", idle())
        yield server


def mail(folder="INBOX", subject="hi"):
    return Message(folder, b"Subject: %b\r\n\r\nhi\r\n" % subject.encode())


def said(server, word):
    """How often clients have said it."""
    return sum(line.split(" ", 1)[-1].startswith(word)
               for lines in server.log for line in lines)


# A stock server

@pytest.mark.sanitize
@pytest.mark.parametrize("capability,mode", [
    (IDLE_ONLY, "idle"),
    (IDLE_AND_POLL, "poll"),
    (IDLE_AND_POLL + " CONDSTORE", "poll"),
    (IDLE_ONLY + " NOTIFY ENABLE CONDSTORE", "notify"),
    (None, "notify")])
def test_hears_changes(remote, watcher, capability, mode):
    if capability:
        remote.add_piece("CAPABILITY", capability=capability)
    remote.start()
    add(remote, "anna", mail())
    work = watcher.watch(remote.port("imap"))
    work.watching(mode)
    add(remote, "anna", mail())
    work.changed(2)
    store(remote, "anna", "INBOX", "1", "+FLAGS", "\\Flagged")
    work.changed(3)
    expunge(remote, "anna", "INBOX", "2")
    work.changed(3)
    work.settle()
    work.forget()
    add(remote, "anna", mail())
    assert work.settle() == 0


def test_other_folders_are_polled(remote, watcher):
    """And what IDLE has told is not told again by the poll, and what is not
    pulled is not told at all."""
    remote.add_piece("CAPABILITY", capability=IDLE_AND_POLL)
    for name in ("berta", "carla"):
        remote.add_user(name)
    remote.start()
    works = []
    for name, preset in (("anna", "backup"), ("berta", "backup"),
                         ("carla", "inbox")):
        add(remote, name, mail("Lists"))
        works.append(watcher.watch(remote.port("imap"), name, interval=POLL,
                                   preset=preset))
    for work in works:
        work.watching("poll")
    anna, berta, carla = works
    add(remote, "berta", mail())
    berta.changed(2)
    add(remote, "carla", mail("Lists"), mail("New/Folder"))
    add(remote, "anna", mail("Lists"), mail("New/Folder"))
    anna.changed(12)
    # at the next poll none has news
    assert anna.settle(12) == berta.settle(0) == carla.settle(0) == 0


def test_other_folders_are_heard(remote, watcher):
    remote.add_user("carla")
    remote.start()
    works = []
    for name, preset in (("anna", "backup"), ("carla", "inbox")):
        add(remote, name, mail("Lists"))
        works.append(watcher.watch(remote.port("imap"), name, preset=preset))
        works[-1].watching("notify")
    anna, carla = works
    for name in ("carla", "anna"):
        add(remote, name, mail("Lists"))
    anna.changed(3)
    anna.settle()
    for name in ("carla", "anna"):
        add(remote, name, mail("New/Folder"))
    anna.changed(3)
    anna.settle()
    # it is known by now
    add(remote, "anna", mail("New/Folder"))
    anna.changed(3)
    carla.settle()
    add(remote, "carla", mail("New/Folder"))
    assert carla.settle() == 0
    add(remote, "carla", mail())
    carla.changed(3)


def test_burst_is_one_piece_of_news(watcher, scripted):
    work = watcher.watch(scripted.port)
    work.watching("idle")
    start = time.monotonic()
    for count in range(1, 300):
        scripted.connections[-1].send(b"* %d EXISTS\r\n" % count)
        time.sleep(0.01)
    took = time.monotonic() - start
    assert 3 <= work.settle() <= took + 2


@pytest.mark.soak
def test_endless_news_are_told_now_and_then(watcher, scripted):
    work = watcher.watch(scripted.port)
    work.watching("idle")
    for _ in range(400):
        scripted.connections[-1].send(b"* 7 FETCH (FLAGS ())\r\n")
        time.sleep(0.1)
    while watcher.read(0):
        pass
    assert 10 <= len(work.answers) <= 16


def test_over_tls(remote, watcher):
    remote.start()
    work = watcher.watch(remote.port("imaps"), host="localhost",
                         security="tls")
    work.watching("notify")
    add(remote, "anna", mail())
    work.changed(3)


@pytest.mark.sanitize
def test_many_accounts(remote, watcher):
    remote.add_piece("CAPABILITY", capability=IDLE_ONLY)
    for i in range(30):
        remote.add_user(f"user{i}")
    remote.start()
    works = [watcher.watch(remote.port("imap"), login=f"user{i}")
             for i in range(30)]
    for work in works:
        work.watching("idle")
    add(remote, "user17", mail())
    works[17].changed()
    assert not any(work.answers for work in works)


# Rights

def test_may_do_nothing(remote, watcher):
    remote.start()
    watcher.watch(remote.port("imap")).watching("notify")
    status = process_status(watcher.pid)
    user = os.stat(f"/proc/{watcher.pid}/maps").st_uid
    # not dumpable: what it is belongs to root
    assert user == 0
    uids = set(status["Uid"].split())
    assert len(uids) == 1 and "0" not in uids
    assert status["CapEff"].strip("0") == status["CapPrm"].strip("0") == ""
    assert status["NoNewPrivs"] == "1"
    for key in watcher.local.dir.glob("state/imapsync-pull/*"):
        assert key.stat().st_uid != int(uids.copy().pop())
    with open(f"/proc/{watcher.pid}/cmdline", "rb") as file:
        assert b"secret" not in file.read()


@pytest.mark.sanitize
def test_says_that_it_lives(watcher):
    for _ in range(3):
        watcher.ping()


@pytest.mark.sanitize
def test_ends_with_the_service(remote, watcher):
    remote.start()
    watcher.watch(remote.port("imap")).watching("notify")
    watcher.sock.close()
    wait_for(lambda: watcher.pid not in watcher.local.pids(),
             what="the watcher to end")


# Failures

@pytest.mark.sanitize
def test_wrong_password(remote, watcher):
    remote.start()
    work = watcher.watch(remote.port("imap"), secret="wrong")
    _wait, text = work.failed("credential")
    assert "wrong" not in text


def test_nobody_listens(watcher):
    with RawServer(lambda conn: None) as server:
        port = server.port
    watcher.watch(port).failed("network")


def test_refused_host(watcher):
    watcher.watch(143, host="10.0.0.1").failed("policy")


@pytest.mark.sanitize
def test_bad_request_is_answered(watcher):
    work = watcher.watch(143, idle="INBOX", security="perhaps")
    assert "security" in work.failed("config")[1]


def test_server_without_a_way(watcher):
    with Server(capabilities="IMAP4rev1 LITERAL+ SASL-IR") as server:
        wait, _text = watcher.watch(server.port).failed("config")
        assert wait >= 600


def test_server_without_idle_is_polled(watcher):
    with Server(capabilities=POLL_ONLY) as server:
        inbox = server.add("INBOX")
        work = watcher.watch(server.port, interval=POLL)
        work.watching("poll")
        inbox.append(b"Subject: hi\r\n\r\nhi\r\n")
        work.changed()
        assert work.settle() == 0
        assert said(server, "EXAMINE") == said(server, "IDLE") == 0


def test_idle_without_an_interval(watcher, scripted):
    scripted.capabilities = IDLE_AND_POLL.split()
    work = watcher.watch(scripted.port, interval="none")
    work.watching("idle")
    assert said(scripted, "LIST") == 0


def test_one_folder_or_several(remote, watcher):
    remote.start()
    port = remote.port("imap")
    watcher.watch(port, interval="none").watching("idle")
    several = watcher.watch(port, interval="none", idle="INBOX,Sent")
    several.watching("notify")
    add(remote, "anna", mail("Sent"))
    several.changed(3)


def test_folder_that_is_not_there(watcher, scripted):
    wait, _text = watcher.watch(scripted.port, idle="Nowhere").failed("folder")
    assert wait >= 600


def test_refused_folder_leaves_the_poll(watcher, scripted):
    scripted.capabilities = IDLE_AND_POLL.split()
    work = watcher.watch(scripted.port, idle="Nowhere", interval=POLL)
    work.watching("poll")
    scripted.mailboxes["INBOX"].append(b"Subject: hi\r\n\r\nhi\r\n")
    work.changed()


def test_refused_poll_leaves_idle(watcher, scripted):
    scripted.capabilities = IDLE_AND_POLL.split()
    scripted.on("LIST", answer("NO", "[LIMIT] too many"), skip=1)
    work = watcher.watch(scripted.port, interval=POLL)
    work.watching("poll")
    work.watching("idle")
    scripted.connections[-1].send(b"* 1 EXISTS\r\n")
    work.changed()
    assert said(scripted, "LIST") == 2


@pytest.mark.sanitize
def test_refused_notify(watcher, scripted):
    scripted.capabilities = [*IDLE_AND_POLL.split(), "NOTIFY"]
    scripted.on("NOTIFY", answer("NO", "not here"))
    watcher.watch(scripted.port).watching("poll")


@pytest.mark.sanitize
def test_notify_that_ends(watcher, scripted):
    scripted.capabilities = [*IDLE_AND_POLL.split(), "NOTIFY"]
    scripted.on("NOTIFY", answer("OK", "done"))
    work = watcher.watch(scripted.port)
    work.watching("notify")
    scripted.connections[-1].send(b"* STATUS INBOX (MESSAGES 1)\r\n")
    work.changed()
    scripted.connections[-1].send(
        b"* OK [NOTIFICATIONOVERFLOW] too much\r\n")
    work.watching("poll")


@pytest.mark.sanitize
@pytest.mark.parametrize("caps", [IDLE_ONLY, IDLE_AND_POLL + " NOTIFY"])
def test_server_hangs_up(watcher, scripted, caps):
    scripted.capabilities = caps.split()
    scripted.on("NOTIFY", answer("OK", "done"))
    work = watcher.watch(scripted.port)
    work.answer()
    scripted.connections[-1].sock.shutdown(socket.SHUT_RDWR)
    work.failed("network")


@pytest.mark.sanitize
def test_hang_up_before_all_is_answered(watcher, scripted):
    """Nobody waits for the answer to ID."""
    scripted.capabilities = [*POLL_ONLY.split(), "ID"]
    scripted.on("ID", lambda *_args: True)
    work = watcher.watch(scripted.port)
    work.watching("poll")
    scripted.connections[-1].sock.shutdown(socket.SHUT_RDWR)
    work.failed("network", 5)


def test_server_says_goodbye(watcher, scripted):
    work = watcher.watch(scripted.port)
    work.watching("idle")
    conn = scripted.connections[-1]
    conn.send(b"* BYE [UNAVAILABLE] try again in 5 minutes\r\n")
    conn.sock.shutdown(socket.SHUT_RDWR)
    _wait, text = work.failed("server")
    assert "try again" in text


# Answers to LIST

def lists(count, name, end):
    """A hook that lists so many folders: the name is a format of their
    number. It ends with this line."""
    def hook(session, tag, _args):
        for start in range(0, count, 100):
            names = [name % number
                     for number in range(start, min(start + 100, count))]
            session.send("".join(
                f'* LIST () "/" "{folder}"\r\n'
                f'* STATUS "{folder}" (UIDVALIDITY 1 UIDNEXT 7)\r\n'
                for folder in names).encode())
        session.send(f"{tag} {end}\r\n".encode())
        return True
    return hook


def megabytes(pid, key):
    return int(process_status(pid)[key].split()[0]) / 1024


@pytest.mark.parametrize("count,name", [
    (2000, "%d" + "x" * 60000),
    (20000, "%d" + "x" * 1000)], ids=["too-long", "long"])
def test_answer_to_list_is_bounded(watcher, scripted, count, name):
    scripted.capabilities = POLL_ONLY.split()
    scripted.on("LIST", lists(count, name, "OK done"))
    before = megabytes(watcher.pid, "VmHWM")
    work = watcher.watch(scripted.port)
    assert "LIST" in work.failed("protocol")[1]
    assert megabytes(watcher.pid, "VmHWM") - before < 32


def test_many_folders_are_no_fault(watcher, scripted):
    scripted.capabilities = POLL_ONLY.split()
    scripted.on("LIST", lists(20000, "Projects/of last year/number %d",
                              "OK done"))
    before = megabytes(watcher.pid, "VmHWM")
    watcher.watch(scripted.port).watching("poll")
    assert megabytes(watcher.pid, "VmHWM") - before < 64


def test_deep_names_take_little_memory(watcher, scripted):
    """They are mapped, once the answer is complete."""
    scripted.capabilities = POLL_ONLY.split()
    scripted.on("LIST", lists(3500, "%d" + "/x" * 500, "OK done"))
    before = megabytes(watcher.pid, "VmHWM")
    watcher.watch(scripted.port, preset="backup").watching("poll")
    assert megabytes(watcher.pid, "VmHWM") - before < 64


def test_refused_answer_to_list_is_freed(watcher, scripted):
    scripted.capabilities = IDLE_AND_POLL.split()
    scripted.on("LIST", lists(3500, "%d" + "x" * 1000, "NO sorry"))
    before = megabytes(watcher.pid, "VmRSS")
    watcher.watch(scripted.port).watching("idle")
    assert megabytes(watcher.pid, "VmRSS") - before < 4


@pytest.mark.soak
def test_unasked_lists_are_asked_about_now_and_then(watcher, scripted):
    scripted.capabilities = [*IDLE_AND_POLL.split(), "NOTIFY"]
    scripted.on("NOTIFY", answer("OK", "done"))
    work = watcher.watch(scripted.port)
    work.watching("notify")
    for _ in range(150):
        scripted.connections[-1].send(b'* LIST () "/" New\r\n')
        time.sleep(0.2)
    assert 8 <= said(scripted, "LIST") <= 15


# Servers that misbehave

def test_flood(watcher, scripted):
    """Is not read faster than it can matter."""
    work = watcher.watch(scripted.port)
    work.watching("idle")
    before = cpu_secs(watcher.pid)
    conn = scripted.connections[-1]
    line = b"* 12345 EXISTS\r\n"
    lines, part = line * 4096, 0
    start = time.monotonic()
    while time.monotonic() < start + 5:
        try:
            part += conn.sock.send(lines[part:], socket.MSG_DONTWAIT)
        except BlockingIOError:
            time.sleep(0.01)
        part %= len(lines)
    assert cpu_secs(watcher.pid) - before < 0.5
    while watcher.read(0):
        pass
    assert 3 <= len(work.answers) <= 8
    # and the other accounts are served meanwhile
    watcher.watch(scripted.port).watching("idle", 2)


def cpu_secs(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as file:
        fields = file.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.sanitize
def test_bodies_are_not_read(watcher, scripted):
    work = watcher.watch(scripted.port)
    work.watching("idle")
    scripted.connections[-1].send(
        b"* 1 FETCH (UID 1 BODY[] {1000000}\r\n")
    work.failed("protocol")


@pytest.mark.sanitize
@pytest.mark.parametrize("way", [
    stall(), raw(b"TAG OK never mind\r\n"), raw(b"+ a\r\n+ b\r\n"),
    raw(b"+ a\r\nTAG BAD no\r\n")])
def test_idle_is_no_idle(watcher, scripted, way):
    scripted._hooks.clear()
    scripted.on("IDLE", way)
    work = watcher.watch(scripted.port, timeout="2s")
    work.watching("idle")
    assert work.answer()[0] == "failed"
    assert said(scripted, "IDLE") == 1


def test_silent_server(watcher):
    with Server() as server:
        server.on("LIST", stall())
        work = watcher.watch(server.port, timeout="2s")
        _wait, text = work.failed("network")
        assert "2 seconds" in text


def test_silent_servers_delay_no_others(remote, watcher):
    """Logins take turns: these would take all there are, each for a minute."""
    remote.start()
    with contextlib.ExitStack() as stack:
        for number in range(2, 6):
            server = stack.enter_context(
                RawServer(lambda conn: conn.server.stopping.wait(),
                          host=f"127.0.0.{number}"))
            for _ in range(4):
                watcher.watch(server.port, host=f"127.0.0.{number}",
                              security="tls", timeout="60s")
            wait_for(lambda server=server: len(server.connections) == 4,
                     what="the silent server's turns")
        watcher.watch(remote.port("imap")).watching("notify")


@pytest.mark.soak
def test_done_waits_for_the_server(watcher, scripted):
    """The poll is due before the server has said that it idles."""
    early = []

    def late(session, tag, _args):
        session.server.wait(13)
        early.append(session._buffer or select.select(
            [session.sock], [], [], 0)[0])
        return idle()(session, tag, _args)

    scripted._hooks.clear()
    scripted.on("IDLE", late, times=1)
    scripted.on("IDLE", idle())
    scripted.capabilities = IDLE_AND_POLL.split()
    watcher.watch(scripted.port, interval=POLL, timeout="30s").watching("poll")
    wait_for(lambda: said(scripted, "IDLE") == 2, 40)
    assert early == [[]]
    assert said(scripted, "LIST") == 2


def test_idle_has_no_deadline(watcher, scripted):
    work = watcher.watch(scripted.port, timeout="1s")
    work.watching("idle")
    assert work.settle(3) == 0
    scripted.connections[-1].send(b"* 1 EXISTS\r\n")
    work.changed()


def test_server_that_talks_and_does_not_answer(watcher):
    def talk(session, _tag, _args):
        while not session.server.stopping.is_set():
            session.send(b"* OK Still here\r\n" * 100)
            session.server.wait(0.1)

    with Server() as server:
        server.on("LIST", talk)
        work = watcher.watch(server.port, timeout="1s")
        _wait, text = work.failed("protocol", 10)
        assert "did not answer" in text


def test_dead_peer_is_found_at_the_next_poll(watcher, scripted):
    scripted.capabilities = IDLE_AND_POLL.split()
    with Relay(scripted.port) as relay:
        work = watcher.watch(relay.port, interval=POLL, timeout="2s")
        work.watching("poll")
        scripted._hooks.clear()
        scripted.on("LIST", stall())
        scripted.on("IDLE", stall())
        work.failed("network")


def test_killed_watcher_leaves_nothing(remote, watcher):
    remote.start()
    watcher.watch(remote.port("imap")).watching("notify")
    watcher.local.kill(watcher.pid, signal.SIGKILL)
    watcher.gone()
    watcher.local.log.allow("imapsync-pull-watch.*killed with signal 9")
    with Watcher(watcher.local) as again:
        again.watch(remote.port("imap")).watching("notify")
