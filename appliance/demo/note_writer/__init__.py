"""The synthetic note writer: discharge summaries and radiology reports about nobody, with everything that is true of them.

It is a test instrument. It shows that a line works from end to end, that offsets survive it and that what was learnt comes
back. A model that scores well on these notes has proved nothing about real text: their sentences come from a few hundred
templates, and a model that has seen enough of them knows them all. Never quote such a score as a result.

Known for every note: its sentences and their follow-up labels (in reports too, where a radiologist asks for something), the
questions a report answers or leaves open, and every identifier. `write_notes` gives the notes, `write_export` writes them the
way a hospital's export and an annotator's files look. The wording was made up for this project.
"""

from appliance.demo.note_writer.export import Export, write_export
from appliance.demo.note_writer.records import IdentifierKind, IdentifierSpan, Person, Question, SyntheticNote
from appliance.demo.note_writer.writer import write_notes

__all__ = ["Export", "IdentifierKind", "IdentifierSpan", "Person", "Question", "SyntheticNote", "write_export", "write_notes"]
