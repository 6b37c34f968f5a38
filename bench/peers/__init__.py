"""What a user would build or pick instead of Usher, each as good as its own users would make it: see
`python -m bench.peers --help`, and docs/performance.md for what each is."""
