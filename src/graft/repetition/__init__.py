"""One recipe trained several times on the features that are there: with other seeds, or on other folds.

plans.py   what is trained: seeds, folds
again.py   one of them, by the pipeline's own stages in a folder of its own
result.py  what all of them say together

Reads the pipeline's outputs and writes none of them. Knows no command line and no store.
"""
