"""The application's configuration."""

from django.apps import AppConfig


class ClinicConfig(AppConfig):
    """Connects the signal handlers once Django is ready."""

    name = "clinic"

    def ready(self) -> None:
        """Import the module for its side effect: it registers its handler."""
        from . import signals  # noqa: F401
