"""Owns transfer learning: pretrained image classifiers, turned to classes of one's own and to features."""
