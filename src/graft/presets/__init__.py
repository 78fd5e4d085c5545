"""Recipes: complete params.yaml files, what they are expected to give, and whether they do.

files.py     the files, and how one becomes a project's params.yaml
claims.py    results/published.yaml: what each preset is expected to give, and what others published beside it
worktree.py  a clean worktree of the last commit, in which a preset is run
verify.py    a preset run there, and what became of each of its claims
"""
