"""Owns the compiled core of the tracker: prediction, association and correction of a frame in one call."""
