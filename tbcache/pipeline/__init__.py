"""The pipeline: one request's journey, from the ask to the outcome."""

from tbcache.pipeline.journey import PATIENCE_SECONDS, Pipeline, get_pipeline
from tbcache.pipeline.reader import Upstream

__all__ = ["PATIENCE_SECONDS", "Pipeline", "Upstream", "get_pipeline"]
