"""A shop whose page says how many tasks and ticks its processes have done."""

from .celery import app

__all__ = ["app"]
