"""Dashboard and rules of `schedules/monitoring`, with a real Prometheus that scrapes a real run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from dmarckit.core.settings import Settings, load_settings, shipped_files
from dmarckit.core.storage import open_storage
from dmarckit.demo.server import free_ports
from dmarckit.jobs.health import serve
from dmarckit.jobs.metrics import FAMILIES
from dmarckit.jobs.record import RunnerState
from dmarckit.jobs.run import run_job
from dmarckit.jobs.schedule import Schedule
from dmarckit.reports.model import Policy, TlsPolicy, TlsReport
from tests.support.builders import make_mail, make_record, make_report
from tests.support.lakes import lake_of
from tests.support.model_builders import make_failing
from tests.support.outside_rows import keep, metric

NOW = datetime.now(UTC)
TODAY = NOW.replace(hour=0, minute=0, second=0, microsecond=0)
DAILY = Schedule(name="daily", notebook="overview", parameters={"days": 7}, cron="0 7 * * *")
FOLDER = shipped_files("schedules/monitoring", "alerts.yaml", own=False)["alerts"].parent
DASHBOARD = json.loads((FOLDER / "grafana.json").read_text("utf-8"))
RULES = yaml.safe_load((FOLDER / "alerts.yaml").read_text("utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in PANELS}
ALERTS = {rule["alert"]: rule for group in RULES["groups"] for rule in group["rules"]}


def test_each_panel_has_its_place_and_asks_the_chosen_prometheus() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _y in cells) < 24, panel["title"]
        assert not taken & cells, panel["title"]
        taken |= cells
    assert {panel["datasource"]["uid"] for panel in PANELS} == {"${datasource}"}
    variables = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    asked = {name for text in asked_for() for name in re.findall(r"\$(\w+)", text)}
    assert asked == {"domain"} == set(variables) - {"datasource"}


def asked_for() -> list[str]:
    """Every expression of the dashboard and the rules."""
    listed = [text for queries in QUERIES.values() for text in queries]
    return [*listed, *(rule["expr"] for rule in ALERTS.values())]


def test_each_rule_says_how_bad_it_is_and_what_it_means() -> None:
    for name, rule in ALERTS.items():
        assert rule["labels"]["severity"] in ("critical", "warning"), name
        assert rule["annotations"]["summary"], name


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A home after a real run, its mail, forgers, Google and TLS reports at their worst."""
    home = tmp_path_factory.mktemp("monitored")
    days = [TODAY - timedelta(days=n) for n in range(1, 22)]
    own = make_record(messages=200), make_record("192.0.2.9", 30, dkim_aligned=False)
    forged = make_failing("198.51.100.7", 600, dkim=())
    lake = lake_of(
        home,
        *(
            make_report(
                *own,
                *([forged] if day >= days[3] else []),
                report_id=f"{day:%d}",
                begin=day,
                end=day + timedelta(days=1),
                policy=Policy("example.com", p="none"),
            )
            for day in days
        ),
        tls=tuple(
            TlsReport("x", "tls@x.example", f"{day:%d}", day, day + timedelta(days=1), (policy,))
            for day in days[:3]
            for policy in [TlsPolicy("sts", "example.com", (), ("mx.example.com",), 90, 10, ())]
        ),
    )
    rates = {"spam_rate": 0.004, "delivery_error_rate": 0.07}
    rows = [metric("example.com", name, "", share) for name, share in rates.items()]
    keep(lake, [row | {"day": days[0], "month": f"{days[0]:%Y-%m}"} for row in rows])
    storage = open_storage(f"{home}/mail")
    storage.put("bad", make_mail(b"\x1f\x8b\x08broken"), content_type="message/rfc822")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DMARCKIT_HOME", str(home))  # for the kernel
        patch.chdir(home)
        result = run_job(load_settings(trust="any"), DAILY)
    assert result is not None
    with free_ports((0,)) as port:
        yield load_settings(home=str(home), health_port=port)


@contextmanager
def served(settings: Settings, *more: Schedule) -> Iterator[str]:
    """The address of `/metrics` of a runner that has these jobs to do, too."""
    state = RunnerState([DAILY, *more], NOW - timedelta(days=2))
    with serve(settings, state) as url:
        assert url is not None
        yield url


@pytest.mark.slow
def test_each_metric_that_is_asked_for_is_one_that_is_served(installation: Settings) -> None:
    with served(installation) as url, urllib.request.urlopen(f"{url}/metrics") as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    names = {sample.name for family in families for sample in family.samples}
    asked = {name for text in asked_for() for name in re.findall(r"\bdmarckit_\w+", text)}
    assert asked <= names
    assert {f"dmarckit_{name}" for name in FAMILIES} <= asked, "and each has its place"
    labels = {s.name: set(s.labels) for family in families for s in family.samples}
    for name, used in re.findall(r"(dmarckit_\w+)\{(\w+)=", " ".join(asked_for())):
        assert used in labels[name]


class Prometheus:
    """A Prometheus that scrapes as the shipped prometheus.yaml says, each second."""

    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, path: str, **values: str) -> Any:
        asked = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(values)}"
        with urllib.request.urlopen(asked, timeout=30) as answer:
            content = json.load(answer)
        assert content["status"] == "success"
        return content["data"]

    def wait(self, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 120
        while True:
            try:
                if ready():
                    return
            except OSError:
                pass  # it is starting
            assert time.monotonic() < deadline
            time.sleep(0.2)

    def rules(self) -> dict[str, dict[str, Any]]:
        return {rule["name"]: rule for g in self.ask("rules")["groups"] for rule in g["rules"]}


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name} on the PATH (Debian's package prometheus)")
    return path


@pytest.fixture
def prometheus(installation: Settings, tmp_path: Path) -> Iterator[Prometheus]:
    config = yaml.safe_load((FOLDER / "prometheus.yaml").read_text("utf-8"))
    (scrape,) = config["scrape_configs"]
    (static,) = scrape["static_configs"]
    assert static["targets"] == [f"127.0.0.1:{Settings.model_fields['health_port'].default}"]
    static["targets"] = [f"127.0.0.1:{installation.health_port}"]
    scrape["scrape_interval"] = "1s"
    config |= {"global": {"evaluation_interval": "1s"}, "rule_files": [f"{FOLDER}/alerts.yaml"]}
    (tmp_path / "prometheus.yaml").write_text(yaml.safe_dump(config))
    with free_ports((0,)) as port, (tmp_path / "log").open("wb") as log:
        place = f"127.0.0.1:{port}"
        command = [
            program("prometheus"),
            f"--config.file={tmp_path / 'prometheus.yaml'}",
            f"--storage.tsdb.path={tmp_path / 'data'}",
            f"--web.listen-address={place}",
        ]
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield Prometheus(f"http://{place}")
        finally:
            process.terminate()
            process.wait(60)


# what a lake at its worst lets fire: of the others the state is not this bad, or needs a week
BAD = {
    "DmarckitJobOverdue": {"alerts"},
    "ForgedMailDelivered": {"example.com"},
    "GmailSpamRateTooHigh": {"example.com"},
    "GmailRefusesMail": {"example.com"},
    "TlsSessionsFail": {"example.com"},
    "CriticalFindings": {"spoofing"},
}


@pytest.mark.slow
@pytest.mark.prometheus
def test_prometheus_draws_every_panel_and_raises_what_is_wrong(
    installation: Settings, prometheus: Prometheus
) -> None:
    overdue = Schedule(name="alerts", cron="*/15 * * * *", timeout=60)
    with served(installation, overdue):
        twice = "count_over_time(dmarckit_mails_total[1m]) > 1"  # what grows needs two scrapes
        prometheus.wait(lambda: bool(prometheus.ask("query", query=twice)["result"]))
        (target,) = prometheus.ask("targets")["activeTargets"]
        assert target["health"] == "up", target["lastError"]
        for title, queries in QUERIES.items():
            for text in queries:
                asked = text.replace("$domain", ".*")
                assert prometheus.ask("query", query=asked)["result"], (title, asked)
        rules, listed = prometheus.rules, prometheus.ask("rules")["groups"]
        assert {rule["name"] for group in listed for rule in group["rules"]} == set(ALERTS)
        prometheus.wait(lambda: all(rule["lastEvaluation"] > "1" for rule in rules().values()))
        prometheus.wait(lambda: all(rules()[name]["alerts"] for name in BAD))
        for name, rule in rules().items():
            assert rule["health"] == "ok", rule
            active = {
                alert["labels"].get(
                    "domain", alert["labels"].get("kind", alert["labels"].get("job"))
                )
                for alert in rule["alerts"]
            }
            assert active >= BAD[name] if name in BAD else not active, name
            said = [alert["annotations"]["summary"] for alert in rule["alerts"]]
            assert not re.search(r"\{\{|error|%!", " ".join(said)), said
            firing = {alert["state"] for alert in rule["alerts"]}
            assert firing <= ({"pending", "firing"} if "for" in ALERTS[name] else {"firing"})
        job = 'dmarckit_job_runs_total{job="daily",instance=~".+"}'
        assert prometheus.ask("query", query=job)["result"], (
            "honor_labels keeps the schedule's name"
        )


SERIES = {
    'up{job="dmarckit"}': "1x30 0x300",
    "dmarckit_lake_readable": "1x1000",
    'dmarckit_job_overdue{job="daily"}': "0x30 1x300",
    'dmarckit_job_failing{job="daily"}': "0x30 1x300",
    'dmarckit_job_overdue{job="weekly"}': "0x300",
    'dmarckit_job_failing{job="weekly"}': "0x30 1x300",
    "dmarckit_analysis_timestamp_seconds": "0x1000",
    "dmarckit_outbox_messages": "0x30 2x300",
    'dmarckit_mails_total{outcome="unreadable"}': "5x30 6x300",
    'dmarckit_own_mail_messages{domain="a.example"}': "1000x300",
    'dmarckit_own_mail_passing_messages{domain="a.example"}': "990x180 930x120",
    'dmarckit_own_mail_messages{domain="small.example"}': "99x300",
    'dmarckit_own_mail_passing_messages{domain="small.example"}': "99x180 10x120",
    'dmarckit_forged_delivered_messages{domain="a.example"}': "999x30 1000x300",
    'dmarckit_postmaster_spam_ratio{domain="a.example"}': "0.0009x10 0.001x20 0.003x300",
    'dmarckit_postmaster_delivery_error_ratio{domain="a.example"}': "0.04x30 0.05x300",
    'dmarckit_tls_sessions{domain="a.example"}': "1000x300",
    'dmarckit_tls_failed_sessions{domain="a.example"}': "9x30 10x300",
    'dmarckit_findings{kind="spoofing",severity="critical"}': "0x30 2x300",
}
"""series → values, an hour apart"""
FIRES = {  # alert → hours at which it does not, and does, and for whom
    "DmarckitDown": (30, 32, {"job": "dmarckit"}),
    "DmarckitJobOverdue": (30, 32, {"job": "daily"}),
    "DmarckitJobFailing": (30, 32, {"job": "weekly"}),
    "DmarckitNumbersOld": (48, 49, {}),
    "DmarckitMessagesWait": (31, 34, {}),
    "DmarckitUnreadableMails": (30, 31, {"outcome": "unreadable"}),
    "OwnMailPassesLess": (180, 181, {"domain": "a.example"}),
    "ForgedMailDelivered": (30, 31, {"domain": "a.example"}),
    "GmailSpamRateHigh": (10, 11, {"domain": "a.example"}),
    "GmailSpamRateTooHigh": (31, 32, {"domain": "a.example"}),
    "GmailRefusesMail": (30, 31, {"domain": "a.example"}),
    "TlsSessionsFail": (30, 31, {"domain": "a.example"}),
    "CriticalFindings": (30, 31, {"kind": "spoofing"}),
}


@pytest.mark.prometheus
def test_each_rule_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    assert set(FIRES) == set(ALERTS)
    cases = []
    for name, (before, after, labels) in FIRES.items():
        rule = ALERTS[name]
        fired = [{"exp_labels": labels | rule["labels"]}]
        cases += [{"eval_time": f"{before}h", "alertname": name, "exp_alerts": []}]
        cases += [{"eval_time": f"{after}h", "alertname": name, "exp_alerts": fired}]
    series = [{"series": name, "values": said} for name, said in SERIES.items()]
    bare = {  # what they say for people is expanded in the test of a real run
        "groups": [
            group | {"rules": [r | {"annotations": {}} for r in group["rules"]]}
            for group in RULES["groups"]
        ]
    }
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(bare))
    test = {"interval": "1h", "input_series": series, "alert_rule_test": cases}
    about = {"rule_files": ["rules.yaml"], "evaluation_interval": "1h", "tests": [test]}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(about))
    for command in (["check", "rules", f"{FOLDER}/alerts.yaml"], ["test", "rules", "test.yaml"]):
        ran = subprocess.run(
            [program("promtool"), *command], cwd=tmp_path, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
