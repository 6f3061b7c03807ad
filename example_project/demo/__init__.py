"""`python -m example_project.demo`: the example site and everything around it, started and stopped together."""
