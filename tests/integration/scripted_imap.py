"""A small IMAP server that does as it is told: it serves mailboxes properly,
or stalls, lies, injects and hangs up at the place a test names.

A proper server whose mail the test holds in its hand:

    with Server() as server:
        inbox = server.add("INBOX")
        inbox.append(b"Subject: hi\\r\\n\\r\\nhi\\r\\n", flags=["\\\\Seen"])
        ... pull from 127.0.0.1, server.port, "anna", "secret" ...
        inbox.append(...); inbox.set_flags(1, ["\\\\Flagged"])
        inbox.new_uidvalidity()

The same with faults:

    server.on("LOGIN", answer("NO", "[UNAVAILABLE] later"), times=1)
    server.on("UID FETCH", stall())
    server.on("GREETING", raw(b"* BYE full\\r\\n"))
    server.rewrite = lambda data: data.replace(b"UID 7", b"UID 8")
    server.cut_bytes = 1000         # hang up behind the 1000th byte sent
    server.cut_responses = 5        # or behind the 5th response line
    server.drip = (1, 0.1)          # send that many bytes, then wait so long

A connection that is a script from the first byte on:

    def script(conn):
        conn.send(b"* OK hello\\r\\n")
        tag, line = conn.command()
        conn.send(tag + b" BAD no\\r\\n")
    with RawServer(script) as server: ...

What clients said is in server.log: one list of lines per connection, literals
spliced in. Everything listens on loopback, on a port of its own.
"""

import base64
import datetime
import re
import socket
import ssl
import threading
import time

CAPABILITIES = ("IMAP4rev1 SASL-IR AUTH=PLAIN LITERAL+ ENABLE ID NAMESPACE "
                "UIDPLUS UNSELECT MOVE SPECIAL-USE LIST-EXTENDED LIST-STATUS "
                "CONDSTORE ESEARCH")
DATE = datetime.datetime(2024, 3, 1, 12, 30, 15, tzinfo=datetime.timezone(
    datetime.timedelta(hours=1)))


class HangUp(Exception):
    """The connection is over, by our will or the client's."""


class Connection:
    """One client, byte by byte."""

    def __init__(self, server, sock):
        self.server = server
        self.sock = sock
        self.sent = 0
        self.responses = 0
        self.lines = []
        self._buffer = b""

    # What the client says

    def _receive(self):
        try:
            data = self.sock.recv(65536)
        except (OSError, ssl.SSLError) as error:
            raise HangUp from error
        if not data:
            raise HangUp
        self._buffer += data

    def read_line(self):
        while b"\n" not in self._buffer:
            self._receive()
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.rstrip(b"\r")

    def read_bytes(self, count):
        while len(self._buffer) < count:
            self._receive()
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def command_parts(self):
        """One command: [text, literal, text, ...], literals answered."""
        parts = [self.read_line()]
        while match := re.search(rb"\{(\d+)(\+?)\}$", parts[-1]):
            if not match.group(2):
                self.literal_asked(int(match.group(1)))
            parts.append(self.read_bytes(int(match.group(1))))
            parts.append(self.read_line())
        self.lines.append(b"".join(parts).decode("utf-8", "replace"))
        return parts

    def literal_asked(self, _size):
        self.send(b"+ go on\r\n")

    def command(self):
        """One command as (tag, rest)."""
        tag, _, rest = b"".join(self.command_parts()).partition(b" ")
        return tag, rest

    # What we say

    def send(self, data):
        if self.server.rewrite is not None:
            data = self.server.rewrite(data)
        data, cut = self._apply_cut(data)
        try:
            if self.server.drip is None:
                self.sock.sendall(data)
            else:
                self._send_slowly(data)
        except (OSError, ssl.SSLError) as error:
            raise HangUp from error
        self.sent += len(data)
        if cut:
            raise HangUp

    def _apply_cut(self, data):
        server = self.server
        end = None
        if server.cut_bytes is not None:
            end = server.cut_bytes - self.sent
        for match in re.finditer(rb"\n", data):
            self.responses += 1
            if self.responses == server.cut_responses:
                end = match.end()
                break
        if end is None or end > len(data) or not server.take_cut():
            return data, False
        return data[:max(end, 0)], True

    def _send_slowly(self, data):
        count, seconds = self.server.drip
        for start in range(0, len(data), count):
            self.sock.sendall(data[start:start + count])
            self.server.wait(seconds)

    def stall(self):
        """Say nothing until the client gives up or the server ends."""
        self.sock.settimeout(0.05)
        while not self.server.stopping.is_set():
            try:
                if not self.sock.recv(65536):
                    break
            except (TimeoutError, ssl.SSLWantReadError):
                continue
            except (OSError, ssl.SSLError):
                break
        raise HangUp

    def start_tls(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.server.cert)
        if self.server.tls_setup is not None:
            self.server.tls_setup(context)
        try:
            self.sock = context.wrap_socket(self.sock, server_side=True)
        except (OSError, ssl.SSLError) as error:
            raise HangUp from error

    def hang_up(self):
        """Close without a TLS goodbye."""
        raise HangUp


class RawServer:
    """Runs a script for each connection, one thread each."""

    def __init__(self, script=None, tls=None, cert=None, host="127.0.0.1"):
        """tls: None, "implicit", or "starttls" (the script calls
        start_tls()); cert: paths of certificate and key."""
        self.script = script
        self.tls = tls
        self.cert = cert
        # called with the ssl.SSLContext before the handshake
        self.tls_setup = None
        self.rewrite = None
        self.drip = None
        self.cut_bytes = self.cut_responses = None
        # how many connections are cut, None = all
        self.cut_times = None
        self.stopping = threading.Event()
        self.connections = []
        self.errors = []
        self._threads = []
        self._lock = threading.RLock()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.socket(family)
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listener.bind((host, 0))
        self._listener.listen(64)
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        self._accepter = threading.Thread(target=self._accept, daemon=True)
        self._accepter.start()
        return self

    def __exit__(self, exc_type, _exc, _trace):
        self.stopping.set()
        # wakes accept()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for conn in list(self.connections):
            self._close(conn)
        self._accepter.join(5)
        for thread in self._threads:
            thread.join(5)
        if exc_type is None and self.errors:
            raise self.errors[0]

    @property
    def log(self):
        """Lines of each connection, in the order of the connections."""
        return [conn.lines for conn in self.connections]

    def wait(self, seconds):
        """Sleep, unless the test is over."""
        self.stopping.wait(seconds)

    def take_cut(self):
        with self._lock:
            if self.cut_times is None:
                return True
            if self.cut_times == 0:
                return False
            self.cut_times -= 1
            return True

    def make_connection(self, sock):
        return Connection(self, sock)

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            conn = self.make_connection(sock)
            self.connections.append(conn)
            thread = threading.Thread(target=self._run, args=(conn,),
                                      daemon=True)
            self._threads.append(thread)
            thread.start()

    def _run(self, conn):
        try:
            if self.tls == "implicit":
                conn.start_tls()
            self.serve(conn)
        except HangUp:
            pass
        except Exception as error:  # shown when the server is left
            self.errors.append(error)
        finally:
            self._close(conn)

    def serve(self, conn):
        self.script(conn)

    @staticmethod
    def _close(conn):
        try:
            conn.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        conn.sock.close()


# Hooks for Server.on()

def answer(status, text):
    """The tagged reply, and nothing else."""
    def hook(session, tag, _args):
        session.send(f"{tag} {status} {text}\r\n".encode())
        return True
    return hook


def raw(data, hang_up=False):
    """These bytes in place of the answer; TAG in them becomes the tag."""
    def hook(session, tag, _args):
        session.send(data.replace(b"TAG", (tag or "*").encode()))
        if hang_up:
            raise HangUp
        return True
    return hook


def before(data):
    """These bytes, then the proper answer."""
    def hook(session, _tag, _args):
        session.send(data)
        return False
    return hook


def stall():
    def hook(session, _tag, _args):
        session.stall()
    return hook


def hang_up():
    def hook(_session, _tag, _args):
        raise HangUp
    return hook


def idle():
    """IDLE as it should be. What is sent to the connection meanwhile is
    news; "DONE" goes into its lines."""
    def hook(session, tag, _args):
        session.send(b"+ idling\r\n")
        session.lines.append(session.read_line().decode("utf-8", "replace"))
        session.reply(tag, "OK", "done")
        return True
    return hook


# Mail

class Big:
    """Content of a size that nobody holds in memory: lines of 'x'."""

    LINE = b"x" * 78 + b"\r\n"

    def __init__(self, size):
        self.size = size

    def __len__(self):
        return self.size

    def chunks(self):
        block = self.LINE * 1024
        left = self.size
        while left > 0:
            yield block[:left]
            left -= len(block)


class Message:
    def __init__(self, uid, content, flags, date, modseq):
        self.uid = uid
        self.content = content
        self.flags = list(flags)
        self.date = date
        self.modseq = modseq
        # what the server claims, if it is not the truth
        self.claimed_size = None
        self.literal_size = None

    @property
    def size(self):
        return len(self.content) if self.claimed_size is None \
            else self.claimed_size

    def chunks(self):
        if isinstance(self.content, bytes):
            return [self.content]
        return self.content.chunks()


class Mailbox:
    """name: as on the wire (modified UTF-7)."""

    def __init__(self, name, uidvalidity=1000, special=None, subscribed=True,
                 selectable=True):
        self.name = name
        self.uidvalidity = uidvalidity
        self.uidnext = 1
        self.highestmodseq = 1
        self.special = special
        self.subscribed = subscribed
        self.selectable = selectable
        self.messages = []

    def append(self, content, flags=(), date=DATE, uid=None):
        """Returns the message; uid: skip to this one."""
        self.uidnext = max(self.uidnext, uid or 0)
        self.highestmodseq += 1
        message = Message(self.uidnext, content, flags, date,
                          self.highestmodseq)
        self.uidnext += 1
        self.messages.append(message)
        return message

    def message(self, uid):
        return next(msg for msg in self.messages if msg.uid == uid)

    def set_flags(self, uid, flags):
        self.highestmodseq += 1
        message = self.message(uid)
        message.flags = list(flags)
        message.modseq = self.highestmodseq

    def expunge(self, uid):
        self.highestmodseq += 1
        self.messages.remove(self.message(uid))

    def new_uidvalidity(self):
        """As if the mailbox was made anew with the same mail."""
        self.uidvalidity += 1
        for uid, message in enumerate(self.messages, 1):
            message.uid = uid
        self.uidnext = len(self.messages) + 1

    def status(self, item):
        return {"MESSAGES": len(self.messages), "UIDNEXT": self.uidnext,
                "UIDVALIDITY": self.uidvalidity, "RECENT": 0,
                "HIGHESTMODSEQ": self.highestmodseq,
                "UNSEEN": sum("\\Seen" not in msg.flags
                              for msg in self.messages),
                "SIZE": sum(msg.size for msg in self.messages)}[item]


class Server(RawServer):
    """Mailboxes of one user."""

    def __init__(self, login="anna", secret="secret", tls=None, cert=None,
                 capabilities=CAPABILITIES, separator="/",
                 greeting_capabilities=False, **options):
        super().__init__(None, tls=tls, cert=cert, **options)
        self.login = login
        self.secret = secret
        self.capabilities = capabilities.split()
        self.separator = separator
        # announce them in the greeting and in the answer to the login
        self.greeting_capabilities = greeting_capabilities
        self.mailboxes = {}
        self._hooks = []

    def add(self, name, **options):
        self.mailboxes[name] = Mailbox(name, **options)
        return self.mailboxes[name]

    def on(self, command, hook, times=None, skip=0):
        """Call hook(session, tag, args) when the client says command ("UID
        FETCH"), or at "CONNECT" (before TLS), "GREETING", "LITERAL". It
        returns True if that was all of the answer. times: how often it acts,
        None = always; skip: how often it does not act first."""
        self._hooks.append([command, hook, times, skip])

    def run_hooks(self, session, command, tag, args):
        for entry in self._hooks:
            if entry[0] != command or entry[2] == 0:
                continue
            if entry[3] > 0:
                entry[3] -= 1
                continue
            if entry[2] is not None:
                entry[2] -= 1
            if entry[1](session, tag, args):
                return True
        return False

    def make_connection(self, sock):
        return Session(self, sock)

    def serve(self, conn):
        conn.run()

    def _run(self, conn):
        try:
            self.run_hooks(conn, "CONNECT", None, None)
        except HangUp:
            self._close(conn)
            return
        super()._run(conn)


# Arguments: str for atoms and strings, list for lists, None for NIL

TOKEN = re.compile(rb'\s*(?:(\()|(\))|"((?:[^"\\]|\\.)*)"|'
                   rb'([^\s()"\[]*\[[^\]]*\](?:<[\d.]*>)?|[^\s()"]+))')


def parse_args(parts):
    stack = [[]]
    for number, part in enumerate(parts):
        if number % 2 == 1:
            stack[-1].append(part.decode("utf-8", "surrogateescape"))
            continue
        text = re.sub(rb"\{\d+\+?\}$", b"", part)
        for match in TOKEN.finditer(text):
            opened, closed, quoted, atom = match.groups()
            if opened:
                stack.append([])
            elif closed:
                done = stack.pop()
                stack[-1].append(done)
            elif quoted is not None:
                quoted = re.sub(rb"\\(.)", rb"\1", quoted)
                stack[-1].append(quoted.decode("utf-8", "surrogateescape"))
            else:
                stack[-1].append(atom.decode("utf-8", "surrogateescape"))
    return stack[0]


def quote(text):
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def parse_set(text, last):
    """[(first, last), ...] of a message set."""
    ranges = []
    for part in text.split(","):
        ends = [last if end == "*" else int(end) for end in part.split(":")]
        ranges.append((min(ends), max(ends)))
    return ranges


class Session(Connection):
    """The proper server."""

    def __init__(self, server, sock):
        super().__init__(server, sock)
        self.logged_in = False
        self.tls_active = server.tls == "implicit"
        self.selected = None

    def literal_asked(self, size):
        if not self.server.run_hooks(self, "LITERAL", None, [size]):
            super().literal_asked(size)

    def run(self):
        if not self.server.run_hooks(self, "GREETING", None, None):
            caps = f"[CAPABILITY {self.capability_line()}] " \
                if self.server.greeting_capabilities else ""
            self.send(f"* OK {caps}ready\r\n".encode())
        while True:
            self.one_command()

    def one_command(self):
        parts = self.command_parts()
        tag, _, rest = parts[0].partition(b" ")
        args = parse_args([rest] + parts[1:])
        name = args.pop(0).upper() if args else ""
        if name == "UID" and args:
            name = "UID " + args.pop(0).upper()
        tag = tag.decode()
        if self.server.run_hooks(self, name, tag, args):
            return
        method = getattr(self, "do_" + name.lower().replace(" ", "_"), None)
        if method is None:
            self.reply(tag, "BAD", "unknown command")
            return
        with self.server._lock:
            method(tag, args)

    def reply(self, tag, status, text):
        self.send(f"{tag} {status} {text}\r\n".encode())

    def untagged(self, text):
        self.send(f"* {text}\r\n".encode("utf-8", "surrogateescape"))

    # Any state

    def capability_line(self):
        caps = list(self.server.capabilities)
        if self.server.tls == "starttls" and not self.tls_active:
            caps += ["STARTTLS", "LOGINDISABLED"]
            caps = [cap for cap in caps if not cap.startswith("AUTH=")]
        return " ".join(caps)

    def do_capability(self, tag, _args):
        self.untagged("CAPABILITY " + self.capability_line())
        self.reply(tag, "OK", "done")

    def do_noop(self, tag, _args):
        self.reply(tag, "OK", "done")

    def do_id(self, tag, _args):
        self.untagged('ID ("name" "scripted")')
        self.reply(tag, "OK", "done")

    def do_logout(self, tag, _args):
        self.untagged("BYE bye")
        self.reply(tag, "OK", "done")
        raise HangUp

    # Before the login

    def do_starttls(self, tag, _args):
        self.reply(tag, "OK", "go ahead")
        self.start_tls()
        self.tls_active = True
        self._buffer = b""

    def check_login(self, tag, login, secret):
        if (login, secret) != (self.server.login, self.server.secret):
            self.reply(tag, "NO", "[AUTHENTICATIONFAILED] wrong")
            return
        self.logged_in = True
        caps = f"[CAPABILITY {self.capability_line()}] " \
            if self.server.greeting_capabilities else ""
        self.reply(tag, "OK", caps + "welcome")

    def do_login(self, tag, args):
        self.check_login(tag, *args[:2])

    def ask(self, challenge=b""):
        self.send(b"+ " + base64.b64encode(challenge) + b"\r\n")
        line = self.read_line()
        self.lines.append(line.decode())
        return base64.b64decode(line)

    def do_authenticate(self, tag, args):
        mechanism = args[0].upper()
        if mechanism == "LOGIN":
            login = self.ask(b"Username:").decode()
            self.check_login(tag, login, self.ask(b"Password:").decode())
            return
        first = base64.b64decode(args[1]) if len(args) > 1 else self.ask()
        if mechanism == "PLAIN":
            authzid, login, secret = first.decode().split("\0")
            self.check_login(tag, authzid or login, secret)
        elif mechanism == "XOAUTH2":
            self.check_token(tag, first.decode())
        else:
            self.reply(tag, "NO", "unknown mechanism")

    def check_token(self, tag, text):
        login, token = re.match("user=(.*)\x01auth=Bearer (.*)\x01\x01",
                                text).groups()
        if (login, token) != (self.server.login, self.server.secret):
            self.ask(b'{"status":"400","schemes":"Bearer"}')
        self.check_login(tag, login, token)

    # Mailboxes

    def do_enable(self, tag, args):
        self.untagged("ENABLED " + " ".join(args))
        self.reply(tag, "OK", "done")

    def do_namespace(self, tag, _args):
        self.untagged(f'NAMESPACE (("" {quote(self.server.separator)})) '
                      'NIL NIL')
        self.reply(tag, "OK", "done")

    def list_attributes(self, box, with_subscribed):
        attributes = []
        if not box.selectable:
            attributes.append("\\Noselect")
        if box.special:
            attributes.append(box.special)
        if with_subscribed and box.subscribed:
            attributes.append("\\Subscribed")
        return " ".join(attributes)

    def do_list(self, tag, args):
        if args and isinstance(args[0], list):
            args.pop(0)
        returns = args[3] if len(args) > 3 else []
        upper = [word.upper() for word in returns if isinstance(word, str)]
        items = next((word for word in returns if isinstance(word, list)), [])
        for box in list(self.server.mailboxes.values()):
            if not self.matches(box.name, args[1]):
                continue
            attributes = self.list_attributes(box, "SUBSCRIBED" in upper)
            self.untagged(f"LIST ({attributes}) "
                          f"{quote(self.server.separator)} {quote(box.name)}")
            if "STATUS" in upper and box.selectable:
                self.send_status(box, items)
        self.reply(tag, "OK", "done")

    def do_lsub(self, tag, args):
        for box in list(self.server.mailboxes.values()):
            if box.subscribed and self.matches(box.name, args[1]):
                self.untagged(f"LSUB () {quote(self.server.separator)} "
                              f"{quote(box.name)}")
        self.reply(tag, "OK", "done")

    def matches(self, name, pattern):
        parts = [".*" if char == "*" else
                 f"[^{re.escape(self.server.separator)}]*" if char == "%" else
                 re.escape(char) for char in pattern]
        return re.fullmatch("".join(parts), name) is not None

    def send_status(self, box, items):
        words = " ".join(f"{item.upper()} {box.status(item.upper())}"
                         for item in items)
        self.untagged(f"STATUS {quote(box.name)} ({words})")

    def find(self, tag, name):
        if name.upper() == "INBOX":
            name = "INBOX"
        box = self.server.mailboxes.get(name)
        if box is None or not box.selectable:
            self.reply(tag, "NO", "[NONEXISTENT] no such mailbox")
            return None
        return box

    def do_status(self, tag, args):
        box = self.find(tag, args[0])
        if box is not None:
            self.send_status(box, args[1])
            self.reply(tag, "OK", "done")

    def do_examine(self, tag, args):
        self.select(tag, args, "READ-ONLY")

    def do_select(self, tag, args):
        self.select(tag, args, "READ-WRITE")

    def select(self, tag, args, mode):
        self.selected = None
        box = self.find(tag, args[0])
        if box is None:
            return
        self.selected = box
        flags = "\\Answered \\Flagged \\Deleted \\Seen \\Draft"
        self.untagged(f"FLAGS ({flags})")
        self.untagged(f"{len(box.messages)} EXISTS")
        self.untagged("0 RECENT")
        self.untagged("OK [PERMANENTFLAGS ()] none")
        self.untagged(f"OK [UIDVALIDITY {box.uidvalidity}] ok")
        self.untagged(f"OK [UIDNEXT {box.uidnext}] ok")
        if "CONDSTORE" in self.server.capabilities:
            self.untagged(f"OK [HIGHESTMODSEQ {box.highestmodseq}] ok")
        self.reply(tag, "OK", f"[{mode}] done")

    def do_unselect(self, tag, _args):
        self.selected = None
        self.reply(tag, "OK", "done")

    do_close = do_unselect

    # Messages

    def chosen(self, text, by_uid):
        """[(sequence number, message), ...] of a set."""
        messages = self.selected.messages
        last = messages[-1].uid if messages and by_uid else len(messages)
        ranges = parse_set(text, last)
        return [(seq, msg) for seq, msg in enumerate(list(messages), 1)
                if any(low <= (msg.uid if by_uid else seq) <= high
                       for low, high in ranges)]

    def do_uid_fetch(self, tag, args):
        self.fetch(tag, args, True)

    def do_fetch(self, tag, args):
        self.fetch(tag, args, False)

    def fetch(self, tag, args, by_uid):
        items = args[1] if isinstance(args[1], list) else [args[1]]
        items = [item.upper() for item in items]
        modifiers = [str(word).upper() for word in
                     (args[2] if len(args) > 2 else [])]
        since = int(modifiers[modifiers.index("CHANGEDSINCE") + 1]) \
            if "CHANGEDSINCE" in modifiers else 0
        if since and "MODSEQ" not in items:
            items.append("MODSEQ")
        if by_uid and "UID" not in items:
            items.insert(0, "UID")
        for seq, message in self.chosen(args[0], by_uid):
            if message.modseq > since:
                self.send_message(seq, message, items)
        self.reply(tag, "OK", "done")

    def send_message(self, seq, message, items):
        self._pending = f"* {seq} FETCH (".encode()
        for number, item in enumerate(items):
            if number > 0:
                self._pending += b" "
            self.send_item(message, item)
        self.send(self._pending + b")\r\n")

    def send_item(self, message, item):
        simple = {
            "UID": lambda: message.uid,
            "FLAGS": lambda: f"({' '.join(message.flags)})",
            "INTERNALDATE": lambda: message.date.strftime(
                '"%d-%b-%Y %H:%M:%S %z"'),
            "RFC822.SIZE": lambda: message.size,
            "MODSEQ": lambda: f"({message.modseq})",
        }.get(item)
        if simple is not None:
            self._pending += f"{item} {simple()}".encode()
        elif item in ("BODY.PEEK[]", "BODY[]"):
            self.send_literal("BODY[]", message.chunks(), len(message.content)
                              if message.literal_size is None
                              else message.literal_size)
        elif item in ("BODY.PEEK[HEADER]", "BODY[HEADER]"):
            header = message.content.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
            self.send_literal("BODY[HEADER]", [header], len(header))
        else:
            self._pending += f"{item} NIL".encode()

    def send_literal(self, name, chunks, size):
        self._pending += f"{name} {{{size}}}\r\n".encode()
        for chunk in chunks:
            self._pending += chunk
            if len(self._pending) > 65536:
                self.send(self._pending)
                self._pending = b""

    def do_uid_search(self, tag, args):
        found = [message for _, message in self.chosen("1:*", False)] \
            if self.selected.messages else []
        words = [str(word).upper() for word in args]
        if words and words[0] == "RETURN":
            words = words[2:]
        while words:
            found = self.search(found, words)
        uids = "".join(f" {message.uid}" for message in found)
        self.untagged("SEARCH" + uids)
        self.reply(tag, "OK", "done")

    def search(self, found, words):
        word = words.pop(0)
        if word == "UID":
            kept = {msg.uid for _, msg in self.chosen(words.pop(0), True)}
            return [msg for msg in found if msg.uid in kept]
        if word == "NOT":
            left = {msg.uid for msg in self.search(found, words)}
            return [msg for msg in found if msg.uid not in left]
        if word in ("SINCE", "BEFORE"):
            day = datetime.datetime.strptime(words.pop(0), "%d-%b-%Y").date()
            return [msg for msg in found
                    if (msg.date.date() >= day) == (word == "SINCE")]
        flag = {"SEEN": "\\Seen", "UNSEEN": "\\Seen", "DELETED": "\\Deleted",
                "UNDELETED": "\\Deleted", "FLAGGED": "\\Flagged"}.get(word)
        if flag is None:
            return found
        return [msg for msg in found
                if (flag in msg.flags) != word.startswith("UN")]

    def do_uid_store(self, tag, args):
        how = args[1].upper()
        for seq, message in self.chosen(args[0], True):
            flags = set(args[2])
            kept = set(message.flags)
            kept = kept - flags if how[0] == "-" else \
                kept | flags if how[0] == "+" else flags
            self.selected.set_flags(message.uid, sorted(kept))
            if not how.endswith(".SILENT"):
                self.untagged(f"{seq} FETCH (UID {message.uid} FLAGS "
                              f"({' '.join(message.flags)}))")
        self.reply(tag, "OK", "done")

    def do_uid_expunge(self, tag, args):
        for seq, message in reversed(self.chosen(args[0], True)):
            if "\\Deleted" in message.flags:
                self.selected.expunge(message.uid)
                self.untagged(f"{seq} EXPUNGE")
        self.reply(tag, "OK", "done")


def main():
    """Serve a few messages until interrupted: for trying things by hand."""
    with Server() as server:
        inbox = server.add("INBOX")
        for number in range(1, 6):
            inbox.append(f"Subject: {number}\r\n\r\nhi\r\n".encode())
        print(f"127.0.0.1:{server.port}, login anna, secret secret",
              flush=True)
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
