"""Fixtures: a scratch directory, and Dovecots whose logs must be clean."""

import os

import pytest

from rig import Scratch, local_dovecot, remote_dovecot
from rig.system import newer_system

# files with tests that take many seconds
LONG = ("test_pull_kill.py", "test_pull_hostile.py", "test_lmtp_kill.py")


def pytest_configure(config):
    config.addinivalue_line("markers", "soak: long, only with --soak")
    config.addinivalue_line(
        "markers", "sanitize: also run with programs built with sanitizers")
    config.addinivalue_line(
        "markers", "upgrade: from Dovecot 2.3, where 2.4 is at hand, too")


def pytest_collection_modifyitems(items):
    """Long variants, and what needs two Dovecots where there is but one, are
    left out, not skipped: a skip is never a pass."""
    left_out = set()
    if os.environ.get("IMAPSYNC_SOAK") != "1":
        left_out.add("soak")
    if newer_system() is None:
        left_out.add("upgrade")
    items[:] = [item for item in items
                if left_out.isdisjoint(item.keywords)]
    # processes that share the tests end together if the long ones come first
    items.sort(key=lambda item: item.path.name not in LONG)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.failed = report.failed


@pytest.fixture
def scratch(request):
    """A scratch directory with instances of its own; afterwards their logs
    are looked through, and shown if the test failed."""
    with Scratch() as made:
        yield made
        for instance in made.instances:
            instance.stop()
        _look_at_logs(made, getattr(request.node, "failed", True))


def _look_at_logs(scratch, failed):
    bad = []
    for instance in scratch.instances:
        if failed:
            tail = instance.log.text().splitlines()[-60:]
            print(f"--- log of {instance.name}", *tail, sep="\n")
        bad += [f"{instance.name}: {line}"
                for line in instance.log.unexpected()]
    assert not bad, "unexpected in the logs:\n" + "\n".join(bad)


@pytest.fixture
def remote(scratch):
    """A remote server with one user, anna; not started."""
    instance = remote_dovecot(scratch)
    instance.add_user("anna")
    return instance


@pytest.fixture
def local(scratch):
    """A local server; not started, no users."""
    return local_dovecot(scratch)
