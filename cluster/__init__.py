"""Owns where it runs: the log, Ray actors, gateways, metrics and the command line."""
