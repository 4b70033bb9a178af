"""For tests of the lmtp plugin: a server that knows the header key, messages
injected with signed headers (tests/tools/lmtp-inject), and a server that takes
what scripts send out."""

import dataclasses
import os
import re
import secrets
import shutil
import socketserver
import subprocess
import threading

from rig import local_dovecot, tool
from rig.scratch import MAIL_UID

LETTERS = {"\\Answered": "A", "\\Draft": "D", "\\Flagged": "F", "\\Seen": "S"}


@dataclasses.dataclass
class Injected:
    """What the server said, and what the slot says now."""
    replies: list
    state: str
    # (mailbox, GUID or file name)
    stores: list

    @property
    def reply(self):
        return self.replies[-1]


class PluginDovecot:
    """A local Dovecot whose lmtp plugin has a header key."""

    def __init__(self, scratch, **options):
        self.dovecot = local_dovecot(scratch, **options)
        self.dovecot.configure("lda_mailbox_autocreate = no\n")
        self.key = self.dovecot.dir / "header.key"
        self.new_key()
        self.dovecot.configure(
            f"imapsync_pull_header_key_file = {self.key}\n")
        self._uid = 0

    def new_key(self):
        """As the service does: written beside, then renamed."""
        new = self.key.with_suffix(".new")
        new.write_text(secrets.token_hex(32) + "\n")
        new.chmod(0o600)
        # the service reads it too
        shutil.chown(new, "dovecot", "dovecot")
        new.rename(self.key)

    def add_user(self, name, mail_format, script=None):
        user = self.dovecot.add_user(name, mail_format=mail_format)
        state = self.state_dir(name)
        os.mkdir(state, 0o700)
        os.chown(state, MAIL_UID, MAIL_UID)
        if script is not None:
            self.dovecot.sieve(name, script)
        return user

    def state_dir(self, user):
        return os.path.join(self.dovecot.users[user].home, ".imapsync-pull")

    def inject_command(self, user, *options, **values):
        """values: --name value; True is an option without one."""
        words = [tool("lmtp-inject"), "--socket", self.dovecot.socket("lmtp"),
                 "--user", user, "--state-dir", self.state_dir(user),
                 "--key", str(self.key), "--as", str(MAIL_UID), *options]
        for name, value in values.items():
            words += ["--" + name.replace("_", "-"), str(value)]
        return words

    def inject(self, user, content, *options, timeout=60, **values):
        """One message; a new UID unless one is given."""
        if "uid" not in values:
            self._uid += 1
            values["uid"] = self._uid
        done = subprocess.run(
            self.inject_command(user, *options, **values), input=content,
            capture_output=True, timeout=timeout, check=False)
        if done.returncode not in (0, 1):
            raise RuntimeError(done.stderr.decode())
        return parse_injected(done.stdout.decode())

    def inject_message(self, user, message, *options, **values):
        """A message of the corpus, with its marks."""
        return self.inject(
            user, message.content, *options, mailbox=message.folder,
            flags="".join(LETTERS[flag] for flag in message.flags),
            keywords=" ".join(sorted(message.keywords)), date=message.date,
            **values)


def parse_injected(text):
    replies, state, stores = [], "", []
    for line in text.splitlines():
        word, *rest = line.split("\t")
        if word == "reply":
            replies.append(rest[0])
        else:
            state, stores = rest[0], list(zip(rest[1::2], rest[2::2]))
    return Injected(replies, state, stores)


class _Session(socketserver.StreamRequestHandler):
    def handle(self):
        self._say("220 outside ESMTP")
        while line := self.rfile.readline().decode().strip():
            word = line.upper()
            if word.startswith("DATA"):
                self._say("354 go on")
                self.server.messages.append(self._data())
            elif word.startswith("RCPT"):
                self.server.recipients.append(re.search("<(.*?)>",
                                                        line).group(1))
            self._say("221 bye" if word == "QUIT" else "250 2.0.0 ok")
            if word == "QUIT":
                break

    def _say(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def _data(self):
        lines = []
        while (line := self.rfile.readline()) not in (b".\r\n", b""):
            lines.append(line)
        return b"".join(lines)


class Outside(socketserver.ThreadingTCPServer):
    """The submission server of a Dovecot: keeps what is sent out."""
    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port):
        super().__init__(("127.0.0.1", port), _Session)
        self.messages, self.recipients = [], []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *exc):
        self.shutdown()
        super().__exit__(*exc)
