"""Fixtures: a scratch directory, and Dovecots whose logs must be clean."""

import os

import pytest

from rig import Scratch, local_dovecot, remote_dovecot


def pytest_configure(config):
    config.addinivalue_line("markers", "soak: long, only with --soak")
    config.addinivalue_line(
        "markers", "sanitize: also run with programs built with sanitizers")


def pytest_collection_modifyitems(items):
    """Long variants are left out, not skipped: a skip is never a pass."""
    if os.environ.get("IMAPSYNC_SOAK") != "1":
        items[:] = [item for item in items if "soak" not in item.keywords]


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
