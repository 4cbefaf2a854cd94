"""A report in the forms in which people and machines read it.

words      what everything is called, shared by all forms
terminal   for the terminal, with rich; its parts are totals, merged, refused, proof
markdown   for the summary of a pipeline's run
document   the JSON file, and back
gate       what `check` found, as text, JSON, GitHub annotations, GitLab and JUnit reports

Nothing here looks at a model: a rendering knows what the report knows. Names come from
models, and may hold anything; each form escapes them.
"""
