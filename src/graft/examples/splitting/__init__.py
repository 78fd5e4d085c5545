"""Which images train, validate and test.

What must stay together (copies of one image, a group) is a unit. The units of a class are ordered by a hash of the
seed and their content and cut from both ends: test from the front, validation from the back. So a unit's side depends
on its content, the seed and its class's size; added images move few others, and none between validation and test.

make      by the method that the parameters ask for
units     what stays together, and its order
methods   fractions, counts, folds
official  the split that a source comes with
limits    counts, and few_shot
remarks   what a user should know about it
"""
