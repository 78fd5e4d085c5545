"""Which learning rate? A few steps at rates that grow from next to nothing to far too much, and the loss at each.

subjects.py  what is trained: the head as it is drawn, or the layers above the cut with the trained head
measure.py   the steps, and the rate that they suggest
picture.py   loss against rate

Reads the pipeline's outputs and writes none of them.
"""
