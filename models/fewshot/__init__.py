"""Owns the parts taught from a few examples over frozen networks: their form, how they are applied and fitted."""
