"""Owns the demonstration: one video becomes a site of four cameras, and the site tells who walked where."""

from cluster.demo.run import DemoOptions, run_demo

__all__ = ["DemoOptions", "run_demo"]
