"""The window of each source: who may send how much, with Redis and without."""

# The connection still looks after the windows and needs the modules here, which need the store's scripts.
from tbcache import store as store
