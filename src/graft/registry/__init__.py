"""What a model is promoted by, and what is written of it.

decision.py  whether a model takes the champion's place, and in which words
contest.py   a run beside the champion, on the same test examples
card.py      the model's card for people, Markdown from card.md.j2
"""
