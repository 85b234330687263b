"""What findings mean together: one finding a cause, none that contradicts another, no floods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from dmarckit.core import _, count, n_messages
from dmarckit.findings.context import DAY, POOLED, SPOOFED
from dmarckit.findings.model import SEVERITIES, Finding, Kind, join_names, join_sentences, safe

MOST_ALIKE = 10
"""findings of one kind and domain beyond which they become one"""
_LISTED = 100

_ORDER = (
    "passing_abuse",
    "policy_changed",
    "broken_dkim",
    "spf_errors",
    "unaligned_sender",
    "unidentified_sender",
    "gmail_requirement",
    "mail_lost",
    "sender_stopped",
    "new_sender",
    "spf_only",
    "spoofing",
)
"""what takes in others comes before what it takes in"""
_WITH_ADVICE = ("unaligned_sender", "unidentified_sender")
"""kinds whose action is still due when another finding takes them in"""


def combine(found: Sequence[Finding], kinds: Mapping[str, Kind]) -> list[Finding]:
    """Return findings that neither repeat, contradict nor bury each other, each with its cause."""
    found = _shown(found, kinds)
    domains: dict[str, list[Finding]] = {}
    for finding in found:
        if not finding.muted:
            domains.setdefault(finding.domain, []).append(finding)
    one_each = [f for alike in domains.values() for f in _one_each_cause(alike, kinds)]
    pooled = _pooled(_shown(one_each, kinds))
    muted = [finding for finding in found if finding.muted]
    return [replace(f, cause=f.cause or _cause(f)) for f in [*pooled, *muted]]


def _shown(found: Sequence[Finding], kinds: Mapping[str, Kind]) -> list[Finding]:
    """Return the findings that no other about the domain, or about all, leaves out.

    No step forward is proposed while mail of our own is being lost.
    """
    about: dict[str, list[Finding]] = {"": []}
    for finding in found:
        about.setdefault(finding.domain, []).append(finding)

    def hidden(finding: Finding) -> bool:
        hidden_by, ready = kinds[finding.kind].hidden_by, finding.kind == "policy_ready"
        return any(
            other.kind in hidden_by or (ready and other.severity == "critical" and other.lost > 0)
            for other in (*about[finding.domain], *about[""])
        )

    return [finding for finding in found if not hidden(finding)]


def fingerprints_within(found: Iterable[Finding]) -> set[str]:
    """Return the fingerprints, fit to show, of what these findings have taken in."""
    return {str(name) for finding in found for name in finding.evidence.get("explains", ())} | {
        safe(f"{finding.kind}|{finding.domain}|{name}", 400)
        for finding in found
        if finding.subject == POOLED
        for name in finding.evidence.get("subjects", ())
    }


def _one_each_cause(found: Sequence[Finding], kinds: Mapping[str, Kind]) -> list[Finding]:
    """Let findings of one domain take in what they explain."""
    place = {kind: n for n, kind in enumerate(_ORDER)}
    waiting = sorted(found, key=lambda f: (place.get(f.kind, len(_ORDER)), f.rank))
    left = []
    while waiting:
        cause = waiting.pop(0)
        effects = [f for f in waiting if _explains(cause, f)]
        # and what these explain in turn
        effects += [
            f for f in waiting if any(_explains(e, f) for e in effects) and f not in effects
        ]
        waiting = [f for f in waiting if f not in effects]
        left.append(_with_effects(cause, effects, kinds) if effects else cause)
        same = cause.cause or _cause(cause)
        left += [replace(f, severity="info", cause=same) for f in effects if _stays(cause, f)]
    return left


def _stays(cause: Finding, effect: Finding) -> bool:
    """Return True if the effect stays, as information: people look for it by its kind."""
    if cause.kind == "passing_abuse":
        return False  # advice on how to send is not for those who abuse the name
    changed = cause.kind == "sender_stopped"  # from one sender to another: one change
    # what failed before a step of the policy has to be set up all the same
    failed_before = cause.kind == "policy_changed" and cause.subject not in ("adkim", "aspf")
    return (
        effect.kind in ("gmail_requirement", "spf_only")
        or (effect.kind == "new_sender" and not changed)
        or (effect.kind == "unaligned_sender" and failed_before)
    )


def _cause(finding: Finding) -> str:
    return f"{finding.kind} {safe(finding.subject)}".strip()


def _explains(cause: Finding, effect: Finding) -> bool:
    """Return True if the effect is there because of the cause, which comes first in `_ORDER`."""
    if cause.kind == "passing_abuse":
        return _is_abuse(cause, effect)
    if POOLED in (cause.subject, effect.subject) or effect.kind not in _ORDER:
        return False
    if cause.kind == "policy_changed":
        return _since_the_change(cause, effect)
    if effect.kind == "spoofing":
        own = ("unidentified_sender", "mail_lost")
        strange = sum(cause.evidence.get("classes", {}).get(name, 0) for name in SPOOFED)
        return cause.kind in own and 0 < effect.messages <= 2 * int(strange)
    if not _senders(cause) & _senders(effect):
        return False
    if cause.kind == "broken_dkim":
        return _by_signature(cause, effect)
    if effect.kind == "mail_lost":
        return 2 * cause.lost >= effect.lost
    if effect.kind == "gmail_requirement":
        return _senders(effect) <= _senders(cause)
    if effect.kind == "spf_only":
        return cause.kind == "spf_errors" and _together(cause, effect)
    return effect.kind in ("new_sender", "sender_stopped")


def _is_abuse(abuse: Finding, effect: Finding) -> bool:
    """Return True if a finding takes the messages of the abuse for mail of a sender of ours."""
    if effect.kind == "spf_only":
        return effect.subject.endswith(f" / {abuse.subject}")
    names = {safe(effect.subject), *effect.evidence.get("subjects", ())}
    return effect.kind == "new_sender" and bool(names & abuse.evidence.get("networks", {}).keys())


def _since_the_change(change: Finding, effect: Finding) -> bool:
    """Return True if mail is lost, or fails by a tag, since the policy changed."""
    if effect.kind not in ("unaligned_sender", "unidentified_sender", "mail_lost", "broken_dkim"):
        return False
    if change.subject in effect.evidence.get("strict_tags", ()):
        return True
    began = change.since or change.first_day
    if not effect.lost or began is None:
        return False
    if effect.since is None or effect.since >= began - DAY:
        return False  # it did not fail before: it is another thing of the same days
    return _senders(effect) <= set(change.evidence.get("failing_senders", ()))


def _by_signature(cause: Finding, effect: Finding) -> bool:
    failing = cause.evidence.get("senders_failing", {})
    if effect.kind == "broken_dkim":  # one signer with several selectors
        theirs = effect.evidence.get("senders_failing", {})
        return set(failing) == set(theirs) and _together(cause, effect)
    if effect.kind == "mail_lost":
        return 2 * cause.lost >= effect.lost
    if effect.kind == "gmail_requirement":
        return _senders(effect) <= set(failing)
    if effect.kind in ("unaligned_sender", "unidentified_sender", "spf_only"):
        return bool(2 * sum(failing.get(n, 0) for n in _senders(effect)) >= effect.messages)
    return effect.kind == "new_sender" or (
        effect.kind == "sender_stopped" and _together(cause, effect)
    )


def _together(one: Finding, other: Finding) -> bool:
    """Return True if both began at about the same time."""
    return bool(one.since and other.since and abs(one.since - other.since) <= 2 * DAY)


def _senders(finding: Finding) -> set[str]:
    """Return the names of the senders that a finding is about, fit to show as in evidence."""
    evidence = finding.evidence
    if finding.kind == "spf_only":
        return {safe(finding.subject.partition(" / ")[0])}
    if finding.kind in ("broken_dkim", "spf_errors", "gmail_requirement"):
        parts = ("senders_failing", "own_senders", "senders")
        return {str(n) for n in next((evidence[p] for p in parts if evidence.get(p)), ())}
    more = (*evidence.get("delivered_by", ()), *evidence.get("took_over", ()))
    return {safe(finding.subject), *map(str, more)}


def _with_effects(cause: Finding, effects: Sequence[Finding], kinds: Mapping[str, Kind]) -> Finding:
    """Return the cause with the worst severity, and the numbers, of what it explains."""
    allowed = kinds[cause.kind].severities
    severities = [f.severity for f in (cause, *effects) if f.severity in allowed]
    lost: dict[str, int] = {}
    for effect in effects:
        name = ", ".join(sorted(_senders(effect)))
        lost[name] = max(lost.get(name, 0), effect.lost)
    gone = [f for f in effects if not _stays(cause, f)]
    explains = {safe(f.fingerprint, 400): f.summary for f in gone}
    for effect in effects:
        explains |= effect.evidence.get("explains", {})
    evidence = {**cause.evidence, "explains": explains}
    losses = [f.evidence["lost_since"] for f in (cause, *effects) if f.evidence.get("lost_since")]
    if losses:
        evidence["lost_since"] = min(losses)
    # what its own numbers do not say
    whole = cause.kind in ("policy_changed", "passing_abuse")
    titles = [
        _(kinds[f.kind].title).format(subject=kinds[f.kind].subject_name(f.subject))
        for f in gone
        if f.kind not in ("mail_lost", *_WITH_ADVICE) and not whole
    ]
    # the record that mends a broken signature mends what it explains
    mended = "unaligned_sender" if cause.kind == "broken_dkim" else ""
    advice = [
        f.action
        for f in effects
        if f.kind in _WITH_ADVICE
        and f.kind != mended
        and cause.subject not in f.evidence.get("strict_tags", ())
    ]
    return replace(
        cause,
        severity=min(severities, key=SEVERITIES.index),
        messages=cause.messages or sum(f.messages for f in effects),
        lost=max(cause.lost, sum(lost.values())),
        summary=join_sentences(
            cause.summary,
            _("This also explains: {titles}.").format(titles="; ".join(titles[:3]))
            if titles
            else "",
        ),
        action=join_sentences(cause.action, *advice),
        evidence=evidence,
    )


def _pooled(found: Sequence[Finding]) -> list[Finding]:
    """Make one of more than ten findings of a kind and domain; critical ones stay by themselves."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in found:
        groups.setdefault((finding.kind, finding.domain), []).append(finding)
    left = []
    for group in groups.values():
        apart = [f for f in group if f.severity == "critical"]
        if len(apart) > MOST_ALIKE:
            apart = []
        alike = [f for f in group if f not in apart]
        if len(group) <= MOST_ALIKE or len(alike) < 2:
            left += group
        else:
            left += [*apart, _pool(sorted(alike, key=lambda f: f.rank))]
    return left


def _pool(alike: Sequence[Finding]) -> Finding:
    """Return one finding for many, the most urgent first."""
    names = [name for f in alike for name in f.evidence.get("subjects", [safe(f.subject)])]
    messages = sum(f.messages for f in alike)
    days = [d for f in alike for d in (f.first_day, f.last_day) if d is not None]
    return replace(
        alike[0],
        subject=POOLED,
        messages=messages,
        lost=sum(f.lost for f in alike),
        first_day=min(days, default=None),
        last_day=max(days, default=None),
        since=min((f.since for f in alike if f.since is not None), default=None),
        reporters=max(f.reporters for f in alike),
        cause="",
        record=(),
        summary=join_sentences(
            _("{n} findings like this, with {messages} in all: {names}.").format(
                n=count(len(names)), messages=n_messages(messages), names=join_names(names)
            ),
            _("The first of them: {summary}").format(summary=alike[0].summary),
        ),
        action=join_sentences(alike[0].action, _("The same goes for the others.")),
        evidence={
            "count": len(names),
            "subjects": names[:_LISTED],
            "each": {safe(f.subject): f.summary for f in alike[:_LISTED]},
            "thresholds": {"alike": MOST_ALIKE},
            "number": len(names),
        },
    )
