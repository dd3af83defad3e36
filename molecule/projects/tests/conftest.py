"""The fixture that all tests of this scenario use."""

from projects import project

__all__ = ["project"]
