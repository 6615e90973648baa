"""What a request goes through, from the ask to the outcome, be it for pages of an upstream or a function."""

from tbcache.fetch.job import Answered, Attempt, Job, Loaded
from tbcache.fetch.pipeline import PATIENCE_SECONDS, Pipeline, get_pipeline
from tbcache.fetch.reader import TooLate, Upstream

__all__ = [
    "PATIENCE_SECONDS",
    "Answered",
    "Attempt",
    "Job",
    "Loaded",
    "Pipeline",
    "TooLate",
    "Upstream",
    "get_pipeline",
]
