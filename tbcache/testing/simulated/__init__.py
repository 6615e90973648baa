"""A fleet in one thread and in virtual time: the real core and the real scripts, over a simulated server."""
