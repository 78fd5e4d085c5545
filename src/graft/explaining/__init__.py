"""Why a model answers as it does. Arrays in, arrays out: no files, no params.yaml.

A module for each way to explain, by its name in the literature: `grad_cam` for pictures, where in them the evidence for
a class lies. `overlay` makes pictures of it.
"""
