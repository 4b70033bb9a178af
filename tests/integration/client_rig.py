"""For tests with mail programs of the terminal: what each needs to read anna's
INBOX."""

from terminal_rig import Terminal

MUTT = """
set folder=imaps://anna@localhost:{port}/
set spoolfile=+INBOX
set imap_pass={password}
set certificate_file={ca}
set imap_idle={idle}
set timeout={timeout}
unset help
"""

# It knows no authorities but the system's.
ALPINE = """
user-domain=example.org
inbox-path={{localhost:{port}/ssl/novalidate-cert/user=anna}}INBOX
last-version-used=7.00
feature-list=quit-without-confirm
"""


def _home(scratch, program, name, text):
    """With a configuration file. Returns both."""
    home = scratch.path / program
    home.mkdir()
    (home / name).write_text(text)
    return home, home / name


def mutt(scratch, program, dovecot, idle=True, timeout=1):
    """Or neomutt. timeout: seconds without a key after which it hears the
    server. With idle it waits for mail as desktop programs do."""
    home, config = _home(scratch, program, "rc", MUTT.format(
        port=dovecot.port("imaps"), password=dovecot.users["anna"].password,
        ca=scratch.ca().cert, idle="yes" if idle else "no", timeout=timeout))
    return Terminal([program, "-n", "-F", config], home)


def alpine(scratch, dovecot):
    """It asks for the password."""
    home, _config = _home(scratch, "alpine", ".pinerc", ALPINE.format(
        port=dovecot.port("imaps")))
    return Terminal(["alpine", "-i"], home)
