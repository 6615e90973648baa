"""Dramatiq's own tests, run on the pacing broker: see CONTRIBUTING.md."""
