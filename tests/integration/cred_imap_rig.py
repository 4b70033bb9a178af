"""For tests of cred-notify in IMAP sessions: what stands in the service's
place, and a client that sees every line."""

import contextlib
import os
import queue
import select
import socket
import ssl
import subprocess
import threading
import time
import zlib

from rig import Dovecot, wait_for
from rig.scratch import tool
from rig.system import HERE

SOCKET = "cred-notify"
ALERT = b"* OK [ALERT] "
# seconds that each line of a session may take
PATIENCE = 30

PLUGIN = {
    "2.3": """
protocol imap {{
  mail_plugins = $mail_plugins imap_zlib imap_cred_notify
}}
plugin {{
{settings}
}}
""",
    "2.4": """
protocol imap {{
  mail_plugins {{
    imap_cred_notify = yes
  }}
}}
{settings}
"""}

# The log says when a session does not go to sleep.
HIBERNATE = """
imap_hibernate_timeout = 1s
service imap {
  unix_listener imap-master {
    user = dovecot
  }
}
service imap-hibernate {
  unix_listener imap-hibernate {
    mode = 0666
  }
}
log_debug = category=imap
"""


# Tests of anything else do not wait for a session to grow old.
AT_ONCE = {"cred_notify_imap_delay": 0}


def plugin_settings(**settings):
    """Of the imap plugin, a line each. None: the default."""
    return "\n".join(f"{name} = {value}" for name, value
                     in {**AT_ONCE, **settings}.items() if value is not None)


def imap_dovecot(scratch, users=("anna",), **settings):
    """A Dovecot with the imap plugin; not started.
    settings: cred_notify_imap=..."""
    instance = Dovecot(scratch, "local", ours=True)
    instance.add_piece("REMOTE")
    cert, key = scratch.ca().issue("local")
    instance.add_piece("TLS", cert=cert, key=key)
    instance.configure(PLUGIN[HERE.release],
                       settings=plugin_settings(**settings))
    for user in users:
        instance.add_user(user)
    return instance


class Service:
    """tests/tools/cred-feed on the service's socket. Its output is kept."""

    def __init__(self, dovecot, max_connections=1000, max_sessions=500,
                 uids=None):
        self.path = dovecot.socket(SOCKET)
        self.events = []
        self._process = subprocess.Popen(
            [tool("cred-feed"), self.path, str(max_connections),
             str(max_sessions)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            bufsize=1)
        assert self._process.stdout.readline() == "ready\n"
        self._answers = queue.Queue()
        self._thread = threading.Thread(target=self._read)
        self._thread.start()
        for name, user in dovecot.users.items():
            self.say("uid", name, (uids or {}).get(name, user.uid))

    def _read(self):
        for line in self._process.stdout:
            words = line.rstrip("\n").split("\t")
            if words[0] in ("told", "count"):
                self._answers.put(int(words[1]))
            else:
                self.events.append(tuple(words))

    def say(self, *words):
        self._process.stdin.write("\t".join(map(str, words)) + "\n")

    def notice(self, user, number, channel, text="The password is refused."):
        """Returns how many sessions were told."""
        self.say("notice", user, number, channel, text)
        return self._answers.get(timeout=PATIENCE)

    def count(self):
        self.say("count")
        return self._answers.get(timeout=PATIENCE)

    def seen(self, *start):
        """Events that start with these words."""
        return [event for event in list(self.events)
                if event[:len(start)] == tuple(map(str, start))]

    def wait(self, *start, count=1):
        wait_for(lambda: len(self.seen(*start)) >= count, PATIENCE,
                 what=f"{count} times {start}, not {self.events}")
        return self.seen(*start)

    def kill(self):
        self._process.kill()
        self._end()

    def close(self):
        """Its end must be clean, too."""
        self._process.stdin.close()
        self._end()
        assert self._process.returncode == 0

    def _end(self):
        self._process.wait(PATIENCE)
        self._thread.join()
        self._process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_exc):
        if self._process.poll() is not None:
            return
        if kind is None:
            self.close()
        else:
            self.kill()


class Session:
    """An IMAP session, logged in, with every line it got in `lines`."""

    def __init__(self, dovecot, user="anna", tls=True, source="127.0.0.1",
                 receive_buffer=None):
        self.lines, self._data, self._tag = [], b"", 0
        self._inflate = self._deflate = None
        port = dovecot.port("imaps" if tls else "imap")
        plain = socket.socket()
        if receive_buffer is not None:
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF,
                             receive_buffer)
        plain.settimeout(PATIENCE)
        plain.bind((source, 0))
        plain.connect(("127.0.0.1", port))
        self._socket = plain
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            self._socket = context.wrap_socket(plain)
        self.line()
        self.logged_in = self.command(
            f"LOGIN {user} {dovecot.users[user].password}")[-1]
        assert b" OK " in self.logged_in

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        self._socket.close()

    def send(self, text):
        data = text if isinstance(text, bytes) else text.encode() + b"\r\n"
        if self._deflate is not None:
            data = (self._deflate.compress(data) +
                    self._deflate.flush(zlib.Z_SYNC_FLUSH))
        self._socket.sendall(data)

    def _receive(self):
        data = self._socket.recv(1 << 16)
        if not data:
            raise EOFError(f"closed after {self.lines}")
        self._data += (data if self._inflate is None
                       else self._inflate.decompress(data))

    def line(self):
        """The next line, without its end."""
        while b"\r\n" not in self._data:
            self._receive()
        line, self._data = self._data.split(b"\r\n", 1)
        self.lines.append(line)
        return line

    def bytes(self, count):
        """So many bytes, of a literal."""
        parts, size = [self._data], len(self._data)
        while size < count:
            self._data = b""
            self._receive()
            parts.append(self._data)
            size += len(self._data)
        whole = b"".join(parts)
        self._data = whole[count:]
        return whole[:count]

    def begin(self, text):
        """Send a command, and return its tag."""
        self._tag += 1
        self.send(f"t{self._tag} {text}")
        return b"t%d " % self._tag

    def until(self, start):
        """The lines up to and with the first that starts so."""
        first = len(self.lines)
        while not self.line().startswith(start):
            pass
        return self.lines[first:]

    def command(self, text):
        return self.until(self.begin(text))

    def idle(self):
        """Returns the tag; done() ends it."""
        tag = self.begin("IDLE")
        self.until(b"+ ")
        return tag

    def done(self, tag):
        self.send("DONE")
        return self.until(tag)

    def alert(self):
        """The text of the next line, which must be an alert. Dovecot tells
        a session that it is still there whenever it likes."""
        while (line := self.line()).startswith(b"* OK Still here"):
            pass
        assert line.startswith(ALERT), line
        return line[len(ALERT):].decode()

    def alerts(self):
        """Those there were, without waiting for more."""
        return [line[len(ALERT):].decode() for line in self.lines
                if line.startswith(ALERT)]

    def is_silent(self, secs=0):
        """Nothing comes, and nothing has come that was not read."""
        if self._data:
            return False
        if isinstance(self._socket, ssl.SSLSocket) and \
                self._socket.pending():
            return False
        return not select.select([self._socket], [], [], secs)[0]

    def compress(self):
        assert b" OK " in self.command("COMPRESS DEFLATE")[-1]
        self._inflate = zlib.decompressobj(-15)
        self._deflate = zlib.compressobj(wbits=-15)


class Peer:
    """Speaks the feed's protocol as some local process would. uid: as whom it
    connects."""

    def __init__(self, path, uid=None):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(PATIENCE)
        if uid is None:
            self._socket.connect(path)
        else:
            self._connect_as(path, uid)
        self._lines = self._socket.makefile("rb")

    def _connect_as(self, path, uid):
        """The kernel notes who connects."""
        os.seteuid(uid)
        try:
            self._socket.connect(path)
        finally:
            os.seteuid(0)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self._lines.close()
        self._socket.close()

    def send(self, *lines):
        for line in lines:
            self._socket.sendall(line.encode() + b"\n")

    def subscribe(self, user, session="s"):
        self.send("VERSION\tcred-notify-feed\t1\t0",
                  f"SUB\t{user}\t{session}\tyes\tno")

    def line(self):
        """"" at the end."""
        try:
            return self._lines.readline().decode().rstrip("\n")
        except ConnectionResetError:
            return ""

    def is_closed(self):
        """After what was still on the way."""
        while self.line():
            pass
        return True


def seconds_since(start):
    return time.monotonic() - start
