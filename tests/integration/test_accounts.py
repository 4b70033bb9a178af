"""Accounts, keys and commands: what doveadm, the service and its files do."""

import contextlib
import json
import os
import pty
import re
import signal
import stat
import subprocess
import threading

import pytest

from rig import Corpus, fill_maildir, wait_for
from scripted_imap import RawServer

CANARY = "c4n4ry-Gr\u00fc\u00dfe \"\\{5}"
HOST = ("host=imap.example.org", "login=anna@example.org")
USAGE, DATAERR, NOUSER, NOTFOUND, TEMPFAIL, NOPERM, CONFIG = (
    64, 65, 67, 68, 75, 77, 78)


@pytest.fixture
def ready(local):
    """A local server that runs, with the users anna and bert."""
    local.add_user("anna")
    local.add_user("bert")
    return local.start()


@pytest.fixture
def silent():
    """A server that takes connections and says nothing."""
    with RawServer(lambda conn: conn.stall()) as server:
        yield server


def account(server, command, *args, user="anna", **options):
    return server.doveadm("imapsync", "account", command, "-u", user, *args,
                          **options)


def must(result):
    assert result.code == 0, result.err or result.out
    return result


def add(server, name="work", *settings, user="anna", secret=CANARY):
    return must(account(server, "set", name, *(settings or HOST), user=user,
                        stdin=secret + "\n", json=True)).rows[0]


def add_silent(server, silent, name="work", **options):
    return add(server, name, "host=127.0.0.1", f"port={silent.port}",
               "security=none", "login=anna", **options)


def shown(server, name="work", user="anna"):
    rows = must(account(server, "show", name, user=user, json=True)).rows
    return {row["key"]: row["value"] for row in rows}


def listed(server, *args):
    rows = must(server.doveadm("imapsync", "account", "list",
                               *(args or ("-A",)), json=True)).rows
    return [(row["user"], row["account"]) for row in rows]


def service_dir(server):
    return server.dir / "state" / "imapsync-pull"


def start_run(server, *args):
    return subprocess.Popen(
        server.doveadm_command("-f", "json", "imapsync", "run", *args),
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True)


def finish(process, timeout=30):
    out, err = process.communicate(timeout=timeout)
    return process.returncode, json.loads(out) if out.strip() else [], err


def workers(server):
    return server.pids("imapsync-pull-worker")


def running(server, silent, count=1):
    """Wait until so many workers have reached the silent server."""
    wait_for(lambda: len(silent.connections) >= count,
             what=f"{count} connections")
    wait_for(lambda: len(workers(server)) >= count)


# -- set, list, show, delete

def test_life_of_an_account(ready):
    assert listed(ready) == []
    assert add(ready) == {"user": "anna", "account": "work",
                          "status": "created"}
    add(ready, "home", "host=h.example.org", "login=x", user="bert")
    assert listed(ready) == [("anna", "work"), ("bert", "home")]
    assert listed(ready, "-u", "b*") == [("bert", "home")]
    assert listed(ready, "-u", "anna") == [("anna", "work")]
    row = must(ready.doveadm("imapsync", "account", "list", "-u", "anna",
                             json=True)).rows[0]
    assert row == {"user": "anna", "account": "work",
                   "host": "imap.example.org", "port": 993,
                   "security": "tls", "login": "anna@example.org",
                   "preset": "inbox", "enabled": "yes", "owner": "anna"}
    values = shown(ready)
    assert values["host"] == "imap.example.org"
    assert values["folders"] == "INBOX,\\Sent"
    assert values["secret"] == "sealed with key 1"
    assert re.fullmatch("[0-9a-f]{32}", values["source_id"])

    assert account(ready, "delete", "work", json=True).rows == [
        {"user": "anna", "account": "work", "status": "deleted"}]
    assert listed(ready) == [("bert", "home")]
    for command in ("show", "delete", "test", "folders"):
        result = account(ready, command, "work")
        assert result.code == NOTFOUND, command
        assert "anna has no account work" in result.err


def test_set_changes_only_what_is_given(ready):
    add(ready, "work", *HOST, "max_size=5M", "label=First")
    before = shown(ready)
    result = account(ready, "set", "work", "label=Second", json=True)
    assert result.rows[0]["status"] == "changed"
    assert shown(ready) == {**before, "label": "Second"}
    result = account(ready, "set", "work", "label=Second", json=True)
    assert result.rows[0]["status"] == "unchanged"
    must(account(ready, "set", "work", "label=", "max_size="))
    assert shown(ready) == {**before, "label": "work", "max_size": "100M"}


def test_source_id_is_the_mailbox(ready):
    add(ready)
    first = shown(ready)["source_id"]
    must(account(ready, "set", "work", "port=143", "security=starttls"))
    assert shown(ready)["source_id"] == first
    add(ready, "work", "login=other")
    second = shown(ready)["source_id"]
    assert second != first
    add(ready, "work", "host=imap.example.com")
    assert shown(ready)["source_id"] not in (first, second)


def test_since_now_is_a_time(ready):
    add(ready, "work", *HOST, "since=now")
    since = shown(ready)["since"]
    assert re.fullmatch(r"\d{10}|\d{4}-\d\d-\d\d", since)
    must(account(ready, "set", "work", "label=x"))
    assert shown(ready)["since"] == since


BAD_SETTINGS = (
    (("hots=x", *HOST), "hots"),
    (("host=h.example.org",), "login"),
    ((*HOST, "port=0"), "port"),
    ((*HOST, "label"), "key=value"),
    ((*HOST, "host=twice"), "twice"),
    ((*HOST, "source_id=" + 32 * "0"), "source_id"),
    ((*HOST, "after=delete"), "not supported yet"),
    ((*HOST, "label=a\nb"), "label"),
)


def test_set_checks_first(ready):
    """Nothing is asked for, nothing is stored."""
    for settings, words in BAD_SETTINGS:
        result = account(ready, "set", "work", *settings,
                         stdin=CANARY + "\n")
        assert result.code == DATAERR, (settings, result)
        assert words in result.err and "anna/work" in result.err, result
    assert listed(ready) == []


def test_names_of_accounts(ready):
    for name in ("a/b", "..", ".x", "-x", "", "a b", "x" * 65, "\u00e4"):
        result = account(ready, "set", "--", name, *HOST,
                         stdin=CANARY + "\n")
        assert result.code in (DATAERR, USAGE), (name, result)
    assert listed(ready) == []


def test_dry_run(ready):
    result = account(ready, "set", "--dry-run", "work", *HOST, json=True)
    assert result.rows[0]["status"] == "would-create"
    assert listed(ready) == []
    result = account(ready, "set", "--dry-run", "work", "host=h.example.org")
    assert result.code == DATAERR
    add(ready)
    result = account(ready, "set", "--dry-run", "work", "label=x", json=True)
    assert result.rows[0]["status"] == "would-change"
    assert shown(ready)["label"] == "work"


def test_usage(ready):
    for args in (["account", "set", "work"], ["account", "set", "-u", "anna"],
                 ["account", "show", "-u", "anna"], ["account", "list"],
                 ["run"], ["run", "-u", "anna", "-A"],
                 ["account", "show", "-u", "anna", "work", "more"],
                 ["account", "list", "--nonsense"]):
        result = ready.doveadm("imapsync", *args)
        assert result.code == USAGE, (args, result)


def test_formats(ready):
    add(ready)
    for form in ("tab", "flow", "table", "pager", "json"):
        result = must(ready.doveadm("-f", form, "imapsync", "account", "list",
                                    "-A"))
        assert "imap.example.org" in result.out, form


# -- secrets

def read_terminal(fd, seen, stop):
    while not stop.is_set():
        try:
            data = os.read(fd, 1024)
        except OSError:
            return
        if not data:
            return
        seen.append(data)


def on_terminal(server, answers, *args):
    """Run doveadm on a terminal; answer each prompt. Returns the exit code
    and what was to be seen."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        server.doveadm_command("imapsync", *args),
        stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)))
    os.close(slave)
    seen, stop = [], threading.Event()
    reader = threading.Thread(target=read_terminal, args=(master, seen, stop))
    reader.start()
    for prompt, words in answers:
        wait_for(lambda: prompt in b"".join(seen).decode(), what=prompt)
        # echo is off once the prompt is there and the terminal says so
        os.write(master, words.encode() + b"\n")
    code = process.wait(30)
    stop.set()
    reader.join(5)
    os.close(master)
    return code, b"".join(seen).decode(errors="replace")


def test_secret_from_a_terminal(ready):
    ask, again = "Password of anna/work: ", "Once more: "
    code, seen = on_terminal(
        ready, [(ask, "one"), (again, "two")], "account", "set",
        "-u", "anna", "work", *HOST)
    assert (code, "differ" in seen) == (DATAERR, True), seen
    assert listed(ready) == []
    code, seen = on_terminal(
        ready, [(ask, "s3cr3t"), (again, "s3cr3t")],
        "account", "set", "-u", "anna", "work", *HOST)
    assert code == 0, seen
    assert listed(ready) == [("anna", "work")]
    # what is wrong is said before a password is typed for nothing
    code, seen = on_terminal(ready, [], "account", "set", "-u", "anna",
                             "more", "hots=x")
    assert (code, "Password" in seen) == (DATAERR, False), seen
    # nothing is asked for if nothing new is needed
    code, seen = on_terminal(ready, [], "account", "set", "-u", "anna",
                             "work", "label=x")
    assert (code, "Password" in seen) == (0, False), seen


def test_secret_from_standard_input_or_file(ready, tmp_path):
    path = tmp_path / "secret"
    for given, code in (("s3cr3t", 0), ("s3cr3t\n", 0), ("s3cr3t\r\n", 0),
                        ("s3cr3t\nmore\n", 0), ("", DATAERR),
                        ("\n", DATAERR)):
        path.write_text(given, newline="")
        for option, stdin in ((), given), (("--secret-file", path), ""), (
                ("--secret-file", "-"), given):
            result = account(ready, "set", *option, "work", *HOST,
                             stdin=stdin)
            assert result.code == code, (given, option, result)
            if code == 0:
                must(account(ready, "delete", "work"))
    assert listed(ready) == []


def test_secret_file_that_cannot_be_read(ready, tmp_path):
    result = account(ready, "set", "--secret-file", tmp_path / "none",
                     "work", *HOST)
    assert (result.code, "No such file" in result.err) == (DATAERR, True)
    (tmp_path / "long").write_text("x" * 100_000)
    result = account(ready, "set", "--secret-file", tmp_path / "long",
                     "work", *HOST)
    assert (result.code, "too long" in result.err) == (DATAERR, True)


def test_old_secret_goes_to_no_new_host(ready):
    add(ready)
    for change in (["host=evil.example.net"], ["login=other"],
                   ["master_user=root"]):
        result = account(ready, "set", "work", *change)
        assert result.code == DATAERR, change
    assert shown(ready)["host"] == "imap.example.org"
    must(account(ready, "set", "work", "host=h.example.org",
                 stdin="another\n"))
    assert shown(ready)["host"] == "h.example.org"


def written_files(server):
    for directory, _dirs, names in os.walk(server.dir):
        for name in names:
            path = os.path.join(directory, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                yield path


def test_secret_is_nowhere(ready, silent):
    """Not in a file, a log, an answer, a command line or an environment."""
    secret = "c4n4ryXYZ123"
    add_silent(ready, silent, secret=secret)
    run = start_run(ready, "-u", "anna", "work")
    running(ready, silent)
    for pid in ready.pids():
        for kind in ("cmdline", "environ"):
            with open(f"/proc/{pid}/{kind}", "rb") as file:
                assert secret.encode() not in file.read(), (pid, kind)
    out = must(account(ready, "show", "work")).out
    out += must(ready.doveadm("imapsync", "account", "list", "-A")).out
    run.send_signal(signal.SIGTERM)
    code, rows, err = finish(run)
    assert code == TEMPFAIL
    assert secret not in out + json.dumps(rows) + err
    for path in written_files(ready):
        with open(path, "rb") as file:
            assert secret.encode() not in file.read(), path


# -- users

def test_user_names_are_userdbs(scratch, local):
    local.add_piece("LOWER_NAMES")
    local.add_user("anna")
    local.start()
    add(local, user="ANNA")
    assert listed(local) == [("anna", "work")]
    assert shown(local, user="Anna")["user"] == "anna"
    assert listed(local, "-u", "AnnA") == [("anna", "work")]
    must(account(local, "delete", "work", user="ANNA"))


def test_unknown_user(ready):
    result = account(ready, "set", "work", *HOST, user="nobody",
                     stdin=CANARY + "\n")
    assert (result.code, "nobody does not exist" in result.err) == (
        NOUSER, True)
    assert ready.doveadm("imapsync", "account", "list", "-u",
                         "nobody").code == NOUSER
    assert ready.doveadm("imapsync", "run", "-u", "nobody").code == NOUSER


def test_lost_user_keeps_accounts_until_deleted(ready):
    add(ready, user="bert")
    ready.remove_user("bert")
    assert listed(ready, "-u", "bert") == [("bert", "work")]
    must(account(ready, "delete", "work", user="bert"))
    # auth looks at the file once a second
    wait_for(lambda: ready.doveadm("imapsync", "account", "list", "-u",
                                   "bert").code == NOUSER)


def test_userdb_that_fails_for_now(ready):
    """That is not "no such user"."""
    ready.log.allow("Auth USER lookup failed")
    ready.add_user("carol", fields=["tempfail=yes"])
    result = account(ready, "set", "work", *HOST, user="carol",
                     stdin=CANARY + "\n")
    assert (result.code, "try again later" in result.err) == (
        TEMPFAIL, True), result.err


# -- policy

FORBIDDEN = (
    (("host=imap.example.org", "port=25"), "imapsync_pull_allowed_ports"),
    (("host=imap.example.org", "security=none"),
     "imapsync_pull_allow_cleartext"),
    (("host=imap.example.org", "tls_verify=no"),
     "imapsync_pull_allow_no_verify"),
    (("host=10.0.0.1",), "imapsync_pull_allowed_networks"),
    (("host=::ffff:10.0.0.1",), "imapsync_pull_allowed_networks"),
)


def test_policy(local):
    local.configure("imapsync_pull_allowed_ports = 143 993\n")
    local.add_user("anna")
    local.start()
    for settings, words in FORBIDDEN:
        result = account(local, "set", "work", "login=x", *settings,
                         stdin=CANARY + "\n")
        assert result.code == NOPERM, (settings, result)
        assert words in result.err, (settings, result)
    assert listed(local) == []


def test_policy_may_become_stricter(ready, silent):
    add_silent(ready, silent)
    ready.configure("imapsync_pull_allow_cleartext =\n")
    ready.restart()
    code, rows, _err = finish(start_run(ready, "-u", "anna"))
    assert (code, rows[0]["class"]) == (NOPERM, "policy")
    assert not silent.connections


# -- keys

def test_key_files(ready):
    # when it answers, it has made them
    assert listed(ready) == []
    directory = service_dir(ready)
    owner = os.stat(directory).st_uid
    assert owner != 0
    modes = {path.name: (oct(stat.S_IMODE(path.stat().st_mode)),
                         path.stat().st_uid)
             for path in [directory, *directory.iterdir()]
             if path.suffix not in (".sqlite-shm", ".sqlite-wal")}
    assert modes == {
        "imapsync-pull": ("0o711", owner),
        "reports.sqlite": ("0o600", owner),
        "schedule.lock": ("0o600", owner),
        "schedule.sqlite": ("0o600", owner),
        "master.key": ("0o600", owner),
        "header.key": ("0o600", owner),
    }
    before = (directory / "master.key").read_bytes()
    ready.restart()
    assert listed(ready) == []
    assert (directory / "master.key").read_bytes() == before


def damage_mode(path):
    path.chmod(0o644)


def damage_owner(path):
    os.chown(path, 5000, 5000)


def damage_empty(path):
    path.write_bytes(b"")


def damage_truncated(path):
    path.write_bytes(path.read_bytes()[:40])


def damage_missing(path):
    path.unlink()


@pytest.mark.parametrize("damage, words", [
    (damage_mode, "chmod 0600"),
    (damage_owner, "belongs to uid|Permission denied"),
    (damage_empty, "is empty"),
    (damage_truncated, "truncated"),
    (damage_missing, "is missing"),
])
def test_damaged_key(ready, silent, damage, words):
    """Nothing runs, nothing is written over, and it says what to do; with the
    key back in its place, all is well."""
    add_silent(ready, silent)
    accounts = (service_dir(ready) / "accounts").read_bytes()
    path = service_dir(ready) / "master.key"
    saved, owner = path.read_bytes(), path.stat().st_uid
    ready.stop()
    damage(path)
    damaged = path.read_bytes() if path.exists() else None
    ready.log.allow("master.key")
    ready.start()

    code, rows, _err = finish(start_run(ready, "-u", "anna"))
    assert (code, rows[0]["class"]) == (CONFIG, "config")
    assert re.search(words, rows[0]["error"]), rows
    result = account(ready, "set", "more", *HOST, stdin=CANARY + "\n")
    assert (result.code, "master.key" in result.err) == (CONFIG, True)
    assert listed(ready) == [("anna", "work")]
    assert (path.read_bytes() if path.exists() else None) == damaged
    assert (service_dir(ready) / "accounts").read_bytes() == accounts
    assert not silent.connections

    path.write_bytes(saved)
    path.chmod(0o600)
    os.chown(path, owner, owner)
    # without a restart
    run = start_run(ready, "-u", "anna")
    running(ready, silent)
    run.send_signal(signal.SIGTERM)
    assert finish(run)[0] == TEMPFAIL


def test_lost_key_without_accounts(ready):
    """Then nothing is lost with it."""
    assert listed(ready) == []
    path = service_dir(ready) / "master.key"
    path.unlink()
    ready.restart()
    add(ready)
    assert path.exists()


def test_stolen_record(ready, silent):
    """A sealed secret opens for nobody else."""
    add_silent(ready, silent, "work")
    add_silent(ready, silent, "other", user="bert")
    path = service_dir(ready) / "accounts"
    ready.stop()
    text = path.read_text()
    secrets = re.findall(r"secret=(v1:1:[A-Za-z0-9+/=]+)", text)
    assert len(secrets) == 2
    swapped = text.replace(secrets[0], "@").replace(
        secrets[1], secrets[0]).replace("@", secrets[1])
    path.write_text(swapped)
    ready.log.allow("stored password")
    ready.start()
    code, rows, _err = finish(start_run(ready, "-A"))
    assert code == CONFIG
    assert [row["class"] for row in rows] == ["config", "config"]
    assert "belongs to another" in rows[0]["error"]
    assert not silent.connections


def test_broken_record_stops_no_other(ready):
    ready.log.allow("anna/(work|other): the stored account is unusable")
    add(ready, "work")
    add(ready, "other")
    path = service_dir(ready) / "accounts"
    ready.stop()
    text = path.read_text()
    path.write_text(text.replace("host=imap.example.org", "hots=x", 1))
    ready.start()
    result = ready.doveadm("imapsync", "account", "list", "-A", json=True)
    assert result.code == CONFIG
    assert len(result.rows) == 1
    assert "unusable" in result.err


def test_rows_without_end(ready):
    """Who reads more slowly than rows can be made gets all of them, be they
    more than the service would keep for him."""
    add(ready, "work", *HOST, f"owner={'x' * 6000}")
    ready.stop()
    path = service_dir(ready) / "accounts"
    key, value = path.read_text().splitlines()
    names = [f"work{number}" for number in range(7000)]
    path.write_text("".join(f"{key.replace('work', name)}\n{value}\n"
                            for name in names))
    ready.start()
    rows = must(account(ready, "list", json=True)).rows
    assert sorted(row["account"] for row in rows) == sorted(names)


# -- runs

def test_interrupt_stops_the_run(ready, silent):
    add_silent(ready, silent)
    for signum in (signal.SIGINT, signal.SIGTERM):
        run = start_run(ready, "-u", "anna")
        running(ready, silent)
        run.send_signal(signum)
        code, _rows, err = finish(run, timeout=5)
        assert (code, "stopped" in err) == (TEMPFAIL, True)
        wait_for(lambda: not workers(ready), what="the worker to end")
        silent.connections.clear()


def test_interrupt_is_said_beside_rows(ready, silent):
    add(ready, "bad", "host=127.0.0.1", "port=1", "security=none", "login=x")
    add_silent(ready, silent)
    run = start_run(ready, "-u", "anna")
    running(ready, silent)
    wait_for(lambda: len(workers(ready)) == 1, what="the other one to fail")
    run.send_signal(signal.SIGTERM)
    code, rows, err = finish(run)
    assert ([row["account"] for row in rows], code) == (["bad"], TEMPFAIL)
    assert "stopped" in err


def test_progress_is_for_terminals(ready, remote):
    """One live line, gone before the rows."""
    fill_maildir(remote, "anna", Corpus(seed=3).messages(50))
    remote.start()
    add(ready, "work", "host=localhost", f"port={remote.port('imaps')}",
        "login=anna", "preset=backup", secret="secret")
    code, seen = on_terminal(ready, [], "run", "-u", "anna")
    assert code == 0, seen
    assert "\r\033[Kanna/work: " in seen
    assert seen.index("\r\033[Kuser") > seen.rindex("anna/work: ")
    result = must(ready.doveadm("imapsync", "run", "-u", "anna", "--full"))
    assert "\r" not in result.out + result.err


def test_killed_asker_stops_the_run(ready, silent):
    add_silent(ready, silent)
    run = start_run(ready, "-u", "anna")
    running(ready, silent)
    run.kill()
    finish(run)
    wait_for(lambda: not workers(ready), what="the worker to end")


def test_killed_worker(ready, silent):
    ready.log.allow("imapsync-pull-worker.*killed with signal 9")
    add_silent(ready, silent)
    run = start_run(ready, "-u", "anna")
    running(ready, silent)
    ready.kill(workers(ready)[0])
    code, rows, _err = finish(run)
    assert (code, rows[0]["status"], rows[0]["class"]) == (
        TEMPFAIL, "failed", "local")
    assert "died" in rows[0]["error"]


def test_killed_service(ready, silent):
    ready.log.allow("imapsync-pull.*killed with signal 9")
    add_silent(ready, silent)
    run = start_run(ready, "-u", "anna")
    running(ready, silent)
    ready.kill(ready.pids("imapsync-pull")[0])
    code, _rows, err = finish(run)
    assert (code, "hung up" in err) == (TEMPFAIL, True)
    wait_for(lambda: not workers(ready), what="the worker to end")
    wait_for(lambda: listed(ready) == [("anna", "work")])


def test_delete_stops_the_run(ready, silent):
    add_silent(ready, silent)
    run = start_run(ready, "-u", "anna")
    running(ready, silent)
    must(account(ready, "delete", "work"))
    code, rows, _err = finish(run, timeout=5)
    assert (code, rows[0]["class"]) == (TEMPFAIL, "stopped")


def test_no_more_than_max_runs(local, silent):
    local.configure("imapsync_pull_max_runs = 2\n")
    local.add_user("anna")
    local.start()
    for name in ("a", "b", "c", "d"):
        add_silent(local, silent, name)
    run = start_run(local, "-u", "anna")
    running(local, silent, 2)
    # somebody who looks at the screen does not wait for them
    with RawServer(lambda conn: conn.send(b"* BYE full\r\n")) as refusing:
        add_silent(local, refusing, "test")
        assert account(local, "test", "test").code == TEMPFAIL
    assert len(silent.connections) == 2
    local.log.allow("killed with signal 9")
    for pid in workers(local):
        # the test's own may be ending
        with contextlib.suppress(ValueError, ProcessLookupError):
            local.kill(pid)
    wait_for(lambda: len(silent.connections) == 4, what="the other two")
    run.send_signal(signal.SIGTERM)
    assert finish(run)[0] == TEMPFAIL


def test_disabled(ready, silent):
    add_silent(ready, silent)
    must(account(ready, "set", "work", "enabled=no"))
    assert finish(start_run(ready, "-A"))[:2] == (0, [])
    assert finish(start_run(ready, "-u", "anna"))[0] == NOTFOUND
    code, rows, _err = finish(start_run(ready, "-u", "anna", "work"))
    assert (code, "not enabled" in rows[0]["error"]) == (CONFIG, True)
    assert not silent.connections


def test_one_failed_of_two(ready, silent):
    """The other one's row is there, too; together it is "try again"."""
    add_silent(ready, silent, "good")
    add(ready, "bad", "host=127.0.0.1", "port=1", "security=none", "login=x")
    code, rows, _err = finish(start_run(ready, "-u", "anna", "bad"))
    assert (code, rows[0]["class"]) == (TEMPFAIL, "network"), rows
    must(account(ready, "set", "good", "enabled=no"))
    code, rows, _err = finish(start_run(ready, "-A"))
    assert [row["account"] for row in rows] == ["bad"]


# -- not running

def test_not_running(scratch, local):
    local.add_piece("NO_IMAPSYNC")
    local.add_user("anna")
    local.start()
    for args in (["account", "list", "-A"], ["run", "-A"]):
        result = local.doveadm("imapsync", *args)
        assert result.code == TEMPFAIL
        assert "is it in protocols?" in result.err
    row, = local.api("imapsyncRun", allUsers=True)
    assert (row["status"], row["class"]) == ("failed", "local")


# -- HTTP API

def test_api(ready, silent):
    row, = ready.api("imapsyncAccountSet", user="anna", name="work",
                     settings=[*HOST], secretFile=CANARY)
    assert row == {"user": "anna", "account": "work", "status": "created",
                   "class": "ok", "error": ""}
    row, = ready.api("imapsyncAccountList", allUsers=True)
    assert (row["port"], row["status"], row["class"]) == (993, "ok", "ok")
    assert ready.api("imapsyncAccountList", user="bert") == []
    rows = ready.api("imapsyncAccountShow", user="anna", name="work")
    assert {"key": "host", "value": "imap.example.org", "status": "ok",
            "class": "ok", "error": ""} in rows
    row, = ready.api("imapsyncAccountDelete", user="anna", name="work")
    assert row["status"] == "deleted"


def test_api_errors_are_rows(ready):
    for command, parameters, words in [
            ("imapsyncAccountSet", {"user": "anna", "name": "work",
                                    "settings": ["hots=x"],
                                    "secretFile": CANARY}, "hots"),
            ("imapsyncAccountSet", {"user": "anna", "name": "work",
                                    "settings": [*HOST]}, "password"),
            ("imapsyncAccountSet", {"user": "nobody", "name": "work",
                                    "settings": [*HOST],
                                    "secretFile": CANARY}, "not exist"),
            ("imapsyncAccountSet", {}, "give user and name"),
            ("imapsyncAccountShow", {"user": "anna", "name": "work"},
             "no account work"),
            ("imapsyncAccountDelete", {"user": "anna", "name": "work"},
             "no account work"),
            ("imapsyncAccountFolders", {"user": "anna"}, "no accounts"),
            ("imapsyncRun", {"user": "anna"}, "no accounts"),
            ("imapsyncRun", {}, "either user or"),
            ("imapsyncRun", {"allUsers": False}, "either user or")]:
        row, = ready.api(command, **parameters)
        assert row["status"] == "failed", (command, row)
        assert row["class"] == "config", (command, row)
        assert words in row["error"], (command, row)
    # the process that answered lives
    assert ready.api("imapsyncAccountList", allUsers=True) == []


def test_api_runs(ready):
    with RawServer(lambda conn: conn.send(b"* BYE full\r\n")) as refusing:
        add_silent(ready, refusing)
        row, = ready.api("imapsyncRun", user="anna", name="work")
        assert row["status"] == "failed"
        assert (row["user"], row["account"]) == ("anna", "work")
        assert row["new"] == 0
        rows = ready.api("imapsyncAccountTest", user="anna", name="work")
        assert rows[-1]["result"] == "failed"
        row, = ready.api("imapsyncAccountFolders", user="anna", name="work")
        assert row["status"] == "failed" and row["error"]


# -- settings

def doveconf(server, *args):
    command = server.scratch.inside(["doveconf", "-c", server.conf, *args])
    return subprocess.run(command, capture_output=True, text=True)


def test_settings_have_defaults(ready):
    out = doveconf(ready, "-a").stdout
    for line in ("imapsync_pull_max_runs = 10",
                 "imapsync_pull_max_runs_per_host = 4",
                 "imapsync_pull_connections_per_mailbox = 2",
                 "imapsync_pull_watch_processes = 1",
                 "imapsync_pull_wake_on_login = no",
                 "imapsync_pull_state_dir = "
                 f"{ready.system.dialect.HOME}/.imapsync-pull",
                 "imapsync_pull_lmtp = lmtp",
                 *ready.system.dialect.DEFAULT_SERVICES):
        assert line in out, line
    assert ready.pids("imapsync-pull")


@pytest.mark.parametrize("line, words", [
    ("imapsync_pull_maxruns = 1", "Unknown setting"),
    ("imapsync_pull_max_runs = 0", "imapsync_pull_max_runs"),
    ("imapsync_pull_max_runs_per_host = 0", "max_runs_per_host"),
    ("imapsync_pull_connections_per_mailbox = 0", "per_mailbox"),
    ("imapsync_pull_watch_processes = 17", "watch_processes"),
    ("imapsync_pull_lmtp_connections = 17", "lmtp_connections"),
    ("imapsync_pull_allowed_ports = 99999", "imapsync_pull_allowed_ports"),
    ("imapsync_pull_allowed_networks = 1.2.3.4/33", "allowed_networks"),
    ("imapsync_pull_fsync = maybe", "imapsync_pull_fsync"),
    ("imapsync_pull_key_file =", "imapsync_pull_key_file"),
])
def test_settings_are_checked(local, line, words):
    local.configure(line + "\n")
    local.write_configuration()
    done = doveconf(local, "-n")
    assert (done.returncode != 0, words in done.stderr) == (True, True)


# -- what a worker says

def test_test_and_folders(ready, remote):
    remote.start()
    remote.imap("anna").create("Sent")
    add(ready, "work", "host=localhost", f"port={remote.port('imaps')}",
        "login=anna", secret="secret")
    rows = must(account(ready, "test", "work", json=True)).rows
    assert [(row["step"], row["result"]) for row in rows] == [
        (step, "ok") for step in ("dns", "tcp", "tls", "login", "list")]
    rows = must(account(ready, "folders", "work", json=True)).rows
    inbox, = [row for row in rows if row["remote"] == "INBOX"]
    assert (inbox["local"], inbox["selected"]) == ("INBOX", "yes")
    sent, = [row for row in rows if row["remote"] == "Sent"]
    assert (sent["special_use"], sent["selected"]) == ("\\Sent", "yes")


def test_wrong_password(ready, remote):
    remote.start()
    add(ready, "work", "host=localhost", f"port={remote.port('imaps')}",
        "login=anna", secret="wrong")
    result = account(ready, "test", "work", json=True)
    assert result.code == NOPERM
    assert (result.rows[-1]["step"], result.rows[-1]["class"]) == (
        "login", "credential")
    code, rows, _err = finish(start_run(ready, "-u", "anna"))
    assert (code, rows[0]["class"]) == (NOPERM, "credential")
