"""A fleet in virtual time: the real core and the real scripts, with all that may go wrong.

A seed is a plan (``plan.py``): what bots, event loops, workers and a scheduler do, and which of these go
wrong meanwhile: messages that are late or lost, a process that is cut off, stopped or killed, that leaves
or begins; the server stopped, frozen, emptied, back in an older state, or with its clock set; an upstream
that refuses, fails or stalls; midnight. Clocks of processes differ, and run at other rates. There are worlds
of several kinds (``PLANS``): in some the server's clock is set again and again, in some operators stop the
source and set its limits; some are about jobs, their operators and who leads, some about what callers get of
a queue, and some are at rest for a minute.

After each command the promises are looked at (``oracle.py``), and those of the upstream with each request
that comes in (``upstream.py``).

Left out: SQL and HTTP, which no promise about limits, loads and jobs rests on; a cluster, where all keys of
a source lie on one node, so that scripts see what they see here; ``tbcache.asyncio``, whose names only
choose the driver: the loops of a world run the coroutines behind them.
"""
