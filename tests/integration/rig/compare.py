"""What is in a mailbox, and how it differs from what should be."""

import dataclasses
import datetime
import hashlib
import re

from . import names

LISTED = re.compile(rb'\((?P<flags>[^)]*)\) (?:NIL|"(?:\\.|[^"])*") '
                    rb'(?P<name>.*)$')
SYSTEM_FLAGS = {"\\Seen", "\\Answered", "\\Flagged", "\\Draft", "\\Deleted"}


@dataclasses.dataclass(frozen=True)
class Stored:
    """One message as it lies there."""
    uid: int
    flags: frozenset
    keywords: frozenset
    date: int
    digest: str
    size: int
    # for people: its Message-ID
    label: str

    def marks(self):
        """Everything but place and content, for comparing and printing."""
        when = datetime.datetime.fromtimestamp(self.date,
                                               datetime.timezone.utc)
        return (f"{' '.join(sorted(self.flags | self.keywords)) or '-'} "
                f"{when:%Y-%m-%d %H:%M:%S}")


def folder_names(client):
    """All mailboxes that can be selected, in UTF-8."""
    found = []
    for line in client.list()[1]:
        if isinstance(line, tuple):
            # the name came as a literal
            flags, name = LISTED.match(line[0] + b"{").group("flags"), line[1]
        elif line is None:
            continue
        else:
            match = LISTED.match(line)
            flags, name = match.group("flags"), match.group("name")
            if name.startswith(b'"'):
                name = re.sub(rb"\\(.)", rb"\1", name[1:-1])
        if b"\\Noselect" not in flags and b"\\NonExistent" not in flags:
            found.append(names.decode(name.decode("ascii")))
    return found


def snapshot(dovecot, user, folders=None):
    """Everything a user has: {folder: [Stored, UIDs rising]}."""
    client = dovecot.imap(user)
    found = {}
    for name in folders or folder_names(client):
        status, answer = client.select(names.quote(name), readonly=True)
        if status != "OK":
            raise AssertionError(f"{user}: EXAMINE {name}: {answer}")
        found[name] = _fetch(client) if int(answer[0]) else []
    client.logout()
    return found


def _fetch(client):
    status, lines = client.uid(
        "FETCH", "1:*", "(UID FLAGS INTERNALDATE BODY.PEEK[])")
    if status != "OK":
        raise AssertionError(f"FETCH: {lines}")
    stored = []
    for number, line in enumerate(lines):
        if isinstance(line, tuple):
            tail = lines[number + 1] if number + 1 < len(lines) else b""
            rest = tail if isinstance(tail, bytes) else b""
            stored.append(_stored(line[0] + rest, line[1]))
        elif line and b'BODY[] ""' in line:
            stored.append(_stored(line, b""))
    return sorted(stored, key=lambda message: message.uid)


def _stored(items, content):
    words = set(re.search(rb"FLAGS \(([^)]*)\)", items).group(1)
                .decode().split()) - {"\\Recent"}
    date = re.search(rb'INTERNALDATE "([^"]*)"', items).group(1).decode()
    when = datetime.datetime.strptime(date.strip(), "%d-%b-%Y %H:%M:%S %z")
    return Stored(
        uid=int(re.search(rb"UID (\d+)", items).group(1)),
        flags=frozenset(words & SYSTEM_FLAGS),
        keywords=frozenset(words - SYSTEM_FLAGS),
        date=int(when.timestamp()), size=len(content),
        digest=hashlib.sha256(content).hexdigest(), label=_label(content))


def _label(content):
    match = re.search(rb"^Message-ID: *(\S+)", content, re.M | re.I)
    return match.group(1).decode(errors="replace") if match else "no id"


def expected(messages):
    """A snapshot as it should be after filling with these messages."""
    found = {}
    for message in messages:
        folder = found.setdefault(message.folder, [])
        folder.append(Stored(
            uid=len(folder) + 1, flags=message.flags,
            keywords=message.keywords, date=message.date,
            size=len(message.content),
            digest=hashlib.sha256(message.content).hexdigest(),
            label=_label(message.content)))
    return found


def differences(wanted, found, folder_map=None, order=True,
                ignore_empty=True):
    """Lines that say how found differs from wanted: none if it is the same.

    folder_map: {wanted folder: found folder}, for those that are not called
    the same. order: messages of a folder must come in the same order. UIDs
    themselves are not compared. ignore_empty: folders that are empty may be
    missing on either side.
    """
    folder_map = folder_map or {}
    renamed = {folder_map.get(name, name): messages
               for name, messages in wanted.items()}
    lines = []
    for name in sorted(renamed.keys() | found.keys()):
        if name not in found and not (ignore_empty and not renamed[name]):
            lines.append(f"{name}: the folder is missing")
        elif name not in renamed and not (ignore_empty and not found[name]):
            lines.append(f"{name}: the folder should not be there "
                         f"({len(found[name])} messages)")
        elif name in found and name in renamed:
            lines += [f"{name}: {line}" for line in
                      _folder_differences(renamed[name], found[name], order)]
    return lines


def _by_digest(messages):
    groups = {}
    for message in messages:
        groups.setdefault(message.digest, []).append(message)
    return groups


def _folder_differences(wanted, found, order):
    lines = []
    groups, have = _by_digest(wanted), _by_digest(found)
    for digest, group in groups.items():
        lines += _group_differences(group, have.get(digest, []))
    for digest in have.keys() - groups.keys():
        lines += [f"UID {message.uid} {message.label}: should not be there, "
                  f"or has other content ({message.size} bytes)"
                  for message in have[digest]]
    if order and not lines:
        for want, got in zip(wanted, found):
            if want.digest != got.digest:
                lines.append(f"order: UID {got.uid} is {got.label}, "
                             f"not {want.label}")
                break
    return lines


def _group_differences(wanted, found):
    """Messages of the same content on both sides."""
    label = wanted[0].label
    if len(wanted) != len(found):
        many = {0: "missing"}.get(
            len(found), f"{len(found)} times, not {len(wanted)}")
        return [f"{label} ({wanted[0].size} bytes): {many}"]
    pairs = zip(sorted(wanted, key=Stored.marks),
                sorted(found, key=Stored.marks))
    return [f"UID {got.uid} {label}: is {got.marks()}, not {want.marks()}"
            for want, got in pairs if want.marks() != got.marks()]


def assert_same(wanted, found, most=25, **options):
    """Fail with a readable list if differences() finds any."""
    lines = differences(wanted, found, **options)
    if lines:
        shown = "\n  ".join(lines[:most])
        more = f"\n  ... {len(lines) - most} more" if len(lines) > most else ""
        raise AssertionError(
            f"{len(lines)} differences:\n  {shown}{more}")
