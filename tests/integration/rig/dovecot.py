"""One private Dovecot: its files, its processes, its doors."""

import base64
import contextlib
import dataclasses
import functools
import imaplib
import json
import os
import shutil
import signal
import smtplib
import subprocess
import urllib.request

from . import processes
from .log import Log
from .scratch import (MAIL_UID, free_port, sanitized_programs,
                      watched_programs)
from .system import HERE
from .wait import wait_for

PLUGIN = "usr/lib/dovecot/modules/lib95_imapsync_pull_plugin.so"
SETTINGS = "usr/lib/dovecot/modules/settings/libimapsync_pull_settings.so"
CONF = "etc/dovecot/conf.d/90-imapsync-pull.conf"

PATHS = {"maildir": "~/Maildir", "sdbox": "~/sdbox", "mdbox": "~/mdbox"}


@dataclasses.dataclass
class DoveadmResult:
    """What a doveadm command said."""
    code: int
    out: str
    err: str

    @property
    def rows(self):
        """The rows of a command that was run with json=True."""
        return json.loads(self.out) if self.out.strip() else []


@dataclasses.dataclass
class User:
    name: str
    password: str
    uid: int
    home: str
    mail_format: str
    # more userdb fields
    fields: tuple
    mail_path: str
    says_uid: bool


class Dovecot:
    """Made by remote_dovecot() and local_dovecot(); add users, then start()."""

    def __init__(self, scratch, name, ours=False, mail_fsync="optimized"):
        self.name, self.ours, self.scratch = name, ours, scratch
        # move_to() changes it
        self.system = HERE
        self.dir = scratch.path / name
        self.dir.mkdir()
        (self.dir / "home").mkdir()
        self.ports = {"imap_port": free_port(), "imaps_port": free_port()}
        self.api_key = f"key-of-{name}"
        self.log = Log(self.dir / "dovecot.log")
        self.users = {}
        # what it is configured with: functions of a dialect
        self._parts = []
        self._master = None
        scratch.instances.append(self)
        self.add_piece("BASE", dir=self.dir, name=name, mail_fsync=mail_fsync,
                       **self.ports)

    # -- before it starts

    def configure(self, text, **values):
        """Add to the configuration what is the same in every Dovecot. Needs
        restart() if it runs already."""
        whole = text.format(**values) if values else text
        self._parts.append(lambda _dialect: whole)

    def add_piece(self, piece, **values):
        """Add a piece of the dialect (dialect_24.py) to the configuration."""
        self._parts.append(
            lambda dialect: getattr(dialect, piece).format(**values))

    def configuration(self):
        """All of it, in the dialect of the Dovecot that is to read it."""
        return "\n".join(part(self.system.dialect) for part in self._parts)

    def write_configuration(self):
        if self.ours and self._staged(CONF).exists():
            shutil.copy(self._staged(CONF), self.dir)
        self.conf.write_text(self.configuration())

    def _staged(self, path):
        return self.system.stage / path

    def move_to(self, system):
        """From its next start, another system's Dovecot serves the same
        mail, state and accounts."""
        self.stop()
        self.system = system
        self._write_users()

    def add_user(self, name, password="secret", uid=MAIL_UID,
                 mail_format="maildir", path=None, fields=(), says_uid=True):
        """A mail user, also while Dovecot runs. All users share one uid
        unless one is given. path: of the mail, if the format's usual one will
        not do; fields: more userdb fields ("quota_rule=..."); says_uid: whether
        userdb has the uid, or mail_uid is to."""
        home = self.dir / "home" / name
        home.mkdir()
        os.chown(home, uid, uid)
        self.users[name] = User(name, password, uid, str(home), mail_format,
                                tuple(fields), path or PATHS[mail_format],
                                says_uid)
        self._write_users()
        return self.users[name]

    def remove_user(self, name):
        """From the user database; the mail stays."""
        del self.users[name]
        self._write_users()

    def set_password(self, name, password):
        """Change a password; Dovecot sees it at the next login."""
        self.users[name].password = password
        self._write_users()

    def set_format(self, name, mail_format):
        """The user's mail was converted. Needs restart()."""
        user = self.users[name]
        user.mail_format, user.mail_path = mail_format, PATHS[mail_format]
        self._write_users()

    def _write_users(self):
        path, new = self.dir / "users", self.dir / "users.new"
        with open(new, "w", encoding="utf-8") as file:
            for user in self.users.values():
                extra = " ".join(
                    f"userdb_{field}" for field in (
                        *self.system.dialect.mail_fields(user.mail_format,
                                                         user.mail_path),
                        *user.fields))
                uid = user.uid if user.says_uid else ""
                file.write(f"{user.name}:{user.password}:{uid}:{uid}::"
                           f"{user.home}::{extra}\n")
        if path.exists():
            # passwd-file compares size and time: never the same twice
            stat = path.stat()
            os.utime(new, (stat.st_atime, stat.st_mtime + 2))
        new.rename(path)

    def sieve(self, user, script):
        """The user's active Sieve script."""
        home, uid = self.users[user].home, self.users[user].uid
        path = os.path.join(home, ".dovecot.sieve")
        with open(path, "w", encoding="utf-8") as file:
            file.write(script)
        os.chown(path, uid, uid)

    # -- its life

    @property
    def conf(self):
        return self.dir / "dovecot.conf"

    def _command(self, *words):
        words = [*map(str, words)]
        if self.ours:
            return self.scratch.inside(words, self.system)
        return words

    def start(self):
        self.write_configuration()
        # it ends with us, however we end
        self._master = subprocess.Popen(
            self._command("setpriv", "--pdeathsig", "TERM",
                          "dovecot", "-F", "-c", self.conf),
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True)
        wait_for(self._ready, what=f"{self.name} to answer")
        return self

    def _ready(self):
        if self._master.poll() is not None:
            raise SystemExit(f"{self.name} did not start:\n"
                             f"{self._master.stderr.read()}{self.log.text()}")
        imaplib.IMAP4("127.0.0.1", self.port("imap")).shutdown()
        return True

    def stop(self, patience=10):
        """Stop it, and whatever it started."""
        if self._master is None:
            return
        below = processes.descendants(self._master.pid)
        self.log.end_begins()
        self._master.terminate()
        # Asked by the master, they end at once. The master itself and its log
        # process then linger for seconds, with nobody left to wait for: once
        # the log process sleeps, it has written all.
        try:
            wait_for(lambda: not processes.living(below, but="log"), patience)
        except AssertionError:
            pass
        self._wait_for_log(below)
        # what the master has started since, in place of what was killed
        below |= processes.descendants(self._master.pid)
        self._master.kill()
        self._master.wait()
        for pid in processes.living(below):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._master.stderr.close()
        self._master = None
        self.log.end_is_over()

    @staticmethod
    def _wait_for_log(below):
        for pid, program in below.items():
            if program == "log":
                wait_for(functools.partial(processes.asleep, pid),
                         what="the log to be written")

    def restart(self):
        self.stop()
        return self.start()

    # -- its doors

    def port(self, service):
        return self.ports[f"{service}_port"]

    def socket(self, name):
        """Path of a unix socket under base_dir."""
        return str(self.dir / "run" / name)

    def imap(self, user, tls=False):
        """A logged in imaplib connection."""
        if tls:
            client = imaplib.IMAP4_SSL("localhost", self.port("imaps"))
        else:
            client = imaplib.IMAP4("127.0.0.1", self.port("imap"))
        client.login(user, self.users[user].password)
        return client

    def lmtp(self):
        """An LMTP connection (smtplib)."""
        return smtplib.LMTP(self.socket("lmtp"))

    def deliver(self, user, content, sender="sender@example.org"):
        """Hand one message to LMTP; raises if it is refused."""
        with self.lmtp() as client:
            client.sendmail(sender, [user], content)

    def doveadm_command(self, *args):
        """The words of a doveadm command line that talks to this Dovecot."""
        return self._command("doveadm", "-c", self.conf, *args)

    def doveadm(self, *args, stdin=None, json=False, timeout=300):
        """Run doveadm to its end."""
        words = (("-f", "json") if json else ()) + args
        done = subprocess.run(
            self.doveadm_command(*words), input=stdin or "", text=True,
            capture_output=True, timeout=timeout)
        return DoveadmResult(done.returncode, done.stdout, done.stderr)

    def api(self, command, **parameters):
        """One command over doveadm's HTTP API. Returns the rows; raises
        RuntimeError with what the API answered if it is an error."""
        body = json.dumps([[command, parameters, "tag"]]).encode()
        key = base64.b64encode(self.api_key.encode()).decode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port('http')}/doveadm/v1", body,
            {"Authorization": f"X-Dovecot-API {key}",
             "Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=300) as answer:
            kind, value, _tag = json.load(answer)[0]
        if kind != "doveadmResponse":
            raise RuntimeError(f"{command}: {value}")
        return value

    # -- its processes

    def pids(self, program=None):
        """Processes below the master, all or of one program."""
        return [pid for pid, name
                in processes.descendants(self._master.pid).items()
                if program in (None, name)]

    def kill(self, pid, signum=signal.SIGKILL):
        """Signal a process of this Dovecot, and no other."""
        if pid not in self.pids():
            raise ValueError(f"process {pid} is not one of {self.name}'s")
        os.kill(pid, signum)


def remote_dovecot(scratch, name="remote", capability=None, tls=True,
                   **options):
    """A stock IMAP server, as somebody else's: none of our files."""
    instance = Dovecot(scratch, name, **options)
    instance.add_piece("REMOTE")
    if tls:
        cert, key = scratch.ca().issue(name)
        instance.add_piece("TLS", cert=cert, key=key)
    if capability:
        instance.add_piece("CAPABILITY", capability=capability)
    return instance


def local_dovecot(scratch, name="local", plugin=True, schedule=False,
                  **options):
    """The server the mail comes to, with our files. Without plugin the lmtp
    process does not load ours. Nothing is pulled but when a test says so, or
    with schedule."""
    instance = Dovecot(scratch, name, ours=True, **options)
    instance.ports.update(http_port=free_port(), submission_port=free_port())
    instance.add_piece("LOCAL", api_key=instance.api_key,
                       http_port=instance.port("http"),
                       submission_port=instance.port("submission"))
    if plugin and (HERE.stage / PLUGIN).exists():
        instance.add_piece("LMTP_PLUGIN")
    if (HERE.stage / SETTINGS).exists():
        instance.add_piece("IMAPSYNC", ca=scratch.ca().cert,
                           conf=instance.dir / os.path.basename(CONF),
                           schedule="yes" if schedule else "no")
    if schedule:
        # a run may begin while Dovecot is about to end
        instance.log.allow("userdb lookup.*: Disconnected unexpectedly")
    if sanitized_programs() or watched_programs():
        instance.add_piece("SANITIZED")
    return instance
