"""A Dovecot's log, in which nothing bad may stand unexpected."""

import re

BAD = re.compile(r"Panic|Fatal|Error: |Raw backtrace|segfault|"
                 r"ERROR: AddressSanitizer|runtime error:|Event .* leaked|"
                 r"memory leak|Leaked settings")
# Allowed while Dovecot is stopped: what processes wait for has gone before
# them.
OF_ITS_END = [re.compile(text) for text in (
    r"conn unix:\S*stats-writer .*: Timeout waiting for handshake",
    r"(Error|Failed to) read(ing)? configuration: .*Connection reset by peer",
    r"read\(\S*/run/config\) failed: .*Connection reset by peer",
    r"read\(anvil[a-z-]*\) failed: EOF",
    r"net_connect_unix\(anvil[a-z-]*\) failed",
    r"net_connect_unix\(\S*/stats-writer\) failed: No such file",
    r"read\(log listen_fd\(\d+\): \) failed: EOF")]


def _matches(patterns, line):
    return any(pattern.search(line) for pattern in patterns)


class Log:
    def __init__(self, path):
        self.path = path
        self._allowed = []
        # as ranges of line numbers
        self._ends = []

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

    def end_begins(self):
        self._ends.append(range(len(self.text().splitlines()), 1 << 62))

    def end_is_over(self):
        self._ends[-1] = range(self._ends[-1].start,
                               len(self.text().splitlines()))

    def _is_expected(self, number, line):
        return _matches(self._allowed, line) or (
            any(number in end for end in self._ends) and
            _matches(OF_ITS_END, line))

    def unexpected(self):
        return [line for number, line in enumerate(self.text().splitlines())
                if BAD.search(line) and not self._is_expected(number, line)]
