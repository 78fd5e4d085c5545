"""A project of one's own, which an installed graft runs: what `graft init` writes, and what ties it to graft's code.

start.py     writes a project, and what it says
template.py  the files, made from this repository's own
look.py      what images are at a place, and the values that suit them
lock.py      graft.lock: the code of each stage, as one digest
"""
