"""A process that runs for ever."""

import time

from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Say each second that it listens."""

    def handle(self, **_options: object) -> None:
        """Run for ever."""
        while True:
            self.stdout.write("listening")
            time.sleep(1)
