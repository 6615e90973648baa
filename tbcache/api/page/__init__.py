"""The operator's page: what is stuck, until when, what it costs and what to do, as HTML."""

from tbcache.api.page.route import router as router
