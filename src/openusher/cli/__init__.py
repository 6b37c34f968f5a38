"""The `usher` command. Results on stdout, progress and warnings on stderr.

Exit status: 0 done, 1 failed, 2 wrong usage, 3 the answer is no, 4 not reachable.
"""
