"""For tests of cred-notify's auth module: a Dovecot of which only auth is
asked, a client of it, and what listens in the service's place."""

import base64
import dataclasses
import hashlib
import hmac
import os
import secrets
import shutil
import socket
import subprocess
import threading
import time

from rig import Dovecot, wait_for

SOCKET = "cred-notify-producer"

# One more database, in the order of the calls; the rig's own comes first and
# knows nobody here.
PASSDB = {
    "2.3": """
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {path}
{options}
}}
""",
    "2.4": """
passdb {name} {{
  driver = passwd-file
  passwd_file_path = {path}
  default_password_scheme = plain
{options}
}}
"""}
MASTER = {"2.3": "  master = yes\n  pass = yes",
          "2.4": "  master = yes\n  result_success = continue"}


def release(dovecot):
    said = subprocess.run(
        dovecot._command("dovecot", "--version"), check=True, text=True,
        stdout=subprocess.PIPE).stdout
    return "2.3" if said.startswith("2.3") else "2.4"


class AuthDovecot:
    """plugin: whether auth finds our module."""

    def __init__(self, scratch, name="local", plugin=True):
        self.dovecot = Dovecot(scratch, name, ours=plugin)
        self.release = release(self.dovecot)
        (self.dovecot.dir / "users").touch()
        self._databases = 0
        self.dovecot.configure(
            "protocols = imap\n"
            "auth_mechanisms = plain login cram-md5 scram-sha-256\n"
            "auth_master_user_separator = *\n")

    def add_passdb(self, users, options=""):
        """users: {name: password} or {name: (password, extra fields)}."""
        self._databases += 1
        path = self.dovecot.dir / f"passdb{self._databases}"
        lines = []
        for name, value in users.items():
            password, extra = (value, "") if isinstance(value, str) else value
            lines.append(f"{name}:{password}::::::{extra}\n")
        path.write_text("".join(lines))
        self.dovecot.configure(PASSDB[self.release].replace(
            "{{", "{").replace("}}", "}").replace("{path}", str(path)).replace(
            "{name}", f"test{self._databases}").replace("{options}", options))

    def start(self):
        self.dovecot.start()
        return self

    @property
    def path(self):
        return self.dovecot.socket(SOCKET)

    def _processes(self):
        """{pid: whether it is a worker}"""
        found = {}
        for pid in self.dovecot.pids("auth"):
            with open(f"/proc/{pid}/cmdline", "rb") as words:
                found[pid] = b"-w" in words.read().split(b"\0")
        return found

    def pid(self):
        """Of the auth process, not of its workers."""
        [pid] = [pid for pid, worker in self._processes().items()
                 if not worker]
        return pid

    def workers(self):
        return [pid for pid, worker in self._processes().items() if worker]

    def client(self):
        return AuthClient(self.dovecot.socket("auth-client"))


class AuthClient:
    """Speaks the protocol of auth's clients."""
    _last_pid = 100_000

    def __init__(self, path):
        AuthClient._last_pid += 1
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(path)
        self._lines = self._socket.makefile("rb")
        self._id = 0
        self.send(f"VERSION\t1\t1\nCPID\t{AuthClient._last_pid}\n")
        while self._lines.readline() != b"DONE\n":
            pass

    def close(self):
        self._lines.close()
        self._socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def send(self, text):
        self._socket.sendall(text.encode())

    def line(self):
        line = self._lines.readline().decode().rstrip("\n")
        if not line:
            raise EOFError("auth hung up")
        return line.split("\t")

    def request(self, mech, response=None, ip="192.0.2.1", service="imap",
                session="s1"):
        """A line of a request."""
        self._id += 1
        words = ["AUTH", str(self._id), mech, f"service={service}",
                 "lip=127.0.0.1", f"rip={ip}", "secured", "no-penalty",
                 f"session={session}"]
        if response is not None:
            words.append("resp=" + base64.b64encode(
                response.encode()).decode())
        return "\t".join(words) + "\n"

    def plain(self, user, password, **options):
        """Log in. Returns whether that worked."""
        self.send(self.request("PLAIN", f"\0{user}\0{password}", **options))
        return self.line()[0] == "OK"

    def answer(self, challenge_answer):
        """One more round of the last request: what comes back."""
        self.send(f"CONT\t{self._id}\t" + base64.b64encode(
            challenge_answer.encode()).decode() + "\n")
        return self.line()

    def cram_md5(self, user, password):
        self.send(self.request("CRAM-MD5"))
        challenge = base64.b64decode(self.line()[2])
        digest = hmac.new(password.encode(), challenge, "md5").hexdigest()
        return self.answer(f"{user} {digest}")[0] == "OK"

    def scram(self, user, password):
        login = self.scram_begin(user)
        return login is not None and self.scram_end(login, password)

    def scram_begin(self, user):
        """Until the database was asked. What scram_end() needs, None if the
        login failed already."""
        first = f"n={user},r={secrets.token_hex(8)}"
        self.send(self.request("SCRAM-SHA-256", "n,," + first))
        words = self.line()
        return (first, words) if words[0] == "CONT" else None

    def scram_end(self, login, password):
        first, words = login
        server = base64.b64decode(words[2]).decode()
        parts = dict(part.split("=", 1) for part in server.split(","))
        salted = hashlib.pbkdf2_hmac(
            "sha256", password.encode(), base64.b64decode(parts["s"]),
            int(parts["i"]))
        key = hmac.digest(salted, b"Client Key", "sha256")
        last = f"c=biws,r={parts['r']}"
        signature = hmac.digest(hashlib.sha256(key).digest(),
                                f"{first},{server},{last}".encode(), "sha256")
        proof = bytes(a ^ b for a, b in zip(key, signature))
        words = self.answer(f"{last},p={base64.b64encode(proof).decode()}")
        if words[0] == "CONT":
            words = self.answer("")
        return words[0] == "OK"

    def plain_requests(self, logins, **options):
        """What plain_many() sends."""
        return "".join(self.request("PLAIN", f"\0{user}\0{password}",
                                    session=f"m{number}", **options)
                       for number, (user, password) in enumerate(logins))

    def plain_many(self, logins, **options):
        """Pipelined. Returns how many worked."""
        logins = list(logins)
        worked, _ = self.pipeline(self.plain_requests(logins, **options),
                                  len(logins))
        return worked

    def pipeline(self, text, count):
        """Send requests while as many answers are read, each of one line and
        hardly looked at. Returns how many worked, and at what time.monotonic()
        the last of those did."""
        writer = threading.Thread(target=self.send, args=(text,))
        writer.start()
        seen, lines, worked, last = b"\n", 0, 0, None
        while lines < count:
            data = self._lines.read1(1 << 18)
            if not data:
                raise EOFError("auth hung up")
            seen = seen[-3:] + data
            lines += data.count(b"\n")
            if good := seen.count(b"\nOK\t"):
                worked, last = worked + good, time.monotonic()
        writer.join()
        return worked, last


@dataclasses.dataclass
class Record:
    word: str
    fields: dict
    line: str

    def __getattr__(self, key):
        if key.startswith("_"):
            raise AttributeError(key)
        return self.fields.get(key)


def parse(line):
    word, *fields = line.split("\t")
    return Record(word, dict(field.split("=", 1) for field in fields
                             if "=" in field), line)


class Service:
    """Listens in the service's place, and keeps what it is told.

    ack: say so after each read. reads: False is a service that hangs.
    hello: what it says first."""

    def __init__(self, path, ack=True, reads=True, hello=()):
        self.path, self._ack = path, ack
        self._hello = [f"VERSION\t{SOCKET}\t1\t1", *hello]
        self.lines, self.connections, self.acked = [], 0, 0
        self._open = []
        if os.path.exists(path):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX)
        # as a service that is stopped: the kernel takes connections
        self._listener.bind(path)
        os.chmod(path, 0o600)
        shutil.chown(path, "dovecot", "dovecot")
        self._listener.listen(8)
        self._thread = threading.Thread(target=self._accept, daemon=True)
        if reads:
            self._thread.start()

    def read_on(self):
        """A service that hung does no longer."""
        self._thread.start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            self._read(connection)

    def _read(self, connection):
        rest = b""
        connection.sendall("".join(
            line + "\n" for line in self._hello).encode())
        while True:
            try:
                data = connection.recv(1 << 16)
            except OSError:
                data = b""
            *lines, rest = (rest + data).split(b"\n")
            self.lines += [line.decode() for line in lines]
            if not data:
                return
            last = parse(self.lines[-1]) if self.lines else None
            if self._ack and last is not None and last.id is not None:
                try:
                    connection.sendall(f"ack\tid={last.id}\n".encode())
                    self.acked = int(last.id)
                except OSError:
                    return

    def kill(self):
        """As a process that is killed; its socket stays if it is the
        master's."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            connection.close()
        if self._thread.is_alive():
            self._thread.join()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.kill()

    def records(self, *words):
        """Of these kinds; by default those that say something."""
        words = words or ("login-fail", "login-ok", "dropped")
        return [record for record in map(parse, list(self.lines))
                if record.word in words]

    def wait(self, count, *words):
        """The records, once there are as many."""
        wait_for(lambda: len(self.records(*words)) >= count,
                 what=f"{count} records")
        return self.records(*words)
