"""Checks of services: Slack, mail, webhook, Google, queue, Dask and DNS answer and let us in."""

from __future__ import annotations

import contextlib
import re
from http.client import HTTPException
from typing import Any

from dmarckit import checks, core, ingest, jobs, slack
from dmarckit.cli.doctor.command import CheckContext, CheckResult, fail, ok, skip, warn
from dmarckit.core import ClusterError, MissingExtra, Settings, _, one_line

NO_TOKEN = skip("slack_token is not set: messages are shown, not sent")
_SCOPES = {"missing_scope", "not_allowed_token_type", "method_not_supported_for_channel_type"}


def slack_token(context: CheckContext) -> CheckResult:
    """Ask Slack whose token it is (`auth.test`)."""
    settings = context.settings
    if not settings.slack_token:
        return NO_TOKEN
    said = _ask_slack(settings, "auth.test")
    if said.get("ok"):
        return ok(f"{one_line(said.get('user'), 60)} in {one_line(said.get('team'), 60)}")
    problem = one_line(said.get("error"), 60)
    if problem.startswith("Slack "):
        return fail(problem, "check slack_url, network and proxy")
    return fail(
        f"Slack refuses the token ({problem})",
        "set slack_token to the app's bot token (xoxb-…); reinstall the app if it was revoked",
    )


def slack_channels(context: CheckContext) -> CheckResult:
    """Check that each channel named anywhere is there, as far as the app may see."""
    settings = context.settings
    if not settings.slack_token:
        return NO_TOKEN
    if not settings.slack_channel:
        return fail("slack_token is set, but slack_channel is not", "set slack_channel")
    good, unsure = [], []
    for channel in channels(settings):
        shown = one_line(channel, 60)
        if not re.fullmatch(r"[CGD][A-Z0-9]{5,}", channel):
            unsure.append((f"{shown} is a name", f"set the channel's ID (C…) instead of {shown}"))
            continue
        said = _ask_slack(settings, "conversations.info", channel=channel)
        about = said.get("channel") or {}
        if said.get("error") in _SCOPES:
            what = f"{shown}: the app may not look it up"
            unsure.append((what, "try it with: dmarckit doctor --send"))
        elif not said.get("ok"):
            fix = "check the ID, and invite the app to the channel if it is private"
            return fail(f"channel {shown}: {one_line(said.get('error'), 60)}", fix)
        elif about.get("is_archived"):
            return fail(f"channel {shown} is archived", "set slack_channel to another one")
        elif not about.get("is_member"):
            fix = "invite it there (/invite), or give it the scope chat:write.public"
            unsure.append((f"the app is not in {shown}", fix))
        else:
            good.append(f"#{one_line(about.get('name'), 60)} ({shown})")
    if unsure:
        return warn("; ".join(u[0] for u in unsure), "; ".join(dict.fromkeys(u[1] for u in unsure)))
    return ok(", ".join(good))


def slack_message(context: CheckContext) -> CheckResult:
    """Post a line to the main channel, with ``--send``."""
    settings = context.settings
    if not context.send:
        return skip("post a line to the channel with --send")
    if not settings.slack_token or not settings.slack_channel:
        return NO_TOKEN
    _send_line(context, settings.slack_channel)
    return ok(f"a line was posted to {one_line(settings.slack_channel, 60)}")


def mail(context: CheckContext) -> CheckResult:
    """Check that SES or the SMTP server would take mails, and send one with ``--send``."""
    settings = context.settings
    if not settings.mail_to:
        return skip("mail_to is not set: no messages by mail")
    try:
        if context.send:
            _send_line(context, slack.MAIL)
            return ok(f"a mail was sent to {one_line(', '.join(settings.mail_to))}")
        found = slack.check_mail(settings)
    except core.DeliveryError as error:
        if settings.smtp_url or context.send:
            return fail(str(error), "mend that, or take mail_to out of the settings")
        # credentials that may send need not be allowed to look it up
        return warn(str(error), "mend that, or see whether it sends: dmarckit doctor --send")
    return ok(found)


def webhook(context: CheckContext) -> CheckResult:
    """Check that the webhook's host answers, and post a line with ``--send``."""
    settings = context.settings
    if not settings.webhook_url:
        return skip("webhook_url is not set: no messages to a webhook")
    try:
        found = slack.check_webhook(settings)
        if context.send:
            _send_line(context, slack.WEBHOOK)
            return ok(f"a line was posted: {found}")
    except core.DeliveryError as error:
        return fail(str(error), "mend that, or take webhook_url out of the settings")
    if settings.webhook_url.get_secret_value().startswith("http://"):
        return warn(f"{found}, without TLS", "give webhook_url an address with https://")
    return ok(found)


def _send_line(context: CheckContext, channel: str) -> None:
    text = _("dmarckit doctor: messages from dmarckit arrive here.")
    message = slack.build_message(text, [slack.section(text)])
    now = context.clock()
    slack.send_message(context.settings, message, channel, subject=f"test:{now}", now=now)


def channels(settings: Settings) -> list[str]:
    """Return every channel that settings and schedules name, each once."""
    names = [settings.slack_channel]
    names += [entry.slack_channel for entry in settings.domains if not isinstance(entry, str)]
    for name in jobs.find_schedules():
        with contextlib.suppress(core.DmarckitError):  # the line about schedules says it
            names.append(jobs.load_schedule(name).slack.channel)
    return [channel for channel in dict.fromkeys(names) if channel]


def _ask_slack(settings: Settings, method: str, **params: str) -> dict[str, Any]:
    """Return Slack's answer; what kept it from answering is in ``error``, as a sentence."""
    from slack_sdk.errors import SlackApiError, SlackClientError

    token = settings.slack_token.get_secret_value() if settings.slack_token else ""
    try:
        client = slack.web_client(token, settings.slack_url, 10)
        answer = client.api_call(method, params=params)
        return answer.data if isinstance(answer.data, dict) else {}
    except core.DeliveryError:
        return {"error": "it is empty or has blanks"}
    except SlackApiError as error:
        data = error.response.data
        if isinstance(data, dict) and re.fullmatch(r"[a-z0-9_.-]+", str(data.get("error"))):
            return data
        return {"error": f"Slack answers HTTP {error.response.status_code}, but not JSON"}
    except OSError as error:
        why = one_line(getattr(error, "reason", None) or error, 40)
        return {"error": f"Slack is out of reach: {why}"}
    except (SlackClientError, HTTPException, ValueError, AttributeError, TypeError):
        return {"error": "Slack does not answer as Slack does"}


def google(context: CheckContext) -> CheckResult:
    """Read the file of Google's credentials, and see whether it is of a kind that works."""
    settings = context.settings
    if settings.google_credentials is None:
        return skip("google_credentials is not set: Postmaster Tools is not asked")
    found = checks.google_identity(settings)
    kind = "service account" if "service" in type(found.credentials).__module__ else "user"
    return ok(f"{kind} {one_line(found.who, 80)}; `dmarckit postmaster` asks Google itself")


def queue(context: CheckContext) -> CheckResult:
    """Check that the queue of arrivals can be read, has dead letters, and does not pile up."""
    url = context.settings.watch_queue
    if not url:
        return skip("watch_queue is not set: no queue tells of arrivals, runs list the mails")
    try:
        arrivals = ingest.Queue(url)
        arrivals.read_rules()
        waiting = arrivals.waiting()
    except core.QueueError as error:
        return fail(str(error), "mend that, or take watch_queue out of the settings")
    message = f"{waiting:,} messages wait in {one_line(arrivals.name, 80)}"
    if not arrivals.has_dead_letters:
        fix = "give it a redrive policy, so that what cannot be taken does not come again for days"
        return warn(f"{message}, which has no queue of dead letters", fix)
    if waiting > 1_000:  # a watcher takes as many in less than a minute
        return warn(message, "see that `dmarckit watch` runs somewhere")
    return ok(message)


def cluster(context: CheckContext) -> CheckResult:
    """Check that the Dask cluster is there, and that its workers would work as this machine."""
    settings = context.settings
    if not settings.dask:
        return skip("dask is not set: no cluster is asked to help")
    try:
        with core.connected(settings.dask) as workers:
            ingest.check_cluster(workers, settings, "mail")
            ingest.check_cluster(workers, settings, "lake")
            try:
                ingest.check_cluster(workers, settings, "settings")
            except ClusterError as error:
                return warn(str(error), "give workers the same settings; pages need them")
            return ok(f"{workers.threads} tasks at once on the workers of {settings.dask}")
    except (MissingExtra, ClusterError) as error:
        return fail(str(error), "mend that, or take dask out of the settings")


def dns(context: CheckContext) -> CheckResult:
    """Ask each DNS server for something that it knows."""
    try:
        from dmarckit.checks import DnsClient, NoAnswer, Servers
    except MissingExtra as error:
        return skip(str(error))
    settings = context.settings
    silent = []
    for server in settings.resolvers or ("",):
        servers = Servers((server,) if server else (), settings.dns_timeout)
        try:
            DnsClient(servers, settings.dns_timeout).exists(".")
        except NoAnswer as error:
            silent.append(f"{server or 'the system resolver'}: {one_line(error, 80)}")
    if not silent:
        return ok(f"{', '.join(settings.resolvers) or 'the system resolver'} answers")
    message = f"no answer by {'; '.join(silent)}"
    if len(silent) < len(settings.resolvers):
        return warn(message, "take it out of resolvers, or let this machine ask it")
    result = fail if settings.resolvers else warn
    return result(message, "set resolvers to DNS servers that this machine may ask")
