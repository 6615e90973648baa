"""The exit codes of every command, and what each says; docs/cli.md has its table from here."""

from __future__ import annotations

OK, FAILED, USAGE, REDIS_UNREACHABLE, RATE_LIMITED, UPSTREAM, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130

MEANINGS = {
    OK: "ok; what runs until it is stopped (`up`, `worker`, `scheduler`, `api`, `simulator`, `status "
    "--watch`) ends so by Ctrl-C and SIGTERM as well",
    FAILED: "failed; `status --check`: there is a trouble; `doctor`, `provider check`: something is "
    "wrong; `alert test`: the webhook did not take it; `--wait`: no result within `--timeout`; "
    "`queue cancel JOB`, `queue promote`, `queue explain`: the job is not there, or waits no more; `queue "
    "drain`: it is paused, and stays so; nobody was there to be asked, or said no",
    USAGE: "usage or configuration, a wrong password included; nothing was done",
    REDIS_UNREACHABLE: "Redis is not reachable, or nobody said where it is, also with `status --check`; or a "
    "data folder is named with which no `tbcache up` runs. `fetch`, `backfill` and `record` go on without "
    "Redis, but not where such a folder is named",
    RATE_LIMITED: "rate limited: no slot within `--timeout`, `fetch --no-wait`, the budget of the day is "
    "spent, or an operator has paused the source",
    UPSTREAM: "the upstream answered with an error, and nothing older is kept",
    INTERRUPTED: "interrupted by Ctrl-C before it was done; SIGTERM and SIGHUP end it in order as well, and "
    "the shell says 143 and 129",
}
