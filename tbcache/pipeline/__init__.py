"""The pipeline: one request's journey, from the ask to the outcome."""

from tbcache.pipeline.job import Answered, Attempt, Job, Loaded
from tbcache.pipeline.journey import PATIENCE_SECONDS, Pipeline, get_pipeline
from tbcache.pipeline.reader import TooLate, Upstream

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
