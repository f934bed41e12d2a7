"""From an encoder and labelled examples to a model of a task: few labels are the normal case.

`learning` is what all tasks share; a module per task holds its objective, what its dev examples say, and its cut-offs.
"""
