"""Recipes: complete params.yaml files, what they are expected to give, and whether they do.

files.py     the files, and how one becomes a project's params.yaml
claims.py    results/published.yaml: what each preset is expected to give, and what others published beside it
verify.py    a preset run in a clean worktree, and what became of each of its claims
"""
