"""The window of each source: who may send how much, with Redis and without.

Whatever takes slots goes through :meth:`Limiter.take`. Whatever asks Redis raises Unavailable where it is
away, or too slow, and Refused where the keys of the source cannot be used.
"""

from tbcache.limiter.ask import Given, Late, Replied, SlotScript, Terms, Want, WindowKeys
from tbcache.limiter.limiter import Limiter, limiter_of
from tbcache.limiter.process_window import ProcessWindow
