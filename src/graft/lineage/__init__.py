"""Which models have seen an example: by its bytes, and as a near copy.

near.py  which of the examples that models saw are near copies of some bytes
seen.py  as which part each run had them
"""
