"""Repairs of a stopped node's log: put together anew beside the damaged one, and exchanged with it when sound."""
