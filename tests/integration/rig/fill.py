"""Putting messages into a mailbox: fast (files), or any way (APPEND)."""

import os
import string

from . import names

MAILDIR_FLAGS = {"\\Draft": "D", "\\Flagged": "F", "\\Answered": "R",
                 "\\Seen": "S", "\\Deleted": "T"}


def append(client, message):
    """APPEND one message with a logged in imaplib connection; its folder
    must exist. Returns its UID."""
    flags = " ".join(sorted(message.flags | message.keywords))
    status, answer = client.append(
        names.quote(message.folder), f"({flags})",
        f'"{message.internaldate:%d-%b-%Y %H:%M:%S %z}"', message.content)
    if status != "OK":
        raise RuntimeError(f"APPEND to {message.folder}: {answer}")
    # [APPENDUID uidvalidity uid]
    return int(answer[0].split(b"]")[0].split()[-1])


def create_folder(client, name):
    """Create and subscribe, unless it is there."""
    if name != "INBOX":
        client.create(names.quote(name))
    client.subscribe(names.quote(name))


def fill_imap(dovecot, user, messages):
    """APPEND messages, whatever the format of the mailbox."""
    client = dovecot.imap(user)
    made = set()
    for message in messages:
        if message.folder not in made:
            create_folder(client, message.folder)
            made.add(message.folder)
        append(client, message)
    client.logout()


def fill_maildir(dovecot, user, messages):
    """Write Maildir files of a user who has no mail yet: thousands a second.
    UIDs come in the order of messages."""
    owner = dovecot.users[user]
    if owner.mail_format != "maildir":
        raise ValueError(f"{user} has no Maildir")
    root = os.path.join(owner.home, "Maildir")
    os.mkdir(root)
    folders = {}
    for number, message in enumerate(messages):
        if message.folder not in folders:
            folders[message.folder] = _MaildirFolder(root, message.folder)
        folders[message.folder].add(number, message)
    for folder in folders.values():
        folder.finish()
    with open(os.path.join(root, "subscriptions"), "w",
              encoding="ascii") as file:
        # version 2 lists the levels of a name split by tabs
        file.write("V\t2\n\n")
        for name in folders:
            file.write("\t".join(map(names.encode, name.split("/"))) + "\n")
    _give_away(root, owner.uid)


def _give_away(root, uid):
    for path, _dirs, files in os.walk(root):
        os.chown(path, uid, uid)
        for name in files:
            os.chown(os.path.join(path, name), uid, uid)


class _MaildirFolder:
    def __init__(self, root, name):
        self.path = root
        if name != "INBOX":
            encoded = names.encode(name).replace("/", ".")
            self.path = os.path.join(root, f".{encoded}")
            os.mkdir(self.path)
            open(os.path.join(self.path, "maildirfolder"), "w").close()
        for part in ("cur", "new", "tmp"):
            os.mkdir(os.path.join(self.path, part))
        self._keywords = []

    def _letter(self, keyword):
        if keyword not in self._keywords:
            self._keywords.append(keyword)
        return string.ascii_lowercase[self._keywords.index(keyword)]

    def add(self, number, message):
        content = message.content.replace(b"\r\n", b"\n")
        letters = [MAILDIR_FLAGS[flag] for flag in message.flags]
        letters += [self._letter(keyword)
                    for keyword in sorted(message.keywords)]
        name = (f"{1_000_000_000 + number}.M{number:06d}P1.fill,"
                f"S={len(content)},W={len(message.content)}:2,"
                f"{''.join(sorted(letters))}")
        path = os.path.join(self.path, "cur", name)
        with open(path, "wb") as file:
            file.write(content)
        os.utime(path, (message.date, message.date))

    def finish(self):
        with open(os.path.join(self.path, "dovecot-keywords"), "w",
                  encoding="ascii") as file:
            for index, keyword in enumerate(self._keywords):
                file.write(f"{index} {keyword}\n")
