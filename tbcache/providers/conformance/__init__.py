"""Whether a source keeps to what is expected of one, as far as recordings of it show: nothing is sent.

Each rule is a function that looks at the source and its recordings, and tells what is wrong, in which of
them, and what would be right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

from tbcache.io.description import described
from tbcache.providers.base import Provider
from tbcache.providers.conformance import error_rule, page_rule, request_rule
from tbcache.providers.conformance.checked import Checked, Finding, Rule
from tbcache.providers.recording import Recording

#: What differs between two recordings with the same mistake: ids, values and counts.
_NAMED = re.compile(r"'[^']*'|\d+")


class Report(NamedTuple):
    """What came of a check. ``items`` were read from ``pages`` of ``recordings``, for ``dollars``."""

    source: str
    rules: tuple[str, ...]
    findings: tuple[Finding, ...]
    recordings: int
    pages: int
    items: int
    dollars: float

    @property
    def wrong(self) -> tuple[Finding, ...]:
        return tuple(one for one in self.findings if one.level == "wrong")


RULES: dict[str, Rule] = {
    "parses": page_rule.each_parses,
    "unique ids": page_rule.ids_are_unique,
    "stable ids": page_rule.ids_are_stable,
    "times": page_rule.times_are_right,
    "bounds": page_rule.items_keep_to_bounds,
    "newest first": page_rule.newest_first,
    "pure": page_rule.parse_is_pure,
    "cursor moves": request_rule.cursor_moves,
    "cursor ends": request_rule.cursor_ends,
    "since": request_rule.since_is_used,
    "packs": request_rule.packs,
    "rechecks": request_rule.rechecks,
    "errors": error_rule.errors_are_told_apart,
    "garbage": error_rule.garbage_is_no_page,
    "retry": error_rule.a_wait_is_heard,
    "secrets": error_rule.nothing_secret,
    "cost": page_rule.pages_cost_what_is_said,
}


def _findings(rule: Rule, checked: Checked) -> Sequence[Finding]:
    """What ``rule`` finds; what the source raises meanwhile is a finding as well."""
    try:
        return list(rule(checked))
    except Exception as error:
        what = f"it raised {described(error)}"
        return [Finding("", what[:200], "request(), packs() and is_of() may raise nothing")]


def _once(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Each kind of mistake once: it is one, in however many recordings it shows."""
    alike = dict[tuple[str, ...], list[Finding]]()
    for finding in findings:
        kind = _NAMED.sub("", finding.what)
        alike.setdefault((finding.level, finding.rule, finding.right, kind), []).append(finding)
    return tuple(first._replace(also=_others(first, more)) for first, *more in alike.values())


def _others(first: Finding, more: Sequence[Finding]) -> tuple[str, ...]:
    names = dict.fromkeys(finding.recording for finding in more)
    return tuple(name for name in names if name and name != first.recording)


def check(provider: Provider, recordings: Sequence[Recording]) -> Report:
    """Hold ``provider`` against every rule."""
    checked = Checked(provider, recordings)
    findings = [
        found._replace(rule=name) for name, rule in RULES.items() for found in _findings(rule, checked)
    ]
    items = [item.id for read in checked.read for item in read.page.items]
    bills = (
        checked.source.price.bill([item.id for item in read.page.items], read.page.users)
        for read in checked.read
    )
    billed = set[str]()
    dollars = sum(bill.due(billed) for bill in bills)
    return Report(
        provider.source.name,
        tuple(RULES),
        _once(findings),
        len(recordings),
        len(checked.read),
        len(items),
        dollars,
    )
