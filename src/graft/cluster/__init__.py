"""Work done by the processes of a Ray cluster, where a stage's `runner` in params.yaml is `ray`.

connection   the cluster itself: which one, how many processes fit, and Ray kept quiet
pool         blocks of work handed to such processes, and their answers
worker       what such a process does; knows nothing of Ray
same         whether it works with the code, the libraries and the processor that it must
"""
