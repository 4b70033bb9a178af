"""Tests wait for facts, not for times."""

import time


def wait_for(fact, timeout=20.0, what=None):
    """Call fact() until it returns something true, and return that.

    Exceptions of fact() count as "not yet". When timeout seconds are over,
    AssertionError says what was waited for and what was seen last.
    """
    deadline = time.monotonic() + timeout
    pause = 0.005
    while True:
        try:
            seen = fact()
            if seen:
                return seen
        except Exception as error:  # the last one is reported
            seen = error
        if time.monotonic() > deadline:
            name = what or getattr(fact, "__name__", "fact")
            raise AssertionError(
                f"waited {timeout:g} s for {name}; last seen: {seen!r}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)
