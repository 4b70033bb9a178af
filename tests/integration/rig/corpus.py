"""Sample mail: the same from the same seed, of every awkward shape."""

import base64
import dataclasses
import datetime
import math
import random

FOLDERS = {
    # name: share of the messages
    "INBOX": 30,
    "Sent": 12,
    "Drafts": 1,
    "Junk": 4,
    "Trash": 3,
    "Archive/2019": 10,
    "Archive/2020/Q1": 8,
    "Lists/dovecot": 12,
    "Work/Müller & Söhne": 8,
    "Проекты/Отчёты": 5,
    "日本語": 4,
    "Work/Invoices/paid": 3,
}
KEYWORDS = ("$Forwarded", "$Label1", "$MDNSent", "NonJunk", "work", "tax-2019")

WORDS = ("mail server folder pull message delivery over night until morning "
         "invoice meeting report again answer question please thank you all "
         "Dovecot Sieve account remote local second first copy").split()

# newest message, seconds since the epoch: no wall clock in test data
NEWEST = int(datetime.datetime(2024, 6, 1, 12,
                               tzinfo=datetime.timezone.utc).timestamp())
YEAR = 365 * 24 * 3600


@dataclasses.dataclass(frozen=True)
class Message:
    """One message to fill a mailbox with. content has CRLF line ends."""
    folder: str
    content: bytes
    flags: frozenset = frozenset()
    keywords: frozenset = frozenset()
    date: int = NEWEST
    zone_mins: int = 0

    @property
    def internaldate(self):
        zone = datetime.timezone(datetime.timedelta(minutes=self.zone_mins))
        return datetime.datetime.fromtimestamp(self.date, zone)


class Corpus:
    """Makes messages. mean: their mean size in bytes; largest: nothing is
    bigger; years: how far back they go."""

    def __init__(self, seed=1, mean=4000, largest=150_000, years=8,
                 folders=None, newest=NEWEST):
        self._random = random.Random(seed)
        self._seed = seed
        self._mean, self._largest = mean, largest
        self._years, self._newest = years, newest
        self._folders = folders or FOLDERS
        self._count = 0
        self._text = self._prose(200_000)

    def messages(self, count):
        """count messages over all folders, oldest first in each."""
        names = self._random.choices(list(self._folders),
                                     list(self._folders.values()), k=count)
        # every folder gets something if there is enough
        for i, name in enumerate(list(self._folders)[:count]):
            names[i] = name
        span = self._years * YEAR
        dates = sorted(self._newest - self._random.randrange(span)
                       for _ in range(count))
        return [self.message(name, date=date)
                for name, date in zip(names, dates)]

    def message(self, folder="INBOX", kind=None, size=None, date=None,
                flags=None, keywords=None, subject=None):
        """One message; what is not given is drawn."""
        self._count += 1
        if size is None:
            size = self._size()
        if kind is None:
            kind = self._kind()
        date = self._newest if date is None else date
        return Message(
            folder=folder,
            content=self._content(kind, size, date, subject),
            flags=frozenset(self._flags(folder) if flags is None else flags),
            keywords=frozenset(self._keywords() if keywords is None
                               else keywords),
            date=date,
            zone_mins=self._random.choice((0, 60, 120, -300, 330)))

    def _size(self):
        sigma = 1.1
        drawn = self._random.lognormvariate(
            math.log(self._mean) - sigma * sigma / 2, sigma)
        return int(min(drawn, self._largest))

    def _kind(self):
        odd = [name for name in KINDS if name != "plain"]
        return ("plain" if self._random.random() < 0.6
                else self._random.choice(odd))

    def _flags(self, folder):
        drawn = [name for name, chance in (
            ("\\Seen", 0.7), ("\\Answered", 0.2), ("\\Flagged", 0.1))
            if self._random.random() < chance]
        return drawn + (["\\Draft"] if folder == "Drafts" else [])

    def _keywords(self):
        return [name for name in KEYWORDS if self._random.random() < 0.08]

    def _prose(self, size):
        text, line = [], ""
        length = 0
        while length < size:
            word = self._random.choice(WORDS)
            if len(line) + len(word) > 70:
                text.append(line)
                length += len(line) + 2
                line = ""
            line = f"{line} {word}" if line else word
        return "\r\n".join(text)

    def text(self, size):
        start = self._random.randrange(len(self._text))
        text = self._text[start:start + size]
        while len(text) < size:
            text += "\r\n" + self._text[:size - len(text)]
        # never a half line end
        return text.strip("\r\n") + "\r\n"

    def _content(self, kind, size, date, subject):
        when = datetime.datetime.fromtimestamp(date, datetime.timezone.utc)
        head = (
            f"Return-Path: <sender{self._count % 50}@example.org>\r\n"
            f"From: Sender {self._count % 50} "
            f"<sender{self._count % 50}@example.org>\r\n"
            f"To: anna@example.net\r\n"
            f"Subject: {subject or f'{kind} {self._count}'}\r\n"
            f"Date: {when:%a, %d %b %Y %H:%M:%S} +0000\r\n"
            f"Message-ID: <{self._count}.{self._seed}@example.org>\r\n"
        ).encode()
        return KINDS[kind](self, head, size)

    def random_bytes(self, count):
        return self._random.randbytes(count)


def _plain(corpus, head, size):
    return head + b"\r\n" + corpus.text(size).encode()


def _tiny(_corpus, head, _size):
    return head + b"\r\n.\r\n"


def _no_body(_corpus, head, _size):
    return head + b"\r\n"


def _headers_only(_corpus, head, _size):
    return head


def _no_final_newline(corpus, head, size):
    return head + b"\r\n" + corpus.text(size).encode() + b"the end"


def _dot_lines(corpus, head, size):
    return (head + b"\r\n.\r\n..\r\n.dot\r\n" + corpus.text(size).encode() +
            b".\r\n..\r\n")


def _from_lines(corpus, head, size):
    return (head + b"\r\nFrom anna Mon Jan  1 00:00:00 2018\r\n>From x\r\n" +
            corpus.text(size).encode())


def _long_lines(corpus, head, size):
    line = corpus.text(max(size, 3000)).replace("\r\n", " ").encode()
    return (head + b"X-Long: " + line[:900] + b"\r\n\r\n" + line * 3 +
            b"\r\nshort\r\n")


def _latin1(corpus, head, size):
    return (head + b"Content-Type: text/plain; charset=iso-8859-1\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n"
            b"Gr\xfc\xdfe \xe4\xf6\xfc \xff\x80\r\n" +
            corpus.text(size).encode())


def _utf8(corpus, head, size):
    return (head.replace(b"Subject: ", "Subject: Grüße ".encode()) +
            b"Content-Type: text/plain; charset=utf-8\r\n"
            b"Content-Transfer-Encoding: 8bit\r\n\r\n" +
            "Отчёт за год — 日本語のメール\r\n".encode() +
            corpus.text(size).encode())


def _folded_headers(corpus, head, size):
    received = b"".join(
        b"Received: from a%d.example.org\r\n\tby b%d.example.org\r\n"
        b" with ESMTP id %d\r\n" % (i, i, i) for i in range(12))
    return received + head + b"\r\n" + corpus.text(size).encode()


def _attachment(corpus, head, size):
    data = base64.encodebytes(corpus.random_bytes(size)).replace(
        b"\n", b"\r\n")
    return (head + b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; '
            b'boundary="=_b"\r\n\r\nprologue\r\n--=_b\r\n'
            b'Content-Type: text/plain\r\n\r\nsee there\r\n--=_b\r\n'
            b'Content-Type: application/octet-stream\r\n'
            b'Content-Transfer-Encoding: base64\r\n\r\n' + data +
            b'--=_b--\r\n')


def _blank_end(corpus, head, size):
    return head + b"\r\n" + corpus.text(size).encode() + b"\r\n\r\n\r\n"


KINDS = {
    "plain": _plain,
    "tiny": _tiny,
    "no-body": _no_body,
    "headers-only": _headers_only,
    "no-final-newline": _no_final_newline,
    "dot-lines": _dot_lines,
    "from-lines": _from_lines,
    "long-lines": _long_lines,
    "latin1": _latin1,
    "utf8": _utf8,
    "folded-headers": _folded_headers,
    "attachment": _attachment,
    "blank-end": _blank_end,
}
