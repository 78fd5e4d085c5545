"""Which network, and which of its layers, to read features from: every candidate judged by a head that is solved.

passes.py  one pass of the images gives the features of all of them, which graft's cache keeps
judging.py what each layer is worth, and which layers cannot be told apart
"""
