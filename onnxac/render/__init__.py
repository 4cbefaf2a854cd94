"""A report in the forms in which people and machines read it.

safe       the one sanitizer: what becomes of names, which may hold anything
words      what everything is called; verdict, totals and rules say the rest
columns    tables that hold at any width; lattice and kernels draw
terminal   for the terminal, with rich; its parts are totals, merged, refused, proof
markdown   for the summary of a pipeline's run
document   the JSON file, and back
gate       what `check` found, as text, JSON, GitHub annotations, GitLab, JUnit and SARIF reports

In   a report, or the findings of `check`.
Out  text for a terminal, a log, a page or a machine.

Requires nothing of the names in a report, which are a stranger's. Ensures that a rendering says
what the report knows, and no more: nothing here looks at a model. No string that is not our own
reaches a reader except through `safe`, and no line of text for a log begins with one.
"""
