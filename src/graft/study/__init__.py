"""The claims made for transfer learning, measured on the examples at hand.

few_shot.py  how many labels each of three ways needs: what is trained, and what came of it
compute.py   what each way costs in multiply-adds, on whatever machine
picture.py   both as curves

Reads the pipeline's outputs and writes none of them. Knows no command line and no store.
"""
