"""What Dovecot's OpenMetrics endpoint says of runs, with the metric
definitions that are shipped; and that dashboard and alert rules ask for what is
there."""

import json
import re
import urllib.request
from pathlib import Path

import pytest
from cred_service_rig import CredDovecot, webhook_secret
from pull_rig import EX_CONFIG, EX_NOPERM, Account
from rig import Corpus, fill_maildir, wait_for
from rig.scratch import free_port
from rig.system import HERE

DOC = Path(__file__).resolve().parents[2] / "doc" / "monitoring"
CONF = Path("etc/dovecot/conf.d")
SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? ([0-9.e+-]+)(?: [0-9.]+)?$")
LABEL = re.compile(r'(\w+)="([^"]*)"')


class Endpoint:
    """The stats process of a Dovecot, asked as Prometheus asks it."""

    def __init__(self, dovecot, metrics="imapsync-pull-metrics.conf.ext"):
        self.port = free_port()
        dovecot.configure((HERE.stage / CONF / metrics).read_text())
        dovecot.configure("service stats {\n  inet_listener http {\n"
                          f"    port = {self.port}\n  }}\n}}\n")

    def scrape(self):
        with urllib.request.urlopen(
                f"http://127.0.0.1:{self.port}/metrics", timeout=20) as answer:
            text = answer.read().decode()
        samples = (SAMPLE.match(line) for line in text.splitlines()
                   if not line.startswith("#"))
        return [(found[1], dict(LABEL.findall(found[2] or "")),
                 float(found[3])) for found in samples if found]

    def value(self, name, **labels):
        """0 if there is no such sample."""
        return sum(value for found, has, value in self.scrape()
                   if found == name and has == labels)

    def names(self):
        return {name for name, _labels, _value in self.scrape()}


def wait_for_value(endpoint, expected, name, **labels):
    """Processes tell the stats process a little later."""
    def fact():
        value = endpoint.value(name, **labels)
        if value != expected:
            raise ValueError(f"{value}, of {endpoint.scrape()}")
        return True

    wait_for(fact, what=f"{name} {labels} to be {expected}")


@pytest.fixture
def endpoint(local):
    made = Endpoint(local)
    local.add_user("bob")
    local.start()
    return made


@pytest.fixture
def remote_mail(remote):
    corpus = Corpus(seed=3)
    fill_maildir(remote, "anna", [
        corpus.message(folder=folder, kind="plain")
        for folder in ("INBOX", "Sent", "Sent")])
    remote.start()
    return remote


def test_runs_messages_and_logins_are_counted(endpoint, local, remote_mail):
    account = Account(local, "bob", remote_mail, preset="backup",
                      history="lmtp")
    account.run()
    account.run()
    wait_for_value(endpoint, 2, "dovecot_imapsync_pull_runs_total",
                   **{"class": "ok", "result": "ok"})
    wait_for_value(endpoint, 2, "dovecot_imapsync_pull_logins_total",
                   **{"class": "ok"})
    wait_for_value(endpoint, 1, "dovecot_imapsync_pull_messages_total",
                   result="stored", via="lmtp")
    wait_for_value(endpoint, 2, "dovecot_imapsync_pull_messages_total",
                   result="stored", via="direct")
    wait_for_value(endpoint, 2, "dovecot_imapsync_pull_run_time_count")


def test_failures_have_their_class(endpoint, local, remote_mail):
    account = Account(local, "bob", remote_mail, secret="wrong")
    account.run(code=EX_NOPERM)
    wait_for_value(endpoint, 1, "dovecot_imapsync_pull_runs_total",
                   **{"class": "credential", "result": "failed"})
    wait_for_value(endpoint, 1, "dovecot_imapsync_pull_logins_total",
                   **{"class": "credential"})


def test_runs_that_never_began_are_counted(endpoint, local, remote_mail):
    """The worker cannot have a state directory; the service lacks its key."""
    account = Account(local, "bob", remote_mail)
    local.configure("imapsync_pull_state_dir = nowhere\n")
    local.restart()
    account.run(code=EX_CONFIG)
    wait_for_value(endpoint, 1, "dovecot_imapsync_pull_runs_total",
                   **{"class": "config", "result": "failed"})
    assert local.log.lines("bob/work: failed: .*imapsync_pull_state_dir")
    local.stop()
    (local.dir / "state" / "imapsync-pull" / "master.key").unlink()
    local.log.allow("master.key")
    local.start()
    account.run(code=EX_CONFIG)
    wait_for_value(endpoint, 1, "dovecot_imapsync_pull_runs_total",
                   **{"class": "config", "result": "failed"})


def test_labels_name_nobody(endpoint, local, remote_mail):
    """Each value is one of few, whoever pulls from wherever."""
    Account(local, "bob", remote_mail, preset="backup").run()
    Account(local, "bob", remote_mail, secret="wrong",
            name="other").run(code=EX_NOPERM)
    wait_for_value(endpoint, 2, "dovecot_imapsync_pull_logins_count")
    known = {"class": {"ok", "credential"}, "via": {"direct"},
             "result": {"ok", "failed", "stored"}}
    for name, labels, _value in endpoint.scrape():
        if name.startswith("dovecot_imapsync_pull"):
            for label, value in labels.items():
                assert label == "le" or value in known[label], (name, labels)


def asked_for(text):
    """The metrics that queries ask for."""
    return set(re.findall(r"\bdovecot_\w+", text))


@pytest.mark.parametrize("file", ["grafana.json", "alerts.yml"])
def test_dashboard_and_alerts_ask_for_what_is_there(endpoint, local,
                                                    remote_mail, file):
    Account(local, "bob", remote_mail, preset="backup").run()
    wait_for_value(endpoint, 1, "dovecot_imapsync_pull_runs_count")
    asked = asked_for((DOC / file).read_text())
    assert asked, "nothing is asked for"
    assert asked <= endpoint.names()


def test_notices_are_counted(scratch):
    """One that reached its recipient by mail, one that was given up; and only
    what is counted is asked for."""
    cred = CredDovecot(scratch, cred_notify_channels="mail webhook",
                       cred_notify_give_up="1 secs",
                       cred_notify_webhook_url="http://127.0.0.1:"
                       f"{free_port()}/",
                       cred_notify_webhook_secret_file=webhook_secret(scratch))
    endpoint = Endpoint(cred.dovecot, "cred-notify-metrics.conf.ext")
    cred.dovecot.add_user("bob")
    cred.dovecot.log.allow("Notice .* to webhook: .*(tried again|given up)")
    cred.start().fail("bob", 3)
    for channel, result in (("mail", "told"), ("webhook", "failed")):
        wait_for_value(endpoint, 1, "dovecot_cred_notify_notices_total",
                       **{"class": "credential", "channel": channel,
                          "result": result})
    for file in ("cred-notify-grafana.json", "cred-notify-alerts.yml"):
        asked = asked_for((DOC / file).read_text())
        assert asked == {"dovecot_cred_notify_notices_total"}
        assert asked <= endpoint.names()


@pytest.mark.parametrize("file", ["grafana.json", "cred-notify-grafana.json"])
def test_dashboard_is_one(file):
    board = json.loads((DOC / file).read_text())
    assert board["title"] and board["panels"]
    for panel in board["panels"]:
        assert panel["title"], panel
        assert panel["type"] == "row" or all(
            target["expr"] for target in panel["targets"]), panel
