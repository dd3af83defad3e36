"""The sample's settings, with this application."""

from psychology_clinic.settings import *  # noqa: F403 (an overlay changes nothing else)
from psychology_clinic.settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "trials"]
ROOT_URLCONF = "trials.urls"
