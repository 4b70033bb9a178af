"""The LMTP sink: what becomes of messages when the server is well, is not
there, dies, has no plugin, no room or no such user."""

import collections
import os
import socketserver
import subprocess
import threading

import pytest

from lmtp_rig import PluginDovecot
from rig import Corpus, local_dovecot, snapshot, tool, wait_for
from rig.scratch import MAIL_UID

FORMATS = ("maildir", "sdbox", "mdbox")
KEEP = "keep;"

Outcome = collections.namedtuple(
    "Outcome", "uid result reason stop mailbox guid text")


class Sink:
    """Runs tests/tools/lmtp-sink."""

    def __init__(self, scratch, plugin):
        self.plugin, self.path = plugin, scratch.path / "messages"
        self.key = scratch.path / "key"

    def write(self, contents):
        with open(self.path, "wb") as file:
            for content in contents:
                file.write(b"%d\n" % len(content) + content)

    def command(self, user, *options, target=None, state_dir=None):
        self.key.write_bytes(self.plugin.key.read_bytes())
        self.key.chmod(0o644)
        return [tool("lmtp-sink"), *map(str, options), "-u", str(MAIL_UID),
                target or self.plugin.dovecot.socket("lmtp"), user,
                state_dir or self.plugin.state_dir(user), str(self.key),
                str(self.path)]

    def start(self, *args, **kwargs):
        return subprocess.Popen(self.command(*args, **kwargs), text=True,
                                stdout=subprocess.PIPE)

    def run(self, *args, timeout=60, **kwargs):
        return self.read(self.start(*args, **kwargs), timeout)

    @staticmethod
    def read(process, timeout=60):
        out, _ = process.communicate(timeout=timeout)
        assert process.returncode == 0, out
        return [Outcome(int(fields[0]), *fields[1:]) for fields in
                (line.split("\t") for line in out.splitlines())
                if fields[0] != "sum"]


def small(count):
    corpus = Corpus(seed=31)
    return [corpus.message(kind="plain", size=800).content
            for _ in range(count)]


@pytest.fixture
def plugin(scratch):
    return PluginDovecot(scratch)


@pytest.fixture
def sink(scratch, plugin):
    return Sink(scratch, plugin)


def results(outcomes):
    return collections.Counter(outcome.result for outcome in outcomes)


def labels(plugin, user):
    """How often each message is stored, by its Message-ID."""
    return collections.Counter(
        message.label for messages in
        snapshot(plugin.dovecot, user).values() for message in messages)


@pytest.mark.parametrize("mail_format", FORMATS)
def test_all_is_well(plugin, sink, mail_format):
    corpus = Corpus(seed=32)
    contents = [corpus.message().content for _ in range(150)]
    # does not go in one piece, and needs a file
    contents[70] = corpus.message(kind="plain", size=3_000_000).content
    contents[71] = contents[71].replace(b"\r\n", b"\n")
    plugin.add_user("ben", mail_format, KEEP)
    plugin.dovecot.start()
    sink.write(contents)
    outcomes = sink.run("ben", "-C", 3, "-w", "work")
    assert results(outcomes) == {"done": 150}
    assert {outcome.mailbox for outcome in outcomes} == {"INBOX"}
    assert len({outcome.guid for outcome in outcomes}) == 150
    stored = snapshot(plugin.dovecot, "ben")["INBOX"]
    assert len(stored) == 150
    assert all(message.flags == {"\\Seen"} and message.keywords == {"work"}
               for message in stored)
    assert sorted(message.date for message in stored) == [
        1_000_000_001 + number for number in range(150)]


def test_plugin_is_missing(scratch, plugin, sink):
    """One message is lost sight of, no more."""
    bare = local_dovecot(scratch, name="bare", plugin=False)
    bare.add_user("ben")
    bare.start()
    plugin.add_user("ben", "maildir")
    sink.write(small(30))
    outcomes = sink.run("ben", "-C", 3, target=bare.socket("lmtp"))
    assert outcomes[0].result == "handed-over"
    assert (outcomes[0].reason, outcomes[0].stop) == ("config", "stop")
    assert "mail_plugins" in outcomes[0].text
    assert all(outcome.result == "later" for outcome in outcomes[1:])
    assert len(snapshot(bare, "ben")["INBOX"]) == 1


def stopped(outcomes, reason, words):
    """Everything goes back, and why."""
    assert outcomes, "no outcome at all"
    for outcome in outcomes:
        assert (outcome.result, outcome.reason, outcome.stop) == (
            "later", reason, "stop"), outcome
    assert words in outcomes[0].text, outcomes[0]


def test_nobody_listens(plugin, sink):
    plugin.add_user("ben", "maildir")
    sink.write(small(10))
    missing = str(plugin.dovecot.dir / "no-such-socket")
    stopped(sink.run("ben", target=missing, timeout=20), "local",
            "No such file")
    # nothing was sent, so nothing is left behind: another key will do
    plugin.dovecot.start()
    plugin.new_key()
    assert results(sink.run("ben")) == {"done": 10}


def test_unknown_user(plugin, sink):
    plugin.add_user("ben", "maildir")
    plugin.dovecot.start()
    sink.write(small(10))
    stopped(sink.run("nobody", state_dir=plugin.state_dir("ben")), "config",
            "User doesn't exist")


def test_other_key(plugin, sink):
    """To the plugin it is somebody's header: ordinary mail."""
    plugin.add_user("ben", "maildir")
    plugin.dovecot.start()
    sink.write(small(10))
    assert results(sink.run("ben")) == {"done": 10}
    command = sink.command("ben", "-f", 100)
    sink.key.write_text("0" * 64)
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("100\thanded-over\tconfig\tstop")


def test_other_state_directory(plugin, sink):
    """Nothing is stored, nothing goes on."""
    plugin.add_user("ben", "maildir")
    elsewhere = plugin.dovecot.dir / "elsewhere"
    elsewhere.mkdir()
    os.chown(elsewhere, MAIL_UID, MAIL_UID)
    plugin.dovecot.start()
    sink.write(small(10))
    stopped(sink.run("ben", state_dir=str(elsewhere)), "config",
            "not in flight")
    assert snapshot(plugin.dovecot, "ben") == {"INBOX": []}


def test_over_quota(plugin, sink):
    plugin.dovecot.add_piece("QUOTA", bytes=20_000)
    plugin.add_user("ben", "sdbox", KEEP)
    plugin.dovecot.start()
    sink.write(small(60))
    outcomes = sink.run("ben", "-C", 2)
    done = [outcome for outcome in outcomes if outcome.result == "done"]
    assert 5 < len(done) < 30, outcomes
    stopped([outcome for outcome in outcomes if outcome not in done],
            "quota", "uota")
    assert len(snapshot(plugin.dovecot, "ben")["INBOX"]) == len(done)


@pytest.mark.parametrize("mail_format", FORMATS)
def test_lmtp_is_killed(plugin, sink, mail_format):
    """Again and again, while messages pour in: each is stored once."""
    plugin.add_user("ben", mail_format, KEEP)
    plugin.dovecot.start()
    plugin.dovecot.log.allow("killed with signal 9|Error: ")
    sink.write(small(400))
    process = sink.start("ben", "-C", 2)
    state = os.path.join(plugin.dovecot.users["ben"].home)
    for round_number in range(4):
        before = disk_use(state)
        wait_for(lambda: disk_use(state) > before + 20_000 or
                 process.poll() is not None, what="more mail")
        for pid in plugin.dovecot.pids("lmtp"):
            try:
                plugin.dovecot.kill(pid)
            except (ValueError, ProcessLookupError):
                pass
        assert process.poll() is None or round_number > 0
    outcomes = sink.read(process, timeout=240)
    # who was being delivered at two kills is given back
    later = [outcome for outcome in outcomes if outcome.result == "later"]
    assert results(outcomes)["done"] == 400 - len(later) >= 390, later
    assert all((outcome.reason, outcome.stop) == ("local", "-")
               for outcome in later), later
    counts = labels(plugin, "ben")
    assert set(counts.values()) == {1}, [
        label for label, count in counts.items() if count != 1]
    assert 400 - len(later) <= len(counts) <= 400


def disk_use(path):
    return int(subprocess.run(["du", "-sb", path], capture_output=True,
                              text=True, check=False).stdout.split()[0])


@pytest.mark.parametrize("mail_format", ("sdbox", "mdbox"))
def test_found_by_guid(plugin, sink, mail_format):
    """The in-flight file was lost; the messages are known by their GUID, even
    where the user has moved them."""
    plugin.add_user("ben", mail_format, KEEP)
    plugin.dovecot.start()
    sink.write(small(20))
    assert results(sink.run("ben")) == {"done": 20}
    plugin.dovecot.doveadm("mailbox", "create", "-u", "ben", "Moved")
    plugin.dovecot.doveadm("move", "-u", "ben", "Moved", "mailbox", "INBOX",
                           "uid", "3:7")
    assert results(sink.run("ben", "-r")) == {"done": 20}
    stored = snapshot(plugin.dovecot, "ben")
    assert len(stored["INBOX"]) == 15 and len(stored["Moved"]) == 5


# -- servers that are not Dovecot's

class _Session(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"220 not Dovecot\r\n")
        while line := self.rfile.readline().decode().strip():
            self.wfile.write(self.answer(line.upper()).encode() + b"\r\n")

    def answer(self, line):
        if line == "DATA":
            self.wfile.write(b"354 go on\r\n")
            while self.rfile.readline() not in (b".\r\n", b""):
                pass
            self.server.seen.append("message")
            return self.server.answers.pop(0)
        self.server.seen.append(line)
        if line.startswith("MAIL") and "<>" not in line:
            return self.server.mail_answer
        return "250 ok"


@pytest.fixture
def stranger(scratch):
    """An LMTP server that says what a test wants, without CHUNKING."""
    class Server(socketserver.ThreadingUnixStreamServer):
        daemon_threads = True
        mail_answer = "250 ok"

    path = scratch.path / "stranger"
    with Server(str(path), _Session) as server:
        path.chmod(0o777)
        server.path, server.seen, server.answers = str(path), [], []
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def test_refused_messages(plugin, sink, stranger):
    """A refusal is about one message, and what a server says is no more than
    text."""
    plugin.add_user("ben", "maildir")
    sink.write(small(3))
    stranger.answers = ["554 5.6.0 no thanks"] * 2 + ["250 ok"]
    outcomes = sink.run("ben", target=stranger.path)
    assert [outcome.result for outcome in outcomes] == [
        "refused", "refused", "handed-over"]
    assert outcomes[0].reason == "message" and outcomes[0].stop == "-"
    assert "554 5.6.0 no thanks" in outcomes[0].text


def test_temporary_failures(plugin, sink, stranger):
    """It is tried again a few times, then given back."""
    plugin.add_user("ben", "maildir")
    sink.write(small(1))
    stranger.answers = ["451 4.3.0 not now"] * 20
    outcomes = sink.run("ben", target=stranger.path)
    assert [(outcome.result, outcome.reason, outcome.stop)
            for outcome in outcomes] == [("later", "local", "-")]
    assert stranger.seen.count("message") == 4


def test_sender_is_refused(plugin, sink, stranger):
    """The sender is somebody else's word, and not worth a message."""
    plugin.add_user("ben", "maildir")
    sink.write(small(1))
    stranger.mail_answer = "553 5.1.7 who?"
    stranger.answers = ["250 ok"]
    sink.run("ben", target=stranger.path)
    mails = [line for line in stranger.seen if line.startswith("MAIL")]
    assert mails[0].startswith("MAIL FROM:<SENDER")
    assert mails[1] == "MAIL FROM:<>"
    assert "message" in stranger.seen


def test_hangs_up(plugin, sink, stranger):
    """A server that dies of a message gets it twice, not for ever."""
    plugin.add_user("ben", "maildir")
    sink.write(small(3))
    outcomes = sink.run("ben", target=stranger.path, timeout=60)
    assert {outcome.result for outcome in outcomes} == {"later"}
    assert outcomes[0].reason == "local"
    assert stranger.seen.count("message") <= 6
