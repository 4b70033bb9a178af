"""The lmtp plugin: pulled messages keep folder, flags, keywords and date,
whatever scripts do to them, and nobody else can use its header."""

import subprocess

import pytest

from lmtp_rig import Outside, PluginDovecot, parse_injected
from rig import Corpus, assert_same, snapshot
from rig.compare import expected
from rig.corpus import KINDS, Message

FORMATS = ("maildir", "sdbox", "mdbox")
FOLDER = "Archive/2018"
SEEN, FLAGGED, ANSWERED = "\\Seen", "\\Flagged", "\\Answered"
SOURCE = frozenset((SEEN,))
WORK = frozenset(("$Forwarded", "work"))

MESSAGE = Message(
    folder=FOLDER, flags=SOURCE, keywords=WORK, date=1234567890,
    content=b"Return-Path: <ada@example.org>\r\n"
            b"From: Ada <ada@example.org>\r\nTo: ben@example.net\r\n"
            b"Subject: engines\r\nMessage-ID: <1@example.org>\r\n"
            b"Date: Fri, 13 Feb 2009 23:31:30 +0000\r\n\r\n"
            b"On the analytical engine.\r\n.\r\n..\r\n")


def kept(flags=SOURCE, keywords=WORK, folder=FOLDER):
    return {folder: (frozenset(flags), frozenset(keywords))}


# what a script makes of a message that comes with \Seen $Forwarded work
SCRIPTS = {
    "none": (None, kept()),
    "keep": ("keep;", kept()),
    "fileinto": ('require ["fileinto", "mailbox"]; '
                 'fileinto :create "Filed";', kept(folder="Filed")),
    "addflag": ('require "imap4flags"; addflag "\\\\Flagged"; keep;',
                kept((SEEN, FLAGGED))),
    "setflag": ('require "imap4flags"; setflag "\\\\Flagged"; keep;',
                kept((FLAGGED,), ())),
    "keep-flags": ('require "imap4flags"; keep :flags "\\\\Answered";',
                   kept((ANSWERED,), ())),
    "hasflag": ('require ["imap4flags", "fileinto", "mailbox"]; '
                'if hasflag "\\\\Seen" { fileinto :create "Known"; }',
                kept(folder="Known")),
    "two": ('require ["fileinto", "mailbox", "copy"]; '
            'fileinto :create :copy "Two"; keep;',
            {**kept(), **kept(folder="Two")}),
    "discard": ("discard;", {}),
    "default-mailbox": (
        'require ["environment", "vnd.dovecot.environment", "fileinto", '
        '"mailbox"]; if environment "vnd.dovecot.default-mailbox" '
        '"Archive/2018" { fileinto :create "Archived"; }',
        kept(folder="Archived")),
    "broken": ("this is not Sieve", kept()),
}
# these change the content
EDITING = {
    "editheader": ('require "editheader"; addheader "X-Added" "yes"; keep;',
                   b"X-Added: yes\r\n"),
    "filter": ('require "vnd.dovecot.filter"; filter "mark"; keep;',
               b"X-Filtered: yes\r\n"),
    "filter-hasflag": ('require ["vnd.dovecot.filter", "imap4flags"]; '
                       'filter "mark"; if not hasflag "\\\\Seen" { discard; }',
                       b"X-Filtered: yes\r\n"),
}


@pytest.fixture
def plugin(scratch):
    programs = scratch.path / "bin"
    programs.mkdir()
    mark = programs / "mark"
    mark.write_text("#!/bin/sh\nprintf 'X-Filtered: yes\\r\\n'\nexec cat\n")
    mark.chmod(0o755)
    made = PluginDovecot(scratch)
    made.dovecot.add_piece("SIEVE_EXTENSIONS", bin=programs)
    return made


def add_users(plugin, mail_format, scripts):
    for name, script in scripts.items():
        plugin.add_user(name, mail_format, script)
    plugin.dovecot.start()


def found_marks(dovecot, user):
    """{folder: (flags, keywords)}, and that nothing is there twice."""
    found = {}
    for folder, messages in snapshot(dovecot, user).items():
        assert len(messages) < 2, f"{user}: {folder} holds {messages}"
        for message in messages:
            assert message.date == MESSAGE.date, f"{user}: {message}"
            found[folder] = (message.flags, message.keywords)
    return found


@pytest.mark.parametrize("mail_format", FORMATS)
def test_marks_survive_scripts(plugin, mail_format):
    add_users(plugin, mail_format,
              {name: script for name, (script, _) in SCRIPTS.items()})
    for name, (_, wanted) in SCRIPTS.items():
        result = plugin.inject_message(name, MESSAGE)
        assert result.reply.startswith("250"), (name, result)
        assert result.state == "done", (name, result)
        assert {box for box, _ in result.stores} == set(wanted), name
        assert found_marks(plugin.dovecot, name) == wanted, name
        for stored in sum(snapshot(plugin.dovecot, name).values(), []):
            assert stored.digest == expected([MESSAGE])[FOLDER][0].digest
    plugin.dovecot.log.allow(r"sieve: .*(broken|line \d+)")


@pytest.mark.parametrize("mail_format", FORMATS)
def test_marks_survive_editing(plugin, mail_format):
    add_users(plugin, mail_format,
              {name: script for name, (script, _) in EDITING.items()})
    for name, (_, line) in EDITING.items():
        result = plugin.inject_message(name, MESSAGE)
        assert result.state == "done", (name, result)
        assert found_marks(plugin.dovecot, name) == kept(), name
        client = plugin.dovecot.imap(name)
        client.select(f'"{FOLDER}"')
        content = client.fetch("1", "(BODY.PEEK[])")[1][0][1]
        assert content == line + MESSAGE.content, name


@pytest.mark.parametrize("mail_format", FORMATS)
def test_content_is_the_remotes(plugin, mail_format):
    """Byte for byte, whatever it looks like, and nothing of ours in it."""
    corpus = Corpus(seed=21)
    messages = [corpus.message(kind=kind, folder=FOLDER, size=size,
                               date=1_400_000_000 + size)
                for kind in KINDS for size in (300, 200_000)]
    forged = b"X-Imapsync-Pull: v1; user=x; mac=00\r\n"
    messages.append(Message(FOLDER, forged + MESSAGE.content))
    messages.append(Message(FOLDER, b"\r\nonly a body\r\n"))
    messages.append(Message(
        FOLDER, b"Subject: smuggler\r\n\r\nx\r\n.\rMAIL FROM:<>\r\n"))
    add_users(plugin, mail_format, {"ben": "keep;"})
    for message in messages:
        assert plugin.inject_message("ben", message).state == "done", message
    # LMTP cannot carry a last line without its end
    wanted = [Message(m.folder, m.content if m.content.endswith(b"\r\n")
                      else m.content + b"\r\n", m.flags, m.keywords, m.date)
              for m in messages]
    assert_same(expected(wanted), snapshot(plugin.dovecot, "ben"))


def test_headers_of_a_filter_stay(plugin):
    """What a mail filter between us and LMTP put above our header is kept, our
    header goes."""
    add_users(plugin, "maildir", {"ben": None})
    plugin.inject("ben", MESSAGE.content, above="X-Spam: no", mailbox="INBOX")
    client = plugin.dovecot.imap("ben")
    client.select("INBOX")
    content = client.fetch("1", "(BODY.PEEK[])")[1][0][1]
    assert b"\r\nX-Spam: no\r\n" + MESSAGE.content in content
    assert b"X-Imapsync" not in content
    # the filter's mail has LMTP's headers as any other
    assert content.startswith(b"Return-Path: <sender@example.org>\r\n")


# -- history is silent

NOISY = {
    "vacation": 'require "vacation"; vacation "away";',
    "redirect": 'redirect "out@example.com";',
    "reject": 'require "reject"; reject "no";',
    "notify": ('require "enotify"; notify "mailto:out@example.com"; keep;'),
    "filter-redirect": ('require "vnd.dovecot.filter"; filter "mark"; '
                        'redirect "out@example.com";'),
    "filter-vacation": ('require ["vnd.dovecot.filter", "vacation"]; '
                        'filter "mark"; vacation "away";'),
    "edit-vacation": ('require ["editheader", "vacation"]; '
                      'addheader "X-A" "b"; vacation "away";'),
}
# these leave nothing behind when they are not silenced
CONSUMING = {"redirect", "reject", "filter-redirect"}


@pytest.mark.parametrize("mail_format", FORMATS)
def test_history_is_silent(plugin, mail_format):
    add_users(plugin, mail_format, {**NOISY, "discard": "discard;"})
    with Outside(plugin.dovecot.port("submission")) as outside:
        for name in (*NOISY, "discard"):
            result = plugin.inject_message(name, MESSAGE, "--nofx")
            assert result.state == "done", (name, result)
            assert outside.messages == [], name
            assert found_marks(plugin.dovecot, name) == kept(), name


def test_new_mail_is_not(plugin):
    """The same scripts do what they say when nofx is not set, which also shows
    that the silence above is the plugin's doing."""
    message = MESSAGE.content.replace(b"ben@", b"%s@")
    add_users(plugin, "sdbox", NOISY)
    with Outside(plugin.dovecot.port("submission")) as outside:
        for number, name in enumerate(NOISY):
            content = (message % name.encode()).replace(
                b"<1@", b"<new%d@" % number).replace(
                b"Ada <", b"Ada <%s" % name.encode())
            content = content.replace(b"\r\nTo:", b"\r\nCc: %s\r\nTo:" %
                                      name.encode())
            result = plugin.inject(name, content, mailbox=FOLDER,
                                   **{"from": f"{name}@example.org"})
            assert result.state == "done", (name, result)
            assert len(outside.messages) == number + 1, name
            assert bool(result.stores) == (name not in CONSUMING), name
        for sent in outside.messages:
            assert b"X-Imapsync" not in sent


# -- only what is in flight has power

def test_replay_is_not_stored_twice(plugin):
    add_users(plugin, "maildir", {"ben": "keep;"})
    first = plugin.inject_message("ben", MESSAGE, uid=5)
    again = plugin.inject_message("ben", MESSAGE, "--reuse", uid=5)
    assert again.reply.startswith("250") and again.stores == first.stores
    # its slot went to another message since
    plugin.inject_message("ben", MESSAGE, uid=6)
    result = plugin.inject_message("ben", MESSAGE, "--not-in-flight", uid=5)
    assert result.reply.startswith("451 4.2.0")
    assert "not in flight" in result.reply
    result = plugin.inject_message("ben", MESSAGE, "--not-in-flight", uid=7,
                                   slot=9)
    assert "not in flight" in result.reply
    assert len(snapshot(plugin.dovecot, "ben")[FOLDER]) == 2


def test_foreign_headers_have_no_power(plugin):
    """A header that is not ours, or is for somebody else: ordinary mail."""
    add_users(plugin, "maildir", {"ben": "keep;", "eve": None})
    for options in (("--forge",), ("--header-user", "eve")):
        result = plugin.inject_message("ben", MESSAGE, *options)
        assert result.reply.startswith("250"), result
        assert result.state == "entered", result
    result = plugin.inject_message("eve", MESSAGE, "--forge")
    assert result.reply.startswith("250"), result
    client = plugin.dovecot.imap("ben")
    client.select("INBOX")
    for number in "12":
        content = client.fetch(number, "(FLAGS BODY.PEEK[])")[1][0]
        assert b"X-Imapsync" not in content[1]
        # as LMTP delivers any mail
        assert content[1].startswith(b"Return-Path: <sender@example.org>\r\n")
        assert content[1].endswith(MESSAGE.content)
        assert b"Seen" not in content[0] and b"work" not in content[0]
    assert set(snapshot(plugin.dovecot, "eve")) == {"INBOX"}
    assert len(plugin.dovecot.log.lines("Header ignored")) == 3


def test_ordinary_mail_is_untouched(plugin):
    add_users(plugin, "sdbox", {"ben": "keep;"})
    plugin.dovecot.deliver("ben", MESSAGE.content)
    plugin.dovecot.deliver("ben", b"X-Imapsync-Pullover: no\r\n" +
                           MESSAGE.content)
    client = plugin.dovecot.imap("ben")
    client.select("INBOX")
    for number in "12":
        content = client.fetch(number, "(BODY.PEEK[])")[1][0][1]
        assert content.startswith(b"Return-Path:")
        assert content.endswith(MESSAGE.content)


def test_one_recipient_only(plugin):
    add_users(plugin, "maildir", {"ben": None, "eve": None})
    result = plugin.inject_message("ben", MESSAGE, also="eve")
    assert result.replies[0].startswith("451"), result
    assert "one recipient" in result.replies[0]
    # to the other it is just a mail
    assert result.replies[1].startswith("250"), result
    assert snapshot(plugin.dovecot, "ben") == {"INBOX": []}
    assert len(snapshot(plugin.dovecot, "eve")["INBOX"]) == 1


def test_many_at_once(plugin):
    """The same message in several processes: one stores it, the others are
    told to wait or find it done."""
    add_users(plugin, "mdbox", {"ben": "keep;"})
    for uid in range(1, 16):
        plugin.inject("ben", MESSAGE.content, "--enter-only", uid=uid)
        words = plugin.inject_command("ben", "--reuse", uid=uid,
                                      mailbox=FOLDER)
        jobs = [subprocess.Popen(words, stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE) for _ in range(4)]
        for job in jobs:
            job.stdin.write(MESSAGE.content)
            job.stdin.close()
        replies = [parse_injected(job.stdout.read().decode()).reply
                   for job in jobs]
        assert all(job.wait() == 0 for job in jobs)
        assert any(reply.startswith("250") for reply in replies), replies
        assert all(reply.startswith("250") or "being delivered" in reply
                   for reply in replies), replies
    assert len(snapshot(plugin.dovecot, "ben")[FOLDER]) == 15


def test_key_changes(plugin):
    """A new key file is noticed by processes that are running: each asks the
    sender to come again while it reads it."""
    add_users(plugin, "maildir", {"ben": "keep;"})
    plugin.inject_message("ben", MESSAGE, uid=1)
    plugin.new_key()
    replies = []
    for _ in range(5):
        result = plugin.inject_message("ben", MESSAGE, uid=2)
        if result.state == "done":
            break
        replies.append(result.reply)
    assert result.state == "done", result
    assert replies and all("reading header key" in reply
                           for reply in replies), replies
    assert len(snapshot(plugin.dovecot, "ben")[FOLDER]) == 2


def test_key_is_missing(plugin):
    """Somebody else's mail with such a header must get through in the end."""
    add_users(plugin, "maildir", {"ben": "keep;"})
    assert plugin.inject_message("ben", MESSAGE).state == "done"
    plugin.key.unlink()
    plugin.dovecot.log.allow("Cannot tell whether a message is ours")
    replies = [plugin.inject("ben", MESSAGE.content, "--no-header",
                             above="X-Imapsync-Pull: v1").reply[:3]
               for _ in range(6)]
    assert "250" in replies, replies
    assert plugin.dovecot.log.lines("Error: .*Cannot tell.*header.key")


def test_other_state_directory(plugin):
    """The plugin sees no in-flight file: refused for now, and said so."""
    add_users(plugin, "maildir", {"ben": None})
    state = plugin.state_dir("ben")
    words = plugin.inject_command("ben", uid=1)
    words[words.index("--state-dir") + 1] = str(plugin.dovecot.dir / "home")
    plugin.dovecot.dir.joinpath("home").chmod(0o777)
    done = subprocess.run(words, input=MESSAGE.content, capture_output=True,
                          check=True)
    assert "not in flight" in parse_injected(done.stdout.decode()).reply
    assert plugin.dovecot.log.lines(f"open.{state}/.* failed")
    assert snapshot(plugin.dovecot, "ben") == {"INBOX": []}


def test_target_is_made(plugin):
    """Without lda_mailbox_autocreate, too, and subscribed."""
    add_users(plugin, "sdbox", {"ben": "keep;"})
    name = "Работа/Müller & Söhne"
    assert plugin.inject("ben", MESSAGE.content, mailbox=name).state == "done"
    assert len(snapshot(plugin.dovecot, "ben")[name]) == 1
    client = plugin.dovecot.imap("ben")
    assert any(b"M&APw-ller" in line for line in client.lsub()[1])


@pytest.mark.parametrize("mail_format", FORMATS)
def test_over_quota(plugin, mail_format):
    """The user's own reply code, and nothing in INBOX instead."""
    plugin.dovecot.add_piece("QUOTA", bytes=10_000)
    plugin.dovecot.add_piece("QUOTA_NOT_IN_INBOX")
    add_users(plugin, mail_format, {"ben": "keep;", "eve": None})
    for user in ("ben", "eve"):
        result = plugin.inject(user, MESSAGE.content + b"x" * 20000 + b"\r\n",
                               mailbox=FOLDER)
        assert result.reply.startswith("552 5.2.2"), result
        assert result.state != "done", result
        stored = snapshot(plugin.dovecot, user)
        assert all(messages == [] for messages in stored.values()), stored
        # and when there is room, it goes in
        result = plugin.inject(user, MESSAGE.content, mailbox=FOLDER)
        assert result.state == "done", result
