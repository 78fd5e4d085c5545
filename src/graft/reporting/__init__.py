"""The page about a model: what it got wrong.

`answers` reads what the models of a pass said, `mistakes` counts and picks, `pictures` makes small pictures with heat,
`page` puts them together.
"""
