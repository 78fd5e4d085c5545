"""What `dvc repro` would do, before it does anything; and what it took, once it has.

dvc_state     which stages run, and why: DVC's own words
examples      which examples `extract` would read
passes        how many of them must go through the network, and what that writes
records       what stages took, kept as each of them ends; what the next one takes by that
document      all of it together
"""
