"""Owns the scores: detections, tracks and identities compared with truth."""
