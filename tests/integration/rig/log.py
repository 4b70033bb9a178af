"""A Dovecot's log, in which nothing bad may stand unexpected."""

import re

BAD = re.compile(r"Panic|Fatal|Error: |Raw backtrace|segfault|"
                 r"ERROR: AddressSanitizer|runtime error:|Event .* leaked|"
                 r"memory leak|Leaked settings")
# Dovecot stopped while its own processes were still starting: what they wait
# for has gone first.
HARMLESS = (r"conn unix:\S*stats-writer .*: Timeout waiting for handshake",
            r"(Error|Failed to) read(ing)? configuration: .*"
            r"Connection reset by peer",
            r"read\(\S*/run/config\) failed: .*Connection reset by peer",
            r"read\(anvil[a-z-]*\) failed: EOF",
            r"net_connect_unix\(anvil[a-z-]*\) failed",
            r"net_connect_unix\(\S*/stats-writer\) failed: No such file",
            r"read\(log listen_fd\(\d+\): \) failed: EOF")


class Log:
    def __init__(self, path):
        self.path = path
        self._allowed = [re.compile(text) for text in HARMLESS]

    def text(self):
        try:
            return self.path.read_text(errors="replace")
        except FileNotFoundError:
            return ""

    def lines(self, pattern):
        """All lines in which the regular expression is found."""
        return [line for line in self.text().splitlines()
                if re.search(pattern, line)]

    def allow(self, pattern):
        """Lines in which this is found are expected from now on."""
        self._allowed.append(re.compile(pattern))

    def unexpected(self):
        return [line for line in self.lines(BAD)
                if not any(allowed.search(line) for allowed in self._allowed)]
