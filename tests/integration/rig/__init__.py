"""Private Dovecots for tests and for the demo.

    with Scratch() as scratch:
        remote = remote_dovecot(scratch)
        remote.add_user("anna", "secret")
        remote.start()

Nothing of the system's Dovecot is touched: programs and modules are looked up
in a private mount namespace where a copy of Dovecot's library directory,
with ours merged in, lies over the system's; configuration, sockets, state and
mail are under one scratch directory; ports are on loopback.
"""

from .compare import assert_same, differences, snapshot
from .corpus import Corpus, Message
from .dovecot import (Dovecot, DoveadmResult, local_dovecot, remote_dovecot)
from .fill import append, fill_imap, fill_maildir
from .relay import Relay
from .scratch import Scratch, free_port, tool
from .wait import wait_for

__all__ = [
    "Corpus", "Dovecot", "DoveadmResult", "Message", "Relay", "Scratch",
    "append", "assert_same", "differences", "fill_imap", "fill_maildir",
    "free_port", "local_dovecot", "remote_dovecot", "snapshot", "tool",
    "wait_for",
]
