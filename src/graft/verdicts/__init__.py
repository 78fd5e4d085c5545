"""What a comparison of results says, in one vocabulary: numbers and tables in, words out.

words.py     the verdicts, and what each means
matching.py  which examples two tables of predictions have in common
spread.py    how far runs of one recipe lie apart: mean, standard deviation, seed noise
unpaired.py  a model against a published accuracy
paired.py    two models judged on the same images: McNemar's exact test, a bootstrap interval of the difference
looks.py     the interval of an accuracy, corrected for how many models were judged on the same images

Knows no file, no pipeline and no store.
"""
