"""For tests with mail clients of the terminal: a screen of their own, as text,
in a private tmux."""

import subprocess

from rig import wait_for

# seconds for a program to draw what it has to
PATIENCE = 30
COLUMNS, ROWS = 100, 16


class Terminal:
    """A program on a screen. Keys go to it, and all it wrote is kept."""

    def __init__(self, command, home):
        self._tmux = ["tmux", "-f", "/dev/null", "-S", str(home / "tmux")]
        self._raw = home / "terminal"
        # it starts once somebody listens
        start = ["sh", "-c", 'read -r _ && exec "$@"', "sh", *command]
        self._run("new-session", "-d", "-x", str(COLUMNS), "-y", str(ROWS),
                  "env", "-i", "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8",
                  "TERM=screen", f"HOME={home}", *map(str, start))
        self._run("set-option", "-g", "remain-on-exit", "on")
        self._run("pipe-pane", "-O", f"cat >{self._raw}")
        wait_for(self._raw.exists, PATIENCE)
        self.keys("Enter")

    def _run(self, *words):
        done = subprocess.run([*self._tmux, *words], text=True,
                              capture_output=True)
        assert done.returncode == 0, f"tmux {words[0]}: {done.stderr}"
        return done.stdout

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        self._run("kill-server")

    def keys(self, *keys):
        self._run("send-keys", *keys)

    def text(self):
        """The screen as it is now."""
        return self._run("capture-pane", "-p")

    def wait(self, *texts):
        """The screen on which one of these texts appears."""
        screens = []

        def appears():
            screens.append(self.text())
            return any(text in screens[-1] for text in texts)

        try:
            wait_for(appears, PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{texts} do not appear on\n"
                                 f"{screens[-1]}") from error
        return screens[-1]

    def wait_without(self, text):
        wait_for(lambda: text not in self.text(), PATIENCE,
                 what=f"a screen without {text}")

    def written(self):
        """All that was ever written to it, control sequences and all."""
        return self._raw.read_text(errors="replace")

    def bells(self):
        """How often it has rung."""
        return self.written().count("\a")

    def wait_bells(self, count):
        """What is written is kept a moment after it is shown."""
        wait_for(lambda: self.bells() >= count, PATIENCE, what="the bell")
        assert self.bells() == count
