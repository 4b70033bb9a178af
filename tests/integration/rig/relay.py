"""Stands between a client and a server, and knows how far they are: an instant
of a run is a byte of what the server said, the same on every machine.

    with Relay(remote.port("imap")) as relay:
        ... a run over relay.port ...
        length = relay.passed
        relay.at(length // 2, lambda: os.kill(pid, signal.SIGKILL))
        ... another one ...
"""

import contextlib
import socket
import threading


class Relay:
    def __init__(self, server_port):
        self.server_port = server_port
        # bytes of the server's that the newest connection was given
        self.passed = 0
        # called with every new connection, before its first byte
        self.on_connect = lambda: None
        self._instant, self._act, self._acted = None, None, None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        # wakes accept() as close() does not
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def at(self, instant, act):
        """Call act() once, as soon as so many bytes have been passed on in
        one connection; what follows waits until act() has returned. The
        threading.Event that at() returns is set then."""
        self._acted = threading.Event()
        self._instant, self._act = instant, act
        return self._acted

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.server_port))
            self.passed = 0
            self.on_connect()
            for pump in (self._ask, self._answer):
                self._threads.append(threading.Thread(
                    target=pump, args=(client, server), daemon=True))
                self._threads[-1].start()

    @staticmethod
    def _ask(client, server):
        with contextlib.suppress(OSError):
            while data := client.recv(65536):
                server.sendall(data)
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)

    def _answer(self, client, server):
        with client, server:
            with contextlib.suppress(OSError):
                while data := server.recv(65536):
                    self._pass_on(client, data)
            for side in (client, server):
                with contextlib.suppress(OSError):
                    side.shutdown(socket.SHUT_RDWR)

    def _pass_on(self, client, data):
        before = self._act and self._instant - self.passed
        if before is None or before > len(data):
            before = len(data)
        client.sendall(data[:before])
        self.passed += before
        if self._act and self.passed >= self._instant:
            act, self._act = self._act, None
            act()
            self._acted.set()
        if data[before:]:
            client.sendall(data[before:])
            self.passed += len(data) - before
