"""Owns what is known about a scene: frame, detections, tracks, identities, as plain values and functions."""
