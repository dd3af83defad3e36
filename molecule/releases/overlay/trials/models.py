"""What the tasks leave behind."""

from django.db import models


class Mark(models.Model):
    """A task has come this far; it is no mistake of the table if there are two of them."""

    name = models.CharField(max_length=50)
    at = models.DateTimeField(auto_now_add=True)
