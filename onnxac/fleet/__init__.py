"""Many models: each a task, run by an engine that is there already.

places   which models are named, and where the result of each goes
task     what is to be done with one model, as a value that can travel, and doing it
jobs     tasks in processes of this machine; engines: on a cluster of Ray's or Dask's
ledger   what was done before, so that it is not done again
run      all tasks, to one report

In   names of files, folders and patterns, and what is asked for.
Out  the models, and one report for all of them.

Requires that whatever runs a task sees the files under the same paths. Ensures that the bytes
which come out don't depend on the engine, and that neither a bad model nor a process that dies
takes another model along.
"""
