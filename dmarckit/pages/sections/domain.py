"""Facts of one domain → the tables of its page. No function changes its input.

Counts are messages (fractions of spread reports are rounded), shares are fractions [0-1], NaN
where there is nothing to divide by. Without facts there are the same columns and no rows.

Small frames (from `domain_summary`) → the tables of a domain's page, every value escaped.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from dmarckit.core import Window, _, later, ngettext, normalize_domain, text
from dmarckit.facts import Facts, countries, in_window, kind_word
from dmarckit.findings import BLOCKED, fill_policy_defaults, requirement_meaning
from dmarckit.pages.charts import class_words
from dmarckit.pages.html import Column, Html, table
from dmarckit.pages.links import PageLinks, row_link

CHECKS = (later("DKIM passes"), later("DKIM fails"))


def of_domain(frame: pd.DataFrame, domain: str) -> pd.DataFrame:
    """The rows of one domain."""
    return frame[frame["domain"] == normalize_domain(domain)]


def headline(facts: Facts, window: Window) -> pd.DataFrame:
    """One row a measure: `measure`, `value` in the window, `before` it.

    Measures: messages, pass_share, failing (messages), reports, reporters, domains.
    """
    values = {}
    for name, part in (("value", window), ("before", window.before)):
        rows = in_window(facts.messages, part)
        reports = facts.reports
        reports = reports[(reports["begin"] >= part.start) & (reports["begin"] < part.end)]
        messages = float(rows["messages"].sum())
        passing = float(rows.loc[rows["da"] | rows["sa"], "messages"].sum())
        values[name] = {
            "messages": messages,
            "pass_share": passing / messages if messages else float("nan"),
            "failing": messages - passing,
            "reports": float(len(reports)),
            "reporters": float(reports["reporter"].nunique()),
            "domains": float(reports["domain"].nunique()),
        }
    table = pd.DataFrame(values).rename_axis("measure").reset_index()
    return table[["measure", "value", "before"]]


def checks_frame(messages: pd.DataFrame) -> pd.DataFrame:
    """Two rows, DKIM passes and fails: `check`, `spf_passes`, `spf_fails` (messages).

    Passes means for the author's domain (aligned), which is what counts for DMARC.
    """
    sums = messages.groupby(["da", "sa"], observed=True)["messages"].sum()
    cells = [[sums.get((d, s), 0) for s in (True, False)] for d in (True, False)]
    table = pd.DataFrame(cells, columns=["spf_passes", "spf_fails"]).round().astype("int64")
    table.insert(0, "check", list(CHECKS))
    return table


def senders_frame(facts: Facts, domain: str, window: Window) -> pd.DataFrame:
    """One row a sender of the window, most messages first.

    Columns: `sender`, `sender_kind`, `in_inventory`, `messages`, `before` (in the window
    before), `dkim_share`, `spf_share` (aligned), `classes` (dict class → messages, most
    first), `blocked` (quarantined or rejected), `first_seen`, `last_seen` (days, within the
    history of the facts), `countries` (of its busiest addresses, most first).
    """
    mine = of_domain(facts.messages, domain)
    rows, before = in_window(mine, window), in_window(mine, window.before)
    amount = rows["messages"]
    rows = rows.assign(
        dkim=amount.where(rows["da"], 0),
        spf=amount.where(rows["sa"], 0),
        blocked=amount.where(rows["disposition"].isin(BLOCKED), 0),
    )
    groups = rows.groupby("sender", observed=True)
    table = groups[["messages", "dkim", "spf", "blocked"]].sum()
    ever = mine.groupby("sender", observed=True)["day"]
    table = table.assign(
        before=before.groupby("sender", observed=True)["messages"].sum(),
        sender_kind=groups["sender_kind"].first().astype("str"),
        in_inventory=groups["in_inventory"].max(),
        dkim_share=table["dkim"] / table["messages"],
        spf_share=table["spf"] / table["messages"],
        first_seen=ever.min(),
        last_seen=ever.max(),
    )
    table.index = table.index.astype("str")
    table = table.assign(
        classes=_counts(rows, "sender", "class"),
        countries=_countries(of_domain(facts.sources, domain)),
    )
    whole = ["messages", "before", "blocked"]
    table[whole] = table[whole].fillna(0).round().astype("int64")
    columns = ["sender", "sender_kind", "in_inventory", "messages", "before", "dkim_share"]
    columns += ["spf_share", "classes", "blocked", "first_seen", "last_seen", "countries"]
    return most_first(table.rename_axis("sender").reset_index()[columns], "sender")


def selectors_frame(facts: Facts, domain: str, window: Window) -> pd.DataFrame:
    """One row a DKIM signature (d=, s=), most messages first.

    Columns: `dkim_domain`, `selector`, `aligned` (counts for the author's domain),
    `messages` that carry it, `pass_share`, `senders` (number), `sender` (with the most).
    """
    rows = in_window(of_domain(facts.signatures, domain), window)
    rows = rows.astype({"dkim_domain": "str", "selector": "str", "sender": "str"})
    rows = rows.assign(passed_messages=rows["messages"].where(rows["passed"], 0))
    keys = ["dkim_domain", "selector"]
    rows = rows.sort_values("messages", ascending=False, kind="stable")
    table = rows.groupby(keys).agg(
        aligned=("aligned", "max"),
        messages=("messages", "sum"),
        passed=("passed_messages", "sum"),
        senders=("sender", "nunique"),
    )
    by_sender = rows.groupby([*keys, "sender"])["messages"].sum().sort_values(ascending=False)
    largest = by_sender.reset_index().drop_duplicates(keys).set_index(keys)["sender"]
    table = table.assign(pass_share=table["passed"] / table["messages"], sender=largest)
    table = table.reset_index().round({"messages": 0}).astype({"messages": "int64"})
    columns = ["dkim_domain", "selector", "aligned", "messages", "pass_share", "senders", "sender"]
    return most_first(table[columns], "dkim_domain")


def forwarders_frame(facts: Facts, domain: str, window: Window) -> pd.DataFrame:
    """One row a sender that passed on what others sent (classes forwarded and modified).

    Columns: `sender`, `sender_kind`, `messages`, `survived` (the signature still passes),
    `modified` (it does not), `blocked`, `reporters` (number).
    """
    rows = in_window(of_domain(facts.messages, domain), window)
    rows = rows[rows["class"].isin(["forwarded", "modified"])]
    amount = rows["messages"]
    rows = rows.assign(
        sender=rows["sender"].astype("str"),
        survived=amount.where(rows["da"], 0),
        modified=amount.where(rows["class"] == "modified", 0),
        blocked=amount.where(rows["disposition"].isin(BLOCKED), 0),
    )
    groups = rows.groupby("sender")
    whole = ["messages", "survived", "modified", "blocked"]
    table = groups[whole].sum().round().astype("int64")
    table.insert(0, "sender_kind", groups["sender_kind"].first().astype("str"))
    table["reporters"] = groups["reporter"].nunique()
    return most_first(table.reset_index(), "sender")


def requirements_frame(facts: Facts, domain: str, window: Window) -> pd.DataFrame:
    """One row a sender requirement that a receiver missed (enhanced code) and sender.

    Columns: `code`, `sender`, `in_inventory`, `messages`, `refused` (SMTP reply 5xx, else it
    was delayed), `reporters` (number), `first_day`, `last_day`. Most messages first.
    """
    rows = in_window(of_domain(facts.requirements, domain), window)
    rows = rows.astype({"code": "str", "sender": "str", "smtp": "str"})
    amount = rows["messages"]
    rows = rows.assign(refused=amount.where(rows["smtp"].str.startswith("5"), 0))
    table = rows.groupby(["code", "sender"]).agg(
        messages=("messages", "sum"),
        refused=("refused", "sum"),
        reporters=("reporter", "nunique"),
        first_day=("day", "min"),
        last_day=("day", "max"),
    )
    table = table.reset_index()
    whole = ["messages", "refused"]
    table[whole] = table[whole].round().astype("int64")
    mine = of_domain(facts.inventory, domain)["sender"]
    table.insert(2, "in_inventory", table["sender"].isin(set(mine.astype("str"))))
    return most_first(table, "code")


def reporter_days(facts: Facts, domain: str, window: Window) -> pd.DataFrame:
    """One row per reporter and day with messages: `reporter`, `day`, `messages`."""
    rows = in_window(of_domain(facts.messages, domain), window)
    rows = rows.astype({"reporter": "str"})
    sums = rows.groupby(["reporter", "day"])["messages"].sum()
    return sums.round().astype("int64").reset_index()


def policy_history(facts: Facts, domain: str) -> pd.DataFrame:
    """One row a policy as reporters quoted it, the newest first, defaults filled in.

    Columns: `p`, `sp`, `np`, `pct`, `testing`, `adkim`, `aspf`, `first`, `last` (begin of its
    first and last report in the facts' history), `reports`, `reporters` (numbers).
    """
    tags = ["p", "sp", "np", "pct", "testing", "adkim", "aspf"]
    quoted = fill_policy_defaults(of_domain(facts.policies, domain))
    table = quoted.groupby(tags, as_index=False).agg(
        first=("begin", "min"),
        last=("begin", "max"),
        reports=("begin", "size"),
        reporters=("reporter", "nunique"),
    )
    return table.sort_values(["last", "reports"], ascending=False, ignore_index=True)


def most_first(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Rows with the most `messages` first, equal ones by `name`."""
    order = ["messages", name]
    return table.sort_values(order, ascending=[False, True], ignore_index=True)


def _counts(rows: pd.DataFrame, key: str, column: str) -> pd.Series[Any]:
    """Indexed by `key`: a dict of the values of `column` with their messages, most first."""
    sums = rows.astype({key: "str", column: "str"}).groupby([key, column])["messages"].sum()
    sums = sums.round().astype("int64").sort_values(ascending=False, kind="stable")
    found: dict[str, dict[str, int]] = {}
    for name, value, number in sums[sums > 0].reset_index().itertuples(index=False):
        found.setdefault(str(name), {})[str(value)] = int(number)
    return pd.Series(found, dtype=object)


def _countries(sources: pd.DataFrame) -> pd.Series[Any]:
    """Indexed by sender: the countries of its addresses, the one with most messages first."""
    rows = sources.astype({"sender": "str", "source_ip": "str"}).reset_index(drop=True)
    rows = rows.assign(country=countries(rows["source_ip"])).dropna(subset="country")
    sums = rows.groupby(["sender", "country"])["messages"].sum().sort_values(ascending=False)
    found: dict[str, list[str]] = {}
    for name, country in sums.index:
        found.setdefault(str(name), []).append(str(country))
    return pd.Series({name: ", ".join(codes[:4]) for name, codes in found.items()}, dtype=object)


SHOWN = 60
"""rows of a table; the rest is only counted"""


def checks(frame: pd.DataFrame) -> Html:
    """SPF × DKIM. Takes `domain_summary.checks`."""
    total = int(frame[["spf_passes", "spf_fails"]].to_numpy().sum())
    if not total:
        return table(
            frame.iloc[:0], [], caption="", empty=_("There were no messages on these days.")
        )
    columns = [
        Column("check", ""),
        Column(
            "spf_passes", _("SPF passes"), "count", lambda r: text.percent(r.spf_passes / total)
        ),
        Column("spf_fails", _("SPF fails"), "count", lambda r: text.percent(r.spf_fails / total)),
    ]
    caption = _("Messages by DKIM and SPF, each for the author's domain")
    frame = frame.assign(check=frame["check"].map(_))
    return table(frame, columns, caption=caption, empty="")


def senders(frame: pd.DataFrame, domain: str = "", links: PageLinks | None = None) -> Html:
    """Takes `domain_summary.senders`; with `links` each sender of `domain` leads to its page."""
    frame = frame.assign(
        classes_text=[class_words(found) for found in frame["classes"]],
        done=[_done(row) for row in frame.itertuples(index=False)],
    )
    columns = [
        Column(
            "sender",
            _("Sender"),
            under=lambda r: _kind(r.sender_kind, r.in_inventory),
            link=row_link(links, "sender", "sender", domain=domain),
        ),
        Column("messages", _("Messages"), "volume", lambda r: text.change(r.messages, r.before)),
        Column("dkim_share", "DKIM", "share"),
        Column("spf_share", "SPF", "share"),
        Column("classes_text", _("What it is")),
        Column("done", _("Receivers")),
        Column("first_seen", _("First seen"), "day"),
        Column("last_seen", _("Last seen"), "day"),
        Column("countries", _("Countries")),
    ]
    empty = _("Nobody sent as this domain on these days.")
    return _cut(frame, columns, _("Senders, the largest first"), empty)


def selectors(frame: pd.DataFrame) -> Html:
    """Takes `domain_summary.selectors`."""
    frame = frame.assign(
        counts_text=[_("yes") if aligned else _("no") for aligned in frame["aligned"]]
    )
    columns = [
        Column("dkim_domain", _("Domain (d=)")),
        Column("selector", _("Selector (s=)")),
        Column("messages", _("Messages"), "volume"),
        Column("pass_share", _("Verify"), "share"),
        Column("counts_text", _("Counts for DMARC")),
        Column("sender", _("Signed by"), under=_others),
    ]
    empty = _("No message carries a DKIM signature.")
    return _cut(frame, columns, _("DKIM signatures, the most used first"), empty)


def forwarders(frame: pd.DataFrame) -> Html:
    """Takes `domain_summary.forwarders`."""
    columns = [
        Column("sender", _("Forwarder"), under=lambda r: kind_word(r.sender_kind)),
        Column("messages", _("Messages"), "volume"),
        Column("survived", _("Signature survived"), "count"),
        Column("modified", _("Changed on the way"), "count"),
        Column("blocked", _("Blocked"), "count"),
        Column("reporters", _("Reporters"), "count"),
    ]
    empty = _("No message was forwarded on these days.")
    return _cut(frame, columns, _("Forwarders, the largest first"), empty)


def requirements(frame: pd.DataFrame, domain: str = "", links: PageLinks | None = None) -> Html:
    """Codes of Gmail's sender requirements, decoded. Takes `domain_summary.requirements`."""
    frame = frame.assign(
        means=[_(requirement_meaning(str(code)).means) for code in frame["code"]],
        whose=[_("yes") if mine else _("no") for mine in frame["in_inventory"]],
    )
    columns = [
        Column("sender", _("Sender"), link=row_link(links, "sender", "sender", domain=domain)),
        Column("code", _("Code")),
        Column("means", _("What is missing")),
        Column("messages", _("Messages"), "volume"),
        Column("refused", _("Refused"), "count"),
        Column("whose", _("A sender of yours")),
        Column("reporters", _("Reporters"), "count"),
        Column("last_day", _("Last seen"), "day"),
    ]
    empty = _("No receiver says that a requirement is missed.")
    return _cut(frame, columns, _("Requirements that receivers miss, by sender"), empty)


def policies(frame: pd.DataFrame) -> Html:
    """Takes `domain_summary.policy_history`."""
    frame = frame.assign(rest=[_tags(row) for row in frame.itertuples(index=False)])
    columns = [
        Column("p", _("Policy (p)"), "policy"),
        Column("sp", _("Subdomains (sp)"), "policy"),
        Column("rest", _("Other tags")),
        Column("first", _("First quoted"), "day"),
        Column("last", _("Last quoted"), "day"),
        Column("reports", _("Reports"), "count"),
        Column("reporters", _("Reporters"), "count"),
    ]
    empty = _("No reporter has quoted a policy.")
    return _cut(frame, columns, _("Policies as reporters quoted them, the newest first"), empty)


def _cut(frame: pd.DataFrame, columns: list[Column], caption: str, empty: str) -> Html:
    shown = table(frame.head(SHOWN), columns, caption=caption, empty=empty)
    more = len(frame) - SHOWN
    if more <= 0:
        return shown
    return Html(f'{shown.markup}<p class="dk-note">{text.more_rows(more)}</p>')


def _kind(kind: str, in_inventory: bool) -> str:
    if in_inventory:
        return kind_word(kind)
    return _("{kind}, not known as a sender of yours").format(kind=kind_word(kind))


def _done(row: Any) -> str:
    if not row.blocked:
        return _("delivered all")
    if row.blocked >= row.messages:
        return _("blocked all")
    return _("blocked {n}").format(n=text.count(row.blocked))


def _others(row: Any) -> str:
    more = row.senders - 1
    return ngettext("and {n} other", "and {n} others", more).format(n=more) if more > 0 else ""


def _tags(row: Any) -> str:
    tags = {"np": row.np if row.np != row.sp else "", "t": "y" if row.testing == "y" else ""}
    tags["pct"] = str(row.pct) if row.pct < 100 else ""
    tags |= {"adkim": "s" if row.adkim == "s" else "", "aspf": "s" if row.aspf == "s" else ""}
    return "; ".join(f"{name}={value}" for name, value in tags.items() if value)
