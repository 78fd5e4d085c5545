"""One MLflow run per pass of the pipeline: the mirror of the files, never an input.

The only place that knows MLflow.

server.py  which store or server, and whether it answers
git.py     commit, dirty flag, diff, untracked files
run.py     the pass's run: opened by the first training stage, completed by `evaluate`
mirror.py  what a complete run is given, from the files
model.py   the final model as MLflow's flavor, the very file that DVC has
dataset.py the catalogue as MLflow's dataset
"""
