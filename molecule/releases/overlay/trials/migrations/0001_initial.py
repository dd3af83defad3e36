"""Django's own."""

from django.db import migrations, models

ID = {"auto_created": True, "primary_key": True, "serialize": False, "verbose_name": "ID"}


class Migration(migrations.Migration):
    """Make the table of marks."""

    initial = True
    operations = [
        migrations.CreateModel(
            "Mark",
            [
                ("id", models.BigAutoField(**ID)),
                ("name", models.CharField(max_length=50)),
                ("at", models.DateTimeField(auto_now_add=True)),
            ],
        )
    ]
