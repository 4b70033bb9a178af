"""For tests of cred-notify's channels: what drives them (tests/tools/
cred-channel.c), and what is told something: SMTP and HTTP servers, and readers
of events."""

import base64
import contextlib
import http.client
import http.server
import json
import queue
import socket
import socketserver
import subprocess
import threading

from rig import tool, wait_for


class Channels:
    """The driver. Lines it says are kept; settings are its arguments."""

    def __init__(self, uid=None, **settings):
        words = [f"{name}={value}" for name, value in settings.items()]
        as_user = ["setpriv", f"--reuid={uid}", f"--regid={uid}",
                   "--clear-groups"] if uid else []
        self._process = subprocess.Popen(
            [*as_user, tool("cred-channel"), *words], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE)
        self.said, self._errors = [], []
        self._readers = [
            threading.Thread(target=self._read, args=arguments, daemon=True)
            for arguments in ((self._process.stdout, self.said),
                              (self._process.stderr, self._errors))]
        for reader in self._readers:
            reader.start()
        self._tellings = 0
        self.port = int(self.wait("ready")[1])

    def _read(self, stream, kept):
        for line in stream:
            kept.append(line.rstrip("\n").split("\t"))

    @property
    def errors(self):
        return "\n".join("\t".join(line) for line in self._errors)

    def find(self, *words):
        return [line for line in list(self.said)
                if tuple(line[:len(words)]) == words]

    def wait(self, *words, count=1, timeout=20):
        """The count-th line that begins with these words."""
        def there():
            found = self.find(*words)
            if len(found) >= count:
                return found
            if self._process.poll() is not None:
                raise SystemExit(f"the driver ended: {self.errors}")
            return None
        return wait_for(there, timeout,
                        what=f"{words}: {self.errors}")[count - 1]

    def do(self, *words):
        self._process.stdin.write("\t".join(map(str, words)) + "\n")
        self._process.stdin.flush()

    def tell(self, kind, user="", addresses="", incident=1, said=1,
             language="en"):
        """Start a telling. Returns its number."""
        self._tellings += 1
        self.do("tell", self._tellings, kind, user, addresses, incident, said,
                language)
        return str(self._tellings)

    def answer(self, number, timeout=20):
        """(result, retry, error) of a telling."""
        _word, _number, result, retry, error = self.wait(
            "answer", number, timeout=timeout)
        return result, int(retry), error

    def told(self, kind, *args, **options):
        return self.answer(self.tell(kind, *args, **options))

    def notice(self, user, incident, said=1):
        """A notice stands. Returns how many clients were told at once."""
        self.do("notice", user, incident, said)
        return int(self.wait("pushed", f"{incident}.{said}")[2])

    def rss_kb(self):
        with open(f"/proc/{self._process.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f
                        if line.startswith("VmRSS"))

    def close(self):
        """Ends it, and looks at how it ends. Returns what it logged."""
        if self._process.poll() is None:
            with contextlib.suppress(BrokenPipeError):
                self.do("quit")
        self._process.stdin.close()
        code = self._process.wait(timeout=20)
        for reader in self._readers:
            reader.join()
        assert code == 0, self.errors
        assert self.said[-1] == ["end"]
        for word in ("Panic", "leaked", "Warning"):
            assert word not in self.errors, self.errors
        return self.errors

    def __enter__(self):
        return self

    def __exit__(self, kind, *_exc):
        if kind is None:
            self.close()
        else:
            print(self.errors)
            self._process.kill()
            self._process.wait()


class SmtpSink:
    """An SMTP server that takes what it is told to take.

    replies: {command: reply}, for RCPT also {"RCPT <address>": reply}; a reply
    of None hangs, "" hangs up. With path it speaks LMTP on a unix socket."""

    def __init__(self, path=None, ssl_context=None, starttls=False,
                 **replies):
        self.replies = {key.replace("_", " "): value
                        for key, value in replies.items()}
        self.path, self.ssl_context = path, ssl_context
        self.starttls = starttls
        # transactions at once: now, and at most
        self.mails, self.busy, self.most_busy = [], 0, 0
        self.let_go = threading.Event()
        self._lock = threading.Lock()
        if path is None:
            self._listener = socket.create_server(("127.0.0.1", 0))
        else:
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(path)
            self._listener.listen(64)
        self.port = 0 if path else self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,),
                             daemon=True).start()

    def _reply(self, connection, command, default, address=""):
        reply = self.replies.get(f"{command} {address}",
                                 self.replies.get(command, default))
        if reply is None:
            self.let_go.wait(60)
            reply = default
        if reply == "":
            raise ConnectionError
        connection.sendall(reply.encode() + b"\r\n")

    def _count(self, step):
        with self._lock:
            self.busy += step
            self.most_busy = max(self.most_busy, self.busy)

    def _serve(self, connection):
        try:
            if self.ssl_context and self.starttls:
                connection = self._start_tls(connection)
            elif self.ssl_context:
                connection = self.ssl_context.wrap_socket(
                    connection, server_side=True)
            with connection, connection.makefile("rb") as lines:
                self._talk(connection, lines, not self.starttls)
        except OSError:
            pass

    def _start_tls(self, connection):
        connection.sendall(b"220 sink\r\n")
        with connection.makefile("rb") as lines:
            lines.readline()
            connection.sendall(b"250-sink\r\n250 STARTTLS\r\n")
            assert lines.readline() == b"STARTTLS\r\n"
            connection.sendall(b"220 go on\r\n")
        return self.ssl_context.wrap_socket(connection, server_side=True)

    def _talk(self, connection, lines, greet):
        sender, rcpts = None, []
        if greet:
            self._reply(connection, "CONNECT", "220 sink")
        while line := lines.readline():
            words = line.decode().strip().split(":", 1)
            command = words[0].split(" ")[0].upper()
            address = words[1].split(">")[0].strip(" <") if words[1:] else ""
            if command == "MAIL":
                sender = address
                self._count(+1)
            elif command == "RCPT":
                rcpts.append(address)
            if command == "DATA":
                self._reply(connection, "DATA", "354 go on")
                text = []
                while (line := lines.readline()) != b".\r\n":
                    text.append(line[1:] if line[:1] == b"." else line)
                self.mails.append((sender, tuple(rcpts), b"".join(text)))
                self._count(-1)
                self._reply(connection, "END", "250 2.0.0 taken")
                rcpts = []
            elif command == "QUIT":
                self._reply(connection, "QUIT", "221 bye")
                return
            else:
                self._reply(connection, command, "250 2.1.0 fine", address)

    def close(self):
        self.let_go.set()
        self._listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Receiver:
    """A webhook's other end: answers what() says, and keeps what came.

    answer: a status; or a function of the handler that answers itself."""

    def __init__(self, answer=204, ssl_context=None):
        self.answer, self.posts = answer, []
        self.let_go = threading.Event()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.posts.append((self.path, self.headers, body))
                if callable(receiver.answer):
                    receiver.answer(self)
                    return
                self.send_response(receiver.answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_args):
                pass

        class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
            daemon_threads = True

            def handle_error(self, *_args):
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        if ssl_context:
            self._server.socket = ssl_context.wrap_socket(
                self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever,
                         daemon=True).start()

    def url(self, scheme="http", host="127.0.0.1"):
        return f"{scheme}://{host}:{self.port}/hook"

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.let_go.set()
        self._server.shutdown()
        self._server.server_close()


def basic(user, password):
    word = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {word}"}


def ask(port, path, method="GET", login=None, headers=(), body=None):
    """One request. Returns (status, JSON or text, headers)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body,
                           {**(basic(*login) if login else {}),
                            **dict(headers)})
        answer = connection.getresponse()
        text = answer.read().decode()
    finally:
        connection.close()
    if answer.headers["Content-Type"] == "application/json":
        text = json.loads(text)
    return answer.status, text, answer.headers


class Events:
    """A reader of /v1/events."""

    def __init__(self, port, login=None, headers=(), query=""):
        self.events, self.pings = queue.Queue(), 0
        self.retry, self.ended = None, threading.Event()
        self._connection = http.client.HTTPConnection(
            "127.0.0.1", port, timeout=60)
        self._connection.request(
            "GET", "/v1/events" + query,
            headers={**(basic(*login) if login else {}), **dict(headers)})
        self._answer = self._connection.getresponse()
        self.status = self._answer.status
        self.headers = self._answer.headers
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        fields = {}
        try:
            for line in self._answer:
                line = line.decode().rstrip("\n")
                if line.startswith(":"):
                    self.pings += 1
                elif line:
                    name, value = line.split(": ", 1)
                    fields[name] = value
                elif "data" in fields:
                    self.events.put((fields["event"], fields.get("id"),
                                     json.loads(fields["data"])))
                    fields = {}
                else:
                    self.retry = fields.get("retry", self.retry)
                    fields = {}
        except (OSError, http.client.HTTPException, ValueError,
                AttributeError):
            pass
        self.ended.set()

    def next(self, timeout=20):
        """(event, id, data)"""
        return self.events.get(timeout=timeout)

    def standing(self):
        """The ids of the first event."""
        event, event_id, data = self.next()
        assert (event, event_id) == ("standing", None)
        return data["ids"]

    def close(self):
        # the thread holds the file: a close alone would wait for it
        with contextlib.suppress(OSError, AttributeError):
            self._answer.fp.raw._sock.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._connection.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
