"""An earlier result computed again in a worktree of its commit, and how the two stand to each other, stage by stage.

original.py   what is to be reproduced: a run, a revision or a model's file, and what was recorded of it
place.py      the worktree as the original had it: its diff, its data and weights
bring.py      what the original wrote, from DVC's cache or a remote: its features where photos are missing
objects.py    files in DVC's cache, by their md5
again.py      the stages, run there
judging.py    a verdict for each stage, the first whose bytes diverge, and what differs
figures.py    how far the results of a stage lie apart
noise.py      how far other seeds lie apart, measured on the spot
rebuild.py    the original's environment, from its lock file
run.py        all of it, in this order
"""
