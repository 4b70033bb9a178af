"""For tests of cred-notify's service: a Dovecot with auth module, service and
imap plugin, a producer that speaks its protocol, and the mail it sends."""

import base64
import email
import email.policy
import glob
import os
import secrets
import socket
import time

from cred_imap_rig import PLUGIN, plugin_settings
from cred_rig import AuthClient
from rig import local_dovecot, wait_for
from rig.system import HERE

SOCKET = "cred-notify-producer"
DAY = 24 * 60 * 60

# Three failures make a notice, at once, and a success ends it soon.
SETTINGS = {
    "cred_notify_own_networks": "",
    "cred_notify_retry_window": "0",
    "cred_notify_settle": "2 secs",
    "cred_notify_thresholds": "login=3/0s/1h credential=3/10m/2d",
    "cred_notify_retry": "1 secs",
}


def webhook_secret(scratch):
    """The path of a file with a key, which the service's user may read."""
    path = scratch.path / "secret"
    path.write_text("whsec_" + base64.b64encode(b"x" * 32).decode() + "\n")
    path.chmod(0o644)
    return path


class CredDovecot:
    """settings: of the service, over the ones above."""

    def __init__(self, scratch, **settings):
        self._sessions = 0
        self.dovecot = local_dovecot(scratch)
        cert, key = scratch.ca().issue("local")
        self.dovecot.add_piece("TLS", cert=cert, key=key)
        self.dovecot.configure("protocols = imap lmtp cred-notify")
        self.dovecot.configure(PLUGIN[HERE.release],
                               settings=plugin_settings())
        for name, value in {**SETTINGS, **settings}.items():
            self.dovecot.configure(f"{name} = {value}")

    def start(self):
        self.dovecot.start()
        # the master has the sockets before the service runs
        wait_for(lambda: self.pids(), what="the service")
        self.stat()
        return self

    def pids(self):
        return self.dovecot.pids("cred-notify")

    def kill(self):
        """As a crash does; the master starts another."""
        [pid] = self.pids()
        self.dovecot.kill(pid)
        self.dovecot.log.allow("cred-notify.* killed with signal 9")
        self.wait_back(pid)

    def wait_back(self, *gone, timeout=90):
        """Until a service that is none of those answers. One that dies before
        the master has heard from it is left alone for 2, 4, ... 60 seconds, and
        started at the next connection after that, not by itself: somebody has
        to knock."""
        self.dovecot.log.allow(
            "service\\(cred-notify\\).*command startup failed, throttling")
        wait_for(lambda: self.dovecot.doveadm("cred-notify", "stat").code == 0
                 and self.pids() not in ([], *([pid] for pid in gone)),
                 timeout=timeout, what="another service")

    def command(self, *words, code=0):
        done = self.dovecot.doveadm("cred-notify", *words, json=True)
        assert done.code == code, (done.code, done.err)
        return done.rows

    def list(self, *words):
        return self.command("list", *words)

    def stat(self):
        return {row["name"]: int(row["value"]) if row["value"].isdigit()
                else row["value"] for row in self.command("stat")}

    def wait_stat(self, **values):
        """Until those are so, or more."""
        wait_for(lambda: all(self.stat()[name.replace("_", "-")] >= value
                             for name, value in values.items()),
                 what=f"{values}, not {self.stat()}")

    def wait_list(self, count, *words):
        wait_for(lambda: len(self.list(*words)) == count,
                 what=f"{count} notices, not {self.list(*words)}")
        return self.list(*words)

    def fail(self, user, times=1):
        """Log in with a wrong password, and without the penalty that would
        make us wait."""
        with AuthClient(self.dovecot.socket("auth-client")) as client:
            for _ in range(times):
                self._sessions += 1
                # a good login from elsewhere would say nothing of this one
                assert not client.plain(user, "wrong", ip="127.0.0.1",
                                        session=f"s{self._sessions}")

    def wait_userdb(self, user, holds):
        """Dovecot looks at its file of users once in a second."""
        def knows():
            done = self.dovecot.doveadm("user", user)
            return done.code == 0 and \
                ("imapsync_credential_notifications" in done.out) == holds
        wait_for(knows, what=f"what userdb says of {user}")

    def mails(self, user):
        """Subjects in the user's INBOX."""
        home = self.dovecot.users[user].home
        found = []
        for path in glob.glob(f"{home}/Maildir/*/*"):
            if os.path.basename(os.path.dirname(path)) in ("new", "cur"):
                with open(path, "rb") as file:
                    found.append(email.message_from_binary_file(
                        file, policy=email.policy.default))
        return found

    def wait_mails(self, user, count):
        wait_for(lambda: len(self.mails(user)) >= count,
                 what=f"{count} mails to {user}")
        mails = self.mails(user)
        assert len(mails) == count, [mail["Subject"] for mail in mails]
        return mails

    def producer(self, name="imapsync-pull"):
        return Producer(self.dovecot.socket(SOCKET), name)


def escape(value):
    for byte, escaped in ("\1", "\0011"), ("\t", "\1t"), ("\n", "\1n"):
        value = value.replace(byte, escaped)
    return value


class Producer:
    """Sends records, and again what was not acknowledged."""

    def __init__(self, path, name):
        self.path, self.name = path, name
        self.start = secrets.token_hex(8)
        self.last_id, self.acked = 0, 0
        # lines by id: all of them, and those to be sent again
        self.sent, self.unacked, self._socket = {}, {}, None
        self.connect()

    def connect(self):
        self.close()
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(30)
        self._socket.connect(self.path)
        self._rest = b""
        lines = [f"VERSION\t{SOCKET}\t1\t0",
                 f"producer\tname={self.name}\tstart={self.start}",
                 *self.unacked.values()]
        self._socket.sendall("".join(line + "\n" for line in lines).encode())

    def close(self):
        if self._socket is not None:
            self._socket.close()
        self._socket = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def send(self, word, age=0, **fields):
        """age: so many seconds ago."""
        self.last_id += 1
        fields = {"id": self.last_id, "time": int(time.time()) - age, **fields}
        line = "\t".join([word, *(f"{key}={escape(str(value))}"
                                  for key, value in fields.items())])
        self.sent[self.last_id] = self.unacked[self.last_id] = line
        try:
            self._socket.sendall(line.encode() + b"\n")
        except OSError:
            # it is sent again
            pass

    def read(self):
        """Returns FALSE if the service hung up."""
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionError:
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, *args = line.decode().split("\t")
            if word == "ack":
                self.acked = int(dict(a.split("=") for a in args)["id"])
        self.unacked = {number: line for number, line in self.unacked.items()
                        if number > self.acked}
        return data != b""

    def wait_acked(self):
        """Until everything is, whatever that takes."""
        deadline = time.monotonic() + 60
        while self.unacked:
            assert time.monotonic() < deadline, "not acknowledged"
            if not self.read():
                self.connect()

    def trouble(self, account, **fields):
        """Enough failures for a notice, the last just now."""
        fields = {"class": "credential", "since": int(time.time()) - 3600,
                  **fields}
        for age in 2400, 1200, 0:
            self.send("account-fail", age, account=account, **fields)
        self.wait_acked()
