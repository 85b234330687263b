"""`dmarckit aws` against moto's server: a stack planned, made, changed, and taken away."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from typer.testing import CliRunner

from dmarckit.cli.aws import stack
from dmarckit.cli.aws.plan import prepare
from dmarckit.cli.aws.stack import Aws, resources
from dmarckit.cli.aws.template import read_template
from dmarckit.cli.main import app
from dmarckit.core.errors import DmarckitError
from dmarckit.jobs.schedule import load_schedules
from tests.support.moto_server import IGNORED, LACKS, as_document, environment, moto_server

pytestmark = pytest.mark.filterwarnings(IGNORED)
ADDRESS = "dmarc@rua.example.com"
IMAGE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/dmarckit:1"
ACCOUNT = "123456789012"  # moto's
TOKEN = "xoxb-not-a-token"


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    with moto_server() as url:
        yield url


@pytest.fixture(autouse=True)
def here(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(moto).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(stack, "PAUSE", 0)
    monkeypatch.setattr(stack, "aws_session", session)  # making one takes a while


@cache
def session() -> Any:
    return boto3.session.Session(region_name="eu-west-1")


@cache
def client(service: str) -> Any:
    return session().client(service)


def aws(*words: str) -> str:
    """What `dmarckit aws …` prints; its error is raised."""
    done = CliRunner().invoke(app, ["aws", *words])
    if isinstance(done.exception, DmarckitError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.output


def given(prefix: str, **parameters: str) -> list[str]:
    """Options for a stack of that name, whose names begin with it."""
    values = {"NamePrefix": prefix, "Recipients": ADDRESS, **parameters}
    return ["--stack", prefix, *(w for k, v in values.items() for w in ("-p", f"{k}={v}"))]


def network() -> dict[str, str]:
    """Parameters of a stack with function and tasks."""
    ec2 = client("ec2")
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    subnet = ec2.describe_subnets()["Subnets"][0]["SubnetId"]
    return {"Image": IMAGE, "VpcId": vpc, "Subnets": subnet, "Tasks": "daily", "Watch": "true"}


def made(stack: str) -> dict[str, str]:
    """Logical name → name in AWS."""
    found = resources(Aws(session()), stack)
    return {name: physical for name, physical in found.items() if name}  # moto has some without


def test_every_type_of_the_template_is_made_or_named_as_one_that_moto_lacks(
    tmp_path: Path,
) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    said = aws(
        "deploy",
        *given("full", **network(), SlackToken=f"@{token}", AlarmEmail="team@example.com"),
        "--yes",
    )
    assert TOKEN not in said
    there = made("full")
    types = {n: r["Type"] for n, r in read_template()["Resources"].items()}
    left = {"Arrivals", "SendMail"}  # a task reads them, and nobody is mailed
    assert set(there) == {name for name, kind in types.items() if kind not in LACKS} - left
    made_by_deploy = {"AWS::SES::EmailIdentity", "AWS::Scheduler::Schedule"}
    assert set(LACKS) <= {*types.values(), *made_by_deploy}


def test_an_image_alone_makes_a_function_that_reads_arrivals() -> None:
    mail = {"MailTo": "team@example.com", "MailFrom": "dmarc@example.com"}
    said = aws("deploy", *given("called", Image=IMAGE, **mail), "--yes")
    assert "since what reads arrivals does it all: alerts" in said
    there = made("called")
    assert {"Function", "Arrivals", "FunctionRole", "SendMail"} <= set(there)
    assert not {"Cluster", "Task", "Network", "WatchService", "TaskRole"} & set(there)


def test_what_moto_made_is_what_the_template_says() -> None:
    aws("deploy", *given("parts", **network(), LogRetentionDays="14"), "--yes")
    there = made("parts")
    s3, sqs, iam, ecs = (client(s) for s in ("s3", "sqs", "iam", "ecs"))
    for name in ("mail", "home"):  # moto leaves out what closes them
        bucket = f"parts-{name}-{ACCOUNT}-eu-west-1"
        assert bucket in there.values()
        rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]
        assert rules["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    answer = sqs.get_queue_attributes(QueueUrl=there["Queue"], AttributeNames=["All"])
    values = answer["Attributes"]
    assert values["QueueArn"].endswith(":parts-arrivals")
    redrive = json.loads(values["RedrivePolicy"])
    assert redrive["maxReceiveCount"] == 5
    assert redrive["deadLetterTargetArn"].endswith(":parts-arrivals-dead")
    (group,) = client("logs").describe_log_groups(logGroupNamePrefix="/parts/")["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == ("/parts/runs", 14)
    policy = iam.get_policy(PolicyArn=there["Access"])["Policy"]
    assert policy["PolicyName"] == "parts-access-eu-west-1"
    version = iam.get_policy_version(PolicyArn=there["Access"], VersionId="v1")["PolicyVersion"]
    sids = [s["Sid"] for s in as_document(version["Document"])["Statement"]]
    assert sids[:4] == ["ListMails", "ReadMails", "ListHome", "KeepHome"]
    trust = iam.get_role(RoleName="parts-schedule-eu-west-1")["Role"]["AssumeRolePolicyDocument"]
    (statement,) = as_document(trust)["Statement"]
    assert statement["Principal"] == {"Service": "scheduler.amazonaws.com"}
    task = ecs.describe_task_definition(taskDefinition="parts")["taskDefinition"]
    assert task["containerDefinitions"][0]["image"] == IMAGE
    (service,) = ecs.describe_services(cluster="parts", services=["parts-watch"])["services"]
    assert service["desiredCount"] == 1
    assert iam.get_user(UserName="parts-links")["User"]["UserName"] == "parts-links"


def test_a_plan_leaves_nothing_behind(tmp_path: Path) -> None:
    file = tmp_path / "template.json"
    said = aws("plan", *given("planned"), "--save", str(file))
    assert "Stack planned: would be new" in said
    assert "  create       Queue (AWS::SQS::Queue)" in said
    assert "SES uses no rule set now" in said
    assert "SES does not know rua.example.com: verify it" in said
    with pytest.raises(DmarckitError, match="there is no stack planned in eu-west-1"):
        aws("outputs", "--stack", "planned")
    runs = [n for n in json.loads(file.read_text())["Resources"] if n.startswith("Run")]
    timed = {f"Run{s.name.capitalize()}" for s in load_schedules() if s.name != "alerts"}
    assert set(runs) == {"RunFilter", *timed}


def test_what_is_not_given_again_stays(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    aws("deploy", *given("kept", SlackToken=f"@{token}", SlackChannel="C1"), "--yes")
    said = aws("plan", "--stack", "kept", "-p", "SlackChannel=C2")
    assert "Parameters set now:\n  SlackChannel = 'C2'" in said
    kept = next(line for line in said.splitlines() if line.startswith("Kept as they are:"))
    assert "SlackToken" in kept
    assert "Recipients" in kept
    assert TOKEN not in said
    assert "Nothing in the stack changes." in aws("plan", "--stack", "kept")


def test_afterwards_it_says_what_to_publish_and_to_set() -> None:
    said = aws("deploy", *given("told", SlackChannel="C7"), "--yes", "-d", "example.com")
    assert "rua.example.com. MX 10 inbound-smtp.eu-west-1.amazonaws.com" in said
    assert f"_dmarc.example.com. TXT rua=mailto:{ADDRESS}" in said
    assert "_report._dmarc" not in said  # the same organisation
    said = aws("outputs", "--stack", "told", "-d", "example.net")
    assert 'example.net._report._dmarc.rua.example.com. TXT "v=DMARC1"' in said
    assert f'home = "s3://told-home-{ACCOUNT}-eu-west-1"' in said
    assert f'mail = "s3://told-mail-{ACCOUNT}-eu-west-1/rua"' in said
    assert 'slack_channel = "C7"' in said
    outputs = json.loads(aws("outputs", "--stack", "told", "--format", "json"))
    assert outputs["QueueUrl"].endswith("/told-arrivals")


# a hosted zone


def hosted_zone(name: str) -> str:
    """The id of a new public zone of that name."""
    made = client("route53").create_hosted_zone(Name=name, CallerReference=name)
    return str(made["HostedZone"]["Id"]).rpartition("/")[2]


def in_zone(zone: str) -> dict[tuple[str, str], list[str]]:
    """Name and kind → values, without what every zone has at its top."""
    found = client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    return {
        (record["Name"].rstrip("."), record["Type"]): [
            value["Value"] for value in record["ResourceRecords"]
        ]
        for record in found
        if record["Type"] not in ("NS", "SOA")
    }


def test_with_a_zone_the_stack_publishes_all_but_the_records_of_the_domains() -> None:
    zone = hosted_zone("zoned.example.com")
    client("ses").verify_domain_identity(Domain="zoned.example.com")
    options = [*given("zoned", HostedZone=zone), "-p", "Recipients=zoned.example.com"]
    said = aws("deploy", *options, "--yes", "-d", "example.com", "-d", "example.net")
    consent = "example.net._report._dmarc.zoned.example.com"
    assert in_zone(zone) == {
        ("zoned.example.com", "MX"): ["10 inbound-smtp.eu-west-1.amazonaws.com"],
        (consent, "TXT"): ['"v=DMARC1"'],
    }
    assert f"Hosted zone zoned.example.com ({zone}) has then" in said
    published = said.partition("Publish in DNS")[2].partition("Settings")[0]
    assert "_dmarc.example.com. TXT rua=mailto:dmarc@zoned.example.com" in published
    assert "_dmarc.example.net. TXT rua=mailto:" in published
    assert "MX" not in published
    assert consent not in published
    # the domains stay without being given again, and so do the records
    assert "Nothing in the stack changes." in aws("plan", "--stack", "zoned")


def test_a_host_that_ses_does_not_know_becomes_an_identity() -> None:
    zone = hosted_zone("fresh.example.com")
    said = aws("plan", *given("fresh", HostedZone=zone), "-p", "Recipients=fresh.example.com")
    assert "DKIM keys of fresh.example.com, by which SES verifies it" in said
    assert "SES does not know fresh.example.com" not in said


def test_a_zone_that_does_not_fit_is_said_before_anything_is_done() -> None:
    zone = hosted_zone("other.example.com")
    with pytest.raises(
        DmarckitError, match=r"is of other\.example\.com, and rua\.example\.com lies out"
    ):
        aws("plan", *given("outside", HostedZone=zone))
    with pytest.raises(DmarckitError, match="look at the hosted zone ZGONE"):
        aws("plan", *given("outside", HostedZone="ZGONE"))
    zone = hosted_zone("taken.example.com")
    record = {"Name": "taken.example.com", "Type": "MX", "TTL": 60}
    record["ResourceRecords"] = [{"Value": "5 mx.example.net"}]
    change = {"Changes": [{"Action": "CREATE", "ResourceRecordSet": record}]}
    client("route53").change_resource_record_sets(HostedZoneId=zone, ChangeBatch=change)
    options = [*given("has-mx", HostedZone=zone), "-p", "Recipients=taken.example.com"]
    with pytest.raises(
        DmarckitError, match=r"has an MX of taken\.example\.com already: 5 mx\.exam"
    ):
        aws("plan", *options)


# buckets that were there before


def old_bucket(name: str, **location: str) -> None:
    where = {"LocationConstraint": location.get("region", "eu-west-1")}
    client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=where)


OTHERS = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Sid": "Others",
            "Effect": "Allow",
            "Principal": {"AWS": f"arn:aws:iam::{ACCOUNT}:root"},
            "Action": "s3:GetObject",
            "Resource": "arn:aws:s3:::shared-bucket/other/*",
        }
    ],
}


def test_an_existing_bucket_keeps_its_policy_and_its_notifications() -> None:
    s3 = client("s3")
    old_bucket("shared-bucket")
    s3.put_bucket_policy(Bucket="shared-bucket", Policy=json.dumps(OTHERS))
    topic = client("sns").create_topic(Name="others")["TopicArn"]
    theirs = {"Id": "theirs", "TopicArn": topic, "Events": ["s3:ObjectRemoved:*"]}
    s3.put_bucket_notification_configuration(
        Bucket="shared-bucket", NotificationConfiguration={"TopicConfigurations": [theirs]}
    )
    options = given("shared", MailBucket="shared-bucket")
    said = aws("plan", *options)
    assert "add          to its policy (1 other statement): SesOfShared, SES may write" in said
    assert "add          to its policy (1 other statement): TlsOfShared, connections" in said
    assert "add          to its notifications (1 other): shared-arrivals" in said
    assert statements("shared-bucket") == ["Others"]

    for _ in range(2):  # the second time changes nothing
        aws("deploy", *options, "--yes")
        assert statements("shared-bucket") == ["Others", "SesOfShared", "TlsOfShared"]
        config = s3.get_bucket_notification_configuration(Bucket="shared-bucket")
        assert [t["Id"] for t in config["TopicConfigurations"]] == ["theirs"]
        assert [q["Id"] for q in config["QueueConfigurations"]] == ["shared-arrivals"]
        assert config["QueueConfigurations"][0]["QueueArn"].endswith(":shared-arrivals")
    assert "Mails" not in made("shared")
    said = aws("plan", *options)
    assert "keep         in its policy (1 other statement): TlsOfShared" in said

    with pytest.raises(DmarckitError, match="shared-bucket was there before, and is never deleted"):
        aws("destroy", "--stack", "shared", "--delete-mails", "--yes")
    aws("destroy", "--stack", "shared", "--yes")
    assert statements("shared-bucket") == ["Others"]
    config = s3.get_bucket_notification_configuration(Bucket="shared-bucket")
    assert [t["Id"] for t in config["TopicConfigurations"]] == ["theirs"]
    assert "QueueConfigurations" not in config


def test_an_existing_home_lets_nobody_connect_without_tls_and_is_left_as_it_was() -> None:
    old_bucket("old-home")
    options = given("homely", HomeBucket="old-home", HomePrefix="kit/")
    assert "(0 other statements): TlsOfHomely, connections without TLS" in aws("plan", *options)
    aws("deploy", *options, "--yes")
    assert statements("old-home") == ["TlsOfHomely"]
    aws("destroy", "--stack", "homely", "--yes")
    with pytest.raises(ClientError, match="NoSuchBucketPolicy"):
        statements("old-home")


def test_a_new_key_for_links_takes_one_option() -> None:
    aws("deploy", *given("keys"), "--yes")
    cloud, template = Aws(session()), read_template()
    with prepare(cloud, "keys", template, {}, rotate_key=True) as plan:  # moto makes none
        assert plan.chosen.given == {"PresignKeySerial": "2"}
    with prepare(cloud, "new", template, {"Recipients": ADDRESS}, rotate_key=True) as plan:
        assert plan.chosen.given["PresignKeySerial"] == "1"


def statements(bucket: str) -> list[str]:
    policy = client("s3").get_bucket_policy(Bucket=bucket)["Policy"]
    return [s["Sid"] for s in json.loads(policy)["Statement"]]


def test_two_notifications_about_the_same_mails_are_refused_before_anything_is_done() -> None:
    old_bucket("taken-bucket")
    queue = client("sqs").create_queue(QueueName="other-queue")["QueueUrl"]
    arn = client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
    theirs = {
        "Id": "theirs",
        "QueueArn": arn["Attributes"]["QueueArn"],
        "Events": ["s3:ObjectCreated:Put"],
        "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "rua/other/"}]}},
    }
    client("s3").put_bucket_notification_configuration(
        Bucket="taken-bucket", NotificationConfiguration={"QueueConfigurations": [theirs]}
    )
    with pytest.raises(DmarckitError, match="other-queue of objects below 'rua/other/'"):
        aws("plan", *given("taken", MailBucket="taken-bucket"))


def test_a_bucket_must_be_there_and_in_the_region() -> None:
    with pytest.raises(DmarckitError, match="MailBucket nowhere-bucket: there is no such bucket"):
        aws("plan", *given("nowhere", MailBucket="nowhere-bucket"))
    boto3.client("s3", region_name="us-west-2").create_bucket(
        Bucket="far-bucket", CreateBucketConfiguration={"LocationConstraint": "us-west-2"}
    )
    with pytest.raises(DmarckitError, match="far-bucket is in us-west-2, and the stack in eu-west"):
        aws("plan", *given("far", HomeBucket="far-bucket"))


# SES's rule sets


@pytest.fixture
def rule_sets() -> Iterator[Any]:
    """SES, with no active rule set before and after."""
    ses = client("ses")
    yield ses
    ses.set_active_receipt_rule_set()


def active(ses: Any) -> str | None:
    name = ses.describe_active_receipt_rule_set().get("Metadata", {}).get("Name")
    return None if name is None else str(name)


def test_a_rule_set_is_activated_only_when_asked(rule_sets: Any) -> None:
    for name in ("in-use", "act-rules"):  # moto's CloudFormation makes none
        rule_sets.create_receipt_rule_set(RuleSetName=name)
    rule_sets.set_active_receipt_rule_set(RuleSetName="in-use")
    said = aws("deploy", *given("act"), "--yes")
    assert "SES uses the rule set in-use now, and the rule would be in act-rules" in said
    assert "-p RuleSetName in-use" in said
    assert active(rule_sets) == "in-use"
    said = aws("plan", "--stack", "act", "--activate")
    assert "REPLACES     the active rule set in-use by act-rules: its rules stop working" in said
    aws("deploy", "--stack", "act", "--activate", "--yes")
    assert active(rule_sets) == "act-rules"
    assert "SES uses the rule set act-rules, which the rule is in." in aws("plan", "--stack", "act")
    said = aws("destroy", "--stack", "act", "--yes")
    assert "SES uses no rule set now: act-rules is out of use" in said
    assert active(rule_sets) is None


def test_a_rule_set_with_rules_of_others_is_not_put_out_of_use(rule_sets: Any) -> None:
    rule_sets.create_receipt_rule_set(RuleSetName="mixed-rules")
    aws("deploy", *given("mixed"), "--activate", "--yes")
    rule = {"Name": "support", "Recipients": ["support@example.com"], "Actions": []}
    rule_sets.create_receipt_rule(RuleSetName="mixed-rules", Rule=rule)
    with pytest.raises(DmarckitError, match="also holds support"):
        aws("destroy", "--stack", "mixed", "--yes")
    assert active(rule_sets) == "mixed-rules"


def test_a_named_rule_set_must_be_there(rule_sets: Any) -> None:
    with pytest.raises(DmarckitError, match="RuleSetName gone: SES has no such rule set"):
        aws("plan", *given("named", RuleSetName="gone"))
    rule_sets.create_receipt_rule_set(RuleSetName="company")
    rule_sets.set_active_receipt_rule_set(RuleSetName="company")
    said = aws("plan", *given("named", RuleSetName="company"))
    assert "SES uses the rule set company, which the rule is in." in said


# taking it away


def test_buckets_with_mails_stay() -> None:
    aws("deploy", *given("stays"), "--yes")
    bucket = f"stays-mail-{ACCOUNT}-eu-west-1"
    client("s3").put_object(Bucket=bucket, Key="rua/m1", Body=b"a mail")
    said = aws("destroy", "--stack", "stays", "--yes")
    assert f"-p MailBucket {bucket}" in said
    assert client("s3").get_object(Bucket=bucket, Key="rua/m1")["Body"].read() == b"a mail"
    with pytest.raises(DmarckitError, match="is there already, as an earlier stack leaves it"):
        aws("plan", *given("stays"))
    home = bucket.replace("mail", "home")
    said = aws("plan", *given("stays", MailBucket=bucket, HomeBucket=home))
    assert "would be new" in said


def test_mails_are_deleted_only_when_told_twice() -> None:
    aws("deploy", *given("twice"), "--yes")
    bucket = f"twice-mail-{ACCOUNT}-eu-west-1"
    s3 = client("s3")
    on = {"Status": "Enabled"}  # moto leaves it out
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=on)
    for body in (b"one", b"two"):  # two versions
        s3.put_object(Bucket=bucket, Key="rua/m1", Body=body)
    s3.put_object(Bucket=bucket, Key="rua/m2", Body=b"gone")
    s3.delete_object(Bucket=bucket, Key="rua/m2")  # leaves a marker
    destroy = ["destroy", "--stack", "twice", "--yes"]
    with pytest.raises(DmarckitError, match="only deleted with --delete-mails as well"):
        aws(*destroy, "--yes-delete", bucket)
    for name in ([], ["--yes-delete", "another-bucket"]):
        with pytest.raises(DmarckitError, match=f"write --yes-delete {bucket}"):
            aws(*destroy, "--delete-mails", *name)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    said = aws(*destroy, "--delete-mails", "--yes-delete", bucket)
    assert f"DELETES the bucket {bucket} with every mail in it" in said
    assert f"Bucket {bucket} is deleted, with 4 versions of objects" in said
    assert bucket not in {b["Name"] for b in s3.list_buckets()["Buckets"]}
    assert bucket.replace("mail", "home") in {b["Name"] for b in s3.list_buckets()["Buckets"]}


def test_without_a_terminal_nothing_is_done_unasked() -> None:
    assert not sys.stdin.isatty()
    with pytest.raises(DmarckitError, match="nobody is there to ask: write --yes"):
        aws("deploy", *given("unasked"))
    with pytest.raises(DmarckitError, match="there is no stack unasked"):
        aws("destroy", "--stack", "unasked")
