"""A template as CloudFormation sees it with given parameters: no conditions, no functions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

ACCOUNT, REGION = "111122223333", "eu-west-1"
PSEUDO = {
    "AWS::AccountId": ACCOUNT,
    "AWS::Region": REGION,
    "AWS::Partition": "aws",
    "AWS::StackName": "dmarckit",
}
NOTHING = object()  # AWS::NoValue


class Resolved:
    """Resources and outputs that are there with these parameters, and their properties."""

    def __init__(self, template: Mapping[str, Any], **parameters: str) -> None:
        known = template["Parameters"]
        assert set(parameters) <= set(known)
        defaults = {name: str(p.get("Default", "")) for name, p in known.items()}
        self._lists = {n for n, p in known.items() if p["Type"] == "CommaDelimitedList"}
        self._parameters = defaults | parameters
        self._conditions = template.get("Conditions", {})
        self._all = template["Resources"]
        there = {n: r for n, r in self._all.items() if self._holds(r.get("Condition"))}
        self.names = set(there)
        self.resources = {
            n: {"Type": r["Type"], "Properties": self._value(r.get("Properties", {}))}
            for n, r in there.items()
        }
        outputs = template.get("Outputs", {}).items()
        self.outputs = {
            n: self._value(o["Value"]) for n, o in outputs if self._holds(o.get("Condition"))
        }

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Logical name → properties, of all resources of a type."""
        return {n: r["Properties"] for n, r in self.resources.items() if r["Type"] == kind}

    def statements(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Resource and statement, for every statement of every policy but trust policies."""
        for name, resource in self.resources.items():
            properties = resource["Properties"]
            documents = [properties.get("PolicyDocument")]
            documents += [p["PolicyDocument"] for p in properties.get("Policies", ())]
            for document in documents:
                for statement in (document or {}).get("Statement", ()):
                    yield name, statement

    def _holds(self, condition: str | None) -> bool:
        return condition is None or bool(self._test(self._conditions[condition]))

    def _test(self, rule: Mapping[str, Any]) -> bool:
        ((function, operands),) = rule.items()
        if function == "Condition":
            return self._holds(operands)
        if function == "Fn::Equals":
            first, second = (self._value(o) for o in operands)
            return bool(first == second)
        tests = [self._test(o) for o in operands]
        return {"Fn::Not": not tests[0], "Fn::And": all(tests), "Fn::Or": any(tests)}[function]

    def _value(self, node: Any) -> Any:
        if isinstance(node, list):
            return [v for v in map(self._value, node) if v is not NOTHING]
        if not isinstance(node, dict):
            return node
        if len(node) == 1:
            ((function, operand),) = node.items()
            if function == "Ref":
                return self._ref(operand)
            if function.startswith("Fn::"):
                return self._function(function, operand)
        values = {k: self._value(v) for k, v in node.items()}
        return {k: v for k, v in values.items() if v is not NOTHING}

    def _function(self, function: str, operand: Any) -> Any:
        if function == "Fn::If":
            condition, yes, no = operand
            return self._value(yes if self._holds(condition) else no)
        if function == "Fn::GetAtt":
            return self._attribute(*operand)
        if function == "Fn::Sub":
            text, given = operand if isinstance(operand, list) else (operand, {})
            names = {k: self._value(v) for k, v in given.items()}
            return re.sub(r"\$\{([^}]+)\}", lambda m: str(self._named(m[1], names)), text)
        if function == "Fn::Split":
            return self._value(operand[1]).split(operand[0])
        if function == "Fn::Join":
            return operand[0].join(self._value(operand[1]))
        if function == "Fn::Select":
            return self._value(operand[1])[operand[0]]
        raise AssertionError(f"{function} is not known here")

    def _named(self, name: str, given: Mapping[str, Any]) -> Any:
        if name in given:
            return given[name]
        return self._attribute(*name.split(".")) if "." in name else self._ref(name)

    def _ref(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NOTHING
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self._parameters:
            value = self._parameters[name]
            return value.split(",") if name in self._lists else value
        return self._there(name)

    def _attribute(self, name: str, attribute: str) -> str:
        return f"{self._there(name)}.{attribute}"

    def _there(self, name: str) -> str:
        """A resource by what CloudFormation would call it; it must be there."""
        assert name in self._all, f"there is no resource {name}"
        assert self._holds(self._all[name].get("Condition")), f"{name} is not made here"
        properties = self._all[name].get("Properties", {})
        for key in ("BucketName", "QueueName"):
            if key in properties:
                return f"<{self._value(properties[key])}>"
        return f"<{name}>"
