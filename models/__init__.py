"""Owns what is learned: networks, their weights, and how they are executed on a device."""
