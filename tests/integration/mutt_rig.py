"""For tests with mutt and neomutt: what each needs to read anna's INBOX."""

from terminal_rig import Terminal

RC = """
set folder=imaps://anna@localhost:{port}/
set spoolfile=+INBOX
set imap_pass={password}
set certificate_file={ca}
set imap_idle={idle}
set timeout={timeout}
unset help
"""


def mutt(scratch, program, dovecot, idle=True, timeout=1):
    """timeout: seconds without a key after which it hears the server. With
    idle it waits for mail as desktop programs do."""
    home = scratch.path / program
    home.mkdir()
    rc = home / "rc"
    rc.write_text(RC.format(
        port=dovecot.port("imaps"), password=dovecot.users["anna"].password,
        ca=scratch.ca().cert, idle="yes" if idle else "no", timeout=timeout))
    return Terminal(scratch, [program, "-n", "-F", rc], home)
