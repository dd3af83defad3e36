"""The one table, with one row."""

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the table."""
    op.execute("CREATE TABLE goods (name text)")
    op.execute("INSERT INTO goods VALUES ('tea')")
