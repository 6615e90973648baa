"""What a request goes through, from the ask to the outcome, be it for pages of an upstream or a function."""

from tbcache.fetch.job import Answered, Attempt, Derived, Job, Loaded
from tbcache.fetch.pipeline import Pipeline, get_pipeline
from tbcache.fetch.reader import TooLate
from tbcache.fetch.upstream import Upstream
