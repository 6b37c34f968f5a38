"""The transactional truth: accounts, tickets, attempts not yet shipped, blocks, answers kept for repeats."""
