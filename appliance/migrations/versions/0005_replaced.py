"""Documents that another one has taken the place of have a status of their own."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Those of earlier releases stay cancelled: which of them were replaced is not known any more.
    pass


def downgrade() -> None:
    op.execute("UPDATE documents SET status = 'cancelled' WHERE status = 'replaced'")
