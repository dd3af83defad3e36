"""Rate limits."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from redis.exceptions import RedisError
from rest_framework.throttling import AnonRateThrottle

if TYPE_CHECKING:  # DRF's own modules import this one.
    from rest_framework.request import Request
    from rest_framework.views import APIView

logger = logging.getLogger(__name__)


class AnonThrottle(AnonRateThrottle):
    """DRF's throttle, except that a lost Redis does not take the API down with it."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        """Let the request in when the counters cannot be read."""
        try:
            return super().allow_request(request, view)
        except RedisError as error:
            logger.warning("not throttling, Redis is away (%s)", type(error).__name__)
            return True
