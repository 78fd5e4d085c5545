"""Git hooks that have MLflow know a pass of which no stage ran: `graft hooks install`.

lines    what stands in a hook's file between two marks, and how it is put there and taken away
install  which files these are, and writing them
after    what such a hook starts: `graft log` in the background, once Git is done
"""
