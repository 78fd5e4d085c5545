"""What stands between a project and the same numbers twice: `graft doctor`.

finding      what a check says: ok, a warning or broken, the remedy, and what `--fix` would do
environment  libraries, processor, accelerator, variables, room on the disks
sources      params.yaml, data, weights, and what git has of the project
sharing      DVC's remote, links and folders that a team shares
runs         where MLflow keeps runs, and in what state
run          all of them, in this order
"""
