"""Moto's server on loopback: AWS's other services, as far as it has them.

Its CloudFormation makes no resources of the types in `LACKS` (cfn-lint's schemas check
those), and three of its answers are unlike Amazon's, so they are mended here: outputs after
a change set, lists among the parameters, and buckets that a template retains.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from moto.cloudformation import models, parsing
from moto.server import ThreadedMotoServer

LACKS = (
    "AWS::CloudWatch::Alarm",
    "AWS::IAM::UserPolicy",
    "AWS::Logs::MetricFilter",
    "AWS::S3::BucketPolicy",
    "AWS::SES::EmailIdentity",
    "AWS::SES::ReceiptRule",
    "AWS::SES::ReceiptRuleSet",
    "AWS::SNS::TopicPolicy",
    "AWS::SQS::QueuePolicy",
    "AWS::Scheduler::Schedule",
    "AWS::Scheduler::ScheduleGroup",
    "AWS::SecretsManager::Secret",
)
IGNORED = "ignore:Tried to parse AWS.*:UserWarning"
"""the filter that lets moto warn of them"""


@contextmanager
def moto_server() -> Iterator[str]:
    """Its address. The server has one account for all; tests name their things apart."""
    with pytest.MonkeyPatch.context() as patch:
        _mend(patch)
        for name in ("werkzeug", "moto"):
            patch.setattr(logging.getLogger(name), "disabled", True)
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        server.start()
        try:
            host, port = server.get_host_and_port()
            yield f"http://{host}:{port}"
        finally:
            server.stop()


def environment(url: str, region: str = "eu-west-1") -> dict[str, str]:
    """Variables that lead the AWS SDK there."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "example",
        "AWS_REGION": region,
    }


def _mend(patch: pytest.MonkeyPatch) -> None:
    apply, delete = models.ChangeSet.apply, parsing.ResourceMap.delete

    def applied(self: Any) -> None:
        apply(self)
        self.stack.template_dict = self.template_dict
        self.stack.output_map = self.stack._create_output_map()

    def deleted(self: Any) -> None:
        for resource in self._resource_json_map.values():
            if resource.get("DeletionPolicy") == "RetainExceptOnCreate":
                resource["DeletionPolicy"] = "Retain"
        delete(self)

    def parameters(self: Any) -> list[dict[str, Any]]:
        secret = self.resource_map.no_echo_parameter_keys
        return [
            {
                "ParameterKey": name,
                "ParameterValue": "****"
                if name in secret
                else ",".join(value)
                if isinstance(value, list)
                else str(value),
            }
            for name, value in self.resource_map.resolved_parameters.items()
        ]

    patch.setattr(models.ChangeSet, "apply", applied)
    patch.setattr(parsing.ResourceMap, "delete", deleted)
    patch.setattr(models.Stack, "parameter_list", property(parameters))
    patch.setattr(models.Stack, "stack_parameters", property(_previous))


def _previous(self: Any) -> dict[str, Any]:
    """What UsePreviousValue stands for: texts, as they were given."""
    return {
        name: ",".join(value) if isinstance(value, list) else str(value)
        for name, value in self.resource_map.resolved_parameters.items()
    }


def as_document(value: Any) -> Any:
    """A policy, whether moto gives it as text or not."""
    return json.loads(value) if isinstance(value, str) else value
