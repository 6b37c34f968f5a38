"""What a node has done and how it stands, for Prometheus.

The parts hold plain numbers (tally.py); families.py says what is shown of them, readings.py reads them, exposition.py
writes them. No part but the last knows the library.
"""
