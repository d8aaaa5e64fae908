"""Owns person re-identification: reading crops, training the network, scoring it, and embedding with it."""
