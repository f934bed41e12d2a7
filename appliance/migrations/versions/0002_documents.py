"""Formats other than HL7 v2, versions of documents, questions, and the order of a patient's deliveries."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ROW_ID = sa.BigInteger().with_variant(sa.Integer, "sqlite")

_ADDED = {
    "inbox": {"format": "hl7v2"},
    "readings": {"patient_key": "", "document_key": "", "text_sha256": "", "status": "final", "way": ""},
    "findings": {"question": "", "model": ""},
    "outbox": {"patient_key": ""},
}
"""Columns of text, and what they hold of the rows that are there."""
_TIMES = {"readings": "written_at_s", "findings": "at_s"}


def upgrade() -> None:
    for table, columns in _ADDED.items():
        for name, value in columns.items():
            op.add_column(table, sa.Column(name, sa.String, nullable=False, server_default=value))
    for table, name in _TIMES.items():
        op.add_column(table, sa.Column(name, sa.Float))
    op.create_table(
        "documents",
        sa.Column("document_key", sa.String, primary_key=True),
        sa.Column("patient_key", sa.String, nullable=False),
        sa.Column("reading_id", ROW_ID, sa.ForeignKey("readings.reading_id", ondelete="CASCADE"), nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("updated_at_s", sa.Float, nullable=False),
    )
    op.create_index("documents_patient", "documents", ["patient_key"])
    op.create_index("documents_reading", "documents", ["reading_id"])
    op.create_index("readings_document", "readings", ["document_key", "reading_id"])
    op.create_index("readings_text", "readings", ["patient_key", "text_sha256"])
    waiting = sa.text("state IN ('waiting', 'claimed')")
    op.create_index(
        "outbox_order", "outbox", ["destination", "patient_key", "outbox_id"], sqlite_where=waiting, postgresql_where=waiting
    )
    waiting = sa.text("state = 'waiting'")
    # One destination's queue, read without what waits for the others.
    op.create_index(
        "outbox_next",
        "outbox",
        ["destination", "outbox_id", "due_at_s", "patient_key"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )


def downgrade() -> None:
    op.drop_index("outbox_next", "outbox")
    op.drop_index("outbox_order", "outbox")
    op.drop_index("readings_text", "readings")
    op.drop_index("readings_document", "readings")
    op.drop_table("documents")
    for table, columns in _ADDED.items():
        for name in columns:
            op.drop_column(table, name)
    for table, name in _TIMES.items():
        op.drop_column(table, name)
