"""Configurations: `base.py` holds every hyper-parameter, each other file one data set."""
