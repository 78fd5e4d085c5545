"""From files, folders and archives to what a model says of each: many at once, in memory that does not grow.

files     what the user named, file by file; images and texts, what differs by kind
kinds     which of these a model reads
engine    the model on the engine that is fastest here
stream    the model's answers, in the order of the files
writers   tables on the screen, CSV, JSON Lines, parquet
"""
