"""Owns learning to learn: tasks, episodes, inner and outer loops, prototypes, baselines, and networks that run over many tasks at once."""
