"""The model for runtimes other than Keras: `graft export`. To add a format, add a module in `formats`, and a row there.

resizing      what an image of any size becomes inside the graph
subject       the model that is exported: the network, its card, what it is calibrated with
formats/      one module a format: how it is written, and how its own runtime runs it
parity        the gate: an exported file against the Keras model, on the bytes of the validation images
speed         milliseconds and memory, in a process that has nothing but the file and its runtime
run           all of it, for one format
"""
