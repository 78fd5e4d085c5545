"""The page about a model: what it got wrong.

`answers` reads what the models of a pass said, `mistakes` counts and picks, `read` reads the examples, `pictures` makes
small pictures with heat, `texts` marks words, `kinds` says which of the two, `page` puts them together.
"""
