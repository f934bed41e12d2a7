"""Inbox, readings, findings and outbox."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    op.create_table(
        "inbox",
        sa.Column("message_id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("source", sa.String, nullable=False),
        sa.Column("control_id", sa.String, nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("received_at_s", sa.Float, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("due_at_s", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("crashes", sa.Integer, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.UniqueConstraint("source", "control_id", "sha256", name="inbox_identity"),
        sqlite_autoincrement=True,
    )
    index_by_state("inbox", waiting=["crashes", "message_id", "due_at_s", "received_at_s"], claimed=["due_at_s", "received_at_s"])
    op.create_table(
        "readings",
        sa.Column("reading_id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("message_id", ROW_ID, sa.ForeignKey("inbox.message_id", ondelete="CASCADE"), nullable=False),
        sa.Column("note_id", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("document_type", sa.String, nullable=False),
        sa.Column("model", sa.String, nullable=False),
        sa.Column("read_at_s", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("readings_message", "readings", ["message_id", "reading_id"])
    op.create_table(
        "findings",
        sa.Column("reading_id", ROW_ID, sa.ForeignKey("readings.reading_id", ondelete="CASCADE"), primary_key=True),
        sa.Column("finding_id", sa.String(64), primary_key=True),
        sa.Column("start", sa.Integer, nullable=False),
        sa.Column("end", sa.Integer, nullable=False),
        sa.Column("quote", sa.String, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("score", sa.Float, nullable=False),
    )
    op.create_table(
        "outbox",
        sa.Column("outbox_id", ROW_ID, primary_key=True, autoincrement=True),
        sa.Column("message_id", ROW_ID, sa.ForeignKey("inbox.message_id", ondelete="CASCADE"), nullable=False),
        sa.Column("destination", sa.String, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("created_at_s", sa.Float, nullable=False),
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("due_at_s", sa.Float, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sqlite_autoincrement=True,
    )
    index_by_state("outbox", waiting=["outbox_id", "due_at_s", "created_at_s"], claimed=["due_at_s", "created_at_s"])
    op.create_index("outbox_message", "outbox", ["message_id"])


def downgrade() -> None:
    for table in ("outbox", "findings", "readings", "inbox"):
        op.drop_table(table)


def index_by_state(table: str, waiting: list[str], claimed: list[str]) -> None:
    # One small index per state: what waits is found at once, however much is done.
    for state, columns in {"waiting": waiting, "claimed": claimed, "parked": ["state"], "done": ["state"]}.items():
        where = sa.text(f"state = '{state}'")
        op.create_index(f"{table}_{state}", table, columns, sqlite_where=where, postgresql_where=where)
