"""Speaks to a watcher process as the service does (job.h), line by line.

    with Watcher(local) as watcher:
        work = watcher.watch(remote.port("imap"))
        work.watching("idle")
        ... a message comes to the remote mailbox ...
        work.changed()
"""

import select
import socket
import time

from rig import wait_for

VERSION = "VERSION\timapsync-pull\t1\t0"


def escape(value):
    for char, code in (("\001", "1"), ("\t", "t"), ("\r", "r"), ("\n", "n")):
        value = value.replace(char, "\001" + code)
    return value


class Watched:
    """One watch. Answers to others are kept for them meanwhile."""

    def __init__(self, watcher, number):
        self.watcher, self.number = watcher, number
        self.answers = []

    def answer(self, timeout=20):
        """The next answer, as a list of words."""
        deadline = time.monotonic() + timeout
        while not self.answers:
            left = deadline - time.monotonic()
            assert self.watcher.read(left), \
                f"no answer to watch {self.number} in {timeout} s"
        return self.answers.pop(0)

    def watching(self, mode, timeout=20):
        assert self.answer(timeout) == ["watching", mode]

    def changed(self, timeout=20):
        assert self.answer(timeout) == ["changed"]

    def failed(self, kind, timeout=20):
        """Returns what the watcher asks to wait, and its words."""
        answer = self.answer(timeout)
        assert answer[:2] == ["failed", kind], answer
        return int(answer[2]), answer[3]

    def settle(self, quiet=2.5):
        """Read until nothing is said any more. Returns how often something
        had changed."""
        changes = 0
        while True:
            try:
                answer = self.answer(quiet)
            except AssertionError:
                return changes
            assert answer == ["changed"], answer
            changes += 1

    def forget(self):
        self.watcher.send("forget", f"id={self.number}")


class Watcher:
    def __init__(self, local):
        before = set(local.pids("imapsync-pull-watch"))
        self.local = local
        self.sock = wait_for(self._connect, what="the watcher's socket")
        self.sock.sendall((VERSION + "\n").encode())
        self._buffer = b""
        self._watched = {}
        # how many bytes it has said
        self.received = 0
        self.pid = wait_for(
            lambda: set(local.pids("imapsync-pull-watch")) - before,
            what="a watcher").pop()
        assert self._line(20) == VERSION

    def _connect(self):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(self.local.socket("imapsync-pull-watch"))
        return sock

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self.sock.close()

    def send(self, *words):
        self.sock.sendall(("\t".join(map(escape, words)) + "\n").encode())

    def _line(self, timeout):
        """The next line, None if time is over. EOFError if it hung up."""
        deadline = time.monotonic() + timeout
        while b"\n" not in self._buffer:
            left = max(deadline - time.monotonic(), 0)
            if not select.select([self.sock], [], [], left)[0]:
                return None
            data = self.sock.recv(65536)
            if not data:
                raise EOFError("the watcher hung up")
            self.received += len(data)
            self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode()

    def read(self, timeout):
        """Take one answer to whom it belongs. FALSE if there is none."""
        line = self._line(timeout)
        if line is None:
            return False
        word, number, *more = line.split("\t")
        self._watched[int(number)].answers.append([word, *more])
        return True

    def watch(self, port, login="anna", secret="secret", host="127.0.0.1",
              number=None, **keys):
        number = number or len(self._watched) + 1
        keys = {"host": host, "port": port, "security": "none",
                "login": login, "timeout": "10s", **keys}
        self._watched[number] = Watched(self, number)
        self.send("watch", f"id={number}", "user=bob", f"name=w{number}",
                  f"secret={secret}",
                  *(f"set={key}={value}" for key, value in keys.items()))
        return self._watched[number]

    def ping(self, timeout=5):
        """Between watches: the next line is its answer."""
        self.send("ping")
        assert self._line(timeout) == f"pong\t{self.pid}"

    def gone(self, timeout=20):
        """It hangs up; what it still says is thrown away."""
        try:
            while self._line(timeout) is not None:
                pass
        except (EOFError, ConnectionError):
            return
        raise AssertionError("the watcher did not hang up")
