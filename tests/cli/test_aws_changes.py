"""What CloudFormation says of a change, in plain words; and what cannot be done is said first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, NoCredentialsError

from dmarckit.cli.aws.plan import OldBucket, Plan, plan_lines
from dmarckit.cli.aws.stack import (
    Aws,
    ChangeSet,
    Stack,
    change_set,
    execute_change_set,
    explained,
    find_stack,
    require_changeable,
)
from dmarckit.cli.aws.template import (
    Parameters,
    choose_parameters,
    dns_records,
    read_parameter_file,
    read_parameter_options,
    read_template,
    repository_of,
    secret_parameters,
    settings_text,
)
from dmarckit.core.errors import AwsError, DmarckitError, SettingsError

pytestmark = pytest.mark.usefixtures("at_once")
TEMPLATE = read_template()
NEEDED = {"Recipients": "dmarc@rua.example.com"}
IMAGE = "111122223333.dkr.ecr.eu-west-1.amazonaws.com/dmarckit:1"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between two looks at CloudFormation."""
    monkeypatch.setattr("dmarckit.cli.aws.stack.PAUSE", 0)


def refused(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Something")


class Scripted:
    """A CloudFormation that answers as told; a list is answered one by one, the last for ever."""

    def __init__(self, **answers: Any) -> None:
        self.answers = {k: v if isinstance(v, list) else [v] for k, v in answers.items()}
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Any:
        def answer(**given: Any) -> Any:
            self.asked.append((name, given))
            left = self.answers.get(name, [{}])
            found = left.pop(0) if len(left) > 1 else left[0]
            if isinstance(found, Exception):
                raise found
            return found

        return answer

    def get_paginator(self, name: str) -> Any:
        client = self

        class Pages:
            def paginate(self, **given: Any) -> Iterator[Any]:
                answer = {"NextToken": ""}
                while "NextToken" in answer:
                    answer = getattr(client, name)(**given)
                    yield answer

        return Pages()


def aws(**answers: Any) -> Aws:
    made = Aws()
    answers = {"describe_stacks": described("UPDATE_COMPLETE")} | answers
    made.__dict__["cloudformation"] = Scripted(**answers)  # in the place of the cached client
    return made


def stack(status: str = "UPDATE_COMPLETE", **parameters: str) -> Stack:
    return Stack("dmarckit", "arn:stack", status, "", parameters, {})


def described(status: str, reason: str = "") -> dict[str, Any]:
    return {
        "Stacks": [{"StackId": "arn:stack", "StackStatus": status, "StackStatusReason": reason}]
    }


def changed(name: str, action: str = "Modify", **more: Any) -> dict[str, Any]:
    about = {"Action": action, "LogicalResourceId": name, "ResourceType": "AWS::X::Y"}
    return {"ResourceChange": about | more}


def planned(*changes: dict[str, Any], **more: Any) -> ChangeSet:
    answer = {"Status": "CREATE_COMPLETE", "Changes": list(changes)} | more
    cloud = aws(create_change_set={"Id": "set", "StackId": "id"}, describe_change_set=answer)
    with change_set(cloud, "dmarckit", "{}", [], stack()) as found:
        return found


def shown(change: ChangeSet, given: dict[str, str] | None = None) -> str:
    chosen = choose_parameters(TEMPLATE, given or NEEDED, None)
    ready = Plan("dmarckit", stack(), chosen, "{}", change, (), (), "own", "own", ())
    return "\n".join(plan_lines(ready, activate=False))


def test_a_replacement_is_loud_and_comes_first() -> None:
    because = [{"Target": {"Attribute": "Properties", "Name": "QueueName"}}]
    text = shown(
        planned(
            changed("Added", "Add"),
            changed("Changed", Replacement="False"),
            changed("Queue", Replacement="True", PhysicalResourceId="old-queue", Details=because),
            changed("Perhaps", Replacement="Conditional"),
            changed("Gone", "Remove"),
        )
    )
    marked = [line.split()[0:2] for line in text.splitlines() if "AWS::X::Y" in line]
    assert marked == [
        ["DELETES", "Gone"],
        ["REPLACES", "Queue"],
        ["MAY", "REPLACE"],
        ["change", "Changed"],
        ["create", "Added"],
    ]
    assert "Queue (AWS::X::Y) old-queue (because of QueueName)" in text
    assert "5 resources: 1 to create, 1 to change, 1 to may replace" in text
    assert "the old one is taken away (buckets stay, with what is in them)" in text


def test_a_change_set_of_many_pages_is_read_to_its_end() -> None:
    pages = [
        {"Status": "CREATE_IN_PROGRESS"},
        {"Status": "CREATE_COMPLETE", "Changes": [changed("A", "Add")], "NextToken": "2"},
        {"Status": "CREATE_COMPLETE", "Changes": [changed("B", "Add")]},
    ]
    cloud = aws(create_change_set={"Id": "set", "StackId": "id"}, describe_change_set=pages)
    with change_set(cloud, "dmarckit", "{}", [], None) as found:
        assert [c.name for c in found.changes] == ["A", "B"]
        assert found.creates


def test_no_change_is_no_error_and_a_refusal_is() -> None:
    why = "The submitted information didn't contain changes."
    assert planned(Status="FAILED", StatusReason=why).empty
    assert "Nothing in the stack changes." in shown(planned(Status="FAILED", StatusReason=why))
    with pytest.raises(AwsError, match=r"cannot plan the change: Rule TasksNeedANetwork failed"):
        planned(Status="FAILED", StatusReason="Rule TasksNeedANetwork failed")


@pytest.mark.parametrize(
    ("status", "says"),
    [
        ("UPDATE_IN_PROGRESS", "is being changed"),
        ("ROLLBACK_COMPLETE", "first creation failed.*aws destroy`, then deploy again"),
        ("UPDATE_ROLLBACK_FAILED", "continue-update-rollback --stack-name dmarckit"),
        ("DELETE_FAILED", "aws destroy` again"),
    ],
)
def test_a_stack_that_cannot_be_changed_says_what_to_do_first(status: str, says: str) -> None:
    with pytest.raises(AwsError, match=says):
        require_changeable(stack(status))


def test_a_stack_that_was_only_planned_is_none() -> None:
    assert find_stack(aws(describe_stacks=described("REVIEW_IN_PROGRESS")), "dmarckit") is None
    gone = refused("ValidationError", "Stack with id dmarckit does not exist")
    assert find_stack(aws(describe_stacks=gone), "dmarckit") is None


def event(number: int, name: str, status: str, reason: str = "") -> dict[str, Any]:
    return {
        "EventId": str(number),
        "Timestamp": datetime(2026, 11, 24, tzinfo=UTC),
        "LogicalResourceId": name,
        "ResourceType": "AWS::SES::ReceiptRule",
        "ResourceStatus": status,
        "ResourceStatusReason": reason,
    }


def test_what_failed_first_is_said_with_its_reason_and_what_it_may_mean() -> None:
    events = [
        event(1, "Rule", "CREATE_IN_PROGRESS"),
        event(2, "Rule", "CREATE_FAILED", "Could not write to bucket: x\x1b[31m"),
        event(3, "Queue", "CREATE_FAILED", "Resource creation cancelled"),
    ]
    cloud = aws(
        describe_stack_events={"StackEvents": events[::-1]},
        describe_stacks=[described("CREATE_IN_PROGRESS"), described("ROLLBACK_COMPLETE")],
    )
    said: list[str] = []
    change = ChangeSet("set", (), creates=True)
    with pytest.raises(AwsError) as caught:
        execute_change_set(cloud, "dmarckit", change, said.append)
    assert str(caught.value) == (
        "the stack dmarckit ended as ROLLBACK_COMPLETE: Rule (AWS::SES::ReceiptRule) could not be "
        r"made: Could not write to bucket: x\x1b[31m → SES may not write into the bucket; its "
        "policy must let it"
    )
    assert [line.split(" (")[0] for line in said] == [
        "create in progress   Rule",
        "create failed        Rule",
        "create failed        Queue",
    ]


def test_events_of_earlier_changes_are_not_told_again() -> None:
    old, new = event(1, "Old", "CREATE_FAILED", "long ago"), event(2, "New", "UPDATE_COMPLETE")
    answers: list[Any] = [
        {"StackEvents": [old]},
        {"StackEvents": [old]},
        {"StackEvents": [new, old]},
    ]
    cloud = aws(describe_stack_events=answers, describe_stacks=described("UPDATE_COMPLETE"))
    said: list[str] = []
    execute_change_set(cloud, "dmarckit", ChangeSet("set", (), creates=False), said.append)
    assert len(said) == 1
    assert "New" in said[0]


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (
            refused("AccessDenied", "User: x is not authorized to perform: iam:CreateRole on y"),
            "cannot do it: access denied; allow iam:CreateRole",
        ),
        (refused("AccessDenied"), "access denied; allow s3:PutBucketPolicy"),
        (refused("ExpiredToken"), "the credentials have expired; sign in again"),
        (refused("InvalidClientTokenId"), "the access key is unknown"),
        (NoCredentialsError(), "no AWS credentials found; set AWS_PROFILE, or use a role"),
        (refused("Odd", "line\nbreak"), r"line\\x0abreak \(Odd\)"),
    ],
)
def test_what_aws_refuses_is_one_line_that_names_the_permission(
    error: Exception, says: str
) -> None:
    with (
        pytest.raises(AwsError, match=says) as caught,
        explained("do it", "s3:PutBucketPolicy"),
    ):
        raise error
    assert "\n" not in str(caught.value)


def test_without_a_region_nothing_is_guessed() -> None:
    with pytest.raises(AwsError, match="no AWS region; set AWS_REGION"):
        Aws().client("s3")


# parameters


def choice(**given: str) -> Parameters:
    return choose_parameters(TEMPLATE, NEEDED | given, None)


def test_what_is_missing_is_named_and_not_guessed() -> None:
    with pytest.raises(SettingsError, match=r"missing: Recipients \(Addresses"):
        choose_parameters(TEMPLATE, {}, None)
    for given in ({"Watch": "true"}, {"Tasks": "daily"}):
        with pytest.raises(SettingsError, match=r"missing: VpcId .*; Subnets"):
            choice(Image=IMAGE, **given)
    assert choice(Image=IMAGE).given["ImageRepository"].endswith(":repository/dmarckit")
    assert choice().given == NEEDED | {"VpcId": "", "Subnets": ""}


def test_a_function_takes_no_image_from_elsewhere() -> None:
    with pytest.raises(SettingsError, match="a function takes its image from ECR"):
        choice(Image="public.example.com/dmarckit:1")
    network = {"VpcId": "vpc-1", "Subnets": "s-1"}
    assert choice(Image="public.example.com/dmarckit:1", Tasks="all", **network)


def test_a_stack_of_tasks_keeps_them_until_somebody_says_otherwise() -> None:
    """A stack from before there was a function: `watch` and jobs run as tasks."""
    since_then = {"Tasks", "Concurrency", "FunctionMemory"}
    network = {"Image": IMAGE, "VpcId": "vpc-1", "Subnets": "s-1", "Watch": "true"}
    network["ImageRepository"] = repository_of(IMAGE)
    before = {
        name: network.get(name, str(p.get("Default", "x@example.com")))
        for name, p in TEMPLATE["Parameters"].items()
        if name not in since_then
    }
    kept = choose_parameters(TEMPLATE, {}, before)
    assert kept.given == {"Tasks": "all"}
    assert {"Watch", "Image", "Subnets"} <= set(kept.kept)
    moved = choose_parameters(TEMPLATE, {"Watch": "false", "Tasks": ""}, before)
    assert (moved.effective["Watch"], moved.effective["Tasks"]) == ("false", "")
    none = choose_parameters(TEMPLATE, {}, before | {"Image": ""})
    assert none.effective["Tasks"] == ""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"Recipient": "x"}, "no parameter 'Recipient'; there are: Alarm"),
        ({"NamePrefix": "Bad_Name"}, "NamePrefix 'Bad_Name': write 2 to 21 lower-case"),
        ({"Watch": "yes"}, "Watch 'yes': write one of true, false"),
        ({"DaysToArchive": "soon"}, "DaysToArchive 'soon': write a whole number, 60 or more"),
        ({"DaysToArchive": "100"}, "90, 100, 360: each must be later"),
        ({"DaysToExpire": "170"}, "90, 180, 170: each must be later"),
        ({"Recipients": "not an address"}, "Recipients 'not an address': write addresses such as"),
        ({"MailTo": "team@example.com"}, "MailTo: give MailFrom as well"),
        ({"MailPrefix": "rua"}, "MailPrefix 'rua': write a prefix that ends in /"),
        (
            {"MailBucket": "one", "HomeBucket": "one"},
            "share the bucket one, so write a prefix outside rua/",
        ),
        (
            {"MailBucket": "one", "HomeBucket": "one", "HomePrefix": "rua/kit/"},
            "HomePrefix 'rua/kit/': mails and home share",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_is_right(given: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        choice(**given)


def test_a_stack_keeps_what_is_not_given() -> None:
    before = {**NEEDED, "Image": "old", "VpcId": "vpc-1", "Subnets": "s-1", "SlackToken": "****"}
    before = {
        n: before.get(n, str(p.get("Default", ""))) for n, p in TEMPLATE["Parameters"].items()
    }
    chosen = choose_parameters(
        TEMPLATE, {"Image": "111122223333.dkr.ecr.eu-west-1.amazonaws.com/a/b@x"}, before
    )
    assert chosen.given["ImageRepository"].endswith(":repository/a/b")
    assert {"SlackToken", "VpcId", "Recipients"} <= set(chosen.kept)
    assert {"ParameterKey": "SlackToken", "UsePreviousValue": True} in chosen.for_change_set()
    elsewhere = {"Image": "example.com/b:1", "Tasks": "all"}
    assert choose_parameters(TEMPLATE, elsewhere, before).given["ImageRepository"] == ""


@pytest.mark.parametrize(
    ("image", "arn"),
    [
        (
            "111122223333.dkr.ecr.us-gov-west-1.amazonaws.com/kit",
            "arn:aws-us-gov:ecr:us-gov-west-1:111122223333:repository/kit",
        ),
        (
            "111122223333.dkr.ecr.cn-north-1.amazonaws.com.cn/kit:2",
            "arn:aws-cn:ecr:cn-north-1:111122223333:repository/kit",
        ),
        ("public.example.com/dmarckit:1", ""),
        ("", ""),
    ],
)
def test_the_repository_is_read_off_the_image(image: str, arn: str) -> None:
    assert repository_of(image) == arn


def test_a_secret_is_neither_typed_nor_shown(tmp_path: Path) -> None:
    secret = secret_parameters(TEMPLATE)
    assert secret == {"SlackToken", "WebhookUrl", "WebhookSecret", "GoogleCredentials"}
    with pytest.raises(SettingsError, match="write SlackToken @FILE") as caught:
        read_parameter_options(["SlackToken=xoxb-1"], secret)
    assert "xoxb-1" not in str(caught.value)
    (tmp_path / "token").write_text("xoxb-1\n")
    given = read_parameter_options([f"SlackToken=@{tmp_path / 'token'}"], secret)
    assert given == {"SlackToken": "xoxb-1"}
    assert "xoxb-1" not in shown(planned(), NEEDED | given)
    with pytest.raises(SettingsError, match="cannot read the file"):
        read_parameter_options(["SlackToken=@nowhere"], secret)


def test_a_file_of_parameters_is_yaml(tmp_path: Path) -> None:
    assert read_parameter_file(None) == {}
    file = tmp_path / "parameters.yaml"
    file.write_text("Recipients: [a@example.com, b@example.com]\nWatch: false\nDaysToExpire: 400\n")
    assert read_parameter_file(file) == {
        "Recipients": "a@example.com,b@example.com",
        "Watch": "false",
        "DaysToExpire": "400",
    }
    file.write_text("- x\n")
    with pytest.raises(SettingsError, match="Name: value"):
        read_parameter_file(file)
    with pytest.raises(SettingsError, match="cannot read"):
        read_parameter_file(tmp_path / "gone.yaml")


def test_the_example_names_parameters_that_there_are() -> None:
    file = Path(__file__).parent.parent.parent / "schedules/aws/parameters.yaml"
    assert read_parameter_file(file) == {}
    text = file.read_text("utf-8")
    shown = [line[2:] for line in text.splitlines() if line.startswith("# ") and ": " in line]
    names = {line.split(":")[0] for line in shown if line.split(":")[0].isalnum()}
    assert names == set(TEMPLATE["Parameters"]) - secret_parameters(TEMPLATE) - {"ImageRepository"}


# a bucket's policy, and what to publish

HERE = SimpleNamespace(partition="aws", region="eu-west-1", account="111122223333")
MAILS = OldBucket(HERE, "mails", "acme-dmarc", "rua/", "rules")
HOME = OldBucket(HERE, "home", "acme-dmarc")


@pytest.mark.parametrize("bucket", [MAILS, HOME])
def test_the_rest_of_a_policy_stays_as_it_was(bucket: OldBucket) -> None:
    other = {"Sid": "Other", "Effect": "Deny"}
    nameless = {"Effect": "Allow", "Action": "s3:GetObject"}
    for policy in ({"Version": "2008-10-17", "Id": "x", "Statement": [other, nameless]}, None):
        merged = bucket.merged_policy(policy)
        assert bucket.merged_policy(merged) == merged
        assert bucket.policy_without(merged) == policy
    single = {"Version": "2012-10-17", "Statement": other}  # a policy may have one without a list
    merged = bucket.merged_policy(single)
    assert merged["Statement"] == [other, *bucket.statements().values()]


def test_tls_that_somebody_requires_already_is_not_required_twice() -> None:
    (_, tls) = MAILS.statements().values()
    theirs = {"Version": "2012-10-17", "Statement": [tls | {"Sid": "Theirs"}]}
    sids = [s["Sid"] for s in MAILS.merged_policy(theirs)["Statement"]]
    assert sids == ["Theirs", "SesOfAcmeDmarc"]
    for near in ({"Effect": "Allow"}, {"Resource": tls["Resource"][0]}, {"Action": "s3:GetObject"}):
        near_miss = {"Version": "2012-10-17", "Statement": [tls | {"Sid": "Theirs"} | near]}
        assert len(MAILS.merged_policy(near_miss)["Statement"]) == 3


def test_it_says_the_same_of_ses_and_tls_as_the_template_does() -> None:
    policy = TEMPLATE["Resources"]["MailsPolicy"]["Properties"]["PolicyDocument"]
    for ours, theirs in zip(MAILS.statements().values(), policy["Statement"], strict=True):
        for key in ("Effect", "Principal", "Action"):
            assert ours[key] == theirs[key]
    ses, tls = MAILS.statements().values()
    theirs = policy["Statement"][0]["Condition"]
    assert set(ses["Condition"]["StringEquals"]) == set(theirs["StringEquals"])
    assert ses["Condition"]["StringEquals"]["aws:SourceArn"] == (
        "arn:aws:ses:eu-west-1:111122223333:receipt-rule-set/rules:receipt-rule/acme-dmarc-reports"
    )
    assert tls["Condition"] == policy["Statement"][1]["Condition"]


def published(recipients: Sequence[str], *domains: str) -> list[tuple[str, str, str]]:
    return [record[:3] for record in dns_records(recipients, "eu-west-1", domains)]


def test_a_domain_of_another_organisation_needs_the_hosts_consent() -> None:
    assert published(["rua.example.com"], "example.com", "example.net") == [
        ("rua.example.com", "MX", "10 inbound-smtp.eu-west-1.amazonaws.com"),
        ("_dmarc.example.com", "TXT", "rua=mailto:dmarc@rua.example.com"),
        ("_dmarc.example.net", "TXT", "rua=mailto:dmarc@rua.example.com"),
        ("example.net._report._dmarc.rua.example.com", "TXT", '"v=DMARC1"'),
    ]


def test_the_settings_printed_are_settings() -> None:
    import tomllib

    from dmarckit.core.settings import Settings

    outputs = {
        "HomeUrl": "s3://home/kit/",
        "MailUrl": "s3://mails/rua/",
        "QueueUrl": "https://sqs.eu-west-1.amazonaws.com/111122223333/dmarckit-arrivals",
        "PresignKeyId": "AKIAIOSFODNN7EXAMPLE",
    }
    text = settings_text(outputs, {"SlackChannel": "C1", "NamePrefix": "dmarckit"})
    settings = Settings(**tomllib.loads(text))
    assert settings.mail_url == "s3://mails/rua"
    assert settings.watch_queue == outputs["QueueUrl"]
    assert "presign_secret is in Secrets Manager: dmarckit/link-signer" in text


def test_errors_of_aws_are_errors_of_dmarckit() -> None:
    assert issubclass(AwsError, DmarckitError)
