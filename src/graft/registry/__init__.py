"""What a model is promoted by, and what is written of it.

decision.py  whether a model takes the champion's place, and in which words
card.py      the model's card for people, Markdown from card.md.j2
"""
