"""Owns what a site's learning follows from: which version is served, what is replayed, and what passes the gate."""
