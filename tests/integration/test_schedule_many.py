"""Five minutes of five hundred accounts on several hosts, a tenth of them
failing in different ways: nobody is forgotten, no host is overrun, and what is
appended meanwhile arrives."""

import collections
import contextlib
import datetime
import os
import random
import re
import socket
import threading
import time

import pytest
from pull_rig import Account, add
from rig import (Corpus, local_dovecot, remote_dovecot, snapshot,
                 wait_for)
from rig.scratch import free_port
from scripted_imap import Server, stall

pytestmark = pytest.mark.soak

ACCOUNTS = int(os.environ.get("IMAPSYNC_MANY_ACCOUNTS", "500"))
SECONDS = int(os.environ.get("IMAPSYNC_MANY_SECONDS", "300"))
HOSTS = [f"127.0.0.{number}" for number in range(2, 7)]
PER_HOST, RUNS, INTERVAL = 3, 12, 30
# what due.h promises over the interval, on a machine with other things to do
BOUND = 20
# a tenth
FAILING = ("password", "refused", "silent")

LOGIN = re.compile(r"^(\S+ \S+) imap-login: .*Login: user=<(\w+)>.*"
                   r"lip=([0-9.]+),")
ESTABLISHED = "01"


def logins(remote):
    """When who came, as the remote server's log tells it."""
    times = {}
    for line in remote.log.text().splitlines():
        login = LOGIN.match(line)
        if login and login[3] in HOSTS:
            times.setdefault(login[2], []).append(
                datetime.datetime.fromisoformat(login[1]).timestamp())
    return times


def longest_gap(times, start, end):
    times = [start, *sorted(times), end]
    return max(b - a for a, b in zip(times, times[1:]))


class Connections(threading.Thread):
    """Looks all the time how many connections there are to each host, as the
    kernel has them: the server logs an end when it comes to it."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self._hosts = {}
        for host in HOSTS:
            address = socket.inet_aton(host)[::-1].hex().upper()
            self._hosts[f"{address}:{port:04X}"] = host
        self._stopping = threading.Event()
        self.most = dict.fromkeys(HOSTS, 0)
        self.looks = 0

    def run(self):
        while not self._stopping.wait(0.03):
            self._look()

    def _open(self):
        with open("/proc/net/tcp", encoding="ascii") as table:
            rows = [line.split(None, 4) for line in table]
        return {(self._hosts[peer], local) for _, local, peer, state, _ in rows
                if state == ESTABLISHED and peer in self._hosts}

    def _look(self):
        """What is there twice was there between: while the table is read, one
        may end and another begin."""
        now = collections.Counter(
            host for host, _local in self._open() & self._open())
        self.most = {host: max(self.most[host], now[host]) for host in HOSTS}
        self.looks += 1

    def stop(self):
        self._stopping.set()
        self.join()


def failing_keys(kind, silent):
    return {"password": {"secret": "wrong"},
            "refused": {"host": HOSTS[0], "port": free_port()},
            "silent": {"host": "127.0.0.1", "port": silent.port}}[kind]


@contextlib.contextmanager
def many(local, remote):
    """Yields the accounts that work, by user. Starts both servers."""
    remote.configure(f"listen = {' '.join(('127.0.0.1', *HOSTS))}\n")
    local.configure(f"imapsync_pull_max_runs = {RUNS}\n"
                    f"imapsync_pull_max_runs_per_host = {PER_HOST}\n"
                    "imapsync_pull_allow_cleartext = 127.0.0.*\n")
    names = [f"user{number}" for number in range(ACCOUNTS)]
    for name in names:
        remote.add_user(name)
        local.add_user(name)
    remote.start()
    local.start()
    wait_for(lambda: local.doveadm("user", names[-1]).code == 0)
    with Server() as silent:
        silent.on("GREETING", stall())
        good = {}
        for number, name in enumerate(names):
            host = HOSTS[number % len(HOSTS)]
            keys = {"host": host, "interval": f"{INTERVAL}s", "idle": "no",
                    "login": name}
            bad = FAILING[number // 10 % 3] if number % 10 == 0 else None
            if bad:
                keys.update(failing_keys(bad, silent))
            account = Account(local, name, remote, **keys)
            if not bad:
                good[name] = account
        yield good


def append_now_and_then(remote, users, seconds):
    """Returns how many messages each user was sent."""
    corpus, chance, sent = Corpus(seed=5), random.Random(5), {}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        user = chance.choice(users)
        add(remote, user, corpus.message(folder="INBOX", kind="plain"))
        sent[user] = sent.get(user, 0) + 1
        time.sleep(chance.uniform(0.1, 0.9))
    return sent


def test_five_minutes(scratch):
    local = local_dovecot(scratch, schedule=True)
    remote = remote_dovecot(scratch)
    connections = Connections(remote.port("imap"))
    with many(local, remote) as good:
        connections.start()
        # the slowest round is the first
        wait_for(lambda: set(logins(remote)) >= set(good),
                 timeout=300, what="each account to be pulled once")
        start = time.time()
        sent = append_now_and_then(remote, sorted(good), SECONDS)
        end = time.time()
        for user, count in sent.items():
            wait_for(lambda user=user, count=count:
                     len(snapshot(local, user)["INBOX"]) == count,
                     timeout=2 * INTERVAL + BOUND,
                     what=f"{count} messages to reach {user}")
        connections.stop()
    times = logins(remote)
    # the first gap begins before the start
    waits = {user: longest_gap(times[user], start, end) for user in good}
    worst = max(waits, key=waits.get)
    print(f"longest wait {waits[worst]:.0f} s ({worst}), most connections to "
          f"a host {max(connections.most.values())} in {connections.looks} "
          f"looks, {sum(map(len, times.values()))} logins")
    assert waits[worst] <= INTERVAL + BOUND
    # that it looked, and not elsewhere
    assert min(connections.most.values()) > 0
    assert max(connections.most.values()) <= PER_HOST
