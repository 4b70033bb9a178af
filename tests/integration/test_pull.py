"""Whole pulls: what is on a remote server is here afterwards, once, as it was
there, and what changes there changes here."""

import pytest

from pull_rig import (EX_TEMPFAIL, FORMATS, PLAIN, Account, add,
                      count, expunge, merged, only, recent, selected, store)
from rig import (Corpus, assert_same, differences, fill_maildir,
                 remote_dovecot, snapshot)
from rig.corpus import KINDS, Message

# the second run of an account without news: LIST with STATUS, and no more
IDLE_BYTES = 6000


def every_kind(corpus):
    return [corpus.message(kind=kind, date=1_500_000_000 + 1000 * number)
            for number, kind in enumerate(KINDS)]


@pytest.fixture
def pair(remote, local):
    """Both servers running, anna's sample mail on the remote one."""
    def make(messages=None, mail_format="maildir", **keys):
        fill_maildir(remote, "anna", Corpus(seed=3).messages(60)
                     if messages is None else messages)
        local.add_user("bob", mail_format=mail_format)
        remote.start()
        local.start()
        keys.setdefault("preset", "backup")
        return Account(local, "bob", remote, **keys)
    return make


def assert_equal(remote, account, **options):
    assert_same(snapshot(remote, "anna"), account.snapshot(), **options)


# Everything

@pytest.mark.parametrize("mail_format", FORMATS)
def test_everything_arrives(pair, remote, mail_format):
    """Place, flags, keywords, date and content of every message; and a
    second run has nothing to do and hardly asks."""
    corpus = Corpus(seed=11)
    messages = corpus.messages(580) + every_kind(corpus)
    account = pair(messages, mail_format)
    run = account.run()
    assert run.counts("new", "direct", "lmtp", "failed") == \
        (len(messages), len(messages), 0, 0)
    assert_equal(remote, account)
    assert account.idle_run().bytes < IDLE_BYTES
    assert_equal(remote, account)


@pytest.mark.parametrize("mail_format", [
    "mdbox", pytest.param("maildir", marks=pytest.mark.soak),
    pytest.param("sdbox", marks=pytest.mark.soak)])
def test_twenty_thousand_messages(pair, remote, mail_format):
    messages = Corpus(seed=12).messages(20_000)
    account = pair(messages, mail_format)
    assert account.run().new == 20_000
    assert_equal(remote, account)
    assert account.idle_run().bytes < IDLE_BYTES


@pytest.mark.parametrize("fsync", ["auto", "batch", "storage"])
def test_fsync_modes(pair, local, remote, fsync):
    local.configure(f"imapsync_pull_fsync = {fsync}\n")
    account = pair()
    account.run()
    assert_equal(remote, account)


def test_empty_account(pair, remote):
    account = pair([])
    assert account.run().new == 0
    assert_equal(remote, account)
    add(remote, "anna", Corpus().message())
    assert account.run().new == 1
    assert_equal(remote, account)


# News

@pytest.mark.parametrize("capability", [None, PLAIN],
                         ids=["extensions", "plain"])
@pytest.mark.parametrize("mail_format", FORMATS)
def test_news(scratch, local, mail_format, capability):
    """What changes remotely changes here, whatever the server can tell of
    it: new mail, flags, keywords."""
    remote = remote_dovecot(scratch, capability=capability)
    remote.add_user("anna")
    corpus = Corpus(seed=4)
    fill_maildir(remote, "anna", corpus.messages(80))
    local.add_user("bob", mail_format=mail_format)
    remote.start()
    local.start()
    account = Account(local, "bob", remote, preset="backup", deliver="lmtp")
    assert account.run().new == 80
    assert_equal(remote, account)
    account.idle_run()

    add(remote, "anna", corpus.message("INBOX"), corpus.message("Sent"),
        corpus.message("New/日本"), corpus.message("INBOX"))
    run = account.run()
    assert run.counts("new", "lmtp", "direct", "flags") == (4, 2, 2, 0)
    assert_equal(remote, account)

    store(remote, "anna", "INBOX", "1", "FLAGS", "\\Answered \\Draft")
    store(remote, "anna", "INBOX", "3", "FLAGS", "once")
    store(remote, "anna", "Sent", "2", "FLAGS", "$MyOwn other")
    assert account.run().counts("new", "flags") == (0, 3)
    assert_equal(remote, account)
    store(remote, "anna", "Sent", "2", "-FLAGS", "$MyOwn")
    store(remote, "anna", "INBOX", "3", "FLAGS", "")
    assert account.run().counts("new", "flags") == (0, 2)
    assert_equal(remote, account)
    # what came by LMTP is followed too
    store(remote, "anna", "INBOX", "*", "FLAGS", "\\Draft late")
    assert account.run().counts("new", "flags") == (0, 1)
    assert_equal(remote, account)
    account.idle_run()


def test_local_marks_stay(pair, local, remote):
    """Only what changed remotely is changed here."""
    corpus = Corpus(seed=5)
    account = pair([corpus.message(flags=["\\Seen"], keywords=["old"])
                    for _ in range(3)])
    account.run()
    store(local, "bob", "INBOX", "1", "FLAGS", "\\Flagged mine")
    store(local, "bob", "INBOX", "2", "FLAGS", "")
    before = account.snapshot()
    account.idle_run()
    assert_same(before, account.snapshot())
    store(remote, "anna", "INBOX", "1", "+FLAGS", "\\Answered theirs")
    assert account.run().flags == 1
    first, second, _ = account.snapshot()["INBOX"]
    assert first.flags == {"\\Flagged", "\\Answered"}
    assert first.keywords == {"mine", "theirs"}
    assert not second.flags and not second.keywords


@pytest.mark.parametrize("mode,wanted", [
    ("initial", {"\\Seen"}), ("none", set())])
def test_flags_not_followed(pair, remote, mode, wanted):
    account = pair([Corpus().message(flags=["\\Seen"], keywords=[])],
                   flags=mode)
    account.run()
    store(remote, "anna", "INBOX", "1", "FLAGS", "\\Flagged $Label1")
    assert account.run().flags == 0
    message, = account.snapshot()["INBOX"]
    assert message.flags == wanted and not message.keywords


# What is deleted

@pytest.mark.parametrize("mail_format", FORMATS)
def test_mirror(pair, remote, mail_format):
    """A backup loses what the remote lost: but not much at once."""
    corpus = Corpus(seed=6, folders={"INBOX": 1, "Archive": 1})
    account = pair(corpus.messages(80), mail_format)
    account.run()
    expunge(remote, "anna", "Archive", "2:4")
    expunge(remote, "anna", "INBOX", "1")
    assert account.run().counts("new", "expunged") == (0, 4)
    assert_equal(remote, account)

    before = account.snapshot()
    expunge(remote, "anna", "Archive", "5:30")
    add(remote, "anna", corpus.message("Archive"))
    for new in (1, 0):
        # and it stays so until somebody decides
        run = account.run(code=None)
        assert run.code == EX_TEMPFAIL, str(run)
        assert run.counts("status", "class", "new", "expunged") == \
            ("partial", "folder", new, 0)
        assert "Archive" in run.error and "guard_percent" in run.error
    assert_same(merged(before, {"Archive": snapshot(
        remote, "anna")["Archive"][-1:]}), account.snapshot())

    account.change(guard_percent=100)
    assert account.run().expunged == 26
    assert_equal(remote, account)
    account.idle_run()


def test_mirror_of_nothing(pair, remote):
    """A remote that is suddenly empty is a fault until the opposite is
    said."""
    account = pair([Corpus(seed=n).message() for n in range(3)])
    account.run()
    before = account.snapshot()
    expunge(remote, "anna", "INBOX", "1:*")
    run = account.run(code=None)
    assert run.code == EX_TEMPFAIL, str(run)
    assert "guard_percent" in run.error
    assert_same(before, account.snapshot())


def test_keep(pair, remote):
    account = pair(Corpus(seed=6).messages(40), expunge="keep")
    account.run()
    before = account.snapshot()
    expunge(remote, "anna", "INBOX", "1:3")
    account.idle_run()
    assert_same(before, account.snapshot())


@pytest.mark.parametrize("mail_format", FORMATS)
def test_local_deletes_and_moves_are_the_users(pair, local, remote,
                                               mail_format):
    """What was pulled and then deleted or moved here is not pulled again."""
    corpus = Corpus(seed=7, folders={"INBOX": 1, "Archive": 1})
    account = pair(corpus.messages(30), mail_format)
    account.run()
    with selected(local, "bob") as client:
        client.create("Elsewhere")
        client.uid("MOVE", "2:4", "Elsewhere")
    expunge(local, "bob", "INBOX", "5:7")
    expunge(local, "bob", "Archive", "*")
    before = account.snapshot()
    account.idle_run()
    assert account.run("--full").new == 0
    add(remote, "anna", corpus.message("Archive"), corpus.message("INBOX"))
    assert account.run().new == 2
    after = account.snapshot()
    after["Archive"].pop()
    after["INBOX"].pop()
    assert_same(before, after)


def test_mail_of_the_users_own_stays(pair, local):
    """What was here before and what others put here is left alone."""
    mine = Corpus(seed=8, folders={"INBOX": 1, "Archive/2019": 1}).messages(10)
    corpus = Corpus(seed=9)
    account = pair(corpus.messages(40))
    add(local, "bob", *mine)
    before = account.snapshot()
    assert account.run().new == 40
    assert count(account.snapshot()) == 50
    assert not [line for line in differences(before, account.snapshot())
                if "missing" in line or " is " in line]


# UIDVALIDITY

@pytest.mark.parametrize("mail_format", FORMATS)
def test_new_uidvalidity(pair, remote, mail_format):
    """A remote folder made anew with the same mail: nothing comes twice."""
    corpus = Corpus(seed=13, folders={"INBOX": 1, "Lists/a": 2})
    messages = corpus.messages(60)
    account = pair(messages, mail_format)
    account.run()
    client = remote.imap("anna")
    client.delete("Lists/a")
    client.logout()
    moved = [message for message in messages if message.folder == "Lists/a"]
    new = corpus.message("Lists/a")
    add(remote, "anna", *moved[5:], new, *moved[:5])
    assert account.run().new == 1
    assert_equal(remote, account, order=False)
    # and it is followed under its new name
    store(remote, "anna", "Lists/a", "1:2", "FLAGS", "\\Flagged again")
    assert account.run().counts("new", "flags") == (0, 2)
    assert_equal(remote, account, order=False)
    account.idle_run()


# Presets

def test_preset_inbox(pair, remote):
    """INBOX and Sent, a year; a longer initial_age brings the rest."""
    corpus = Corpus(seed=14)
    messages = [corpus.message(folder, date=recent(days))
                for folder in ("INBOX", "Sent", "Archive", "Drafts")
                for days in (700, 500, 300, 100, 1)]
    account = pair(messages, preset="inbox")
    wanted = only(snapshot(remote, "anna"), "INBOX", "Sent")
    newer = {name: found[2:] for name, found in wanted.items()}
    assert account.run().new == 6
    assert_same(newer, account.snapshot())
    account.idle_run()
    account.change(initial_age="600d")
    assert account.run().new == 2
    account.change(initial_age="0")
    assert account.run().new == 2
    assert_same(wanted, account.snapshot(), order=False)
    account.idle_run()


def test_preset_combine(pair, remote):
    corpus = Corpus(seed=15)
    account = pair([corpus.message(folder, date=recent(10))
                    for folder in ("INBOX", "Sent", "Archive") * 3],
                   preset="combine", subfolder="Old/GMX")
    assert account.run().new == 6
    assert_same(only(snapshot(remote, "anna"), "INBOX", "Sent"),
                account.snapshot(),
                folder_map={"INBOX": "Old/GMX/INBOX", "Sent": "Old/GMX/Sent"})
    # what is new goes the same way
    add(remote, "anna", corpus.message("INBOX", date=recent(0)))
    assert account.run().lmtp == 1
    assert_same(only(snapshot(remote, "anna"), "INBOX", "Sent"),
                account.snapshot(),
                folder_map={"INBOX": "Old/GMX/INBOX", "Sent": "Old/GMX/Sent"})


def test_preset_migrate(pair, remote):
    """All folders, whatever their age; nothing is mirrored."""
    account = pair(preset="migrate")
    account.run()
    assert_equal(remote, account)
    before = account.snapshot()
    expunge(remote, "anna", "INBOX", "1:2")
    account.idle_run()
    assert_same(before, account.snapshot())


# Choosing folders and messages

FOLDERS = ("INBOX", "Sent", "Archive/2019", "Archive/2020", "Lists/dovecot",
           "Проекты/Отчёты", "Spam & Co")


def one_each():
    corpus = Corpus(seed=16)
    return [corpus.message(folder) for folder in FOLDERS for _ in range(2)]


@pytest.mark.parametrize("keys,wanted", [
    ({"folders": "INBOX,Archive/*"},
     {"INBOX": "INBOX", "Archive/2019": "Archive/2019",
      "Archive/2020": "Archive/2020"}),
    ({"exclude": "Archive/2019,Проекты/*,/L.*/,\\Sent"},
     {name: name for name in ("INBOX", "Archive/2020", "Spam & Co")}),
    ({"folders": "INBOX,Проекты/Отчёты,Spam & Co",
      "folder_map": "Проекты/Отчёты=Reports/Ünï,Spam & Co=Junk"},
     {"INBOX": "INBOX", "Проекты/Отчёты": "Reports/Ünï",
      "Spam & Co": "Junk"}),
    ({"subfolder": "Backup"},
     {name: f"Backup/{name}" for name in FOLDERS}),
], ids=["folders", "exclude", "folder_map", "subfolder"])
def test_folder_choice(pair, remote, keys, wanted):
    account = pair(one_each(), **keys)
    assert account.run().new == 2 * len(wanted)
    assert_same(only(snapshot(remote, "anna"), *wanted), account.snapshot(),
                folder_map=wanted)
    account.idle_run()


@pytest.mark.parametrize("capability", [None, PLAIN],
                         ids=["extensions", "plain"])
def test_subscribed_only(scratch, local, capability):
    remote = remote_dovecot(scratch, capability=capability)
    remote.add_user("anna")
    fill_maildir(remote, "anna", one_each())
    local.add_user("bob")
    remote.start()
    local.start()
    client = remote.imap("anna")
    for name in ("Archive/2019", '"Lists/dovecot"', "Sent"):
        client.unsubscribe(name)
    client.logout()
    account = Account(local, "bob", remote, preset="backup",
                      subscribed_only="yes")
    account.run()
    assert_same(only(snapshot(remote, "anna"), "INBOX", "Archive/2020",
                     "Проекты/Отчёты", "Spam & Co"), account.snapshot())


def test_folders_are_listed(pair, local):
    """doveadm imapsync account folders: what goes where, and what not."""
    account = pair(one_each(), exclude="Archive/2019")
    done = local.doveadm("imapsync", "account", "folders", "-u", "bob",
                         account.name, json=True)
    assert done.code == 0, done
    rows = {row["local"]: row for row in done.rows}
    assert rows["INBOX"]["messages"] == 2
    assert rows["Sent"]["special_use"] == "\\Sent"
    assert {name: row["selected"] for name, row in rows.items()
            if name in FOLDERS} == {
                name: "no" if name == "Archive/2019" else "yes"
                for name in FOLDERS}
    assert rows["Проекты/Отчёты"]["remote"], rows


@pytest.mark.parametrize("mail_format", ["maildir", "mdbox"])
def test_max_size(pair, remote, mail_format):
    """What is too large is left out, and comes when the limit is raised."""
    corpus = Corpus(seed=17)
    sizes = (100, 50_000, 300, 120_000)
    account = pair([corpus.message(kind="plain", size=size)
                    for size in sizes], mail_format, max_size="40K")
    run = account.run()
    assert run.counts("new", "skipped", "failed") == (2, 2, 0)
    account.idle_run()
    account.change(max_size="100K")
    assert account.run().new == 1
    account.change(max_size="0")
    assert account.run().new == 1
    assert_equal(remote, account, order=False)
    account.idle_run()


def test_select_unseen(pair, remote):
    """Read mail is left out until it is marked unread; unread mail that is
    read later stays."""
    corpus = Corpus(seed=18)
    account = pair([corpus.message(flags=flags, keywords=[])
                    for flags in ((), ["\\Seen"], ["\\Flagged"], ["\\Seen"])],
                   select="unseen")
    assert account.run().new == 2
    wanted = snapshot(remote, "anna")["INBOX"]
    assert_same({"INBOX": [wanted[0], wanted[2]]}, account.snapshot())
    store(remote, "anna", "INBOX", "1,3", "+FLAGS", "\\Seen")
    assert account.run().counts("new", "flags") == (0, 2)
    store(remote, "anna", "INBOX", "2", "-FLAGS", "\\Seen")
    assert account.run().new == 1
    wanted = snapshot(remote, "anna")["INBOX"]
    assert_same({"INBOX": wanted[:3]}, account.snapshot(), order=False)
    # also where flags are of no interest otherwise
    account.change(flags="initial")
    store(remote, "anna", "INBOX", "4", "-FLAGS", "\\Seen")
    assert account.run().new == 1
    account.idle_run()


def test_deleted_messages_are_not_pulled(pair, remote):
    """\\Deleted is neither pulled nor copied; taken back, the mail comes."""
    corpus = Corpus(seed=19)
    account = pair([corpus.message(flags=[], keywords=[]) for _ in range(3)])
    store(remote, "anna", "INBOX", "2", "+FLAGS", "\\Deleted")
    assert account.run().new == 2
    store(remote, "anna", "INBOX", "1", "+FLAGS", "\\Deleted")
    account.run()
    assert all(not message.flags for message in account.snapshot()["INBOX"])
    store(remote, "anna", "INBOX", "1:3", "-FLAGS", "\\Deleted")
    assert account.run().new == 1
    assert_equal(remote, account, order=False)


def test_history_skip(pair, remote):
    """Only what comes from now on."""
    corpus = Corpus(seed=20)
    account = pair(one_each(), history="skip", deliver="lmtp")
    assert account.run().new == 0
    add(remote, "anna", corpus.message("INBOX"), corpus.message("Sent"))
    assert account.run().counts("new", "lmtp", "direct") == (2, 1, 1)
    wanted = snapshot(remote, "anna")
    assert_same({"INBOX": wanted["INBOX"][-1:], "Sent": wanted["Sent"][-1:]},
                account.snapshot())
    account.idle_run()


def test_since(pair, remote):
    corpus = Corpus(seed=20)
    days = [1_577_836_800 + n * 86400 for n in (-2, -1, 0, 1)]
    account = pair([corpus.message(date=day) for day in days],
                   since="2020-01-01")
    account.run()
    assert_same({"INBOX": snapshot(remote, "anna")["INBOX"][2:]},
                account.snapshot())


# Ways to run

def test_dry_run_changes_nothing(pair, remote):
    account = pair(deliver="lmtp")
    before = account.snapshot()
    run = account.run("--dry-run")
    assert run.counts("new", "direct") == (60, 60)
    assert_same(before, account.snapshot(), ignore_empty=False)
    assert account.run().new == 60
    add(remote, "anna", Corpus(seed=99).message())
    store(remote, "anna", "Sent", "1", "FLAGS", "\\Flagged dry")
    expunge(remote, "anna", "Lists/dovecot", "1")
    before = account.snapshot()
    run = account.run("--dry-run")
    assert run.counts("new", "lmtp", "flags", "expunged") == (1, 1, 1, 1)
    assert_same(before, account.snapshot(), ignore_empty=False)
    run = account.run()
    assert run.counts("new", "lmtp", "flags", "expunged") == (1, 1, 1, 1)
    assert_equal(remote, account)


def test_full_run_looks_at_everything(pair, remote):
    account = pair()
    account.run()
    idle = account.idle_run()
    full = account.run("--full")
    assert full.counts("new", "flags", "expunged") == (0, 0, 0)
    assert full.bytes > idle.bytes + 60 * 20
    assert_equal(remote, account)


def test_all_users(pair, local, remote):
    """-A: one that fails is told, and stops no other."""
    for name in ("carol", "dave", "erin"):
        local.add_user(name, mail_format="sdbox")
    account = pair(Corpus(seed=21).messages(20))
    carol = Account(local, "carol", remote, preset="backup")
    Account(local, "dave", remote, secret="wrong", preset="backup")
    Account(local, "erin", remote, preset="backup", enabled="no")
    local.log.allow("dave")
    done = local.doveadm("imapsync", "run", "-A", json=True)
    rows = {row["user"]: row for row in done.rows}
    assert {user: (row["status"], row["new"]) for user, row in rows.items()
            } == {"bob": ("ok", 20), "carol": ("ok", 20),
                  "dave": ("failed", 0)}, done
    assert rows["dave"]["class"] == "credential"
    assert done.code == EX_TEMPFAIL, done
    assert_equal(remote, account)
    assert_equal(remote, carol)


def test_two_accounts_of_a_user(pair, local, remote):
    """Each has its own state; the same folders hold the mail of both."""
    account = pair(Corpus(seed=22).messages(20))
    remote.add_user("other")
    add(remote, "other", *Corpus(seed=23).messages(15))
    other = Account(local, "bob", remote, login="other", name="other",
                    preset="backup")
    account.run()
    assert other.run().new == 15
    account.idle_run()
    other.idle_run()
    assert_same(merged(snapshot(remote, "anna"), snapshot(remote, "other")),
                account.snapshot(), order=False)


def test_a_run_at_a_time(pair, local):
    """Whoever comes second while a run is under way gets its result, or is
    told; nothing comes twice."""
    import subprocess
    account = pair(Corpus(seed=24).messages(300))
    words = local.doveadm_command(*account.run_words())
    runs = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True,
                             stderr=subprocess.STDOUT) for _ in range(3)]
    said = [run.communicate(timeout=60)[0] for run in runs]
    assert all(run.returncode in (0, EX_TEMPFAIL) for run in runs), said
    assert any(run.returncode == 0 for run in runs), said
    assert count(account.snapshot()) == 300
    account.idle_run()


def test_over_the_api(pair, local, remote):
    """The HTTP API answers with the same row."""
    account = pair(Corpus(seed=25).messages(10))
    row, = local.api("imapsyncRun", user="bob", name=account.name)
    assert (row["status"], row["class"], row["error"]) == ("ok", "ok", "")
    assert int(row["new"]) == 10, row
    assert_equal(remote, account)


# TLS

@pytest.mark.parametrize("security,port", [("tls", "imaps"),
                                           ("starttls", "imap")])
def test_tls(pair, local, remote, security, port):
    """With a certificate of an authority that only our configuration
    knows."""
    account = pair(Corpus(seed=26).messages(30))
    account.change(host="localhost", port=remote.port(port),
                   security=security)
    account.run()
    assert_equal(remote, account)
    login = remote.system.dialect.LOGGED_IN.format(user="anna")
    assert remote.log.lines(f"{login}.*TLS")
    done = local.doveadm("imapsync", "account", "test", "-u", "bob",
                         account.name, json=True)
    assert [(row["step"], row["result"]) for row in done.rows] == [
        (step, "ok") for step in ("dns", "tcp", "tls", "login", "list")], done


def test_home_behind_a_symlink(pair, local, remote):
    """/home -> /srv/home, as administrators do it."""
    account = pair(Corpus(seed=27).messages(5))
    (local.dir / "home").rename(local.dir / "elsewhere")
    (local.dir / "home").symlink_to("elsewhere")
    account.run()
    assert_equal(remote, account)
    account.idle_run()


def test_message_that_looks_like_a_protocol(pair, remote):
    """Content that is commands, answers, or headers of ours."""
    bodies = [b"* 1 FETCH (UID 9 BODY[] {3}\r\nabc)\r\na1 OK done\r\n",
              b".\r\nMAIL FROM:<x@example.org>\r\nRCPT TO:<bob>\r\nDATA\r\n",
              b"\r.\r\n\n.\n\r\n.\r\n..\r\n", b"no end of line", b"",
              b"\r\n\r\n"]
    messages = [Message("INBOX" if n % 2 else "Archive",
                        b"Subject: x\r\nX-Imapsync-Pull: v=1; fake\r\n\r\n" +
                        body.replace(b"\n", b"\r\n").replace(
                            b"\r\r\n", b"\r\n"))
                for n, body in enumerate(bodies)]
    account = pair(messages)
    account.run()
    assert_equal(remote, account)
