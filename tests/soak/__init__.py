"""A site at work for some minutes while everything around it fails: ``python -m tests.soak --minutes 10``."""
