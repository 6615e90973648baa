"""The version of tbcache, for those who must not import the whole package to say it."""

__version__ = "0.2.0.dev0"
