"""Names: Dovecot's DNS service with lines of our choice, and a DNS server with
answers of our choice, for the real service to ask.

    with DnsServer() as names:
        names.answers["imap.example.org"] = ["192.0.2.7", "2001:db8::7"]
        names.answers["none.example.org"] = []          # there, no address
        names.answers["broken.example.org"] = SERVFAIL
        names.answers["odd.example.org"] = lambda kind, count: ...
        ... let the service ask names.address, port 53 ...

A function is called for each query, with the kind of address (A or AAAA) and
how often that was asked before, and returns addresses, a response code, or
None: no answer at all. Names that are not there get NXDOMAIN.
"""

import collections
import contextlib
import ipaddress
import random
import socket
import socketserver
import struct
import threading

SERVFAIL, NXDOMAIN = 2, 3
A, AAAA = 1, 28
# RFC 1035, 4.2.1: the longest answer without TCP
UDP_SIZE = 512
TRUNCATED = 0x0200


class FakeDns:
    """Dovecot's dns-client, with lines of our choice. None: it hangs up."""

    def __init__(self, path, answers):
        self.path = path
        self.answers = answers
        self.asked = []

    def __enter__(self):
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_exc):
        self._listener.close()

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,),
                             daemon=True).start()

    def _serve(self, sock):
        with sock, contextlib.suppress(ConnectionResetError), \
             sock.makefile() as file:
            self._say(sock, "VERSION\tdns\t1\t0")
            for line in file:
                if line.startswith("IP\t"):
                    name = line.rstrip("\n").split("\t")[1]
                    self.asked.append(name)
                    reply = self.answers.get(name, "")
                    if reply is None:
                        return
                    if reply:
                        self._say(sock, reply)

    @staticmethod
    def _say(sock, line):
        # whoever asked may be gone
        with contextlib.suppress(OSError):
            sock.sendall(line.encode() + b"\n")


def ask_service(path, name):
    """The line that a dns-client answers with."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(path))
        sock.sendall(f"VERSION\tdns-client\t1\t0\nIP\t{name}\n".encode())
        with sock.makefile() as file:
            assert file.readline().startswith("VERSION\tdns\t1\t")
            return file.readline().rstrip("\n")


class DnsServer:
    """A DNS server (RFC 1035) on port 53 of a loopback address of its own."""

    def __init__(self):
        numbers = random.SystemRandom()
        self.address = "127.{}.{}.{}".format(
            *(numbers.randint(2, 250) for _ in range(3)))
        self.answers = {}
        # (name, kind) as often as it was asked
        self.asked = collections.Counter()
        self._servers = [
            socketserver.ThreadingUDPServer((self.address, 53), self._udp),
            socketserver.ThreadingTCPServer((self.address, 53), self._tcp)]

    def __enter__(self):
        for server in self._servers:
            server.daemon_threads, server.block_on_close = True, False
            threading.Thread(target=server.serve_forever, args=(0.05,),
                             daemon=True).start()
        return self

    def __exit__(self, *_exc):
        for server in self._servers:
            server.shutdown()
            server.server_close()

    def _udp(self, request, client, _server):
        query, sock = request
        reply = self._reply(query)
        if reply is None:
            return
        if len(reply) > UDP_SIZE:
            flags, = struct.unpack_from("!H", reply, 2)
            end = self._question(query)[2]
            reply = (reply[:2] + struct.pack("!HHHHH", flags | TRUNCATED, 1,
                                             0, 0, 0) + query[12:end])
        sock.sendto(reply, client)

    def _tcp(self, request, _client, _server):
        with request.makefile("rwb") as file:
            while size := file.read(2):
                reply = self._reply(file.read(int.from_bytes(size, "big")))
                if reply is not None:
                    file.write(len(reply).to_bytes(2, "big") + reply)
                    file.flush()

    @staticmethod
    def _question(query):
        """Name, kind, and where it ends."""
        labels, at = [], 12
        while size := query[at]:
            labels.append(query[at + 1:at + 1 + size].decode("latin-1"))
            at += 1 + size
        kind, = struct.unpack_from("!H", query, at + 1)
        return ".".join(labels).lower(), kind, at + 5

    def _answer(self, name, kind):
        """Packed addresses and the response code, or None."""
        answer = self.answers.get(name, NXDOMAIN)
        count = self.asked[name, kind]
        self.asked[name, kind] += 1
        if callable(answer):
            answer = answer(kind, count)
        if answer is None:
            return None
        if isinstance(answer, int):
            return [], answer
        size = 4 if kind == A else 16
        packed = [ipaddress.ip_address(text).packed for text in answer]
        return [address for address in packed if len(address) == size], 0

    def _reply(self, query):
        name, kind, end = self._question(query)
        answer = self._answer(name, kind)
        if answer is None:
            return None
        addresses, code = answer
        header = query[:2] + struct.pack("!HHHHH", 0x8180 | code, 1,
                                         len(addresses), 0, 0)
        # each names the question's name
        records = [struct.pack("!HHHIH", 0xc00c, kind, 1, 0, len(address))
                   + address for address in addresses]
        return header + query[12:end] + b"".join(records)
