"""A command that runs for ever."""

import time

from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    """Says its name, and waits."""

    def add_arguments(self, parser: CommandParser) -> None:
        """Take a name."""
        parser.add_argument("--name")

    def handle(self, *_: object, **options: object) -> None:
        """Wait for the end."""
        print("watch", options["name"])
        while True:
            time.sleep(60)
