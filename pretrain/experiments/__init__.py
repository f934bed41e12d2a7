"""The paper's other ways to a task, beside an encoder with a head: text to text, and in context. Nothing here is served."""
