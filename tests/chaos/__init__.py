"""A fleet of real processes under random faults, and what must be true of it whatever happens.

``python -m tests.chaos --seed 1 --seconds 600`` starts a server, a simulator, workers,
schedulers, bots and the API, kills and stops them by a plan that the seed makes, and then
checks: no window held more requests than its limit, nothing that was accepted is lost,
nobody saw an error that is not ours, and nothing is left over.
"""
