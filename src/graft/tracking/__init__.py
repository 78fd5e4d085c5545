"""One MLflow run per pass of the pipeline: the mirror of the files, never an input.

The only place that knows MLflow.

server.py  which store or server, and whether it answers
git.py     commit, dirty flag, diff, untracked files
holding.py two on one pass at the same time: who works on a run, and which one stays
experiments.py  runs and DVC's experiments; restored.py makes one from DVC's cache
foreseen.py what the next pass will do here; sought.py looks for runs without waiting long
repeats.py the runs of a repetition: a parent, and in it one for each seed or fold
run.py     the pass's run: opened by the first training stage, completed by `evaluate`
mirror.py  what a complete run is given, from the files
model.py   the final model as MLflow's flavor, the very file that DVC has
outcomes.py what a run, a revision or the files here predicted, image by image
ledger.py  which models were judged on this test split
dataset.py the catalogue as MLflow's dataset
"""
