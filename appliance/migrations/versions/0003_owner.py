"""Who has claimed a message or a delivery, where several hosts share the database."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("inbox", "outbox"):
        op.add_column(table, sa.Column("owner", sa.String, nullable=False, server_default=""))


def downgrade() -> None:
    for table in ("inbox", "outbox"):
        op.drop_column(table, "owner")
